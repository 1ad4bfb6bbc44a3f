// Package ldaptest starts OpenLDAP's slapd for tests, with a few people and groups.
//
// It serves on loopback addresses, in a folder of its own, as a user without privileges. Start
// at [Start].
package ldaptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// What the directory has. Each person's password is [Password], and that of the service account
// [ServicePassword].
const (
	Base            = "dc=example,dc=com"
	People          = "ou=people," + Base
	Groups          = "ou=groups," + Base
	ServiceDN       = "cn=keyreeve," + Base
	Password        = "correct horse"
	ServicePassword = "service password"

	rootDN       = "cn=root," + Base
	rootPassword = "root password"
)

// Server is the slapd of one test.
type Server struct {
	LDAPS, LDAP      string // URLs
	CA, PasswordFile string // paths
	Certificate      tls.Certificate

	t       testing.TB
	dir     string
	process *exec.Cmd
}

// Start starts a slapd whose certificate is for 127.0.0.1, unless change says otherwise. It
// skips the test if there is none.
func Start(t testing.TB, change ...func(*x509.Certificate)) *Server {
	t.Helper()
	if _, err := exec.LookPath("slapd"); err != nil {
		t.Skip("slapd is not installed: apt-get install slapd")
	}
	s := &Server{t: t, LDAPS: freeURL(t, "ldaps"), LDAP: freeURL(t, "ldap")}
	var err error
	if s.dir, err = os.MkdirTemp("", "slapd"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	t.Cleanup(s.Stop)
	s.writeCertificates(change)
	s.PasswordFile = s.write("password", ServicePassword+"\n")
	s.write("slapd.conf", fmt.Sprintf(configuration, s.dir, Base, rootDN, rootPassword))
	s.write("entries.ldif", entries)
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		s.giveAway()
	}
	if out, err := s.command("slapadd", "-l", filepath.Join(s.dir, "entries.ldif")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	s.Run()
	return s
}

const configuration = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
allow bind_anon_cred
TLSCertificateFile %[1]s/certificate.pem
TLSCertificateKeyFile %[1]s/key.pem
database mdb
suffix %[2]q
directory %[1]s/data
rootdn %[3]q
rootpw %[4]q
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=keyreeve,dc=example,dc=com" read by * none
`

const entries = `dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit

dn: cn=keyreeve,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
userPassword: service password
`

// nobody is the user and group that has no rights.
const nobody = 65534

// giveAway makes nobody the owner of the folder.
func (s *Server) giveAway() {
	err := filepath.Walk(s.dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil || path == s.PasswordFile {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) command(name string, more ...string) *exec.Cmd {
	c := exec.Command(name, append([]string{"-f", filepath.Join(s.dir, "slapd.conf")}, more...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return c
}

// Run starts slapd and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	s.process = s.command("slapd", "-h", s.LDAP+" "+s.LDAPS, "-d", "0")
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 200 {
		if c, err := ldap.DialURL(s.LDAP); err == nil {
			c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatal("slapd does not answer within 4 s")
}

// Stop ends slapd.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	s.process.Wait()
	s.process = nil
}

// Pause makes slapd hang, and Resume ends that.
func (s *Server) Pause() {
	s.process.Process.Signal(syscall.SIGSTOP)
	syscall.Wait4(s.process.Process.Pid, nil, syscall.WUNTRACED, nil) // until all threads have stopped
}
func (s *Server) Resume() { s.process.Process.Signal(syscall.SIGCONT) }

// change runs f with a connection of the directory's administrator.
func (s *Server) change(f func(*ldap.Conn) error) {
	s.t.Helper()
	c, err := ldap.DialURL(s.LDAP)
	if err == nil {
		defer c.Close()
		err = c.Bind(rootDN, rootPassword)
	}
	if err == nil {
		err = f(c)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// AddPerson adds a person with the password [Password].
func (s *Server) AddPerson(uid string) (dn string) {
	s.t.Helper()
	dn = "uid=" + ldap.EscapeDN(uid) + "," + People
	s.change(func(c *ldap.Conn) error {
		add := ldap.NewAddRequest(dn, nil)
		for name, value := range map[string]string{"objectClass": "inetOrgPerson", "cn": uid, "sn": uid, "userPassword": Password} {
			add.Attribute(name, []string{value})
		}
		return c.Add(add)
	})
	return dn
}

// AddGroup adds a group below a base, whose members are DNs.
func (s *Server) AddGroup(cn, base string, members ...string) (dn string) {
	s.t.Helper()
	dn = "cn=" + cn + "," + base
	s.change(func(c *ldap.Conn) error {
		add := ldap.NewAddRequest(dn, nil)
		add.Attribute("objectClass", []string{"groupOfNames"})
		add.Attribute("member", members)
		return c.Add(add)
	})
	return dn
}

// Replace replaces an attribute of an entry.
func (s *Server) Replace(dn, attribute string, values ...string) {
	s.t.Helper()
	s.change(func(c *ldap.Conn) error {
		m := ldap.NewModifyRequest(dn, nil)
		m.Replace(attribute, values)
		return c.Modify(m)
	})
}

// Remove removes an entry.
func (s *Server) Remove(dn string) {
	s.t.Helper()
	s.change(func(c *ldap.Conn) error { return c.Del(ldap.NewDelRequest(dn, nil)) })
}

func (s *Server) write(name, text string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func freeURL(t testing.TB, scheme string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return scheme + "://" + l.Addr().String()
}

// writeCertificates makes an authority, and a certificate of the server.
func (s *Server) writeCertificates(change []func(*x509.Certificate)) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	own := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "slapd"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	for _, f := range change {
		f(own)
	}
	s.CA = s.write("ca.pem", s.sign(authority, authority, key))
	certificate := s.sign(own, authority, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	s.write("certificate.pem", certificate)
	s.write("key.pem", private)
	if s.Certificate, err = tls.X509KeyPair([]byte(certificate), []byte(private)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) sign(c, by *x509.Certificate, key *ecdsa.PrivateKey) string {
	s.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
