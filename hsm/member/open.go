package member

import (
	"context"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/core/fair"
)

// Open loads the library, finds the token and logs in once.
func Open(cfg Config) (*Module, error) {
	cfg = cfg.withDefaults()
	l, err := loadLibrary(cfg)
	if err != nil {
		return nil, err
	}
	c := &connection{library: l, turn: newChangeTurn(cfg.Wait)}
	c.sessions.library = l
	if err := c.connect(); err != nil {
		l.ctx.Finalize()
		l.ctx.Destroy()
		return nil, err
	}
	calls := callsAtOnce(cfg.Sessions, c.computesHere())
	c.slots, c.long = newSessionSlots(calls, cfg.Wait), newLongSlots(calls)
	m := &Module{caller: &caller{c, newKeyRing(c), newHandleCache(c, cfg.Handles, cfg.HandleTTL)}}
	m.reads.caller = m.caller
	c.releaseHandles, c.loseHandles, c.reload = m.handles.dropAll, m.handles.loseAll, m.keys.reload
	if !freedIsZeroed() {
		m.notes = append(m.notes, "this platform does not zero C memory that is freed: a token that is software leaves copies of keys there")
	}
	running, stop := context.WithCancel(context.Background())
	m.stop = stop
	go core.Every(running, cache.ExpireInterval, m.expireHandles)
	return m, nil
}

// expireHandles drops old handles that nobody asks for, and counts stuck sessions.
func (m *Module) expireHandles() {
	m.conn.sessions.countStuck()
	m.handles.expire(time.Now())
}

// Close implements [hsm.Member]. It waits a limited time for running calls, then logs out
// and unloads the library.
func (m *Module) Close(context.Context) error {
	if err := m.conn.shutDown(); err != nil {
		return err
	}
	m.stop()
	return nil
}

// Health implements [hsm.Member].
func (m *Module) Health(ctx context.Context) core.HSMHealth {
	c := m.conn
	h := core.HSMHealth{Label: c.cfg.Label, Serial: c.info.SerialNumber, Module: c.cfg.Module, Refusals: m.notes,
		Sessions: int(c.sessions.open.Load()), InUse: int(c.sessions.inUse.Load()), Stuck: c.sessions.countStuck(), CachedHandles: m.handles.length(), Waiting: c.slots.Usage().Waiting}
	err := m.perform(ctx, call{doing: "be tried", run: func(s p11.SessionHandle, _ p11.ObjectHandle) error { return c.probeToken(s) }})
	if h.Ready = err == nil; err != nil {
		h.Problem = err.Error()
		if why := c.problem.Load(); why != nil { // it says why the HSM is unavailable
			h.Problem = *why
		}
	}
	return h
}

// TryPINAgain connects again if the token refused a PIN and the PIN was changed since.
func (m *Module) TryPINAgain() error { return m.conn.tryPINAgain() }

// Usage returns how many sessions are in use and how many calls wait for one.
func (m *Module) Usage() fair.Usage { return m.conn.slots.Usage() }

// Finds returns the number of C_FindObjects calls so far. Serving requests adds none.
func (m *Module) Finds() int64 { return m.conn.finds.Load() }
