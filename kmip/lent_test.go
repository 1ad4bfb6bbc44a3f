package kmip_test

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/keyreeve/keyreeve/core"
)

// lentFields lists what of a request refers to the message that it came in: the
// door lends it for the time of the request, and the engine copies what it keeps.
// Everything else must be a copy. Who adds a field here has looked that the engine
// does so.
var lentFields = []string{
	"Data", "IV", "AAD", "Tag", "Correlation", "Digested", "Signature", "MAC",
	"Object.KeyBlock.Material", "Object.KeyBlock.Wrapped", "Object.KeyBlock.Transparent.Value.Bytes",
	"Object.KeyBlock.Wrapping.MAC", "Object.KeyBlock.Wrapping.IV",
	"Parameters.Data", "Parameters.IV", "Parameters.Salt",
	"Object.OpaqueData", "Object.CertificateValue", "Object.Split.PrimeField",
}

// Of a decoded request nothing refers to its message but what is known to.
func TestLentFieldsOfRequests(t *testing.T) {
	found := map[string]bool{}
	for _, v := range core.Versions {
		for seed := range uint64(60) {
			g := newGen(seed, v)
			for _, p := range everyOperation {
				if p.since > v {
					continue
				}
				payload, _ := p.make(t, g)
				refs, err := p.lent(bytes.Clone(payload), v)
				if err != nil {
					t.Fatalf("%v in %v: %v", p.op, v, err)
				}
				for _, r := range refs {
					if found[r] = true; !slices.Contains(lentFields, r) {
						t.Fatalf("%v in %v: %s refers to the message, which somebody else's takes the place of", p.op, v, r)
					}
				}
			}
		}
	}
	if have, want := slices.Sorted(maps.Keys(found)), slices.Sorted(slices.Values(lentFields)); !slices.Equal(have, want) {
		t.Errorf("found to refer to messages are\n%v; listed are\n%v", have, want)
	}
}

// references lists the fields of v, by their path, that lie in b.
func references(v any, b []byte) []string {
	var out []string
	inside := func(p unsafe.Pointer, n int) bool {
		from := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
		return n > 0 && uintptr(p) >= from && uintptr(p) < from+uintptr(len(b))
	}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		switch v.Kind() {
		case reflect.String:
			if inside(unsafe.Pointer(unsafe.StringData(v.String())), v.Len()) {
				out = append(out, path)
			}
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem(), path)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				name := v.Type().Field(i).Name
				if path != "" {
					name = path + "." + name
				}
				walk(v.Field(i), name)
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Uint8 {
				if inside(v.UnsafePointer(), v.Len()) {
					out = append(out, path)
				}
				return
			}
			for i := range v.Len() {
				walk(v.Index(i), path)
			}
		}
	}
	walk(reflect.ValueOf(v), "")
	return out
}

// The search finds planted references.
func TestLentReferencesAreFound(t *testing.T) {
	b := []byte("a message of some bytes")
	planted := core.Attributes{{Name: unsafe.String(&b[2], 7), Value: core.Structure(core.Field{Value: core.Bytes(b[5:9])})}, {Name: "its own", Value: core.Bytes(bytes.Clone(b))}}
	if got := references(&struct{ A core.Attributes }{planted}, b); !slices.Equal(got, []string{"A.Name", "A.Value.Fields.Value.Bytes"}) {
		t.Errorf("%v", got)
	}
}
