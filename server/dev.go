package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/server/authn"
)

// devGroup is the group of the clients dev and dev2. In development mode it owns the new keys
// of its members too.
const devGroup = "dev"

// Dev makes, in an empty folder, all that a server needs - a SoftHSM2 token, a
// certificate authority, certificates of the server and of the clients dev and
// dev2, a SQLite database - or finds what it made before. It serves the
// loopback alone: its PIN and its authority's key lie in files.
func Dev(dir, kmip, https string) (Config, error) {
	c := Defaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return c, err
	}
	for name, a := range map[string]string{"--kmip": kmip, "--http": https} {
		if err := loopback(name, a); err != nil {
			return c, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c, fmt.Errorf("the folder cannot be made; see --dir: %w", err)
	}
	c.Dir = dir
	if err := c.checkDir(); err != nil {
		return c, err
	}
	token, err := member.DevToken(dir)
	if err != nil {
		return c, err
	}
	if err := devCerts(dir); err != nil {
		return c, err
	}
	return devSettings(c, token, kmip, https)
}

// FindDev returns the settings of a folder that Dev has made. It makes nothing.
func FindDev(dir, kmip, https string) (Config, error) {
	c := Defaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	token, err := member.FindDevToken(dir)
	if err != nil {
		return c, err
	}
	return devSettings(c, token, kmip, https)
}

// devSettings fills in the settings of a development server whose folder is whole.
func devSettings(c Config, token member.Config, kmip, https string) (Config, error) {
	dir := c.Dir
	c.Node, c.KMIP, c.HTTPS, c.dev = "dev", kmip, https, &token
	c.TLS.Certificate, c.TLS.Key = filepath.Join(dir, "certs", "server.pem"), filepath.Join(dir, "certs", "server-key.pem")
	c.TLS.ClientCA, c.TLS.ClientCRL = filepath.Join(dir, "certs", "ca.pem"), filepath.Join(dir, "certs", "crl.pem")
	c.Enrollment.Certificate, c.Enrollment.Key = filepath.Join(dir, "certs", certs.EnrollmentCertificate), filepath.Join(dir, "certs", certs.EnrollmentKey)
	own, err := certs.Fingerprint(dir)
	if err != nil {
		return c, err
	}
	c.TLS.Authorities = []authn.Authority{{Fingerprint: own, Tenants: []string{"*"}, Groups: []string{"*"}, Roles: []string{"*", core.SystemRole}}}
	c.Store.URL = "sqlite:" + filepath.Join(dir, "keyreeve.db")
	if url := os.Getenv("KEYREEVE_DEV_STORE"); url != "" {
		c.Store.URL = url // another database for tests
	}
	if module := os.Getenv("KEYREEVE_DEV_MODULE"); module != "" {
		token.Module = module // one in front of SoftHSM2, for tests
	}
	c.HSM.AllowSoftware = true
	if os.Getenv("KEYREEVE_DEV_COPIES") == "none" {
		c.HSM.Copies = -1 // measure what a key costs that is not in memory
	}
	return c, c.check()
}

func devCerts(dir string) error {
	if err := certs.Init(dir); err != nil {
		return err
	}
	for _, name := range []string{"dev", "dev2"} {
		if _, err := os.Stat(filepath.Join(dir, "certs", name+".pem")); err == nil {
			continue
		}
		if err := certs.Issue(dir, certs.Request{Name: name, Tenant: "default", Groups: []string{devGroup}, Roles: []string{"monitor"}}); err != nil {
			return err
		}
	}
	return nil
}

func loopback(name, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return core.Errorf(core.InvalidField, "%s must be host:port, not %q", name, address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return core.Errorf(core.InvalidField, "%s is %s, and --dev serves the loopback alone: its PIN and keys lie in files; use --config for others", name, address)
	}
	return nil
}
