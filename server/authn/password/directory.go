package password

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// Directory verifies the passwords of people whom the server does not keep, such as an LDAP
// directory. Safe for concurrent use.
type Directory interface {
	Tenant() string             // of all its people
	AtOnce() int                // checks at once
	RememberFor() time.Duration // how long the outcome of a check counts
	// Verify returns the user of a name, without a version, if the password is right. It fails
	// with AuthenticationNotSuccessful if the name or the password is refused; other errors
	// say why it cannot be checked now.
	Verify(ctx context.Context, name string, password []byte) (*core.User, error)
}

// tenantDirectory is the directory of a tenant, with places of its own for checks: a directory
// that hangs keeps no local user from logging in.
type tenantDirectory struct {
	Directory
	slots *fair.Slots
	seed  maphash.Seed
}

func byTenant(all []Directory) map[string]*tenantDirectory {
	out := map[string]*tenantDirectory{}
	for _, d := range all {
		out[d.Tenant()] = &tenantDirectory{d, fair.New(fair.Config{Name: "checks of passwords by the LDAP directory", Slots: d.AtOnce(), Waiting: maxWaiting, Wait: maxWait}), maphash.MakeSeed()}
	}
	return out
}

// versionAt returns a number that stands in place of the version of a user: it changes when
// the outcome of a check must not count any longer. It is negative, which no version of a row
// is. The times of change differ by name, so that not all people are checked again at once.
func (d *tenantDirectory) versionAt(name string, now time.Time) int64 {
	interval := uint64(d.RememberFor())
	offset := maphash.String(d.seed, name) % interval
	return -int64((uint64(now.UnixNano())+offset)/interval) - 1
}

// provenUser is a user whose password was right.
type provenUser struct {
	user      *core.User
	directory *tenantDirectory // that has verified the password; nil: the server itself
	name      string           // as the directory was asked for it
	method    string           // one of core.Methods
	until     int64            // Unix seconds, when the user must log in again; 0: never
}

// wasNamed reports whether a login with this name is one of the user.
func (p *provenUser) wasNamed(name string) bool {
	if p.directory != nil {
		return strings.ToLower(name) == p.name
	}
	return p.user.Name == name
}

// isCurrent reports whether the outcome of the check still counts.
func (p *provenUser) isCurrent(now time.Time) bool {
	return p.directory == nil || p.user.Version == p.directory.versionAt(p.name, now)
}

// markOf returns the mark that a password of the user has.
func (p *provenUser) markOf(m *memory, password, code []byte) mark {
	if p.directory != nil {
		return m.markOf(p.user.Tenant, p.name, p.user.Version, password, code)
	}
	return m.markOf(p.user.Tenant, p.user.Name, p.user.Version, password, code)
}

var errShadows = errors.New("a user of the server has the name of this person of the LDAP directory")

// verifyByDirectory checks the password of somebody who is no user of the server.
func (v *Verifier) verifyByDirectory(ctx context.Context, l *login, d *tenantDirectory, password []byte) (provenUser, error) {
	l.name = strings.ToLower(l.name) // directories find a name in any case, and guesses count for one
	u, err := v.askDirectory(ctx, l, d, password)
	if err != nil {
		return provenUser{}, err
	}
	if shadowed, err := v.users.User(u.Tenant, u.Name); err != nil || shadowed != nil {
		if err == nil {
			err = refuseLogin(errShadows)
		}
		return provenUser{}, err
	}
	return provenUser{user: u, directory: d, name: l.name, method: core.MethodLDAP}, nil
}

// askDirectory returns the user of a login if the password is known to be right, or if the
// directory says so.
func (v *Verifier) askDirectory(ctx context.Context, l *login, d *tenantDirectory, password []byte) (*core.User, error) {
	version := d.versionAt(l.name, time.Now())
	l.given = v.memory.markOf(l.tenant, l.name, version, password, nil)
	if u, err := v.recall(l, version, nil); u != nil || err != nil {
		return u, err
	}
	lease, err := d.slots.Acquire(onBehalfOfSource(ctx, l))
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	if u, err := v.recall(l, version, nil); u != nil || err != nil { // another login has ended meanwhile
		return u, err
	}
	u, err := d.verifyOutside(ctx, l.name, password)
	switch {
	case core.CodeOf(err) == core.AuthenticationNotSuccessful:
		return nil, v.noteOutcome(l, nil, causeOf(err))
	case err != nil:
		return nil, err
	}
	u.Version = version
	return u, v.noteOutcome(l, u, nil)
}

// verifyOutside asks the directory, which may hang. No processor counts as used meanwhile.
func (d *tenantDirectory) verifyOutside(ctx context.Context, name string, password []byte) (*core.User, error) {
	defer fair.Waits(ctx).Over()
	return d.Verify(ctx, name, password)
}

// causeOf returns the cause that an error keeps from the client.
func causeOf(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}
