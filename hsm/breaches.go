package hsm

import (
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"
)

// trial is a KEK under test with what is needed to attack it.
type trial struct {
	*Token
	s       p11.SessionHandle // of one attempt alone: an operation let through stays open in it
	kek     p11.ObjectHandle
	peer    p11.ObjectHandle // an AES key that may wrap and unwrap anything
	key     p11.ObjectHandle // sensitive and extractable
	open    p11.ObjectHandle // readable
	blob    []byte           // key under kek
	foreign []byte           // key under peer
}

// attempt is something that a token must refuse; try returns nil when it does not.
type attempt struct {
	breach string // what the token then does, to follow "the token"
	try    func(*trial) error
}

var keyWrap = []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}

// tryBreaches makes a KEK of a class with the very template of a set's and
// returns what the token wrongly allowed. The key is made as generateKey makes
// it, but in the session.
func (t *Token) tryBreaches(sh p11.SessionHandle, purpose string) []string {
	mech, tmpl, err := setAttributes(purpose)
	if err != nil {
		return []string{err.Error()}
	}
	if t.inPlace {
		kek, err := t.generateSealed(sh, mech, tmpl, false)
		if err != nil {
			return []string{fmt.Sprintf("does not take the KEK's template with CKA_COPYABLE=0 (%v)", err)}
		}
		defer t.lib.DestroyObject(sh, kek)
		return t.attack(sh, purpose, kek)
	}
	first, err := t.lib.GenerateKey(sh, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, tmpl)
	if err != nil {
		return []string{fmt.Sprintf("does not take the KEK's template (%v)", err)}
	}
	defer t.lib.DestroyObject(sh, first)
	kek, err := t.lib.CopyObject(sh, first, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false), unmodifiable()})
	if err != nil {
		return []string{fmt.Sprintf("does not make the KEK unmodifiable (%v)", err)}
	}
	defer t.lib.DestroyObject(sh, kek)
	return t.attack(sh, purpose, kek)
}

// attack makes every attempt on a KEK, each in a session of its own, and looks
// at what comes out of it when it is used as it should be.
func (t *Token) attack(sh p11.SessionHandle, purpose string, kek p11.ObjectHandle) []string {
	w := &trial{Token: t, kek: kek}
	defer w.clean(sh)
	if err := w.prepare(sh); err != nil {
		return []string{fmt.Sprintf("cannot be tested (%v)", err)}
	}
	var breaches []string
	for _, a := range attempts(purpose) {
		s, err := t.lib.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
		if err != nil {
			return append(breaches, fmt.Sprintf("opens no session for the test (%v)", err))
		}
		w.s = s
		if a.try(w) == nil {
			breaches = append(breaches, a.breach)
		}
		t.lib.CloseSession(s)
	}
	return breaches
}

// prepare makes the attacker's keys and the blobs.
func (w *trial) prepare(sh p11.SessionHandle) (err error) {
	all := map[uint]bool{p11.CKA_WRAP: true, p11.CKA_UNWRAP: true, p11.CKA_ENCRYPT: true, p11.CKA_DECRYPT: true}
	for _, k := range []struct {
		at        *p11.ObjectHandle
		sensitive bool
		flags     map[uint]bool
	}{{&w.peer, true, all}, {&w.key, true, nil}, {&w.open, false, nil}} {
		*k.at, err = w.lib.GenerateKey(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)},
			template(p11.CKO_SECRET_KEY, p11.CKK_AES, k.sensitive, true, k.flags, p11.NewAttribute(p11.CKA_VALUE_LEN, 32)))
		if err != nil {
			return err
		}
	}
	if w.blob, err = w.lib.WrapKey(sh, keyWrap, w.kek, w.key); err != nil {
		return err
	}
	w.foreign, err = w.lib.WrapKey(sh, keyWrap, w.peer, w.key)
	return err
}

func (w *trial) clean(sh p11.SessionHandle) {
	for _, h := range []p11.ObjectHandle{w.peer, w.key, w.open} {
		if h != 0 {
			w.lib.DestroyObject(sh, h)
		}
	}
}

// attempts lists what nobody may do with a KEK of class N or X, or with a key
// that comes out of its blob.
func attempts(purpose string) []attempt {
	list := operations()
	list = append(list, wrappings()...)
	list = append(list, changes()...)
	list = append(list, unwrappings(purpose)...)
	return append(list, keptAttempts()...)
}

// operations: a KEK wraps and unwraps and does nothing else.
func operations() (list []attempt) {
	iv := make([]byte, 16)
	for _, m := range []struct {
		name string
		mech uint
		arg  any
	}{{"ECB", p11.CKM_AES_ECB, nil}, {"CBC", p11.CKM_AES_CBC, iv}, {"CTR", p11.CKM_AES_CTR, append([]byte{128, 0, 0, 0, 0, 0, 0, 0}, iv...)}} {
		mech := []*p11.Mechanism{p11.NewMechanism(m.mech, m.arg)}
		list = append(list,
			attempt{"lets the KEK encrypt by " + m.name, func(w *trial) error { return w.lib.EncryptInit(w.s, mech, w.kek) }},
			attempt{"lets the KEK decrypt by " + m.name, func(w *trial) error { return w.lib.DecryptInit(w.s, mech, w.kek) }})
	}
	gcm := func(init func(*trial) func(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error) func(*trial) error {
		return func(w *trial) error {
			params := p11.NewGCMParams(iv[:12], nil, 128)
			defer params.Free()
			return init(w)(w.s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}, w.kek)
		}
	}
	type starter = func(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error
	return append(list,
		attempt{"lets the KEK encrypt by GCM", gcm(func(w *trial) starter { return w.lib.EncryptInit })},
		attempt{"lets the KEK decrypt by GCM", gcm(func(w *trial) starter { return w.lib.DecryptInit })},
		attempt{"lets the KEK make a CMAC", func(w *trial) error {
			return w.lib.SignInit(w.s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_CMAC, nil)}, w.kek)
		}},
		attempt{"derives a key from the KEK", func(w *trial) error {
			data, free := derivationData(iv)
			defer free()
			_, err := w.lib.DeriveKey(w.s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_ECB_ENCRYPT_DATA, data)}, w.kek,
				append(aes(false, true), p11.NewAttribute(p11.CKA_VALUE_LEN, 16)))
			return err
		}},
		attempt{"lets the KEK be read", func(w *trial) error { return w.read(w.kek) }})
}

// wrappings: no KEK leaves, and none wraps otherwise than it was made for.
func wrappings() []attempt {
	wrap := func(mech uint, arg any, pick func(*trial) (with, key p11.ObjectHandle)) func(*trial) error {
		return func(w *trial) error {
			with, key := pick(w)
			_, err := w.lib.WrapKey(w.s, []*p11.Mechanism{p11.NewMechanism(mech, arg)}, with, key)
			return err
		}
	}
	mine := func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.kek, w.key }
	return []attempt{
		{"wraps the KEK under another key", wrap(ckmAESKeyWrap, nil, func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.peer, w.kek })},
		{"wraps the KEK under itself", wrap(ckmAESKeyWrap, nil, func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.kek, w.kek })},
		{"wraps a readable key under the KEK", wrap(ckmAESKeyWrap, nil, func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.kek, w.open })},
		{"wraps under the KEK by 0x210A", wrap(ckmAESKeyWrapPad, nil, mine)},
		{"wraps under the KEK by CBC", wrap(p11.CKM_AES_CBC_PAD, make([]byte, 16), mine)},
	}
}

// changes: the KEK stays as it is, and so does every copy.
func changes() (list []attempt) {
	for _, c := range []struct {
		name string
		make func() *p11.Attribute
	}{
		{"DECRYPT", func() *p11.Attribute { return p11.NewAttribute(p11.CKA_DECRYPT, true) }},
		{"EXTRACTABLE", func() *p11.Attribute { return p11.NewAttribute(p11.CKA_EXTRACTABLE, true) }},
		{"SENSITIVE", func() *p11.Attribute { return p11.NewAttribute(p11.CKA_SENSITIVE, false) }},
		{"LABEL", func() *p11.Attribute { return p11.NewAttribute(p11.CKA_LABEL, "another") }},
		{"ID", func() *p11.Attribute { return p11.NewAttribute(p11.CKA_ID, []byte{1}) }},
		{"MODIFIABLE", func() *p11.Attribute { return p11.NewAttribute(p11.CKA_MODIFIABLE, true) }},
		{"COPYABLE", func() *p11.Attribute { return p11.NewAttribute(p11.CKA_COPYABLE, true) }},
		{"UNWRAP_TEMPLATE", func() *p11.Attribute {
			return p11.NewAttribute(ckaUnwrapTemplate, nestedTemplate(flag{p11.CKA_SENSITIVE, false}))
		}},
		{"ALLOWED_MECHANISMS", func() *p11.Attribute { return mechanismList(p11.CKM_AES_ECB) }},
	} {
		list = append(list,
			attempt{"lets CKA_" + c.name + " of the KEK be changed", func(w *trial) error {
				return w.lib.SetAttributeValue(w.s, w.kek, []*p11.Attribute{c.make()})
			}},
			attempt{"copies the KEK with another CKA_" + c.name, func(w *trial) error { return w.copy(w.kek, c.make()) }})
	}
	return list
}

// unwrappings: a blob comes back as its class promises or not at all.
func unwrappings(purpose string) []attempt {
	without := func(drop uint) []*p11.Attribute {
		var out []*p11.Attribute
		for _, a := range aes(true, false) {
			if a.Type != drop {
				out = append(out, a)
			}
		}
		return out
	}
	public := append(without(p11.CKA_PRIVATE), p11.NewAttribute(p11.CKA_PRIVATE, false))
	list := []attempt{
		{"unwraps a key readable", unwrapAs(aes(false, true))},
		{"unwraps a key that is not sensitive", unwrapAs(aes(false, false))},
		{"unwraps a key of no stated sensitivity", unwrapAs(without(p11.CKA_SENSITIVE))},
		{"unwraps a public object", unwrapAs(public)},
		{"unwraps a secret as an RSA key", unwrapAs(template(p11.CKO_PRIVATE_KEY, p11.CKK_RSA, true, false, nil))},
		{"unwraps what another key wrapped", func(w *trial) error { return w.unwrap(w.foreign, ckmAESKeyWrap, nil, aes(true, false)) }},
		{"unwraps by 0x210A", func(w *trial) error {
			return asMechanism(w.unwrap(w.blob, ckmAESKeyWrapPad, nil, aes(true, false)))
		}},
		{"unwraps by CBC", func(w *trial) error {
			return asMechanism(w.unwrap(w.blob, p11.CKM_AES_CBC_PAD, make([]byte, 16), aes(true, false)))
		}},
	}
	if purpose == "N" {
		list = append(list,
			attempt{"unwraps a key extractable", unwrapAs(aes(true, true))},
			attempt{"unwraps a key of no stated extractability", unwrapAs(without(p11.CKA_EXTRACTABLE))},
			attempt{"unwraps a key extractable when told both", unwrapAs(append(aes(true, false), p11.NewAttribute(p11.CKA_EXTRACTABLE, true)))})
	}
	return list
}

// keptAttempts: a key that is unwrapped as it should be stays so. Some tokens
// take the template and ignore it.
func keptAttempts() []attempt {
	kept := func(f func(*trial, p11.ObjectHandle) error) func(*trial) error {
		return func(w *trial) error {
			h, err := w.lib.UnwrapKey(w.s, keyWrap, w.kek, w.blob, append(aes(true, false), unmodifiable()))
			if err != nil {
				return nil // its own blob: no token may refuse it
			}
			return f(w, h) // the object ends with the attempt's session
		}
	}
	change := func(a uint, v bool) func(*trial, p11.ObjectHandle) error {
		return func(w *trial, h p11.ObjectHandle) error {
			return w.lib.SetAttributeValue(w.s, h, []*p11.Attribute{p11.NewAttribute(a, v)})
		}
	}
	return []attempt{
		{"does not unwrap its own blob, or lets such a key be read", kept(func(w *trial, h p11.ObjectHandle) error { return w.read(h) })},
		{"wraps an unwrapped key that is not extractable", kept(func(w *trial, h p11.ObjectHandle) error {
			_, err := w.lib.WrapKey(w.s, keyWrap, w.peer, h)
			return err
		})},
		{"lets an unwrapped key become extractable", kept(change(p11.CKA_EXTRACTABLE, true))},
		{"lets an unwrapped key become readable", kept(change(p11.CKA_SENSITIVE, false))},
		{"copies an unwrapped key extractable", kept(func(w *trial, h p11.ObjectHandle) error {
			return w.copy(h, p11.NewAttribute(p11.CKA_EXTRACTABLE, true))
		})},
		{"copies an unwrapped key readable", kept(func(w *trial, h p11.ObjectHandle) error { return w.copy(h, p11.NewAttribute(p11.CKA_SENSITIVE, false)) })},
		{"ignores CKA_SENSITIVE or CKA_EXTRACTABLE when it unwraps", kept(func(w *trial, h p11.ObjectHandle) error {
			got, err := w.lib.GetAttributeValue(w.s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_SENSITIVE, nil), p11.NewAttribute(p11.CKA_EXTRACTABLE, nil)})
			if err == nil && string(got[0].Value) == "\x01" && string(got[1].Value) == "\x00" {
				return errAsPromised
			}
			return nil
		})},
	}
}

var errAsPromised = errors.New("as promised")

// asMechanism takes no other refusal than one of the mechanism: the blob was
// not made by it, so that a token which tries it fails too.
func asMechanism(err error) error {
	if errors.Is(err, p11.Error(p11.CKR_MECHANISM_INVALID)) || classOf(err) == policyFault {
		return err
	}
	return nil
}

func aes(sensitive, extractable bool) []*p11.Attribute {
	return template(p11.CKO_SECRET_KEY, p11.CKK_AES, sensitive, extractable, nil)
}

func unwrapAs(tmpl []*p11.Attribute) func(*trial) error {
	return func(w *trial) error { return w.unwrap(w.blob, ckmAESKeyWrap, nil, tmpl) }
}

func (w *trial) unwrap(blob []byte, mech uint, arg any, tmpl []*p11.Attribute) error {
	_, err := w.lib.UnwrapKey(w.s, []*p11.Mechanism{p11.NewMechanism(mech, arg)}, w.kek, blob, tmpl)
	return err
}

func (w *trial) copy(h p11.ObjectHandle, a *p11.Attribute) error {
	_, err := w.lib.CopyObject(w.s, h, []*p11.Attribute{a})
	return err
}

func (w *trial) read(h p11.ObjectHandle) error {
	_, err := w.lib.GetAttributeValue(w.s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE, nil)})
	return err
}
