package server

import (
	"context"
	"sync"
	"time"
)

// readyFor is how long an answer about readiness holds. Everybody may ask, so
// asking must cost nothing.
const readyFor = time.Second

// readiness remembers whether the server was ready.
type readiness struct {
	mu    sync.Mutex
	until time.Time
	ready bool
}

// isReady reports whether all parts of the server are ready. Many callers share
// one look at the parts, which does not end with the caller that began it.
func (s *Server) isReady(ctx context.Context) bool {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	if time.Now().After(s.ready.until) {
		s.ready.ready = s.healthNow(context.WithoutCancel(ctx)).Ready
		s.ready.until = time.Now().Add(readyFor)
	}
	return s.ready.ready
}
