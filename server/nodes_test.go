package server_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// secondNode starts the program by a configuration file on the token and the
// database of another: two nodes of one installation.
func secondNode(t *testing.T, first *servertest.Server, url string) *servertest.Server {
	t.Helper()
	module, err := member.SoftHSM()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := file("keyreeve.yaml", fmt.Sprintf(`
dir: %s
node: second
kmip: 127.0.0.1:0
https: 127.0.0.1:0
tls: {certificate: %[2]s/server.pem, key: %[2]s/server-key.pem, client_ca: %[2]s/ca.pem, authorities: [{file: %[2]s/ca.pem, tenants: ["*"], groups: ["*"], roles: ["*"]}]}
hsm: {module: %s, token: keyreeve, pin_file: %s/pin}
store: {url_file: %s}
`, dir, first.Certs, module, first.Dir, file("url", url)))
	cmd := exec.Command(servertest.Binary(t), "serve", "--config", config)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+filepath.Join(first.Dir, "softhsm2.conf"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &servertest.Server{Dir: dir, Certs: first.Certs}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if n, _ := fmt.Sscanf(line, "ready kmip=%s https=%s", &s.KMIP, &s.HTTPS); n != 2 {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the second node said %q:\n%s", line, log.String())
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the second node ended with %v:\n%s", err, log.String())
		}
	})
	return s
}

// Two nodes on one PostgreSQL and one token: what one makes the other uses, also
// for a tenant that one declares and both use at the same moment; what one revokes or destroys
// the other refuses within a second; Usage Limits are counted once for both.
func TestTwoNodes(t *testing.T) {
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	nodes := [2]*servertest.Server{one, secondNode(t, one, url)}
	one.Issue(certs.Request{Name: "new", Tenant: "fresh", Groups: []string{"g"}})
	active := core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}
	encrypt := func(c *kmiptest.Client, id string) error {
		_, err := kmiptest.Do(c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(id), Data: make([]byte, 16), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}})
		return err
	}

	var ids [2]string
	var both sync.WaitGroup
	for i, s := range nodes {
		c := dial(t, s, "new", core.V1_4)
		both.Go(func() { ids[i] = aesKey(t, c, active) })
	}
	both.Wait()
	for i, s := range nodes {
		if err := encrypt(dial(t, s, "new", core.V1_4), ids[1-i]); err != nil {
			t.Errorf("node %d cannot use what the other made for a new tenant: %v", i, err)
		}
	}

	for what, end := range map[string]func(c *kmiptest.Client, id string) error{
		"revoked": func(c *kmiptest.Client, id string) error {
			_, err := kmiptest.Do(c, &kmip.Revoke, &core.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeKeyCompromise})
			return err
		},
		"destroyed": func(c *kmiptest.Client, id string) error {
			if _, err := kmiptest.Do(c, &kmip.Revoke, &core.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeSuperseded}); err != nil {
				return err
			}
			_, err := kmiptest.Do(c, &kmip.Destroy, &core.DestroyInput{ID: core.ID(id)})
			return err
		},
	} {
		here, there := dial(t, nodes[0], "dev", core.V1_4), dial(t, nodes[1], "dev", core.V1_4)
		id := aesKey(t, here, active)
		if err := encrypt(there, id); err != nil {
			t.Fatal(err)
		}
		stop, asked := make(chan struct{}), make(chan time.Time)
		go func() { // used without a pause, so that the snapshot is as young as can be
			var last time.Time
			for {
				select {
				case <-stop:
					asked <- last
					return
				default:
					began := time.Now()
					if encrypt(there, id) == nil {
						last = began
					}
				}
			}
		}()
		time.Sleep(300 * time.Millisecond)
		if err := end(here, id); err != nil {
			t.Fatal(err)
		}
		ended := time.Now()
		time.Sleep(1500 * time.Millisecond)
		close(stop)
		if last := <-asked; last.Sub(ended) > time.Second {
			t.Errorf("a key %s on one node was used on the other %v later", what, last.Sub(ended))
		}
		if err := encrypt(there, id); err == nil {
			t.Errorf("a key %s on one node is in use on the other", what)
		}
	}

	const total, asked = 40, 60
	limits := core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(total)}, core.Field{Tag: core.TagUsageLimitsUnit, Value: core.Enum(core.UsageLimitsUnitObject)})
	id := aesKey(t, dial(t, one, "dev", core.V1_4), active, core.Attribute{Tag: core.TagUsageLimits, Value: limits})
	var used, refused atomic.Int32
	var all sync.WaitGroup
	for i := range asked {
		c := dial(t, nodes[i%2], "dev", core.V1_4)
		all.Go(func() {
			switch err := encrypt(c, id); {
			case err == nil:
				used.Add(1)
			case kmiptest.Reason(err) == core.ReasonPermissionDenied:
				refused.Add(1)
			default:
				t.Errorf("a use within or beyond the limit: %v", err)
			}
		})
	}
	all.Wait()
	if used.Load() != total || refused.Load() != asked-total {
		t.Errorf("of %d uses %d were allowed and %d refused; the limit is %d", asked, used.Load(), refused.Load(), total)
	}
}
