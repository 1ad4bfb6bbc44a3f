package member

import (
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// session is a session of the pool. began is the start of the call that uses it, in Unix
// nanoseconds; 0 while no call uses it.
type session struct {
	handle p11.SessionHandle
	began  atomic.Int64
}

// sessionPool opens the logged-in sessions for calls, and knows which calls hang. Safe for
// concurrent use, except for forgetSessions.
type sessionPool struct {
	library *library
	idle    chan *session
	open    atomic.Int64
	inUse   atomic.Int64

	mu    sync.Mutex
	all   map[*session]struct{}
	stuck atomic.Int64 // as last counted
}

// forgetSessions follows a start of the library, which then has no sessions.
func (p *sessionPool) forgetSessions() {
	p.idle = make(chan *session, p.library.cfg.Sessions)
	p.open.Store(0)
}

// lendSession returns an idle session, or opens one. The caller has a session slot; there
// are as many slots as sessions.
func (p *sessionPool) lendSession() (*session, error) {
	select {
	case s := <-p.idle:
		return s, nil
	default:
	}
	h, err := p.library.openSession()
	if err != nil {
		return nil, err
	}
	p.open.Add(1)
	s := &session{handle: h}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[*session]struct{}{}
	}
	p.all[s] = struct{}{}
	return s, nil
}

// takeBack takes a session back. After an error it closes the session, which may be inside
// an operation.
func (p *sessionPool) takeBack(s *session, err error) {
	if err == nil {
		select {
		case p.idle <- s:
			return
		default:
		}
	}
	p.discard(s)
}

func (p *sessionPool) discard(s *session) {
	p.mu.Lock()
	delete(p.all, s)
	p.mu.Unlock()
	p.library.ctx.CloseSession(s.handle)
	p.open.Add(-1)
}

// discardIdle closes the sessions that no call uses.
func (p *sessionPool) discardIdle() {
	for {
		select {
		case s := <-p.idle:
			p.discard(s)
		default:
			return
		}
	}
}

// countStuck counts the calls that began more than cfg.Stuck ago.
func (p *sessionPool) countStuck() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, since := 0, time.Now().Add(-p.library.cfg.Stuck).UnixNano()
	for s := range p.all {
		if b := s.began.Load(); b != 0 && b < since {
			n++
		}
	}
	p.stuck.Store(int64(n))
	return n
}

// checkStuck refuses new calls while at least half of the sessions hang: the new calls
// would hang too, each with its caller.
func (p *sessionPool) checkStuck() error {
	most := p.library.cfg.Sessions
	if p.stuck.Load()*2 < int64(most) {
		return nil
	}
	n := p.countStuck()
	if n*2 < most {
		return nil
	}
	return core.Errorf(core.TokenUnavailable, "%d calls into the HSM have not returned for over %v; check the HSM and its connection, and restart keyreeve if this continues", n, p.library.cfg.Stuck)
}

// explainBusy turns Busy into the error that the HSM hangs, if calls have not returned for
// too long.
func (p *sessionPool) explainBusy(err error) error {
	if core.CodeOf(err) != core.Busy {
		return err
	}
	if n := p.countStuck(); n > 0 {
		if stuck := p.checkStuck(); stuck != nil {
			return stuck
		}
		return core.Wrap(core.TokenUnavailable, err, "the HSM is busy, and %d of its calls have not returned for over %v; check the HSM and its connection", n, p.library.cfg.Stuck)
	}
	return err
}
