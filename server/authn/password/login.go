package password

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Login is a try to log in outside of a KMIP message.
type Login struct {
	Tenant, Name string
	Password     []byte          // not kept
	Code         []byte          // one-time code beside the password; nil: none
	Certificate  *core.Principal // that the certificate of the connection proves; nil: there is none
	Address      string
}

// LogIn verifies a user name and a password. It returns the version of the user that has this
// password, and its principal. Errors are those of [proof.IdentifySender]. The certificate must
// be of the user's tenant.
func (v *Verifier) LogIn(ctx context.Context, in Login) (*core.User, *core.Principal, error) {
	if in.Certificate != nil && in.Certificate.Tenant != in.Tenant {
		return nil, nil, core.Errorf(core.AuthenticationNotSuccessful, "the client certificate is of another tenant than the user")
	}
	if _, err := v.users.Revision(); err != nil {
		return nil, nil, err
	}
	l := &login{from: source{address: in.Address}, code: in.Code, emptyTenant: !v.mayLogIn(in.Tenant)}
	if in.Certificate != nil {
		l.from.certificate = in.Certificate.ID
	}
	var u *core.User
	if core.ValidName(in.Tenant) && core.ValidName(in.Name) {
		l.tenant, l.name = in.Tenant, in.Name
		var err error
		if u, err = v.users.User(l.tenant, l.name); err != nil {
			return nil, nil, err
		}
	}
	proven, err := v.verify(ctx, l, u, in.Password)
	if err != nil {
		return nil, nil, err
	}
	p, err := unlessExpired(principalOf(proven, in.Certificate))
	return proven.user, p, err
}

// NoteFailureFrom counts a failed login from an address that is not one of a user, such as a
// wrong access token. It fails with AuthenticationNotSuccessful if the address must wait.
func (v *Verifier) NoteFailureFrom(address string) error {
	l := &login{from: source{address: address}}
	if err := v.slowdown.refusal(l); err != nil {
		return err
	}
	v.slowdown.noteAddress(l)
	return nil
}
