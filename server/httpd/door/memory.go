package door

import (
	"net/http"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// What a byte takes while a request is worked on: of a body, as it is read, checked,
// decoded and handed on; of an answer, as a value, as base64 and as JSON.
const (
	perBodyByte   = 4
	perAnswerByte = 4
)

// memory is what one request has reserved. It is given back when both the work has
// ended and the answer is written, which is the other way round if the work hangs.
type memory struct {
	account *bounds.Account
	hold    bounds.Hold
	users   atomic.Int32
}

// reserve waits for the memory of the body, and lets the engine ask for that of the
// answer. On success, free must be called twice.
func (d *Door) reserve(c *core.Caller, r *http.Request) (*memory, error) {
	m := &memory{}
	m.users.Store(2)
	if d.Memory == nil {
		return m, nil
	}
	m.account = d.Memory.Open(c.Principal.Tenant, c.Principal.ID)
	m.hold.For(m.account)
	c.Room = func(bytes int) error { return m.hold.Reserve(r.Context(), perAnswerByte*bytes) }
	body := r.ContentLength
	if body < 0 || body > maxBody { // not said, or refused when it is read
		body = maxBody
	}
	if err := m.hold.Reserve(r.Context(), perBodyByte*int(body)); err != nil {
		m.account.Close()
		return nil, err
	}
	return m, nil
}

func (m *memory) release() {
	if m.users.Add(-1) == 0 && m.account != nil {
		m.hold.Release()
		m.account.Close()
	}
}
