package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// passGates decides the request in k.access again, with those of its gates open whose terms
// are met. If that is not enough, a request that lacks approvals is stored so that it can
// wait for them. Its error has the code ApprovalNeeded and names the approval.
func passGates(k *Call, gates []core.Gate) (core.Decision, error) {
	if len(gates) > maxGates {
		return core.Decision{}, core.Errorf(core.PermissionDenied, "%d statements permit %s only on terms; at most %d can be met in one request", len(gates), k.access.Action, maxGates)
	}
	waiting, ask, err := findApproval(k, gates)
	if err != nil {
		return core.Decision{}, err
	}
	var lacking []core.Gate
	var opened []*core.Gate
	var exceeded error
	for i := range gates {
		if !meetsGate(waiting, &gates[i]) {
			lacking = append(lacking, gates[i])
			continue
		}
		err := requireUsesLeft(k, &gates[i])
		if err == nil {
			err = countRate(k, &gates[i])
		}
		if err != nil {
			exceeded = err
			continue
		}
		opened = append(opened, &gates[i])
		k.access.Granted = append(k.access.Granted, gates[i].Statement)
		d, err := k.Ports.Policy.Decide(k.Ctx, &k.access)
		if err != nil {
			return core.Decision{}, undecided(err)
		}
		if d.Allow {
			if err := countTotals(k, opened); err != nil {
				return core.Decision{}, err
			}
			noteReasons(k, &d)
			noteApproval(k, waiting)
			return d, nil
		}
	}
	if exceeded != nil {
		return core.Decision{}, exceeded
	}
	if len(lacking) == 0 {
		return core.Decision{}, core.Errorf(core.PermissionDenied, "the policy does not allow %s to %s", k.access.Action, k.Caller.Principal.ID)
	}
	if err := failsAnyway(k); err != nil {
		return core.Decision{}, err
	}
	return core.Decision{}, askApproval(k, waiting, ask, lacking)
}

// failsAnyway returns the error of the state check of the target, so that nobody is asked to
// approve a request that cannot succeed. It returns nil for a caller who may not read the
// attributes of the object, which its answer would tell.
func failsAnyway(k *Call) error {
	o := k.access.Object
	if k.StateCheck == nil || o == nil || k.access.Action != k.Action || o.ID != k.Record.Object {
		return nil
	}
	failed := k.StateCheck(o, k.Now)
	if failed == nil {
		return nil
	}
	if may, err := k.Permits(core.ActionGetAttributes, o, core.Asked{}); err != nil || !may {
		return nil
	}
	return failed
}

// meetsGate reports whether a gate has the approvals that it demands. A nil a has none.
func meetsGate(a *core.GivenApproval, g *core.Gate) bool {
	return g.Approvals == nil || a != nil && a.Given[g.Statement] >= g.Approvals.Needed
}

// RequireApprovals fails with ApprovalNeeded unless others have approved the request of the
// call, about object o or none, on the terms of all gates. It is for changes of what approvals
// rest on. The administrator on the server's machine needs none.
func RequireApprovals(k *Call, gates []core.Gate, o *core.ManagedObject) error {
	if len(gates) == 0 || k.Caller.Principal.Tenant == core.SystemTenant {
		return nil
	}
	k.access.Action, k.access.Object, k.access.Principal = k.Action, o, k.Caller.Principal
	waiting, ask, err := findApproval(k, gates)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(gates, func(g core.Gate) bool { return !meetsGate(waiting, &g) }) {
		return askApproval(k, waiting, ask, gates)
	}
	noteApproval(k, waiting)
	return nil
}

// maxGates bounds the gates of one request: it is decided again for each.
const maxGates = 64

// findApproval returns what was approved of the request in k.access, and the request as it
// waits. Both are nil if no gate demands approvals.
func findApproval(k *Call, gates []core.Gate) (*core.GivenApproval, *core.WaitingRequest, error) {
	gates = slices.DeleteFunc(slices.Clone(gates), func(g core.Gate) bool { return g.Approvals == nil })
	r := &k.access
	switch {
	case len(gates) == 0:
		return nil, nil, nil
	case k.Ports.Approvals == nil, k.Request == nil, k.Caller.Door == core.DoorClock, len(gates) > maxGates:
		return nil, nil, core.Errorf(core.PermissionDenied, "%s needs approvals here, and this request cannot wait for any", r.Action)
	}
	hash, err := hashRequest(r, gates, k.Request)
	if err != nil {
		return nil, nil, err
	}
	lifetime := int64(cmp.Or(k.Settings.ApprovalLifetime, defaultApprovalLifetime) / time.Second)
	ask := &core.WaitingRequest{Tenant: r.Principal.Tenant, Requester: r.Principal.Tenant + "/" + r.Principal.ID, Action: r.Action, Detail: k.Record.Detail, Hash: hash, Gates: gates, Now: k.Now, Expires: k.Now + lifetime}
	if r.Object != nil {
		ask.Object = r.Object.ID
	}
	given, err := k.Ports.Approvals.FindApproval(ask)
	return given, ask, err
}

const defaultApprovalLifetime = 24 * time.Hour

// askApproval lets the request wait, unless it waits already, and returns the error to
// answer.
func askApproval(k *Call, waiting *core.GivenApproval, ask *core.WaitingRequest, lacking []core.Gate) error {
	var missing []string
	for _, g := range lacking[:min(len(lacking), maxMissingNamed)] {
		given := 0
		if waiting != nil {
			given = waiting.Given[g.Statement]
		}
		missing = append(missing, fmt.Sprintf("%s: %d of %d", g.Statement, given, g.Approvals.Needed))
	}
	id := ""
	if waiting != nil {
		id = waiting.ID
	} else {
		var err error
		if id, err = k.Ports.Approvals.AskApproval(lastingContext(), ask); err != nil {
			return err
		}
	}
	e := core.Errorf(core.ApprovalNeeded, "the request waits for approvals as %s (%s); send it again when they are given", id, strings.Join(missing, ", "))
	e.Approval = id
	return e
}

// maxMissingNamed bounds the statements that an error names.
const maxMissingNamed = 4

// noteApproval notes that the operation uses up an approval.
func noteApproval(k *Call, a *core.GivenApproval) {
	if a != nil && !slices.ContainsFunc(k.approvals, func(b *core.GivenApproval) bool { return a.ID == b.ID }) {
		k.approvals = append(k.approvals, a)
	}
}

// useUpApprovals adds the writes that end the approvals of the operation to its change.
func useUpApprovals(k *Call, ch *core.Change) {
	for _, a := range k.approvals {
		ch.Add(k.Ports.Approvals.UseUp(a, k.Now))
		k.Record.Detail = strings.TrimPrefix(k.Record.Detail+", approval "+a.ID, ", ")
	}
}

// showApprovals lets this node know that approvals were used up.
func showApprovals(k *Call, ch *core.Change) {
	if len(k.approvals) > 0 {
		k.Ports.Approvals.ShowStored(ch)
	}
}

// Finish repeats the checks of an operation that has stored nothing, before it is answered,
// and uses up its approvals. A change has done this before it was stored.
func Finish(k *Call) error {
	if k.recorded {
		return nil
	}
	if err := k.stillGranted(); err != nil || len(k.approvals) == 0 {
		return err
	}
	ch := &core.Change{}
	useUpApprovals(k, ch)
	err := k.Ports.Store.Commit(lastingContext(), ch)
	if core.CodeOf(err) == core.Conflict {
		return core.Wrap(core.PermissionDenied, err, "the approval %s was used or changed in this moment; send the request again", k.approvals[0].ID)
	}
	if err == nil {
		showApprovals(k, ch)
	}
	return err
}
