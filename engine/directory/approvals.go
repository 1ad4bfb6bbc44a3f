package directory

import (
	"bytes"
	"context"
	"math"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// Approvals keeps requests that wait for approvals, and knows which key policies demand
// some. It is [core.ApprovalDesk]. Safe for concurrent use.
type Approvals struct {
	*Ending
	attachments *Typed[*Attachment]
	gatesOf     func(*core.DirectoryEntry) ([]core.Gate, error)

	asking sync.Map // *sync.Mutex by tenant: one AskApproval at a time, so that no request waits twice on this node

	suspectMu sync.RWMutex
	suspects  map[core.DirectoryName]bool // key policies that may demand approvals
}

var _ core.ApprovalDesk = (*Approvals)(nil)

// NewApprovals must be called before the directory is opened. gatesOf returns the gates with
// approvals of a version of a key policy.
func NewApprovals(d *Directory, facts *AccessFacts, gatesOf func(*core.DirectoryEntry) ([]core.Gate, error)) *Approvals {
	a := &Approvals{attachments: facts.attachments, gatesOf: gatesOf, suspects: map[core.DirectoryName]bool{}}
	a.Ending = newEnding(d, core.EntryApproval, int64(MaxApprovalLifetime.Seconds()), func(e *core.DirectoryEntry) (string, int64, error) {
		body, err := decodeBody[Approval](e)
		if err != nil {
			return "", 0, err
		}
		return body.Requester, body.Expires, nil
	})
	d.Watch(core.EntryPolicy, a.notePolicy)
	return a
}

// notePolicy notes whether a policy may demand approvals. The word can be hidden by escapes
// alone, so a text with a backslash may too.
func (a *Approvals) notePolicy(e *core.DirectoryEntry) {
	may := !e.Deleted && (bytes.Contains(e.Body, []byte(`"approvals"`)) || bytes.IndexByte(e.Body, '\\') >= 0)
	a.suspectMu.Lock()
	defer a.suspectMu.Unlock()
	if may {
		a.suspects[e.Name()] = true
	} else {
		delete(a.suspects, e.Name())
	}
}

// Approval returns an approval that waits. The code is ItemNotFound if there is none, or if
// it has expired; otherwise the codes are those of [Directory.Get].
func (a *Approvals) Approval(tenant, id string, now int64) (*StoredApproval, error) {
	e, err := a.directory.Get(core.EntryApproval, tenant, id)
	if err != nil {
		return nil, err
	}
	body, err := decodeBody[Approval](e)
	switch {
	case err != nil:
		return nil, err
	case body.Expires <= now:
		return nil, errAbsent
	}
	return &StoredApproval{Approval: *body, ID: id, Tenant: tenant, Version: e.Version}, nil
}

// FindApproval implements [core.ApprovalDesk].
func (a *Approvals) FindApproval(r *core.WaitingRequest) (*core.GivenApproval, error) {
	if err := a.directory.Fresh(); err != nil {
		return nil, err
	}
	for _, id := range a.IDs(r.Tenant, r.Requester, "", r.Now, math.MaxInt) {
		found, err := a.Approval(r.Tenant, id, r.Now)
		if core.CodeOf(err) == core.ItemNotFound {
			continue // ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		if found.Requester == r.Requester && bytes.Equal(found.RequestHash, r.Hash) {
			return found.given(), nil
		}
	}
	return nil, nil
}

// given returns how many have approved for each statement.
func (a *StoredApproval) given() *core.GivenApproval {
	out := &core.GivenApproval{ID: a.ID, Tenant: a.Tenant, Version: a.Version, Author: a.Requester, Given: map[string]int{}}
	for i := range a.Needs {
		out.Given[a.Needs[i].Statement] = a.Given(a.Needs[i].Statement)
	}
	return out
}

// Bounds of the requests that wait. keptApprovals is how many times as many are kept, with
// those that have ended: a client must not fill the directory by asking and withdrawing.
const (
	maxWaitingOfPrincipal = 20
	maxWaitingOfTenant    = 1000
	keptApprovals         = 10
)

// AskApproval implements [core.ApprovalDesk].
func (a *Approvals) AskApproval(ctx context.Context, r *core.WaitingRequest) (id string, err error) {
	turn, _ := a.asking.LoadOrStore(r.Tenant, new(sync.Mutex))
	turn.(*sync.Mutex).Lock()
	defer turn.(*sync.Mutex).Unlock()
	switch waiting, err := a.FindApproval(r); {
	case err != nil:
		return "", err
	case waiting != nil:
		return waiting.ID, nil
	}
	if err := a.checkRoom(r); err != nil {
		return "", err
	}
	wanted := Approval{Requester: r.Requester, Action: r.Action.String(), Object: r.Object, Detail: r.Detail, RequestHash: r.Hash, Created: r.Now, Expires: r.Expires}
	for _, g := range r.Gates {
		wanted.Needs = append(wanted.Needs, ApprovalNeed{g.Statement, *g.Approvals})
	}
	body, err := core.EncodeBody(&wanted)
	if err != nil {
		return "", err
	}
	id = newApprovalID()
	return id, a.directory.Save(ctx, &core.DirectoryEntry{Kind: core.EntryApproval, Tenant: r.Tenant, ID: id, Version: 1, At: r.Now, Author: r.Requester, Body: body})
}

// checkRoom fails with QuotaExceeded if too many requests wait.
func (a *Approvals) checkRoom(r *core.WaitingRequest) error {
	ofPrincipal, ofTenant := a.Count(r.Tenant, r.Requester, r.Now)
	if ofPrincipal.Living < maxWaitingOfPrincipal && ofTenant.Living < maxWaitingOfTenant && ofPrincipal.Kept < keptApprovals*maxWaitingOfPrincipal && ofTenant.Kept < keptApprovals*maxWaitingOfTenant {
		return nil
	}
	return core.Errorf(core.QuotaExceeded, "%d requests of %s wait for approvals, %d of the tenant do, and at most %d and %d may; withdraw some (deny them), or wait until they expire",
		ofPrincipal.Living, core.ClientText(r.Requester), ofTenant.Living, maxWaitingOfPrincipal, maxWaitingOfTenant)
}

// UseUp implements [core.ApprovalDesk].
func (a *Approvals) UseUp(g *core.GivenApproval, now int64) core.Write {
	return core.SaveDirectoryEntry{Entry: &core.DirectoryEntry{Kind: core.EntryApproval, Tenant: g.Tenant, ID: g.ID, Version: g.Version + 1, At: now, Author: g.Author, Reason: "used", Deleted: true}}
}

// ShowStored implements [core.ApprovalDesk].
func (a *Approvals) ShowStored(ch *core.Change) { a.directory.ShowStored(ch) }

// PolicyGuards implements [core.ApprovalDesk]. A policy that does not exist has none. A version
// that waits to be in force counts beside the one that is.
func (a *Approvals) PolicyGuards(tenant, policy string) (gates []core.Gate, err error) {
	name := core.DirectoryName{Tenant: tenant, Kind: core.EntryPolicy, ID: policy}
	a.suspectMu.RLock()
	suspect := a.suspects[name]
	a.suspectMu.RUnlock()
	if !suspect {
		return nil, a.directory.Fresh()
	}
	standing, err := a.directory.StandingOfPolicy(tenant, policy)
	if err != nil {
		return nil, err
	}
	for _, version := range slices.Compact([]int64{standing.InForce, standing.Newest}) {
		if version == 0 {
			continue
		}
		e, err := a.directory.PolicyVersion(core.DirectoryVersion{Name: name, Version: version})
		if err != nil {
			return nil, err
		}
		more, err := a.gatesOf(e)
		if err != nil {
			return nil, err
		}
		gates = append(gates, more...)
	}
	return gates, nil
}

// HolderGuards implements [core.ApprovalDesk].
func (a *Approvals) HolderGuards(tenant, holder string) (gates []core.Gate, err error) {
	attached, err := a.attachments.Get(tenant, holder)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, policy := range attached.Policies {
		more, err := a.PolicyGuards(tenant, policy)
		if err != nil {
			return nil, err
		}
		gates = append(gates, more...)
	}
	return gates, nil
}

// NamingGuards returns the gates of all policies of a tenant in which one of some names may
// approve.
func (a *Approvals) NamingGuards(tenant string, names []string) (gates []core.Gate, err error) {
	for _, policy := range a.suspectsOf(tenant) {
		all, err := a.PolicyGuards(tenant, policy)
		if err != nil {
			return nil, err
		}
		for _, g := range all {
			if slices.ContainsFunc(g.Approvals.From, func(name string) bool { return slices.Contains(names, name) }) {
				gates = append(gates, g)
			}
		}
	}
	return gates, nil
}

// suspectsOf lists the policies of a tenant that may demand approvals.
func (a *Approvals) suspectsOf(tenant string) (policies []string) {
	a.suspectMu.RLock()
	defer a.suspectMu.RUnlock()
	for name := range a.suspects {
		if name.Tenant == tenant {
			policies = append(policies, name.ID)
		}
	}
	slices.Sort(policies)
	return policies
}
