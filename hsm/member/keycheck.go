package member

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"

	"fmt"
	"maps"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// A key of a set is used only if it is the key that was made. It must be the only object
// with its label, have every attribute of its template, and give the check value that it
// gave when it was made. A key gives its check value by its own purpose, since it may do
// nothing else: a KEK wraps a known key, a data key decrypts a known text, the others
// sign one.
//
// CKA_LOCAL, CKA_NEVER_EXTRACTABLE and CKA_ALWAYS_SENSITIVE are not compared: a key that
// came into the token wrapped has none of them.

// checkText is the text that data keys encrypt and HMAC keys sign for a check value. No
// key is derived from it.
const checkText = "keyreeve check value v1"

// checkKeyValue is the key that KEKs wrap for a check value. It is public.
var checkKeyValue = sha256.Sum256([]byte("keyreeve check key v1"))

// checker checks keys in one session.
type checker struct {
	*connection
	s        p11.SessionHandle
	inPlace  bool             // keys of sets are made in the token; see generateKey
	code     core.Code        // of the error if a key is not as it was made
	known    p11.ObjectHandle // the key that KEKs wrap
	readable p11.ObjectHandle // a key that is not sensitive: some KEKs must not wrap it
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

// checkKey fails unless a key is as it was made, and returns its check value.
func (c *checker) checkKey(h p11.ObjectHandle, k *hsm.SetKey) ([]byte, error) {
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
	return core.Wrap(c.code, hsm.ErrNotAsMade, "key %s in token %q is not as keyreeve made it: %s. Find out who can write the token, and restore the token from a backup", label, c.cfg.Label, why)
}

// compareAttributes compares every attribute that has a simple value.
func (c *checker) compareAttributes(h p11.ObjectHandle, t *hsm.KeyTemplate) (string, error) {
	want := append(attributesOf(setKeyTemplate(*t)), unmodifiable())
	if c.inPlace {
		want = append(want, p11.NewAttribute(p11.CKA_COPYABLE, false))
	}
	types := make([]uint, len(want))
	for i, a := range want {
		types[i] = a.Type
		if a.Type == p11.CKA_TOKEN {
			a.Value = []byte{1}
		}
	}
	got, err := c.readAttributes(c.s, h, types...)
	if err != nil {
		return "", err
	}
	for i, value := range got {
		if !bytes.Equal(value, want[i].Value) {
			return fmt.Sprintf("attribute %#x is %x, not %x", types[i], value, want[i].Value), nil
		}
	}
	return "", nil
}

// compareLength compares CKA_VALUE_LEN if the token tells it: SoftHSM2 says 0 for a key
// that came into the token wrapped.
func (c *checker) compareLength(h p11.ObjectHandle, _ *hsm.KeyTemplate) (string, error) {
	n, err := c.readLength(c.s, h)
	if err != nil || n == 0 || n == hsm.SetKeyBytes {
		return "", err
	}
	return fmt.Sprintf("its length is %d bytes, not %d", n, hsm.SetKeyBytes), nil
}

// compareMechanisms compares CKA_ALLOWED_MECHANISMS. If the token does not show it, a
// similar mechanism is tried, which the token must refuse.
func (c *checker) compareMechanisms(h p11.ObjectHandle, t *hsm.KeyTemplate) (string, error) {
	got, err := c.readAttributes(c.s, h, p11.CKA_ALLOWED_MECHANISMS)
	if err == nil {
		if want := mechanismList(uint64(t.Mechanism)).Value; !bytes.Equal(got[0], want) {
			return fmt.Sprintf("its CKA_ALLOWED_MECHANISMS is %x, not %x", got[0], want), nil
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
	defer c.ctx.CloseSession(s2) // ends an operation that was allowed
	if c.useWrongly(s2, h, t) == nil {
		return "it can be used by another mechanism than its own", nil
	}
	return "", nil
}

// useWrongly uses a key by another mechanism than its own.
func (c *checker) useWrongly(s p11.SessionHandle, h p11.ObjectHandle, t *hsm.KeyTemplate) error {
	switch t.Mechanism {
	case hsm.AESKeyWrap:
		_, err := c.ctx.WrapKey(s, oneMechanism(p11.CKM_AES_CBC_PAD, make([]byte, 16)), h, c.known)
		return err
	case hsm.AESGCM:
		return c.ctx.EncryptInit(s, oneMechanism(p11.CKM_AES_ECB, nil), h)
	}
	return c.ctx.SignInit(s, oneMechanism(p11.CKM_SHA512_HMAC, nil), h)
}

// unlessAway returns the error if the token is away, and nil if it only does not show an
// attribute.
func unlessAway(err error) error {
	if classify(err) >= goneFault {
		return err
	}
	return nil
}

// compareTemplates compares the templates inside the template. tryKey tries them too: if
// the token does not show them, only that counts.
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

// tryKey uses a key for its purpose, and compares its check value.
func (c *checker) tryKey(h p11.ObjectHandle, k *hsm.SetKey) (value []byte, why string, err error) {
	switch k.Template.Mechanism {
	case hsm.AESKeyWrap:
		value, why, err = c.tryKEK(h, &k.Template)
	case hsm.AESGCM:
		return c.tryDataKey(h, k.Check)
	default:
		if err = c.ctx.SignInit(c.s, oneMechanism(p11.CKM_SHA256_HMAC, nil), h); err == nil {
			value, err = c.ctx.Sign(c.s, []byte(checkText))
		}
	}
	if err != nil || why != "" {
		return nil, reasonOf(&err, why), err
	}
	if k.Check != nil && subtle.ConstantTimeCompare(value, k.Check) != 1 {
		return nil, "its check value is wrong", nil
	}
	return value, "", nil
}

// reasonOf turns the error of a key that does not serve its purpose into a reason. An
// error of a token that is away stays.
func reasonOf(err *error, why string) string {
	if *err != nil && classify(*err) < goneFault {
		why = fmt.Sprintf("it cannot be used for its purpose (%v)", *err)
		*err = nil
	}
	return why
}

// tryKEK wraps the known key, and tries what the templates must forbid.
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
			continue // a token may refuse all public objects; readTemplate compares it
		}
		if why := c.unwrapAgainst(h, blob, f); why != "" {
			return nil, why, nil
		}
	}
	sum := sha256.Sum256(blob)
	return sum[:], "", nil
}

// unwrapAgainst asks for the contrary of a line of an unwrap template. The token may
// refuse, or follow the template and ignore the request.
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
	got, err := c.readAttributes(c.s, o, f.attribute)
	if err == nil && bytes.Equal(got[0], p11.NewAttribute(f.attribute, f.value).Value) {
		return ""
	}
	return fmt.Sprintf("it unwraps a key with attribute %#x against its template", f.attribute)
}

// tryDataKey decrypts a text that the data key encrypted when it was made. It does not
// encrypt the text again: a token that makes IVs itself gives another ciphertext each time.
func (c *checker) tryDataKey(h p11.ObjectHandle, want []byte) (value []byte, why string, err error) {
	if want == nil {
		if want, err = c.sealText(h); err != nil {
			return nil, reasonOf(&err, ""), err
		}
	}
	if len(want) != gcmIVBytes+len(checkText)+16 {
		return nil, "its check value is wrong", nil
	}
	text, err := openGCM(c.ctx, c.s, h, want, []byte(checkText))
	if err != nil {
		return nil, reasonOf(&err, ""), err
	}
	if string(text) != checkText {
		return nil, "its check value is wrong", nil
	}
	return want, "", nil
}

func (c *checker) sealText(h p11.ObjectHandle) ([]byte, error) {
	iv := make([]byte, gcmIVBytes)
	rand.Read(iv)
	return sealGCM(c.ctx, c.s, h, iv, []byte(checkText), []byte(checkText))
}
