package member

import (
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// reconnectEvery is how long a connect that failed is not tried again.
const reconnectEvery = 250 * time.Millisecond

// recoverFrom does what an error asks for before the call is made again, and reports
// whether that makes sense.
func (c *connection) recoverFrom(err error) bool {
	switch classify(err) {
	case goneFault:
		c.releaseHandles()
		if c.gate.enterWithin(c.cfg.Wait) != nil {
			return false
		}
		reloaded := !c.closed && c.reload() == nil
		c.gate.leaveGate()
		return reloaded || c.reconnect() == nil
	case sessionFault, deviceFault:
		return c.reconnect() == nil
	}
	return false
}

// reconnect restores a lost connection. If a probe in a fresh session works, only
// the session was at fault. Otherwise the library is finalized, with no call under
// way, and started again. Until that has succeeded the connection is broken, and
// every caller tries this first.
func (c *connection) reconnect() error {
	c.recovery.Lock()
	defer c.recovery.Unlock()
	if c.broken.Load() && time.Since(c.tried) < reconnectEvery {
		return c.lastErr
	}
	return c.withoutCalls(func() error {
		if !c.broken.Load() && c.isAlive() {
			return nil
		}
		return c.restart()
	})
}

// readObjectsAgain starts the library again, so that it reads the token's objects.
func (c *connection) readObjectsAgain() error {
	c.recovery.Lock()
	defer c.recovery.Unlock()
	return c.withoutCalls(c.restart)
}

// withoutCalls runs f while no call is under way and no idle session is open. It
// fails at once if calls hang: to wait for them would keep all others out.
func (c *connection) withoutCalls(f func() error) error {
	if n := c.sessions.countStuck(); n > 0 {
		return core.Errorf(core.TokenUnavailable, "the connection to the HSM cannot be restored: %d calls have not come back for over %v; if they stay, restart keyreeve", n, c.cfg.Stuck)
	}
	if err := c.gate.closeWithin(c.cfg.Wait); err != nil {
		return err
	}
	defer c.gate.reopen()
	if c.closed {
		return errClosed()
	}
	c.sessions.discardIdle()
	return f()
}

// restart finalizes the library and connects again, with no call under way.
func (c *connection) restart() error {
	if !c.broken.Load() {
		c.cfg.Log.Warn("reconnect token", "label", c.cfg.Label)
	}
	c.broken.Store(true)
	c.starts.Add(1)
	c.probeKey.Store(0)
	c.loseHandles()
	c.ctx.Finalize()
	err := c.connect()
	if err == nil {
		err = c.reload()
	}
	c.tried = time.Now()
	c.logOutcome(err)
	c.broken.Store(err != nil)
	return err
}

// logOutcome logs why the token cannot be connected, once for each cause, and that
// it is connected again.
func (c *connection) logOutcome(err error) {
	before := c.lastErr
	c.lastErr = err
	c.problem.Store(nil)
	if err == nil {
		c.cfg.Log.Info("token connected", "label", c.cfg.Label)
		return
	}
	text := err.Error()
	c.problem.Store(&text)
	if before == nil || before.Error() != text {
		c.cfg.Log.Error("reconnect token", "label", c.cfg.Label, "error", err)
	}
}

// tryPINAgain connects with another PIN than the one that the token refused.
func (c *connection) tryPINAgain() error {
	if !c.broken.Load() {
		return nil
	}
	c.recovery.Lock()
	err := c.refused.allowAgain(c.library)
	if err == nil {
		c.tried = c.tried.Add(-reconnectEvery)
	}
	c.recovery.Unlock()
	if err != nil {
		return err
	}
	return c.reconnect()
}

// shutDown waits for calls under way, within a bound, then logs out and unloads the
// library. A library that hangs in a call is left as it is: the process ends anyway.
func (c *connection) shutDown() error {
	if err := c.gate.closeWithin(c.cfg.Stuck); err != nil {
		return err
	}
	defer c.gate.reopen()
	if c.closed {
		return nil
	}
	c.closed = true
	c.ctx.Finalize()
	c.ctx.Destroy()
	return nil
}
