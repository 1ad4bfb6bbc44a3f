package password

import (
	"errors"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

func ofDevice(d proof.Device, password string) []proof.Credential {
	c := proof.Credential{Type: core.CredentialTypeDevice, Device: &d}
	if password != "" {
		c.Password = []byte(password)
	}
	return []proof.Credential{c}
}

// A device logs in with the password of the user that its identifier names, if it has each
// identifier that is laid down for that user. On one connection the identifiers are looked at in
// each message.
func TestDevicesLogIn(t *testing.T) {
	users, v := world()
	users.Put("acme", "drive-17", func(u *core.User) bool {
		u.Password, u.Attributes = hashed(), map[string]string{proof.MachineIdentifierAttribute: "host 3", proof.MediaIdentifierAttribute: "tape 9"}
		return true
	})
	whole := proof.Device{SerialNumber: "drive-17", Machine: "host 3", Media: "tape 9", Network: "any"}
	named := proof.Device{SerialNumber: "another", Identifier: "drive-17", Machine: "host 3", Media: "tape 9"}
	for what, c := range map[string]struct {
		given []proof.Credential
		cause string // "": it is let in
	}{
		"by its serial number":       {ofDevice(whole, secret), ""},
		"by its identifier":          {ofDevice(named, secret), ""},
		"another machine":            {ofDevice(proof.Device{SerialNumber: "drive-17", Machine: "host 4", Media: "tape 9"}, secret), errOtherDevice.Error()},
		"no medium":                  {ofDevice(proof.Device{SerialNumber: "drive-17", Machine: "host 3"}, secret), errOtherDevice.Error()},
		"a wrong password":           {ofDevice(whole, "wrong horse battery"), errWrong.Error()},
		"an unknown device":          {ofDevice(proof.Device{SerialNumber: "drive-18"}, secret), "there is no such user"},
		"a serial number of a phone": {ofDevice(proof.Device{SerialNumber: "no name"}, secret), "there is no such user"},
	} {
		certificate := array7()
		certificate.ID = what
		p, err := v.ForConnection("10.1.0.1 "+what)(ctx, certificate, c.given) // an address for each, so that nobody is slowed down
		if c.cause == "" {
			if err != nil || p.ID != "drive-17" || p.Method != core.MethodDevice || p.Strength != core.StrengthPassword {
				t.Errorf("%s: %+v, %v; want the user drive-17", what, p, err)
			}
			continue
		}
		refusedLogin(t, what, p, err)
		if e, ok := errors.AsType[*core.Error](err); ok && e.Err.Error() != c.cause {
			t.Errorf("%s: the cause is %v, want %s", what, e.Err, c.cause)
		}
	}
	connection, certificate := v.ForConnection("10.1.0.2"), array7()
	first, err := connection(ctx, certificate, ofDevice(whole, secret))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := connection(ctx, certificate, ofDevice(whole, secret)); err != nil || again != first {
		t.Errorf("the second message is of %+v, %v; want the same principal", again, err)
	}
	other := whole
	other.Machine = "host 4"
	p, err := connection(ctx, certificate, ofDevice(other, secret))
	refusedLogin(t, "other identifiers on the same connection", p, err)
	if p, err := connection(ctx, certificate, ofDevice(whole, secret)); err != nil || p.ID != "drive-17" {
		t.Errorf("the right identifiers after wrong ones: %+v, %v", p, err)
	}
	if p, err := connection(ctx, certificate, userAndPassword("drive-17", secret)); err != nil || p.Method != core.MethodPassword {
		t.Errorf("the same user by Username and Password: %+v, %v; want the method password", p, err)
	}
}

// A Device credential that names nobody or has no password is refused with a sentence that says so,
// and one without any field says nothing.
func TestDevicesNeedNameAndPassword(t *testing.T) {
	_, v := world()
	certificate := array7()
	for _, given := range [][]proof.Credential{ofDevice(proof.Device{Machine: "host 3"}, secret), ofDevice(proof.Device{SerialNumber: "alice"}, "")} {
		p, err := v.ForConnection("10.1.0.3")(ctx, certificate, given)
		refusedLogin(t, "an incomplete device", p, err)
	}
	if p, err := v.ForConnection("10.1.0.3")(ctx, certificate, ofDevice(proof.Device{}, "")); err != nil || p != certificate {
		t.Errorf("an empty Device credential is of %+v, %v; want the certificate's principal", p, err)
	}
}
