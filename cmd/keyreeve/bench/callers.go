package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/kmip"
)

// caller is a way to ask for a key, which is measured beside a Get with a client certificate
// and without key policies.
type caller struct {
	name     string
	policies int    // attached to a key of its own; 0: the key of the other operations
	when     string // a condition of these policies
	options  kmip.RequestOptions
}

const (
	benchUser     = "bench"
	benchPassword = "the password of the bench"
	oneAddress    = `{"ipAddress": "127.0.0.0/8"}`
	longTime      = `{"time": {"notBefore": "2020-01-01T00:00:00Z"}}`
)

var callers = []caller{
	{name: "get, 4 policies", policies: 4, when: oneAddress},
	{name: "get, 4 about time", policies: 4, when: longTime},
	{name: "get by password", policies: 1, when: oneAddress, options: kmip.RequestOptions{Credentials: []proof.Credential{
		{Type: core.CredentialTypeUsernameAndPassword, Username: benchUser, Password: []byte(benchPassword)}}}},
}

// callerRounds are the rounds in which a caller is compared.
const callerRounds = 9

// measureCallers compares Get under key policies, and by a user with a password on the
// connection of a client, with a usual Get.
func (b *bench) measureCallers() error {
	if err := b.runCommand(benchPassword, "user", "add", benchUser); err != nil {
		return err
	}
	short := *b.Command
	short.Duration = 2 * b.Duration / callerRounds
	usual := *b
	usual.Command = &short
	for _, c := range callers {
		under := usual
		if err := under.prepare(); err != nil {
			return err
		}
		under.options = c.options
		for i := range c.policies {
			if err := under.attachPolicy(fmt.Sprintf("bench-%d-%.6s", i, under.key), c.when); err != nil {
				return err
			}
		}
		for _, n := range b.Connections {
			get := func(b *bench) func() (result, error) {
				return func() (result, error) { return b.runOperation("get", b.KMIP, n) }
			}
			if err := compareInRounds(callerRounds, n, side{c.name, get(&under)}, []side{{"a usual get", get(&usual)}}); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return nil
}

// attachPolicy applies a policy by which the dev client and the user may get the bench's key.
func (b *bench) attachPolicy(name, when string) error {
	file := filepath.Join(b.temp, name+".json")
	text := fmt.Sprintf(`{"keyId": %q, "statements": [
		{"sid": "use", "principal": ["user:dev", "user:%s"], "actions": ["Get"], "effect": "allow", "conditions": %s},
		{"sid": "rotate", "principal": "role:admin", "actions": ["rotate"], "effect": "allow"},
		{"sid": "retired", "principal": "*", "actions": ["*"], "effect": "deny", "conditions": {"tags": {"env": "retired"}}}]}`, b.key, benchUser, when)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return b.runCommand("", "policy", "apply", name, file)
}

// runCommand runs another command of this program on the folder of the measured server.
func (b *bench) runCommand(input string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append(args, "--dir", b.Dir)...)
	cmd.Stdin = strings.NewReader(input + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
