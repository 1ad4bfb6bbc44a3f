package kmip_test

import (
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
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

var all = []pair{entire(&kmip.DiscoverVersions), entire(&kmip.Query), entire(&kmip.Create), entire(&kmip.CreateKeyPair), entire(&kmip.Register), entire(&kmip.ReKey),
	entire(&kmip.Locate), entire(&kmip.Check), entire(&kmip.Get), entire(&kmip.GetAttributes), entire(&kmip.GetAttributeList), entire(&kmip.AddAttribute),
	entire(&kmip.ModifyAttribute), entire(&kmip.SetAttribute), entire(&kmip.DeleteAttribute), entire(&kmip.Activate), entire(&kmip.Revoke), entire(&kmip.Destroy),
	entire(&kmip.Encrypt), entire(&kmip.Decrypt), entire(&kmip.Sign), entire(&kmip.SignatureVerify), entire(&kmip.MAC), entire(&kmip.MACVerify), entire(&kmip.Hash),
	entire(&kmip.RNGRetrieve), entire(&kmip.RNGSeed)}

// unwritten lists what no payload of ours has, with the reason: the server gives
// the halves of a key pair no attributes that it would tell unasked, and a Delete
// Attribute of KMIP 2.x that says what the value is names the attribute thereby.
var unwritten = map[string][]string{
	"response of Create Key Pair": {"Private Key Template-Attribute", "Public Key Template-Attribute"},
	"request of Delete Attribute": {"Attribute Reference"},
}

// standard lists the fields of a payload; for the object itself, of which the
// standard names the types, that which fill takes.
func standard(t *testing.T) func(op core.Operation, v core.Version, what string) []string {
	listed := map[string][]string{}
	for _, r := range coretest.CSV(t, "operations.csv") {
		key, field := strings.ToLower(r["operation"])+" "+r["version"]+" "+r["payload"], r["field"]
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
	answer, err := kmip.GetAttributes.AppendResponse(nil, core.V1_2, &core.GetAttributesOutput{ID: "id", Attributes: as})
	if err != nil {
		t.Fatal(err)
	}
	request, err := kmip.AddAttribute.AppendRequest(nil, core.V1_2, &core.AddAttributeInput{ID: core.ID("id"), Attribute: as[0]})
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
