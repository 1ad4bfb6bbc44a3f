package httpd

import (
	"context"
	"net/http"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// clientPath is where a client with an invitation gets its first certificate. It has no other
// proof of who it is.
const clientPath = "/v1/clients"

// enrollBody is the body of POST /v1/clients.
type enrollBody struct {
	Tenant     string `json:"tenant"`
	Name       string `json:"name"`
	Invitation string `json:"invitation"`
	CSR        string `json:"csr"` // PEM
}

// enrollAnswer is the answer of POST /v1/clients.
type enrollAnswer struct {
	Name        string `json:"name"`
	Certificate string `json:"certificate"` // PEM
	Serial      string `json:"serial"`      // hex
	ExpiresAt   string `json:"expiresAt"`
}

type invitationKey struct{}

// maxEnrollBody bounds the body of POST /v1/clients, in bytes: it is read before the client
// is known.
const maxEnrollBody = 32 << 10

// identifyInvited names the sender of a request to enroll, by the invitation in its body. A
// client certificate beside it is not looked at. A wrong invitation counts as a failed login of
// its address.
func (s *service) identifyInvited(w http.ResponseWriter, r *http.Request) (*core.Principal, *http.Request, error) {
	var in enrollBody
	if err := readInvitation(w, r, &in); err != nil {
		return nil, r, core.Wrap(core.AuthenticationNotSuccessful, err, "send a JSON object with tenant, name, invitation and csr; see docs/REST.md")
	}
	if s.Clients == nil {
		return nil, r, core.Errorf(core.AuthenticationNotSuccessful, "this server enrolls no clients")
	}
	p, err := s.Clients.Invited(in.Tenant, in.Name, in.Invitation)
	if core.CodeOf(err) == core.AuthenticationNotSuccessful {
		if slow := s.CountFailure(addressOf(r)); slow != nil {
			err = slow
		}
	}
	if err != nil {
		return nil, r, err
	}
	enroll := &admin.EnrollInput{Invitation: in.Invitation, Request: []byte(in.CSR)}
	return p, r.WithContext(context.WithValue(r.Context(), invitationKey{}, enroll)), nil
}

func readInvitation(w http.ResponseWriter, r *http.Request, in *enrollBody) error {
	if err := isJSON(r); err != nil {
		return err
	}
	return decode(http.MaxBytesReader(w, r.Body, maxEnrollBody), in)
}

// enrollClient issues the certificate. A request that another proof has let in has no
// invitation.
func enrollClient(s *service, c *core.Caller, r *http.Request) (enrollAnswer, error) {
	in, ok := r.Context().Value(invitationKey{}).(*admin.EnrollInput)
	if !ok {
		return enrollAnswer{}, s.Engine.RecordRefused(r.Context(), c, core.ActionEnrollClient, core.Errorf(core.PermissionDenied, "a client is enrolled by an invitation alone; leave the header Authorization out"))
	}
	out, err := s.Clients.Enroll(r.Context(), c, *in)
	if err != nil {
		return enrollAnswer{}, err
	}
	return enrollAnswer{Name: out.Client.Name, Certificate: string(out.Certificate.PEM), Serial: out.Certificate.Serial, ExpiresAt: timeText(out.Certificate.Expires)}, nil
}
