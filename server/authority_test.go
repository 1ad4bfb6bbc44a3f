package server_test

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// anotherAuthority makes an authority with a client whose certificate says that
// it is dev, an admin of every tenant's.
func anotherAuthority(t *testing.T, s *servertest.Server) (ca []byte, client *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	if err := certs.Init(dir); err != nil {
		t.Fatal(err)
	}
	if err := certs.Issue(dir, certs.Request{Name: "dev", Tenant: "default", Groups: []string{"dev"}, Roles: []string{"admin"}}); err != nil {
		t.Fatal(err)
	}
	ours, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	client, err = kmiptest.Config(filepath.Join(dir, "certs"), "dev")
	if err != nil {
		t.Fatal(err)
	}
	client.RootCAs = ours.RootCAs
	if ca, err = os.ReadFile(filepath.Join(dir, "certs", "ca.pem")); err != nil {
		t.Fatal(err)
	}
	return ca, client
}

func discover(c *kmiptest.Client) error {
	_, err := kmiptest.Do(c, &kmip.DiscoverVersions, &core.DiscoverVersionsInput{})
	return err
}

// An authority that is added by SIGHUP may name nobody, which is recorded, and
// serves no purpose until it is mapped; one that is removed takes its clients'
// open connections with it. A bundle that is cut off changes nothing.
func TestAuthoritiesByReload(t *testing.T) {
	s := servertest.Start(t)
	ca := filepath.Join(s.Certs, "ca.pem")
	own, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	other, client := anotherAuthority(t, s)
	write(t, ca, string(own)+string(other[:len(other)/2]))
	hangUp(t, s, "level=ERROR msg=reload")
	write(t, ca, string(own)+string(other))
	hangUp(t, s, "level=INFO msg=reload")
	if c, err := kmiptest.Dial(s.KMIP, client, core.V1_4); err == nil {
		if err := discover(c); err == nil {
			t.Error("an authority without a grant named a principal")
		}
		c.Close()
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--limit", "0")
	if err != nil || !strings.Contains(out, "Trust Certificate | client authority "+certificateNames(pemCertificate(t, other))) || !strings.Contains(out, "may name nobody") {
		t.Errorf("the records do not tell of the authority and the client that was refused: %v\n%s", err, out)
	}

	// The server's own authority goes; its client is connected.
	open := dial(t, s, "dev", core.V1_4)
	if err := discover(open); err != nil {
		t.Fatal(err)
	}
	write(t, ca, string(other))
	hangUp(t, s, "level=ERROR msg=reload") // the grant of --dev names the authority that is gone
	if err := discover(open); err != nil {
		t.Errorf("a reload that failed ended a connection: %v", err)
	}
}

// With a configuration file, SIGHUP takes new grants and new names of clients from
// it, and they count on open connections.
func TestGrantsByReload(t *testing.T) {
	s := servertest.Start(t)
	s.Kill()
	other, client := anotherAuthority(t, s)
	bundle := filepath.Join(s.Dir, "bundle.pem")
	own, err := os.ReadFile(filepath.Join(s.Certs, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(s.Dir, "theirs.pem")
	write(t, theirs, string(other))
	write(t, bundle, string(own)+string(other))
	file := filepath.Join(s.Dir, "keyreeve.yaml")
	configure := func(authorities string) {
		t.Helper()
		write(t, file, devConfig(t, s, bundle, authorities))
	}
	mine := fmt.Sprintf(`{file: %s/ca.pem, tenants: [default], groups: ["*"], roles: [monitor]}`, s.Certs)
	configure(mine + fmt.Sprintf(`, {file: %s, tenants: [default], groups: [dev], roles: [admin]}`, theirs))
	n := servertest.StartConfig(t, file, s.Dir, s.Certs, "SOFTHSM2_CONF="+filepath.Join(s.Dir, "softhsm2.conf"))
	dev, guest := dial(t, n, "dev", core.V1_4), mustDial(t, n, client)
	for _, c := range []*kmiptest.Client{dev, guest} {
		if err := discover(c); err != nil {
			t.Fatal(err)
		}
	}
	configure(mine + fmt.Sprintf(`, {file: %s, tenants: [default], groups: [dev], roles: []}`, theirs))
	hangUp(t, n, "level=INFO msg=reload")
	if err := discover(guest); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a client whose authority may no longer name its role: %v", err)
	}
	if err := discover(dev); err != nil {
		t.Errorf("a client whose authority kept its grant: %v", err)
	}
	own, err = os.ReadFile(filepath.Join(s.Certs, "dev.pem"))
	if err != nil {
		t.Fatal(err)
	}
	mapping := fmt.Sprintf("{fingerprint: %x, authority: %s/ca.pem, tenant: default, name: renamed, groups: [dev]}", sha256.Sum256(pemCertificate(t, own).Raw), s.Certs)
	write(t, file, strings.Replace(devConfig(t, s, bundle, mine), "tls: {", "tls: {principals: ["+mapping+"], ", 1))
	hangUp(t, n, "level=INFO msg=reload")
	if _, err := kmiptest.Do(dev, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)); err != nil {
		t.Errorf("a client that a reload gave another name: %v", err)
	}
	if out, err := n.Command("audit", "list", "--dir", n.Dir, "--principal", "renamed", "--limit", "0"); err != nil || !strings.Contains(out, "Create") {
		t.Errorf("what it does has no record under the new name: %v\n%s", err, out)
	}
	write(t, bundle, string(other))
	configure(fmt.Sprintf(`{file: %s, tenants: ["*"], groups: ["*"], roles: ["*"]}`, theirs))
	hangUp(t, n, "level=INFO msg=reload")
	if err := discover(dev); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a client whose authority is gone: %v", err)
	}
	if err := discover(mustDial(t, n, client)); err != nil {
		t.Errorf("a client whose authority has a grant again: %v", err)
	}
}

// devConfig is a configuration of a development server's parts, with another
// bundle of client authorities.
func devConfig(t *testing.T, s *servertest.Server, bundle, authorities string) string {
	t.Helper()
	module, err := member.SoftHSM()
	if err != nil {
		t.Skip(err)
	}
	return fmt.Sprintf(`
dir: %[1]s
kmip: 127.0.0.1:0
https: 127.0.0.1:0
tls: {certificate: %[1]s/certs/server.pem, key: %[1]s/certs/server-key.pem, client_ca: %[2]s, authorities: [%[3]s]}
hsm: {module: %[4]s, token: keyreeve, pin_file: %[1]s/pin}
store: {url: "sqlite:%[1]s/keyreeve.db"}
`, s.Dir, bundle, authorities, module)
}

func mustDial(t *testing.T, s *servertest.Server, cfg *tls.Config) *kmiptest.Client {
	t.Helper()
	c, err := kmiptest.Dial(s.KMIP, cfg, core.V1_4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
