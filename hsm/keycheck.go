package hsm

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"maps"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// A key of a set is used only if it is the key that was made: the one object of
// its label, with every attribute as setTemplates has it, and with the check
// value that was taken when it was made. A key gives its check value by doing
// what it is for, since it may do nothing else: a KEK wraps a known key, D
// opens a known text, the others sign one.
//
// CKA_LOCAL, CKA_NEVER_EXTRACTABLE and CKA_ALWAYS_SENSITIVE are not compared:
// a key that came into the token wrapped has none of them.

// checkText is what D encrypts and what R, V and S sign for a check value. It is
// no text that keys are derived from.
const checkText = "keyreeve check value v1"

// checkKeyValue is the key that KEKs wrap for their check value. It is public.
var checkKeyValue = sha256.Sum256([]byte("keyreeve check key v1"))

// checker checks keys in one session.
type checker struct {
	*Token
	s     p11.SessionHandle
	code  core.Code        // of a key that is not as it was made
	known p11.ObjectHandle // the key that KEKs wrap
	open  p11.ObjectHandle // one that is not sensitive, which N and X must refuse
}

func (t *Token) newChecker(s p11.SessionHandle, code core.Code) (c *checker, err error) {
	c = &checker{Token: t, s: s, code: code}
	value := checkKeyValue
	if c.known, err = t.glue.createSecret(s, aes(true, true), value[:]); err != nil {
		return nil, err
	}
	if c.open, err = t.glue.createSecret(s, aes(false, true), value[:]); err != nil {
		t.lib.DestroyObject(s, c.known)
		return nil, err
	}
	return c, nil
}

func (c *checker) close() {
	c.lib.DestroyObject(c.s, c.known)
	c.lib.DestroyObject(c.s, c.open)
}

// check refuses a key that is not as it was made and returns its check value.
// want is the value that it must have; nil takes any.
func (c *checker) check(h p11.ObjectHandle, label, purpose string, want []byte) ([]byte, error) {
	for _, f := range []func(p11.ObjectHandle, setTemplate) (string, error){c.plain, c.length, c.mechanisms, c.templates} {
		why, err := f(h, setTemplates[purpose])
		if err != nil {
			return nil, err
		}
		if why != "" {
			return nil, c.refuse(label, why)
		}
	}
	value, why, err := c.behaves(h, purpose, want)
	if err == nil && why != "" {
		err = c.refuse(label, why)
	}
	return value, err
}

func (c *checker) refuse(label, why string) error {
	return core.Wrap(c.code, errNotAsMade, "key %s in token %q is not as keyreeve made it: %s. Find out who can write the token, and restore it from a backup", label, c.cfg.Label, why)
}

// plain compares every attribute that has a simple value.
func (c *checker) plain(h p11.ObjectHandle, s setTemplate) (string, error) {
	want := template(p11.CKO_SECRET_KEY, s.keyType, true, false, s.uses, unmodifiable())
	if c.inPlace {
		want = append(want, p11.NewAttribute(p11.CKA_COPYABLE, false))
	}
	ask := make([]*p11.Attribute, len(want))
	for i, a := range want {
		ask[i] = p11.NewAttribute(a.Type, nil)
		if a.Type == p11.CKA_TOKEN {
			a.Value = []byte{1}
		}
	}
	got, err := c.lib.GetAttributeValue(c.s, h, ask)
	if err != nil {
		return "", err
	}
	for i, a := range got {
		if !bytes.Equal(a.Value, want[i].Value) {
			return fmt.Sprintf("attribute %#x is %x, not %x", a.Type, a.Value, want[i].Value), nil
		}
	}
	return "", nil
}

// length compares CKA_VALUE_LEN where the token knows it: SoftHSM2 says 0 of a
// key that came in wrapped.
func (c *checker) length(h p11.ObjectHandle, _ setTemplate) (string, error) {
	got, err := c.lib.GetAttributeValue(c.s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE_LEN, nil)})
	if err != nil || len(got[0].Value) != 8 {
		return "", notRead(err)
	}
	if n := binary.NativeEndian.Uint64(got[0].Value); n != 0 && n != setKeyBytes {
		return fmt.Sprintf("its length is %d bytes, not %d", n, setKeyBytes), nil
	}
	return "", nil
}

// mechanisms compares CKA_ALLOWED_MECHANISMS. Where a token does not show it,
// the mechanism that is nearest to the right one is tried, and must be refused.
func (c *checker) mechanisms(h p11.ObjectHandle, s setTemplate) (string, error) {
	got, err := c.lib.GetAttributeValue(c.s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, nil)})
	if err == nil {
		if want := mechanismList(s.allowed).Value; !bytes.Equal(got[0].Value, want) {
			return fmt.Sprintf("its CKA_ALLOWED_MECHANISMS is %x, not %x", got[0].Value, want), nil
		}
		return "", nil
	}
	if err := notRead(err); err != nil {
		return "", err
	}
	s2, err := c.lib.OpenSession(c.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return "", err
	}
	defer c.lib.CloseSession(s2) // with what was let through still open in it
	if c.other(s2, h, s) == nil {
		return "it can be used by a mechanism that it is not for", nil
	}
	return "", nil
}

// other uses a key by a mechanism that it is not for.
func (c *checker) other(s p11.SessionHandle, h p11.ObjectHandle, t setTemplate) error {
	switch t.allowed {
	case ckmAESKeyWrap:
		_, err := c.lib.WrapKey(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_CBC_PAD, make([]byte, 16))}, h, c.known)
		return err
	case p11.CKM_AES_GCM:
		return c.lib.EncryptInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_ECB, nil)}, h)
	}
	return c.lib.SignInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA512_HMAC, nil)}, h)
}

// notRead is nil for an attribute that the token does not show, and the error
// for a token that is not there.
func notRead(err error) error {
	if classOf(err) >= goneFault {
		return err
	}
	return nil
}

// templates compares the templates inside the template. behaves tries them as
// well: a token that does not show them is judged by that alone.
func (c *checker) templates(h p11.ObjectHandle, s setTemplate) (string, error) {
	for _, a := range []struct {
		name string
		attr uint
		want []flag
	}{{"CKA_WRAP_TEMPLATE", ckaWrapTemplate, s.wrap}, {"CKA_UNWRAP_TEMPLATE", ckaUnwrapTemplate, s.unwrap}} {
		got, err := c.glue.readTemplate(c.s, h, a.attr)
		if err != nil {
			if err := notRead(err); err != nil {
				return "", err
			}
			continue
		}
		want := map[uint][]byte{}
		for _, f := range a.want {
			want[f.attribute] = p11.NewAttribute(f.attribute, f.value).Value
		}
		if !maps.EqualFunc(got, want, bytes.Equal) {
			return fmt.Sprintf("its %s is %x, not %x", a.name, got, want), nil
		}
	}
	return "", nil
}

// behaves tries a key, and compares its check value with want.
func (c *checker) behaves(h p11.ObjectHandle, purpose string, want []byte) (value []byte, why string, err error) {
	switch setTemplates[purpose].allowed {
	case ckmAESKeyWrap:
		value, why, err = c.wraps(h, setTemplates[purpose])
	case p11.CKM_AES_GCM:
		return c.opens(h, want)
	default:
		if err = c.lib.SignInit(c.s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA256_HMAC, nil)}, h); err == nil {
			value, err = c.lib.Sign(c.s, []byte(checkText))
		}
	}
	if err != nil || why != "" {
		return nil, failed(&err, why), err
	}
	if want != nil && subtle.ConstantTimeCompare(value, want) != 1 {
		return nil, "its check value is another one", nil
	}
	return value, "", nil
}

// failed turns an error of a key that does not do what it is for into a reason.
func failed(err *error, why string) string {
	if *err != nil && classOf(*err) < goneFault {
		why = fmt.Sprintf("it does not do what it is for (%v)", *err)
		*err = nil
	}
	return why
}

// wraps wraps the known key, and tries what the templates must refuse.
func (c *checker) wraps(h p11.ObjectHandle, s setTemplate) (value []byte, why string, err error) {
	blob, err := c.lib.WrapKey(c.s, keyWrap, h, c.known)
	if err != nil {
		return nil, "", err
	}
	if s.wrap != nil {
		if _, err := c.lib.WrapKey(c.s, keyWrap, h, c.open); err == nil {
			return nil, "it wraps a key that is not sensitive", nil
		}
	}
	for _, f := range s.unwrap {
		if f.attribute == p11.CKA_PRIVATE {
			continue // a token may refuse public objects of itself; readTemplate has it
		}
		if why := c.unwraps(h, blob, f); why != "" {
			return nil, why, nil
		}
	}
	sum := sha256.Sum256(blob)
	return sum[:], "", nil
}

// unwraps asks for the contrary of a line of an unwrap template. A token may
// refuse, or keep to the template and ignore what is asked.
func (c *checker) unwraps(h p11.ObjectHandle, blob []byte, f flag) string {
	as := aes(true, false)
	for _, a := range as {
		if a.Type == f.attribute {
			a.Value = p11.NewAttribute(a.Type, !f.value).Value
		}
	}
	o, err := c.lib.UnwrapKey(c.s, keyWrap, h, blob, as)
	if err != nil {
		return ""
	}
	defer c.lib.DestroyObject(c.s, o)
	got, err := c.lib.GetAttributeValue(c.s, o, []*p11.Attribute{p11.NewAttribute(f.attribute, nil)})
	if err == nil && bytes.Equal(got[0].Value, p11.NewAttribute(f.attribute, f.value).Value) {
		return ""
	}
	return fmt.Sprintf("it unwraps a key with attribute %#x against its template", f.attribute)
}

// gcmIVBytes is the length of the IV of data under D.
const gcmIVBytes = 12

// opens has D open a text that it encrypted when it was made: a token that makes
// IVs itself encrypts to something else each time.
func (c *checker) opens(h p11.ObjectHandle, want []byte) (value []byte, why string, err error) {
	if want == nil {
		if want, err = c.sealText(h); err != nil {
			return nil, failed(&err, ""), err
		}
	}
	if len(want) != gcmIVBytes+len(checkText)+16 {
		return nil, "its check value is another one", nil
	}
	text, err := c.gcmOpen(c.s, h, want, []byte(checkText))
	if err != nil {
		return nil, failed(&err, ""), err
	}
	if string(text) != checkText {
		return nil, "its check value is another one", nil
	}
	return want, "", nil
}

func (c *checker) sealText(h p11.ObjectHandle) ([]byte, error) {
	iv := make([]byte, gcmIVBytes)
	rand.Read(iv)
	return c.gcmSeal(c.s, h, iv, []byte(checkText), []byte(checkText))
}

// encodeChecks writes the check values of a set: for each purpose its letter,
// the length in two bytes and the value.
func encodeChecks(values map[string][]byte) (b []byte) {
	for _, p := range core.KeyPurposes {
		b = append(b, p[0])
		b = binary.BigEndian.AppendUint16(b, uint16(len(values[p])))
		b = append(b, values[p]...)
	}
	return b
}

// decodeChecks is the reverse. Nil gives none, which only the system set may
// have until the row of the installation is verified.
func decodeChecks(b []byte) (map[string][]byte, error) {
	values := map[string][]byte{}
	if b == nil {
		return values, nil
	}
	for _, p := range core.KeyPurposes {
		if len(b) < 3 || b[0] != p[0] {
			return nil, fmt.Errorf("there is none of key %s", p)
		}
		n := int(binary.BigEndian.Uint16(b[1:]))
		if b = b[3:]; n == 0 || n > len(b) {
			return nil, fmt.Errorf("that of key %s is cut off", p)
		}
		values[p], b = b[:n], b[n:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last one", len(b))
	}
	return values, nil
}
