package serverpolicy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Version is one version of the policy.
type Version struct {
	Version int64  `json:"version"`
	InForce bool   `json:"inForce"` // on the node that answers
	At      int64  `json:"at"`      // Unix seconds; when it was stored
	Author  string `json:"author"`
	Reason  string `json:"reason,omitempty"`
	Origin  Origin `json:"origin"`
	Policy  string `json:"policy,omitempty"` // "" in lists
	Tests   string `json:"tests,omitempty"`  // "" in lists
}

// ErrNoVersion is in the chain of the error if a version is asked for that is not kept.
var ErrNoVersion = errors.New("no such version")

// Show returns a version with its texts; 0 is the newest.
func (k *Keeper) Show(ctx context.Context, c *core.Caller, version int64) (Version, error) {
	return engine.RunPermitted(k.ports.Engine, ctx, c, core.ActionReadServerPolicy, &version, func(call *engine.Call, version *int64) (Version, error) {
		call.Record.Detail = fmt.Sprintf("version %d", *version)
		s, err := k.readVersion(call.Ctx, *version)
		if err != nil {
			return Version{}, err
		}
		return k.describe(s), nil
	})
}

func (k *Keeper) describe(s *stored) Version {
	return Version{Version: s.entry.Version, InForce: s.entry.Version == k.VersionInForce(), At: s.entry.At, Author: s.entry.Author, Reason: s.entry.Reason,
		Origin: s.body.Origin, Policy: s.body.Policy, Tests: s.body.Tests}
}

// readVersion reads a version from the database; 0 is the newest.
func (k *Keeper) readVersion(ctx context.Context, version int64) (*stored, error) {
	below := version
	if version != 0 {
		below++
	}
	found, err := k.ports.Engine.Ports.Store.DirectoryHistory(ctx, entryName, below, 1)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || version != 0 && found[0].Version != version {
		return nil, core.Wrap(core.ItemNotFound, ErrNoVersion, "the server's policy has no version %d that is kept", version)
	}
	return readStored(found[0])
}

// maxHistory bounds the versions of one answer. Their texts are in memory together.
const maxHistory = 16

// History lists versions without their texts, newest first, below a version; 0 starts with
// the newest. A page has at most 16.
func (k *Keeper) History(ctx context.Context, c *core.Caller, below int64) ([]Version, error) {
	return engine.RunPermitted(k.ports.Engine, ctx, c, core.ActionReadServerPolicy, &below, func(call *engine.Call, below *int64) (out []Version, err error) {
		call.Record.Detail = "history"
		all, err := k.ports.Engine.Ports.Store.DirectoryHistory(call.Ctx, entryName, *below, maxHistory)
		for _, e := range all {
			s, err := readStored(e)
			if err != nil {
				return nil, err
			}
			s.body.Policy, s.body.Tests = "", ""
			out = append(out, k.describe(s))
		}
		return out, err
	})
}

// ApplyInput is the text of a new version.
type ApplyInput struct {
	core.PolicySource
	Default  bool // in the place of the text: the default policy of this release
	Reason   string
	Expected int64 // the version that it replaces; 0: any
}

// Applied is a version that was stored and is in force on this node. The others follow.
type Applied struct {
	Version  int64    `json:"version"`
	Hash     string   `json:"hash"` // SHA-256 of the policy without its tests, hex
	Warnings []string `json:"warnings,omitempty"`
}

// Apply stores a policy as the next version and puts it in force. If it does not compile,
// fails its tests or breaks a rule that no policy may break, the code is InvalidField; if a
// canary of the operator would not hold any more, or another version than the expected one
// is the newest, it is Conflict. What is in force then stays.
func (k *Keeper) Apply(ctx context.Context, c *core.Caller, in ApplyInput) (Applied, error) {
	return engine.RunPermitted(k.ports.Engine, ctx, c, core.ActionSaveServerPolicy, &in, func(call *engine.Call, in *ApplyInput) (Applied, error) {
		origin := FromCommand
		if in.Default {
			in.PolicySource, origin = k.ports.Default, FromDefault
		}
		return k.applyNext(call, in, origin)
	})
}

// RollBack stores the text of an old version as the newest one and puts it in force.
func (k *Keeper) RollBack(ctx context.Context, c *core.Caller, to int64, reason string) (Applied, error) {
	return engine.RunPermitted(k.ports.Engine, ctx, c, core.ActionSaveServerPolicy, &to, func(call *engine.Call, to *int64) (Applied, error) {
		old, err := k.readVersion(call.Ctx, *to)
		if err != nil {
			return Applied{}, err
		}
		if reason == "" {
			reason = fmt.Sprintf("back to version %d", old.entry.Version)
		}
		return k.applyNext(call, &ApplyInput{PolicySource: old.body.source(), Reason: reason}, old.body.Origin)
	})
}

func (k *Keeper) applyNext(call *engine.Call, in *ApplyInput, origin Origin) (out Applied, err error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	now, err := k.newestVersion()
	if err != nil {
		return out, err
	}
	if in.Expected != 0 && (now == nil || now.entry.Version != in.Expected) {
		return out, core.Errorf(core.Conflict, "the newest version of the server's policy is not %d; read it again", in.Expected)
	}
	next, warnings, err := k.prepareChecked(call.Ctx, in.PolicySource)
	if core.CodeOf(err) == core.PolicyUnavailable {
		err = core.Wrap(core.InvalidField, err, "the policy is not taken, and the old one stays in force")
	}
	if err != nil {
		return out, err
	}
	p := call.Caller.Principal
	v := nextVersion{before: now, source: &in.PolicySource, origin: origin, author: p.Tenant + "/" + p.ID, reason: strings.ToValidUTF8(in.Reason, ""), policy: next}
	err = k.storeVersion(&v, func(e *core.DirectoryEntry) error {
		out = Applied{Version: e.Version, Hash: next.Hash(), Warnings: warnings}
		call.Record.Detail = v.detail(e, warnings) + ", sha256 " + next.Hash()
		change := core.ChangeOf(core.SaveDirectoryEntry{Entry: e})
		if err := call.Commit(change); err != nil {
			return err
		}
		k.ports.Directory.ShowStored(change)
		return nil
	})
	return out, err
}
