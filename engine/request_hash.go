package engine

import (
	"crypto/sha256"
	"reflect"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/canonical"
)

// hashRequest returns the SHA-256 of the canonical form of a request: what it asks for,
// down to each attribute of the object and each field of the input, and the terms of its
// gates with the versions of their policies. An approval of one request is thus none of
// another one, and none if object or policy has changed. What uses of the object count does
// not change it.
func hashRequest(r *core.AccessRequest, gates []core.Gate, input any) ([]byte, error) {
	w := canonical.Writer{Hash: sha256.New()}
	for _, text := range []string{"keyreeve approval v2", r.Principal.Tenant, r.Principal.ID, r.Action.String()} {
		w.AddText(text)
	}
	if r.Object != nil {
		addObject(&w, r.Object)
	}
	w.AddNumber(uint64(len(gates)))
	for _, g := range gates {
		w.AddText(g.Statement)
		w.AddValue(reflect.ValueOf(*g.Approvals))
	}
	w.AddValue(reflect.ValueOf(input))
	if w.Unfit {
		return nil, core.Errorf(core.PermissionDenied, "%s needs approvals here, and this request cannot wait for any", r.Action)
	}
	return w.Sum(nil), nil
}

// addObject writes an object without the counts of its uses: an approval would end with each use,
// also with that for which it was given. It writes the same for an object in memory and one that
// was read, so not the order of the attributes, nor nil in another way than an empty text.
func addObject(w *canonical.Writer, o *core.ManagedObject) {
	for _, text := range []string{o.ID, o.Owner, o.Group, string(o.Material.Class), string(o.Material.MAC)} {
		w.AddText(text)
	}
	var sums []string
	for _, a := range o.Attributes {
		switch {
		case core.UsesAttribute.Names(&a), isUnlisted(a.Ref()):
			continue
		case a.Tag == core.TagUsageLimits:
			limits := core.UsageLimitsOf(a.Value)
			limits.Count = 0
			a.Value = limits.Value()
		}
		one := canonical.Writer{Hash: sha256.New()}
		one.AddNumber(uint64(a.Tag))
		one.AddText(a.Vendor)
		one.AddText(a.Name)
		one.AddNumber(uint64(a.Index))
		addAttributeValue(&one, a.Value)
		sums = append(sums, string(one.Sum(nil)))
	}
	slices.Sort(sums)
	w.AddNumber(uint64(len(sums)))
	for _, sum := range sums {
		w.AddText(sum)
	}
}

func addAttributeValue(w *canonical.Writer, v core.Value) {
	w.AddNumber(uint64(v.Kind))
	w.AddNumber(uint64(v.Num))
	w.AddText(v.Text)
	w.AddText(string(v.Bytes))
	w.AddNumber(uint64(len(v.Fields)))
	for _, f := range v.Fields {
		w.AddNumber(uint64(f.Tag))
		addAttributeValue(w, f.Value)
	}
}
