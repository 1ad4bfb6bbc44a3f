package member

import (
	"errors"
	"fmt"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
)

// trial is a KEK under test with the keys to attack it.
type trial struct {
	*connection
	s        p11.SessionHandle // of only one attempt: an allowed operation stays open in it
	kek      p11.ObjectHandle
	peer     p11.ObjectHandle // an AES key that may wrap and unwrap anything
	key      p11.ObjectHandle // sensitive and extractable
	readable p11.ObjectHandle
	blob     []byte // key under kek
	foreign  []byte // key under peer
}

// attempt is an attack that a token must refuse. try returns nil if the token allows it.
type attempt struct {
	breach string // completes "the token ..." if the token allows it
	try    func(*trial) error
}

// findBreaches makes a KEK with the template of a set's KEK, and returns the attacks that
// the token allowed. The key is made as in makeKeys, but in the session.
func (r *keyRing) findBreaches(s p11.SessionHandle, t hsm.KeyTemplate) []string {
	ctx, as := r.conn.ctx, setKeyAttributes(t)
	if r.inPlace {
		kek, err := generateSealed(r.conn, s, t.Type, as, false)
		if err != nil {
			return []string{fmt.Sprintf("does not accept the KEK's template with CKA_COPYABLE=0 (%v)", err)}
		}
		defer ctx.DestroyObject(s, kek)
		return attackKEK(r.conn, s, t, kek)
	}
	first, err := ctx.GenerateKey(s, generatorOf(t.Type), as)
	if err != nil {
		return []string{fmt.Sprintf("does not accept the KEK's template (%v)", err)}
	}
	defer ctx.DestroyObject(s, first)
	kek, err := ctx.CopyObject(s, first, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false), unmodifiable()})
	if err != nil {
		return []string{fmt.Sprintf("does not make the KEK unmodifiable (%v)", err)}
	}
	defer ctx.DestroyObject(s, kek)
	return attackKEK(r.conn, s, t, kek)
}

// attackKEK makes every attempt on a KEK, each in a session of its own.
func attackKEK(c *connection, sh p11.SessionHandle, t hsm.KeyTemplate, kek p11.ObjectHandle) []string {
	w := &trial{connection: c, kek: kek}
	defer w.destroyKeys(sh)
	if err := w.prepare(sh); err != nil {
		return []string{fmt.Sprintf("cannot be tested (%v)", err)}
	}
	var breaches []string
	for _, a := range attemptsOn(t) {
		s, err := c.openSession()
		if err != nil {
			return append(breaches, fmt.Sprintf("opens no session for the test (%v)", err))
		}
		w.s = s
		if a.try(w) == nil {
			breaches = append(breaches, a.breach)
		}
		c.ctx.CloseSession(s)
	}
	return breaches
}

// prepare makes the attacker's keys and the blobs.
func (w *trial) prepare(sh p11.SessionHandle) (err error) {
	for _, k := range []struct {
		at        *p11.ObjectHandle
		sensitive bool
		uses      hsm.Uses
	}{{&w.peer, true, hsm.Wrap | hsm.Unwrap | hsm.Encrypt | hsm.Decrypt}, {&w.key, true, 0}, {&w.readable, false, 0}} {
		*k.at, err = w.ctx.GenerateKey(sh, generatorOf(hsm.AES), attributesOf(hsm.Template{Type: hsm.AES, Sensitive: k.sensitive, Extractable: true, Uses: k.uses, Bytes: 32}))
		if err != nil {
			return err
		}
	}
	if w.blob, err = w.ctx.WrapKey(sh, keyWrap, w.kek, w.key); err != nil {
		return err
	}
	w.foreign, err = w.ctx.WrapKey(sh, keyWrap, w.peer, w.key)
	return err
}

func (w *trial) destroyKeys(sh p11.SessionHandle) {
	for _, h := range []p11.ObjectHandle{w.peer, w.key, w.readable} {
		if h != 0 {
			w.ctx.DestroyObject(sh, h)
		}
	}
}

// attemptsOn lists the attacks on a KEK with a template, and on keys that it unwraps.
func attemptsOn(t hsm.KeyTemplate) []attempt {
	list := useAttempts()
	list = append(list, wrapAttempts()...)
	list = append(list, changeAttempts()...)
	list = append(list, unwrapAttempts(t)...)
	return append(list, keptAttempts()...)
}

// useAttempts are uses of a KEK, which may only wrap and unwrap.
func useAttempts() (list []attempt) {
	iv := make([]byte, 16)
	for _, m := range []struct {
		name string
		mech uint
		arg  any
	}{{"ECB", p11.CKM_AES_ECB, nil}, {"CBC", p11.CKM_AES_CBC, iv}, {"CTR", p11.CKM_AES_CTR, append([]byte{128, 0, 0, 0, 0, 0, 0, 0}, iv...)}} {
		mech := oneMechanism(m.mech, m.arg)
		list = append(list,
			attempt{"lets the KEK encrypt by " + m.name, func(w *trial) error { return w.ctx.EncryptInit(w.s, mech, w.kek) }},
			attempt{"lets the KEK decrypt by " + m.name, func(w *trial) error { return w.ctx.DecryptInit(w.s, mech, w.kek) }})
	}
	gcm := func(init func(*trial) func(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error) func(*trial) error {
		return func(w *trial) error {
			params := p11.NewGCMParams(iv[:12], nil, 128)
			defer params.Free()
			return init(w)(w.s, oneMechanism(p11.CKM_AES_GCM, params), w.kek)
		}
	}
	type starter = func(p11.SessionHandle, []*p11.Mechanism, p11.ObjectHandle) error
	return append(list,
		attempt{"lets the KEK encrypt by GCM", gcm(func(w *trial) starter { return w.ctx.EncryptInit })},
		attempt{"lets the KEK decrypt by GCM", gcm(func(w *trial) starter { return w.ctx.DecryptInit })},
		attempt{"lets the KEK make a CMAC", func(w *trial) error {
			return w.ctx.SignInit(w.s, oneMechanism(p11.CKM_AES_CMAC, nil), w.kek)
		}},
		attempt{"derives a key from the KEK", func(w *trial) error {
			data, free := derivationData(iv)
			defer free()
			_, err := w.ctx.DeriveKey(w.s, oneMechanism(p11.CKM_AES_ECB_ENCRYPT_DATA, data), w.kek,
				append(aesKey(false, true), p11.NewAttribute(p11.CKA_VALUE_LEN, 16)))
			return err
		}},
		attempt{"lets the KEK be read", func(w *trial) error { return w.readValue(w.kek) }})
}

// wrapAttempts wrap the KEK, or wrap under it against its template.
func wrapAttempts() []attempt {
	wrap := func(mech uint, arg any, pick func(*trial) (with, key p11.ObjectHandle)) func(*trial) error {
		return func(w *trial) error {
			with, key := pick(w)
			_, err := w.ctx.WrapKey(w.s, oneMechanism(mech, arg), with, key)
			return err
		}
	}
	mine := func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.kek, w.key }
	return []attempt{
		{"wraps the KEK under another key", wrap(ckmAESKeyWrap, nil, func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.peer, w.kek })},
		{"wraps the KEK under itself", wrap(ckmAESKeyWrap, nil, func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.kek, w.kek })},
		{"wraps a readable key under the KEK", wrap(ckmAESKeyWrap, nil, func(w *trial) (p11.ObjectHandle, p11.ObjectHandle) { return w.kek, w.readable })},
		{"wraps under the KEK by 0x210A", wrap(ckmAESKeyWrapPad, nil, mine)},
		{"wraps under the KEK by CBC", wrap(p11.CKM_AES_CBC_PAD, make([]byte, 16), mine)},
	}
}

// changeAttempts change the KEK, or copy it with a change.
func changeAttempts() (list []attempt) {
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
			return p11.NewAttribute(p11.CKA_UNWRAP_TEMPLATE, nestedTemplate(flag{p11.CKA_SENSITIVE, false}))
		}},
		{"ALLOWED_MECHANISMS", func() *p11.Attribute { return mechanismList(p11.CKM_AES_ECB) }},
	} {
		list = append(list,
			attempt{"lets CKA_" + c.name + " of the KEK be changed", func(w *trial) error {
				return w.ctx.SetAttributeValue(w.s, w.kek, []*p11.Attribute{c.make()})
			}},
			attempt{"copies the KEK with another CKA_" + c.name, func(w *trial) error { return w.copyWith(w.kek, c.make()) }})
	}
	return list
}

// unwrapAttempts unwrap a blob against the promises of its class.
func unwrapAttempts(t hsm.KeyTemplate) []attempt {
	without := func(drop uint) []*p11.Attribute { return withoutAttribute(aesKey(true, false), drop) }
	public := append(without(p11.CKA_PRIVATE), p11.NewAttribute(p11.CKA_PRIVATE, false))
	list := []attempt{
		{"unwraps a key readable", unwrapAs(aesKey(false, true))},
		{"unwraps a key that is not sensitive", unwrapAs(aesKey(false, false))},
		{"unwraps a key of no stated sensitivity", unwrapAs(without(p11.CKA_SENSITIVE))},
		{"unwraps a public object", unwrapAs(public)},
		{"unwraps a secret as an RSA key", unwrapAs(attributesOf(hsm.Template{Type: hsm.RSA, Sensitive: true}))},
		{"unwraps what another key wrapped", func(w *trial) error { return w.unwrap(w.foreign, ckmAESKeyWrap, nil, aesKey(true, false)) }},
		{"unwraps by 0x210A", func(w *trial) error {
			return asMechanism(w.unwrap(w.blob, ckmAESKeyWrapPad, nil, aesKey(true, false)))
		}},
		{"unwraps by CBC", func(w *trial) error {
			return asMechanism(w.unwrap(w.blob, p11.CKM_AES_CBC_PAD, make([]byte, 16), aesKey(true, false)))
		}},
	}
	if slices.Contains(t.Unwraps, hsm.Flag{Attribute: hsm.Extractable}) {
		list = append(list,
			attempt{"unwraps a key extractable", unwrapAs(aesKey(true, true))},
			attempt{"unwraps a key of no stated extractability", unwrapAs(without(p11.CKA_EXTRACTABLE))},
			attempt{"unwraps a key extractable when told both", unwrapAs(append(aesKey(true, false), p11.NewAttribute(p11.CKA_EXTRACTABLE, true)))})
	}
	return list
}

// keptAttempts change a key after it was unwrapped correctly. Some tokens accept the
// template and ignore it.
func keptAttempts() []attempt {
	kept := func(f func(*trial, p11.ObjectHandle) error) func(*trial) error {
		return func(w *trial) error {
			h, err := w.ctx.UnwrapKey(w.s, keyWrap, w.kek, w.blob, append(aesKey(true, false), unmodifiable()))
			if err != nil {
				return nil // a breach too: no token may refuse its own blob
			}
			return f(w, h) // the object ends with the attempt's session
		}
	}
	change := func(a uint, v bool) func(*trial, p11.ObjectHandle) error {
		return func(w *trial, h p11.ObjectHandle) error {
			return w.ctx.SetAttributeValue(w.s, h, []*p11.Attribute{p11.NewAttribute(a, v)})
		}
	}
	return []attempt{
		{"does not unwrap its own blob, or lets such a key be read", kept(func(w *trial, h p11.ObjectHandle) error { return w.readValue(h) })},
		{"wraps an unwrapped key that is not extractable", kept(func(w *trial, h p11.ObjectHandle) error {
			_, err := w.ctx.WrapKey(w.s, keyWrap, w.peer, h)
			return err
		})},
		{"lets an unwrapped key become extractable", kept(change(p11.CKA_EXTRACTABLE, true))},
		{"lets an unwrapped key become readable", kept(change(p11.CKA_SENSITIVE, false))},
		{"copies an unwrapped key extractable", kept(func(w *trial, h p11.ObjectHandle) error {
			return w.copyWith(h, p11.NewAttribute(p11.CKA_EXTRACTABLE, true))
		})},
		{"copies an unwrapped key readable", kept(func(w *trial, h p11.ObjectHandle) error {
			return w.copyWith(h, p11.NewAttribute(p11.CKA_SENSITIVE, false))
		})},
		{"ignores CKA_SENSITIVE or CKA_EXTRACTABLE when it unwraps", kept(func(w *trial, h p11.ObjectHandle) error {
			got, err := w.readAttributes(w.s, h, p11.CKA_SENSITIVE, p11.CKA_EXTRACTABLE)
			if err == nil && string(got[0]) == "\x01" && string(got[1]) == "\x00" {
				return errAsPromised
			}
			return nil
		})},
	}
}

var errAsPromised = errors.New("as promised")

// asMechanism accepts only a refusal of the mechanism. The blob was not made by it, so a
// token that tries to unwrap it fails too.
func asMechanism(err error) error {
	if errors.Is(err, p11.Error(p11.CKR_MECHANISM_INVALID)) || classify(err) == policyFault {
		return err
	}
	return nil
}

func unwrapAs(tmpl []*p11.Attribute) func(*trial) error {
	return func(w *trial) error { return w.unwrap(w.blob, ckmAESKeyWrap, nil, tmpl) }
}

func (w *trial) unwrap(blob []byte, mech uint, arg any, tmpl []*p11.Attribute) error {
	_, err := w.ctx.UnwrapKey(w.s, oneMechanism(mech, arg), w.kek, blob, tmpl)
	return err
}

func (w *trial) copyWith(h p11.ObjectHandle, a *p11.Attribute) error {
	_, err := w.ctx.CopyObject(w.s, h, []*p11.Attribute{a})
	return err
}

func (w *trial) readValue(h p11.ObjectHandle) error {
	_, err := w.readAttributes(w.s, h, p11.CKA_VALUE)
	return err
}
