package kmip_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gemalto/kmip-go/ttlv"
	ovh "github.com/ovh/kmip-go"
	ovhttlv "github.com/ovh/kmip-go/ttlv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

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
