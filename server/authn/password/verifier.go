package password

import (
	"cmp"
	"context"
	"errors"
	"sync"
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
	users       Users
	memory      *memory
	slowdown    *slowdown
	slots       *fair.Slots
	directories map[string]*tenantDirectory // by tenant
	decoy       *encodedHash                // is checked in place of the hash of a user who cannot log in
	stamps      *timestamps
	hashing     sync.Mutex // held from the look at the failures to the outcome of a Hashed Password
	codeChecks  *codeChecks
	codes       UsedCodes // nil: no code is right
}

// UsedCodes notes one-time codes that were used. Safe for concurrent use.
type UsedCodes interface {
	// UseCode notes, durably, that a user of a tenant has used the code of a time step. It reports
	// false if the code was used before, on any node. It fails if that cannot be stored.
	UseCode(ctx context.Context, tenant, user string, step int64) (first bool, err error)
}

// UseCodes lets users log in with one-time codes. It must be called before the first login.
func (v *Verifier) UseCodes(codes UsedCodes) { v.codes = codes }

// NewVerifier returns a Verifier of the passwords of users, and of those of the people in
// directories, of which a tenant has at most one.
func NewVerifier(users Users, directories ...Directory) *Verifier {
	return &Verifier{users: users, memory: newMemory(), slowdown: newSlowdown(), decoy: newHash(), directories: byTenant(directories), stamps: newTimestamps(time.Now()), codeChecks: newCodeChecks(),
		slots: fair.New(fair.Config{Name: "checks of passwords", Slots: checkSlots(), Waiting: maxWaiting, Wait: maxWait})}
}

// mayLogIn reports whether a tenant has or had users, or has a directory of people.
func (v *Verifier) mayLogIn(tenant string) bool {
	return v.directories[tenant] != nil || v.users.HadUsers(tenant)
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
	errExpired     = errors.New("the user has expired")
	errWrong       = errors.New("the password is wrong")
	errOtherDevice = errors.New("the identifiers are not those of the user's device")
	errNeedsCode   = errors.New("the user must send a one-time code with the password")
)

// refuseLogin refuses a login. The client gets the same sentence for each cause, at the same
// cost. The record has the cause.
func refuseLogin(cause error) error {
	return core.Wrap(core.AuthenticationNotSuccessful, cause, "the user name or the password is not right")
}

// whyUnusable returns why a user may not log in now, whatever it sends; nil if it may.
func whyUnusable(u *core.User, now time.Time) error {
	switch {
	case u == nil:
		return errors.New("there is no such user")
	case u.Disabled:
		return errors.New("the user is disabled")
	case u.Expires != 0 && now.Unix() >= u.Expires:
		return errExpired
	}
	return nil
}

// hashOf returns the hash of a user who may log in now with a password, and a code if withCode is
// set, or the decoy and the reason why there is none.
func (v *Verifier) hashOf(u *core.User, withCode bool, now time.Time) (*encodedHash, error) {
	if err := whyUnusable(u, now); err != nil {
		return v.decoy, err
	}
	switch {
	case withCode && u.CodeKey == nil:
		return v.decoy, errors.New("the user has no one-time codes")
	case !withCode && u.CodeKey != nil:
		return v.decoy, errNeedsCode
	case u.Password == "":
		return v.decoy, errors.New("the user has no password")
	}
	h, err := parseHash(u.Password)
	if err != nil {
		return v.decoy, err
	}
	return h, nil
}

// verify checks the password of a login and its code, and returns who it is. u is the user of the name; nil
// if there is none. A directory is asked only then, so it cannot shadow a user.
func (v *Verifier) verify(ctx context.Context, l *login, u *core.User, password []byte) (provenUser, error) {
	if d := v.directories[l.tenant]; d != nil && u == nil && l.name != "" && l.code == nil && l.device == nil {
		return v.verifyByDirectory(ctx, l, d, password)
	}
	step, err := v.verifyByHash(ctx, l, u, password)
	switch {
	case err != nil:
		return provenUser{}, err
	case l.code != nil:
		return v.useCode(ctx, l, u, step)
	}
	method := core.MethodPassword
	if l.device != nil {
		method = core.MethodDevice
	}
	return provenUser{user: u, method: method}, nil
}

// verifyByHash checks the password of a login and sets the mark of it. u is nil if there is no
// such user. It returns the time step of the code, if there is one; the code may have been used.
func (v *Verifier) verifyByHash(ctx context.Context, l *login, u *core.User, password []byte) (step int64, err error) {
	h, unusable := v.hashOf(u, l.code != nil, time.Now())
	if unusable == nil && l.device != nil && !l.device.Matches(u.Attributes) {
		h, unusable = v.decoy, errOtherDevice
	}
	version := int64(0) // which no row has
	if unusable == nil {
		version = u.Version
	}
	l.given = v.memory.markOf(l.tenant, l.name, version, password, besidePassword(l.code, l.device))
	if known, err := v.recall(l, version, unusable); known != nil || err != nil {
		return 0, err
	}
	lease, err := v.slots.Acquire(onBehalfOfSource(ctx, l))
	if err != nil {
		return 0, err
	}
	defer lease.Release()
	end, err := v.codeChecks.begin(l)
	if err != nil {
		return 0, err
	}
	defer end()
	if known, err := v.recall(l, version, unusable); known != nil || err != nil { // another login has ended meanwhile
		return 0, err
	}
	if matches := h.matches(password); unusable == nil && !matches {
		unusable = errWrong
	}
	if unusable == nil && l.code != nil {
		step, unusable = stepOfCode(u.CodeKey, l.code, time.Now())
	}
	return step, v.noteOutcome(l, u, unusable)
}

// noteOutcome remembers the outcome of a check. It returns a refusal if there is a cause. A code
// is good once, so a login with one is no proof for the next one.
func (v *Verifier) noteOutcome(l *login, u *core.User, cause error) error {
	if cause != nil {
		v.slowdown.noteFailure(l)
		return refuseLogin(cause)
	}
	if l.code != nil {
		return nil // whether it was used before is not known yet
	}
	v.memory.remember(l, u)
	v.slowdown.noteSuccess(l)
	return nil
}

// refuseUnchecked fails if a login must wait, or was wrong before.
func (v *Verifier) refuseUnchecked(l *login, unusable error) error {
	if v.slowdown.wasWrong(l) {
		return refuseLogin(cmp.Or(unusable, errWrong))
	}
	return v.slowdown.refusal(l)
}

// recall returns the user of this version if its password is known to be right, or why a
// password is refused without a check. While guesses from a source are delayed, even the right
// password is refused there: a guesser would learn it without delay.
func (v *Verifier) recall(l *login, version int64, unusable error) (*core.User, error) {
	if err := v.refuseUnchecked(l, unusable); err != nil || unusable != nil {
		return nil, err
	}
	u := v.memory.rememberedUser(l.tenant, l.name, version, &l.given)
	if u != nil {
		v.slowdown.noteSuccess(l)
	}
	return u, nil
}

// onBehalfOfSource returns a context whose work counts for a certificate, and below it for an
// address, so that checks are shared fairly between them.
func onBehalfOfSource(ctx context.Context, l *login) context.Context {
	return core.OnBehalfOf(ctx, &core.Principal{Tenant: l.tenant + "/" + l.from.certificate, ID: l.from.address})
}
