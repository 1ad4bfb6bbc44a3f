package authn

import (
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs/identity"
)

// rawName returns a name of relative names, each with type, tag and text.
func rawName(t testing.TB, rdns ...[]nameAttribute) []byte {
	t.Helper()
	var seq []relativeNameSET
	for _, r := range rdns {
		seq = append(seq, r)
	}
	der, err := asn1.Marshal(seq)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func attr(key string, tag int, text string) nameAttribute {
	typ, err := attributeType(key)
	if err != nil {
		panic(err)
	}
	return nameAttribute{typ, asn1.RawValue{Tag: tag, Bytes: []byte(text)}}
}

func one(key string, tag int, text string) []nameAttribute {
	return []nameAttribute{attr(key, tag, text)}
}

// A name is the same in each spelling and string type. Other names differ.
func TestNames(t *testing.T) {
	const u, p, ia5, t61, bmp, universal = asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagT61String, asn1.TagBMPString, tagUniversalString
	name := rawName(t, one("C", p, "DE"), one("O", u, "Acme  Storage, Inc."), []nameAttribute{attr("OU", u, "b"), attr("CN", u, "Array\u00e9 9")}, one("E", ia5, "x@y.example"))
	for _, text := range []string{
		`E=x@y.example,CN=Arrayé 9+OU=b,O=Acme  Storage\, Inc.,C=DE`,
		`emailaddress = X@Y.example , ou=B + cn = arrayÉ   9 ,o = ACME Storage\2c Inc. ,c=de`,
		`1.2.840.113549.1.9.1=x@y.example,2.5.4.11=b+2.5.4.3=Array\c3\a9\ 9,OID.2.5.4.10=Acme Storage\, Inc.,2.5.4.6=DE`,
		`E=#160b7840792e6578616d706c65,OU=b+CN=Array\C3\A9 9,O= Acme Storage\,\20Inc.\20,C=#13024445`,
		identity.NameText(name),
	} {
		if got, err := parseName(text); err != nil || !isName(name, got) {
			t.Errorf("%s: %v; %q", text, err, got)
		}
	}
	for _, other := range [][]byte{
		rawName(t, one("C", u, "de"), one("O", p, " acme storage, inc."), []nameAttribute{attr("CN", bmp, "\x00A\x00r\x00r\x00a\x00y\x00\u00e9"[:10]+"\x00\xe9\x00 \x009"), attr("OU", t61, "B")}, one("E", u, "x@y.example")),
		rawName(t, one("C", u, "DE"), one("O", t61, "Acme Storage, Inc."), []nameAttribute{attr("CN", universal, wide("Array\u00e9 9")), attr("OU", p, "b")}, one("E", u, "x@y.example")),
	} {
		if got, err := parseName(identity.NameText(name)); err != nil || !isName(other, got) {
			t.Errorf("%q is another name than %q", identity.NameText(other), identity.NameText(name))
		}
	}
	for what, text := range map[string]string{
		"another order": `C=DE,O=Acme Storage\, Inc.,CN=Arrayé 9+OU=b,E=x@y.example`, "two names for a multi-valued one": `E=x@y.example,CN=Arrayé 9,OU=b,O=Acme Storage\, Inc.,C=DE`,
		"one fewer": `E=x@y.example,CN=Arrayé 9+OU=b,O=Acme Storage\, Inc.`, "another value": `E=x@y.example,CN=Arrayé 8+OU=b,O=Acme Storage\, Inc.,C=DE`,
		"no space": `E=x@y.example,CN=Arrayé9+OU=b,O=Acme Storage\, Inc.,C=DE`, "another type": `E=x@y.example,CN=Arrayé 9+O=b,O=Acme Storage\, Inc.,C=DE`,
	} {
		if got, err := parseName(text); err != nil || isName(name, got) {
			t.Errorf("%s: %v; %s is taken for %s", what, err, text, identity.NameText(name))
		}
	}
	for _, bad := range []string{"", " ", "CN", "CN=", "=x", "CN=a,", ",CN=a", "CN=a,,O=b", "CN=a+", "CN=a;O=b", `CN="a"`, "CN=a<b", `CN=a\`, `CN=a\q`, `CN=a\f`, `CN=\ff`, `CN=\00`, "CN=#", "CN=#zz", "CN=#0c01", "CN=#0c016105",
		"FOO=a", "1=a", "3.1=a", "1.40=a", "2.5.04.3=a", "2.5.4.=a", "OID.=a", "/CN=a/O=b", "CN=\xff", "CN=" + strings.Repeat("a", maxNameBytes)} {
		if got, err := parseName(bad); err == nil {
			t.Errorf("%q is taken for %s", bad, got)
		}
	}
}

// wide returns a text with four bytes for each letter.
func wide(s string) string {
	var out []byte
	for _, r := range s {
		out = append(out, byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
	}
	return string(out)
}

// FuzzName tests that the text of any name, as in a record, is read as the same name.
func FuzzName(f *testing.F) {
	f.Add("array", "Acme, Inc.", true)
	f.Add(" # \\ ", "a+b=c", false)
	f.Fuzz(func(t *testing.T, cn, o string, together bool) {
		if strings.TrimSpace(cn) == "" || strings.TrimSpace(o) == "" || len(cn)+len(o) > 1000 {
			return
		}
		a, b := one("CN", asn1.TagUTF8String, cn), one("O", asn1.TagUTF8String, o)
		name := rawName(t, a, b)
		if together {
			name = rawName(t, append(a, b...))
		}
		if _, ok := stringOf(a[0].Value); !ok {
			return
		}
		if _, ok := stringOf(b[0].Value); !ok {
			return
		}
		if got, err := parseName(identity.NameText(name)); err != nil || !isName(name, got) {
			t.Errorf("%q: %v, %q", identity.NameText(name), err, got)
		}
	})
}
