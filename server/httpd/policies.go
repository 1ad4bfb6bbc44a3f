package httpd

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// newPolicy is the body of POST /v1/policies.
type newPolicy struct {
	Name       string          `json:"name"`
	Document   json.RawMessage `json:"document"`
	Reason     string          `json:"reason"`
	ActivateAt string          `json:"activateAt"` // left out: at once
}

// content returns the members that a replaced policy has too.
func (in *newPolicy) content() *replacedPolicy {
	return &replacedPolicy{in.Document, in.Reason, in.ActivateAt}
}

// replacedPolicy is the body of PUT /v1/policies/{policyId}.
type replacedPolicy struct {
	Document   json.RawMessage `json:"document"`
	Reason     string          `json:"reason"`
	ActivateAt string          `json:"activateAt"` // left out: at once
}

// saveAs stores the document as the next version of a policy. The body was validated.
func (in *replacedPolicy) saveAs(s *service, c *core.Caller, r *http.Request, name string, expected *int64) (savedPolicy, error) {
	at, _ := door.ReadTime("activateAt", in.ActivateAt) // it was checked
	return savedAnswer(s.Admin.SavePolicy(r.Context(), c, admin.SavePolicyInput{Name: name, Document: in.Document, Reason: in.Reason, Expected: expected, ActivateAt: at}))
}

// savedPolicy is the answer to a new version of a policy.
type savedPolicy struct {
	PolicyID string `json:"policyId"`
	door.SavedVersion
	State      string   `json:"state"` // "active" or "waiting"
	ActivateAt string   `json:"activateAt,omitempty"`
	Hash       string   `json:"hash,omitempty"` // SHA-256 of the normal form, hex
	Attached   []string `json:"attached"`
	Warnings   []string `json:"warnings"`
}

func savedAnswer(p admin.SavedPolicy, err error) (savedPolicy, error) {
	return savedPolicy{PolicyID: p.Name, SavedVersion: door.SavedVersion{Version: door.Version(p.Version)}, State: string(p.State), ActivateAt: door.OptionalTime(p.ActivateAt), Hash: p.Hash, Attached: door.OrEmpty(p.Attached), Warnings: door.OrEmpty(p.Warnings)}, err
}

func createPolicy(s *service, c *core.Caller, r *http.Request) (savedPolicy, error) {
	var in newPolicy
	if err := s.DecodeFor(c, r, core.ActionSavePolicy, &in); err != nil {
		return savedPolicy{}, err
	}
	out, err := in.content().saveAs(s, c, r, in.Name, new(int64))
	out.Location = "/v1/policies/" + url.PathEscape(out.PolicyID)
	return out, err
}

func replacePolicy(s *service, c *core.Caller, r *http.Request) (savedPolicy, error) {
	var in replacedPolicy
	if err := s.DecodeFor(c, r, core.ActionSavePolicy, &in); err != nil {
		return savedPolicy{}, err
	}
	return in.saveAs(s, c, r, r.PathValue("policyId"), door.ExpectedVersion(r))
}

// removalFor reads ?reason= and If-Match.
func (s *service) removalFor(c *core.Caller, r *http.Request, action core.Action, name string) (admin.Removal, error) {
	q, err := s.QueryFor(c, r, action, "reason")
	return admin.Removal{Name: name, Reason: q["reason"], Expected: door.ExpectedVersion(r)}, err
}

// policyVersion is the answer about one version of a policy.
type policyVersion struct {
	PolicyID   string          `json:"policyId"`
	Version    door.Version    `json:"version"`
	State      string          `json:"state"`             // "active", "waiting", "replaced" or "deleted"
	Deleted    bool            `json:"deleted,omitempty"` // this version ended the policy
	CreatedAt  string          `json:"createdAt"`
	ActivateAt string          `json:"activateAt,omitempty"` // since when it is in force, if not since createdAt
	Author     string          `json:"author"`
	Reason     string          `json:"reason,omitempty"`
	Document   json.RawMessage `json:"document,omitempty"` // not in lists
}

func (p policyVersion) SetHeaders(h http.Header) { p.Version.SetHeaders(h) }

func versionWithDocument(p *admin.PolicyVersion) policyVersion {
	out := versionInList(p)
	out.Document = p.Document
	return out
}

func versionInList(p *admin.PolicyVersion) policyVersion {
	return policyVersion{PolicyID: p.Name, Version: door.Version(p.Version), State: string(p.State), Deleted: p.State == admin.PolicyDeleted, CreatedAt: door.TimeText(p.At), ActivateAt: door.OptionalTime(p.ActivateAt), Author: p.Author, Reason: p.Reason}
}

// getPolicy answers with the newest version, or with that of ?version=.
func getPolicy(s *service, c *core.Caller, r *http.Request) (policyVersion, error) {
	q, err := s.QueryFor(c, r, core.ActionReadPolicies, "version")
	if err != nil {
		return policyVersion{}, err
	}
	var p admin.PolicyVersion
	if text, given := q["version"]; given {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return policyVersion{}, s.Engine.RecordRefused(r.Context(), c, core.ActionReadPolicies, core.Errorf(core.InvalidField, `"version" must be a number`))
		}
		p, err = s.Admin.ReadPolicyVersion(r.Context(), c, "", r.PathValue("policyId"), int64(n))
		return versionWithDocument(&p), err
	}
	p, err = s.Admin.ReadPolicy(r.Context(), c, "", r.PathValue("policyId"))
	return versionWithDocument(&p), err
}

// versionPage is the answer of GET /v1/policies/{policyId}/versions, newest first.
type versionPage struct {
	Versions      []policyVersion `json:"versions"`
	NextPageToken string          `json:"nextPageToken,omitempty"`
}

// maxVersions bounds a page of versions. The server reads all their documents.
const maxVersions = 20

func listVersions(s *service, c *core.Caller, r *http.Request) (versionPage, error) {
	p, err := s.PageFor(c, r, core.ActionReadPolicies, maxVersions)
	if err != nil {
		return versionPage{}, err
	}
	below, err := versionOfToken(p.After)
	if err != nil {
		return versionPage{}, s.Engine.RecordRefused(r.Context(), c, core.ActionReadPolicies, err)
	}
	all, err := s.Admin.PolicyHistory(r.Context(), c, "", r.PathValue("policyId"), below, p.Limit+1)
	all, next := door.CutPage(all, p, func(v *admin.PolicyVersion) string { return strconv.FormatInt(v.Version, 10) })
	return versionPage{door.Translate(all, versionInList), next}, err
}

// versionOfToken returns the version that a page of versions is below; 0: none.
func versionOfToken(after string) (int64, error) {
	if after == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(after, 10, 32)
	if err != nil || n < 1 {
		return 0, core.Errorf(core.InvalidField, `"pageToken" is none that a list of versions has answered`)
	}
	return int64(n), nil
}

// rollback is the body of POST /v1/policies/{policyId}/rollback.
type rollback struct {
	Version *int64 `json:"version"`
	Reason  string `json:"reason"`
}

func rollBackPolicy(s *service, c *core.Caller, r *http.Request) (savedPolicy, error) {
	var in rollback
	if err := s.DecodeFor(c, r, core.ActionSavePolicy, &in); err != nil {
		return savedPolicy{}, err
	}
	return savedAnswer(s.Admin.RollBackPolicy(r.Context(), c, admin.RollBackInput{Name: r.PathValue("policyId"), To: *in.Version, Reason: in.Reason, Expected: door.ExpectedVersion(r)}))
}

// withdrawal is the body of POST /v1/policies/{policyId}/withdraw.
type withdrawal struct {
	Reason string `json:"reason"`
}

func withdrawPolicy(s *service, c *core.Caller, r *http.Request) (savedPolicy, error) {
	var in withdrawal
	if err := s.DecodeFor(c, r, core.ActionSavePolicy, &in); err != nil {
		return savedPolicy{}, err
	}
	return savedAnswer(s.Admin.WithdrawPolicy(r.Context(), c, admin.Removal{Name: r.PathValue("policyId"), Reason: in.Reason, Expected: door.ExpectedVersion(r)}))
}
