package format

import (
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// Members of gates. An allow has them among its conditions, a denial in the member unless:
// a condition of a denial that holds makes it deny, but a gate that opens lifts it.
const (
	unlessMember    = "unless"
	approvalsMember = "approvals"
	grantedMember   = "granted" // of a test: all gates are open
)

var gateMembers = []string{approvalsMember}

// laterMembers are not offered yet. They are refused, because a condition that is
// overlooked would allow too much.
var laterMembers = []string{"rate", "totalUse"}

func refuseLater(r *reader, n node) {
	for _, name := range laterMembers {
		if m, ok := n.members[name]; ok {
			r.refuse(m, "this condition is not offered yet; leave it out")
		}
	}
}

// gateAmongConditions reads the gate of an allow; nil if it has none.
func gateAmongConditions(r *reader, n node, effect Effect) *core.GateTerms {
	for _, name := range gateMembers {
		if m, ok := n.members[name]; ok && effect == Deny {
			r.refuse(m, "a denial does not have it as a condition; write it in the member %s, which lifts the denial", unlessMember)
		}
	}
	return gateTerms(r, n)
}

// gateOfDenial reads the member unless.
func gateOfDenial(r *reader, n node, effect Effect) *core.GateTerms {
	if effect == Allow {
		r.refuse(n, "only a denial has it; an allow has the same members among its conditions")
	}
	refuseLater(r, n)
	r.object(n, gateMembers...)
	r.refuseEmpty(n)
	return gateTerms(r, n)
}

// gateTerms reads the members of a gate in an object; nil if there are none.
func gateTerms(r *reader, n node) *core.GateTerms {
	m, ok := n.members[approvalsMember]
	if !ok {
		return nil
	}
	return &core.GateTerms{Approvals: approvalTerms(r, m)}
}

func approvalTerms(r *reader, n node) *core.ApprovalTerms {
	get := r.object(n, "needed", "from")
	from := get("from")
	out := &core.ApprovalTerms{Needed: int(r.numberOf(get("needed"), core.MaxApprovers)), From: sortedSet(readList(r, from, r.approver))}
	if r.fault == nil && len(out.From) > maxApproverNames {
		r.refuse(from, "it names %d approvers; at most %d are allowed; name a role or a group", len(out.From), maxApproverNames)
	}
	return out
}

// maxApproverNames bounds the names of one statement's approvers.
const maxApproverNames = 64

// approver reads a principal that can approve. A token is not one: it can be anybody's.
func (r *reader) approver(n node) string {
	s := r.principal(n)
	if len(s) >= 6 && s[:6] == "token:" {
		r.refuse(n, "a token cannot approve; name its user")
	}
	return s
}

// numberOf reads a whole number from 1 to most.
func (r *reader) numberOf(n node, most int64) int64 {
	if !r.expect(n, numberNode) {
		return 0
	}
	v, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || v < 1 || v > most {
		r.refuse(n, "it must be a whole number from 1 to %d", most)
	}
	return v
}

// waitingActions are the actions that can wait for approvals. Their requests hold no secret
// and no data, so their hash can be kept.
var waitingActions = []core.Action{core.ActionDestroy, core.ActionRevoke, core.ActionActivate, core.ActionGet, core.ActionExport, core.ActionReKey, core.ActionReKeyKeyPair, core.ActionArchive, core.ActionRecover,
	core.ActionAddAttribute, core.ActionModifyAttribute, core.ActionDeleteAttribute, core.ActionAdjustAttribute, core.ActionSetAttribute,
	core.ActionSavePolicy, core.ActionDeletePolicy, core.ActionAttachPolicy, core.ActionDetachPolicy,
	core.ActionSaveUser, core.ActionDeleteUser, core.ActionSaveRole, core.ActionDeleteRole}

// gateFits refuses approvals for actions whose requests cannot wait.
func gateFits(r *reader, n node, s *Statement) {
	if s.Gate == nil || s.Gate.Approvals == nil {
		return
	}
	for _, word := range s.Actions {
		for _, a := range core.ActionsNamed(word) {
			if !slices.Contains(waitingActions, a) {
				r.refuse(n, "%s cannot wait for approvals; delete, export, rotate, revoke and \"Save Policy\" are some that can", a)
			}
		}
	}
}

func writeGate(g *core.GateTerms) (out members) {
	if a := g.Approvals; a != nil {
		approvals := members{{"needed", a.Needed}}
		approvals.setNames("from", a.From)
		out.setMember(approvalsMember, approvals)
	}
	return out
}
