package password

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// One-time codes are those of RFC 6238 with the parameters that every authenticator app has:
// HMAC-SHA-1, 30 seconds and six digits. The weaknesses of SHA-1 do not touch HMAC (RFC 6194 §3.3).
const (
	stepSeconds = 30
	codeDigits  = 6
	stepsAround = 1 // steps before and after the current one whose codes are right (RFC 6238 §5.2)
)

// codeSession is how long a code lets a connection send the same credential again.
const codeSession = 12 * time.Hour

// codeOfStep returns the code of a time step (RFC 4226 §5.3).
func codeOfStep(key []byte, step int64) []byte {
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	defer clear(sum)
	at := sum[len(sum)-1] & 0xf
	return fmt.Appendf(nil, "%0*d", codeDigits, binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}

var errWrongCode = errors.New("the one-time code is wrong")

// stepOfCode returns the time step around now whose code is given.
func stepOfCode(key, given []byte, now time.Time) (step int64, err error) {
	current := now.Unix() / stepSeconds
	err = errWrongCode
	for s := current - stepsAround; s <= current+stepsAround; s++ {
		if subtle.ConstantTimeCompare(codeOfStep(key, s), given) == 1 {
			step, err = s, nil
		}
	}
	return step, err
}

// codeChecks lets a node check one login with a one-time code of each user at a time. With several at
// once, as many guesses would pass when a delay ends, before the first of them has failed. Safe
// for concurrent use.
type codeChecks struct {
	mu      sync.Mutex
	running map[string]bool // by user
}

func newCodeChecks() *codeChecks { return &codeChecks{running: map[string]bool{}} }

// begin fails with Busy if a login with a code of the same user is being checked. Otherwise the
// caller must call end. It has its place among the checks of passwords already: a login that waits
// for one, behind many of a guesser, must not keep the user out.
func (c *codeChecks) begin(l *login) (end func(), err error) {
	if l.code == nil {
		return func() {}, nil
	}
	user := l.byUser()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[user] {
		return nil, core.Errorf(core.Busy, "another login with a one-time code of this user is being checked; try again")
	}
	c.running[user] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, user)
	}, nil
}

// useCode lets a user log in whose password and code are right, if the code was never used. A code
// that was used before counts as a failure.
func (v *Verifier) useCode(ctx context.Context, l *login, u *core.User, step int64) (provenUser, error) {
	if v.codes == nil {
		return provenUser{}, refuseLogin(errors.New("the server keeps no used codes"))
	}
	first, err := v.codes.UseCode(ctx, u.Tenant, u.Name, step)
	if err != nil {
		return provenUser{}, err
	}
	if !first {
		return provenUser{}, v.noteOutcome(l, u, errors.New("the one-time code was used before"))
	}
	v.slowdown.noteSuccess(l)
	return provenUser{user: u, method: core.MethodCode, until: time.Now().Add(codeSession).Unix()}, nil
}
