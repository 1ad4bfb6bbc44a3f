package kmip_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/kmip20"
	"github.com/gemalto/kmip-go/ttlv"
	ovh "github.com/ovh/kmip-go"
	_ "github.com/ovh/kmip-go/payloads"
	ovhttlv "github.com/ovh/kmip-go/ttlv"
	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

func ptr[T any](v T) *T { return &v }

var name = core.Attribute{Tag: core.TagName, Value: core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text("naïve")},
	core.Field{Tag: core.TagNameType, Value: core.Enum(core.NameTypeUninterpretedTextString)})}

var template = core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)},
	{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt | core.MaskDecrypt)}, name, {Tag: core.TagActivationDate, Value: core.Date(1_700_000_000)},
	{Vendor: "x", Name: "Site", Value: core.Text("Basel")}, {Vendor: "x", Name: "Slot", Value: core.Int(-7)}}

var parameters = &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5, RandomIV: ptr(true)}

// sample is an operation with an input and an output, tried in every version
// that has it.
type sample struct {
	op    core.Operation
	since core.Version
	trip  func(t *testing.T, v core.Version) (request, response []byte)
}

func of[I, O any](op *kmip.Operation[I, O], since core.Version, in I, out O) sample {
	return sample{op.Code, since, func(t *testing.T, v core.Version) ([]byte, []byte) {
		t.Helper()
		req, err := op.AppendRequest(nil, v, &in)
		if err != nil {
			t.Fatalf("%v %v: %v", op.Code, v, err)
		}
		var in2 I
		if err := kmip.Validate(req); err != nil {
			t.Fatalf("%v %v writes what it would not read: %v", op.Code, v, err)
		}
		if err := op.DecodeRequest(req, v, false, &in2); err != nil {
			t.Fatalf("%v %v: %v", op.Code, v, err)
		}
		again, err := op.AppendRequest(nil, v, &in2)
		if err != nil || !bytes.Equal(req, again) {
			t.Errorf("%v %v: the request written again differs: %v\n%x\n%x", op.Code, v, err, req, again)
		}
		res, err := op.AppendResponse(nil, v, &out)
		if err != nil {
			t.Fatalf("%v %v: %v", op.Code, v, err)
		}
		var out2 O
		if err := op.DecodeResponse(res, v, &out2); err != nil {
			t.Fatalf("%v %v: %v", op.Code, v, err)
		}
		if again, err = op.AppendResponse(nil, v, &out2); err != nil || !bytes.Equal(res, again) {
			t.Errorf("%v %v: the response written again differs: %v", op.Code, v, err)
		}
		return req, res
	}}
}

var id = core.ID("c3f0a3b2-1111-4222-8333-444455556666")

var keyBlock = core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: []byte("0123456789abcdef"), Algorithm: core.AlgorithmAES, Length: 128}

func samples() []sample {
	symmetric := core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: keyBlock}
	wrapped := core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Wrapped: make([]byte, 24),
		Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: id.Text, Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}}}}}
	rsa := core.ObjectBody{Type: core.ObjectTypePrivateKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPrivateKey,
		Transparent: []core.Field{{Tag: core.TagModulus, Value: core.BigInt(append([]byte{0}, bytes.Repeat([]byte{0xee}, 15)...))}}, Algorithm: core.AlgorithmRSA, Length: 120}}
	return []sample{
		of(&kmip.DiscoverVersions, core.V1_1, operation.DiscoverVersionsInput{Versions: []core.Version{core.V1_4, core.V1_0}}, operation.DiscoverVersionsOutput{Versions: core.Versions}),
		of(&kmip.Query, core.V1_0, operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations, core.QueryFunctionQueryObjects}},
			operation.QueryOutput{Operations: []core.Operation{core.OperationGet}, ObjectTypes: []core.ObjectType{core.ObjectTypeSymmetricKey}, VendorIdentification: "k", ServerInformation: []core.Field{{Tag: core.TagServerName, Value: core.Text("n")}}}),
		of(&kmip.Create, core.V1_0, operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: template}, operation.CreateOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: id.Text}),
		of(&kmip.CreateKeyPair, core.V1_0, operation.CreateKeyPairInput{Common: template[:2], Private: template[2:3], Public: template[2:3]}, operation.CreateKeyPairOutput{PrivateID: "a", PublicID: "b"}),
		of(&kmip.Register, core.V1_0, operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: template[2:3], Object: symmetric}, operation.RegisterOutput{ID: id.Text}),
		of(&kmip.Register, core.V1_1, operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: template[2:3], Object: wrapped}, operation.RegisterOutput{ID: id.Text}),
		of(&kmip.Register, core.V1_0, operation.RegisterInput{ObjectType: core.ObjectTypePrivateKey, Object: rsa}, operation.RegisterOutput{ID: id.Text}),
		of(&kmip.Register, core.V1_0, operation.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueDataType: 0x80000001, OpaqueData: []byte{}}}, operation.RegisterOutput{ID: id.Text}),
		of(&kmip.ReKey, core.V1_0, operation.RekeyInput{ID: id, Offset: ptr(int64(60)), Attributes: template[3:4]}, operation.CreateOutput{ID: id.Text}),
		of(&kmip.ReKeyKeyPair, core.V1_1, operation.RekeyKeyPairInput{ID: id, Offset: ptr(int64(60)), CreateKeyPairInput: operation.CreateKeyPairInput{Common: template[:2], Private: template[2:3], Public: template[2:3]}}, operation.CreateKeyPairOutput{PrivateID: "a", PublicID: "b"}),
		of(&kmip.DeriveKey, core.V1_0, operation.DeriveKeyInput{ObjectType: core.ObjectTypeSymmetricKey, IDs: []core.Identifier{id, id}, Method: core.DerivationMethodPBKDF2, Attributes: template[2:3],
			Parameters: operation.DerivationParameters{Parameters: parameters, IV: make([]byte, 16), Data: [][]byte{{1, 2}}, Salt: []byte("salt"), Iterations: ptr(int32(1000))}}, operation.DeriveKeyOutput{ID: id.Text}),
		of(&kmip.DeriveKey, core.V2_0, operation.DeriveKeyInput{ObjectType: core.ObjectTypeSecretData, IDs: []core.Identifier{id}, Method: core.DerivationMethodHKDF, Attributes: template[2:3],
			Parameters: operation.DerivationParameters{Data: [][]byte{{1}, {}, {2}}}}, operation.DeriveKeyOutput{ID: id.Text}),
		of(&kmip.Locate, core.V1_0, operation.LocateInput{MaximumItems: 5, Attributes: template[3:5]}, operation.LocateOutput{Located: 2, IDs: []string{"a", "b"}}),
		of(&kmip.Check, core.V1_0, operation.CheckInput{ID: id, UsageLimitsCount: ptr(int64(5)), Mask: ptr(core.MaskEncrypt), LeaseTime: ptr(uint32(9))}, operation.CheckOutput{ID: id.Text}),
		of(&kmip.Get, core.V1_0, operation.GetInput{ID: id, Format: core.KeyFormatTypeRaw}, operation.GetOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: id.Text, Object: symmetric}),
		of(&kmip.GetAttributes, core.V1_0, operation.GetAttributesInput{ID: id, Names: []core.AttributeName{{Tag: core.TagState}, {Vendor: "x", Name: "Site"}}}, operation.GetAttributesOutput{ID: id.Text, Attributes: template}),
		of(&kmip.GetAttributeList, core.V1_0, operation.GetAttributeListInput{ID: id}, operation.GetAttributeListOutput{ID: id.Text, Names: []core.AttributeName{{Tag: core.TagState}, {Vendor: "x", Name: "Site"}}}),
		of(&kmip.AddAttribute, core.V1_0, operation.AddAttributeInput{ID: id, Attribute: name}, operation.AttributeOutput{ID: id.Text, Attribute: name}),
		of(&kmip.ModifyAttribute, core.V1_0, operation.ModifyAttributeInput{ID: id, Name: name.Ref(), New: name}, operation.AttributeOutput{ID: id.Text, Attribute: name}),
		of(&kmip.DeleteAttribute, core.V1_0, operation.DeleteAttributeInput{ID: id, Name: name.Ref()}, operation.AttributeOutput{ID: id.Text, Attribute: name}),
		of(&kmip.SetAttribute, core.V2_0, operation.SetAttributeInput{ID: id, Attribute: template[4]}, operation.AttributeOutput{ID: id.Text}),
		of(&kmip.Activate, core.V1_0, operation.ActivateInput{ID: id}, operation.IDOutput{ID: id.Text}),
		of(&kmip.Revoke, core.V1_0, operation.RevokeInput{ID: id, Code: core.RevocationReasonCodeKeyCompromise, Message: "m", CompromiseOccurrence: ptr(int64(0))}, operation.IDOutput{ID: id.Text}),
		of(&kmip.Destroy, core.V1_0, operation.DestroyInput{ID: id}, operation.IDOutput{ID: id.Text}),
		of(&kmip.Archive, core.V1_0, operation.LifeInput{ID: id}, operation.IDOutput{ID: id.Text}),
		of(&kmip.Recover, core.V1_0, operation.LifeInput{ID: id}, operation.IDOutput{ID: id.Text}),
		of(&kmip.Encrypt, core.V1_2, operation.EncryptInput{ID: id, Parameters: parameters, Data: []byte("d"), IV: make([]byte, 16)}, operation.EncryptOutput{ID: id.Text, Data: []byte("e"), IV: make([]byte, 16)}),
		of(&kmip.Decrypt, core.V1_2, operation.DecryptInput{ID: id, Parameters: parameters, Data: []byte("d")}, operation.DecryptOutput{ID: id.Text, Data: []byte{}}),
		of(&kmip.Sign, core.V1_2, operation.SignInput{ID: id, Data: []byte("d")}, operation.SignOutput{ID: id.Text, Signature: []byte("s")}),
		of(&kmip.SignatureVerify, core.V1_2, operation.SignatureVerifyInput{ID: id, Data: []byte("d"), Signature: []byte("s")}, operation.SignatureVerifyOutput{ID: id.Text, Validity: core.ValidityIndicatorValid}),
		of(&kmip.MAC, core.V1_2, operation.MACInput{ID: id, Data: []byte("d")}, operation.MACOutput{ID: id.Text, MAC: []byte("m")}),
		of(&kmip.MACVerify, core.V1_2, operation.MACVerifyInput{ID: id, Data: []byte("d"), MAC: []byte("m")}, operation.MACVerifyOutput{ID: id.Text, Validity: core.ValidityIndicatorInvalid}),
		of(&kmip.Hash, core.V1_2, operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("d")}, operation.HashOutput{Data: []byte("h")}),
		of(&kmip.RNGRetrieve, core.V1_2, operation.RNGRetrieveInput{Length: 8}, operation.RNGRetrieveOutput{Data: []byte("r")}),
		of(&kmip.RNGSeed, core.V1_2, operation.RNGSeedInput{Data: []byte("s")}, operation.RNGSeedOutput{Amount: 1}),
	}
}

// Every payload is read back as it was written, in every version that has it;
// gemalto finds it valid, and ovh writes the same bytes from its own types.
func TestRoundTrips(t *testing.T) {
	for _, s := range samples() {
		for _, v := range core.Versions {
			if v < s.since {
				continue
			}
			req, res := s.trip(t, v)
			for _, b := range [][]byte{req, res} {
				if err := ttlv.TTLV(b).Valid(); err != nil {
					t.Errorf("%v %v: gemalto does not take it: %v", s.op, v, err)
				}
			}
			if v <= core.V1_4 && !ovhLacks[s.op] {
				if err := ovhAgrees(s.op, v, req); err != nil {
					t.Errorf("%v %v: ovh: %v", s.op, v, err)
				}
			}
		}
	}
}

// ovhLacks lists the operations that ovh/kmip-go has no payloads for.
var ovhLacks = map[core.Operation]bool{core.OperationCheck: true, core.OperationMAC: true, core.OperationMACVerify: true, core.OperationHash: true,
	core.OperationRNGRetrieve: true, core.OperationRNGSeed: true, core.OperationSetAttribute: true}

// ovhAgrees has ovh/kmip-go read a request of ours into its own types and write
// it again: the bytes must be ours.
func ovhAgrees(op core.Operation, v core.Version, payload []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	msg, err := kmip.AppendRequest(nil, v, kmip.RequestOptions{}, kmip.ClientItem{Operation: op, Payload: func(dst []byte, _ core.Version) ([]byte, error) { return append(dst, payload...), nil }})
	if err != nil {
		return err
	}
	var theirs ovh.RequestMessage
	if err := ovhttlv.UnmarshalTTLV(bytes.Clone(msg), &theirs); err != nil {
		return err
	}
	if again := ovhttlv.MarshalTTLV(&theirs); !bytes.Equal(again, msg) {
		return fmt.Errorf("it writes\n%x\nwhere we write\n%x", again, msg)
	}
	return nil
}

// Every tag and enumeration value that gemalto knows is ours too, under the same
// name. The list of differences is short and each has its reason.
func TestTablesAgreeWithGemalto(t *testing.T) {
	n := 0
	for _, register := range []func(*ttlv.Registry){kmip14.Register, kmip20.Register} { // 2.0 replaces enumerations of 1.4
		var theirs ttlv.Registry
		register(&theirs)
		n += compareTables(t, &theirs)
	}
	if n < 350 {
		t.Errorf("only %d tags were compared", n)
	}
}

// reserved is a number that the standard gives no tag.
const reserved = 0x420137

func compareTables(t *testing.T, r *ttlv.Registry) (n int) {
	for _, tag := range r.Tags().Values() {
		ours := core.Tag(tag).Info()
		theirs, _ := r.Tags().CanonicalName(tag)
		if ours == nil {
			if tag == reserved {
				continue
			}
			t.Errorf("tag %06X %s is not ours", tag, theirs)
			continue
		}
		n++
		if squeeze(ours.Name) != squeeze(theirs) {
			t.Errorf("tag %06X is %q here and %q there", tag, ours.Name, theirs)
		}
		e := r.EnumForTag(ttlv.Tag(tag))
		if e == nil {
			continue
		}
		if ours.Enum == nil {
			for _, v := range e.Values() { // an Attribute Reference is a tag (KMIP 2.1 §11.4)
				if v != reserved && core.Tag(v).Info() == nil {
					t.Errorf("%s has a value %08X there and none here", ours.Name, v)
				}
			}
			continue
		}
		for _, v := range e.Values() {
			name, _ := e.CanonicalName(v)
			row := ours.Enum.Lookup(v)
			key := fmt.Sprintf("%s %08X", ours.Name, v)
			if row == nil && !foreign[key] {
				t.Errorf("%s has no value %08X, which is %q there", ours.Name, v, name)
			} else if row != nil && squeeze(row.Name) != squeeze(name) && misspelt[key] == "" {
				t.Errorf("%s is %q here and %q there", key, row.Name, name)
			}
		}
	}
	return n
}

// misspelt lists values whose names differ; ours are those of the tables of
// KMIP 1.4 §9.1.3 and 2.1 §11, with what the text of the specification lost.
var misspelt = map[string]string{
	"Cryptographic Usage Mask 00000400": "the table adds (Non Repudiation)",
	"Split Key Method 00000002":         "GF(2^16) in the table, without its superscript",
	"Split Key Method 00000004":         "GF(2^8) in the table, without its superscript",
	"Mask Generator 00000001":           "MGF1 in the table of 1.4, MFG1 in that of 2.1",
}

func squeeze(s string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "", "/", "", ".", "", "#", "", "(", "", ")", "").Replace(s))
}

// foreign lists values that gemalto has and the standard reserves.
var foreign = map[string]bool{"Profile Name 00000118": true, "Profile Name 00000119": true, "Profile Name 0000011A": true, "Profile Name 0000011B": true}

func TestHostileFrames(t *testing.T) {
	header := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{0x42, 0, 0x78, 1}, n) }
	if _, err := kmip.FrameLength(header(0xffff_fff8), 1<<20); err == nil {
		t.Error("a header that claims 4 GiB was taken")
	}
	nested := func(n int) []byte {
		b := []byte{}
		for range n {
			b = append(header(uint32(len(b))), b...)
		}
		return b
	}
	for what, b := range map[string][]byte{
		"nothing": {}, "three bytes": {0x42, 0, 0x78}, "30 nested structures": nested(30), "1000 nested structures": nested(1000),
		"an Integer of no bytes":          {0x42, 0, 0x0d, 2, 0, 0, 0, 0},
		"an empty Big Integer":            {0x42, 0, 0x52, 4, 0, 0, 0, 0},
		"a structure of 3 bytes":          append(header(3), make([]byte, 8)...),
		"a Boolean of 2":                  {0x42, 0, 7, 6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2},
		"padding that is not zero":        {0x42, 0, 0x0d, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 9},
		"text that is no UTF-8":           {0x42, 0, 0x94, 7, 0, 0, 0, 1, 0xff, 0, 0, 0, 0, 0, 0, 0},
		"type 0":                          {0x42, 0, 0x0d, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0},
		"type 12":                         {0x42, 0, 0x0d, 12, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0},
		"a tag of another world":          {0x43, 0, 0x0d, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0},
		"an item longer than its message": {0x42, 0, 0x94, 7, 0, 0, 0, 99, 65, 0, 0, 0, 0, 0, 0, 0},
		"an item behind the message":      append([]byte{0x42, 0, 0x0d, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0}, 0x42, 0, 0x0d, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0),
	} {
		if err := kmip.Validate(b); core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("%s: %v; want InvalidMessage", what, err)
		}
		if _, err := kmip.ParseRequest(b); err == nil {
			t.Errorf("%s was read as a request", what)
		}
	}
}

// A message is one Request Header and then Batch Items: what stands elsewhere
// could mean one thing to us and another to who wrote it.
func TestEnvelopeRules(t *testing.T) {
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmip.ClientItem{Operation: core.OperationDiscoverVersions,
		Payload: func(dst []byte, v core.Version) ([]byte, error) {
			return kmip.DiscoverVersions.AppendRequest(dst, v, &operation.DiscoverVersionsInput{})
		}})
	if err != nil {
		t.Fatal(err)
	}
	header := 8 + int(binary.BigEndian.Uint32(msg[12:])) + 8
	head, items := msg[8:header], msg[header:]
	stray := []byte{0x42, 0, 0x0d, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0}
	vendor := []byte{0x54, 0, 1, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0}
	for what, c := range map[string]struct {
		parts [][]byte
		ok    bool
	}{
		"as it is":               {[][]byte{head, items}, true},
		"an extension behind":    {[][]byte{head, items, vendor}, true},
		"two headers":            {[][]byte{head, head, items}, false},
		"a header at the end":    {[][]byte{head, items, head}, false},
		"the header last":        {[][]byte{items, head}, false},
		"a stray field":          {[][]byte{head, stray, items}, false},
		"an item too many":       {[][]byte{head, items, items}, false},
		"no items":               {[][]byte{head}, false},
		"no header":              {[][]byte{items}, false},
		"nothing in the message": {nil, false},
	} {
		body := bytes.Join(c.parts, nil)
		_, err := kmip.ParseRequest(append(binary.BigEndian.AppendUint32(bytes.Clone(msg[:4]), uint32(len(body))), body...))
		if (err == nil) != c.ok || (err != nil && core.CodeOf(err) != core.InvalidMessage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Reading takes time in proportion to the message: ten times the items take
// about ten times the work of one processor, not a hundred, however busy it is.
func TestReadingIsLinear(t *testing.T) {
	message := func(n int) []byte {
		out := operation.LocateOutput{IDs: make([]string, n)} // no list of a request is as long
		for i := range out.IDs {
			out.IDs[i] = "c3f0a3b2-1111-4222-8333-444455556666"
		}
		b, err := kmip.Locate.AppendResponse(nil, core.V1_4, &out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	small, large := message(800), message(8000)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	work := func() time.Duration {
		var used unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Nano())
	}
	clock := func(b []byte) time.Duration {
		best := time.Hour
		for range 20 {
			began := work()
			var out operation.LocateOutput
			if err := kmip.Validate(b); err != nil {
				t.Fatal(err)
			}
			if err := kmip.Locate.DecodeResponse(b, core.V1_4, &out); err != nil {
				t.Fatal(err)
			}
			best = min(best, max(work()-began, time.Microsecond))
		}
		return best
	}
	if a, b := clock(small), clock(large); b > 40*a {
		t.Errorf("800 identifiers take %v of work and 8,000 take %v", a, b)
	}
}

func TestPayloadRules(t *testing.T) {
	req, err := kmip.Get.AppendRequest(nil, core.V1_4, &operation.GetInput{ID: id, Format: core.KeyFormatTypeRaw})
	if err != nil {
		t.Fatal(err)
	}
	body := req[8:]
	payload := func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0x42, 0, 0x79, 1}, uint32(len(b))), b...)
	}
	format := body[len(body)-16:]
	for what, c := range map[string]struct {
		b       []byte
		lenient bool
		code    core.Code // Internal: allowed
	}{
		"as it is":                 {payload(body), false, core.Internal},
		"fields the other way":     {payload(append(bytes.Clone(format), body[:len(body)-16]...)), false, core.Internal},
		"a field twice":            {payload(append(bytes.Clone(body), format...)), false, core.InvalidMessage},
		"a field of another place": {payload(append(bytes.Clone(body), 0x42, 0, 0x0d, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0)), false, core.InvalidField},
		"the same, leniently":      {payload(append(bytes.Clone(body), 0x42, 0, 0x0d, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0)), true, core.Internal},
		"an extension":             {payload(append(bytes.Clone(body), 0x54, 0, 1, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0)), false, core.Internal},
		"an unknown format":        {payload(append(bytes.Clone(body[:len(body)-16]), 0x42, 0, 0x42, 5, 0, 0, 0, 4, 0, 0, 0, 0x77, 0, 0, 0, 0)), false, core.InvalidField},
		"a format as text":         {payload(append(bytes.Clone(body[:len(body)-16]), 0x42, 0, 0x42, 7, 0, 0, 0, 3, 'R', 'a', 'w', 0, 0, 0, 0, 0)), false, core.InvalidMessage},
		"nothing":                  {nil, false, core.Internal},
	} {
		if err := kmip.Validate(c.b); c.b != nil && err != nil {
			t.Fatal(err)
		}
		var in operation.GetInput
		err := kmip.Get.DecodeRequest(c.b, core.V1_4, c.lenient, &in)
		if (err == nil) != (c.code == core.Internal) || core.CodeOf(err) != c.code {
			t.Errorf("%s: %v; want code %v", what, err, c.code)
		}
	}
}

// The rules by which stock PyKMIP can read an answer.
func TestAnswersThatPyKMIPReads(t *testing.T) {
	var r kmip.Response
	r.Begin(nil, core.V1_2, 1_700_000_000, "")
	r.Failure(core.OperationGet, nil, core.StatusOperationFailed, core.ReasonItemNotFound, "no such thing")
	msg := bytes.Clone(r.End())
	got, err := kmip.ParseResponse(msg)
	if err != nil || got.Version != core.V1_2 || got.TimeStamp != 1_700_000_000 || len(got.Items) != 1 {
		t.Fatalf("header or count: %+v, %v", got, err)
	}
	if i := got.Items[0]; i.Payload != nil || i.Reason == 0 || i.Message == "" {
		t.Errorf("a failed item must have reason and message and no payload: %+v", i)
	}
	if bytes.Contains(msg, []byte{0x42, 1, 5}) || bytes.Contains(msg, []byte{0x42, 1, 6}) {
		t.Error("a correlation value reached a client that sent none")
	}
	reg, _ := kmip.Register.AppendResponse(nil, core.V1_2, &operation.RegisterOutput{ID: "a"})
	if bytes.Contains(reg, []byte{0x42, 0, 0x57}) || bytes.Contains(reg, []byte{0x42, 0, 0x91}) {
		t.Error("Register answers more than the Unique Identifier")
	}
	enc, _ := kmip.Encrypt.AppendResponse(nil, core.V1_2, &operation.EncryptOutput{ID: "a", Data: []byte("data"), Tag: []byte("tag!")})
	if !bytes.Contains(enc, []byte("datatag!")) {
		t.Error("below 1.4 the tag must stand at the end of the data")
	}
	attrs, _ := kmip.GetAttributes.AppendResponse(nil, core.V1_0, &operation.GetAttributesOutput{ID: "a", Attributes: core.Attributes{{Tag: core.TagFresh, Value: core.Bool(true)},
		{Tag: core.TagSensitive, Value: core.Bool(true)}, {Tag: core.TagState, Value: core.Enum(core.Active)}}})
	if bytes.Contains(attrs, []byte("Fresh")) || bytes.Contains(attrs, []byte("Sensitive")) || !bytes.Contains(attrs, []byte("State")) {
		t.Error("a 1.0 client was shown attributes of later versions, or not its own")
	}
	vendor := bytes.Index(queryAnswer(t), []byte{0x42, 0, 0x9d})
	if server := bytes.Index(queryAnswer(t), []byte{0x42, 0, 0x88}); vendor < 0 || server < vendor {
		t.Error("Vendor Identification must stand before Server Information")
	}
}

func queryAnswer(t *testing.T) []byte {
	b, err := kmip.Query.AppendResponse(nil, core.V1_2, &operation.QueryOutput{VendorIdentification: "v", ServerInformation: []core.Field{{Tag: core.TagServerName, Value: core.Text("s")}},
		Capabilities: []core.Field{{Tag: core.TagCapabilityInformation, Value: core.Structure()}}})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte{0x42, 0, 0xf7}) {
		t.Error("Capability Information reached a 1.2 client")
	}
	return b
}

func TestPrint(t *testing.T) {
	b, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmip.ClientItem{Operation: core.OperationGet,
		Payload: func(dst []byte, v core.Version) ([]byte, error) {
			return kmip.Get.AppendRequest(dst, v, &operation.GetInput{ID: id})
		}})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := kmip.Print(&text, b); err != nil || !strings.Contains(text.String(), "Get") || !strings.Contains(text.String(), id.Text) {
		t.Errorf("printed %q, %v", text.String(), err)
	}
	if x, err := kmip.XML(b); err != nil || !bytes.Contains(x, []byte("UniqueIdentifier")) {
		t.Errorf("XML %s, %v", x, err)
	}
}

func TestGetAllocatesLittle(t *testing.T) {
	req, _ := kmip.Get.AppendRequest(nil, core.V1_4, &operation.GetInput{ID: id})
	out := operation.GetOutput{ObjectType: core.ObjectTypeSymmetricKey, ID: id.Text, Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: keyBlock}}
	buf := make([]byte, 0, 1024)
	n := testing.AllocsPerRun(200, func() {
		var in operation.GetInput
		if err := kmip.Validate(req); err != nil {
			t.Fatal(err)
		}
		if err := kmip.Get.DecodeRequest(req, core.V1_4, false, &in); err != nil {
			t.Fatal(err)
		}
		if _, err := kmip.Get.AppendResponse(buf, core.V1_4, &out); err != nil {
			t.Fatal(err)
		}
	})
	if t.Logf("%v allocations", n); n > 12 {
		t.Errorf("reading a Get and writing its answer costs %v allocations, want 12 at most", n)
	}
}

// A field that stands twice is refused wherever it has one value, also in the
// envelope and where unknown fields are let pass: the second could be read by
// somebody else (KMIP 1.2 §11.1).
func TestFieldsTwice(t *testing.T) {
	item := func(tag core.Tag, k core.Kind, value ...byte) []byte {
		b := binary.BigEndian.AppendUint32([]byte{byte(tag >> 16), byte(tag >> 8), byte(tag), byte(k)}, uint32(len(value)))
		return append(append(b, value...), make([]byte, -len(value)&7)...)
	}
	get, destroy := item(core.TagOperation, core.KindEnumeration, 0, 0, 0, byte(core.OperationGet)), item(core.TagOperation, core.KindEnumeration, 0, 0, 0, byte(core.OperationDestroy))
	payload := item(core.TagRequestPayload, core.KindStructure)
	one := item(core.TagUniqueIdentifier, core.KindTextString, []byte("one")...)
	message := func(parts ...[]byte) []byte {
		header := item(core.TagRequestHeader, core.KindStructure, append(item(core.TagProtocolVersion, core.KindStructure,
			append(item(core.TagProtocolVersionMajor, core.KindInteger, 0, 0, 0, 1), item(core.TagProtocolVersionMinor, core.KindInteger, 0, 0, 0, 4)...)...),
			item(core.TagBatchCount, core.KindInteger, 0, 0, 0, 1)...)...)
		return item(core.TagRequestMessage, core.KindStructure, append(header, item(core.TagBatchItem, core.KindStructure, bytes.Join(parts, nil)...)...)...)
	}
	if _, err := kmip.ParseRequest(message(get, payload)); err != nil {
		t.Fatal(err)
	}
	for what, msg := range map[string][]byte{"Operation": message(get, destroy, payload), "Operation at the end": message(get, payload, destroy), "Request Payload": message(get, payload, payload)} {
		if _, err := kmip.ParseRequest(msg); core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("%s twice: %v; want InvalidMessage", what, err)
		}
	}
	for _, lenient := range []bool{false, true} {
		var in operation.GetInput
		err := kmip.Get.DecodeRequest(item(core.TagRequestPayload, core.KindStructure, append(bytes.Clone(one), item(core.TagUniqueIdentifier, core.KindTextString, []byte("two")...)...)...), core.V1_4, lenient, &in)
		if core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("Unique Identifier twice in Get, lenient %v: %v; want InvalidMessage", lenient, err)
		}
		var del operation.DeleteAttributeInput
		name := item(core.TagAttributeName, core.KindTextString, []byte("x-a")...)
		err = kmip.DeleteAttribute.DecodeRequest(item(core.TagRequestPayload, core.KindStructure, bytes.Join([][]byte{one, name, name}, nil)...), core.V1_4, lenient, &del)
		if core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("Attribute Name twice in Delete Attribute, lenient %v: %v; want InvalidMessage", lenient, err)
		}
	}
}
