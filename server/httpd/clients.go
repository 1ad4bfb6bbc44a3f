package httpd

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// clientPath is where an administrator makes enrolled clients, and where a client with an
// invitation gets its first certificate. Such a client has no other proof of its identity.
const clientPath = "/v1/clients"

// clientBody is the body of POST /v1/clients.
type clientBody struct {
	Name string `json:"name"`
	CSR  string `json:"csr"` // PEM; "": no certificate is issued

	// With an invitation, the client asks for its certificate itself.
	Invitation *string `json:"invitation"`
	Tenant     string  `json:"tenant"`

	// Without an invitation, an administrator makes the client.
	Groups *[]string `json:"groups"`
	Roles  *[]string `json:"roles"`
	Invite bool      `json:"invite"`
	Reason string    `json:"reason"`
}

// check returns an error if members do not fit together.
func (in *clientBody) check() error {
	switch {
	case in.Invitation == nil && in.Tenant != "":
		return core.Errorf(core.InvalidField, `"tenant" goes with "invitation" alone; a client is made in the tenant of the caller`)
	case in.Invitation != nil && (in.Groups != nil || in.Roles != nil || in.Invite || in.Reason != ""):
		return core.Errorf(core.InvalidField, `"groups", "roles", "invite" and "reason" are for administrators, and do not go with "invitation"`)
	}
	return nil
}

// clientOrder is a request to [clientPath] whose body was read to find out who sends it.
type clientOrder struct {
	body  clientBody
	fault error // why the body cannot be used
}

type clientOrderKey struct{}

// maxClientBody bounds the body of POST /v1/clients, in bytes: it is read before the client
// is known.
const maxClientBody = 32 << 10

func readClientOrder(w http.ResponseWriter, r *http.Request) *clientOrder {
	o := &clientOrder{}
	if o.fault = door.IsJSON(r); o.fault != nil {
		return o
	}
	if o.fault = door.Decode(http.MaxBytesReader(w, r.Body, maxClientBody), &o.body); o.fault == nil {
		o.fault = o.body.check()
	}
	return o
}

// clientOrderOf returns the order whose body was read already. nil: an access token has let the
// request in.
func clientOrderOf(r *http.Request) *clientOrder {
	o, _ := r.Context().Value(clientOrderKey{}).(*clientOrder)
	return o
}

// isInvited reports whether an invitation has let a request in.
func (o *clientOrder) isInvited() bool { return o != nil && o.body.Invitation != nil }

// identifyForClients names the sender of a request to [clientPath]: by the invitation in its
// body if there is one, otherwise by its certificate. A certificate beside an invitation is not
// looked at.
func (s *service) identifyForClients(c *door.Connection, w http.ResponseWriter, r *http.Request) (*core.Principal, *http.Request, error) {
	o := readClientOrder(w, r)
	r = r.WithContext(context.WithValue(r.Context(), clientOrderKey{}, o))
	if o.isInvited() {
		p, err := s.identifyInvited(r, o)
		return p, door.WithAction(r, core.ActionEnrollClient), err
	}
	certificate, err := s.CertificateBeside(c, r)
	switch {
	case err != nil || certificate != nil:
		return certificate, r, err // a fault is the route's answer, and is recorded
	case o.fault != nil:
		err = core.Wrap(core.AuthenticationNotSuccessful, o.fault, "send a JSON object with tenant, name, invitation and csr, or a client certificate; see docs/REST.md")
	default:
		err = core.Errorf(core.AuthenticationNotSuccessful, "neither a client certificate nor an invitation came with the request")
	}
	return nil, r, err
}

// identifyInvited returns the principal of an invitation. A wrong one counts as a failed login
// of its address.
func (s *service) identifyInvited(r *http.Request, o *clientOrder) (*core.Principal, error) {
	if o.fault != nil {
		return nil, core.Wrap(core.AuthenticationNotSuccessful, o.fault, "send a JSON object with tenant, name, invitation and csr alone; see docs/REST.md")
	}
	p, err := s.Clients.Invited(o.body.Tenant, o.body.Name, *o.body.Invitation)
	if core.CodeOf(err) == core.AuthenticationNotSuccessful {
		if slow := s.CountFailure(door.AddressOf(r)); slow != nil {
			err = slow
		}
	}
	return p, err
}

// clientAnswer is the answer about an enrolled client.
type clientAnswer struct {
	Name string `json:"name"`
	door.SavedVersion
	Groups       []string            `json:"groups"`
	Roles        []string            `json:"roles"`
	Invitation   api.Encoded         `json:"invitation,omitempty"` // shown once
	InvitedUntil string              `json:"invitedUntil,omitempty"`
	Certificates []listedCertificate `json:"certificates"`
	Warnings     []string            `json:"warnings,omitempty"` // about what was saved
	newCertificate
}

// newCertificate is a certificate that was issued. Its members are absent if none was.
type newCertificate struct {
	Certificate string `json:"certificate,omitempty"` // PEM
	Serial      string `json:"serial,omitempty"`      // hex
	ExpiresAt   string `json:"expiresAt,omitempty"`
}

// listedCertificate is a certificate of a client.
type listedCertificate struct {
	Serial      string `json:"serial"` // hex
	IssuedAt    string `json:"issuedAt"`
	ExpiresAt   string `json:"expiresAt"`
	RevokedAt   string `json:"revokedAt,omitempty"`
	RenewedFrom string `json:"renewedFrom,omitempty"` // serial number
}

// Wipe zeroes the invitation when it has been sent.
func (a clientAnswer) Wipe() { clear(a.Invitation) }

func clientShown(c *admin.NamedClient) clientAnswer {
	out := clientAnswer{Name: c.Name, SavedVersion: door.SavedVersion{Version: door.Version(c.Version)}, Groups: door.OrEmpty(c.Groups), Roles: door.OrEmpty(c.Roles), InvitedUntil: door.OptionalTime(c.InvitationEnds), Certificates: []listedCertificate{}}
	for _, one := range c.Certificates {
		out.Certificates = append(out.Certificates, listedCertificate{one.Serial, door.TimeText(one.Issued), door.TimeText(one.Expires), door.OptionalTime(one.Revoked), one.RenewedFrom})
	}
	return out
}

// certificateShown returns a certificate that was issued, or nothing if none was.
func certificateShown(c *admin.SignedCertificate) newCertificate {
	if c.PEM == nil {
		return newCertificate{}
	}
	return newCertificate{string(c.PEM), c.Serial, door.TimeText(c.Expires)}
}

// createClient makes a client for an administrator, or issues the certificate of a client that
// sends an invitation.
func createClient(s *service, c *core.Caller, r *http.Request) (any, error) {
	o := clientOrderOf(r)
	if o == nil {
		o = &clientOrder{}
		if o.fault = door.Decode(r.Body, &o.body); o.fault == nil {
			o.fault = o.body.check()
		}
		if o.isInvited() {
			o.fault = core.Errorf(core.PermissionDenied, "a client is enrolled by an invitation alone; leave the header Authorization out")
		}
	} else if o.isInvited() {
		return s.enrollClient(c, r, &o.body)
	}
	if o.fault != nil {
		return nil, s.Engine.RecordRefused(r.Context(), c, core.ActionSaveClient, o.fault)
	}
	in := &o.body
	out, err := s.saveClient(c, r, admin.SaveClientInput{Name: in.Name, Groups: in.Groups, Roles: in.Roles, Request: requestOf(in.CSR), Invite: in.Invite, Reason: in.Reason, MustBeNew: true})
	out.Location = "/v1/clients/" + url.PathEscape(in.Name)
	return out, err
}

// enrollAnswer is the answer to a client that gets a certificate for itself.
type enrollAnswer struct {
	Name string `json:"name"`
	newCertificate
}

func (s *service) enrollClient(c *core.Caller, r *http.Request, in *clientBody) (enrollAnswer, error) {
	out, err := s.Clients.Enroll(r.Context(), c, admin.EnrollInput{Invitation: *in.Invitation, Request: []byte(in.CSR)})
	return enrollAnswer{out.Client.Name, certificateShown(&out.Certificate)}, err
}

// requestOf returns the bytes of a certificate request, nil for "".
func requestOf(csr string) []byte {
	if csr == "" {
		return nil
	}
	return []byte(csr)
}

func (s *service) saveClient(c *core.Caller, r *http.Request, in admin.SaveClientInput) (clientAnswer, error) {
	saved, err := s.Clients.Save(r.Context(), c, in)
	out := clientShown(&saved.Client)
	out.newCertificate, out.Invitation = certificateShown(&saved.Certificate), saved.Invitation
	if err == nil {
		out.Warnings = admin.UnknownRoles(s.Admin, c.Principal.Tenant, in.Roles)
	}
	return out, err
}

// clientChange is the body of PATCH /v1/clients/{name}. What is left out stays as it is.
type clientChange struct {
	CSR    string    `json:"csr"` // PEM
	Groups *[]string `json:"groups"`
	Roles  *[]string `json:"roles"`
	Invite bool      `json:"invite"`
	Reason string    `json:"reason"`
}

func (in *clientChange) Validate() error {
	if in.CSR == "" && in.Groups == nil && in.Roles == nil && !in.Invite {
		return core.Errorf(core.InvalidField, `one of "csr", "groups", "roles" and "invite" must be given`)
	}
	return nil
}

func changeClient(s *service, c *core.Caller, r *http.Request) (clientAnswer, error) {
	var in clientChange
	if err := s.DecodeFor(c, r, core.ActionSaveClient, &in); err != nil {
		return clientAnswer{}, err
	}
	return s.saveClient(c, r, admin.SaveClientInput{Name: r.PathValue("name"), Groups: in.Groups, Roles: in.Roles, Request: requestOf(in.CSR), Invite: in.Invite, Reason: in.Reason, Expected: door.ExpectedVersion(r), MustExist: true})
}

func getClient(s *service, c *core.Caller, r *http.Request) (clientAnswer, error) {
	one, err := s.Clients.Read(r.Context(), c, "", r.PathValue("name"))
	return clientShown(&one), err
}

// revokeClient ends the certificate of ?serial=, or all certificates and the invitation. The
// client stays in the list.
func revokeClient(s *service, c *core.Caller, r *http.Request) (clientAnswer, error) {
	q, err := s.QueryFor(c, r, core.ActionRevokeClient, "serial", "reason")
	if err != nil {
		return clientAnswer{}, err
	}
	one, err := s.Clients.Revoke(r.Context(), c, admin.RevokeClientInput{Name: r.PathValue("name"), Serial: q["serial"], Reason: q["reason"], Expected: door.ExpectedVersion(r)})
	return clientShown(&one), err
}

// renewal is the body of POST /v1/clients/renew.
type renewal struct {
	CSR string `json:"csr"` // PEM
}

// renewClient issues another certificate to a client, which proves itself by an old one.
func renewClient(s *service, c *core.Caller, r *http.Request) (enrollAnswer, error) {
	var in renewal
	if err := s.DecodeFor(c, r, core.ActionRenewClient, &in); err != nil {
		return enrollAnswer{}, err
	}
	out, err := s.Clients.Renew(r.Context(), c, []byte(in.CSR))
	return enrollAnswer{out.Client.Name, certificateShown(&out.Certificate)}, err
}

func readRevocations(s *service, c *core.Caller, r *http.Request) (door.Raw, error) {
	list, err := s.Clients.Revocations(r.Context(), c)
	return door.Raw{ContentType: "application/pkix-crl", Body: list}, err
}
