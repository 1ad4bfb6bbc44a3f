package ldap_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/ldap/ldaptest"
)

// faultyServer answers binds, and searches by f, over TLS with the certificate of a directory.
func faultyServer(t *testing.T, s *ldaptest.Server, f func(c net.Conn, messageID int64)) ldap.Settings {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{s.Certificate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go serveFaulty(c, f)
		}
	}()
	settings := settingsOf(s)
	settings.URL, settings.Timeout = "ldaps://"+l.Addr().String(), 2*time.Second
	return settings
}

func serveFaulty(c net.Conn, f func(c net.Conn, messageID int64)) {
	defer c.Close()
	for {
		request, err := ber.ReadPacket(c)
		if err != nil || len(request.Children) < 2 {
			return
		}
		id := request.Children[0].Value.(int64)
		if request.Children[1].Tag != 0 {
			f(c, id)
			continue
		}
		c.Write(answer(id, 1, result(0)...))
	}
}

// answer returns a message of LDAP (RFC 4511 §4.1.1).
func answer(id int64, operation ber.Tag, parts ...*ber.Packet) []byte {
	message := ber.NewSequence("")
	message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	body := ber.Encode(ber.ClassApplication, ber.TypeConstructed, operation, nil, "")
	for _, p := range parts {
		body.AppendChild(p)
	}
	message.AppendChild(body)
	return message.Bytes()
}

func text(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// result returns the parts of an LDAPResult (RFC 4511 §4.1.9).
func result(code int64) []*ber.Packet {
	return []*ber.Packet{ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""), text(""), text("")}
}

// person returns a SearchResultEntry (RFC 4511 §4.5.2) with an attribute of so many values.
func person(id int64, dn, uid string, values int) []byte {
	attributes := ber.NewSequence("")
	for name, list := range map[string][]string{"uid": {uid}, "memberOf": slices.Repeat([]string{"cn=x," + ldaptest.Groups}, values)} {
		attribute, set := ber.NewSequence(""), ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range list {
			set.AppendChild(text(v))
		}
		attribute.AppendChild(text(name))
		attribute.AppendChild(set)
		attributes.AppendChild(attribute)
	}
	return answer(id, 4, text(dn), attributes)
}

// Whatever a directory sends, the login is refused or fails, and takes bounded memory and time.
func TestHostileDirectory(t *testing.T) {
	s := ldaptest.Start(t)
	alice := "uid=alice," + ldaptest.People
	for what, c := range map[string]struct {
		search func(net.Conn, int64)
		cause  string
	}{
		"an entry of another base": {func(c net.Conn, id int64) {
			c.Write(append(person(id, "cn=root,dc=elsewhere", "alice", 0), answer(id, 5, result(0)...)...))
		}, "outside of user_base"},
		"an entry without a DN": {func(c net.Conn, id int64) {
			c.Write(append(person(id, "", "alice", 0), answer(id, 5, result(0)...)...))
		}, "outside of user_base"},
		"a DN that is none": {func(c net.Conn, id int64) {
			c.Write(append(person(id, "alice", "alice", 0), answer(id, 5, result(0)...)...))
		}, "outside of user_base"},
		"a name of many characters": {func(c net.Conn, id int64) {
			c.Write(append(person(id, alice, strings.Repeat("x", 5000), 0), answer(id, 5, result(0)...)...))
		}, "exactly one name"},
		"a referral":                 {func(c net.Conn, id int64) { c.Write(answer(id, 5, result(10)...)) }, "referrals are not followed"},
		"a large entry":              {func(c net.Conn, id int64) { c.Write(person(id, alice, "alice", 20_000)) }, "too large"},
		"entries without end":        {func(c net.Conn, id int64) { sendUntilClosed(c, person(id, alice, "alice", 1)) }, "LDAP directory"},
		"other answers without end":  {func(c net.Conn, id int64) { sendUntilClosed(c, answer(id+1, 5, result(0)...)) }, "LDAP directory"},
		"references without end":     {func(c net.Conn, id int64) { sendUntilClosed(c, answer(id, 19, text("ldap://other/"))) }, "LDAP directory"},
		"a length of two gigabytes":  {func(c net.Conn, id int64) { c.Write([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xf0}) }, "cannot verify"},
		"nested without end":         {func(c net.Conn, id int64) { sendUntilClosed(c, []byte{0x30, 0x80}) }, "cannot verify"},
		"a connection that it ends":  {func(c net.Conn, id int64) { c.Close() }, "cannot verify"},
		"no answer":                  {func(c net.Conn, id int64) {}, "cannot verify"},
		"bytes that are no LDAP":     {func(c net.Conn, id int64) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, "cannot verify"},
		"an entry without its parts": {func(c net.Conn, id int64) { c.Write(answer(id, 4)) }, "cannot verify"},
	} {
		d := open(t, faultyServer(t, s, c.search))
		before := coretest.HeapBytes()
		u, err := d.Verify(ctx, "alice", []byte(ldaptest.Password))
		if code := core.CodeOf(err); u != nil || code != core.AuthenticationNotSuccessful && code != core.StoreUnavailable || !strings.Contains(causes(err), c.cause) {
			t.Errorf("%s: %+v, %v; want a refusal because of %q", what, u, err, c.cause)
		}
		if grown := coretest.HeapBytes() - before; grown > 32<<20 {
			t.Errorf("%s: %d bytes are still in use", what, grown)
		}
	}
}

// A group that the service account does not see refuses the person who is in it: it could escape a
// denial. It is no outage, or that person could keep everybody else out.
func TestHiddenGroup(t *testing.T) {
	s := ldaptest.Start(t)
	alice := "uid=alice," + ldaptest.People
	for what, hidden := range map[string]int64{"nothing is found": 0, "there is no such object": 32, "no right to read it": 50, "a referral": 10} {
		searches := 0
		settings := faultyServer(t, s, func(c net.Conn, id int64) {
			if searches++; searches%2 == 1 {
				c.Write(append(person(id, alice, "alice", 1), answer(id, 5, result(0)...)...))
				return
			}
			c.Write(answer(id, 5, result(hidden)...))
		})
		settings.MemberOf, settings.NestedGroups = "memberOf", true
		d := open(t, settings)
		u, err := d.Verify(ctx, "alice", []byte(ldaptest.Password))
		refused(t, what, u, err, "does not show the group")
		if problem := d.Health().Problem; problem != "" {
			t.Errorf("%s: health has %q; want no outage", what, problem)
		}
	}
}

// sendUntilClosed sends the same bytes until the other side has closed the connection.
func sendUntilClosed(c net.Conn, b []byte) {
	many := bytes.Repeat(b, 1+4096/len(b))
	for {
		if _, err := c.Write(many); err != nil {
			return
		}
	}
}
