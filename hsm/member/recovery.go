package member

import (
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// reconnectEvery is the wait after a failed connect.
const reconnectEvery = 250 * time.Millisecond

// recoveryState is what a connection remembers of its last recovery. The mutex lets one
// recovery run at a time, and guards the fields.
type recoveryState struct {
	sync.Mutex
	refused refusedPIN
	tried   time.Time // the last time that connecting failed
	lastErr error     // the reason
}

// recoverFrom restores what an error shows to be lost. It reports whether the call can be
// made again.
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

// reconnect restores a lost connection. If a probe in a fresh session works, only the
// session was lost. Otherwise the library is finalized while no call is running, and
// started again. Until that succeeds the connection is broken, and every caller tries this
// first.
func (c *connection) reconnect() error {
	c.recovery.Lock()
	defer c.recovery.Unlock()
	if c.broken.Load() && time.Since(c.recovery.tried) < reconnectEvery {
		return c.recovery.lastErr
	}
	return c.withoutCalls(func() error {
		if !c.broken.Load() && c.isAlive() {
			return nil
		}
		return c.restart()
	})
}

// readObjectsAgain starts the library again, which then reads the token's files.
func (c *connection) readObjectsAgain() error {
	c.recovery.Lock()
	defer c.recovery.Unlock()
	return c.withoutCalls(c.restart)
}

// withoutCalls runs f while no call is running and no idle session is open. It fails at
// once if calls hang: waiting for them would keep out all others.
func (c *connection) withoutCalls(f func() error) error {
	if n := c.sessions.countStuck(); n > 0 {
		return core.Errorf(core.TokenUnavailable, "the connection to the HSM cannot be restored: %d calls have not returned for over %v; restart keyreeve if this continues", n, c.cfg.Stuck)
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

// restart finalizes the library and connects again. No call is running.
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
	c.recovery.tried = time.Now()
	c.logOutcome(err)
	c.broken.Store(err != nil)
	return err
}

// logOutcome logs that the token is connected again, or why not, once for each cause.
func (c *connection) logOutcome(err error) {
	before := c.recovery.lastErr
	c.recovery.lastErr = err
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

// tryPINAgain connects again if the PIN is not the one that the token refused.
func (c *connection) tryPINAgain() error {
	if !c.broken.Load() {
		return nil
	}
	c.recovery.Lock()
	err := c.recovery.refused.allowAgain(c.library)
	if err == nil {
		c.recovery.tried = c.recovery.tried.Add(-reconnectEvery)
	}
	c.recovery.Unlock()
	if err != nil {
		return err
	}
	return c.reconnect()
}

// shutDown waits a limited time for running calls, then logs out and unloads the library.
// It leaves a library that hangs in a call as it is: the process ends anyway.
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
