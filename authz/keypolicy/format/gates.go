package format

import (
	"slices"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Members of gates. An allow has them among its conditions, a denial in the member unless:
// a condition of a denial that holds makes it deny, but a gate that opens lifts it.
const (
	unlessMember    = "unless"
	approvalsMember = "approvals"
	rateMember      = "rate"
	totalMember     = "totalUse"
	grantedMember   = "granted" // of a test: all gates are open
)

// gateMembers are those of an allow. A denial can have all but the total.
var gateMembers = []string{approvalsMember, rateMember, totalMember}

// gateAmongConditions reads the gate of an allow; nil if it has none.
func gateAmongConditions(r *reader, n node, effect Effect) *core.GateTerms {
	if m, ok := n.members[totalMember]; ok && effect == Deny {
		r.refuse(m, "a denial has no total; write it in a statement that allows")
	}
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
	r.object(n, approvalsMember, rateMember)
	r.refuseEmpty(n)
	return gateTerms(r, n)
}

// gateTerms reads the members of a gate in an object; nil if there are none.
func gateTerms(r *reader, n node) *core.GateTerms {
	var out core.GateTerms
	if m, ok := n.members[approvalsMember]; ok {
		out.Approvals = approvalTerms(r, m)
	}
	if m, ok := n.members[rateMember]; ok {
		out.Rate = rateTerms(r, m)
	}
	if m, ok := n.members[totalMember]; ok {
		out.TotalUse = r.numberOf(m, maxTotalUse)
	}
	if out == (core.GateTerms{}) {
		return nil
	}
	return &out
}

// Bounds of a rate and of a total.
const (
	maxTotalUse = 1_000_000_000
	maxRateUses = 1_000_000_000
	maxRatePer  = 720 * time.Hour
)

func rateTerms(r *reader, n node) *core.RateTerms {
	get := r.object(n, "uses", "per")
	per := get("per")
	span, err := time.ParseDuration(r.nameOf(per, maxNameBytes))
	if r.fault == nil && (err != nil || span%time.Second != 0 || span < time.Second || span > maxRatePer) {
		r.refuse(per, "it must be a span of whole seconds from 1s to 720h, such as 15m or 1h")
	}
	return &core.RateTerms{Uses: r.numberOf(get("uses"), maxRateUses), Per: int64(span / time.Second)}
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
	core.ActionDisable, core.ActionEnable, core.ActionSoftDelete, core.ActionRestore, core.ActionPurge,
	core.ActionAddAttribute, core.ActionModifyAttribute, core.ActionDeleteAttribute, core.ActionAdjustAttribute, core.ActionSetAttribute,
	core.ActionSavePolicy, core.ActionDeletePolicy, core.ActionAttachPolicy, core.ActionDetachPolicy,
	core.ActionSaveUser, core.ActionDeleteUser, core.ActionSaveRole, core.ActionDeleteRole}

// gateFits refuses a gate for actions that cannot have it.
func gateFits(r *reader, n node, s *Statement) {
	if s.Gate == nil {
		return
	}
	for _, word := range s.Actions {
		for _, a := range core.ActionsNamed(word) {
			if a == core.ActionLocate {
				r.refuse(n, "%s has neither approvals nor a rate: it asks about each object that it finds", a)
			}
			if s.Gate.TotalUse != 0 && a.Info().Objects != core.OneObject {
				r.refuse(n, "%s works on no object, so its uses have no total", a)
			}
			if s.Gate.Approvals != nil && !slices.Contains(waitingActions, a) {
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
	if rate := g.Rate; rate != nil {
		out.setMember(rateMember, members{{"uses", rate.Uses}, {"per", (time.Duration(rate.Per) * time.Second).String()}})
	}
	if g.TotalUse != 0 {
		out.setMember(totalMember, g.TotalUse)
	}
	return out
}
