package upkeep

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Orphan is a token object of this installation that no row of a usable object names, or
// an open intent of another process.
type Orphan struct {
	TokenObject string `json:"token_object"` // CKA_ID in hexadecimal
	Tenant      string `json:"tenant"`
	ID          string `json:"object"` // Unique Identifier
	Label       string `json:"label"`  // CKA_LABEL
	Why         string `json:"why"`
	Kind        string `json:"intent,omitempty"` // of the open intent, if there is one
	Began       int64  `json:"began,omitempty"`  // Unix seconds
	InToken     bool   `json:"in_token"`
	Purgeable   bool   `json:"purgeable"`
}

// Orphans lists the orphans and changes nothing. It reads token objects before intents,
// and intents before rows, so that an object that is just being made has at least one
// of them.
func (v *Verbs) Orphans(ctx context.Context) ([]Orphan, error) {
	have, err := v.engine.Ports.HSM.Objects(ctx)
	if err != nil {
		return nil, err
	}
	intents, tampered, err := v.engine.Ports.Store.Intents(ctx)
	if err != nil {
		return nil, err
	}
	byToken := make(map[string]*core.Intent, len(intents))
	for i := range intents {
		byToken[string(intents[i].CKAID)] = &intents[i]
	}
	tokens := make([][]byte, len(have))
	for i := range have {
		tokens[i] = have[i].CKAID
	}
	named, err := v.engine.Ports.Store.Residents(ctx, tokens)
	if err != nil {
		return nil, err
	}
	out := tamperedOrphans(tampered, have)
	for _, t := range have {
		if slices.Contains(tampered, engine.IntentID(t.CKAID)) {
			continue // in the list already
		}
		intent := byToken[string(t.CKAID)]
		delete(byToken, string(t.CKAID))
		if named[string(t.CKAID)] {
			continue
		}
		o, orphan, err := v.judgeTokenObject(ctx, t, intent)
		if err != nil {
			return nil, err
		}
		if orphan {
			out = append(out, o)
		}
	}
	for i := range intents {
		if intent := &intents[i]; byToken[string(intent.CKAID)] == intent && intent.Process != v.engine.Intents.Process {
			o := v.describeTokenObject(engine.TokenObjectOf(intent), intent)
			o.InToken, o.Why = false, "the intent is open, and the token does not hold the object"
			out = append(out, o)
		}
	}
	return out, nil
}

// tamperedOrphans lists the intents whose rows were changed behind the server. Their
// content cannot be trusted, so their token objects are not purged.
func tamperedOrphans(ids []string, have []core.TokenObject) (out []Orphan) {
	for _, id := range ids {
		o := Orphan{TokenObject: core.ClientText(id), Why: "the row of its intent was changed behind the server: find out who can write the database, then delete the row " + core.ClientText(id) + " of the table intent"}
		for _, t := range have {
			if engine.IntentID(t.CKAID) == id {
				o.TokenObject, o.Tenant, o.ID, o.InToken = id, t.Tenant, t.ID, true
			}
		}
		out = append(out, o)
	}
	return out
}

// describeTokenObject returns an orphan with the facts about a token object. intent may
// be nil.
func (v *Verbs) describeTokenObject(t core.TokenObject, intent *core.Intent) Orphan {
	o := Orphan{TokenObject: hex.EncodeToString(t.CKAID), Tenant: t.Tenant, ID: t.ID, Label: v.engine.Ports.HSM.ObjectLabel(t.Tenant, t.ID), InToken: true}
	if intent != nil {
		o.Kind, o.Began = string(intent.Kind), intent.Time
	}
	return o
}

// judgeTokenObject reports whether a token object is an orphan, and sets why and whether
// it may be purged. A row that was changed behind the server may be that of a key in
// use, so its token object may not be purged.
func (v *Verbs) judgeTokenObject(ctx context.Context, t core.TokenObject, intent *core.Intent) (Orphan, bool, error) {
	o := v.describeTokenObject(t, intent)
	row, err := v.engine.Ports.Store.Object(ctx, t.Tenant, t.ID)
	switch {
	case core.CodeOf(err) == core.Tampered && err != nil:
		o.Why = "its row was changed behind the server"
		return o, true, nil
	case err != nil && core.CodeOf(err) != core.ItemNotFound:
		return o, false, err
	case err != nil:
		o.Why = "no row has its Unique Identifier"
	case bytes.Equal(row.Material.CKAID, t.CKAID): // also if it was deleted and can be restored
		return o, false, nil
	case row.StateAt(v.engine.Ports.Clock.Now()).Gone():
		o.Why = "its object is destroyed"
	default:
		o.Why = "the row of its object names another token object"
	}
	switch {
	case v.engine.Intents.Contains(o.TokenObject):
		o.Why += "; this server is removing it"
	case intent != nil && v.engine.Ports.Store.Shared() && v.engine.Ports.Clock.Now()-intent.Time < engine.IntentAgeSeconds:
		o.Why += "; another process may be at work on it"
	default:
		o.Purgeable = true
	}
	return o, true, nil
}

// Purge destroys orphans in the token, by their CKA_IDs in hexadecimal. For each of them
// it asks the policy, checks again that it is an orphan, and records before and after.
// by names the person who asked. It stops at the first that may not be purged or that
// the token does not destroy, and returns those that were purged.
func (v *Verbs) Purge(ctx context.Context, c *core.Caller, ids []string, by string) (purged []Orphan, err error) {
	for _, id := range ids {
		o, err := v.purgeOne(context.WithoutCancel(ctx), c, id, by)
		if err != nil {
			return purged, err
		}
		purged = append(purged, o)
	}
	return purged, nil
}

// mayPurge asks the policy, and returns a record with the policy's hash and reasons. A
// denial is recorded.
func (v *Verbs) mayPurge(ctx context.Context, c *core.Caller, id, by string) (*core.Record, error) {
	k := v.engine.Begin(ctx, c, core.ActionPurgeTokenObject)
	k.Record.Object, k.Record.ClientRef = core.ClientText(id), by
	if _, err := k.Decide(k.Action, nil); err != nil {
		return nil, k.End(err)
	}
	return &core.Record{PolicyHash: k.Record.PolicyHash, Reasons: slices.Clone(k.Record.Reasons)}, nil
}

// purgeOne purges one orphan.
func (v *Verbs) purgeOne(ctx context.Context, c *core.Caller, id, by string) (Orphan, error) {
	allowed, err := v.mayPurge(ctx, c, id, by)
	if err != nil {
		return Orphan{}, err
	}
	all, err := v.Orphans(ctx)
	if err != nil {
		return Orphan{}, err
	}
	for _, o := range all {
		if o.TokenObject != id || !o.InToken {
			continue
		}
		if !o.Purgeable {
			return o, v.refusePurge(ctx, o, by)
		}
		return o, v.purgeRecorded(ctx, o, by, allowed)
	}
	return Orphan{}, core.Errorf(core.ItemNotFound, "%s is no orphan of this installation in the token; see keyreeve hsm orphans list", core.ClientText(id))
}

// refusePurge records that an orphan may not be purged, and returns the error.
func (v *Verbs) refusePurge(ctx context.Context, o Orphan, by string) error {
	err := core.Errorf(core.IllegalOperation, "token object %s may not be purged: %s", o.TokenObject, o.Why)
	r := v.purgeRecord(o, by+": "+o.Why)
	r.Outcome, r.Code = core.Failed, err.Code
	if rerr := v.engine.Ports.Store.Commit(ctx, core.ChangeOf(v.engine.Ports.RecordWrite(r))); rerr != nil {
		return engine.Unrecorded(rerr, err)
	}
	return err
}

// purgeRecord returns the record of a purge.
func (v *Verbs) purgeRecord(o Orphan, detail string) *core.Record {
	return &core.Record{Time: v.engine.Ports.Clock.NowMicro(), Tenant: o.Tenant, Principal: "system/socket", Method: core.MethodSystem, Strength: core.StrengthSystem, Door: core.DoorAdmin, Action: core.ActionPurgeTokenObject, Object: o.ID,
		Outcome: core.Allowed, ExecutedIn: "token", Detail: "token object " + o.TokenObject + ", " + detail}
}

// purgeRecorded destroys one orphan. If the record of its beginning cannot be stored,
// nothing is destroyed.
func (v *Verbs) purgeRecorded(ctx context.Context, o Orphan, by string, allowed *core.Record) error {
	begins := v.purgeRecord(o, by+": begins, since "+o.Why)
	begins.PolicyHash, begins.Reasons = allowed.PolicyHash, allowed.Reasons
	if err := v.engine.Ports.Store.Commit(ctx, core.ChangeOf(v.engine.Ports.RecordWrite(begins))); err != nil {
		return engine.Unrecorded(err, nil)
	}
	token, err := hex.DecodeString(o.TokenObject)
	if err == nil {
		err = v.engine.Ports.HSM.DestroyObject(ctx, core.TokenObject{Tenant: o.Tenant, ID: o.ID, CKAID: token})
	}
	ch := core.Change{}
	r := v.purgeRecord(o, by+": destroyed")
	if err != nil {
		r.Outcome, r.Code, r.Detail = core.Failed, core.CodeOf(err), "token object "+o.TokenObject+", "+by+": not destroyed"
	} else {
		for _, id := range v.intentsOf(ctx, token) {
			ch.Add(core.FinishIntent{ID: id})
		}
	}
	ch.Add(v.engine.Ports.RecordWrite(r))
	if rerr := v.engine.Ports.Store.Commit(ctx, &ch); rerr != nil {
		return engine.Unrecorded(rerr, err)
	}
	return err
}

// intentsOf lists the open intents about a token object.
func (v *Verbs) intentsOf(ctx context.Context, token []byte) (ids []string) {
	all, _, _ := v.engine.Ports.Store.Intents(ctx) // those that stay open are closed by the reconciler
	for i := range all {
		if bytes.Equal(all[i].CKAID, token) {
			ids = append(ids, all[i].ID)
		}
	}
	return ids
}
