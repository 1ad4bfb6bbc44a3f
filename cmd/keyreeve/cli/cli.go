// Package cli is the command line of keyreeve.
//
// If a command fails, it prints one sentence on standard error and its exit
// status is 1. Commands for a running server ask it over its admin socket. Start
// at [Main].
package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/bench"
	"github.com/keyreeve/keyreeve/server"
)

// commands are the commands and their help texts.
type commands struct {
	Init   initCmd           `cmd:"" help:"Make a new installation: its keys in the token, and its row in the database."`
	Serve  serveCmd          `cmd:"" help:"Serve KMIP and REST."`
	User   userCmd           `cmd:"" help:"The users of a tenant: people and programs with a password."`
	Role   roleCmd           `cmd:"" help:"The roles that a tenant has made of actions."`
	Token  tokenCmd          `cmd:"" help:"Access tokens of users, for REST."`
	Tenant tenantCmd         `cmd:"" help:"Declare and list the tenants of a running server."`
	Cert   certCmd           `cmd:"" help:"Issue and revoke client certificates of a development authority."`
	Doctor doctorCmd         `cmd:"" help:"Check token, database, certificates, policy and ports, and say what to fix."`
	Audit  auditCmd          `cmd:"" help:"Read the audit records of a running server."`
	Policy policyCmd         `cmd:"" help:"The key policies of a running server, and what its policy decides."`
	Health healthCmd         `cmd:"" help:"Show the state of a running server."`
	HSM    hsmCmd            `cmd:"" name:"hsm" help:"Look after the objects in the HSM of a running server."`
	Bench  bench.Command     `cmd:"" help:"Measure throughput and latency, beside what the machine can do at best."`
	Echo   bench.EchoCommand `cmd:"" name:"bench-echo" hidden:""`
	Ver    verCmd            `cmd:"" name:"version" help:"Print the version."`
}

// where names the server that a command talks to or looks at.
type where struct {
	Dir    string `help:"Folder of a server started with serve --dev --dir." type:"path" xor:"where"`
	Config string `help:"Configuration file of a server." type:"path" xor:"where"`
}

// loadSettings finds the settings.
func (w *where) loadSettings() (server.Config, error) {
	switch {
	case w.Config != "":
		return server.LoadConfig(w.Config)
	case w.Dir != "":
		c := server.Defaults()
		c.Dir = w.Dir
		return c, nil
	}
	return server.Config{}, fmt.Errorf("give --dir or --config to say which server you mean")
}

type verCmd struct{}

func (verCmd) Run() error {
	fmt.Println("keyreeve", server.Version)
	return nil
}

// exitStatus ends a command that has printed its result.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// denied is the status of a simulation that ends in a denial.
const denied = 2

// Main runs a command line and returns the exit status of the program.
func Main(args []string) int {
	var c commands
	k := kong.Must(&c, kong.Name("keyreeve"), kong.Description("A KMIP server on an HSM. For a first try, on this machine alone: keyreeve serve --dev"), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	if len(args) == 1 && args[0] == "--version" { // bench has a flag of this name
		args = []string{"version"}
	}
	ctx, err := k.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "keyreeve: %v; see keyreeve --help\n", err)
		return 1
	}
	err = ctx.Run()
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "keyreeve: %s\n", oneLine(err.Error()))
		return 1
	}
	return 0
}

// maxSentence bounds the text of an error, in bytes.
const maxSentence = 600

// oneLine joins the lines of a text and leaves out repeated ones: errors of drivers and
// parsers have several lines, quote their input and repeat themselves.
func oneLine(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(strings.Map(printableRune, line)); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if s = strings.Join(lines, "; "); len(s) > maxSentence {
		s = strings.ToValidUTF8(s[:maxSentence], "") + "..."
	}
	return s
}

// printableRune returns a rune, or a space if a terminal would act on the rune.
func printableRune(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}
