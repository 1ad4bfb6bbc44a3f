package server_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// deriveFrom asks for an AES-256 key by HMAC-SHA256 of a label.
func deriveFrom(ids ...core.Identifier) *operation.DeriveKeyInput {
	return &operation.DeriveKeyInput{ObjectType: core.ObjectTypeSymmetricKey, IDs: ids, Method: core.DerivationMethodHMAC, Attributes: kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt, activeNow).Attributes,
		Parameters: operation.DerivationParameters{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: [][]byte{[]byte("label")}}}
}

// baseKey registers an HMAC key whose only use is to derive.
func baseKey(t *testing.T, c *kmiptest.Client, value string, more ...core.Attribute) core.Identifier {
	t.Helper()
	as := append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskDeriveKey)}, activeNow}, more...)
	out, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as,
		Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmHMACSHA256, Length: int32(8 * len(value)), Material: []byte(value)}}})
	if err != nil {
		t.Fatal(err)
	}
	return core.ID(out.ID)
}

// A client derives the same key in every version and from every class, and uses it. What comes
// from a key that stays in the HSM stays there too. Query lists the operation.
func TestDeriveKeyInEachVersion(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const value = "0123456789abcdef0123456789abcdef"
	newest := dial(t, s, "dev", core.V2_1) // which has Sensitive and Extractable
	bases := map[core.Class]core.Identifier{core.ClassC: baseKey(t, newest, value), core.ClassX: baseKey(t, newest, value, core.Attribute{Tag: core.TagSensitive, Value: core.Bool(true)}), core.ClassN: baseKey(t, newest, value, leaving(false))}
	ecb := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}
	var want []byte
	for _, v := range []core.Version{core.V1_2, core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		q, err := kmiptest.Do(c, &kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		if err != nil || !slices.Contains(q.Operations, core.OperationDeriveKey) {
			t.Errorf("%v: Query lists %v, %v", v, q.Operations, err)
		}
		for class, base := range bases {
			what := fmt.Sprintf("%v, class %s", v, class)
			out, err := kmiptest.Do(c, &kmip.DeriveKey, deriveFrom(base))
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			sealed, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(out.ID), Parameters: ecb, Data: []byte("sixteen bytes of")})
			if want == nil {
				want = bytes.Clone(sealed.Data)
			}
			if err != nil || !bytes.Equal(sealed.Data, want) {
				t.Errorf("%s: another key, or %v", what, err)
			}
			got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(out.ID)})
			if (err == nil) != (class == core.ClassC) || (err == nil && len(got.Object.KeyBlock.Material) != 32) {
				t.Errorf("%s: Get gives %d bytes, %v", what, len(got.Object.KeyBlock.Material), err)
			}
			for id, link := range map[string]core.Link{out.ID: {Type: core.LinkTypeDerivationBaseObjectLink, ID: base.Text}, base.Text: {Type: core.LinkTypeDerivedKeyLink, ID: out.ID}} {
				if as := attributesOf(t, c, id, tag(core.TagLink)); !slices.ContainsFunc(as, func(a core.Attribute) bool { return core.LinkOf(a.Value) == link }) {
					t.Errorf("%s: object %s has the Links %v; want %v", what, id, as, link)
				}
			}
		}
	}
}

// Result Reasons are the standard's, in 1.x and in 2.x (KMIP 1.4 §11.7, 2.1 §6.1.14).
func TestDeriveKeyReasons(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "olga", Tenant: "other"})
	s.DeclareTenant("other")
	foreign := baseKey(t, dial(t, s, "olga", core.V2_1), "0123456789abcdef")
	newest := dial(t, s, "dev", core.V2_1)
	base, inside := baseKey(t, newest, "0123456789abcdef0123456789abcdef"), baseKey(t, newest, "0123456789abcdef0123456789abcdef", leaving(false))
	encrypts, err := kmiptest.Do(newest, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, activeNow))
	if err != nil {
		t.Fatal(err)
	}
	sleeping, err := kmiptest.Do(newest, &kmip.Create, kmiptest.AESKey(256, core.MaskDeriveKey))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		base   core.Identifier
		change func(in *operation.DeriveKeyInput)
		in1    core.ResultReason
		in2    core.ResultReason
	}{
		"an unknown object":           {core.ID("nobody"), nil, core.ReasonItemNotFound, core.ReasonObjectNotFound},
		"an object of another tenant": {foreign, nil, core.ReasonItemNotFound, core.ReasonObjectNotFound},
		"without the mask":            {core.ID(encrypts.ID), nil, core.ReasonInvalidField, core.ReasonIncompatibleCryptographicUsageMask},
		"Pre-Active":                  {core.ID(sleeping.ID), nil, core.ReasonInvalidField, core.ReasonWrongKeyLifecycleState},
		"too long": {base, func(in *operation.DeriveKeyInput) {
			in.ObjectType, in.Attributes = core.ObjectTypeSecretData, core.Attributes{{Tag: core.TagCryptographicLength, Value: core.Int(512)}}
		}, core.ReasonCryptographicFailure, core.ReasonCryptographicFailure},
		"another hash than the key's": {base, func(in *operation.DeriveKeyInput) { in.Parameters.Parameters.HashingAlgorithm = core.HashSHA512 }, core.ReasonInvalidField, core.ReasonBadCryptographicParameters},
		"a method with no support":    {base, func(in *operation.DeriveKeyInput) { in.Method = core.DerivationMethodAsymmetricKey }, core.ReasonFeatureNotSupported, core.ReasonFeatureNotSupported},
		"HASH inside the HSM":         {inside, func(in *operation.DeriveKeyInput) { in.Method, in.Parameters.Data = core.DerivationMethodHASH, nil }, core.ReasonFeatureNotSupported, core.ReasonUnsupportedCryptographicParameters},
		"a class that is weaker":      {inside, func(in *operation.DeriveKeyInput) { in.Attributes = append(in.Attributes, leaving(true)) }, core.ReasonPermissionDenied, core.ReasonPermissionDenied},
	} {
		for v, want := range map[core.Version]core.ResultReason{core.V1_4: c.in1, core.V2_1: c.in2} {
			in := deriveFrom(c.base)
			if c.change != nil {
				c.change(in)
			}
			if _, err := kmiptest.Do(dial(t, s, "dev", v), &kmip.DeriveKey, in); kmiptest.Reason(err) != want {
				t.Errorf("%s in %v: %v; want %v", what, v, err, want)
			}
		}
	}
}

// In a batch, the derived key is the ID Placeholder afterwards; Derive Key itself does not read
// it, but takes references of 2.x. Undo takes the key back, and the Link to it.
func TestDeriveKeyInABatch(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_2, core.V2_1} {
		c := dial(t, s, "dev", v)
		base := baseKey(t, c, "0123456789abcdef0123456789abcdef")
		r, err := c.Batch(kmiptest.Item(&kmip.DeriveKey, deriveFrom(base)), kmiptest.Item(&kmip.Get, &operation.GetInput{}))
		if err != nil || len(r.Items) != 2 || r.Items[1].Status != core.StatusSuccess {
			t.Errorf("%v: Get of the ID Placeholder after Derive Key: %+v, %v", v, r, err)
		}
		derive := kmiptest.AESKey(256, core.MaskDeriveKey, activeNow)
		r, err = c.Batch(kmiptest.Item(&kmip.Create, derive), kmiptest.Item(&kmip.DeriveKey, deriveFrom(core.Identifier{Enum: core.UniqueIDPlaceholder})))
		if v < core.V2_0 {
			r, err = c.Batch(kmiptest.Item(&kmip.Create, derive), kmiptest.Item(&kmip.DeriveKey, deriveFrom()))
		}
		if err != nil || len(r.Items) != 2 || r.Items[1].Status == core.StatusSuccess {
			t.Errorf("%v: Derive Key takes the ID Placeholder: %+v, %v", v, r, err)
		}
		c.Options.ErrorOption = core.BatchErrorContinuationOptionUndo
		r, err = c.Batch(kmiptest.Item(&kmip.DeriveKey, deriveFrom(base)), kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID("nobody")}))
		if err != nil || len(r.Items) != 2 || r.Items[0].Status != core.StatusOperationUndone {
			t.Errorf("%v: Undo answers %+v, %v", v, r, err)
		}
		c.Options.ErrorOption = 0
		if links := attributesOf(t, c, base.Text, tag(core.TagLink)); len(links) != 1 {
			t.Errorf("%v: after Undo the base has %d Links, want that to the first key alone", v, len(links))
		}
	}
	c := dial(t, s, "dev", core.V2_1)
	derive := kmiptest.AESKey(256, core.MaskDeriveKey, activeNow)
	again := deriveFrom(core.Identifier{Enum: core.UniqueCreate})
	again.Attributes = again.Attributes.Set(core.TagCryptographicUsageMask, core.Mask(core.MaskDeriveKey))
	r, err := c.Batch(kmiptest.Item(&kmip.Create, derive), kmiptest.Item(&kmip.DeriveKey, again), kmiptest.Item(&kmip.DeriveKey, deriveFrom(core.Identifier{Enum: core.UniqueDeriveKey})),
		kmiptest.Item(&kmip.DeriveKey, deriveFrom(core.Identifier{Nth: new(int32(0))})))
	if err != nil || len(r.Items) != 4 || slices.ContainsFunc(r.Items, func(i kmip.ResponseItem) bool { return i.Status != core.StatusSuccess }) {
		t.Errorf("references to earlier answers: %+v, %v", r, err)
	}
}

// A statement gives another principal the right to derive, and judges the key that is derived.
func TestDeriveKeyByPolicy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Issue("alice", "default")
	base := baseKey(t, dial(t, s, "dev", core.V2_1), "0123456789abcdef0123456789abcdef")
	derive := func(bits int32, mask core.UsageMask) error {
		in := deriveFrom(base)
		in.Attributes = kmiptest.AESKey(bits, mask).Attributes
		_, err := kmiptest.Do(dial(t, s, "alice", core.V1_4), &kmip.DeriveKey, in)
		return err
	}
	if err := derive(256, core.MaskEncrypt); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("before the policy: %v; want Permission Denied", err)
	}
	applyPolicy(t, s, "derive", fmt.Sprintf(`{"keyId": %q, "statements": [{"principal": "client:alice", "actions": ["derive"], "effect": "allow",
		"conditions": {"parameters": {"algorithm": "AES", "length": 256, "usage": ["Encrypt", "Decrypt"]}}}]}`, base.Text))
	for what, c := range map[string]struct {
		bits   int32
		mask   core.UsageMask
		denied bool
	}{"what it names": {256, core.MaskEncrypt, false}, "another length": {128, core.MaskEncrypt, true}, "another usage": {256, core.MaskEncrypt | core.MaskWrapKey, true}} {
		if err := derive(c.bits, c.mask); (kmiptest.Reason(err) == core.ReasonPermissionDenied) != c.denied || (err != nil && !c.denied) {
			t.Errorf("%s: %v; denied should be %v", what, err, c.denied)
		}
	}
	if _, err := kmiptest.Do(dial(t, s, "alice", core.V1_4), &kmip.Get, &operation.GetInput{ID: base}); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("Get of the base: %v; want Permission Denied", err)
	}
}
