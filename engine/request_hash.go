package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"reflect"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// hashRequest returns the SHA-256 of the canonical form of a request: what it asks for,
// down to each attribute of the object and each field of the input, and the terms of its
// gates with the versions of their policies. An approval of one request is thus none of
// another one, and none if object or policy has changed. What uses of the object count does
// not change it.
func hashRequest(r *core.AccessRequest, gates []core.Gate, input any) ([]byte, error) {
	w := hashWriter{Hash: sha256.New()}
	for _, text := range []string{"keyreeve approval v2", r.Principal.Tenant, r.Principal.ID, r.Action.String()} {
		w.addText(text)
	}
	if r.Object != nil {
		w.addObject(r.Object)
	}
	w.addNumber(uint64(len(gates)))
	for _, g := range gates {
		w.addText(g.Statement)
		w.addValue(reflect.ValueOf(*g.Approvals))
	}
	w.addValue(reflect.ValueOf(input))
	if w.unfit {
		return nil, core.Errorf(core.PermissionDenied, "%s needs approvals here, and this request cannot wait for any", r.Action)
	}
	return w.Sum(nil), nil
}

// hashWriter writes values so that different values never give the same bytes.
type hashWriter struct {
	hash.Hash
	unfit bool // a value was of a kind that has no canonical form
}

func (w *hashWriter) addNumber(n uint64) {
	var b [8]byte
	w.Write(binary.BigEndian.AppendUint64(b[:0], n))
}

func (w *hashWriter) addText(s string) {
	w.addNumber(uint64(len(s)))
	w.Write([]byte(s))
}

// addObject writes an object without the counts of its uses: an approval would end with each use,
// also with that for which it was given. It writes the same for an object in memory and one that
// was read, so not the order of the attributes, nor nil in another way than an empty text.
func (w *hashWriter) addObject(o *core.ManagedObject) {
	for _, text := range []string{o.ID, o.Owner, o.Group, string(o.Material.Class), string(o.Material.MAC)} {
		w.addText(text)
	}
	var sums []string
	for _, a := range o.Attributes {
		switch {
		case core.UsesAttribute.Names(&a):
			continue
		case a.Tag == core.TagUsageLimits:
			limits := core.UsageLimitsOf(a.Value)
			limits.Count = 0
			a.Value = limits.Value()
		}
		one := hashWriter{Hash: sha256.New()}
		one.addNumber(uint64(a.Tag))
		one.addText(a.Vendor)
		one.addText(a.Name)
		one.addNumber(uint64(a.Index))
		one.addAttributeValue(a.Value)
		sums = append(sums, string(one.Sum(nil)))
	}
	slices.Sort(sums)
	w.addNumber(uint64(len(sums)))
	for _, sum := range sums {
		w.addText(sum)
	}
}

func (w *hashWriter) addAttributeValue(v core.Value) {
	w.addNumber(uint64(v.Kind))
	w.addNumber(uint64(v.Num))
	w.addText(v.Text)
	w.addText(string(v.Bytes))
	w.addNumber(uint64(len(v.Fields)))
	for _, f := range v.Fields {
		w.addNumber(uint64(f.Tag))
		w.addAttributeValue(f.Value)
	}
}

// addValue writes a value with its kind. Fields that are not exported count too.
func (w *hashWriter) addValue(v reflect.Value) {
	w.addNumber(uint64(v.Kind()))
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			w.addNumber(1)
		} else {
			w.addNumber(0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.addNumber(uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		w.addNumber(v.Uint())
	case reflect.Float32, reflect.Float64:
		w.addNumber(math.Float64bits(v.Float()))
	case reflect.String:
		w.addText(v.String())
	case reflect.Struct:
		for i := range v.NumField() {
			w.addValue(v.Field(i))
		}
	default:
		w.addReference(v)
	}
}

// addReference writes a value that refers to others.
func (w *hashWriter) addReference(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Interface {
			w.addText(v.Elem().Type().String())
		}
		w.addValue(v.Elem())
	case reflect.Slice, reflect.Array:
		w.addNumber(uint64(v.Len()))
		if v.Kind() == reflect.Slice && v.IsNil() {
			w.addText("nil")
		}
		for i := range v.Len() {
			w.addValue(v.Index(i))
		}
	case reflect.Map:
		w.addMap(v)
	default:
		w.unfit = true
	}
}

// addMap writes a map with texts as keys, in their order.
func (w *hashWriter) addMap(v reflect.Value) {
	if v.Type().Key().Kind() != reflect.String {
		w.unfit = true
		return
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return slices.Compare([]byte(a.String()), []byte(b.String())) })
	w.addNumber(uint64(len(keys)))
	for _, key := range keys {
		w.addText(key.String())
		w.addValue(v.MapIndex(key))
	}
}
