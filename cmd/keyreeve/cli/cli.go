// Package cli is the command line of keyreeve.
//
// If a command fails, it prints one sentence on standard error and its exit
// status is 1. Commands for a running server ask it over its admin socket. Those
// of package client ask it over REST, and have more exit statuses. Start at [Main].
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
	"github.com/keyreeve/keyreeve/cmd/keyreeve/client"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/manual"
	"github.com/keyreeve/keyreeve/server"
)

// commands are the commands and their help texts.
type commands struct {
	Init   initCmd           `cmd:"" help:"Make a new installation: its keys in the token, and its row in the database."`
	Serve  serveCmd          `cmd:"" help:"Serve KMIP and REST."`
	User   userCmd           `cmd:"" help:"The users of a tenant: people and programs with a password."`
	Group  groupCmd          `cmd:"" help:"The groups of a tenant: names that its users and enrolled clients have."`
	Role   roleCmd           `cmd:"" help:"The roles that a tenant has made of actions."`
	Client clientCmd         `cmd:"" help:"The enrolled clients of a tenant: programs whose certificates this server issues."`
	Token  tokenCmd          `cmd:"" help:"Access tokens of users, for REST."`
	Assent approvalCmd       `cmd:"" name:"approval" help:"Requests of a tenant that wait until others approve them."`
	Tenant tenantCmd         `cmd:"" help:"The tenants of a running server: their settings and states."`
	Jobs   jobsCmd           `cmd:"" help:"The work that the clock asks for, such as the purge of deleted keys."`
	Cert   certCmd           `cmd:"" help:"Issue and revoke client certificates of a development authority."`
	Doctor doctorCmd         `cmd:"" help:"Check token, database, certificates, policy and ports, and say what to fix."`
	Audit  auditCmd          `cmd:"" help:"Read the audit records of a running server."`
	Policy policyCmd         `cmd:"" help:"The key policies of a running server, and what its policy decides."`
	Health healthCmd         `cmd:"" help:"Show the state of a running server."`
	HSM    hsmCmd            `cmd:"" name:"hsm" help:"Look after the objects in the HSM of a running server."`
	Bench  bench.Command     `cmd:"" help:"Measure throughput and latency, beside what the machine can do at best."`
	Echo   bench.EchoCommand `cmd:"" name:"bench-echo" hidden:""`
	Ver    verCmd            `cmd:"" name:"version" help:"Print the version."`

	Manual   manual.Commands `embed:""`
	OverREST client.Commands `embed:""`
}

type userCmd struct {
	Add      userAddCmd      `cmd:"" help:"Make a user. The password is asked for, or read from standard input."`
	List     userListCmd     `cmd:"" help:"List the users."`
	Change   userChangeCmd   `cmd:"" help:"Change groups, roles, attributes or the expiry of a user."`
	Password userPasswordCmd `cmd:"" help:"Set a new password. It is asked for, or read from standard input."`
	OTP      userOTPCmd      `cmd:"" name:"otp" help:"Make a key of one-time codes, which the user needs from then on, and show it once."`
	Disable  userDisableCmd  `cmd:"" help:"Refuse a user from now on, also on open connections."`
	Enable   userEnableCmd   `cmd:"" help:"Let a disabled user in again."`
	Remove   userRemoveCmd   `cmd:"" help:"Remove a user."`
}

type groupCmd struct {
	List   groupListCmd   `cmd:"" help:"List the groups with their users and enrolled clients."`
	Add    groupAddCmd    `cmd:"" help:"Give a group to a user. It exists from then on."`
	Remove groupRemoveCmd `cmd:"" help:"Take a group from a user."`
}

type roleCmd struct {
	Save   roleSaveCmd   `cmd:"" help:"Make or change a role: a name for actions that it permits on the tenant's objects."`
	List   roleListCmd   `cmd:"" help:"List the roles that the tenant has made."`
	Remove roleRemoveCmd `cmd:"" help:"Remove a role."`
}

type clientCmd struct {
	Authority clientAuthorityCmd `cmd:"" help:"Make the authority for clients: its certificate, and its key in a file or in the HSM."`
	clientIssueCmd
	clientCareCmd
	Show clientShowCmd `cmd:"" help:"Print a client with its certificates."`

	Doctor clientDoctorCmd `cmd:"" help:"Show what a client last sent that was refused, and why, without secrets, and say what can be done."`
}

type tokenCmd struct {
	Issue  tokenIssueCmd  `cmd:"" help:"Make an access token for a user, for the header Authorization of REST. It is shown once."`
	List   tokenListCmd   `cmd:"" help:"List the access tokens that live."`
	Revoke tokenRevokeCmd `cmd:"" help:"End an access token on every node."`
}

type approvalCmd struct {
	List    approvalListCmd    `cmd:"" help:"List the requests that wait."`
	Show    approvalShowCmd    `cmd:"" help:"Print one of them as JSON."`
	Approve approvalApproveCmd `cmd:"" help:"Approve a request, if a statement names role:system as an approver."`
	Deny    approvalDenyCmd    `cmd:"" help:"End a request that waits."`
}

type tenantCmd struct {
	Create tenantCreateCmd `cmd:"" help:"Declare a tenant: makes its keys in the HSM. Until then a certificate that names it is refused."`
	List   tenantListCmd   `cmd:"" help:"List the tenants and their states."`

	Show    tenantShowCmd    `cmd:"" help:"Print what is laid down for a tenant, and what it has stored."`
	Set     tenantSetCmd     `cmd:"" help:"Change the settings of a tenant: its defaults, what it allows, its quotas."`
	Disable tenantDisableCmd `cmd:"" help:"Refuse all clients of a tenant from now on, also on open connections."`
	Enable  tenantEnableCmd  `cmd:"" help:"Let the clients of a disabled tenant in again."`
	Delete  tenantDeleteCmd  `cmd:"" help:"Ask for the deletion of a tenant, which is refused from then on; after the grace time, --confirm destroys its keys in the HSM."`
	Restore tenantRestoreCmd `cmd:"" help:"Take back a deletion that was not confirmed. The tenant is then disabled."`
}

type jobsCmd struct {
	List   jobsListCmd   `cmd:"" help:"List the jobs: what each does, and what its last run did."`
	Show   jobsShowCmd   `cmd:"" help:"Print a job, with its runner and the notes of its last run."`
	Run    jobsRunCmd    `cmd:"" help:"Let a job run at once, on any node."`
	Pause  jobsPauseCmd  `cmd:"" help:"Stop a job: a run under way changes nothing more, and no other begins."`
	Resume jobsResumeCmd `cmd:"" help:"End a pause. The job runs at once."`
}

type certCmd struct {
	Issue  certIssueCmd  `cmd:"" help:"Make DIR/certs/NAME.pem and NAME-key.pem."`
	Revoke certRevokeCmd `cmd:"" help:"Put a certificate on the revocation list, which a running server obeys within a second."`
}

type auditCmd struct {
	List auditListCmd `cmd:"" help:"List records, newest first."`
}

type policyCmd struct {
	Simulate simulateCmd `cmd:"" help:"Ask what the policy would say, without doing anything. Exits with 0 for allow, 2 for deny, 1 if it cannot be asked."`
	Explain  explainCmd  `cmd:"" help:"Say everything that a principal may do with an object and why, or what each principal that the server knows may do."`
	Reload   reloadCmd   `cmd:"" help:"Read the policy file again. If the new policy fails its tests, the old one stays in force."`

	Server serverPolicyCmd `cmd:"" help:"The policy of the server itself, policies.rego, on all nodes."`

	List     policyListCmd     `cmd:"" help:"List the key policies of a tenant."`
	Show     policyShowCmd     `cmd:"" help:"Print a key policy."`
	Apply    policyApplyCmd    `cmd:"" help:"Store a key policy from a file. It is in force at once, or from a time on."`
	Delete   policyDeleteCmd   `cmd:"" help:"End a key policy that is attached to nothing."`
	History  policyHistoryCmd  `cmd:"" help:"List all versions of a key policy, newest first."`
	Rollback policyRollbackCmd `cmd:"" help:"Put the document of an old version in force again, as a new version."`
	Withdraw policyWithdrawCmd `cmd:"" help:"End a version of a key policy that waits; the one in force stays."`
	Replay   policyReplayCmd   `cmd:"" help:"Decide recorded requests again with a version of a key policy, and list each decision that would flip. Exits with 0 if none does, 1 if one does or cannot be known."`
	Canary   policyCanaryCmd   `cmd:"" help:"Requests that must stay denied, or allowed: a change under which one flips is refused."`
	Attach   policyAttachCmd   `cmd:"" help:"Attach a key policy to an object, a user, a role, a group or a key group."`
	Detach   policyDetachCmd   `cmd:"" help:"Detach a key policy."`

	Test   policyTestCmd         `cmd:"" help:"Check documents of key policies and run their tests, without a server. Exits with 1 if one is wrong."`
	Diff   policyDiffCmd         `cmd:"" help:"Say what a file would change in a key policy. Exits with 0 if nothing, 1 if it differs."`
	Export policyExportCmd       `cmd:"" help:"Write policies, attachments, roles and users of a tenant into a folder, for git."`
	Import policyImportCmd       `cmd:"" help:"Give a tenant what such a folder says. If one file is wrong, nothing is stored."`
	PyKMIP policyImportPyKMIPCmd `cmd:"" name:"import-pykmip" help:"Store the operation policies of PyKMIP as key policies that are attached to nothing."`
}

type serverPolicyCmd struct {
	Show     serverPolicyShowCmd     `cmd:"" help:"Print the policy in force, or another version."`
	Apply    serverPolicyApplyCmd    `cmd:"" help:"Put a policy in force on every node. It must compile, pass its tests and keep what canaries of this machine's administrator demand."`
	Diff     serverPolicyDiffCmd     `cmd:"" help:"Print the lines that differ between the policy in force and a file. Exits with 0 if none do, 1 if some do."`
	History  serverPolicyHistoryCmd  `cmd:"" help:"List the versions that are kept, newest first."`
	Rollback serverPolicyRollbackCmd `cmd:"" help:"Put the text of an old version in force again, as a new version."`
}

type policyCanaryCmd struct {
	Add    canaryAddCmd    `cmd:"" help:"Make or replace a canary. It must hold now."`
	List   canaryListCmd   `cmd:"" help:"List the canaries of a tenant."`
	Remove canaryRemoveCmd `cmd:"" help:"Remove a canary."`
}

type hsmCmd struct {
	Orphans orphansCmd `cmd:"" help:"Token objects that no living object needs."`
	Keys    keysCmd    `cmd:"" help:"List the sets of keys in the HSM: whose each is, and whether it is in use. Changes nothing."`
}

type orphansCmd struct {
	List  orphansListCmd  `cmd:"" help:"List token objects that no row of a living object names, and open intents of earlier processes."`
	Purge orphansPurgeCmd `cmd:"" help:"Destroy token objects for good."`
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

// parser returns the parser of command lines.
func parser() *kong.Kong {
	return kong.Must(new(commands), kong.Name("keyreeve"), kong.Description("A KMIP server on an HSM. For a first try, on this machine alone: keyreeve serve --dev"), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
}

// Main runs a command line and returns the exit status of the program.
func Main(args []string) int {
	k := parser()
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
		var coder kong.ExitCoder
		if errors.As(err, &coder) {
			return coder.ExitCode()
		}
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
