package member

import (
	"context"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// caller makes calls in sessions, each with the handle of its key.
type caller struct {
	conn    *connection
	keys    *keyRing
	handles *handleCache
}

// call is one operation in a session.
type call struct {
	doing string   // names the call in errors, such as "make a key"
	key   *hsm.Key // run gets its handle; nil: none
	turn  bool     // run has the turn to change objects
	once  bool     // never repeated, since it leaves an object in the token
	run   func(s p11.SessionHandle, key p11.ObjectHandle) error
}

// perform makes a call. If a session, a handle or the token was lost, it is restored and
// the call is made again. run must be repeatable, unless the call says once. If it needs
// other handles, it must ask for them each time: they change.
func (m *caller) perform(ctx context.Context, c call) error {
	err := m.attempt(ctx, &c)
	if err != nil && m.conn.recoverFrom(err) && !c.once {
		err = m.attempt(ctx, &c)
	}
	return describe(err, c.doing)
}

// attempt makes a call once.
func (m *caller) attempt(ctx context.Context, c *call) error {
	if c.key == nil || isSetKey(c.key) {
		return m.conn.inSession(ctx, func(s p11.SessionHandle) (err error) {
			var h p11.ObjectHandle
			if c.key != nil {
				h, err = m.keys.handleOf(c.key.Label)
			}
			if err != nil {
				return err
			}
			return m.runInTurn(ctx, c, s, h)
		})
	}
	v, err := m.pinHandle(ctx, c.key)
	if err != nil {
		return err
	}
	defer m.handles.releasePin(v)
	return m.conn.inSession(ctx, func(s p11.SessionHandle) error {
		if v.start != m.conn.starts.Load() { // its number may belong to another key now
			return p11.Error(p11.CKR_KEY_HANDLE_INVALID)
		}
		return m.runInTurn(ctx, c, s, v.object)
	})
}

func (m *caller) runInTurn(ctx context.Context, c *call, s p11.SessionHandle, key p11.ObjectHandle) error {
	if c.turn {
		if err := m.conn.turn.takeTurn(ctx); err != nil {
			return err
		}
		defer m.conn.turn.giveTurn()
	}
	return c.run(s, key)
}

// isSetKey reports whether a key is named by its label alone.
func isSetKey(k *hsm.Key) bool { return k.Blob == nil && k.CKAID == nil }

// pinHandle pins the handle of a wrapped or resident key. If none is kept, it unwraps
// or finds the key.
func (m *caller) pinHandle(ctx context.Context, k *hsm.Key) (*handle, error) {
	if v := m.handles.pinKept(k); v != nil {
		return v, nil
	}
	var object p11.ObjectHandle
	var start uint64
	doing := "use a key"
	if k.Blob == nil {
		doing = "find a key"
	}
	err := m.perform(ctx, call{doing: doing, turn: true, run: func(s p11.SessionHandle, _ p11.ObjectHandle) (err error) {
		start = m.conn.starts.Load()
		if k.Blob == nil {
			object, err = m.findResident(s, k)
		} else {
			object, err = m.unwrapBlob(m.conn.keeper, k) // the keeper owns it
		}
		return err
	}})
	if err != nil {
		return nil, err
	}
	return m.handles.addPinned(k, object, start, k.Blob != nil), nil
}

func (m *caller) findResident(s p11.SessionHandle, k *hsm.Key) (p11.ObjectHandle, error) {
	found, err := m.conn.findObject(s, k.Label, k.CKAID)
	if err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, core.Errorf(core.TokenUnavailable, "the HSM has %d objects for key %s, not one; check that hsm.token and hsm.serial name the right token, and whether it was restored from a backup", len(found), k.ID)
	}
	return found[0], nil
}

// kekOf returns the handle of the KEK of a wrapped key. It changes with a reconnect.
func (m *caller) kekOf(k *hsm.Key) (p11.ObjectHandle, error) {
	if len(k.Blob) == 0 { // the binding panics on it
		return 0, core.Errorf(core.CryptographicFailure, "object %s has no key material", k.ID)
	}
	return m.keys.handleOf(k.KEK)
}

// unwrapBlob makes a session object of a wrapped key.
func (m *caller) unwrapBlob(s p11.SessionHandle, k *hsm.Key) (p11.ObjectHandle, error) {
	kek, err := m.kekOf(k)
	if err != nil {
		return 0, err
	}
	return m.conn.ctx.UnwrapKey(s, keyWrap, kek, k.Blob, attributesOf(k.Template))
}
