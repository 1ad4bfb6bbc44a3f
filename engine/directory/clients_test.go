package directory

import (
	"bytes"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// goodClient has a value in each field.
func goodClient() *Client {
	return &Client{Groups: []string{"storage"}, Roles: []string{"user"}, InvitationHash: make([]byte, 32), InvitationEnds: 7,
		Certificates: []ClientCertificate{{Serial: "1f", Fingerprint: strings.Repeat("ab", 32), Issued: 1, Expires: 2, Revoked: 2}}}
}

// A client is read back as it was written, and one out of bounds is not written.
func TestClientBody(t *testing.T) {
	body, err := core.EncodeBody(goodClient())
	if err != nil {
		t.Fatal(err)
	}
	var back Client
	if err := core.DecodeBody(body, &back); err != nil || !back.CanRevoke("1f") || back.CanRevoke("1F") || back.CanRevoke("") {
		t.Errorf("%+v, %v", back, err)
	}
	for what, change := range map[string]func(*Client){
		"a role of the machine":        func(c *Client) { c.Roles = []string{"system"} },
		"a group that is no name":      func(c *Client) { c.Groups = []string{"a b"} },
		"a role twice":                 func(c *Client) { c.Roles = []string{"user", "user"} },
		"too many certificates":        func(c *Client) { c.Certificates = make([]ClientCertificate, MaxClientCertificates+1) },
		"a short hash":                 func(c *Client) { c.InvitationHash = []byte{1} },
		"a hash without an end":        func(c *Client) { c.InvitationEnds = 0 },
		"an end without a hash":        func(c *Client) { c.InvitationHash = nil },
		"a serial number in capitals":  func(c *Client) { c.Certificates[0].Serial = "1F" },
		"a serial number of 0":         func(c *Client) { c.Certificates[0].Serial = "0" },
		"a long serial number":         func(c *Client) { c.Certificates[0].Serial = strings.Repeat("f", 41) },
		"no fingerprint":               func(c *Client) { c.Certificates[0].Fingerprint = "" },
		"an end before the beginning":  func(c *Client) { c.Certificates[0].Expires = 0 },
		"a predecessor in capitals":    func(c *Client) { c.Certificates[0].RenewedFrom = "1E" },
		"a revocation before all time": func(c *Client) { c.Certificates[0].Revoked = -1 },
	} {
		c := goodClient()
		change(c)
		if _, err := core.EncodeBody(c); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// numbered returns a certificate with a serial number that was renewed from another one.
func numbered(serial, renewedFrom string, expires int64) ClientCertificate {
	return ClientCertificate{Serial: serial, Fingerprint: strings.Repeat("ab", 32), Issued: 1, Expires: expires, RenewedFrom: renewedFrom}
}

// A certificate is revoked together with those that were renewed from it, also if one between
// them has expired and is no longer kept. The list that others may be reading stays as it is.
func TestRevocationFollowsRenewals(t *testing.T) {
	all := []ClientCertificate{numbered("1", "", 100), numbered("2", "1", 50), numbered("a", "", 100), numbered("3", "2", 100), numbered("b", "a", 100), numbered("4", "3", 100)}
	for _, c := range []struct {
		now    int64
		serial string
		want   string
	}{{1, "1", "1 2 3 4"}, {50, "1", "1 3 4"}, {1, "3", "3 4"}, {1, "a", "a b"}, {1, "4", "4"}, {1, "", "1 2 a 3 b 4"}, {50, "2", ""}, {1, "c", ""}} {
		of := Client{Certificates: all}
		of.Certificates = of.WithoutExpired(c.now)
		if got := strings.Join(of.Revoke(c.serial, 7), " "); got != c.want {
			t.Errorf("at %d the revocation of %q revokes %q, want %q", c.now, c.serial, got, c.want)
		}
		if again := of.Revoke(c.serial, 8); again != nil {
			t.Errorf("the second revocation of %q revokes %v", c.serial, again)
		}
	}
	for _, one := range all {
		if one.Revoked != 0 || one.Serial == "3" && one.RenewedFrom != "2" {
			t.Errorf("the list that was given has changed: %+v", one)
		}
	}
}

// If the first certificate of a chain and those after it have expired, one after another, its
// serial number still revokes the certificates that were renewed from it.
func TestRevocationFollowsRenewalsFromDroppedCertificates(t *testing.T) {
	c := Client{Certificates: []ClientCertificate{numbered("1", "", 10), numbered("a", "", 100), numbered("2", "1", 20)}}
	for _, next := range []struct {
		now  int64
		made ClientCertificate
	}{{10, numbered("3", "2", 30)}, {20, numbered("4", "3", 100)}, {30, numbered("5", "4", 100)}} {
		c.Certificates = append(c.WithoutExpired(next.now), next.made)
		if !c.CanRevoke("1") {
			t.Errorf("at %d the first certificate of the chain is no longer known", next.now)
		}
	}
	if got := strings.Join(c.Revoke("1", 40), " "); got != "4 5" {
		t.Errorf("the first certificate revokes %q, want %q", got, "4 5")
	}
	if c.CanRevoke("b") || len(c.Revoke("b", 40)) != 0 {
		t.Error("a serial number that was never issued revokes something")
	}
}

// Only the text that was made is an invitation, and only until it ends.
func TestInvitation(t *testing.T) {
	secret, stored := NewInvitation()
	hash, ok := ParseInvitation(string(secret))
	c := &Client{InvitationHash: stored, InvitationEnds: 100}
	if !ok || !bytes.Equal(hash[:], stored) || !c.IsInvited(&hash, 99) || c.IsInvited(&hash, 100) {
		t.Error("a new invitation does not work until its end")
	}
	none := [32]byte{}
	if c.IsInvited(&none, 1) || (&Client{}).IsInvited(&none, -1) {
		t.Error("another secret, or none, is an invitation")
	}
	last := secret[len(secret)-1]
	for what, text := range map[string]string{
		"nothing": "", "the prefix": "kri_", "one letter less": string(secret[:len(secret)-1]), "one more": string(secret) + "a", "capitals": strings.ToUpper(string(secret)),
		"another prefix": "kr1_" + string(secret[4:]), "bits that mean nothing": string(secret[:len(secret)-1]) + string(last+1),
	} {
		if _, ok := ParseInvitation(text); ok {
			t.Errorf("%s is an invitation", what)
		}
	}
}
