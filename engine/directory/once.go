package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// OnceLifetime is how long an Idempotency-Key is remembered.
const OnceLifetime = 24 * time.Hour

// Bounds of the Idempotency-Keys that are remembered at once. Every node has them in memory.
const (
	maxOncePerTenant    = 10_000
	maxOncePerPrincipal = 5_000 // so that no principal takes all of its tenant
)

// maxMadeBytes bounds the ID of what a request has made.
const maxMadeBytes = 256

// Once remembers requests that have made something and had an Idempotency-Key. Each is an entry
// whose ID follows from tenant, principal, route and key, so the database takes it once, whichever
// node stores it. Safe for concurrent use.
type Once struct {
	*Ending

	mu      sync.Mutex
	running map[string]bool // IDs of the entries of requests under way on this node
}

// onceBody is the body of the entry. It is encrypted as every body is, so the salt is a key that
// all nodes have and that nobody has who can only read the database.
type onceBody struct {
	Principal string `json:"principal"`
	Salt      []byte `json:"salt"`
	MAC       []byte `json:"mac"`  // HMAC-SHA256 of the request under Salt
	Made      string `json:"made"` // ID of what the request has made
}

// Check returns an error if a field of b is out of its bounds.
func (b *onceBody) Check() error {
	if b.Principal == "" || len(b.Principal) > core.MaxDirectoryAuthor || len(b.Salt) != sha256.Size || len(b.MAC) != sha256.Size || len(b.Made) > maxMadeBytes {
		return core.Errorf(core.InvalidField, "an Idempotency-Key has a principal, a salt and a MAC of %d bytes each, and names what was made in at most %d bytes", sha256.Size, maxMadeBytes)
	}
	return nil
}

// sum returns the HMAC of a request.
func (b *onceBody) sum(request []byte) []byte {
	h := hmac.New(sha256.New, b.Salt)
	h.Write(request)
	return h.Sum(nil)
}

// NewOnce must be called before the directory is opened.
func NewOnce(d *Directory) *Once {
	lifetime := int64(OnceLifetime / time.Second)
	return &Once{Ending: newEnding(d, core.EntryOnce, lifetime, func(e *core.DirectoryEntry) (string, int64, error) {
		body, err := decodeBody[onceBody](e)
		if err != nil {
			return "", 0, err
		}
		return body.Principal, e.At + lifetime, nil
	}), running: map[string]bool{}}
}

// OnceRequest is a request with an Idempotency-Key.
type OnceRequest struct {
	Principal *core.Principal
	Route     string // its method and pattern
	Key       string
	Content   []byte // everything that must be the same in a repeat
}

// entryID returns the ID of the entry. No two scopes or keys have the same.
func (r *OnceRequest) entryID() string {
	h := sha256.New()
	for _, part := range []string{r.Principal.Tenant, r.Principal.ID, r.Route, r.Key} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// OnceBegun is a request with an Idempotency-Key that is under way.
type OnceBegun struct {
	Once     *core.Once // for the engine; nil for a repeat
	Repeated bool       // an earlier request has made something
	Made     string     // its ID

	End func() // must be called when the request has ended
}

// Begin looks for an earlier request with the same key. The code is Conflict, with a time to wait,
// if one is under way on this node. ErrOtherRequest is in the chain if the earlier one was another
// request.
func (o *Once) Begin(r *OnceRequest) (begun OnceBegun, err error) {
	tenant, id := r.Principal.Tenant, r.entryID()
	if begun.End, err = o.run(id); err != nil {
		return begun, err
	}
	begun.Made, begun.Repeated, err = o.findMade(tenant, id, r.Content)
	now := o.directory.ports.Clock.Now()
	if err == nil && !begun.Repeated {
		begun.Once = o.newOnce(r, id, now)
		err = o.checkRoom(tenant, r.Principal.ID, now)
	}
	if err != nil {
		begun.End()
	}
	return begun, err
}

func (o *Once) newOnce(r *OnceRequest, id string, now int64) *core.Once {
	tenant := r.Principal.Tenant
	body := onceBody{Principal: r.Principal.ID, Salt: make([]byte, sha256.Size)}
	rand.Read(body.Salt)
	body.MAC = body.sum(r.Content)
	return &core.Once{NewEntry: func(made string) (*core.DirectoryEntry, error) {
		body.Made = made
		text, err := core.EncodeBody(&body)
		if err != nil {
			return nil, err
		}
		return &core.DirectoryEntry{Kind: core.EntryOnce, Tenant: tenant, ID: id, Version: 1, At: now, Author: tenant + "/" + body.Principal, Body: text}, nil
	}}
}

// run notes that a request is under way, until end is called.
func (o *Once) run(id string) (end func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.running[id] {
		return nil, &core.Error{Code: core.Conflict, Detail: "a request with this Idempotency-Key is under way; send it again when that has ended", RetryAfter: 1}
	}
	o.running[id] = true
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.running, id)
	}), nil
}

// findMade returns what an earlier request has made, and whether there was one. An entry counts until
// it is pruned.
func (o *Once) findMade(tenant, id string, content []byte) (made string, found bool, err error) {
	e, err := o.directory.Get(core.EntryOnce, tenant, id)
	if core.CodeOf(err) == core.ItemNotFound {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	body, err := decodeBody[onceBody](e)
	if err != nil {
		return "", false, err
	}
	if !hmac.Equal(body.MAC, body.sum(content)) {
		return "", false, core.Wrap(core.InvalidField, ErrOtherRequest, "the Idempotency-Key belongs to another request, with another path, query or body; use a new key")
	}
	return body.Made, true, nil
}

// checkRoom fails with TooManyRequests if a principal or its tenant has too many keys.
func (o *Once) checkRoom(tenant, principal string, now int64) error {
	var own, all onceCount
	o.Ending.mu.RLock()
	defer o.Ending.mu.RUnlock()
	for id := range o.ofTenant[tenant] {
		k := o.known[id]
		all.add(k.ends)
		if k.principal == principal {
			own.add(k.ends)
		}
	}
	wait := int64(0)
	if own.n >= maxOncePerPrincipal {
		wait = max(1, own.first-now)
	}
	if all.n >= maxOncePerTenant {
		wait = max(1, wait, all.first-now)
	}
	if wait == 0 {
		return nil
	}
	return &core.Error{Code: core.TooManyRequests, RetryAfter: wait,
		Detail: fmt.Sprintf("%d Idempotency-Keys of this principal and %d of its tenant are remembered; at most %d and %d can be; send the request without one, or wait", own.n, all.n, maxOncePerPrincipal, maxOncePerTenant)}
}

// onceCount counts entries.
type onceCount struct {
	n     int
	first int64 // the earliest end
}

func (c *onceCount) add(ends int64) {
	if c.n++; c.n == 1 || ends < c.first {
		c.first = ends
	}
}

// Show lets this node answer with an entry that the engine has stored.
func (o *Once) Show(e *core.DirectoryEntry) { o.directory.acceptAll([]*core.DirectoryEntry{e}) }

// Save stores the entry of a request that has stored nothing else.
func (o *Once) Save(ctx context.Context, once *core.Once, made string) error {
	e, err := once.NewEntry(made)
	if err == nil {
		err = o.directory.Save(ctx, e)
	}
	if err == nil {
		once.Stored = e
	}
	return err
}

// ReadAgain reads what other nodes have stored, and returns what a request has made on one of them.
func (o *Once) ReadAgain(ctx context.Context, r *OnceRequest) (made string, found bool, err error) {
	if err := o.directory.readChanges(ctx); err != nil {
		return "", false, err
	}
	return o.findMade(r.Principal.Tenant, r.entryID(), r.Content)
}

// ErrOtherRequest is in the chain of the error of a request whose Idempotency-Key belongs to another
// request.
var ErrOtherRequest = errors.New("the Idempotency-Key belongs to another request")
