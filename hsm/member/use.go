package member

import (
	"context"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// useSentences name the operations in errors.
var useSentences = map[hsm.Uses]string{hsm.Encrypt: "encrypt", hsm.Decrypt: "decrypt", hsm.Sign: "sign", hsm.Digest: "digest"}

// Use implements [hsm.Member].
func (m *Module) Use(ctx context.Context, k *hsm.Key, u hsm.Use) (used hsm.Used, err error) {
	err = m.perform(ctx, call{doing: useSentences[u.Operation], key: k, run: func(s p11.SessionHandle, key p11.ObjectHandle) error {
		mech, gcm, err := mechanismOf(&u.Mechanism)
		if err != nil {
			return err
		}
		defer gcm.Free()
		switch u.Operation {
		case hsm.Encrypt:
			used, err = m.encrypt(s, key, &u, mech, gcm)
		case hsm.Decrypt:
			used.Data, err = m.decrypt(s, key, &u, mech)
		case hsm.Sign:
			used.Data, err = m.sign(s, key, &u, mech)
		case hsm.Digest:
			if err = m.conn.ctx.DigestInit(s, mech); err == nil {
				used.Data, err = m.conn.ctx.Digest(s, u.Data)
			}
		default:
			err = core.Errorf(core.Internal, "use %d of a key is not known", u.Operation)
		}
		return err
	}})
	return used, err
}

// encrypt encrypts. Tokens refuse empty data, so without a tag it becomes empty data here.
func (m *caller) encrypt(s p11.SessionHandle, key p11.ObjectHandle, u *hsm.Use, mech []*p11.Mechanism, gcm *p11.GCMParams) (used hsm.Used, err error) {
	if len(u.Data) == 0 && gcm == nil {
		return hsm.Used{Data: []byte{}}, nil
	}
	if err := m.conn.ctx.EncryptInit(s, mech, key); err != nil {
		return used, err
	}
	if u.Into != nil && gcm == nil {
		n, err := m.conn.glue.encrypt(s, u.Data, u.Into)
		return hsm.Used{Data: u.Into[:n]}, err
	}
	if used.Data, err = m.conn.ctx.Encrypt(s, u.Data); err == nil && gcm != nil {
		used.IV, err = usedIV(gcm, u.Mechanism.IV)
	}
	return used, err
}

// sign signs. A result that is a secret goes into the caller's buffer: the binding would
// leave a copy of it behind.
func (m *caller) sign(s p11.SessionHandle, key p11.ObjectHandle, u *hsm.Use, mech []*p11.Mechanism) ([]byte, error) {
	if err := m.conn.ctx.SignInit(s, mech, key); err != nil {
		return nil, err
	}
	if u.Into == nil {
		return m.conn.ctx.Sign(s, u.Data)
	}
	n, err := m.conn.glue.sign(s, u.Data, u.Into)
	return u.Into[:n], err
}

// decrypt decrypts into the caller's buffer.
func (m *caller) decrypt(s p11.SessionHandle, key p11.ObjectHandle, u *hsm.Use, mech []*p11.Mechanism) ([]byte, error) {
	if len(u.Data) == 0 {
		return u.Into[:0], nil
	}
	if err := m.conn.ctx.DecryptInit(s, mech, key); err != nil {
		return nil, err
	}
	n, err := m.conn.glue.decrypt(s, u.Data, u.Into)
	if err != nil {
		return nil, err
	}
	return u.Into[:n], nil
}

// Random implements [hsm.Member].
func (m *Module) Random(ctx context.Context, dst []byte) error {
	return m.perform(ctx, call{doing: "make random bytes", run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
		return m.conn.glue.random(s, dst)
	}})
}

// Seed implements [hsm.Member].
func (m *Module) Seed(ctx context.Context, seed []byte) error {
	return m.perform(ctx, call{doing: "take a seed", run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
		return m.conn.ctx.SeedRandom(s, seed)
	}})
}
