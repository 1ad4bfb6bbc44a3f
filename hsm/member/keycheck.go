package member

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
	"github.com/keyreeve/keyreeve/hsm"
)

// A key of a set is used only if it is the key that was made: the one object of
// its label, with every attribute as its template has it, and with the check value
// that was taken when it was made. A key gives its check value by doing what it is
// for, since it may do nothing else: a KEK wraps a known key, a data key opens a
// known text, the others sign one.
//
// CKA_LOCAL, CKA_NEVER_EXTRACTABLE and CKA_ALWAYS_SENSITIVE are not compared:
// a key that came into the token wrapped has none of them.

// checkText is what data keys encrypt and HMAC keys sign for a check value. No key is
// derived from it.
const checkText = "keyreeve check value v1"

// checkKeyValue is the key that KEKs wrap for their check value. It is public.
var checkKeyValue = sha256.Sum256([]byte("keyreeve check key v1"))

// checker checks keys in one session.
type checker struct {
	*connection
	s        p11.SessionHandle
	inPlace  bool             // keys of sets are made in the token; see maker
	code     core.Code        // of a key that is not as it was made
	known    p11.ObjectHandle // the key that KEKs wrap
	readable p11.ObjectHandle // one that is not sensitive, which some KEKs must refuse
}

func newChecker(conn *connection, s p11.SessionHandle, inPlace bool, code core.Code) (c *checker, err error) {
	c = &checker{connection: conn, s: s, inPlace: inPlace, code: code}
	value := checkKeyValue
	if c.known, err = conn.glue.createSecret(s, aesKey(true, true), value[:]); err != nil {
		return nil, err
	}
	if c.readable, err = conn.glue.createSecret(s, aesKey(false, true), value[:]); err != nil {
		conn.ctx.DestroyObject(s, c.known)
		return nil, err
	}
	return c, nil
}

func (c *checker) destroyKeys() {
	c.ctx.DestroyObject(c.s, c.known)
	c.ctx.DestroyObject(c.s, c.readable)
}

// check refuses a key that is not as it was made, and returns its check value.
func (c *checker) check(h p11.ObjectHandle, k *hsm.SetKey) ([]byte, error) {
	for _, f := range []func(p11.ObjectHandle, *hsm.KeyTemplate) (string, error){c.compareAttributes, c.compareLength, c.compareMechanisms, c.compareTemplates} {
		why, err := f(h, &k.Template)
		if err != nil {
			return nil, err
		}
		if why != "" {
			return nil, c.refuse(k.Label, why)
		}
	}
	value, why, err := c.tryKey(h, k)
	if err == nil && why != "" {
		err = c.refuse(k.Label, why)
	}
	return value, err
}

func (c *checker) refuse(label, why string) error {
	return core.Wrap(c.code, hsm.ErrNotAsMade, "key %s in token %q is not as keyreeve made it: %s. Find out who can write the token, and restore it from a backup", label, c.cfg.Label, why)
}

// compareAttributes compares every attribute that has a simple value.
func (c *checker) compareAttributes(h p11.ObjectHandle, t *hsm.KeyTemplate) (string, error) {
	want := append(attributesOf(setKeyTemplate(*t)), unmodifiable())
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
	got, err := c.ctx.GetAttributeValue(c.s, h, ask)
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

// compareLength compares CKA_VALUE_LEN where the token knows it: SoftHSM2 says 0 of a
// key that came in wrapped.
func (c *checker) compareLength(h p11.ObjectHandle, _ *hsm.KeyTemplate) (string, error) {
	got, err := c.ctx.GetAttributeValue(c.s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE_LEN, nil)})
	if err != nil || len(got[0].Value) != 8 {
		return "", unlessAway(err)
	}
	if n := binary.NativeEndian.Uint64(got[0].Value); n != 0 && n != hsm.SetKeyBytes {
		return fmt.Sprintf("its length is %d bytes, not %d", n, hsm.SetKeyBytes), nil
	}
	return "", nil
}

// compareMechanisms compares CKA_ALLOWED_MECHANISMS. Where a token does not show it,
// the mechanism that is nearest to the right one is tried, and must be refused.
func (c *checker) compareMechanisms(h p11.ObjectHandle, t *hsm.KeyTemplate) (string, error) {
	got, err := c.ctx.GetAttributeValue(c.s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, nil)})
	if err == nil {
		if want := mechanismList(uint64(t.Mechanism)).Value; !bytes.Equal(got[0].Value, want) {
			return fmt.Sprintf("its CKA_ALLOWED_MECHANISMS is %x, not %x", got[0].Value, want), nil
		}
		return "", nil
	}
	if err := unlessAway(err); err != nil {
		return "", err
	}
	s2, err := c.openSession()
	if err != nil {
		return "", err
	}
	defer c.ctx.CloseSession(s2) // with what was let through still open in it
	if c.useWrongly(s2, h, t) == nil {
		return "it can be used by a mechanism that it is not for", nil
	}
	return "", nil
}

// useWrongly uses a key by a mechanism that it is not for.
func (c *checker) useWrongly(s p11.SessionHandle, h p11.ObjectHandle, t *hsm.KeyTemplate) error {
	switch t.Mechanism {
	case hsm.AESKeyWrap:
		_, err := c.ctx.WrapKey(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_CBC_PAD, make([]byte, 16))}, h, c.known)
		return err
	case hsm.AESGCM:
		return c.ctx.EncryptInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_ECB, nil)}, h)
	}
	return c.ctx.SignInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA512_HMAC, nil)}, h)
}

// unlessAway is nil for an attribute that the token does not show, and the error if
// the token is away.
func unlessAway(err error) error {
	if classify(err) >= goneFault {
		return err
	}
	return nil
}

// compareTemplates compares the templates inside the template. tryKey tries them as
// well: a token that does not show them is judged by that alone.
func (c *checker) compareTemplates(h p11.ObjectHandle, t *hsm.KeyTemplate) (string, error) {
	for _, a := range []struct {
		name string
		attr uint
		want []flag
	}{{"CKA_WRAP_TEMPLATE", p11.CKA_WRAP_TEMPLATE, flagsOf(t.Wraps)}, {"CKA_UNWRAP_TEMPLATE", p11.CKA_UNWRAP_TEMPLATE, flagsOf(t.Unwraps)}} {
		got, err := c.glue.readTemplate(c.s, h, a.attr)
		if err != nil {
			if err := unlessAway(err); err != nil {
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

// tryKey has a key do what it is for, and compares its check value.
func (c *checker) tryKey(h p11.ObjectHandle, k *hsm.SetKey) (value []byte, why string, err error) {
	switch k.Template.Mechanism {
	case hsm.AESKeyWrap:
		value, why, err = c.tryKEK(h, &k.Template)
	case hsm.AESGCM:
		return c.tryDataKey(h, k.Check)
	default:
		if err = c.ctx.SignInit(c.s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA256_HMAC, nil)}, h); err == nil {
			value, err = c.ctx.Sign(c.s, []byte(checkText))
		}
	}
	if err != nil || why != "" {
		return nil, reasonOf(&err, why), err
	}
	if k.Check != nil && subtle.ConstantTimeCompare(value, k.Check) != 1 {
		return nil, "its check value is another one", nil
	}
	return value, "", nil
}

// reasonOf turns an error of a key that does not do what it is for into a reason.
func reasonOf(err *error, why string) string {
	if *err != nil && classify(*err) < goneFault {
		why = fmt.Sprintf("it does not do what it is for (%v)", *err)
		*err = nil
	}
	return why
}

// tryKEK wraps the known key, and tries what the templates must refuse.
func (c *checker) tryKEK(h p11.ObjectHandle, t *hsm.KeyTemplate) (value []byte, why string, err error) {
	blob, err := c.ctx.WrapKey(c.s, keyWrap, h, c.known)
	if err != nil {
		return nil, "", err
	}
	if t.Wraps != nil {
		if _, err := c.ctx.WrapKey(c.s, keyWrap, h, c.readable); err == nil {
			return nil, "it wraps a key that is not sensitive", nil
		}
	}
	for _, f := range flagsOf(t.Unwraps) {
		if f.attribute == p11.CKA_PRIVATE {
			continue // a token may refuse public objects of itself; readTemplate has it
		}
		if why := c.unwrapAgainst(h, blob, f); why != "" {
			return nil, why, nil
		}
	}
	sum := sha256.Sum256(blob)
	return sum[:], "", nil
}

// unwrapAgainst asks for the contrary of a line of an unwrap template. A token may
// refuse, or keep to the template and ignore what is asked.
func (c *checker) unwrapAgainst(h p11.ObjectHandle, blob []byte, f flag) string {
	as := aesKey(true, false)
	for _, a := range as {
		if a.Type == f.attribute {
			a.Value = p11.NewAttribute(a.Type, !f.value).Value
		}
	}
	o, err := c.ctx.UnwrapKey(c.s, keyWrap, h, blob, as)
	if err != nil {
		return ""
	}
	defer c.ctx.DestroyObject(c.s, o)
	got, err := c.ctx.GetAttributeValue(c.s, o, []*p11.Attribute{p11.NewAttribute(f.attribute, nil)})
	if err == nil && bytes.Equal(got[0].Value, p11.NewAttribute(f.attribute, f.value).Value) {
		return ""
	}
	return fmt.Sprintf("it unwraps a key with attribute %#x against its template", f.attribute)
}

// tryDataKey has a data key open a text that it encrypted when it was made: a token that makes
// IVs itself encrypts to something else each time.
func (c *checker) tryDataKey(h p11.ObjectHandle, want []byte) (value []byte, why string, err error) {
	if want == nil {
		if want, err = c.sealText(h); err != nil {
			return nil, reasonOf(&err, ""), err
		}
	}
	if len(want) != gcmIVBytes+len(checkText)+16 {
		return nil, "its check value is another one", nil
	}
	text, err := openGCM(c.ctx, c.s, h, want, []byte(checkText))
	if err != nil {
		return nil, reasonOf(&err, ""), err
	}
	if string(text) != checkText {
		return nil, "its check value is another one", nil
	}
	return want, "", nil
}

func (c *checker) sealText(h p11.ObjectHandle) ([]byte, error) {
	iv := make([]byte, gcmIVBytes)
	rand.Read(iv)
	return sealGCM(c.ctx, c.s, h, iv, []byte(checkText), []byte(checkText))
}
