// Package canonical writes values into a hash so that different values never give the same bytes.
// It imports nothing of ours. Start at [Writer.AddValue].
package canonical

import (
	"encoding/binary"
	"hash"
	"math"
	"reflect"
	"slices"
)

// Writer writes values so that different values never give the same bytes.
type Writer struct {
	hash.Hash
	Unfit bool // a value was of a kind that has no canonical form
}

// AddNumber writes a number.
func (w *Writer) AddNumber(n uint64) {
	var b [8]byte
	w.Write(binary.BigEndian.AppendUint64(b[:0], n))
}

// AddText writes a text with its length.
func (w *Writer) AddText(s string) {
	w.AddNumber(uint64(len(s)))
	w.Write([]byte(s))
}

// AddValue writes a value with its kind. Fields that are not exported count too.
func (w *Writer) AddValue(v reflect.Value) {
	w.AddNumber(uint64(v.Kind()))
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			w.AddNumber(1)
		} else {
			w.AddNumber(0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.AddNumber(uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		w.AddNumber(v.Uint())
	case reflect.Float32, reflect.Float64:
		w.AddNumber(math.Float64bits(v.Float()))
	case reflect.String:
		w.AddText(v.String())
	case reflect.Struct:
		for i := range v.NumField() {
			w.AddValue(v.Field(i))
		}
	default:
		w.addReference(v)
	}
}

// addReference writes a value that refers to others.
func (w *Writer) addReference(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Interface {
			w.AddText(v.Elem().Type().String())
		}
		w.AddValue(v.Elem())
	case reflect.Slice, reflect.Array:
		w.AddNumber(uint64(v.Len()))
		if v.Kind() == reflect.Slice && v.IsNil() {
			w.AddText("nil")
		}
		for i := range v.Len() {
			w.AddValue(v.Index(i))
		}
	case reflect.Map:
		w.addMap(v)
	default:
		w.Unfit = true
	}
}

// addMap writes a map with texts as keys, in their order.
func (w *Writer) addMap(v reflect.Value) {
	if v.Type().Key().Kind() != reflect.String {
		w.Unfit = true
		return
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return slices.Compare([]byte(a.String()), []byte(b.String())) })
	w.AddNumber(uint64(len(keys)))
	for _, key := range keys {
		w.AddText(key.String())
		w.AddValue(v.MapIndex(key))
	}
}
