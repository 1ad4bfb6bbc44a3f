package kmip_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/gemalto/kmip-go/ttlv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

// tagsOf lists the fields of a structure in order.
func tagsOf(b []byte) (tags []core.Tag) {
	for it := ttlv.TTLV(b).ValueStructure(); len(it) > 0; it = it.Next() {
		tags = append(tags, core.Tag(it.Tag()))
	}
	return tags
}

func answer[I, O any](t *testing.T, op *kmip.Operation[I, O], v core.Version, out O) []byte {
	t.Helper()
	b, err := op.AppendResponse(nil, v, &out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The header has Protocol Version, Time Stamp and Batch Count and nothing
// else, in every version: PyKMIP 0.10.0 reads no correlation value.
func TestHeaderIsBare(t *testing.T) {
	for _, v := range core.Versions {
		var r kmip.Response
		r.Begin(nil, v, 1_700_000_000, "")
		r.Failure(core.OperationGet, nil, core.StatusOperationFailed, core.ReasonItemNotFound, "no such thing")
		msg := r.End()
		header := msg[8:]
		if got := tagsOf(header); !slices.Equal(got, []core.Tag{core.TagProtocolVersion, core.TagTimeStamp, core.TagBatchCount}) {
			t.Errorf("%v: the header has %v", v, got)
		}
		if got, err := kmip.ParseResponse(msg); err != nil || got.Version != v {
			t.Errorf("%v is answered in %v: %v", v, got.Version, err)
		}
	}
}

// A failed item has no payload, not even an empty one, and always Result
// Reason and Result Message, in this order.
func TestFailedItem(t *testing.T) {
	var r kmip.Response
	r.Begin(nil, core.V1_2, 0, "")
	r.Failure(core.OperationGet, []byte("id"), core.StatusOperationFailed, core.ReasonItemNotFound, "")
	msg := r.End()
	item := ttlv.TTLV(msg).ValueStructure().Next()
	want := []core.Tag{core.TagOperation, core.TagUniqueBatchItemID, core.TagResultStatus, core.TagResultReason, core.TagResultMessage}
	if got := tagsOf(item); !slices.Equal(got, want) {
		t.Errorf("the item has %v, want %v", got, want)
	}
}

// Batch Count is that of the items that are sent, also after some were taken back.
func TestBatchCountAfterTruncate(t *testing.T) {
	var r kmip.Response
	r.Begin(nil, core.V1_2, 0, "")
	for range 3 {
		r.Failure(core.OperationGet, nil, core.StatusOperationFailed, core.ReasonItemNotFound, "a")
	}
	mark, n := r.Mark()
	r.Failure(core.OperationGet, nil, core.StatusOperationFailed, core.ReasonItemNotFound, "b")
	r.Truncate(mark, n)
	if got, err := kmip.ParseResponse(r.End()); err != nil || len(got.Items) != 3 {
		t.Errorf("%d items: %v", len(got.Items), err)
	}
}

// Answers have the fields that PyKMIP reads and no others.
func TestBareAnswers(t *testing.T) {
	as := core.Attributes{{Tag: core.TagState, Value: core.Enum(core.Active)}}
	id := operation.IDOutput{ID: "a"}
	symmetric := core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: make([]byte, 32)}}
	for _, v := range []core.Version{core.V1_0, core.V1_2, core.V1_4} {
		for what, c := range map[string]struct {
			payload []byte
			want    []core.Tag
		}{
			"Create":          {answer(t, &kmip.Create, v, operation.CreateOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: "a"}), []core.Tag{core.TagObjectType, core.TagUniqueIdentifier}},
			"Register":        {answer(t, &kmip.Register, v, operation.RegisterOutput{ID: "a"}), []core.Tag{core.TagUniqueIdentifier}},
			"Activate":        {answer(t, &kmip.Activate, v, id), []core.Tag{core.TagUniqueIdentifier}},
			"Revoke":          {answer(t, &kmip.Revoke, v, id), []core.Tag{core.TagUniqueIdentifier}},
			"Destroy":         {answer(t, &kmip.Destroy, v, id), []core.Tag{core.TagUniqueIdentifier}},
			"Archive":         {answer(t, &kmip.Archive, v, id), []core.Tag{core.TagUniqueIdentifier}},
			"Recover":         {answer(t, &kmip.Recover, v, id), []core.Tag{core.TagUniqueIdentifier}},
			"Re-key":          {answer(t, &kmip.ReKey, v, operation.CreateOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: "a"}), []core.Tag{core.TagUniqueIdentifier}},
			"Re-key Key Pair": {answer(t, &kmip.ReKeyKeyPair, v, operation.CreateKeyPairOutput{PrivateID: "a", PublicID: "b"}), []core.Tag{core.TagPrivateKeyUniqueIdentifier, core.TagPublicKeyUniqueIdentifier}},
			"Locate":          {answer(t, &kmip.Locate, v, operation.LocateOutput{Located: -1}), nil},
			"Get":             {answer(t, &kmip.Get, v, operation.GetOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: "a", Object: symmetric}), []core.Tag{core.TagObjectType, core.TagUniqueIdentifier, core.TagSymmetricKey}},
			"Encrypt":         {answer(t, &kmip.Encrypt, v, operation.EncryptOutput{ID: "a", Data: []byte("d")}), []core.Tag{core.TagUniqueIdentifier, core.TagData}},
			"Attribute":       {answer(t, &kmip.AddAttribute, v, operation.AttributeOutput{ID: "a", Attribute: as[0]}), []core.Tag{core.TagUniqueIdentifier, core.TagAttribute}},
		} {
			if got := tagsOf(c.payload); !slices.Equal(got, c.want) {
				t.Errorf("%s %v answers %v, want %v", what, v, got, c.want)
			}
		}
	}
}

// A key that is wrapped without encoding is a Byte String as Key Value, and a
// plain one has no Attribute beside its Key Material.
func TestKeyValueOfGet(t *testing.T) {
	kb := core.KeyBlock{Format: core.KeyFormatTypeRaw, Wrapped: make([]byte, 40), Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding}}
	b := answer(t, &kmip.Get, core.V1_2, operation.GetOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: "a", Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: kb}})
	if !bytes.Contains(b, []byte{0x42, 0, 0x45, byte(core.KindByteString), 0, 0, 0, 40}) {
		t.Errorf("the wrapped Key Value is no Byte String:\n%s", tree(b))
	}
	kb = core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: make([]byte, 32)}
	b = answer(t, &kmip.Get, core.V1_4, operation.GetOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: "a", Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: kb}})
	if bytes.Contains(b, []byte{0x42, 0, 0x08}) {
		t.Errorf("an Attribute stands in the Key Value:\n%s", tree(b))
	}
}

// An attribute is shown to a client of an older version without the fields
// that joined it later: Digest got its Key Format Type in 1.1, Cryptographic
// Parameters most of theirs in 1.2 and 1.4. libkmip and PyKMIP fail on them.
func TestAttributesOfOlderVersions(t *testing.T) {
	full := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC, DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmRSASSAPSS,
		CryptographicAlgorithm: core.AlgorithmAES, RandomIV: ptr(true), IVLength: ptr(int32(16)), SaltLength: ptr(int32(20)), MaskGeneratorHashing: core.HashSHA256, TrailerField: ptr(int32(1))}
	digest := core.Structure(core.Field{Tag: core.TagHashingAlgorithm, Value: core.Enum(core.HashSHA256)}, core.Field{Tag: core.TagDigestValue, Value: core.Bytes(make([]byte, 32))},
		core.Field{Tag: core.TagKeyFormatType, Value: core.Enum(core.KeyFormatTypeRaw)})
	for v, want := range map[core.Version]struct{ digest, parameters int }{core.V1_0: {2, 1}, core.V1_1: {3, 1}, core.V1_2: {3, 5}, core.V1_3: {3, 5}, core.V1_4: {3, 8}} {
		b := answer(t, &kmip.GetAttributes, v, operation.GetAttributesOutput{ID: "a", Attributes: core.Attributes{{Tag: core.TagDigest, Value: digest},
			{Tag: core.TagCryptographicParameters, Value: core.Structure(full.Fields()...)}}})
		var out operation.GetAttributesOutput
		if err := kmip.GetAttributes.DecodeResponse(b, v, &out); err != nil || len(out.Attributes) != 2 {
			t.Fatalf("%v: %+v, %v", v, out, err)
		}
		if n := len(out.Attributes[0].Value.Fields); n != want.digest {
			t.Errorf("KMIP %v is shown %d fields of Digest, want %d", v, n, want.digest)
		}
		if n := len(out.Attributes[1].Value.Fields); n != want.parameters {
			t.Errorf("KMIP %v is shown %d fields of Cryptographic Parameters, want %d", v, n, want.parameters)
		}
	}
}

// No answer of any operation has a field that its version does not know; the
// tables say since when each is there. 1.x answers have no 2.x structure.
func TestAnswersKnowTheirVersion(t *testing.T) {
	eachVersion(t, func(t *testing.T, g *gen) {
		late := newGen(g.Uint64(), core.V2_1) // makes fields of every version
		if g.v < core.V2_0 {
			late.v = core.V1_4
		}
		p := late.operation()
		if p.since > g.v || p.op == core.OperationGet { // an object is what it is
			return
		}
		var r kmip.Response
		r.Begin(nil, g.v, 0, "")
		if err := p.succeed(&r, nil, late); err != nil {
			t.Fatal(err)
		}
		youngest(t, g.v, ttlv.TTLV(r.End()))
	})
}

func youngest(t *testing.T, v core.Version, it ttlv.TTLV) {
	t.Helper()
	for in := it.ValueStructure(); len(in) > 0; in = in.Next() {
		if info := core.Tag(in.Tag()).Info(); info != nil && info.Since > v {
			t.Fatalf("KMIP %v is shown %v of KMIP %v\n%s", v, info.Name, info.Since, tree(it))
		}
		if in.Type() == ttlv.TypeStructure {
			youngest(t, v, in[:in.FullLen()])
		}
	}
}
