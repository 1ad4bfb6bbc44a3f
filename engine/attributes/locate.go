package attributes

import (
	"context"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Bounds of Locate: identifiers in one answer, and
// candidates looked at for one question; and for how many more, when the answer
// is complete, the matches are counted that Located Items tells.
const (
	maxLocated    = 100_000
	maxCandidates = 1_000_000
	maxCounted    = 10_000
	maxPages      = 8   // pages in memory at once: each can be a whole object's attributes times core.CandidatePage
	maxSearches   = 256 // searches of one tenant that wait for their next page
)

// Memory is asked for as an answer grows, for so many identifiers at a time.
const (
	roomStep     = 512
	locatedBytes = 64
)

// newPages shares the pages of all searches among tenants; one gets half of them. A
// long search waits for its turn again for each page.
func newPages() *fair.Slots {
	return fair.New(fair.Config{Name: "places for searches", Slots: maxPages, PerTenant: maxPages / 2, PerPrincipal: maxPages/2 - 1, Waiting: maxSearches})
}

// Locate finds objects by their attributes, newest first, members of an Object
// Group oldest first (KMIP 1.4 §4.9, 2.1 §6.1.28). It shows what the policy lets
// the caller see and nothing else, not even in its count.
func (v *Verbs) Locate(ctx context.Context, c *core.Caller, in *core.LocateInput) (core.LocateOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionLocate, in, v.locate)
}

func (v *Verbs) locate(k *engine.Call, in *core.LocateInput) (out core.LocateOutput, err error) {
	d, err := k.Decide(k.Action, nil)
	if err != nil {
		return out, err
	}
	if err := rules.CheckLocate(in); err != nil {
		return out, err
	}
	s := search{call: k, pages: v.pages, in: in, skip: int(in.OffsetItems), limit: maxLocated, filter: core.Filter{Now: k.Now, Attributes: in.Attributes,
		Owner: k.Caller.Principal.ID, Groups: k.Caller.Principal.Groups, WholeTenant: d.Scope == "tenant", OldestFirst: in.GroupMember != 0}}
	if in.MaximumItems >= 0 {
		s.limit = min(s.limit, int(in.MaximumItems))
	}
	if s.limit > 0 {
		if err := s.runWithin(); err != nil {
			return out, err
		}
	}
	k.Record.Detail = countOfObjects(len(s.ids))
	return core.LocateOutput{Located: s.countLocated(), IDs: s.ids}, nil
}

func countOfObjects(n int) string {
	if n == 1 {
		return "1 object"
	}
	return strconv.Itoa(n) + " objects"
}

// search walks the candidates of one Locate.
type search struct {
	call        *engine.Call
	pages       *fair.Slots
	in          *core.LocateInput
	filter      core.Filter
	skip, limit int
	matched     int
	counted     int // looked at since the answer was complete
	ids         []string
	chosen      *core.ManagedObject // of Group Member Default, so far
	exhausted   bool
}

func (s *search) runWithin() error {
	whole := s.call.Ctx
	ctx, cancel := context.WithTimeout(whole, s.call.Settings.SearchTime)
	defer cancel()
	s.call.Ctx = ctx // the verb's call has it back when the search ends
	defer func() { s.call.Ctx = whole }()
	err := s.pagesInTurn()
	if err != nil && ctx.Err() != nil && whole.Err() == nil {
		return core.Wrap(core.Busy, err, "the search did not end within %v; name a more selective attribute, or ask for fewer items", s.call.Settings.SearchTime)
	}
	return err
}

func (s *search) pagesInTurn() error {
	for beyond, seen := int64(0), 0; ; seen += core.CandidatePage {
		if seen >= maxCandidates {
			return core.Errorf(core.GeneralFailure, "the search looked at %d objects without an end; name a more selective attribute", seen)
		}
		var err error
		if beyond, err = s.readPage(beyond); err != nil || beyond == 0 {
			return err
		}
	}
}

// readPage looks at one page of candidates and returns where the next one begins,
// or 0. Those who search take turns at having a page in memory.
func (s *search) readPage(beyond int64) (int64, error) {
	if err := fair.TurnOf(s.call.Ctx).Yield(s.call.Ctx); err != nil {
		return 0, err
	}
	place, err := s.pages.Acquire(s.call.Ctx)
	if err != nil {
		return 0, err
	}
	defer place.Release()
	page, err := s.call.Ports.Store.Candidates(s.call.Ctx, s.call.Caller.Principal.Tenant, s.filter, beyond, core.CandidatePage)
	if err != nil {
		return 0, err
	}
	for _, o := range page {
		if err := s.call.Ctx.Err(); err != nil {
			return 0, core.Wrap(core.Busy, err, "the request ended before the search did")
		}
		if err := s.considerCandidate(o); err != nil {
			return 0, err
		}
		if s.isSettled() {
			s.endSearch()
			return 0, nil
		}
		if s.isFull() {
			return 0, nil
		}
	}
	if len(page) < core.CandidatePage {
		s.endSearch()
		return 0, nil
	}
	return page[len(page)-1].Seq, nil
}

// isFull reports whether the answer is complete, and its matches need not be
// counted, or have been for long enough.
func (s *search) isFull() bool {
	if len(s.ids) < s.limit {
		return false
	}
	s.counted++
	return s.skip == 0 || s.counted > maxCounted
}

// considerCandidate looks whether o matches and may be seen. A policy that cannot decide
// ends the search: a client that is told that there is no such object makes another.
func (s *search) considerCandidate(o *core.ManagedObject) error {
	if !s.isStored(o) || !s.isMember(o) || !s.filter.Matches(o) {
		return nil
	}
	seen, err := s.isVisible(o)
	if err == nil && seen && s.in.Attributes.Has(core.TagDigest) {
		seen, err = s.call.MayKnowDigest(o)
	}
	switch {
	case err != nil || !seen:
		return err
	case s.in.GroupMember == core.ObjectGroupMemberGroupMemberDefault:
		s.chooseDefault(o)
		return nil
	}
	had := len(s.ids)
	s.takeMatch(o)
	if n := len(s.ids); n > had && n%roomStep == 0 {
		return s.call.ReserveMemory(roomStep * locatedBytes)
	}
	return nil
}

// takeMatch counts a match and adds it to the answer, unless it is skipped or too many.
func (s *search) takeMatch(o *core.ManagedObject) {
	if s.matched++; s.matched > s.skip && len(s.ids) < s.limit {
		s.ids = append(s.ids, o.ID)
	}
}

// chooseDefault is our policy for the default member of an Object Group, which the
// standard leaves to the server (KMIP 1.2 §4.9): the oldest that nobody has got
// yet, or the oldest when all have been handed out.
func (s *search) chooseDefault(o *core.ManagedObject) {
	if s.chosen == nil || o.Attributes.Bool(core.TagFresh) {
		s.chosen = o
	}
}

// isSettled reports whether the default member is found.
func (s *search) isSettled() bool { return s.chosen != nil && s.chosen.Attributes.Bool(core.TagFresh) }

// endSearch is when all candidates have been looked at.
func (s *search) endSearch() {
	s.exhausted = true
	if s.chosen != nil {
		s.takeMatch(s.chosen)
	}
}

// isStored applies the Storage Status Mask; without one, what is destroyed is
// not found unless its State is asked for (KMIP 2.1 §6.1.28, §12.3).
func (s *search) isStored(o *core.ManagedObject) bool {
	gone := o.Attributes.Has(core.TagState) && o.StateAt(s.call.Now).Gone()
	if m := core.StorageStatusMask(s.in.StorageStatus); m != 0 {
		return (gone && m&core.StorageStatusMaskDestroyedStorage != 0) || (!gone && m&core.StorageStatusMaskOnLineStorage != 0)
	}
	return !gone || s.in.Attributes.Has(core.TagState)
}

// isMember applies the Object Group Member: a fresh one is as it was made, and a
// default one may still be used.
func (s *search) isMember(o *core.ManagedObject) bool {
	switch s.in.GroupMember {
	case core.ObjectGroupMemberGroupMemberFresh:
		return o.Attributes.Bool(core.TagFresh)
	case core.ObjectGroupMemberGroupMemberDefault:
		now := o.StateAt(s.call.Now)
		return now == core.PreActive || now == core.Active
	}
	return true
}

// isVisible asks the policy for each match. Its reasons are those of the Locate
// itself, so they are not repeated in the record.
func (s *search) isVisible(o *core.ManagedObject) (bool, error) {
	return s.call.Permits(core.ActionLocate, o)
}

// countLocated is the number of all matches where it is known.
func (s *search) countLocated() int32 {
	if !s.exhausted {
		return -1
	}
	return int32(s.matched)
}
