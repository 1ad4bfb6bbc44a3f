package policyfiles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// The parts of a folder. Each has one file NAME.json for each name.
const (
	policyPart     = "policies"
	attachmentPart = "attachments" // by the name of the policy
	rolePart       = "roles"
	userPart       = "users"
)

var folderParts = []string{policyPart, rolePart, userPart, attachmentPart}

const (
	fileSuffix = ".json"
	maxFiles   = 10_000 // of one part
)

// Read reads a folder and checks all of it. tenant is whose it is to be. It returns all
// faults, each with the file; then there is no tenant.
func Read(folder, tenant string, c *Checker) (*Tenant, []error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, []error{err}
	}
	defer root.Close()
	r := &folderReader{root: root, name: tenant, checker: c, tenant: NewTenant()}
	r.readPart(policyPart, r.addPolicy)
	r.readPart(rolePart, r.addRole)
	r.readPart(userPart, r.addUser)
	r.readPart(attachmentPart, r.addAttachments)
	if r.files == 0 {
		r.faults = append(r.faults, fmt.Errorf("%s has no file %s", folder, strings.Join(folderParts, "/NAME.json, ")+"/NAME.json"))
	}
	if r.faults != nil {
		return nil, r.faults
	}
	return r.tenant, nil
}

// folderReader collects what is in a folder, and all faults.
type folderReader struct {
	root    *os.Root
	name    string // of the tenant
	checker *Checker
	tenant  *Tenant
	files   int
	faults  []error
}

// namesOf returns the names of the files of a part.
func namesOf(root *os.Root, part string) (names []string, err error) {
	all, err := fs.ReadDir(root.FS(), part)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, f := range all {
		if name, ok := strings.CutSuffix(f.Name(), fileSuffix); ok {
			names = append(names, name)
		}
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%s has %d files; at most %d are read", part, len(names), maxFiles)
	}
	return names, nil
}

// readPart adds each file of a part.
func (r *folderReader) readPart(part string, add func(name string, text []byte) error) {
	names, err := namesOf(r.root, part)
	if err != nil {
		r.faults = append(r.faults, err)
	}
	r.files += len(names)
	for _, name := range names {
		file := path.Join(part, name+fileSuffix)
		text, err := r.readFile(file)
		if err == nil {
			err = add(name, text)
		}
		if err != nil {
			r.faults = append(r.faults, fmt.Errorf("%s: %w", file, err))
		}
	}
}

func (r *folderReader) readFile(file string) ([]byte, error) {
	f, err := r.root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, file)
}

func (r *folderReader) addPolicy(name string, text []byte) error {
	d, _, err := r.checker.CheckDocument(name, text)
	r.tenant.Policies[name] = Policy{Document: d}
	return err
}

func (r *folderReader) addRole(name string, text []byte) error {
	var role core.Role
	if err := decodeFile(text, &role); err != nil {
		return err
	}
	if !core.ValidName(name) || slices.Contains(core.BuiltInRoles, name) {
		return fmt.Errorf("%q cannot be a role of a tenant: it is built in, or no name of letters, digits, '.', '_' and '-'", name)
	}
	r.tenant.Roles[name] = role
	return role.Check()
}

func (r *folderReader) addUser(name string, text []byte) error {
	u := core.User{Tenant: r.name, Name: name, Version: 1}
	if err := decodeFile(text, &u); err != nil {
		return err
	}
	if u.Password != "" {
		return errors.New("password: files have no passwords; leave it out and set it with keyreeve user password")
	}
	if u.Hashed != nil || u.CodeKey != nil || u.Begun != 0 {
		return errors.New("hashed, codeKey, begun: files have nothing of how users log in; leave them out")
	}
	r.tenant.Users[name] = u
	return u.Check()
}

var holderPrefixes = []string{core.UserHolder, core.RoleHolder, core.GroupHolder, core.ObjectGroupHolder}

func (r *folderReader) addAttachments(name string, text []byte) error {
	p, ok := r.tenant.Policies[name]
	if !ok {
		return fmt.Errorf("there is no %s/%s%s", policyPart, name, fileSuffix)
	}
	p.Attached = &Targets{}
	if err := decodeFile(text, p.Attached); err != nil {
		return err
	}
	for _, holder := range p.Attached.Holders {
		if !slices.ContainsFunc(holderPrefixes, func(kind string) bool { return strings.HasPrefix(holder, kind) && len(holder) > len(kind) }) {
			return fmt.Errorf("holders: %q is no holder of policies; write user:NAME, role:NAME, group:NAME or keyGroup:NAME", core.ClientText(holder))
		}
	}
	r.tenant.Policies[name] = p
	return nil
}

// decodeFile reads the only JSON value of a file and refuses unknown members.
func decodeFile(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the JSON object")
	}
	return nil
}

// Write writes a tenant into a folder, which it makes if it is not there. Other files stay.
func Write(folder string, t *Tenant) error {
	files, err := filesOf(t)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for file, text := range files {
		if err := root.MkdirAll(path.Dir(file), 0o700); err != nil {
			return err
		}
		if err := root.WriteFile(file, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Stale lists the files of a folder whose policy, role or user the tenant does not have.
func Stale(folder string, t *Tenant) (stale []string, err error) {
	files, err := filesOf(t)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, part := range folderParts {
		names, err := namesOf(root, part)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if file := path.Join(part, name+fileSuffix); files[file] == nil {
				stale = append(stale, file)
			}
		}
	}
	return stale, nil
}

// filesOf returns the text of each file of a tenant, by its path in the folder.
func filesOf(t *Tenant) (map[string][]byte, error) {
	files := map[string][]byte{}
	add := func(part, name string, v any) error {
		text, err := format.IndentedText(v)
		files[path.Join(part, name+fileSuffix)] = text
		return err
	}
	var errs []error
	for name, p := range t.Policies {
		text, err := p.Document.Text()
		files[path.Join(policyPart, name+fileSuffix)] = text
		errs = append(errs, err)
		if p.Attached != nil {
			errs = append(errs, add(attachmentPart, name, p.Attached))
		}
	}
	for name, r := range t.Roles {
		errs = append(errs, add(rolePart, name, r))
	}
	for name, u := range t.Users {
		u = u.WithoutSecrets()
		u.Begun = 0
		errs = append(errs, add(userPart, name, u))
	}
	return files, errors.Join(errs...)
}
