package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of Locate: candidates read at once, identifiers in one answer, and
// candidates looked at for one question.
const (
	locatePage    = 500
	maxLocated    = 100_000
	maxCandidates = 5_000_000
	maxPages      = 8 // pages in memory at once: each can be maxAttributeBytes times locatePage
)

// Locate finds objects by their attributes, oldest first (KMIP 1.4 §4.9, 2.1
// §6.1.32). It shows what the policy lets the caller see and nothing else, not
// even in its count.
func (e *Engine) Locate(ctx context.Context, c *core.Caller, in *core.LocateInput) (core.LocateOutput, error) {
	return run(e, ctx, c, core.OperationLocate, in, (*call).locate)
}

func (k *call) locate(in *core.LocateInput) (out core.LocateOutput, err error) {
	d, err := k.decide(k.op, nil)
	if err != nil {
		return out, err
	}
	if in.OffsetItems < 0 {
		return out, core.Errorf(core.InvalidField, "Offset Items is negative")
	}
	s := search{call: k, in: in, skip: int(in.OffsetItems), limit: maxLocated, filter: core.Filter{Now: k.now, Attributes: in.Attributes,
		Owner: k.caller.Principal.ID, Groups: k.caller.Principal.Groups, Everyone: d.Scope == "tenant"}}
	if in.MaximumItems >= 0 {
		s.limit = min(s.limit, int(in.MaximumItems))
	}
	if s.limit > 0 {
		if err := s.run(); err != nil {
			return out, err
		}
	}
	k.record.Detail = located(len(s.ids))
	return core.LocateOutput{Located: s.count(), IDs: s.ids}, nil
}

func located(n int) string {
	if n == 1 {
		return "1 object"
	}
	return itoa(n) + " objects"
}

// search walks the candidates of one Locate.
type search struct {
	*call
	in          *core.LocateInput
	filter      core.Filter
	skip, limit int
	ids         []string
	exhausted   bool
}

func (s *search) run() error {
	for after, seen := int64(0), 0; ; seen += locatePage {
		if seen >= maxCandidates {
			return core.Errorf(core.GeneralFailure, "the search looked at %d objects without an end; name a more selective attribute", seen)
		}
		var err error
		if after, err = s.page(after); err != nil || after == 0 {
			return err
		}
	}
}

// page looks at one page of candidates and returns where the next one begins,
// or 0. Those who search take turns at having a page in memory.
func (s *search) page(after int64) (int64, error) {
	select {
	case s.pages <- struct{}{}:
		defer func() { <-s.pages }()
	case <-s.ctx.Done():
		return 0, core.Wrap(core.Busy, s.ctx.Err(), "other searches are under way, and the request ended before its turn")
	}
	page, err := s.Store.Candidates(s.ctx, s.caller.Principal.Tenant, s.filter, after, locatePage)
	if err != nil {
		return 0, err
	}
	for _, o := range page {
		if s.take(o); len(s.ids) >= s.limit {
			return 0, nil
		}
	}
	if len(page) < locatePage {
		s.exhausted = true
		return 0, nil
	}
	return page[len(page)-1].Seq, nil
}

// take adds o to the answer if it matches and may be seen.
func (s *search) take(o *core.ManagedObject) {
	if !s.online(o) || !s.fresh(o) || !s.filter.Matches(o) || !s.visible(o) || (s.in.Attributes.Has(core.TagDigest) && !s.mayKnowDigest(o)) {
		return
	}
	if s.skip > 0 {
		s.skip--
		return
	}
	s.ids = append(s.ids, o.ID)
}

// online applies the Storage Status Mask; without one, what is destroyed is
// not found unless its State is asked for (KMIP 2.1 §6.1.32, §11.53).
func (s *search) online(o *core.ManagedObject) bool {
	gone := o.Attributes.Has(core.TagState) && o.StateAt(s.now).Gone()
	if m := core.StorageStatusMask(s.in.StorageStatus); m != 0 {
		return (gone && m&core.StorageStatusMaskDestroyedStorage != 0) || (!gone && m&core.StorageStatusMaskOnLineStorage != 0)
	}
	return !gone || s.in.Attributes.Has(core.TagState)
}

func (s *search) fresh(o *core.ManagedObject) bool {
	return s.in.GroupMember != core.ObjectGroupMemberGroupMemberFresh || o.Attributes.Bool(core.TagFresh)
}

// visible asks the policy for each match. Its reasons are those of the Locate
// itself, so they are not repeated in the record.
func (s *search) visible(o *core.ManagedObject) bool {
	r := core.AccessRequest{Operation: core.OperationLocate, Principal: s.caller.Principal, Object: o, State: o.StateAt(s.now),
		Door: s.caller.Door, Address: s.caller.Address, Now: s.now}
	d, err := s.Policy.Decide(s.ctx, &r)
	return err == nil && d.Allow
}

// count is the number of all matches where it is known without looking further.
func (s *search) count() int32 {
	if !s.exhausted {
		return -1
	}
	return int32(len(s.ids)) + s.in.OffsetItems - int32(s.skip)
}
