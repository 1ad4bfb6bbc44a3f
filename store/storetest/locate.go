package storetest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// locatable is one of the objects that locate looks for.
func locatable(i int) *core.ManagedObject {
	o := Object("loc", fmt.Sprintf("o%02d", i))
	o.Owner = []string{"alice", "bob"}[i%2]
	o.Group = []string{"g", "h", ""}[i%3]
	o.Attributes = o.Attributes.Add(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text(o.Owner)}).
		Add(core.Attribute{Vendor: "x", Name: "Third", Value: core.Int(int32(i % 3))})
	return o
}

func locate(t *testing.T, s core.Store) {
	for i := range 20 {
		insert(t, s, locatable(i))
	}
	by := func(as ...core.Attribute) core.Attributes { return as }
	for what, c := range map[string]struct {
		f    core.Filter
		want int
	}{
		"everything":     {core.Filter{WholeTenant: true}, 20},
		"a name":         {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Tag: core.TagName, Value: core.PlainName("first").Value()})}, 20},
		"no such name":   {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Tag: core.TagName, Value: core.PlainName("none").Value()})}, 0},
		"an x text":      {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text("bob")})}, 10},
		"an x number":    {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Third", Value: core.Int(0)})}, 7},
		"two of them":    {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text("bob")}, core.Attribute{Vendor: "x", Name: "Third", Value: core.Int(1)})}, 4},
		"an algorithm":   {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmDES3)})}, 0},
		"an identifier":  {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Tag: core.TagUniqueIdentifier, Value: core.Text("o07")})}, 1},
		"bob's":          {core.Filter{Owner: "bob"}, 10},
		"bob's or h's":   {core.Filter{Owner: "bob", Groups: []string{"h"}}, 13},
		"nobody's":       {core.Filter{Owner: "carol", Groups: []string{"z"}}, 0},
		"quotes in text": {core.Filter{WholeTenant: true, Attributes: by(core.Attribute{Vendor: "x", Name: "Parity", Value: core.Text("bob' OR '1'='1")})}, 0},
	} {
		found, err := s.Candidates(ctx, "loc", c.f, 0, 100)
		mustSucceed(t, err)
		c.f.OldestFirst = true
		oldest, err := s.Candidates(ctx, "loc", c.f, 0, 100)
		mustSucceed(t, err)
		slices.Reverse(oldest)
		if !slices.EqualFunc(found, oldest, func(a, b *core.ManagedObject) bool { return a.ID == b.ID }) {
			t.Errorf("%s: oldest first is not the reverse of newest first", what)
		}
		n := 0
		for i, o := range found {
			if want := (core.Material{Class: core.ClassX}); !reflect.DeepEqual(o.Material, want) {
				t.Errorf("%s: the material of a candidate is %+v, want its class alone", what, o.Material)
			}
			if c.f.Matches(o) {
				n++
			}
			if i > 0 && o.Seq >= found[i-1].Seq {
				t.Errorf("%s: not the newest first", what)
			}
		}
		if n != c.want {
			t.Errorf("%s: %d of %d candidates match, want %d", what, n, len(found), c.want)
		}
	}
}

func paging(t *testing.T, s core.Store) {
	for i := range 25 {
		insert(t, s, Object("page", fmt.Sprintf("p%02d", i)))
	}
	for _, f := range []core.Filter{{WholeTenant: true}, {WholeTenant: true, OldestFirst: true}, {Owner: "alice"}, {Owner: "alice", OldestFirst: true}} {
		var ids []string
		for beyond := int64(0); ; {
			page, err := s.Candidates(ctx, "page", f, beyond, 10)
			mustSucceed(t, err)
			for _, o := range page {
				ids = append(ids, o.ID)
				beyond = o.Seq
			}
			if len(page) < 10 {
				break
			}
		}
		if !f.OldestFirst {
			slices.Reverse(ids)
		}
		for i, id := range ids {
			if id != fmt.Sprintf("p%02d", i) {
				t.Fatalf("page by page, %+v: %v", f, ids)
			}
		}
		if len(ids) != 25 {
			t.Errorf("%d objects in pages, want 25", len(ids))
		}
	}
}

// Each object that matches a filter is among its candidates. The test tries random
// filters, made of attributes of the objects, with pages of random length.
func superset(t *testing.T, s core.Store) {
	r := rand.New(rand.NewPCG(1, 2))
	var all []*core.ManagedObject
	for i := range 150 {
		o := &core.ManagedObject{Tenant: "superset", ID: fmt.Sprintf("s%03d", i), Type: core.ObjectType(1 + r.IntN(3)), Owner: fmt.Sprint("o", r.IntN(3)), Group: []string{"", "g", "h"}[r.IntN(3)], Version: 1}
		for range r.IntN(9) + 1 {
			if a := randomAttribute(r); a.Tag == 0 || a.Tag == core.TagName || !o.Attributes.Has(a.Tag) {
				o.Attributes = o.Attributes.Add(a)
			}
		}
		o.Attributes = o.Attributes.Set(core.TagUniqueIdentifier, core.Text(o.ID)).Set(core.TagObjectType, core.Enum(o.Type))
		all = append(all, o)
	}
	insert(t, s, all...)
	for i := 0; i < len(all); i += 3 { // changed rows must be found by what they are now
		next := *all[i]
		next.Version = 2
		a := randomAttribute(r)
		next.Attributes = next.Attributes.Without(core.AttributeName{Vendor: "x", Name: "Site"}).Without(a.Ref()).Set(core.TagState, core.Enum(core.State(1+r.IntN(6))))
		if a.Tag != core.TagState {
			next.Attributes = next.Attributes.Add(a)
		}
		mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})))
		all[i] = &next
	}
	matched := 0
	for range 600 {
		f := core.Filter{Now: int64(r.IntN(12)), Owner: fmt.Sprint("o", r.IntN(4)), Groups: []string{"g", ""}[:r.IntN(3)], WholeTenant: r.IntN(2) == 0}
		for range r.IntN(4) {
			f.Attributes = append(f.Attributes, randomAttribute(r))
		}
		if r.IntN(8) == 0 {
			f.Attributes = append(f.Attributes, all[r.IntN(len(all))].Attributes[0])
		}
		got := idsOf(t, s, f, 1+r.IntN(200))
		for _, o := range all {
			mine := f.WholeTenant || o.Owner == f.Owner || (o.Group != "" && slices.Contains(f.Groups, o.Group))
			if !f.WholeTenant && !mine && got[o.ID] {
				t.Errorf("%s is neither the owner's nor the groups' and was given away by %+v", o.ID, f)
			}
			if mine && f.Matches(o) {
				matched++
				if !got[o.ID] {
					t.Errorf("%s matches %+v and is no candidate", o.ID, f)
				}
			}
		}
	}
	if matched < 500 {
		t.Errorf("the filters matched %d times, too seldom to show anything", matched)
	}
}

func idsOf(t *testing.T, s core.Store, f core.Filter, limit int) map[string]bool {
	out := map[string]bool{}
	for beyond := int64(0); ; {
		page, err := s.Candidates(ctx, "superset", f, beyond, limit)
		mustSucceed(t, err)
		for _, o := range page {
			if out[o.ID] || (beyond != 0 && o.Seq >= beyond) {
				t.Errorf("%s comes twice or out of order for %+v", o.ID, f)
			}
			out[o.ID], beyond = true, o.Seq
		}
		if len(page) < limit {
			return out
		}
	}
}

func randomAttribute(r *rand.Rand) core.Attribute {
	dates := []core.Tag{core.TagInitialDate, core.TagActivationDate, core.TagProcessStartDate, core.TagProtectStopDate, core.TagDeactivationDate, core.TagDestroyDate, core.TagCompromiseDate, core.TagLastChangeDate}
	few := fmt.Sprint("v", r.IntN(4))
	switch r.IntN(12) {
	case 0:
		return core.Attribute{Tag: core.TagState, Value: core.Enum(core.State(1 + r.IntN(6)))}
	case 1:
		return core.Attribute{Tag: core.TagName, Value: core.PlainName(few).Value()}
	case 2:
		return core.Attribute{Tag: core.TagName, Value: core.Name{Text: few}.Value()}
	case 3:
		return core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.CryptographicAlgorithm(1 + r.IntN(3)))}
	case 4:
		return core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(int32(128 * (1 + r.IntN(2))))}
	case 5:
		return core.Attribute{Tag: core.TagCryptographicUsageMask, Value: core.Int(int32(r.IntN(8)))}
	case 6:
		return core.Attribute{Vendor: "x", Name: "Site", Value: []core.Value{core.Text(few), core.Int(int32(r.IntN(3))), core.Bytes([]byte(few)), core.Name{Text: few}.Value()}[r.IntN(4)]}
	case 7:
		return core.Attribute{Tag: core.TagObjectGroup, Value: core.Text(few)}
	case 8:
		fields := []core.Field{{Tag: core.TagApplicationNamespace, Value: core.Text("ns")}, {Tag: core.TagApplicationData, Value: core.Text(few)}}
		return core.Attribute{Tag: core.TagApplicationSpecificInformation, Value: core.Structure(fields[r.IntN(2):]...)}
	case 9:
		return core.Attribute{Tag: core.TagLink, Value: core.Link{Type: core.LinkTypeCertificateLink, ID: few}.Value()}
	}
	return core.Attribute{Tag: dates[r.IntN(len(dates))], Value: core.Date(int64(r.IntN(10)))}
}
