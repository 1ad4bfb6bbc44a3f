package member

import (
	"context"
	"errors"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// errDoubtful says that an object was not found, but its file may still be there.
var errDoubtful = errors.New("not found by a library that failed to destroy it")

// Destroy implements [hsm.Member].
func (m *Module) Destroy(ctx context.Context, o hsm.Object) error {
	err := m.destroyOnce(ctx, o)
	if errors.Is(err, errDoubtful) && m.doubts.mayReadAgain(time.Now()) {
		if err = m.conn.readObjectsAgain(); err == nil {
			err = m.destroyOnce(ctx, o)
		}
	}
	switch {
	case err == nil:
		m.doubts.removeObject(o.Label)
	case errors.Is(err, errDoubtful) || core.CodeOf(err) == core.CryptographicFailure:
		err = core.Wrap(core.TokenUnavailable, err, "the HSM did not remove the token object %q, or cannot show that it did; keyreeve tries again. Check the disk space and the permissions that the HSM has for its objects", o.Label)
	}
	return err
}

// destroyOnce destroys the objects that have both label and CKA_ID, and searches for them
// again. It marks the object as doubtful before the call, since the call may not return.
func (m *Module) destroyOnce(ctx context.Context, o hsm.Object) error {
	return m.perform(ctx, call{doing: "destroy a token object", run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
		// The turn counts for the server, since the tenant may have a queue.
		if err := m.conn.turn.takeTurn(context.Background()); err != nil {
			return err
		}
		defer m.conn.turn.giveTurn()
		found, err := m.conn.findObject(s, o.Label, o.CKAID)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			if m.doubts.containsObject(o.Label, m.conn.starts.Load()) {
				return errDoubtful
			}
			return nil
		}
		for _, h := range found {
			if err := m.destroyFound(s, h, o.Label); err != nil {
				return err
			}
		}
		if found, err = m.conn.findObject(s, o.Label, o.CKAID); err == nil && len(found) > 0 {
			err = p11.Error(p11.CKR_FUNCTION_FAILED) // although the call reported success
		}
		return err
	}})
}

// destroyFound destroys an object that a search found, if it has the label.
func (m *Module) destroyFound(s p11.SessionHandle, h p11.ObjectHandle, label string) error {
	as, err := m.conn.readAttributes(s, h, p11.CKA_LABEL)
	if err != nil {
		return err
	}
	if label == "" || string(as[0]) != label {
		return core.Errorf(core.PermissionDenied, "a token object with the label %q was found in place of %q, so it is not destroyed", as[0], label)
	}
	m.doubts.addObject(label, m.conn.starts.Load())
	return m.conn.ctx.DestroyObject(s, h)
}
