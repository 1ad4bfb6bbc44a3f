package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/api"
)

// Bounds of requests.
const (
	maxAnswer = 4 << 20          // bytes
	maxTries  = 4                // of one request
	maxPause  = 10 * time.Second // between two tries; a server that asks for more is not waited for
)

// request is one question to a server.
type request struct {
	method, path string // with its query
	body         any    // nil: none
	repeatable   bool   // the request changes nothing, so it may be sent again
}

// get returns a request that reads.
func get(path string) request { return request{"GET", path, nil, true} }

// post returns a request that changes something.
func post(path string, body any) request { return request{"POST", path, body, false} }

// compute returns a request that changes nothing, with a body.
func compute(path string, body any) request { return request{"POST", path, body, true} }

// ask sends a request, decodes the answer into out, and returns its text.
func (s *server) ask(ctx context.Context, q request, out any) ([]byte, error) {
	var body []byte
	if q.body != nil {
		var err error
		if body, err = json.Marshal(q.body); err != nil {
			return nil, err
		}
		defer clear(body)
	}
	for try := 1; ; try++ {
		text, again, err := s.send(ctx, q, body)
		if err == nil {
			// A copy is read: texts that may be secret are zeroed where they were read.
			if err := json.Unmarshal(bytes.Clone(text), out); err != nil {
				return nil, mayBeDone(q, fmt.Errorf("the answer of the server cannot be read: %w", err))
			}
			return text, nil
		}
		if !q.repeatable || again == 0 || try == maxTries || s.pause(ctx, again) != nil {
			return nil, err
		}
	}
}

// send sends a request once. If it is refused and may be sent again, again says after which
// time.
func (s *server) send(ctx context.Context, q request, body []byte) (text []byte, again time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, q.method, s.url+q.path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if q.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	var sent atomic.Bool
	r = r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}))
	res, err := s.http.Do(r)
	if err != nil {
		err = unreachable(err)
		if sent.Load() && statusOf(err) == exitUnavailable {
			err = mayBeDone(q, err)
		}
		return nil, 0, err
	}
	defer res.Body.Close()
	text, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, 0, mayBeDone(q, unreachable(err))
	case len(text) > maxAnswer:
		return nil, 0, mayBeDone(q, fmt.Errorf("the answer of the server has more than %d bytes", maxAnswer))
	case res.StatusCode/100 == 2:
		return text, 0, nil
	}
	var p api.Problem
	json.Unmarshal(text, &p) // an answer that is no problem is refused without a code
	err = refused(res.StatusCode, p)
	if res.StatusCode >= 500 && res.StatusCode != http.StatusNotImplemented && res.Header.Get("Retry-After") == "" {
		err = mayBeDone(q, err) // a server that did nothing says when to try again
	}
	return nil, pauseBefore(res), err
}

// pauseBefore returns how long to wait before a request is sent again, 0 for never.
func pauseBefore(res *http.Response) time.Duration {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if pause := time.Duration(seconds) * time.Second; err == nil && 0 < seconds && seconds <= int(maxPause/time.Second) {
		return pause
	}
	return 0
}

// errNoTime is why a pause is not made.
var errNoTime = errors.New("the time for the command ends before")

// pauseFor waits, unless the time for the command ends before.
func pauseFor(ctx context.Context, d time.Duration) error {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return errNoTime
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
