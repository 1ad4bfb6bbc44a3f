package kmip_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gemalto/kmip-go/ttlv"
	ovh "github.com/ovh/kmip-go"
	ovhttlv "github.com/ovh/kmip-go/ttlv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// besideProject is the folder with OASIS' cases.
func besideProject() string {
	if shared := os.Getenv("KEYREEVE_SHARED"); shared != "" {
		return shared
	}
	return filepath.Join("..", "..", "shared")
}

// seeds adds messages of every version, and OASIS' own where they lie beside
// the project.
func seeds(f *testing.F, add func(msg []byte, request bool)) {
	t := &testing.T{}
	for _, v := range core.Versions {
		for seed := range uint64(6) {
			g := newGen(seed, v)
			add(g.request(t), true)
			add(g.response(t), false)
		}
	}
	g := newGen(1, core.V1_4)
	for range 4 { // with credentials
		m := ovh.NewRequestMessage(ovh.V1_4)
		g.fill(reflect.ValueOf(&m.Header).Elem())
		m.Header.ProtocolVersion = ovh.V1_4
		add(ovhttlv.MarshalTTLV(&m), true)
	}
	files, _ := filepath.Glob(filepath.Join(besideProject(), "oasis/cases/*/mandatory/*.xml"))
	for i, file := range files {
		if i%8 != 0 {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(text)); ; {
			tok, err := d.Token()
			if err != nil {
				break
			}
			if start, ok := tok.(xml.StartElement); ok && strings.HasSuffix(start.Name.Local, "Message") {
				var msg ttlv.TTLV
				if d.DecodeElement(&msg, &start) == nil { // those with variables are no messages
					add(msg, start.Name.Local == "RequestMessage")
				}
			}
		}
	}
}

// Whatever is valid here is valid to gemalto's codec too.
func FuzzTTLV(f *testing.F) {
	seeds(f, func(msg []byte, _ bool) { f.Add(msg) })
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 8 {
			if n, err := kmip.FrameLength(b[:8], kmip.MaxMessageBytes); err == nil && (n < 8 || n > kmip.MaxMessageBytes) {
				t.Errorf("a frame of %d bytes", n)
			}
		}
		if kmip.Validate(b) != nil {
			return
		}
		var text strings.Builder
		if kmip.Print(&text, b) != nil { // nested too deep for gemalto, which takes 2^depth
			return
		}
		if err := ttlv.TTLV(b).Valid(); err != nil {
			t.Errorf("taken here and refused by gemalto: %v", err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	seeds(f, func(msg []byte, request bool) {
		if request {
			f.Add(msg)
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := kmip.ParseRequest(b)
		if err != nil {
			return
		}
		if len(r.Items) != int(r.Header.BatchCount) || len(r.Items) > kmip.MaxBatchItems || !kmip.Known(r.Header.Version) {
			t.Errorf("%d items, Batch Count %d, version %v", len(r.Items), r.Header.BatchCount, r.Header.Version)
		}
		for _, i := range r.Items {
			for _, p := range everyOperation {
				if p.op == i.Operation {
					stable(t, p, i.Payload, r.Header.Version, false)
				}
			}
		}
	})
}

func FuzzResponse(f *testing.F) {
	seeds(f, func(msg []byte, request bool) {
		if !request {
			f.Add(msg)
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := kmip.ParseResponse(b)
		if err != nil || !kmip.Known(r.Version) {
			return
		}
		for _, i := range r.Items {
			for _, p := range everyOperation {
				if p.op == i.Operation {
					stable(t, p, i.Payload, r.Version, true)
				}
			}
		}
	})
}

// payloadSeeds adds payloads of some operations; the selectors are places in
// everyOperation and core.Versions.
func payloadSeeds(f *testing.F, ops ...core.Operation) {
	for v, version := range core.Versions {
		for o, p := range everyOperation {
			for seed := range uint64(2) {
				if p.since <= version && (len(ops) == 0 || set2(ops...)[p.op]) {
					req, res := p.make(&testing.T{}, newGen(seed, version))
					f.Add(byte(o), byte(v), false, req)
					f.Add(byte(o), byte(v), true, res)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, o, v byte, response bool, b []byte) {
		if kmip.Validate(b) == nil {
			stable(t, everyOperation[int(o)%len(everyOperation)], b, core.Versions[int(v)%len(core.Versions)], response)
		}
	})
}

func set2(ops ...core.Operation) map[core.Operation]bool {
	s := map[core.Operation]bool{}
	for _, o := range ops {
		s[o] = true
	}
	return s
}

func FuzzPayload(f *testing.F) { payloadSeeds(f) }

// FuzzAttributes works on attributes and their names in both styles, FuzzObject
// on objects, key blocks and how they are wrapped.
func FuzzAttributes(f *testing.F) {
	payloadSeeds(f, core.OperationGetAttributes, core.OperationGetAttributeList, core.OperationAddAttribute, core.OperationModifyAttribute, core.OperationDeleteAttribute,
		core.OperationSetAttribute, core.OperationLocate)
}

func FuzzObject(f *testing.F) { payloadSeeds(f, core.OperationRegister, core.OperationGet) }

// stable reads a payload: what is taken is written, read and written again as
// the same bytes.
func stable(t *testing.T, p produced, payload []byte, v core.Version, response bool) {
	t.Helper()
	read := p.readRequest
	if response {
		read = p.readResponse
	}
	once, err := read(payload, v)
	if err != nil {
		return
	}
	if err := kmip.Validate(once); err != nil {
		t.Fatalf("%v %v: what was read is written wrongly: %v", p.op, v, err)
	}
	twice, err := read(once, v)
	if err != nil {
		if p.op == core.OperationDeleteAttribute || p.op == core.OperationGetAttributes { // a name that the version does not have is not written
			return
		}
		t.Fatalf("%v %v: what was written is not read again: %v\n%s", p.op, v, err, tree(once))
	}
	differ(t, once, twice)
}

// What a wrapped key is under TTLV Encoding comes from a client by way of the token.
func FuzzKeyValue(f *testing.F) {
	for v, version := range core.Versions {
		for seed := range uint64(8) {
			g := newGen(seed, version)
			kb := g.keyBlock(pick(g, core.ObjectTypeSymmetricKey, core.ObjectTypePrivateKey, core.ObjectTypePublicKey))
			b, err := kmip.AppendKeyValue(nil, &kb, version)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(v), b)
		}
	}
	f.Fuzz(func(t *testing.T, v byte, b []byte) {
		version := core.Versions[int(v)%len(core.Versions)]
		var kb, again core.KeyBlock
		if kmip.ReadKeyValue(b, &kb, version) != nil || kb.Material == nil && kb.Transparent == nil {
			return
		}
		once, err := kmip.AppendKeyValue(nil, &kb, version)
		if err != nil {
			t.Fatal(err)
		}
		if err := kmip.ReadKeyValue(once, &again, version); err != nil {
			t.Fatalf("what was written is not read again: %v\n%s", err, tree(once))
		}
		twice, _ := kmip.AppendKeyValue(nil, &again, version)
		differ(t, once, twice)
	})
}

// leastMemory is what f takes at least of a few times: the first fills pools.
func leastMemory(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// Memory is bounded by the input, whatever it is made of: each shape is read
// at two sizes, and neither takes more than so many bytes for one of the input.
func TestMemoryIsLinear(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own; run this test without -race")
	}
	item := func(tag core.Tag, k core.Kind, value []byte) []byte {
		n := len(value)
		b := []byte{byte(tag >> 16), byte(tag >> 8), byte(tag), byte(k), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
		return append(append(b, value...), make([]byte, -n&7)...)
	}
	empty := item(0x540001, core.KindStructure, nil)
	attribute := func(value []byte) []byte {
		return item(core.TagAttribute, core.KindStructure, append(item(core.TagAttributeName, core.KindTextString, []byte("x-a")), item(core.TagAttributeValue, core.KindStructure, value)...))
	}
	one := func(t core.Tag) []byte { return item(t, core.KindInteger, []byte{0, 0, 0, 1}) }
	shapes := map[string]func(n int) []byte{
		"empty structures in an attribute": func(n int) []byte { return attribute(bytes.Repeat(empty, n)) },
		"small attributes":                 func(n int) []byte { return bytes.Repeat(attribute(nil), n) },
		"vendor fields":                    func(n int) []byte { return bytes.Repeat(empty, n) },
		"one field again and again":        func(n int) []byte { return bytes.Repeat(one(core.TagMaximumItems), n) },
		"unknown fields":                   func(n int) []byte { return bytes.Repeat(one(core.TagBatchCount), n) },
		"names of Templates": func(n int) []byte {
			return item(core.TagTemplateAttribute, core.KindStructure, bytes.Repeat(item(core.TagName, core.KindStructure, item(core.TagNameValue, core.KindTextString, []byte("a"))), n))
		},
		"names of attributes": func(n int) []byte {
			return bytes.Repeat(item(core.TagAttributeName, core.KindTextString, []byte("x-a")), n)
		},
		"parameters": func(n int) []byte {
			return item(core.TagCryptographicParameters, core.KindStructure, bytes.Repeat(one(core.TagIVLength), n))
		},
		"key material": func(n int) []byte {
			return item(core.TagSymmetricKey, core.KindStructure, item(core.TagKeyBlock, core.KindStructure, append(item(core.TagKeyFormatType, core.KindEnumeration, []byte{0, 0, 0, 7}),
				item(core.TagKeyValue, core.KindStructure, item(core.TagKeyMaterial, core.KindStructure, bytes.Repeat(empty, n)))...)))
		},
	}
	const perByte, base = 24, 64 << 10
	for what, shape := range shapes {
		for _, n := range []int{500, 15_000} {
			payload := item(core.TagRequestPayload, core.KindStructure, shape(n))
			if err := kmip.Validate(payload); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			for _, p := range everyOperation {
				for _, v := range []core.Version{core.V1_4, core.V2_1} {
					if used := leastMemory(func() { p.readRequest(payload, v) }); used > perByte*uint64(len(payload))+base {
						t.Errorf("%v %v, %d %s: %d bytes for %d", p.op, v, n, what, used, len(payload))
					}
				}
			}
		}
	}
}

// Every item of a message, made an item of another type, is answered with an
// error or read, and never with a panic.
func TestWrongTypes(t *testing.T) {
	other := [][]byte{{2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0}, {8, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0}, {7, 0, 0, 0, 0}, {1, 0, 0, 0, 0}, {5, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0}}
	m := ovh.NewRequestMessage(ovh.V1_4)
	m.Header.Authentication = &ovh.Authentication{Credential: ovh.Credential{CredentialType: ovh.CredentialTypeUsernameAndPassword, CredentialValue: ovh.CredentialValue{UserPassword: &ovh.CredentialValueUserPassword{Username: "a", Password: "b"}}}}
	m.Header.AttestationType = []ovh.AttestationType{1}
	tries := [][]byte{ovhttlv.MarshalTTLV(&m)}
	for _, v := range core.Versions {
		for seed := range uint64(4) {
			g := newGen(seed, v)
			tries = append(tries, g.request(t), g.response(t))
		}
	}
	for _, msg := range tries {
		for n := range 400 {
			for _, o := range other {
				at := n
				changed := exchange(msg, &at, o)
				if at >= 0 { // the message has fewer items
					break
				}
				if err := kmip.Validate(changed); err != nil {
					t.Fatal(err)
				}
				readAll(t, changed)
			}
		}
	}
}

// exchange writes items again, with what follows the tag of the n-th replaced.
func exchange(b []byte, n *int, by []byte) (out []byte) {
	for it := ttlv.TTLV(b); len(it) > 0; it = it.Next() {
		one := it[:it.FullLen()]
		here := *n == 0
		*n--
		switch {
		case here:
			out = append(append(out, one[:3]...), by...)
		case it.Type() == ttlv.TypeStructure:
			in := exchange(it.ValueStructure(), n, by)
			out = append(binary.BigEndian.AppendUint32(append(out, one[:4]...), uint32(len(in))), in...)
		default:
			out = append(out, one...)
		}
	}
	return out
}

func readAll(t *testing.T, msg []byte) {
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic: %v\n%s", p, tree(msg))
		}
	}()
	if r, err := kmip.ParseRequest(msg); err == nil {
		for _, i := range r.Items {
			for _, p := range everyOperation {
				if p.op == i.Operation {
					p.readRequest(i.Payload, r.Header.Version)
				}
			}
		}
	}
	if r, err := kmip.ParseResponse(msg); err == nil {
		for _, i := range r.Items {
			for _, p := range everyOperation {
				if p.op == i.Operation {
					p.readResponse(i.Payload, r.Version)
				}
			}
		}
	}
}

// rounds is how many messages a version is tried with.
const rounds = 60

// eachVersion runs f with a generator of each version and several seeds.
func eachVersion(t *testing.T, f func(t *testing.T, g *gen)) {
	for _, v := range core.Versions {
		t.Run(v.String(), func(t *testing.T) {
			for seed := range uint64(rounds) {
				f(t, newGen(seed, v))
			}
		})
	}
}

// The generator makes every operation that the codec has.
func TestGeneratorKnowsEveryOperation(t *testing.T) {
	known := map[core.Operation]bool{}
	for _, p := range everyOperation {
		known[p.op] = true
	}
	for _, s := range samples() {
		if !known[s.op] {
			t.Errorf("nothing makes messages of %v", s.op)
		}
	}
}

// What any combination of fields makes is read back and written alike.
func TestGeneratedRoundTrips(t *testing.T) {
	eachVersion(t, func(t *testing.T, g *gen) {
		for _, p := range everyOperation {
			if p.since <= g.v {
				p.make(t, g)
			}
		}
	})
}

// gemalto's codec takes what ours writes apart, value by value, and writes the
// same bytes.
func TestGemaltoWritesTheSame(t *testing.T) {
	eachVersion(t, func(t *testing.T, g *gen) {
		for _, msg := range [][]byte{g.request(t), g.response(t)} {
			if err := ttlv.TTLV(msg).Valid(); err != nil {
				t.Fatalf("gemalto does not take it: %v", err)
			}
			var b bytes.Buffer
			e := ttlv.NewEncoder(&b)
			if err := rewrite(e, ttlv.TTLV(msg)); err != nil {
				t.Fatal(err)
			}
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			differ(t, msg, b.Bytes())
		}
	})
}

// rewrite writes one item by the values that gemalto reads from it.
func rewrite(e *ttlv.Encoder, it ttlv.TTLV) error {
	tag := it.Tag()
	switch it.Type() {
	case ttlv.TypeStructure:
		return e.EncodeStructure(tag, func(e *ttlv.Encoder) error {
			for in := it.ValueStructure(); len(in) > 0; in = in.Next() {
				if err := rewrite(e, in[:in.FullLen()]); err != nil {
					return err
				}
			}
			return nil
		})
	case ttlv.TypeInteger:
		e.EncodeInteger(tag, it.ValueInteger())
	case ttlv.TypeLongInteger:
		e.EncodeLongInteger(tag, it.ValueLongInteger())
	case ttlv.TypeBigInteger:
		e.EncodeBigInteger(tag, it.ValueBigInteger())
	case ttlv.TypeEnumeration:
		e.EncodeEnumeration(tag, uint32(it.ValueEnumeration()))
	case ttlv.TypeBoolean:
		e.EncodeBoolean(tag, it.ValueBoolean())
	case ttlv.TypeTextString:
		e.EncodeTextString(tag, it.ValueTextString())
	case ttlv.TypeByteString:
		e.EncodeByteString(tag, append([]byte{}, it.ValueByteString()...)) // it writes nothing for a nil one
	case ttlv.TypeDateTime:
		e.EncodeDateTime(tag, it.ValueDateTime())
	case ttlv.TypeDateTimeExtended:
		e.EncodeDateTimeExtended(tag, it.ValueDateTimeExtended().Time)
	case ttlv.TypeInterval:
		e.EncodeInterval(tag, it.ValueInterval())
	default:
		return fmt.Errorf("gemalto reads a %v", it.Type())
	}
	return nil
}

// differ fails with the first place where two messages part.
func differ(t *testing.T, ours, theirs []byte) {
	t.Helper()
	if bytes.Equal(ours, theirs) {
		return
	}
	at := 0
	for at < min(len(ours), len(theirs)) && ours[at] == theirs[at] {
		at++
	}
	var text bytes.Buffer
	kmip.Print(&text, ours)
	from := max(0, at-24) &^ 7
	t.Fatalf("the messages part at byte %d of %d and %d:\nours   %x\ntheirs %x\n%s", at, len(ours), len(theirs), ours[from:min(len(ours), at+32)], theirs[from:min(len(theirs), at+32)], text.String())
}

// ovh's typed codec reads each message of ours, of the operations that it has,
// and writes the same bytes from its own types.
func TestOvhWritesTheSame(t *testing.T) {
	eachVersion(t, func(t *testing.T, g *gen) {
		if g.v >= core.V2_0 { // which the library does not speak
			return
		}
		for _, p := range everyOperation {
			if p.since > g.v || ovhLacks[p.op] {
				continue
			}
			req, _ := p.make(t, g)
			msg, err := kmip.AppendRequest(nil, g.v, kmip.RequestOptions{}, kmip.ClientItem{Operation: p.op, Payload: func(dst []byte, _ core.Version) ([]byte, error) { return append(dst, req...), nil }})
			if err != nil {
				t.Fatal(err)
			}
			var theirs ovh.RequestMessage
			ovhSays(t, msg, &theirs)
			var r kmip.Response
			r.Begin(nil, g.v, g.date(), "")
			if err := p.succeed(&r, g.optBlob(), g); err != nil {
				t.Fatal(err)
			}
			var answer ovh.ResponseMessage
			ovhSays(t, bytes.Clone(r.End()), &answer)
		}
	})
}

func ovhSays(t *testing.T, msg []byte, into any) {
	t.Helper()
	var again []byte
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		if err := ovhttlv.UnmarshalTTLV(bytes.Clone(msg), into); err != nil {
			return err
		}
		again = ovhttlv.MarshalTTLV(into)
		return nil
	}()
	if err != nil {
		var text bytes.Buffer
		kmip.Print(&text, msg)
		t.Errorf("ovh: %v\n%s", err, text.String())
		return
	}
	differ(t, full(msg), full(again))
}

// ovhOmits lists the fields that ovh/kmip-go leaves out when they are zero or
// empty ("omitempty"), which the standard tells from absent ones: they are left
// out on both sides before the comparison. So is Attribute Index 0, which is meant
// where there is none (KMIP 1.4 §2.1.1).
var ovhOmits = set(core.TagMaximumResponseSize, core.TagMaximumItems, core.TagOffsetItems, core.TagStorageStatusMask, core.TagCryptographicLength,
	core.TagIVLength, core.TagTagLength, core.TagFixedFieldLength, core.TagInvocationFieldLength, core.TagCounterLength, core.TagExtensionTag, core.TagExtensionType,
	core.TagServerURI, core.TagServerPort, core.TagNameValue, core.TagAlternativeNameValue, core.TagKeyValueLocationValue, core.TagIssuer, core.TagSerialNumber,
	core.TagCertificateIssuerDistinguishedName, core.TagCertificateSubjectDistinguishedName, core.TagIssuerDistinguishedName, core.TagSubjectDistinguishedName,
	core.TagCertificateSerialNumber, core.TagApplicationNamespace, core.TagApplicationData, core.TagLinkedObjectIdentifier, core.TagRevocationMessage,
	core.TagVendorIdentification, core.TagClientCorrelationValue, core.TagUniqueBatchItemID, core.TagData, core.TagDigestedData, core.TagSignatureData,
	core.TagIVCounterNonce, core.TagCorrelationValue, core.TagAuthenticatedEncryptionAdditionalData, core.TagAuthenticatedEncryptionTag, core.TagPSource,
	core.TagMACSignature, core.TagQlength, core.TagAttributeIndex)

func set(tags ...core.Tag) core.TagSet {
	s := core.TagSet{}
	for _, t := range tags {
		s[t] = true
	}
	return s
}

// full is a message without the fields that ovhOmits means.
func full(msg []byte) []byte {
	var out []byte
	for it := ttlv.TTLV(msg); len(it) > 0; it = it.Next() {
		one := it[:it.FullLen()]
		switch {
		case it.Type() == ttlv.TypeStructure:
			in := full(it.ValueStructure())
			out = append(binary.BigEndian.AppendUint32(append(out, one[:4]...), uint32(len(in))), in...)
		case ovhOmits[core.Tag(it.Tag())] && len(bytes.Trim(one[8:], "\x00")) == 0 && (it.Len() == 0 || it.Type() == ttlv.TypeInteger):
		default:
			out = append(out, one...)
		}
	}
	return out
}

// The library's XML and JSON of a message are read by the library as the same
// bytes: names, values and nesting are what was written.
func TestXMLAndJSONAreTheMessage(t *testing.T) {
	for what, encoding := range map[string]struct {
		write func([]byte) ([]byte, error)
		read  func([]byte) (ttlv.TTLV, error)
	}{
		"XML":  {kmip.XML, func(b []byte) (again ttlv.TTLV, err error) { return again, xml.Unmarshal(b, &again) }},
		"JSON": {kmip.JSON, func(b []byte) (again ttlv.TTLV, err error) { return again, json.Unmarshal(b, &again) }},
	} {
		t.Run(what, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, g *gen) {
				g.plain = true
				msg := g.request(t)
				text, err := encoding.write(msg)
				if err != nil {
					t.Fatal(err)
				}
				again, err := encoding.read(text)
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				differ(t, msg, again)
			})
		})
	}
}

// Fields with extension tags (54xxxx, KMIP 1.4 §9.1.3.1) that nobody knows are
// ignored wherever they stand, but in Locate, where they could be a filter, and
// among the attributes of 2.x, which they are.
func TestExtensionsAreIgnored(t *testing.T) {
	eachVersion(t, func(t *testing.T, g *gen) {
		for _, p := range everyOperation {
			if p.since > g.v {
				continue
			}
			req, _ := p.make(t, g)
			again, err := p.readRequest(extended(req, true), g.v)
			if p.op == core.OperationLocate {
				if core.CodeOf(err) != core.InvalidField || !strings.Contains(err.Error(), "0x54FFFF") {
					t.Fatalf("Locate %v: %v; want an error that names the vendor's field", g.v, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v %v: %v\n%s", p.op, g.v, err, tree(extended(req, true)))
			}
			differ(t, extended(req, false), extended(again, false))
		}
	})
}

// ofAttributes lists the structures whose fields are attributes.
var ofAttributes = []core.Tag{core.TagAttributes, core.TagCommonAttributes, core.TagPrivateKeyAttributes, core.TagPublicKeyAttributes, core.TagNewAttribute, core.TagCurrentAttribute}

// extended is a message with a vendor's field at the beginning and end of each
// structure that does not hold attributes, or without any.
func extended(msg []byte, with bool) (out []byte) {
	extra := []byte{0x54, 0xff, 0xff, 3, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8}
	for it := ttlv.TTLV(msg); len(it) > 0; it = it.Next() {
		one := it[:it.FullLen()]
		switch {
		case !with && one[0] == 0x54:
		case it.Type() == ttlv.TypeStructure:
			in := extended(it.ValueStructure(), with)
			if with && !slices.Contains(ofAttributes, core.Tag(it.Tag())) {
				in = append(append(bytes.Clone(extra), in...), extra...)
			}
			out = append(binary.BigEndian.AppendUint32(append(out, one[:4]...), uint32(len(in))), in...)
		default:
			out = append(out, one...)
		}
	}
	return out
}
