package kmip_test

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

// pair writes both payloads of an operation with every field that it has, and
// reads the request as the server does.
type pair struct {
	code              core.Operation
	request, response func(core.Version) ([]byte, error)
	read              func([]byte, core.Version) error
}

func entire[I, O any](op *kmip.Operation[I, O]) pair {
	var in I
	var out O
	fill(reflect.ValueOf(&in).Elem())
	fill(reflect.ValueOf(&out).Elem())
	return pair{op.Code, func(v core.Version) ([]byte, error) { return op.AppendRequest(nil, v, &in) },
		func(v core.Version) ([]byte, error) { return op.AppendResponse(nil, v, &out) },
		func(b []byte, v core.Version) error { var in I; return op.DecodeRequest(b, v, false, &in) }}
}

// fill gives every field of a payload a value; where one excludes another, the
// one that all versions have.
func fill(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *core.Identifier:
		p.Text = "id"
		return
	case *core.Attributes:
		*p = core.Attributes{{Tag: core.TagContactInformation, Value: core.Text("c")}}
		return
	case *core.Attribute:
		*p = core.Attribute{Tag: core.TagContactInformation, Value: core.Text("c")}
		return
	case *core.AttributeName:
		*p = core.AttributeName{Tag: core.TagContactInformation, Index: 1, Indexed: true}
		return
	case *core.Value:
		*p = core.Text("c")
		return
	case *core.Field:
		*p = core.Field{Tag: core.TagServerName, Value: core.Structure()}
		return
	case *core.ObjectBody:
		*p = core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: []byte{1}}}
		return
	case **core.Secret:
		return
	case *core.Version:
		*p = core.V1_4
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("s")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint32:
		v.SetUint(1)
	default:
		panic(v.Type().String())
	}
}

// fieldsOf lists the names of the fields of a payload, repeated ones once.
func fieldsOf(b []byte) (out []string) {
	const header = 8 // bytes
	for b = b[header:]; len(b) > 0; {
		n := int(binary.BigEndian.Uint32(b[4:]))
		name := core.Tag(binary.BigEndian.Uint32(b) >> 8).String()
		if len(out) == 0 || out[len(out)-1] != name {
			out = append(out, name)
		}
		b = b[header+(n+7)/8*8:]
	}
	return out
}

var all = []pair{entire(&kmip.DiscoverVersions), entire(&kmip.Query), entire(&kmip.Create), entire(&kmip.CreateKeyPair), entire(&kmip.Register), entire(&kmip.ReKey), entire(&kmip.ReKeyKeyPair), entire(&kmip.DeriveKey),
	entire(&kmip.Locate), entire(&kmip.Check), entire(&kmip.Get), entire(&kmip.GetAttributes), entire(&kmip.GetAttributeList), entire(&kmip.AddAttribute),
	entire(&kmip.ModifyAttribute), entire(&kmip.SetAttribute), entire(&kmip.DeleteAttribute), entire(&kmip.Activate), entire(&kmip.Revoke), entire(&kmip.Destroy), entire(&kmip.Archive), entire(&kmip.Recover),
	entire(&kmip.Encrypt), entire(&kmip.Decrypt), entire(&kmip.Sign), entire(&kmip.SignatureVerify), entire(&kmip.MAC), entire(&kmip.MACVerify), entire(&kmip.Hash),
	entire(&kmip.RNGRetrieve), entire(&kmip.RNGSeed)}

// unwritten lists what no payload of ours has, with the reason: the server gives
// the halves of a key pair no attributes that it would tell unasked, and a Delete
// Attribute of KMIP 2.x that says what the value is names the attribute thereby.
var unwritten = map[string][]string{
	"response of Create Key Pair": {"Private Key Template-Attribute", "Public Key Template-Attribute"},
	"response of Re-key Key Pair": {"Private Key Template-Attribute", "Public Key Template-Attribute"},
	"request of Delete Attribute": {"Attribute Reference"},
}

// standard lists the fields of a payload; for the object itself, of which the
// standard names the types, that which fill takes.
func standard(t *testing.T) func(op core.Operation, v core.Version, what string) []string {
	listed := map[string][]string{}
	for _, r := range coretest.CSV(t, "operations.csv") {
		key, field := strings.ToLower(r["operation"])+" "+r["version"]+" "+r["payload"], strings.TrimSuffix(r["field"], ", see below")
		if strings.HasPrefix(field, "Certificate, Symmetric Key") || strings.HasPrefix(field, "Any Object") {
			field = core.TagSymmetricKey.String()
		}
		listed[key] = append(listed[key], field)
	}
	return func(op core.Operation, v core.Version, what string) []string {
		fields := listed[strings.ToLower(op.String())+" "+v.String()+" "+what]
		return slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return slices.Contains(unwritten[what+" of "+op.String()], f) })
	}
}

// Each payload has, in each version, the fields that the standard lists, in its
// order, and no others.
func TestPayloadsAreTheStandards(t *testing.T) {
	listed := standard(t)
	for _, p := range all {
		for _, v := range core.Versions {
			if !kmip.RowOf(p.code).In(v) {
				continue
			}
			for what, write := range map[string]func(core.Version) ([]byte, error){"request": p.request, "response": p.response} {
				b, err := write(v)
				if err != nil {
					t.Fatal(err)
				}
				if what == "request" {
					if err := p.read(b, v); err != nil {
						t.Errorf("KMIP %v, %v: a request with all that the standard has is refused: %v", v, p.code, err)
					}
				}
				want := listed(p.code, v, what)
				if got := fieldsOf(b); !slices.Equal(got, want) {
					t.Errorf("KMIP %v, %s of %v:\n got %q\nwant %q", v, what, p.code, got, want)
				}
			}
		}
	}
}

// In answers an attribute that may have several instances says which one it is,
// also the first; requests say so where it is not.
func TestAnswersHaveIndexes(t *testing.T) {
	as := core.Attributes{{Tag: core.TagObjectGroup, Value: core.Text("g")}, {Vendor: "x", Name: "Site", Value: core.Text("Bern")}, {Tag: core.TagState, Value: core.Enum(core.Active)}}
	answer, err := kmip.GetAttributes.AppendResponse(nil, core.V1_2, &operation.GetAttributesOutput{ID: "id", Attributes: as})
	if err != nil {
		t.Fatal(err)
	}
	request, err := kmip.AddAttribute.AppendRequest(nil, core.V1_2, &operation.AddAttributeInput{ID: core.ID("id"), Attribute: as[0]})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		b    []byte
		want int
	}{{answer, 2}, {request, 0}} {
		var text strings.Builder
		if err := kmip.Print(&text, c.b); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(text.String(), "AttributeIndex: 0"); got != c.want {
			t.Errorf("%d attributes have index 0, want %d:\n%s", got, c.want, text.String())
		}
	}
}

// Every field of every operation is filled in; what an operation lacks is said by
// a value that is not the zero one. Until is zero if the newest version has it.
func TestEveryFieldIsSaid(t *testing.T) {
	var look func(path string, v reflect.Value)
	look = func(path string, v reflect.Value) {
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				look(path+"."+v.Type().Field(i).Name, v.Field(i))
			}
			return
		}
		if v.IsZero() && !strings.HasSuffix(path, ".Row.Until") {
			t.Errorf("%s is not filled in", path)
		}
	}
	for _, op := range kmip.Definitions() {
		v := reflect.ValueOf(op).Elem()
		look(core.Operation(v.FieldByName("Code").Uint()).String(), v)
	}
}

// The tests of payloads know every operation.
func TestEveryOperationIsTried(t *testing.T) {
	var have []core.Operation
	for _, p := range all {
		have = append(have, p.code)
	}
	slices.Sort(have)
	var want []core.Operation
	for _, row := range kmip.Operations() {
		want = append(want, row.Code)
	}
	if !slices.Equal(have, want) {
		t.Errorf("the payloads of %v are tried, the operations are %v", have, want)
	}
}

// Name, code and first version of each row are the standard's. So is whether the
// request names an object and whether data may come in parts.
func TestRowsAreTheStandards(t *testing.T) {
	type fact struct {
		code, since string
		fields      map[string]bool // of requests of any version
	}
	facts := map[string]fact{}
	for _, r := range coretest.CSV(t, "operations.csv") {
		name := strings.ToLower(r["operation"])
		if facts[name].fields == nil {
			facts[name] = fact{r["value_hex"], r["first_version"], map[string]bool{}}
		}
		if r["payload"] == "request" {
			facts[name].fields[r["field"]] = true
		}
	}
	for _, op := range kmip.Definitions() {
		v := reflect.ValueOf(op).Elem()
		row := v.FieldByName("Row").Addr().Interface().(*kmip.Row)
		f, ok := facts[strings.ToLower(row.Code.String())]
		if !ok {
			t.Errorf("the standard has no operation %v", row.Code)
			continue
		}
		if code := fmt.Sprintf("%08X", uint32(row.Code)); code != f.code || coretest.Version(f.since) != row.Since {
			t.Errorf("%v is %s since KMIP %v; the standard has %s since %s", row.Code, code, row.Since, f.code, f.since)
		}
		target := v.FieldByName("Target")
		in := reflect.New(target.Type().In(0).Elem())
		fill(in.Elem())
		sources := v.FieldByName("Sources").Call([]reflect.Value{in})[0].Len()
		want := f.fields["Unique Identifier"] || f.fields["Private Key Unique Identifier"]
		if names := !target.Call([]reflect.Value{in})[0].IsNil() || sources > 0; names != want {
			t.Errorf("%v names its object: %v; the standard has a Unique Identifier in the request: %v", row.Code, names, want)
		}
		if parts := row.Stream == kmip.ManyParts; parts != f.fields["Correlation Value"] {
			t.Errorf("%v takes data in parts: %v; the standard has a Correlation Value in the request: %v", row.Code, parts, f.fields["Correlation Value"])
		}
	}
}

// The Links of a request are found: each attribute in it is among those that Links
// returns.
func TestLinksAreFound(t *testing.T) {
	for _, op := range kmip.Definitions() {
		v := reflect.ValueOf(op).Elem()
		links := v.FieldByName("Links")
		in := reflect.New(links.Type().In(0).Elem())
		fill(in.Elem())
		if found, want := links.Call([]reflect.Value{in})[0].Len(), attributesWithin(in.Elem()); found != want {
			t.Errorf("%v returns %d attributes of a request that holds %d", core.Operation(v.FieldByName("Code").Uint()), found, want)
		}
	}
}

// attributesWithin counts the attributes in a request that [fill] has filled in,
// and the values of attributes. The attributes of an object are its own.
func attributesWithin(v reflect.Value) (n int) {
	switch p := v.Addr().Interface().(type) {
	case *core.Attributes:
		return len(*p)
	case *core.Attribute, **core.Value:
		return 1
	}
	if v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[core.ObjectBody]() {
		for i := range v.NumField() {
			n += attributesWithin(v.Field(i))
		}
	}
	return n
}

// Each Unique Identifier enumeration refers to one operation, whose name it
// begins with, and each operation that has one names it (KMIP 2.1 §11.58).
func TestReferencesAreTheStandards(t *testing.T) {
	byEnum := map[core.UniqueIdentifierEnum]core.Operation{}
	for _, row := range kmip.Operations() {
		for _, r := range row.References {
			if !strings.HasPrefix(r.Enum.String(), row.Code.String()) || byEnum[r.Enum] != 0 {
				t.Errorf("%v refers to %v and to %v", r.Enum, row.Code, byEnum[r.Enum])
			}
			byEnum[r.Enum] = row.Code
		}
	}
	for e := core.UniqueIDPlaceholder; e <= core.UniqueReKeyKeyPairPublicKey; e++ {
		for _, row := range kmip.Operations() {
			if e.String() == row.Code.String() && byEnum[e] != row.Code {
				t.Errorf("no row says what %v refers to", e)
			}
		}
	}
}

// attestation is on every list of KMIP 2.x. Nothing here asks for it.
var attestation = []core.ResultReason{core.ReasonAttestationFailed, core.ReasonAttestationRequired}

// The reasons that operations of KMIP 2.x list are the standard's, for each
// operation and both versions.
func TestListedReasonsAreTheStandards(t *testing.T) {
	var facts map[string]map[string][]struct{ Reason string }
	coretest.JSON(t, "operation_errors.json", &facts)
	enum := core.TagResultReason.Info().Enum
	for _, v := range []core.Version{core.V2_0, core.V2_1} {
		for _, op := range kmip.Operations() {
			name := op.Code.String()
			if op.Code == core.OperationHash {
				name = "HASH"
			}
			rows := facts[v.String()][name]
			if len(rows) == 0 {
				t.Errorf("KMIP %v lists nothing for %v", v, op.Code)
				continue
			}
			want := map[core.ResultReason]bool{}
			for _, row := range rows {
				r, ok := enum.ByName(strings.ReplaceAll(row.Reason, " parameters", " Parameters")) // Derive Key has it in small letters
				if !ok {
					t.Errorf("KMIP %v, %v: %q is no Result Reason", v, op.Code, row.Reason)
				}
				want[core.ResultReason(r)] = true
			}
			for _, row := range enum.Values {
				r := core.ResultReason(row.Value)
				if slices.Contains(op.Reasons.Unlisted, r) || slices.Contains(attestation, r) || slices.Contains(kmip.GeneralReasons, r) {
					continue
				}
				if may := op.Reasons.MayAnswer(r, v); may != want[r] {
					t.Errorf("KMIP %v, %v: may answer %v: %v here, %v in the standard", v, op.Code, r, may, want[r])
				}
			}
		}
	}
}

// What single operations answer differently in 2.x is among what the standard
// lists for them, or among what its own cases have.
func TestSpecialReasonsAreListed(t *testing.T) {
	for _, op := range kmip.Operations() {
		for _, s := range op.Reasons.Special {
			if !op.Reasons.MayAnswer(s.V2, core.V2_1) {
				t.Errorf("%v answers %v for %v, which KMIP 2.1 does not list there", op.Code, s.V2, s.Code)
			}
		}
	}
}
