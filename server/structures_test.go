package server_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// structureKey is a key in a Transparent structure that is not read here.
type structureKey struct {
	format      core.KeyFormatType
	object      core.ObjectType
	algorithm   core.CryptographicAlgorithm
	bits        int32 // that its numbers have; 0: not known here
	since, last core.Version
	fields      []core.Field
}

func structureKeys() (all []structureKey) {
	big := func(t core.Tag, n int) core.Field {
		return core.Field{Tag: t, Value: unsigned(append([]byte{0x80}, random(n-1)...))}
	}
	p, q, g := big(core.TagP, 128), big(core.TagQ, 20), big(core.TagG, 127)
	x, y := big(core.TagX, 20), big(core.TagY, 128)
	const private, public = core.ObjectTypePrivateKey, core.ObjectTypePublicKey
	all = append(all, structureKey{core.KeyFormatTypeTransparentDSAPrivateKey, private, core.AlgorithmDSA, 1024, core.V1_0, core.V2_1, []core.Field{p, q, g, x}},
		structureKey{core.KeyFormatTypeTransparentDSAPublicKey, public, core.AlgorithmDSA, 1024, core.V1_0, core.V2_1, []core.Field{p, q, g, y}},
		structureKey{core.KeyFormatTypeTransparentDHPrivateKey, private, core.AlgorithmDH, 1024, core.V1_0, core.V2_1, []core.Field{p, g, x}},
		structureKey{core.KeyFormatTypeTransparentDHPublicKey, public, core.AlgorithmDH, 1024, core.V1_0, core.V2_1, []core.Field{p, g, y}})
	for _, curve := range []core.RecommendedCurve{core.RecommendedCurveP192, core.RecommendedCurveSECP256K1, core.RecommendedCurveBRAINPOOLP256R1, core.RecommendedCurveSECT131R1} {
		named := core.Field{Tag: core.TagRecommendedCurve, Value: core.Enum(curve)}
		d, point := big(core.TagD, 32), core.Field{Tag: core.TagQString, Value: core.Bytes(append([]byte{4}, random(64)...))}
		since, old := core.V1_3, core.V1_2
		if curve != core.RecommendedCurveP192 && curve != core.RecommendedCurveSECT131R1 {
			old = 0 // the older versions do not name it
		}
		all = append(all, structureKey{core.KeyFormatTypeTransparentECPrivateKey, private, core.AlgorithmEC, 0, since, core.V2_1, []core.Field{named, d}},
			structureKey{core.KeyFormatTypeTransparentECPublicKey, public, core.AlgorithmEC, 0, since, core.V2_1, []core.Field{named, point}},
			structureKey{core.KeyFormatTypeTransparentECDSAPrivateKey, private, core.AlgorithmECDSA, 0, core.V1_0, old, []core.Field{named, d}},
			structureKey{core.KeyFormatTypeTransparentECDSAPublicKey, public, core.AlgorithmECDSA, 0, core.V1_0, old, []core.Field{named, point}},
			structureKey{core.KeyFormatTypeTransparentECDHPrivateKey, private, core.AlgorithmECDH, 0, core.V1_0, old, []core.Field{named, d}},
			structureKey{core.KeyFormatTypeTransparentECMQVPublicKey, public, core.AlgorithmECMQV, 0, core.V1_0, old, []core.Field{named, point}})
	}
	return all
}

func (k structureKey) registration(more ...core.Attribute) *core.RegisterInput {
	mask := map[core.ObjectType]core.UsageMask{core.ObjectTypePrivateKey: core.MaskSign, core.ObjectTypePublicKey: core.MaskVerify}[k.object]
	return &core.RegisterInput{ObjectType: k.object, Attributes: append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(mask)}, activeNow}, more...),
		Object: core.ObjectBody{Type: k.object, KeyBlock: core.KeyBlock{Format: k.format, Algorithm: k.algorithm, Length: k.bits, Transparent: k.fields}}}
}

// Transparent keys that are not read here, DSA, Diffie-Hellman and curves that Go lacks,
// are kept as they came in every version: in class C alone, used by nothing, and refused
// where what is said of them contradicts them.
func TestStructuresThatAreNotReadAreKept(t *testing.T) {
	s := servertest.Start(t)
	kept := 0
	for _, v := range []core.Version{core.V1_0, core.V1_1, core.V1_2, core.V1_3, core.V1_4, core.V2_0, core.V2_1} {
		c := dial(t, s, "dev", v)
		for _, k := range structureKeys() {
			if v < k.since || v > k.last {
				continue
			}
			what := fmt.Sprintf("KMIP %v, %v", v, k.format)
			out, err := kmiptest.Do(c, &kmip.Register, k.registration())
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			kept++
			comesBack(t, c, what, k, out.ID)
			if k.object == core.ObjectTypePrivateKey {
				_, err = kmiptest.Do(c, &kmip.Sign, &core.SignInput{ID: core.ID(out.ID), Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("data")})
			} else {
				_, err = kmiptest.Do(c, &kmip.SignatureVerify, &core.SignatureVerifyInput{ID: core.ID(out.ID), Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("data"), Signature: []byte("sig")})
			}
			if v >= core.V1_2 && err == nil {
				t.Errorf("%s is used", what)
			}
			refusedStructures(t, c, v, what, k)
		}
	}
	if kept < 60 {
		t.Errorf("%d keys were kept: the test tries too little", kept)
	}
}

// sameFields compares numbers without the zeros before them, which Big Integers are
// filled up with.
func sameFields(a, b []core.Field) bool {
	return slices.EqualFunc(a, b, func(a, b core.Field) bool {
		return a.Tag == b.Tag && a.Value.Kind == b.Value.Kind && a.Value.Uint() == b.Value.Uint() && bytes.Equal(bytes.TrimLeft(a.Value.Bytes, "\x00"), bytes.TrimLeft(b.Value.Bytes, "\x00"))
	})
}

func comesBack(t *testing.T, c *kmiptest.Client, what string, k structureKey, id string) {
	t.Helper()
	got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
	kb := &got.Object.KeyBlock
	if err != nil || kb.Format != k.format || kb.Algorithm != k.algorithm || kb.Length != k.bits || !sameFields(kb.Transparent, k.fields) {
		t.Errorf("%s comes back as %v, %v of %d bits, %v: %v", what, kb.Format, kb.Algorithm, kb.Length, kb.Transparent, err)
	}
	if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id), Format: core.KeyFormatTypePKCS8}); kmiptest.Reason(err) != core.ReasonKeyFormatTypeNotSupported {
		t.Errorf("%s asked for as PKCS#8: %v", what, err)
	}
	all, err := kmiptest.Do(c, &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(id)})
	if err != nil || all.Attributes.Num(core.TagCryptographicAlgorithm) != int64(k.algorithm) {
		t.Errorf("%s has the attributes %v, %v", what, all.Attributes, err)
	}
}

func refusedStructures(t *testing.T, c *kmiptest.Client, v core.Version, what string, k structureKey) {
	t.Helper()
	tries := map[string]structureKey{}
	other := k
	other.algorithm = core.AlgorithmRSA
	tries["called RSA"] = other
	other = k
	other.fields = k.fields[:len(k.fields)-1]
	tries["without its last number"] = other
	if k.bits != 0 {
		other = k
		other.bits = 2048
		tries["with another length"] = other
	}
	other = k
	other.object = core.ObjectTypePrivateKey + core.ObjectTypePublicKey - k.object
	tries["as the other half"] = other
	for how, other := range tries {
		want := core.ReasonInvalidField
		if how == "as the other half" {
			if want = core.ReasonKeyFormatTypeNotSupported; v >= core.V2_0 { // which does not list it for Register
				want = core.ReasonFeatureNotSupported
			}
		}
		if _, err := kmiptest.Do(c, &kmip.Register, other.registration()); kmiptest.Reason(err) != want {
			t.Errorf("%s %s: %v; want %v", what, how, err, want)
		}
	}
	if k.object == core.ObjectTypePrivateKey && v >= core.V1_4 {
		for _, more := range []core.Attributes{{sensitive}, {locked}} {
			if _, err := kmiptest.Do(c, &kmip.Register, k.registration(more...)); kmiptest.Reason(err) != core.ReasonInvalidField {
				t.Errorf("%s with %v: %v; want Invalid Field", what, more, err)
			}
		}
	}
}
