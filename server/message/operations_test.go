package message

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// operations are those that a Processor answers.
var operations = New(Verbs{}, Settings{}).operations

// Every operation of the protocol is bound to the engine.
func TestEveryOperationIsBound(t *testing.T) {
	var want []core.Operation
	for _, row := range kmip.Operations() {
		want = append(want, row.Code)
	}
	if have := slices.Sorted(maps.Keys(operations)); !slices.Equal(have, want) {
		t.Errorf("%v are bound, want %v", have, want)
	}
}

// Query lists the operations of the client's version.
func TestQueryListsTheOperations(t *testing.T) {
	for v, want := range map[core.Version]map[core.Operation]bool{
		core.V1_0: {core.OperationCreate: true, core.OperationDiscoverVersions: false, core.OperationEncrypt: false, core.OperationSetAttribute: false},
		core.V1_2: {core.OperationCreate: true, core.OperationDiscoverVersions: true, core.OperationEncrypt: true, core.OperationSetAttribute: false},
		core.V2_1: {core.OperationCreate: true, core.OperationDiscoverVersions: true, core.OperationEncrypt: true, core.OperationSetAttribute: true},
	} {
		out := do(newClient(t, v), &kmip.Query, operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		for op, listed := range want {
			if slices.Contains(out.Operations, op) != listed {
				t.Errorf("KMIP %v: Query lists %v, and should list %v: %v", v, out.Operations, op, listed)
			}
		}
	}
	out := do(newClient(t, core.V1_4), &kmip.Query, operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryObjects}})
	if out.Operations != nil {
		t.Errorf("Query lists %v, which was not asked for", out.Operations)
	}
}

// An attribute under a vendor's own tag is kept and found in KMIP 2.x, on the way
// over wire and store. A client of 1.x, which has no name for it, reads the object.
func TestVendorTagsOverTheWire(t *testing.T) {
	c := newClient(t, core.V2_1)
	const tag = core.Tag(0x540123)
	mine := core.Attribute{Tag: tag, Value: core.Text("mine")}
	has := do(c, &kmip.Create, *kmiptest.AESKey(128, core.MaskEncrypt, mine))
	do(c, &kmip.Create, *kmiptest.AESKey(128, core.MaskEncrypt))
	for _, v := range []core.Version{core.V2_0, core.V2_1} {
		c.v = v
		for value, want := range map[string]int{"mine": 1, "yours": 0} {
			found := do(c, &kmip.Locate, operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: tag, Value: core.Text(value)}}})
			if len(found.IDs) != want || (want == 1 && found.IDs[0] != has.ID) {
				t.Errorf("in %v, Locate by %q finds %v", v, value, found.IDs)
			}
		}
		all := do(c, &kmip.GetAttributes, operation.GetAttributesInput{ID: core.ID(has.ID), Names: []core.AttributeName{{Tag: tag}}})
		if all.Attributes.Text(tag) != "mine" {
			t.Errorf("in %v, Get Attributes: %+v", v, all.Attributes)
		}
	}
	do(c, &kmip.ModifyAttribute, operation.ModifyAttributeInput{ID: core.ID(has.ID), New: core.Attribute{Tag: tag, Value: core.Text("changed")}, CurrentValue: &mine.Value, Name: core.AttributeName{Tag: tag}})
	c.v = core.V1_4
	all := do(c, &kmip.GetAttributes, operation.GetAttributesInput{ID: core.ID(has.ID)})
	if all.Attributes.Has(tag) || len(all.Attributes) < 10 {
		t.Errorf("a client of 1.4 is told %+v", all.Attributes)
	}
	c.v = core.V2_1
	do(c, &kmip.DeleteAttribute, operation.DeleteAttributeInput{ID: core.ID(has.ID), Name: core.AttributeName{Tag: tag}})
	if all := do(c, &kmip.GetAttributes, operation.GetAttributesInput{ID: core.ID(has.ID)}); all.Attributes.Has(tag) {
		t.Error("it is still there after Delete Attribute")
	}
}

// What Locate does not understand is refused by name, wherever it stands in the
// request, and also by a server that ignores unknown fields of other operations.
func TestLocateRefusesWhatItDoesNotKnow(t *testing.T) {
	const vendor = "\x54\x01\x23\x07\x00\x00\x00\x01v\x00\x00\x00\x00\x00\x00\x00"
	const unknown = "\x42\x00\x08\x01\x00\x00\x00\x00" // an Attribute, which 2.x has at another place alone
	c := newClient(t, core.V2_1)
	do(c, &kmip.Create, *kmiptest.AESKey(128, core.MaskEncrypt, kmiptest.Name("k")))
	for _, v := range core.Versions {
		for _, lenient := range []bool{false, true} {
			c.v, c.door.processor.Lenient = v, lenient
			locate := func(extra string, inside bool) kmip.ResponseItem {
				_, items := c.send(kmip.ClientItem{Operation: core.OperationLocate, Payload: func(dst []byte, v core.Version) ([]byte, error) {
					start := len(dst)
					dst, err := kmip.Locate.AppendRequest(dst, v, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Vendor: "x", Name: "n", Value: core.Text("v")}}})
					at := len(dst)
					if inside { // behind the last field of the attribute, whose structures end with the payload
						for i := start; i < at-8; i += 8 {
							if dst[i] == 0x42 && dst[i+3] == 1 && i > start {
								dst[i+7] += byte(len(extra))
							}
						}
					}
					dst = append(dst, extra...)
					dst[start+7] += byte(len(extra))
					return dst, err
				}})
				return items[0]
			}
			if r := locate("", false); r.Status != core.StatusSuccess {
				t.Fatalf("in %v: %s", v, r.Message)
			}
			cases := map[string]struct {
				extra  string
				inside bool
			}{"in the payload": {vendor, false}, "in the attribute": {vendor, true}}
			for what, e := range cases {
				if r := locate(e.extra, e.inside); r.Status == core.StatusSuccess || !strings.Contains(r.Message, "0x540123") {
					t.Errorf("in %v, a vendor's field %s: %v %s", v, what, r.Status, r.Message)
				}
			}
			if r := locate(unknown, false); v >= core.V2_0 && r.Status == core.StatusSuccess {
				t.Errorf("in %v, an unknown field is ignored", v)
			}
		}
	}
}
