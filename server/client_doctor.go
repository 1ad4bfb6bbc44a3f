package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/exchanges"
)

// ClientDiagnosis is what one node knows of a client that fails. It has no secrets.
type ClientDiagnosis struct {
	Tenant      string          `json:"tenant"`
	Name        string          `json:"name"`
	Enrolled    bool            `json:"enrolled"`
	LastSuccess *ClientDecision `json:"lastSuccess,omitempty"` // nil: not among the newest records
	Connections []RefusedLogin  `json:"connections"`           // newest first
	Requests    []RefusedSent   `json:"requests"`              // newest first
	Hints       []string        `json:"hints"`
}

// RefusedLogin is a connection that was refused before its first request.
type RefusedLogin struct {
	At          time.Time `json:"at"`
	Address     string    `json:"address"`
	Why         string    `json:"why"`
	Verified    bool      `json:"verified"` // false: no authority vouches for the certificate
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"fingerprint"`
	ExpiresAt   time.Time `json:"expiresAt"`
}

// RefusedSent is a request that was refused in whole or in part.
type RefusedSent struct {
	At          time.Time        `json:"at"`
	FirstAt     time.Time        `json:"firstAt"` // when it failed in this way for the first time
	Times       int              `json:"times"`   // since then, one after another
	Address     string           `json:"address"`
	Sender      string           `json:"sender,omitempty"` // the user whom credentials proved
	Fingerprint string           `json:"fingerprint"`
	Version     string           `json:"version,omitempty"` // of KMIP; "": it could not be read
	RequestID   string           `json:"requestId"`
	Failures    []RefusedItem    `json:"failures"`
	More        int              `json:"more,omitempty"` // failures that are left out
	Decisions   []ClientDecision `json:"decisions"`      // of the records of the request, in order
	Sent        []string         `json:"sent,omitempty"` // the request without secrets; none: it could not be read
}

// RefusedItem is a batch item, or with Item 0 a whole message, that was refused.
type RefusedItem struct {
	Item      int    `json:"item"`
	Operation string `json:"operation,omitempty"`
	Code      string `json:"code"`
	Reason    string `json:"reason"`
	Message   string `json:"message"`
}

// ClientDecision is what a record says of an operation.
type ClientDecision struct {
	At        string   `json:"at"`
	Operation string   `json:"operation"`
	Object    string   `json:"object,omitempty"`
	Address   string   `json:"address,omitempty"`
	Outcome   string   `json:"outcome"`
	Reasons   []string `json:"reasons,omitempty"` // what in the policy decided
	Policy    string   `json:"policy,omitempty"`
	Detail    string   `json:"detail,omitempty"`
}

func decisionOf(e *audit.Entry) ClientDecision {
	return ClientDecision{At: e.Time, Operation: e.Operation, Object: e.Object, Address: e.Address, Outcome: e.Outcome, Reasons: e.Reasons, Policy: e.Policy, Detail: e.Detail}
}

// diagnoseClient tells what a client last sent that was refused, and why. Only what is kept of
// the tenant that the engine has permitted is looked at.
func diagnoseClient(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	client, err := d.clients.Diagnose(ctx, c, q.Tenant(), q.Get("name"))
	if err != nil {
		return nil, err
	}
	all := d.exchanges.Of(client.Tenant, client.Name)
	refused := d.exchanges.Refused(client.Tenant, client.Name, c.Principal.Tenant == core.SystemTenant)
	out := ClientDiagnosis{Tenant: client.Tenant, Name: client.Name, Enrolled: client.Version > 0, Connections: []RefusedLogin{}, Requests: []RefusedSent{}, Hints: exchanges.Hints(client.Name, all, refused)}
	for _, r := range refused {
		out.Connections = append(out.Connections, RefusedLogin{At: r.At.UTC(), Address: r.Address, Why: r.Why, Verified: r.Verified, Subject: r.Subject, Issuer: r.Issuer, Serial: r.Serial, Fingerprint: r.Fingerprint, ExpiresAt: r.NotAfter.UTC()})
	}
	for _, e := range all {
		shown := sentOf(e)
		if shown.Decisions, err = d.decisionsOf(ctx, client.Tenant, e); err != nil {
			return nil, err
		}
		out.Requests = append(out.Requests, shown)
	}
	out.LastSuccess, err = d.lastSuccess(ctx, client.Tenant, client.Name)
	return out, err
}

func sentOf(e *exchanges.Exchange) RefusedSent {
	out := RefusedSent{At: e.Ended.UTC(), FirstAt: e.First.UTC(), Times: e.Times, Address: e.Address, Sender: e.Sender, Fingerprint: e.Fingerprint, RequestID: e.RequestID, More: e.More, Sent: e.Request()}
	if e.Version != 0 {
		out.Version = e.Version.String()
	}
	for _, f := range e.Failures {
		item := RefusedItem{Item: f.Item, Code: f.Code.String(), Reason: f.Reason.String(), Message: f.Text}
		if f.Operation != 0 {
			item.Operation = f.Operation.String()
		}
		out.Failures = append(out.Failures, item)
	}
	return out
}

// Bounds of what is read of the records for one answer.
const (
	recordsAround = time.Second // before and after a request
	successPages  = 5           // of recordPage records each
	recordPage    = 1000
)

// decisionsOf returns what the records say of a request. If the tenant has more than recordPage
// records of that time, some may be left out.
func (d *adminDoor) decisionsOf(ctx context.Context, tenant string, e *exchanges.Exchange) ([]ClientDecision, error) {
	out := []ClientDecision{}
	around := core.RecordQuery{Tenant: tenant, Since: e.Began.Add(-recordsAround).UnixMicro(), Until: e.Ended.Add(recordsAround).UnixMicro(), Limit: recordPage}
	_, err := d.lookThrough(ctx, around, 1, func(entry *audit.Entry) bool {
		if entry.Request == e.RequestID {
			out = append(out, decisionOf(entry))
		}
		return false
	})
	slices.Reverse(out) // records come newest first
	return out, err
}

// lastSuccess returns the newest record of a KMIP operation that the client was allowed, or nil
// if it is not among the newest ones.
func (d *adminDoor) lastSuccess(ctx context.Context, tenant, name string) (*ClientDecision, error) {
	found, err := d.lookThrough(ctx, core.RecordQuery{Tenant: tenant, Limit: recordPage}, successPages, func(entry *audit.Entry) bool {
		return entry.Principal == name && entry.Door == string(core.DoorKMIP) && entry.Outcome == string(core.Allowed)
	})
	if found == nil || err != nil {
		return nil, err
	}
	return new(decisionOf(found)), nil
}

// lookThrough returns the newest record that is wanted, or nil if it is not within so many pages.
func (d *adminDoor) lookThrough(ctx context.Context, q core.RecordQuery, pages int, wanted func(*audit.Entry) bool) (*audit.Entry, error) {
	for range pages {
		stored, err := d.store.Records(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range stored {
			entry, err := audit.Decode(stored[i])
			if err != nil {
				return nil, fmt.Errorf("record %d: %w", stored[i].Number, err)
			}
			if wanted(&entry) {
				return &entry, nil
			}
			q.Before = stored[i].Number
		}
		if len(stored) < q.Limit {
			break
		}
	}
	return nil, nil
}
