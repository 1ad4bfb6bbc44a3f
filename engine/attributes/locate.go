package attributes

import (
	"context"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Bounds of Locate.
const (
	maxLocated    = 100_000   // identifiers in one answer
	maxCandidates = 1_000_000 // objects that one search looks at
	maxCounted    = 10_000    // objects looked at only to count Located Items, after the answer is complete
	maxPages      = 8         // pages in memory at once, each of core.CandidatePage objects with all attributes
	maxSearches   = 256       // searches of one tenant that wait for their next page
)

// Memory is reserved as an answer grows, for memoryStep identifiers at a time.
const (
	memoryStep   = 512
	locatedBytes = 64 // of one identifier
)

// newPages returns the slots for pages of all searches. One tenant gets at most half of
// them. A long search waits for its turn again for each page.
func newPages() *fair.Slots {
	return fair.New(fair.Config{Name: "places for searches", Slots: maxPages, PerTenant: maxPages / 2, PerPrincipal: maxPages/2 - 1, Waiting: maxSearches})
}

// Locate finds objects by their attributes (KMIP 1.4 §4.9, 2.1 §6.1.28), newest first,
// or oldest first if an Object Group Member is asked for. Objects that the policy hides
// from the caller are neither returned nor counted. A search that takes longer than
// Settings.SearchTime fails with Busy.
func (v *Verbs) Locate(ctx context.Context, c *core.Caller, in *operation.LocateInput) (operation.LocateOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionLocate, in, v.locate)
}

func (v *Verbs) locate(k *engine.Call, in *operation.LocateInput) (out operation.LocateOutput, err error) {
	d, err := k.Decide(k.Action, nil)
	if err != nil {
		return out, err
	}
	if err := rules.CheckLocate(in.OffsetItems, in.StorageStatus, in.GroupMember, in.Attributes); err != nil {
		return out, err
	}
	s := search{call: k, pages: v.pages, in: in, skip: int(in.OffsetItems), limit: maxLocated, filter: core.Filter{Now: k.Now, Attributes: in.Attributes,
		Owner: k.Caller.Principal.ID, Groups: k.Caller.Principal.Groups, WholeTenant: d.Scope == "tenant", OldestFirst: in.GroupMember != 0}}
	if in.MaximumItems >= 0 {
		s.limit = min(s.limit, int(in.MaximumItems))
	}
	if in.After != "" {
		if s.beyond, err = placeOf(k, in.After); err != nil {
			return out, err
		}
	}
	if s.limit > 0 {
		if err := s.runWithin(); err != nil {
			return out, err
		}
	}
	k.Record.Detail = countOfObjects(len(s.ids))
	out = operation.LocateOutput{Located: s.countLocated(), IDs: s.ids}
	out.Shown, err = s.showFound()
	return out, err
}

// placeOf returns the place of the last object of a page. An object that the caller may not
// locate is answered like one that does not exist.
func placeOf(k *engine.Call, id string) (int64, error) {
	o, err := k.LoadObject(id)
	seen := err == nil
	if seen {
		seen, err = k.Permits(core.ActionLocate, o, core.Asked{})
	}
	if err != nil && core.CodeOf(err) != core.ItemNotFound {
		return 0, err
	}
	if !seen {
		return 0, core.Errorf(core.InvalidField, "the list cannot go on here: its last object is not there any more; begin again")
	}
	return o.Seq, nil
}

// showFound lists what the caller may know about the objects that were found.
func (s *search) showFound() ([]operation.LocatedObject, error) {
	if !s.in.Show {
		return nil, nil
	}
	out := make([]operation.LocatedObject, len(s.found))
	for i, o := range s.found {
		out[i].ID = o.ID
		may, err := s.call.Permits(core.ActionGetAttributes, o, core.Asked{})
		if err != nil {
			return nil, err
		}
		if !may {
			continue
		}
		if err := s.call.ReserveMemory(engine.AnswerBytes(o)); err != nil {
			return nil, err
		}
		if out[i].Attributes, err = s.call.ShownAttributes(o); err != nil {
			return nil, err
		}
		out[i].Owner, out[i].Group = o.Owner, o.Group
	}
	return out, nil
}

// countOfObjects writes a number of objects for the record.
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
	in          *operation.LocateInput
	filter      core.Filter
	skip, limit int
	matched     int
	counted     int // objects looked at since the answer was complete
	ids         []string
	found       []*core.ManagedObject // of ids, if they are to be shown
	beyond      int64                 // Seq after which the search begins
	chosen      *core.ManagedObject   // the default member of the group, so far
	exhausted   bool
}

// runWithin runs the search within the time that settings allow.
func (s *search) runWithin() error {
	outer := s.call.Ctx
	ctx, cancel := context.WithTimeout(outer, s.call.Settings.SearchTime)
	defer cancel()
	s.call.Ctx = ctx // until the search ends
	defer func() { s.call.Ctx = outer }()
	err := s.pagesInTurn()
	if err != nil && ctx.Err() != nil && outer.Err() == nil {
		return core.Wrap(core.Busy, err, "the search did not end within %v; name a more selective attribute, or ask for fewer items", s.call.Settings.SearchTime)
	}
	return err
}

// pagesInTurn reads pages until the search ends.
func (s *search) pagesInTurn() error {
	for beyond, seen := s.beyond, 0; ; seen += core.CandidatePage {
		if seen >= maxCandidates {
			return core.Errorf(core.GeneralFailure, "the search looked at %d objects without an end; name a more selective attribute", seen)
		}
		var err error
		if beyond, err = s.readPage(beyond); err != nil || beyond == 0 {
			return err
		}
	}
}

// readPage looks at one page of candidates and returns where the next page begins, or 0
// if the search has ended. Searches take turns in having a page in memory.
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

// isFull reports whether the answer is complete and no more matches must be counted.
func (s *search) isFull() bool {
	if len(s.ids) < s.limit {
		return false
	}
	s.counted++
	return s.skip == 0 || s.counted > maxCounted
}

// considerCandidate takes o if it matches and the caller may see it. If the policy cannot
// decide, the search fails: if it answered that there is no such object, the client
// would make another.
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
	if n := len(s.ids); n > had && n%memoryStep == 0 {
		return s.call.ReserveMemory(memoryStep * locatedBytes)
	}
	return nil
}

// takeMatch counts a match and adds it to the answer, unless it is skipped or too many.
func (s *search) takeMatch(o *core.ManagedObject) {
	if s.matched++; s.matched > s.skip && len(s.ids) < s.limit {
		s.ids = append(s.ids, o.ID)
		if s.in.Show {
			s.found = append(s.found, o)
		}
	}
}

// chooseDefault chooses the default member of an Object Group, which the standard leaves
// to the server (KMIP 1.2 §4.9): the oldest object that no client has got yet, or the
// oldest object if clients have got all.
func (s *search) chooseDefault(o *core.ManagedObject) {
	if s.chosen == nil || o.Attributes.Bool(core.TagFresh) {
		s.chosen = o
	}
}

// isSettled reports whether the default member is found.
func (s *search) isSettled() bool { return s.chosen != nil && s.chosen.Attributes.Bool(core.TagFresh) }

// endSearch is called when all candidates have been looked at. It takes the default
// member.
func (s *search) endSearch() {
	s.exhausted = true
	if s.chosen != nil {
		s.takeMatch(s.chosen)
	}
}

// isStored applies the Storage Status Mask. Without one, an archived object is not found,
// and a destroyed one only if the request has a State (KMIP 2.1 §6.1.28, §12.3).
func (s *search) isStored(o *core.ManagedObject) bool {
	status := core.StorageStatusMaskOnLineStorage
	switch {
	case o.Attributes.Has(core.TagState) && o.StateAt(s.call.Now).Gone():
		status = core.StorageStatusMaskDestroyedStorage
	case o.Archived():
		status = core.StorageStatusMaskArchivalStorage
	}
	sought := core.StorageStatusMask(s.in.StorageStatus)
	if sought == 0 {
		sought = core.StorageStatusMaskOnLineStorage
		if s.in.Attributes.Has(core.TagState) {
			sought |= core.StorageStatusMaskDestroyedStorage
		}
	}
	return sought&status != 0
}

// isMember applies the Object Group Member: a fresh member is one that no client has got,
// and a default member is Pre-Active or Active.
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

// isVisible asks the policy whether the caller may see a match. The reasons are those of
// the Locate itself, so they are not recorded again.
func (s *search) isVisible(o *core.ManagedObject) (bool, error) {
	return s.call.Permits(core.ActionLocate, o, core.Asked{})
}

// countLocated returns the number of all matches, or -1 if it is not known.
func (s *search) countLocated() int32 {
	if !s.exhausted {
		return -1
	}
	return int32(s.matched)
}
