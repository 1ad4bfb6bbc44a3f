package document

import (
	"reflect"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

func everyKind() core.Attributes {
	return core.Attributes{
		{Tag: core.TagName, Value: core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text("quote\" back\\ \n \x1f \u4e16")}, core.Field{Tag: core.TagNameType, Value: core.Enum(core.NameType(1))})},
		{Tag: core.TagName, Index: 7, Value: core.Text("\xff no UTF-8")}, {Tag: core.TagState, Value: core.Value{}},
		{Vendor: "x", Name: "Site", Value: core.Int(-1 << 31)}, {Vendor: "x\x00", Name: "\xfe", Value: core.Long(-1 << 63)},
		{Vendor: "v", Name: "n", Value: core.BigInt([]byte{0x80, 0})}, {Vendor: "v", Name: "e", Value: core.Bytes([]byte{})},
		{Tag: core.TagFresh, Value: core.Bool(true)}, {Tag: core.TagInitialDate, Value: core.Date(-5)}, {Tag: core.TagLeaseTime, Value: core.Interval(1<<32 - 1)},
		{Tag: core.TagLastChangeDate, Value: core.Value{Kind: core.KindDateTimeExtended, Num: 1 << 62}}, {Tag: 0xffffff, Value: core.Text("")},
	}
}

func TestDocumentKeepsEverything(t *testing.T) {
	want := everyKind()
	doc, err := Append(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(string(doc))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("wrote %s, read\n%+v, %v, want\n%+v", doc, got, err, want)
	}
	if none, err := Append(nil, nil); err != nil || string(none) != "[]" {
		t.Errorf("no attributes are %s, %v", none, err)
	}
}

func TestDocumentBoundsDepth(t *testing.T) {
	v := core.Int(1)
	for range maxDepth {
		v = core.Structure(core.Field{Tag: core.TagNameValue, Value: v})
	}
	doc, err := Append(nil, core.Attributes{{Vendor: "x", Name: "deep", Value: v}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(string(doc)); err != nil {
		t.Errorf("what was written at the bound is not read: %v", err)
	}
	v = core.Structure(core.Field{Tag: core.TagNameValue, Value: v})
	if _, err := Append(nil, core.Attributes{{Vendor: "x", Name: "deep", Value: v}}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("one level more: got %v, want InvalidField", err)
	}
	if _, err := Read(`[{"n":["x","d"],` + strings.Repeat(`"S":[{"t":"420055",`, 1_000_000)); err == nil {
		t.Error("a million levels were read")
	}
}

// A document that keyreeve did not write is refused, and every prefix of one
// that it did write.
func TestDocumentRefuses(t *testing.T) {
	doc, _ := Append(nil, everyKind())
	for n := range doc {
		if _, err := Read(string(doc[:n])); err == nil {
			t.Errorf("%q was read", doc[:n])
		}
	}
	for _, s := range []string{"null", "{}", "[] ", "[{}]", `[{"t":"42005G","I":1}]`, `[{"t":"420055","Q":1}]`, `[{"t":"420055","I":}]`,
		`[{"t":"420055","I":99999999999999999999}]`, `[{"t":"420055","T":"\x"}]`, `[{"t":"420055","Y":"="}]`, `[{"t":"420055","T":"\u0041"}]`} {
		if as, err := Read(s); err == nil {
			t.Errorf("%q was read as %v", s, as)
		}
	}
}

func FuzzReadDocument(f *testing.F) {
	doc, _ := Append(nil, everyKind())
	f.Add(string(doc))
	f.Fuzz(func(t *testing.T, s string) {
		as, err := Read(s)
		if err != nil {
			return
		}
		again, err := Append(nil, as)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", s, err)
		}
		if back, err := Read(string(again)); err != nil || !reflect.DeepEqual(back, as) {
			t.Errorf("%q became %s, which reads otherwise: %v", s, again, err)
		}
	})
}

func BenchmarkReadDocument(b *testing.B) {
	doc, _ := Append(nil, everyKind())
	s := string(doc)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(s); err != nil {
			b.Fatal(err)
		}
	}
}

// The bytes of a document are sealed, so they never change: neither the escapes
// nor the characters that stand as they are, such as DEL.
func TestDocumentBytes(t *testing.T) {
	for want, as := range map[string]core.Attributes{
		`[{"t":"420055","T":"\"\\/\u0001\u000a\u001f` + "\x7f<&>\u00e9\u2028\U0001f511\ufffd" + `"}]`: {{Tag: core.TagNameValue, Value: core.Text("\"\\/\x01\n\x1f\x7f<&>\u00e9\u2028\U0001f511\ufffd")}},
		`[{"n":["x` + "\x7f" + `","a\u001bb"],"i":2,"E":5}]`:                                          {{Vendor: "x\x7f", Name: "a\x1bb", Index: 2, Value: core.Value{Kind: core.KindEnumeration, Num: 5}}},
		`[{"m":["eAA","/g"],"U":"/w"}]`:                                                               {{Vendor: "x\x00", Name: "\xfe", Value: core.Text("\xff")}},
	} {
		if got, err := Append(nil, as); err != nil || string(got) != want {
			t.Errorf("wrote %q, %v; want %q", got, err, want)
		}
	}
}
