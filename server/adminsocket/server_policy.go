package adminsocket

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/serverpolicy"
)

// ReloadedPolicy tells which policy is in force after a reload.
type ReloadedPolicy struct {
	Policy string `json:"policy"`         // SHA-256 of its text, hex
	Note   string `json:"note,omitempty"` // why policy.file is not in force
}

// ServerPolicy is a version of the server's policy, as commands see it.
type ServerPolicy = serverpolicy.Version

// AppliedPolicy is a version of the server's policy that a command has put in force.
type AppliedPolicy = serverpolicy.Applied

// PolicyTexts is what a command applies.
type PolicyTexts struct {
	Policy  string `json:"policy,omitempty"`
	Tests   string `json:"tests,omitempty"`
	Default bool   `json:"default,omitempty"` // in their place: the default policy of this release
}

// serverPolicy answers the commands about the server's policy.
type serverPolicy struct{ *serverpolicy.Keeper }

// ServerPolicyRoutes returns the routes of the server's policy for a door D.
func ServerPolicyRoutes[D any](keeperOf func(D) *serverpolicy.Keeper) []Route[D] {
	row := func(pattern string, action core.Action, answer func(serverPolicy, context.Context, *core.Caller, *Question) (any, error)) Route[D] {
		return NewRoute(pattern, action, AskedByEngine, func(d D, ctx context.Context, c *core.Caller, q *Question) (any, error) {
			return answer(serverPolicy{keeperOf(d)}, ctx, c, q)
		})
	}
	return []Route[D]{
		row("GET /policy/server", core.ActionReadServerPolicy, serverPolicy.showServerPolicy),
		row("GET /policy/server/history", core.ActionReadServerPolicy, serverPolicy.serverPolicyHistory),
		row("PUT /policy/server", core.ActionSaveServerPolicy, serverPolicy.applyServerPolicy),
		row("POST /policy/server/rollback", core.ActionSaveServerPolicy, serverPolicy.rollBackServerPolicy),
	}
}

func (p serverPolicy) showServerPolicy(ctx context.Context, c *core.Caller, q *Question) (any, error) {
	version, err := q.Number("version")
	if err != nil {
		return nil, err
	}
	return p.Show(ctx, c, version)
}

func (p serverPolicy) serverPolicyHistory(ctx context.Context, c *core.Caller, q *Question) (any, error) {
	below, err := q.Number("below")
	if err != nil {
		return nil, err
	}
	return p.History(ctx, c, below)
}

func (p serverPolicy) applyServerPolicy(ctx context.Context, c *core.Caller, q *Question) (any, error) {
	expected, err := q.Number("expected")
	if err != nil {
		return nil, err
	}
	var texts PolicyTexts
	if err := q.Decode(&texts); err != nil {
		return nil, err
	}
	in := serverpolicy.ApplyInput{PolicySource: core.PolicySource{Policy: texts.Policy, Tests: texts.Tests}, Default: texts.Default, Reason: q.Get("reason"), Expected: expected}
	return p.Apply(ctx, c, in)
}

func (p serverPolicy) rollBackServerPolicy(ctx context.Context, c *core.Caller, q *Question) (any, error) {
	version, err := q.Number("version")
	if err != nil {
		return nil, err
	}
	return p.RollBack(ctx, c, version, q.Get("reason"))
}
