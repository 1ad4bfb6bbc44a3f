//go:build race || poison

package server

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// patterns are the forms in which a part of retired memory can turn up. Four
// bytes of the pattern do not come about by chance in what a test makes.
var patterns = func() [][]byte {
	raw := bytes.Repeat([]byte{core.PoisonByte}, 12)
	return [][]byte{raw[:4], []byte(hex.EncodeToString(raw[:4])), []byte(strings.ToUpper(hex.EncodeToString(raw[:4]))),
		[]byte(base64.StdEncoding.EncodeToString(raw)[:8]), []byte(base64.URLEncoding.EncodeToString(raw)[:8])}
}()

// poisoned returns what surrounds the pattern in b, or "".
func poisoned(b []byte) string {
	for _, p := range patterns {
		if at := bytes.Index(b, p); at >= 0 {
			return fmt.Sprintf("%q", b[max(0, at-100):min(len(b), at+100)])
		}
	}
	return ""
}

// place is where a value was found, from the root on.
type place struct {
	name string
	from *place
}

func (p *place) String() string {
	if p == nil {
		return ""
	}
	return p.from.String() + "." + p.name
}

// walker looks at everything that can be reached from a value: fields of every
// name, elements of lists and maps, and what pointers point to.
type walker struct {
	seen  map[visit]bool
	todo  []found
	hits  []string
	count int
}

type visit struct {
	at  uintptr
	typ reflect.Type
	n   int
}

type found struct {
	v  reflect.Value
	at *place
}

// holds lists where the pattern is in what can be reached from the roots.
func holds(roots ...any) (hits []string, values int) {
	w := walker{seen: map[visit]bool{}}
	for _, r := range roots {
		w.todo = append(w.todo, found{reflect.ValueOf(r), &place{name: fmt.Sprintf("%T", r)}})
	}
	for len(w.todo) > 0 {
		f := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.look(f.v, f.at)
	}
	return w.hits, w.count
}

func (w *walker) push(v reflect.Value, name string, from *place) {
	w.todo = append(w.todo, found{v, &place{name, from}})
}

func (w *walker) bytes(b []byte, at *place) {
	if hit := poisoned(b); hit != "" {
		w.hits = append(w.hits, at.String()+": "+hit)
	}
}

func (w *walker) look(v reflect.Value, at *place) {
	w.count++
	switch v.Kind() {
	case reflect.String:
		w.bytes([]byte(v.String()), at)
	case reflect.Interface:
		if !v.IsNil() {
			w.push(v.Elem(), v.Elem().Type().String(), at)
		}
	case reflect.Pointer:
		if key := (visit{v.Pointer(), v.Type(), 1}); !v.IsNil() && !w.seen[key] {
			w.seen[key] = true
			w.push(v.Elem(), "*", at)
		}
	case reflect.Struct:
		w.fields(v, at)
	case reflect.Map:
		if v.IsNil() || w.seen[visit{v.Pointer(), v.Type(), 0}] {
			return
		}
		w.seen[visit{v.Pointer(), v.Type(), 0}] = true
		for it := v.MapRange(); it.Next(); {
			w.push(it.Key(), "key", at)
			w.push(it.Value(), "value", at)
		}
	case reflect.Slice, reflect.Array:
		w.list(v, at)
	}
}

// fields takes an atomic.Pointer, which hides what it points to, for a pointer.
func (w *walker) fields(v reflect.Value, at *place) {
	t := v.Type()
	if t.PkgPath() == "sync/atomic" && strings.HasPrefix(t.Name(), "Pointer[") {
		if p := v.FieldByName("v").UnsafePointer(); p != nil {
			w.push(reflect.NewAt(t.Field(0).Type.Elem().Elem(), p), t.Name(), at)
		}
		return
	}
	if t.PkgPath() == "sync" && t.Name() == "Pool" {
		return // what it lends is nobody's
	}
	for i := range v.NumField() {
		w.push(v.Field(i), t.Field(i).Name, at)
	}
}

func (w *walker) list(v reflect.Value, at *place) {
	if v.Kind() == reflect.Slice && v.Len() > 0 {
		key := visit{v.Pointer(), v.Type(), v.Len()}
		if w.seen[key] {
			return
		}
		w.seen[key] = true
	}
	switch v.Type().Elem().Kind() {
	case reflect.Uint8:
		b := make([]byte, v.Len())
		for i := range b {
			b[i] = byte(v.Index(i).Uint())
		}
		w.bytes(b, at)
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float64:
	default:
		for i := range v.Len() {
			w.push(v.Index(i), "[]", at)
		}
	}
}

// The walker finds planted references to retired memory wherever they are.
func TestLentPlantedAliasIsFound(t *testing.T) {
	message := bytes.Repeat([]byte("message "), 8)
	alias := message[8:24]
	type inner struct {
		any    any
		byName map[string]*core.ManagedObject
		hidden []byte
	}
	object := func(v core.Value) *core.ManagedObject {
		return &core.ManagedObject{Attributes: core.Attributes{{Tag: core.TagX509CertificateIssuer,
			Value: core.Structure(core.Field{Tag: core.TagIssuerDistinguishedName, Value: v})}}}
	}
	for what, planted := range map[string]any{
		"in an object's attribute": &inner{byName: map[string]*core.ManagedObject{"id": object(core.Bytes(alias))}},
		"behind an interface":      &inner{any: []any{object(core.Bytes(alias))}},
		"in a field":               &inner{hidden: alias},
	} {
		if hits, _ := holds(planted); len(hits) != 0 {
			t.Errorf("%s: found before the message was retired: %q", what, hits)
		}
	}
	core.Retire(message)
	for what, planted := range map[string]any{
		"in an object's attribute": &inner{byName: map[string]*core.ManagedObject{"id": object(core.Bytes(alias))}},
		"behind an interface":      &inner{any: []any{object(core.Bytes(alias))}},
		"in a field":               &inner{hidden: alias},
		"as text":                  object(core.Text(hex.EncodeToString(alias))),
		"as base64":                object(core.Text("x" + base64.StdEncoding.EncodeToString(alias))),
	} {
		if hits, _ := holds(planted); len(hits) != 1 {
			t.Errorf("%s: %d references are found, want 1: %q", what, len(hits), hits)
		}
	}
	if hits, _ := holds(object(core.Bytes([]byte("its own")))); len(hits) != 0 {
		t.Errorf("found where there is none: %q", hits)
	}
}
