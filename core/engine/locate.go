package engine

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// Bounds of Locate: candidates read at once, identifiers in one answer, and
// candidates looked at for one question; and for how many more, when the answer
// is complete, the matches are counted that Located Items tells.
const (
	locatePage    = 200 // of up to maxAttributeBytes each, which take twice as much when they are read
	maxLocated    = 100_000
	maxCandidates = 1_000_000
	maxCounted    = 10_000
	maxPages      = 8   // pages in memory at once: each can be maxAttributeBytes times locatePage
	maxSearches   = 256 // searches of one tenant that wait for their next page
)

// Memory is asked for as an answer grows, for so many identifiers at a time.
const (
	roomStep     = 512
	locatedBytes = 64
)

// defaultSearchTime is how long one Locate may take where no setting says so.
const defaultSearchTime = 10 * time.Second

// newPages shares the pages of all searches among tenants; one gets half of them. A
// long search waits for its turn again for each page.
func newPages() *fair.Slots {
	return fair.New(fair.Config{Name: "places for searches", Slots: maxPages, PerTenant: maxPages / 2, PerPrincipal: maxPages/2 - 1, Waiting: maxSearches})
}

// Locate finds objects by their attributes, newest first, members of an Object
// Group oldest first (KMIP 1.4 §4.9, 2.1 §6.1.28). It shows what the policy lets
// the caller see and nothing else, not even in its count.
func (e *Engine) Locate(ctx context.Context, c *core.Caller, in *core.LocateInput) (core.LocateOutput, error) {
	return run(e, ctx, c, core.ActionLocate, in, (*call).locate)
}

func (k *call) locate(in *core.LocateInput) (out core.LocateOutput, err error) {
	d, err := k.decide(k.action, nil)
	if err != nil {
		return out, err
	}
	if err := checkFilter(in); err != nil {
		return out, err
	}
	s := search{call: k, in: in, skip: int(in.OffsetItems), limit: maxLocated, filter: core.Filter{Now: k.now, Attributes: in.Attributes,
		Owner: k.caller.Principal.ID, Groups: k.caller.Principal.Groups, Everyone: d.Scope == "tenant", OldestFirst: in.GroupMember != 0}}
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
	call        *call
	in          *core.LocateInput
	filter      core.Filter
	skip, limit int
	matched     int
	counted     int // looked at since the answer was complete
	ids         []string
	chosen      *core.ManagedObject // of Group Member Default, so far
	exhausted   bool
}

func (s *search) run() error {
	whole := s.call.ctx
	ctx, cancel := context.WithTimeout(whole, s.call.settings.SearchTime)
	defer cancel()
	s.call.ctx = ctx // the verb's call has it back when the search ends
	defer func() { s.call.ctx = whole }()
	err := s.pagesInTurn()
	if err != nil && ctx.Err() != nil && whole.Err() == nil {
		return core.Wrap(core.Busy, err, "the search did not end within %v; name a more selective attribute, or ask for fewer items", s.call.settings.SearchTime)
	}
	return err
}

func (s *search) pagesInTurn() error {
	for beyond, seen := int64(0), 0; ; seen += locatePage {
		if seen >= maxCandidates {
			return core.Errorf(core.GeneralFailure, "the search looked at %d objects without an end; name a more selective attribute", seen)
		}
		var err error
		if beyond, err = s.page(beyond); err != nil || beyond == 0 {
			return err
		}
	}
}

// page looks at one page of candidates and returns where the next one begins,
// or 0. Those who search take turns at having a page in memory.
func (s *search) page(beyond int64) (int64, error) {
	if err := fair.TurnOf(s.call.ctx).Yield(s.call.ctx); err != nil {
		return 0, err
	}
	place, err := s.call.engine.pages.Acquire(s.call.ctx)
	if err != nil {
		return 0, err
	}
	defer place.Release()
	page, err := s.call.ports.Store.Candidates(s.call.ctx, s.call.caller.Principal.Tenant, s.filter, beyond, locatePage)
	if err != nil {
		return 0, err
	}
	for _, o := range page {
		if err := s.call.ctx.Err(); err != nil {
			return 0, core.Wrap(core.Busy, err, "the request ended before the search did")
		}
		if err := s.consider(o); err != nil {
			return 0, err
		}
		if s.settled() {
			s.end()
			return 0, nil
		}
		if s.full() {
			return 0, nil
		}
	}
	if len(page) < locatePage {
		s.end()
		return 0, nil
	}
	return page[len(page)-1].Seq, nil
}

// full reports whether the answer is complete, and its matches need not be
// counted, or have been for long enough.
func (s *search) full() bool {
	if len(s.ids) < s.limit {
		return false
	}
	s.counted++
	return s.skip == 0 || s.counted > maxCounted
}

// consider looks whether o matches and may be seen. A policy that cannot decide
// ends the search: a client that is told that there is no such object makes another.
func (s *search) consider(o *core.ManagedObject) error {
	if !s.online(o) || !s.member(o) || !s.filter.Matches(o) {
		return nil
	}
	seen, err := s.visible(o)
	if err == nil && seen && s.in.Attributes.Has(core.TagDigest) {
		seen, err = s.call.mayKnowDigest(o)
	}
	switch {
	case err != nil || !seen:
		return err
	case s.in.GroupMember == core.ObjectGroupMemberGroupMemberDefault:
		s.choose(o)
		return nil
	}
	had := len(s.ids)
	s.take(o)
	if n := len(s.ids); n > had && n%roomStep == 0 {
		return s.call.room(roomStep * locatedBytes)
	}
	return nil
}

// take counts a match and adds it to the answer, unless it is skipped or too many.
func (s *search) take(o *core.ManagedObject) {
	if s.matched++; s.matched > s.skip && len(s.ids) < s.limit {
		s.ids = append(s.ids, o.ID)
	}
}

// choose is our policy for the default member of an Object Group, which the
// standard leaves to the server (KMIP 1.2 §4.9): the oldest that nobody has got
// yet, or the oldest when all have been handed out.
func (s *search) choose(o *core.ManagedObject) {
	if s.chosen == nil || o.Attributes.Bool(core.TagFresh) {
		s.chosen = o
	}
}

// settled reports whether the default member is found.
func (s *search) settled() bool { return s.chosen != nil && s.chosen.Attributes.Bool(core.TagFresh) }

// end is when all candidates have been looked at.
func (s *search) end() {
	s.exhausted = true
	if s.chosen != nil {
		s.take(s.chosen)
	}
}

// online applies the Storage Status Mask; without one, what is destroyed is
// not found unless its State is asked for (KMIP 2.1 §6.1.28, §12.3).
func (s *search) online(o *core.ManagedObject) bool {
	gone := o.Attributes.Has(core.TagState) && o.StateAt(s.call.now).Gone()
	if m := core.StorageStatusMask(s.in.StorageStatus); m != 0 {
		return (gone && m&core.StorageStatusMaskDestroyedStorage != 0) || (!gone && m&core.StorageStatusMaskOnLineStorage != 0)
	}
	return !gone || s.in.Attributes.Has(core.TagState)
}

// member applies the Object Group Member: a fresh one is as it was made, and a
// default one may still be used.
func (s *search) member(o *core.ManagedObject) bool {
	switch s.in.GroupMember {
	case core.ObjectGroupMemberGroupMemberFresh:
		return o.Attributes.Bool(core.TagFresh)
	case core.ObjectGroupMemberGroupMemberDefault:
		now := o.StateAt(s.call.now)
		return now == core.PreActive || now == core.Active
	}
	return true
}

// visible asks the policy for each match. Its reasons are those of the Locate
// itself, so they are not repeated in the record.
func (s *search) visible(o *core.ManagedObject) (bool, error) {
	return s.call.permits(core.ActionLocate, o)
}

// permits asks the policy beside the operation's own decision, whose reasons alone
// are recorded. An error means that the policy did not decide.
func (k *call) permits(action core.Action, o *core.ManagedObject) (bool, error) {
	d, err := k.ports.Policy.Decide(k.ctx, &core.AccessRequest{Action: action, Principal: k.caller.Principal, Object: o, State: o.StateAt(k.now),
		Door: k.caller.Door, Address: k.record.Address, Now: k.now})
	if err != nil {
		return false, undecided(err)
	}
	return d.Allow, nil
}

// count is the number of all matches where it is known.
func (s *search) count() int32 {
	if !s.exhausted {
		return -1
	}
	return int32(s.matched)
}
