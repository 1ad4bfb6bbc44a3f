package policyfiles

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// Checker checks documents as a server does, with the same regions. It does not know which
// users, roles and objects exist.
type Checker struct{ policies *authz.KeyPolicies }

// NewChecker returns a checker. sources are the settings of a server.
func NewChecker(sources authz.RegionSources) (*Checker, error) {
	k, err := authz.NewKeyPolicies(sources, func(core.DirectoryVersion) (*core.DirectoryEntry, error) {
		return nil, core.Errorf(core.ItemNotFound, "there is no server")
	})
	if err != nil {
		return nil, err
	}
	return &Checker{k}, nil
}

// CheckDocument reads the document of a policy and runs its tests. It fails with the path
// of the first fault. name is that of the policy; "": the document's, or any.
func (c *Checker) CheckDocument(name string, text []byte) (*format.Document, []string, error) {
	d, err := format.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	if name == "" && d.Name == "" {
		name = "policy"
	}
	facts, err := c.policies.CheckKeyPolicy(context.Background(), name, text, nil)
	if err != nil {
		return nil, nil, err
	}
	return d, facts.Warnings, nil
}

// CheckFile is CheckDocument of a file. Its errors name the file.
func (c *Checker) CheckFile(path string) (warnings []string, err error) {
	text, err := ReadDocument(path)
	if err != nil {
		return nil, err
	}
	if _, warnings, err = c.CheckDocument("", text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return warnings, nil
}

// ReadDocument returns the bytes of a file that has the size of a document at most.
func ReadDocument(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, path)
}

// readBounded reads a file that a directory entry has room for.
func readBounded(f io.Reader, path string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, core.MaxDirectoryBody+1))
	if err == nil && len(text) > core.MaxDirectoryBody {
		err = fmt.Errorf("%s: it has more than %d bytes", path, core.MaxDirectoryBody)
	}
	return text, err
}
