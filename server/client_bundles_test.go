package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/bundle"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// The files that are made for each product let a client in over TLS and KMIP.
func TestBundlesOfEachProduct(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	_, port, err := net.SplitHostPort(s.KMIP)
	if err != nil {
		t.Fatal(err)
	}
	listed := ofClientCommand(t, s, true, "products")
	for _, p := range bundle.Products() {
		folder := filepath.Join(s.Dir, "bundles-"+p.Name)
		name := p.Name + "-1"
		said := ofClient(t, s, "add", name, "--for", p.Name, "--out", folder)
		if !strings.Contains(said, "localhost") || !strings.Contains(said, port) || !strings.Contains(said, "server-ca.pem") || !strings.Contains(listed, p.Name+" ") {
			t.Errorf("%s: the server is not named in:\n%s", p.Name, said)
		}
		if got := knownOverKMIP(dialWith(t, s, bundleTLS(t, folder, name, p.Form), core.V1_4)); got != 200 {
			t.Errorf("%s: %d", p.Name, got)
		}
	}
}

// bundleTLS returns the settings of a client that has only the files of a bundle.
func bundleTLS(t *testing.T, folder, name string, form bundle.Form) *tls.Config {
	t.Helper()
	at := func(file string) string { return filepath.Join(folder, file) }
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(at(bundle.Authority))
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("the authority: %v", err)
	}
	config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if key := name + "-key.pem"; form != bundle.FormPKCS12 {
		if form == bundle.FormCombined {
			key = name + ".pem"
		}
		pair, err := tls.LoadX509KeyPair(at(name+".pem"), at(key))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
		return config
	}
	data, err := os.ReadFile(at(name + ".p12"))
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(at(name + "-password.txt"))
	if err != nil {
		t.Fatal(err)
	}
	key, leaf, err := pkcs12.Decode(data, strings.TrimSpace(string(password)))
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}}
	return config
}

// ofClientCommand runs a command on the enrolled clients that may fail. without: it asks no server.
func ofClientCommand(t *testing.T, s *servertest.Server, without bool, args ...string) string {
	t.Helper()
	args = slices.Concat([]string{"client"}, args)
	if !without {
		args = append(args, "--dir", s.Dir)
	}
	out, err := s.Command(args...)
	if err != nil && without {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// What goes wrong leaves no files and no certificate that proves anything. A product that has
// made its own request gets the certificate and the authority alone.
func TestBundleThatFails(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	folder := filepath.Join(s.Dir, "out")
	for what, c := range map[string]struct {
		args []string
		says string
	}{
		"no product":               {[]string{"add", "a1", "--for", "toaster", "--out", folder}, `there is no product "toaster"; known are barbican, ceph,`},
		"neither":                  {[]string{"add", "a1", "--out", folder}, "give --for with a product"},
		"a folder without parent":  {[]string{"add", "a1", "--for", "ceph", "--out", filepath.Join(folder, "deep")}, "no such file"},
		"a folder that exists":     {[]string{"add", "a1", "--for", "ceph", "--out", s.Dir}, "exists already, and nothing is overwritten"},
		"a client that is no name": {[]string{"add", "../a1", "--for", "ceph", "--out", folder}, "cannot be the name"},
		"a client with a bad name": {[]string{"add", "a 1", "--for", "ceph", "--out", folder}, "cannot be a client"},
		"no such client":           {[]string{"renew", "a1", "--for", "ceph", "--out", folder}, "there is no client"},
		"another authority":        {[]string{"add", "a1", "--for", "ceph", "--out", folder, "--server-ca", filepath.Join(s.Certs, "clients-ca.pem")}, "has no authority of the server's certificate"},
		"form for a request":       {[]string{"add", "a1", "--for", "ceph", "--out", folder, "--form", "pkcs12", "--csr", filepath.Join(s.Certs, "ca.pem")}, "leave them out with --csr"},
		"a bad request":            {[]string{"add", "a1", "--for", "vcenter", "--out", folder, "--csr", filepath.Join(s.Certs, "ca.pem")}, "no certificate was issued"},
	} {
		if out := ofClientCommand(t, s, false, c.args...); !strings.Contains(out, c.says) {
			t.Errorf("%s: %s", what, out)
		}
		if _, err := os.Stat(folder); err == nil {
			t.Fatalf("%s left %s", what, folder)
		}
	}
	if out := ofClientCommand(t, s, false, "list"); strings.Contains(out, "a1") {
		t.Errorf("a client was made: %s", out)
	}

	// The file system takes no byte, so writing fails after the certificate was issued.
	full := exec.Command("sh", "-c", `ulimit -f 0; exec "$0" "$@"`, servertest.Binary(t), "client", "add", "a1", "--for", "ceph", "--out", folder, "--dir", s.Dir)
	out, err := full.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the certificate was revoked and its files were removed; try keyreeve client renew a1 --for ceph") {
		t.Errorf("a full file system: %v\n%s", err, out)
	}
	if _, err := os.Stat(folder); err == nil {
		t.Errorf("%s is still there", folder)
	}
	var one server.EnrolledClient
	if err := json.Unmarshal([]byte(ofClient(t, s, "show", "a1")), &one); err != nil || len(one.Certificates) != 1 || one.Certificates[0].RevokedAt == nil {
		t.Errorf("the client is %+v, %v; want one certificate, which is revoked", one, err)
	}
	ofClient(t, s, "renew", "a1", "--for", "ceph", "--form", "combined", "--key", "p384", "--server", "kms.example.com:5697", "--out", folder)
	if _, err := tls.LoadX509KeyPair(filepath.Join(folder, "a1.pem"), filepath.Join(folder, "a1.pem")); err != nil {
		t.Error(err)
	}

	key, request := certificateRequest(t)
	said := ofClient(t, s, "add", "vcenter1", "--for", "vcenter", "--csr", write(t, filepath.Join(s.Dir, "vcenter1.csr"), request), "--out", filepath.Join(s.Dir, "own"))
	if all, _ := os.ReadDir(filepath.Join(s.Dir, "own")); len(all) != 2 || strings.Contains(said, "private key") {
		t.Errorf("%d files, and:\n%s", len(all), said)
	}
	certificate, err := os.ReadFile(filepath.Join(s.Dir, "own", "vcenter1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if got := knownOverKMIP(dialWith(t, s, enrolledTLS(t, s, string(certificate), key), core.V1_1)); got != 200 {
		t.Errorf("a client with its own request: %d", got)
	}
}
