package httpd

import (
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// Canary is the body of PUT /v1/canaries/{name}. The admin socket takes the same.
type Canary struct {
	Description string            `json:"description,omitempty"`
	Principal   string            `json:"principal"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Groups      []string          `json:"groups,omitempty"`
	Roles       []string          `json:"roles,omitempty"`
	Action      string            `json:"action"` // a word or a name of an action
	KeyID       string            `json:"keyId,omitempty"`
	Door        string            `json:"door,omitempty"` // "kmip" or "rest"; left out: "kmip"
	Address     string            `json:"address,omitempty"`
	At          string            `json:"at,omitempty"` // left out: the time of each check
	Expect      string            `json:"expect"`       // "deny" or "allow"
	Reason      string            `json:"reason,omitempty"`
}

// NamedCanary is a canary as it is answered, without the reason.
type NamedCanary struct {
	Name string `json:"name"`
	Canary
}

func (in *Canary) Validate() error {
	_, err := in.input()
	return err
}

// input returns the canary as the verb takes it, without tenant and name.
func (in *Canary) input() (q admin.SaveCanaryInput, err error) {
	at, err := door.ReadTime("at", in.At)
	if err != nil {
		return q, err
	}
	door := core.DoorKMIP
	if in.Door != "" {
		door = core.Door(in.Door)
	}
	q = admin.SaveCanaryInput{Reason: in.Reason, Canary: admin.Canary{Description: in.Description, Principal: in.Principal, Groups: in.Groups, Roles: in.Roles, Attributes: in.Attributes,
		Action: in.Action, Object: in.KeyID, Door: door, Address: in.Address, At: at, Allowed: in.Expect == "allow"}}
	return q, q.Canary.Check()
}

// ReadCanary reads a body as strictly as a request of REST.
func ReadCanary(body []byte) (admin.SaveCanaryInput, error) {
	var in Canary
	if err := door.DecodeBytes(body, &in); err != nil {
		return admin.SaveCanaryInput{}, err
	}
	return in.input()
}

// ShowCanary returns a canary as it is answered.
func ShowCanary(c *admin.NamedCanary) NamedCanary {
	out := Canary{Description: c.Description, Principal: c.Principal, Groups: c.Groups, Roles: c.Roles, Attributes: c.Attributes, Action: c.Action, KeyID: c.Object,
		Door: string(c.Door), Address: c.Address, Expect: verdict(c.Allowed)}
	if c.At != 0 {
		out.At = time.Unix(c.At, 0).UTC().Format(time.RFC3339)
	}
	return NamedCanary{c.Name, out}
}

// canaryList is the answer of GET /v1/canaries.
type canaryList struct {
	Canaries []NamedCanary `json:"canaries"`
}

func listCanaries(s *service, c *core.Caller, r *http.Request) (canaryList, error) {
	all, err := admin.ListCanaries(r.Context(), s.Admin, c, "")
	return canaryList{door.Translate(all, ShowCanary)}, err
}

func saveCanary(s *service, c *core.Caller, r *http.Request) (NamedCanary, error) {
	var in Canary
	if err := s.DecodeFor(c, r, core.ActionSaveCanary, &in); err != nil {
		return NamedCanary{}, err
	}
	q, err := in.input()
	if q.Name = r.PathValue("name"); err == nil {
		err = admin.SaveCanary(r.Context(), s.Admin, c, q)
	}
	return ShowCanary(&admin.NamedCanary{Name: q.Name, Canary: q.Canary}), err
}

func deleteCanary(s *service, c *core.Caller, r *http.Request) (door.Nothing, error) {
	in, err := s.removalFor(c, r, core.ActionDeleteCanary, r.PathValue("name"))
	if err != nil {
		return door.Nothing{}, err
	}
	return door.Nothing{}, admin.DeleteCanary(r.Context(), s.Admin, c, in)
}
