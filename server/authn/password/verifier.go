package password

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// Bounds of the checks that wait.
const (
	maxWaiting = 256 // of one certificate
	maxWait    = 10 * time.Second
)

// Users is where users are looked up. It answers from memory, without a lock that writers
// hold for long. Safe for concurrent use.
type Users interface {
	// Revision returns a number that grows with each change of a user, of any tenant. It
	// fails with StoreUnavailable if changes may have been missed. It takes no lock and
	// allocates nothing, because it is called for each message with credentials.
	Revision() (uint64, error)
	// HadUsers reports whether a tenant has a user or ever had one. A tenant whose last
	// user was removed still counts: its credentials must not become meaningless.
	HadUsers(tenant string) bool
	// User returns the newest version of a user, or nil if there is no such user.
	User(tenant, name string) (*core.User, error)
}

// Verifier verifies credentials. Safe for concurrent use.
type Verifier struct {
	users    Users
	memory   *memory
	slowdown *slowdown
	slots    *fair.Slots
	decoy    *encodedHash // is checked in place of the hash of a user who cannot log in
}

// NewVerifier returns a Verifier of the passwords of users.
func NewVerifier(users Users) *Verifier {
	return &Verifier{users: users, memory: newMemory(), slowdown: newSlowdown(), decoy: newHash(),
		slots: fair.New(fair.Config{Name: "checks of passwords", Slots: checkSlots(), Waiting: maxWaiting, Wait: maxWait})}
}

// HashNew is [Hash] in a place of the checks, which are few, because each takes the memory of
// one. ctx says on whose behalf. It fails with Busy if too many wait.
func (v *Verifier) HashNew(ctx context.Context, password []byte) (core.PasswordHash, error) {
	lease, err := v.slots.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer lease.Release()
	return Hash(password)
}

// Causes of refusals that more than one function returns.
var (
	errExpired = errors.New("the user has expired")
	errWrong   = errors.New("the password is wrong")
)

// refuseLogin refuses a login. The client gets the same sentence for each cause, at the same
// cost. The record has the cause.
func refuseLogin(cause error) error {
	return core.Wrap(core.AuthenticationNotSuccessful, cause, "the user name or the password is not right")
}

// hashOf returns the hash of a user who may log in now, or the decoy and the reason why there
// is none.
func (v *Verifier) hashOf(u *core.User, now time.Time) (*encodedHash, error) {
	switch {
	case u == nil:
		return v.decoy, errors.New("there is no such user")
	case u.Disabled:
		return v.decoy, errors.New("the user is disabled")
	case u.Expires != 0 && now.Unix() >= u.Expires:
		return v.decoy, errExpired
	case u.Password == "":
		return v.decoy, errors.New("the user has no password")
	}
	h, err := parseHash(u.Password)
	if err != nil {
		return v.decoy, err
	}
	return h, nil
}

// verify checks the password of a login and sets the mark of it. u is nil if there is no such
// user.
func (v *Verifier) verify(ctx context.Context, l *login, u *core.User, password []byte) error {
	h, unusable := v.hashOf(u, time.Now())
	if unusable != nil {
		u = &core.User{Tenant: l.tenant, Name: l.name} // version 0, which no row has
	}
	l.given = v.memory.markOf(u.Tenant, u.Name, u.Version, password)
	if right, err := v.recall(l, u, unusable); right || err != nil {
		return err
	}
	lease, err := v.slots.Acquire(onBehalfOfSource(ctx, l))
	if err != nil {
		return err
	}
	defer lease.Release()
	if right, err := v.recall(l, u, unusable); right || err != nil { // another login has ended meanwhile
		return err
	}
	if matches := h.matches(password); unusable == nil && !matches {
		unusable = errWrong
	}
	if unusable != nil {
		v.slowdown.noteFailure(l)
		return refuseLogin(unusable)
	}
	v.memory.remember(u, &l.given)
	v.slowdown.noteSuccess(l)
	return nil
}

// recall reports whether a password is known to be right, or why it is refused without a
// check. While guesses from a source are delayed, even the right password is refused there:
// a guesser would learn it without delay.
func (v *Verifier) recall(l *login, u *core.User, unusable error) (right bool, err error) {
	if v.slowdown.wasWrong(l) {
		return false, refuseLogin(cmp.Or(unusable, errWrong))
	}
	if err := v.slowdown.refusal(l); err != nil {
		return false, err
	}
	if right = unusable == nil && v.memory.remembers(u, &l.given); right {
		v.slowdown.noteSuccess(l)
	}
	return right, nil
}

// onBehalfOfSource returns a context whose work counts for a certificate, and below it for an
// address, so that checks are shared fairly between them.
func onBehalfOfSource(ctx context.Context, l *login) context.Context {
	return core.OnBehalfOf(ctx, &core.Principal{Tenant: l.tenant + "/" + l.from.certificate, ID: l.from.address})
}
