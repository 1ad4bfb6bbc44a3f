package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// What stands in the Key Value counts: every value of an attribute that may have
// several, and none that contradicts the request.
func TestAttributesInTheKeyValue(t *testing.T) {
	w := newWorld(t)
	register := func(given, inside core.Attributes) (*core.ManagedObject, error) {
		out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: given,
			Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256,
				Material: make([]byte, 32), Attributes: inside}}})
		if err != nil {
			return nil, err
		}
		return w.Ports.Store.Object(ctx, w.alice.Principal.Tenant, out.ID)
	}
	mask := attrs(core.TagCryptographicUsageMask, core.Mask(allUses))
	with := func(pairs ...any) core.Attributes { return append(mask[:1:1], attrs(pairs...)...) }
	o, err := register(with(core.TagName, name("outside")), attrs(core.TagName, name("first"), core.TagName, name("second"), core.TagName, name("outside")))
	if err != nil {
		t.Fatal(err)
	}
	if names := o.Attributes.All(core.AttributeName{Tag: core.TagName}); len(names) != 3 {
		t.Errorf("the names are %v", names)
	}
	o, err = register(mask, attrs(core.TagName, name("third"), core.TagName, name("fourth")))
	if err != nil {
		t.Fatal(err)
	}
	if names := o.Attributes.All(core.AttributeName{Tag: core.TagName}); len(names) != 2 {
		t.Errorf("the names are %v", names)
	}
	for what, c := range map[string]struct{ given, inside core.Attributes }{
		"Extractable": {with(core.TagExtractable, core.Bool(true)), attrs(core.TagExtractable, core.Bool(false))},
		"Sensitive":   {with(core.TagSensitive, core.Bool(false)), attrs(core.TagSensitive, core.Bool(true))},
		"mask":        {mask, attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))},
		"twice":       {mask, attrs(core.TagExtractable, core.Bool(true), core.TagExtractable, core.Bool(false))},
	} {
		if _, err := register(c.given, c.inside); err == nil {
			t.Errorf("%s: a contradiction is taken", what)
		}
	}
	if _, err := register(mask, mask); err != nil {
		t.Errorf("the same mask twice: %v", err)
	}
}
