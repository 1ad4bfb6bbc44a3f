package httpd

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// ReplayQuestion is the body of POST /v1/policies/{policyId}/replay, and of the same question
// over the admin socket.
type ReplayQuestion struct {
	Document  json.RawMessage `json:"document,omitempty"`  // left out: that of the newest version
	Since     string          `json:"since"`               // RFC 3339
	Until     string          `json:"until,omitempty"`     // left out: now
	Limit     *int            `json:"limit,omitempty"`     // records that are looked at; left out: 1000
	PageToken string          `json:"pageToken,omitempty"` // of the answer before
}

func (in *ReplayQuestion) Validate() error {
	_, err := in.input()
	return err
}

// input returns the question as the verb takes it, without tenant and name.
func (in *ReplayQuestion) input() (q admin.ReplayInput, err error) {
	q.Document = in.Document
	if q.Since, err = door.ReadTime("since", in.Since); err != nil {
		return q, err
	}
	if q.Until, err = door.ReadTime("until", in.Until); err != nil {
		return q, err
	}
	if q.Limit = admin.MaxReplayed; in.Limit != nil {
		q.Limit = *in.Limit
	}
	if in.PageToken == "" {
		return q, nil
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(in.PageToken)
	if err == nil {
		q.Before, err = strconv.ParseInt(string(text), 10, 64)
	}
	if err != nil || q.Before < 1 {
		return q, core.Errorf(core.InvalidField, `"pageToken" is none that a replay has answered`)
	}
	return q, nil
}

// ReadReplay reads a body as strictly as a request of REST.
func ReadReplay(body []byte) (admin.ReplayInput, error) {
	var in ReplayQuestion
	if err := door.DecodeBytes(body, &in); err != nil {
		return admin.ReplayInput{}, err
	}
	return in.input()
}

// ReplayAnswer says which recorded requests a version of a key policy would decide otherwise.
type ReplayAnswer struct {
	Policy        string            `json:"policy"`    // such as "payroll@4"
	Records       int               `json:"records"`   // that were looked at
	Same          int               `json:"same"`      // requests that are decided as before
	NoRequest     int               `json:"noRequest"` // records of something else
	Flips         []ReplayedRequest `json:"flips"`
	Undecided     []ReplayedRequest `json:"undecided"`
	NextPageToken string            `json:"nextPageToken,omitempty"`
}

// ReplayedRequest is a recorded request whose decision flips, or cannot be known.
type ReplayedRequest struct {
	Time      string   `json:"time"`
	RequestID string   `json:"requestId"`
	Principal string   `json:"principal"`
	Action    string   `json:"action"`
	KeyID     string   `json:"keyId,omitempty"`
	Door      string   `json:"door"`
	Address   string   `json:"address,omitempty"`
	Decision  string   `json:"decision,omitempty"` // with the version: "allow" or "deny"
	Reasons   []string `json:"reasons,omitempty"`
	Lacks     []string `json:"lacks,omitempty"` // what the record does not have and the policies look at
}

// ShowReplay returns the answer about a replay.
func ShowReplay(out *admin.Replay) ReplayAnswer {
	a := ReplayAnswer{Policy: out.Policy, Records: out.Records, Same: out.Same, NoRequest: out.NoRequest, Flips: door.Translate(out.Flips, replayedShown), Undecided: door.Translate(out.Undecided, replayedShown)}
	if out.Before > 0 {
		a.NextPageToken = base64.RawURLEncoding.EncodeToString(strconv.AppendInt(nil, out.Before, 10))
	}
	return a
}

func replayedShown(r *admin.ReplayedRequest) ReplayedRequest {
	shown := ReplayedRequest{Time: door.TimeText(r.At), RequestID: r.RequestID, Principal: r.Principal, Action: r.Action.String(), KeyID: r.Object, Door: string(r.Door), Address: r.Address, Lacks: r.Lacks}
	if len(r.Lacks) == 0 {
		shown.Decision, shown.Reasons = verdict(r.Allow), r.Reasons
	}
	return shown
}

func replayPolicy(s *service, c *core.Caller, r *http.Request) (ReplayAnswer, error) {
	var in ReplayQuestion
	if err := s.DecodeFor(c, r, core.ActionReplayPolicy, &in); err != nil {
		return ReplayAnswer{}, err
	}
	q, _ := in.input() // it was checked
	q.Name = r.PathValue("policyId")
	out, err := admin.ReplayPolicy(r.Context(), s.Admin, c, q)
	return ShowReplay(&out), err
}
