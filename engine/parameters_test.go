package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// What of a request would have no effect is refused, with the reason that the
// standard has for it, and changes nothing.
func TestFieldsWithoutEffectAreRefused(t *testing.T) {
	w := newWorld(t)
	occurred := int64(1)
	public := core.ObjectBody{Type: core.ObjectTypePublicKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeX509, Algorithm: core.AlgorithmRSA, Material: []byte("p")}}
	opaque := core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueData: []byte("o")}
	register := func(o core.ObjectBody, as core.Attributes) error {
		_, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: o.Type, Attributes: as, Object: o})
		return err
	}
	kept, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: opaque.Type, Object: opaque})
	if err != nil {
		t.Fatal(err)
	}
	key := w.inState(core.Active)
	verify := attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskVerify))
	resident := core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")}
	wrapping := public
	wrapping.KeyBlock = core.KeyBlock{Format: core.KeyFormatTypeRaw, Wrapped: make([]byte, 40), Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, IV: []byte("i"), Encryption: &core.WrappingKeyInfo{ID: key}}}
	before := len(w.store.objects)
	for what, c := range map[string]struct {
		want core.Code
		do   func() error
	}{
		"a compromise's date without one": {core.InvalidField, func() error {
			_, err := w.Revoke(ctx, w.alice, &operation.RevokeInput{ID: core.ID(key), Code: core.RevocationReasonCodeCessationOfOperation, CompromiseOccurrence: &occurred})
			return err
		}},
		"a public key that is Sensitive":       {core.InvalidField, func() error { return register(public, append(attrs(core.TagSensitive, core.Bool(true)), verify...)) }},
		"a public key that is not Extractable": {core.InvalidField, func() error { return register(public, append(attrs(core.TagExtractable, core.Bool(false)), verify...)) }},
		"the same of a pair": {core.InvalidField, func() error {
			_, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC), core.TagCryptographicLength, core.Int(256),
				core.TagCryptographicUsageMask, core.Mask(core.MaskSign)), Public: attrs(core.TagSensitive, core.Bool(true))})
			return err
		}},
		"data in the token":          {core.InvalidField, func() error { return register(opaque, core.Attributes{resident}) }},
		"an IV in Key Wrapping Data": {core.InvalidField, func() error { return register(wrapping, verify) }},
		"a format of what is no key": {core.KeyFormatTypeNotSupported, func() error {
			_, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(kept.ID), Format: core.KeyFormatTypeRaw})
			return err
		}},
		"parameters of no use to a KEK": {core.BadCryptographicParameters, func() error {
			_, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
				Encryption: &core.WrappingKeyInfo{ID: key, Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap, HashingAlgorithm: core.HashSHA256}}}})
			return err
		}},
	} {
		if err := c.do(); core.CodeOf(err) != c.want {
			t.Errorf("%s: %v; want %v", what, err, c.want)
		}
	}
	if len(w.store.objects) != before {
		t.Error("something was made all the same")
	}
}
