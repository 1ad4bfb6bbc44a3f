// Package exchanges keeps what clients last sent that was refused, and why, for the command
// client doctor.
//
// It is in the memory of one node and ends with its process. It holds no secrets: requests are
// kept in the form of package redacted. All of it is bounded: by client, in the number of
// clients, and in bytes. If it is full, a tenant with more than its share loses a client.
// Successes cost nothing here, because the records tell of them. Who may see what is kept, the
// engine decides. Start at [Keeper].
package exchanges

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/kmip/redacted"
)

// Bounds of what is kept. Together they are some 40 MiB, if all clients of a full node fail in
// different ways.
const (
	maxClients  = 1000
	perClient   = 8        // exchanges
	maxForm     = 16 << 10 // bytes of one request's form
	maxKept     = 32 << 10 // bytes of all forms of a client
	maxFailures = 4        // of one exchange; the others are counted
)

// Failure is one batch item, or a whole message, that was not done.
type Failure struct {
	Item      int            // place in the batch, from 1; 0: the whole message
	Operation core.Operation // 0: none could be read
	Code      core.Code
	Reason    core.ResultReason // as it was answered
	Text      string            // Result Message
}

// Exchange is a request that was refused in whole or in part. Do not change one that
// [Keeper.Of] has returned.
type Exchange struct {
	Began, Ended time.Time // of the newest one
	First        time.Time // when it failed in this way for the first time
	Times        int       // how often since then, one after another
	Address      string
	Sender       string // who credentials of the request proved; "": the client itself
	Fingerprint  string // of the certificate
	Version      core.Version
	RequestID    string
	Failures     []Failure
	More         int // failures that are not among Failures

	form []byte
}

// Request shows what the client sent, without secrets. nil: it could not be read at all.
func (e *Exchange) Request() []string { return redacted.Lines(e.form) }

// Fail adds a failure.
func (e *Exchange) Fail(f Failure) {
	if len(e.Failures) >= maxFailures {
		e.More++
		return
	}
	e.Failures = append(e.Failures, f)
}

// Keeper keeps exchanges and refused handshakes. It is safe for concurrent use.
type Keeper struct {
	mu      sync.Mutex
	clients *cache.Bounded[*client]
	refused []Refusal // newest last
}

// client has the exchanges of a client, newest last.
type client struct {
	all  []*Exchange
	last int64 // Unix seconds
}

// NewKeeper returns an empty Keeper.
func NewKeeper() *Keeper {
	return &Keeper{clients: cache.NewRanked(maxClients, 0, func(c *client) int { return int(c.last) })}
}

// Keep keeps an exchange of a principal. It copies what it keeps: neither msg nor a text of the
// exchange need to last. msg may be nil.
func (k *Keeper) Keep(tenant, principal string, e *Exchange, msg []byte) {
	kept := *e
	kept.Address, kept.Sender, kept.Fingerprint, kept.RequestID = strings.Clone(e.Address), strings.Clone(e.Sender), strings.Clone(e.Fingerprint), strings.Clone(e.RequestID)
	kept.Failures = slices.Clone(e.Failures)
	for i := range kept.Failures {
		kept.Failures[i].Text = strings.Clone(kept.Failures[i].Text)
	}
	kept.First, kept.Times = kept.Ended, 1
	kept.form = slices.Clip(redacted.Append(nil, msg, maxForm))

	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.clients.Get(tenant, principal)
	if !ok {
		c = new(client)
		k.clients.Put(strings.Clone(tenant), strings.Clone(principal), c)
	}
	c.last = kept.Ended.Unix()
	if n := len(c.all); n > 0 && c.all[n-1].failsLike(&kept) {
		kept.First, kept.Times = c.all[n-1].First, c.all[n-1].Times+1
		c.all = c.all[:n-1]
	}
	c.all = append(c.all, &kept)
	for len(c.all) > perClient || c.size() > maxKept {
		c.all = slices.Delete(c.all, 0, 1)
	}
}

// failsLike reports whether two exchanges failed in the same way. A client that tries again and
// again must not drive out what it sent before.
func (e *Exchange) failsLike(o *Exchange) bool {
	return e.Address == o.Address && e.Sender == o.Sender && e.Version == o.Version && e.More == o.More && slices.Equal(e.Failures, o.Failures)
}

func (c *client) size() (n int) {
	for _, e := range c.all {
		n += len(e.form)
	}
	return n
}

// Of returns what is kept of a principal, newest first.
func (k *Keeper) Of(tenant, principal string) []*Exchange {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.clients.Get(tenant, principal)
	if !ok {
		return nil
	}
	out := slices.Clone(c.all)
	slices.Reverse(out)
	return out
}
