package door

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/directory"
)

const (
	onceHeader  = "Idempotency-Key"
	maxOnceText = 255 // bytes of the header
)

// Rebuild answers a repeat of a request: it shows what the first one has made, if the policy
// permits it now. It fails with [ErrAnswerNotKept] if the answer held a secret.
type Rebuild[S, A any] func(s S, c *core.Caller, r *http.Request, made string) (A, error)

// ErrAnswerNotKept is the error of a [Rebuild] that cannot make the answer again.
var ErrAnswerNotKept = errors.New("the answer is not kept")

// HonorOnce returns the row for a route that makes something, and makes it once for each
// Idempotency-Key.
func HonorOnce[S, A any](to Route, s S, rebuild Rebuild[S, A]) Route {
	to.rebuild = func(c *core.Caller, r *http.Request, made string) (any, error) { return rebuild(s, c, r, made) }
	return to
}

// HonorOnceSecretly is [HonorOnce] for a route whose answer is not kept, because it holds a secret.
func HonorOnceSecretly(to Route) Route {
	to.rebuild = func(*core.Caller, *http.Request, string) (any, error) { return nil, ErrAnswerNotKept }
	return to
}

// HonorsOnce reports whether the route honours an Idempotency-Key.
func (to *Route) HonorsOnce() bool { return to.rebuild != nil }

// checkOnce refuses an Idempotency-Key that the route does not honour, or that is not one text.
func (to *Route) checkOnce(r *http.Request) error {
	given := r.Header.Values(onceHeader)
	switch {
	case len(given) == 0:
		return nil
	case to.rebuild == nil:
		return core.Errorf(core.InvalidField, "%s takes no Idempotency-Key; leave it out", to.Pattern())
	case len(given) != 1 || given[0] == "" || len(given[0]) > maxOnceText || strings.ContainsFunc(given[0], func(c rune) bool { return c < ' ' || c > '~' }):
		return core.Errorf(core.InvalidField, "Idempotency-Key must be 1 to %d printable characters of ASCII", maxOnceText)
	}
	return nil
}

// hashedBody is a body that is read before its request comes to a handler.
type hashedBody struct {
	io.ReadCloser
	hash hash.Hash
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.hash.Write(p[:n])
	return n, err
}

// bufferedBody is a body that can be read again.
type bufferedBody struct{ *bytes.Reader }

func (*bufferedBody) Close() error { return nil }

// hashBody has the body of a request hashed while it is read, if it has an Idempotency-Key.
func hashBody(r *http.Request) {
	if r.Header.Get(onceHeader) != "" {
		r.Body = &hashedBody{r.Body, sha256.New()}
	}
}

// readOnce reads the body of a request with an Idempotency-Key. It returns what must be the same in a
// repeat, and a function that zeroes the body.
func (to *Route) readOnce(c *core.Caller, r *http.Request) (once directory.OnceRequest, wipe func(), err error) {
	body, err := readBody(r.Body)
	if err != nil {
		retireBody(body)
		return once, nil, err
	}
	sum := sha256.Sum256(body)
	if early, ok := r.Body.(*hashedBody); ok {
		sum = [sha256.Size]byte(early.hash.Sum(nil))
	}
	r.Body = &bufferedBody{bytes.NewReader(body)}
	content := fmt.Appendf(nil, "%q %q %q ", r.URL.Path, r.URL.RawQuery, r.Header.Get("If-Match"))
	return directory.OnceRequest{Principal: c.Principal, Route: to.Pattern(), Key: r.Header.Get(onceHeader), Content: append(content, sum[:]...)}, func() { retireBody(body) }, nil
}

// answerOnce does what a route is for. A request with an Idempotency-Key that has made something is
// not done again.
func (d *Door) answerOnce(to Route, c *core.Caller, r *http.Request) (any, error) {
	if r.Header.Get(onceHeader) == "" {
		return to.answer(c, r)
	}
	if d.Once == nil {
		return nil, d.Engine.RecordRefused(r.Context(), c, to.Action, core.Errorf(core.FeatureNotSupported, "this server remembers no Idempotency-Key"))
	}
	request, wipe, err := to.readOnce(c, r)
	if err != nil {
		return nil, d.Engine.RecordRefused(r.Context(), c, to.Action, err)
	}
	defer wipe()
	begun, err := d.Once.Begin(&request)
	if err != nil {
		return nil, d.Engine.RecordRefused(r.Context(), c, to.Action, err)
	}
	defer begun.End()
	if begun.Repeated {
		return d.rebuild(to, c, r, begun.Made)
	}
	return d.makeOnce(to, c, r, &request, begun.Once)
}

// rebuild answers a repeat.
func (d *Door) rebuild(to Route, c *core.Caller, r *http.Request, made string) (any, error) {
	r.Body.(*bufferedBody).Seek(0, io.SeekStart)
	out, err := to.rebuild(c, r, made)
	if !errors.Is(err, ErrAnswerNotKept) {
		return out, err
	}
	return nil, d.Engine.RecordRefused(r.Context(), c, to.Action, &core.Error{Code: core.ObjectAlreadyExists, Made: made,
		Detail: "an earlier request with this Idempotency-Key has made " + made + "; its answer is not kept"})
}

// makeOnce does a request for the first time, as far as this node knows.
func (d *Door) makeOnce(to Route, c *core.Caller, r *http.Request, request *directory.OnceRequest, once *core.Once) (any, error) {
	c.Once = once
	defer func() {
		c.Once = nil
		if once.Stored != nil {
			d.Once.Show(once.Stored)
		}
	}()
	out, err := to.answer(c, r)
	if err == nil && once.Stored == nil { // nothing was stored, or not by a verb of the engine
		err = d.Once.Save(context.WithoutCancel(r.Context()), once, "the record "+audit.ID(*c.RecordedAt, c.RequestID))
		if err != nil {
			WipeAnswer(out)
		}
	}
	if core.CodeOf(err) != core.Conflict || once.Stored != nil {
		return out, err
	}
	made, found, rerr := d.Once.ReadAgain(context.WithoutCancel(r.Context()), request)
	if rerr != nil || !found {
		return nil, err
	}
	return d.rebuild(to, c, r, made)
}
