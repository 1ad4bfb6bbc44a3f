package member

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// connection is the logged-in connection to a token. It runs calls in sessions and
// restores itself after a fault. Safe for concurrent use.
type connection struct {
	*library
	gate     callGate
	sessions sessionPool
	slots    *fair.Slots       // one for each call in a session
	long     *fair.Slots       // one for each call that lasts seconds
	turn     *changeTurn       // one create, destroy, find or unwrap at a time
	keeper   p11.SessionHandle // logged in; it owns the unwrapped keys
	closed   bool              // the gate guards it

	broken   atomic.Bool   // the library is finalized, or connecting failed
	starts   atomic.Uint64 // of the library; after each start a handle may be the number of another object
	probeKey atomic.Uint64 // handle of a token object that probes use; 0: none yet
	finds    atomic.Int64  // C_FindObjects calls
	problem  atomic.Pointer[string]

	recovery recoveryState

	// Set by Open. releaseHandles is called if a handle is no longer valid,
	// loseHandles if the library has forgotten them all, and reload to find the keys
	// of sets again.
	releaseHandles, loseHandles func()
	reload                      func() error
}

// connect initializes the library, finds the token and logs in.
func (c *connection) connect() error {
	if _, err := c.initialize(); err != nil {
		return err
	}
	if err := c.findSlot(); err != nil {
		return err
	}
	var err error
	if c.keeper, err = c.openSession(); err != nil {
		return core.Wrap(core.TokenUnavailable, err, "token %q opens no session", c.cfg.Label)
	}
	if err := c.checkSameToken(); err != nil {
		return err
	}
	if err := c.recovery.refused.logIn(c.library, c.keeper); err != nil {
		return err
	}
	c.sessions.forgetSessions()
	return c.listMechanisms()
}

// inSession runs f once in a session. A caller waits for its session before it enters the
// gate: recovery waits for the calls inside, but not for a queue.
func (c *connection) inSession(ctx context.Context, f func(s p11.SessionHandle) error) (err error) {
	if err := c.sessions.checkStuck(); err != nil {
		return err
	}
	lease, err := c.slots.Acquire(ctx)
	if err != nil {
		return c.sessions.explainBusy(err)
	}
	defer lease.Release() // after the session is given back
	if !c.computesHere() {
		defer fair.Waits(ctx).Over()
	}
	if err := c.enterGate(); err != nil {
		return err
	}
	defer c.gate.leaveGate()
	if c.broken.Load() {
		return p11.Error(p11.CKR_TOKEN_NOT_PRESENT)
	}
	s, err := c.sessions.lendSession()
	if err != nil {
		return err
	}
	s.began.Store(time.Now().UnixNano())
	c.sessions.inUse.Add(1)
	defer func() {
		// The binding panics on some empty inputs. That must not stop the server.
		if p := recover(); p != nil {
			err = fmt.Errorf("the PKCS#11 binding panicked: %v", p)
		}
		s.began.Store(0)
		c.sessions.inUse.Add(-1)
		c.sessions.takeBack(s, err)
	}()
	return c.sessions.explainBusy(c.blameToken(f(s.handle)))
}

// enterGate enters the gate, unless the connection was closed. The caller leaves it.
func (c *connection) enterGate() error {
	if err := c.gate.enterWithin(c.cfg.Wait); err != nil {
		return err
	}
	if c.closed {
		c.gate.leaveGate()
		return errClosed()
	}
	return nil
}

func errClosed() error {
	return core.Errorf(core.TokenUnavailable, "the HSM has been closed")
}

// blameToken turns an ambiguous error into CKR_DEVICE_ERROR if a probe shows that
// the token is not working.
func (c *connection) blameToken(err error) error {
	if isAmbiguous(err) && !c.isPresent() {
		return p11.Error(p11.CKR_DEVICE_ERROR)
	}
	return err
}

// isAlive tries the keeper's login, and the token in a fresh session.
func (c *connection) isAlive() bool {
	info, err := c.ctx.GetSessionInfo(c.keeper)
	return err == nil && info.State == p11.CKS_RW_USER_FUNCTIONS && c.isPresent()
}

// isPresent tries the token in a fresh session. A token without a free session is present
// too.
func (c *connection) isPresent() bool {
	s, err := c.openSession()
	if err != nil {
		return classify(err) == busyFault
	}
	defer c.ctx.CloseSession(s)
	return c.probeToken(s) == nil
}

// probeToken makes random bytes, and signs with a token object: a token whose files are
// missing still makes random bytes.
func (c *connection) probeToken(s p11.SessionHandle) error {
	if _, err := c.ctx.GenerateRandom(s, 16); err != nil {
		return err
	}
	key := p11.ObjectHandle(c.probeKey.Load())
	if key == 0 {
		return nil // no set is loaded yet
	}
	if err := c.ctx.SignInit(s, oneMechanism(p11.CKM_SHA256_HMAC, nil), key); err != nil {
		return err
	}
	_, err := c.ctx.Sign(s, []byte("keyreeve probe"))
	return err
}
