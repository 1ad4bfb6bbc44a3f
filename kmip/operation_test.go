package kmip_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/kmip"
)

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
		if names := !target.Call([]reflect.Value{in})[0].IsNil(); names != f.fields["Unique Identifier"] {
			t.Errorf("%v names its object: %v; the standard has a Unique Identifier in the request: %v", row.Code, names, f.fields["Unique Identifier"])
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
				r, ok := enum.ByName(row.Reason)
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
