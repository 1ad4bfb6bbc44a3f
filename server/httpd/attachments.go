package httpd

import (
	"context"
	"net/http"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// target is the body of POST /v1/policies/{policyId}/attach and /detach. It has exactly
// one member.
type target struct {
	KeyID    string `json:"keyId"`
	KeyGroup string `json:"keyGroup"`
	User     string `json:"user"`
	Role     string `json:"role"`
	Group    string `json:"group"`
}

// holder returns the name that the engine knows the target by; "" for a key.
func (in *target) holder() string {
	switch {
	case in.KeyGroup != "":
		return core.ObjectGroupHolder + in.KeyGroup
	case in.User != "":
		return core.UserHolder + in.User
	case in.Role != "":
		return core.RoleHolder + in.Role
	case in.Group != "":
		return core.GroupHolder + in.Group
	}
	return ""
}

// attachedPolicies is the answer about what is attached to one key or holder.
type attachedPolicies struct {
	KeyID    string   `json:"keyId,omitempty"`
	Holder   string   `json:"holder,omitempty"` // such as "role:ops"
	Attached []string `json:"attached"`         // policyId of each
}

// attachmentVerb attaches or detaches a policy.
type attachmentVerb func(context.Context, *core.Caller, admin.AttachInput) ([]string, error)

// changeAttachment does what a body with a target asks for.
func (s *service) changeAttachment(c *core.Caller, r *http.Request, action core.Action, verb attachmentVerb) (attachedPolicies, error) {
	var in target
	if err := s.DecodeFor(c, r, action, &in); err != nil {
		return attachedPolicies{}, err
	}
	attached, err := verb(r.Context(), c, admin.AttachInput{Policy: r.PathValue("policyId"), Object: in.KeyID, Holder: in.holder()})
	return attachedPolicies{KeyID: in.KeyID, Holder: in.holder(), Attached: door.OrEmpty(attached)}, err
}

func attachPolicy(s *service, c *core.Caller, r *http.Request) (attachedPolicies, error) {
	return s.changeAttachment(c, r, core.ActionAttachPolicy, s.Admin.AttachPolicy)
}

func detachPolicy(s *service, c *core.Caller, r *http.Request) (attachedPolicies, error) {
	return s.changeAttachment(c, r, core.ActionDetachPolicy, s.Admin.DetachPolicy)
}

// policyOfKey is the body of POST /v1/keys/{keyId}/policy.
type policyOfKey struct {
	PolicyID string `json:"policyId"`
}

func attachToKey(s *service, c *core.Caller, r *http.Request) (attachedPolicies, error) {
	var in policyOfKey
	if err := s.DecodeFor(c, r, core.ActionAttachPolicy, &in); err != nil {
		return attachedPolicies{}, err
	}
	id := r.PathValue("keyId")
	attached, err := s.Admin.AttachPolicy(r.Context(), c, admin.AttachInput{Policy: in.PolicyID, Object: id})
	return attachedPolicies{KeyID: id, Attached: door.OrEmpty(attached)}, err
}

func detachFromKey(s *service, c *core.Caller, r *http.Request) (attachedPolicies, error) {
	id := r.PathValue("keyId")
	attached, err := s.Admin.DetachPolicy(r.Context(), c, admin.AttachInput{Policy: r.PathValue("policyId"), Object: id})
	return attachedPolicies{KeyID: id, Attached: door.OrEmpty(attached)}, err
}

func policiesOfKey(s *service, c *core.Caller, r *http.Request) (attachedPolicies, error) {
	id := r.PathValue("keyId")
	attached, err := s.Admin.PoliciesOfObject(r.Context(), c, "", id)
	return attachedPolicies{KeyID: id, Attached: door.OrEmpty(attached)}, err
}
