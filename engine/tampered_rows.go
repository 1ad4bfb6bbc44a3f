package engine

import (
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// tamperedRows counts errors about rows that were changed behind the server. Safe for
// concurrent use.
type tamperedRows struct {
	mu    sync.Mutex
	found int64
	last  string
}

// noteError counts an error if it says that a row was changed.
func (t *tamperedRows) noteError(err error) {
	if err == nil || core.CodeOf(err) != core.Tampered {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.found++
	t.last = err.Error()
}

// NoteTampered counts an error if it says that a row was changed.
func (e *Engine) NoteTampered(err error) { e.tampered.noteError(err) }

// Tampered returns how often the server has found a row changed behind it since the
// start, and the text of the last error.
func (e *Engine) Tampered() (int64, string) {
	e.tampered.mu.Lock()
	defer e.tampered.mu.Unlock()
	return e.tampered.found, e.tampered.last
}
