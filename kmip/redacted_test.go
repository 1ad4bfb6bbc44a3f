package kmip_test

import (
	"encoding/binary"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip/redacted"
)

// textsShown are the tags whose texts may be shown, written a second time.
var textsShown = []string{"Unique Identifier", "Private Key Unique Identifier", "Public Key Unique Identifier", "Linked Object Identifier", "Name Value", "Object Group", "Operation Policy Name", "Application Namespace", "Vendor Identification", "Attribute Name"}

// Secrets are planted in each text, byte string and number of requests of every operation. Those
// of byte strings, big integers and of texts beyond a short list are never shown, and nothing is
// shown of credentials and key material.
func TestRedactedRequestsHaveNoSecrets(t *testing.T) {
	shown, hidden := 0, 0
	eachVersion(t, func(t *testing.T, g *gen) {
		for range 60 {
			msg := g.request(t)
			plant(msg, g.maybe())
			form := redacted.Append(nil, msg, 16<<10)
			if strings.Contains(string(form), "QQQQQQQQQQ") && !strings.Contains(strings.Join(redacted.Lines(form), "\n"), "QQQQQQQQQQ") {
				t.Fatal("a form holds what its lines do not show")
			}
			for _, line := range redacted.Lines(form) {
				tag, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				if strings.HasPrefix(value, "(hidden") {
					hidden++
				}
				if !strings.Contains(value, "QQ") {
					continue
				}
				shown++
				isText := false
				for _, may := range append(textsShown, "Attribute Value") {
					isText = isText || tag == may
				}
				if !isText {
					t.Errorf("KMIP %v shows %s", g.v, line)
				}
			}
		}
	})
	if shown < 100 || hidden < 100 {
		t.Errorf("%d lines show a text and %d hide something; this tries nothing", shown, hidden)
	}
}

// plant writes a pattern into each text, byte string and big integer of a message. names leaves
// Attribute Names as they are.
func plant(b []byte, names bool) {
	for len(b) >= 8 {
		n := int(binary.BigEndian.Uint32(b[4:]))
		tag, kind, value := core.Tag(b[0])<<16|core.Tag(b[1])<<8|core.Tag(b[2]), core.Kind(b[3]), b[8:8+n]
		switch kind {
		case core.KindStructure:
			plant(value, names)
		case core.KindTextString, core.KindByteString, core.KindBigInteger:
			if tag == core.TagAttributeName && names {
				break
			}
			for i := range value {
				value[i] = 'Q'
			}
		}
		b = b[8+(n+7)&^7:]
	}
}

var numberLine = regexp.MustCompile(`^ *([^:]+): .*(1364283729|0x51515151|5859553998519881041)`)

// An item of any tag and type, alone, in an Attribute under any name, or in a credential: numbers
// of tags that hold secrets are not shown, and no byte string of any tag.
func TestRedactedItemsOfEveryTag(t *testing.T) {
	secret := map[string]bool{}
	for _, tag := range []core.Tag{core.TagKeyMaterial, core.TagInitialCounterValue, core.TagData, core.TagIVCounterNonce, core.TagNonceValue, core.TagPassword, core.TagUsername, core.TagDeviceSerialNumber, core.TagDeviceIdentifier,
		core.TagSalt, core.TagDerivationData, core.TagMACData, core.TagSignatureData, core.TagDigestedData, core.TagOpaqueDataValue, core.TagCertificateValue, core.TagTicketValue, core.TagX, core.TagY, core.TagD, core.TagP, core.TagQ, core.TagModulus} {
		secret[tag.String()] = true
	}
	for _, info := range core.Tags() {
		for kind := core.KindInteger; kind <= core.KindDateTimeExtended; kind++ {
			leaf := item(info.Tag, kind)
			name := structure(core.TagAttribute, textItem(core.TagAttributeName, info.Name), item(core.TagAttributeValue, kind))
			for what, msg := range map[string][]byte{"alone": leaf, "in a structure": structure(core.TagRequestPayload, leaf), "an attribute": structure(core.TagAttributes, name),
				"a vendor's attribute":                      structure(core.TagAttribute, textItem(core.TagVendorIdentification, "x"), textItem(core.TagAttributeName, info.Name), item(core.TagAttributeValue, kind)),
				"the value of an attribute before its name": structure(core.TagAttribute, item(core.TagAttributeValue, kind), textItem(core.TagAttributeName, info.Name)),
				"a credential":                              structure(core.TagCredential, structure(core.TagCredentialValue, leaf)), "key material": structure(core.TagKeyMaterial, leaf)} {
				lines := strings.Join(redacted.Lines(redacted.Append(nil, msg, 1<<14)), "\n")
				isBytes := kind == core.KindByteString || kind == core.KindBigInteger
				closed := what == "a credential" || what == "key material" || strings.Contains(what, "vendor") || strings.Contains(what, "before")
				if strings.Contains(lines, "QQ") && (isBytes || closed) {
					t.Errorf("%s of type %v %s is shown:\n%s", info.Name, kind, what, lines)
				}
				for line := range strings.SplitSeq(lines, "\n") {
					if m := numberLine.FindStringSubmatch(line); m != nil && (closed || isBytes || secret[m[1]] || secret[info.Name]) {
						t.Errorf("%s of type %v %s is shown:\n%s", info.Name, kind, what, lines)
					}
				}
			}
		}
	}
}

// item returns an item whose value is the pattern.
func item(t core.Tag, k core.Kind) []byte {
	n := map[core.Kind]int{core.KindInteger: 4, core.KindEnumeration: 4, core.KindInterval: 4, core.KindTextString: 16, core.KindByteString: 16, core.KindBigInteger: 16}[k]
	if n == 0 {
		n = 8
	}
	return rawItem(t, k, []byte(strings.Repeat("Q", n)))
}

func textItem(t core.Tag, s string) []byte { return rawItem(t, core.KindTextString, []byte(s)) }

func structure(t core.Tag, fields ...[]byte) []byte {
	var all []byte
	for _, f := range fields {
		all = append(all, f...)
	}
	return rawItem(t, core.KindStructure, all)
}

func rawItem(t core.Tag, k core.Kind, value []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{byte(t >> 16), byte(t >> 8), byte(t), byte(k)}, uint32(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, (8-len(value)%8)%8)...)
}

// What a message says is shown by the names of the standard, as far as it can be read.
func TestRedactedLines(t *testing.T) {
	name := structure(core.TagName, textItem(core.TagNameValue, "disk \x1b[31m1"), rawItem(core.TagNameType, core.KindEnumeration, []byte{0, 0, 0, 1}))
	create := structure(core.TagRequestPayload, rawItem(core.TagObjectType, core.KindEnumeration, []byte{0, 0, 0, 2}), structure(core.TagTemplateAttribute,
		structure(core.TagAttribute, textItem(core.TagAttributeName, "Cryptographic Usage Mask"), rawItem(core.TagAttributeValue, core.KindInteger, []byte{0, 0, 0, 12})),
		structure(core.TagAttribute, textItem(core.TagAttributeName, "Activation Date"), rawItem(core.TagAttributeValue, core.KindDateTime, []byte{0, 0, 0, 0, 0x65, 0, 0, 0})),
		structure(core.TagAttribute, textItem(core.TagAttributeName, "x-secret"), textItem(core.TagAttributeValue, "hunter2")),
		structure(core.TagAttribute, textItem(core.TagAttributeName, "Name"), rawItem(core.TagAttributeValue, core.KindStructure, name[8:]))))
	msg := structure(core.TagRequestMessage, structure(core.TagBatchItem, rawItem(core.TagOperation, core.KindEnumeration, []byte{0, 0, 0, 1}), rawItem(core.TagUniqueBatchItemID, core.KindByteString, []byte("QLKC")), create))
	want := `Request Message
  Batch Item
    Operation: Create
    Unique Batch Item ID: (hidden, Byte String of 4 bytes)
    Request Payload
      Object Type: Symmetric Key
      Template-Attribute
        Attribute
          Attribute Name: "Cryptographic Usage Mask"
          Attribute Value: Encrypt|Decrypt
        Attribute
          Attribute Name: "Activation Date"
          Attribute Value: 2023-09-12T06:06:56Z
        Attribute
          Attribute Name: "x-secret"
          Attribute Value: (hidden, Text String of 7 bytes)
        Attribute
          Attribute Name: "Name"
          Attribute Value
            Name Value: "disk ?[31m1"
            Name Type: Uninterpreted Text String`
	lines := func(msg []byte, most int) string {
		form := redacted.Append(nil, msg, most)
		if len(form) > most {
			t.Errorf("a form has %d bytes and may have %d", len(form), most)
		}
		return strings.Join(redacted.Lines(form), "\n")
	}
	if got := lines(msg, 1<<14); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := lines(msg, 100); !strings.HasPrefix(want, strings.TrimSuffix(got, "(the rest is left out)")[:60]) || !strings.HasSuffix(got, "(the rest is left out)") {
		t.Errorf("in 100 bytes: %s", got)
	}
	for n := range msg {
		lines(msg[:n], 1<<14) // neither panics nor shows more
	}
	if got := lines(msg[:56], 1<<14); !strings.Contains(got, "Operation: Create") || !strings.HasSuffix(got, "(cannot be read from byte 56 on)") && !strings.Contains(got, "cannot be read from byte") {
		t.Errorf("a message that was cut: %s", got)
	}
	long := lines(textItem(core.TagNameValue, strings.Repeat("n", 1000)), 1<<14)
	if !strings.HasSuffix(long, `n" and 744 more bytes`) {
		t.Errorf("a long name: %s", long)
	}
}

// No bytes make it panic, make a form that is too long, or show a byte string.
func FuzzRedacted(f *testing.F) {
	f.Add(structure(core.TagRequestMessage, textItem(core.TagNameValue, "a"), item(core.TagKeyMaterial, core.KindByteString)), 100)
	f.Add([]byte{0x42, 0, 0x78, 1, 0xff, 0xff, 0xff, 0xff}, 20)
	f.Fuzz(func(t *testing.T, msg []byte, most int) {
		most = 15 + (most&0x7fffffff)%5000
		form := redacted.Append(nil, msg, most)
		if len(form) > most {
			t.Fatalf("%d bytes, at most %d", len(form), most)
		}
		for _, line := range redacted.Lines(form) {
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%q is not ASCII", line)
			}
			if strings.Contains(line, "Byte String") && !strings.Contains(line, "(hidden, Byte String of ") && !strings.Contains(line, `"`) {
				t.Fatal(line)
			}
		}
	})
}
