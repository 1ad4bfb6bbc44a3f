package authn

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Distinguished names are compared as sequences of relative names (RFC 5280 §7.1). The
// spelling of their text (RFC 4514) and the string types in the certificate do not
// matter: both become one canonical text.

// nameAttribute is one type and value of a relative distinguished name.
type nameAttribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// relativeNameSET is one relative distinguished name. Package asn1 reads it as a set
// because the name of the type ends with SET.
type relativeNameSET []nameAttribute

// maxNameBytes bounds the text of a name in the configuration, in bytes.
const maxNameBytes = 4096

// canonicalName returns the canonical text of a DER name.
func canonicalName(raw []byte) (string, error) {
	var seq []relativeNameSET
	if rest, err := asn1.Unmarshal(raw, &seq); err != nil || len(rest) > 0 {
		return "", errors.New("the name is not a sequence of relative distinguished names")
	}
	rdns := make([]string, len(seq))
	for i, rdn := range seq {
		var parts []string
		for _, a := range rdn {
			parts = append(parts, canonicalAttribute(a.Type, a.Value))
		}
		rdns[i] = canonicalRDN(parts)
	}
	return strings.Join(rdns, ","), nil
}

// canonicalRDN joins the parts of a relative name. Their order means nothing.
func canonicalRDN(parts []string) string {
	slices.Sort(parts)
	return strings.Join(parts, "+")
}

func canonicalAttribute(typ asn1.ObjectIdentifier, v asn1.RawValue) string {
	if s, ok := stringOf(v); ok {
		return canonicalText(typ, s)
	}
	return typ.String() + "=#" + hex.EncodeToString(v.FullBytes)
}

var foldCase = cases.Fold()

// canonicalText folds case and runs of spaces, as RFC 4518 does for comparing.
func canonicalText(typ asn1.ObjectIdentifier, s string) string {
	s = norm.NFKC.String(foldCase.String(norm.NFKC.String(s)))
	return typ.String() + "=" + strconv.Quote(strings.Join(strings.Fields(s), " "))
}

// ASN.1 string types that package asn1 has no names for.
const (
	tagVisibleString   = 26
	tagUniversalString = 28
)

// stringOf returns the text of a value, and false if its type is no string type.
func stringOf(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}
	var s string
	switch b := v.Bytes; v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString, tagVisibleString:
		s = string(b)
	case asn1.TagT61String: // in practice Latin-1
		runes := make([]rune, len(b))
		for i, c := range b {
			runes[i] = rune(c)
		}
		s = string(runes)
	case asn1.TagBMPString:
		if len(b)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
		}
		s = string(utf16.Decode(units))
	case tagUniversalString:
		if len(b)%4 != 0 {
			return "", false
		}
		for i := 0; i < len(b); i += 4 {
			s += string(rune(uint32(b[i])<<24 | uint32(b[i+1])<<16 | uint32(b[i+2])<<8 | uint32(b[i+3])))
		}
	default:
		return "", false
	}
	return s, utf8.ValidString(s) && !strings.ContainsRune(s, utf8.RuneError) && !strings.ContainsRune(s, 0)
}

// attributeTypes has the keywords of RFC 4514 and others in common use.
var attributeTypes = map[string]asn1.ObjectIdentifier{
	"CN": {2, 5, 4, 3}, "COMMONNAME": {2, 5, 4, 3}, "SN": {2, 5, 4, 4}, "SURNAME": {2, 5, 4, 4}, "SERIALNUMBER": {2, 5, 4, 5}, "C": {2, 5, 4, 6}, "COUNTRYNAME": {2, 5, 4, 6},
	"L": {2, 5, 4, 7}, "LOCALITYNAME": {2, 5, 4, 7}, "ST": {2, 5, 4, 8}, "S": {2, 5, 4, 8}, "STATEORPROVINCENAME": {2, 5, 4, 8}, "STREET": {2, 5, 4, 9}, "STREETADDRESS": {2, 5, 4, 9},
	"O": {2, 5, 4, 10}, "ORGANIZATIONNAME": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}, "ORGANIZATIONALUNITNAME": {2, 5, 4, 11}, "T": {2, 5, 4, 12}, "TITLE": {2, 5, 4, 12},
	"DESCRIPTION": {2, 5, 4, 13}, "BUSINESSCATEGORY": {2, 5, 4, 15}, "POSTALCODE": {2, 5, 4, 17}, "NAME": {2, 5, 4, 41}, "GN": {2, 5, 4, 42}, "GIVENNAME": {2, 5, 4, 42},
	"INITIALS": {2, 5, 4, 43}, "GENERATIONQUALIFIER": {2, 5, 4, 44}, "DNQ": {2, 5, 4, 46}, "DNQUALIFIER": {2, 5, 4, 46}, "PSEUDONYM": {2, 5, 4, 65}, "ORGANIZATIONIDENTIFIER": {2, 5, 4, 97},
	"UID": {0, 9, 2342, 19200300, 100, 1, 1}, "USERID": {0, 9, 2342, 19200300, 100, 1, 1}, "DC": {0, 9, 2342, 19200300, 100, 1, 25}, "DOMAINCOMPONENT": {0, 9, 2342, 19200300, 100, 1, 25},
	"E": {1, 2, 840, 113549, 1, 9, 1}, "EMAIL": {1, 2, 840, 113549, 1, 9, 1}, "EMAILADDRESS": {1, 2, 840, 113549, 1, 9, 1}, "UNSTRUCTUREDNAME": {1, 2, 840, 113549, 1, 9, 2},
}

// parseName returns the canonical text of a name that is written as in RFC 4514, with
// the last relative name first. It ignores spaces around ',', '+' and '='.
func parseName(text string) (string, error) {
	if len(text) > maxNameBytes || !utf8.ValidString(text) {
		return "", fmt.Errorf("a distinguished name must be UTF-8 text of at most %d bytes", maxNameBytes)
	}
	if strings.TrimSpace(text) == "" {
		return "", errors.New("the distinguished name is empty")
	}
	rdns, err := splitUnescaped(text, ',')
	if err != nil {
		return "", err
	}
	out := make([]string, 0, len(rdns))
	for _, rdn := range rdns {
		pieces, err := splitUnescaped(rdn, '+')
		if err != nil {
			return "", err
		}
		var parts []string
		for _, p := range pieces {
			part, err := parseAttribute(p)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
		out = append(out, canonicalRDN(parts))
	}
	slices.Reverse(out)
	return strings.Join(out, ","), nil
}

// splitUnescaped splits a text at each separator that is not escaped.
func splitUnescaped(text string, at byte) (parts []string, err error) {
	from := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case at:
			parts = append(parts, text[from:i])
			from = i + 1
		case '"', ';', '<', '>', 0:
			return nil, fmt.Errorf("%q must be escaped by a backslash in %q (RFC 4514)", text[i], text)
		}
	}
	return append(parts, text[from:]), nil
}

func parseAttribute(text string) (string, error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return "", fmt.Errorf("%q is not TYPE=VALUE, such as CN=array9 (RFC 4514)", text)
	}
	typ, err := attributeType(strings.TrimSpace(key))
	if err != nil {
		return "", err
	}
	value = trimUnescaped(value)
	if digits, isHex := strings.CutPrefix(value, "#"); isHex {
		der, err := hex.DecodeString(digits)
		var v asn1.RawValue
		if err == nil {
			var rest []byte
			if rest, err = asn1.Unmarshal(der, &v); len(rest) > 0 {
				err = errors.New("more than one value")
			}
		}
		if err != nil {
			return "", fmt.Errorf("%q is not the hex of one DER value (RFC 4514)", value)
		}
		return canonicalAttribute(typ, v), nil
	}
	s, err := unescape(value)
	if err != nil {
		return "", err
	}
	if s == "" {
		return "", fmt.Errorf("%q has no value", text)
	}
	return canonicalText(typ, s), nil
}

// attributeType reads a keyword or an object identifier.
func attributeType(s string) (asn1.ObjectIdentifier, error) {
	if typ := attributeTypes[strings.ToUpper(s)]; typ != nil {
		return typ, nil
	}
	digits := s
	if len(s) > 4 && strings.EqualFold(s[:4], "OID.") {
		digits = s[4:]
	}
	var typ asn1.ObjectIdentifier
	for _, part := range strings.Split(digits, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || (len(part) > 1 && part[0] == '0') {
			return nil, fmt.Errorf("%q is an unknown attribute type; write its object identifier", s)
		}
		typ = append(typ, int(n))
	}
	if len(typ) < 2 || typ[0] > 2 || (typ[0] < 2 && typ[1] > 39) {
		return nil, fmt.Errorf("%q is not an object identifier", s)
	}
	return typ, nil
}

// trimUnescaped removes the spaces around a value, except an escaped one.
func trimUnescaped(s string) string {
	s = strings.TrimLeft(s, " \t")
	for strings.HasSuffix(s, " ") || strings.HasSuffix(s, "\t") {
		rest := s[:len(s)-1]
		if escapes := len(rest) - len(strings.TrimRight(rest, `\`)); escapes%2 == 1 {
			break
		}
		s = rest
	}
	return s
}

// unescape replaces escapes: a backslash before a character, such as "\,", or before two
// hex digits, such as "\C3\A9" for two bytes.
func unescape(s string) (string, error) {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		if i+1 < len(s) && strings.IndexByte(`"+,;<>#= \`, s[i+1]) >= 0 {
			out = append(out, s[i+1])
			i++
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%q ends within an escape (RFC 4514)", s)
		}
		b, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", fmt.Errorf("%q has a backslash that escapes nothing (RFC 4514)", s)
		}
		out = append(out, b[0])
		i += 2
	}
	if !utf8.Valid(out) || strings.ContainsRune(string(out), 0) {
		return "", fmt.Errorf("%q is not UTF-8 text after its escapes are read", s)
	}
	return string(out), nil
}
