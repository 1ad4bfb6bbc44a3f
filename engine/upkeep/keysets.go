package upkeep

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// KeySetStatus describes a key set in the token, or one that a row names and the token
// lacks.
type KeySetStatus struct {
	Label  string `json:"label"` // what the labels of its keys begin with
	State  string `json:"state"`
	Tenant string `json:"tenant,omitempty"`
	Epoch  int    `json:"epoch,omitempty"`
	Keys   int    `json:"keys"` // objects in the token
	Note   string `json:"note,omitempty"`
}

// The states of a KeySetStatus.
const (
	setSystem     = "system"               // it seals the rows of the installation
	setActive     = "in use"               // its tenant uses it
	setRetired    = "retired"              // its tenant has a newer one
	setHalfGone   = "half destroyed"       // its row says that it was destroyed
	setUnfinished = "unfinished"           // it was not completed
	setNoRow      = "no row"               // no row of the database names it
	setMissing    = "missing"              // a row names it, and the token has none of its keys
	setTampered   = "tampered"             // its row was changed behind the server
	setForeign    = "another installation" // this database knows nothing about it
)

// KeySets lists the key sets in the token with the rows that name them, and changes
// nothing. It reads the token before the rows, because the row of a set is stored before
// its keys are made.
func (v *Verbs) KeySets(ctx context.Context) ([]KeySetStatus, error) {
	have, err := v.engine.Ports.HSM.KeySets(ctx)
	if err != nil {
		return nil, err
	}
	rows, tampered := v.engine.Ports.Store.KeySets(ctx, "")
	if tampered != nil && core.CodeOf(tampered) != core.Tampered {
		return nil, tampered
	}
	byNumber := make(map[int64]core.KeySet, len(rows))
	for _, r := range rows {
		byNumber[r.Number] = r
	}
	out := make([]KeySetStatus, 0, len(have))
	for _, s := range have {
		row, named := byNumber[s.Number]
		if s.Own {
			delete(byNumber, s.Number)
		}
		seen := describeSet(s, row, named && s.Own)
		if tampered != nil && seen.State == setNoRow {
			seen.Note = "its row may be one that was changed behind the server"
		}
		out = append(out, seen)
	}
	if tampered != nil {
		for text := range strings.Lines(tampered.Error()) {
			out = append(out, KeySetStatus{Label: "row of the table tenant_key", State: setTampered, Note: strings.TrimSpace(text)})
		}
	}
	for _, row := range byNumber {
		if row.State == core.KeySetDestroyed {
			continue
		}
		out = append(out, KeySetStatus{Label: fmt.Sprint("set ", row.Number), State: setMissing, Tenant: row.Tenant, Epoch: row.Epoch, Note: "a row names it as " + string(row.State) + ", and the token has none of its keys"})
	}
	slices.SortFunc(out, func(a, b KeySetStatus) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Label, b.Label))
	})
	return out, nil
}

// describeSet returns the status of a set in the token. named is true if row names it.
func describeSet(s core.TokenKeySet, row core.KeySet, named bool) KeySetStatus {
	out := KeySetStatus{Label: s.Label, State: setNoRow, Note: "left by a creation that was not completed, or its database was restored to before it"}
	switch {
	case !s.Own:
		out.State, out.Note = setForeign, "left by an init that was not completed, or the keys of another database: look before you do anything about it"
	case s.Number == 0:
		out.State, out.Note = setSystem, ""
	case named:
		out.State, out.Tenant, out.Epoch, out.Note = map[core.KeySetState]string{core.KeySetActive: setActive, core.KeySetRetired: setRetired, core.KeySetPending: setUnfinished, core.KeySetDestroyed: setHalfGone}[row.State], row.Tenant, row.Epoch, ""
	}
	var lacks, more []string
	for _, p := range core.KeyPurposes {
		n := s.Objects[p]
		out.Keys += n
		if n == 0 {
			lacks = append(lacks, p)
		} else if n > 1 {
			more = append(more, p)
		}
	}
	for what, purposes := range map[string][]string{"lacks the keys ": lacks, "has more than one object for ": more} {
		if len(purposes) > 0 {
			out.Note = strings.TrimPrefix(out.Note+"; "+what+strings.Join(purposes, ", "), "; ")
		}
	}
	return out
}
