// Package manual makes completions for shells, and man pages, from the commands of the program
// and their help texts. Nothing about a command is written here. Start at [Commands].
package manual

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
)

// Commands are the commands of this package.
type Commands struct {
	Completion completionCmd `cmd:"" help:"Print a script that completes commands and flags in a shell."`
	Man        manCmd        `cmd:"" help:"Write a man page for each command."`
}

type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish." enum:"bash,zsh,fish"`
}

// Help shows how the scripts are put to use.
func (completionCmd) Help() string {
	return `Examples:

    $ source <(keyreeve completion bash)
    $ keyreeve completion bash > /etc/bash_completion.d/keyreeve
    $ keyreeve completion zsh > /usr/local/share/zsh/site-functions/_keyreeve
    $ keyreeve completion fish > ~/.config/fish/completions/keyreeve.fish`
}

// Run prints the script.
func (c completionCmd) Run(ctx *kong.Context) error {
	_, err := os.Stdout.WriteString(Completion(ctx.Model, c.Shell))
	return err
}

type manCmd struct {
	Dir string `help:"Folder for the pages. It is made if it is missing." required:"" type:"path"`
}

// Help shows how to read the pages.
func (manCmd) Help() string {
	return `Examples:

    $ keyreeve man --dir /usr/local/share/man/man1
    $ man keyreeve-key-create`
}

// Run writes the pages.
func (c manCmd) Run(ctx *kong.Context) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	pages := Pages(ctx.Model)
	var failed []error
	for name, text := range pages {
		failed = append(failed, os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o644))
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	fmt.Println(len(pages), "pages are in", c.Dir)
	return nil
}

// place is a command, or a group of commands, with what can follow it.
type place struct {
	path     string // such as "keyreeve key create"
	commands []choice
	flags    []flag
}

// choice is a word that can follow, and what it means.
type choice struct{ word, help string }

// flag is a flag of a command.
type flag struct {
	choice        // with its --
	short  string // one letter; "": none
	value  bool   // it has one
	values []string
}

// places returns all commands that are not hidden, the program first.
func places(app *kong.Application) (all []place) {
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		p := place{path: commandOf(n)}
		for _, child := range visible(n) {
			p.commands = append(p.commands, choice{child.Name, sentence(child.Help)})
		}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				p.flags = append(p.flags, flagsOf(f)...)
			}
		}
		all = append(all, p)
		for _, child := range visible(n) {
			walk(child)
		}
	}
	walk(app.Node)
	return all
}

// visible returns the commands below a command that are not hidden.
func visible(n *kong.Node) (out []*kong.Node) {
	for _, child := range n.Children {
		if !child.Hidden {
			out = append(out, child)
		}
	}
	return out
}

// commandOf returns the words that call a command.
func commandOf(n *kong.Node) string {
	if n.Parent == nil {
		return n.Name
	}
	return commandOf(n.Parent) + " " + n.Name
}

// flagsOf returns a flag, and what negates it if something does.
func flagsOf(f *kong.Flag) []flag {
	one := flag{choice: choice{"--" + f.Name, sentence(f.Help)}, value: !f.IsBool() && !f.IsCounter(), values: valuesOf(f.Value)}
	if f.Short != 0 {
		one.short = string(f.Short)
	}
	out := []flag{one}
	if f.Tag.Negatable != "" {
		out = append(out, flag{choice: choice{"--no-" + f.Name, "Not: " + one.help}})
	}
	return out
}

// valuesOf returns the words that a flag or an argument can be.
func valuesOf(v *kong.Value) (out []string) {
	if v.Enum == "" {
		return nil
	}
	for _, word := range v.EnumSlice() {
		if word != "" {
			out = append(out, word)
		}
	}
	return out
}

// sentence returns the first sentence of a help text, without its full stop.
func sentence(help string) string {
	first, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(strings.Join(strings.Fields(first), " "), ".")
}
