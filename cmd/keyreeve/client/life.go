package client

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/keyreeve/keyreeve/api"
)

// changeLife sends a request without members that changes the life of the key, and prints the key.
func (k *oneKey) changeLife(verb string) error {
	return k.onKey(post(keyPath(k.ID, "/"+verb), struct{}{}), false)
}

type keyDisableCmd struct{ oneKey }

// Run disables the key.
func (c *keyDisableCmd) Run() error { return c.changeLife("disable") }

type keyEnableCmd struct{ oneKey }

// Run enables the key.
func (c *keyEnableCmd) Run() error { return c.changeLife("enable") }

type keyArchiveCmd struct{ oneKey }

// Run takes the key off-line.
func (c *keyArchiveCmd) Run() error { return c.changeLife("archive") }

type keyRecoverCmd struct{ oneKey }

// Run brings the key back on-line.
func (c *keyRecoverCmd) Run() error { return c.changeLife("recover") }

type keyDeleteCmd struct {
	oneKey
	Retention string `help:"How long the key can be restored: 1d to 3650d, or in hours, such as 36h. Left out, it is the setting of the server." placeholder:"TIME"`
}

// Run deletes the key.
func (c *keyDeleteCmd) Run() error {
	path := keyPath(c.ID, "")
	if c.Retention != "" {
		path += "?" + url.Values{"retention": {c.Retention}}.Encode()
	}
	return c.onKey(request{"DELETE", path, nil, false}, false)
}

type keyRestoreCmd struct{ oneKey }

// Run restores the key.
func (c *keyRestoreCmd) Run() error { return c.changeLife("restore") }

type keyPurgeCmd struct {
	oneKey
	Yes bool `help:"Do not ask for a confirmation."`
}

// Run destroys the key.
func (c *keyPurgeCmd) Run() error {
	if !c.Yes {
		if err := Confirm("destroy " + c.ID); err != nil {
			return err
		}
	}
	return c.changeLife("purge")
}

// Confirm asks for words that nobody types by accident. It asks a person at a terminal only:
// what a pipe holds was written before the question.
func Confirm(want string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("nothing was destroyed: standard input is not a terminal, so nobody can be asked; give --yes")
	}
	fmt.Fprintf(os.Stderr, "These keys cannot be brought back. Type %q to go on: ", want)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if strings.TrimSpace(line) != want {
		return errors.New("nothing was destroyed")
	}
	return nil
}

type keyAliasCmd struct {
	Set    aliasSetCmd    `cmd:"" help:"Give an alias to a key, or move it there from another key."`
	Show   aliasShowCmd   `cmd:"" help:"Show which key has an alias."`
	Remove aliasRemoveCmd `cmd:"" help:"Take an alias away. The key stays."`
}

// oneAlias is a command that works on an alias.
type oneAlias struct {
	door
	Alias string `arg:"" name:"alias" help:"The alias, without alias/ before it." placeholder:"ALIAS"`
}

// path returns the path of the alias.
func (a *oneAlias) path() string { return "/v1/aliases/" + url.PathEscape(a.Alias) }

// onAlias sends a request whose answer is an alias, and prints it.
func (a *oneAlias) onAlias(q request) error {
	s, ctx, end, err := a.connect()
	if err != nil {
		return err
	}
	defer end()
	var alias api.Alias
	answer, err := s.ask(ctx, q, &alias)
	if err != nil {
		return err
	}
	return s.show(answer, func() (string, error) { return members(answer) })
}

type aliasSetCmd struct {
	oneAlias
	ID string `arg:"" name:"key" help:"Unique Identifier of the key." placeholder:"KEY"`
}

// Run gives the alias to the key.
func (c *aliasSetCmd) Run() error {
	return c.onAlias(request{"PUT", c.path(), api.AliasRequest{KeyID: c.ID}, false})
}

type aliasShowCmd struct{ oneAlias }

// Run shows the key of the alias.
func (c *aliasShowCmd) Run() error { return c.onAlias(get(c.path())) }

type aliasRemoveCmd struct{ oneAlias }

// Run takes the alias away. The server answers without a text, so nothing is printed.
func (c *aliasRemoveCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	_, err = s.ask(ctx, request{"DELETE", c.path(), nil, false}, nil)
	return err
}
