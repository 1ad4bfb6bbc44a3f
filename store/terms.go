package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// maxTermBytes bounds a name or value in the search table; PostgreSQL's index
// takes no row over 2,704 bytes. Longer ones are cut and end in a hash, so that
// equal stays equal and different most likely different.
const maxTermBytes = 200

// term is a row of the search table object_attr, without tenant and seq.
type term struct {
	name string
	val  []byte
}

// searched says which standard attributes are in the search table, and of
// structures which fields. Locate asks for the others by typed columns or by
// reading on.
var searched = map[core.Tag][]core.Tag{
	core.TagName:                           {core.TagNameValue},
	core.TagAlternativeName:                {core.TagAlternativeNameValue},
	core.TagRotateName:                     {core.TagRotateNameValue},
	core.TagLink:                           {core.TagLinkedObjectIdentifier},
	core.TagApplicationSpecificInformation: {core.TagApplicationNamespace, core.TagApplicationData},
	core.TagDigest:                         {core.TagDigestValue},
	core.TagCertificateIdentifier:          {core.TagIssuer, core.TagSerialNumber},
	core.TagCertificateIssuer:              {core.TagCertificateIssuerDistinguishedName},
	core.TagCertificateSubject:             {core.TagCertificateSubjectDistinguishedName},
	core.TagX509CertificateIdentifier:      {core.TagIssuerDistinguishedName, core.TagCertificateSerialNumber},
	core.TagX509CertificateIssuer:          {core.TagIssuerDistinguishedName},
	core.TagX509CertificateSubject:         {core.TagSubjectDistinguishedName},
	core.TagCertificateSubjectCN:           nil,
	core.TagContactInformation:             nil,
	core.TagObjectGroup:                    nil,
	core.TagPKCS12FriendlyName:             nil,
	core.TagShortUniqueIdentifier:          nil,
}

// termsOf returns the search rows of attributes: sorted, none twice.
func termsOf(as core.Attributes) []term {
	var out []term
	for i := range as {
		out = appendTerms(out, &as[i])
	}
	slices.SortFunc(out, compareTerms)
	return slices.CompactFunc(out, func(a, b term) bool { return compareTerms(a, b) == 0 })
}

func compareTerms(a, b term) int {
	return cmp.Or(strings.Compare(a.name, b.name), bytes.Compare(a.val, b.val))
}

// appendTerms adds the rows of one attribute: what an object is found by, and
// equally what a filter looks for.
func appendTerms(out []term, a *core.Attribute) []term {
	fields, ok := searched[a.Tag]
	if !ok && a.Tag != 0 {
		return out
	}
	name := a.Ref().String()
	if a.Value.Kind != core.KindStructure {
		return appendTerm(out, name, &a.Value)
	}
	for _, tag := range fields {
		v := a.Value.Field(tag)
		out = appendTerm(out, name+"/"+tag.String(), &v)
	}
	return out
}

func appendTerm(out []term, name string, v *core.Value) []term {
	val, ok := termValue(v)
	if !ok {
		return out
	}
	name = strings.ReplaceAll(strings.ToValidUTF8(name, "\ufffd"), "\x00", "\ufffd")
	return append(out, term{cut(name), []byte(cut(string(val)))})
}

// termValue is a value as bytes that sort as the value does: text and bytes as
// they are, numbers big endian with the sign turned. False for what has no
// single value.
func termValue(v *core.Value) ([]byte, bool) {
	switch v.Kind {
	case core.KindAny, core.KindStructure:
		return nil, false
	case core.KindTextString:
		return []byte(v.Text), true
	case core.KindByteString, core.KindBigInteger:
		return v.Bytes, true
	}
	return binary.BigEndian.AppendUint64(nil, uint64(v.Num)^1<<63), true
}

func cut(s string) string {
	if len(s) <= maxTermBytes {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:maxTermBytes-2*16], "") + hexString(sum[:16])
}

func hexString(b []byte) string {
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, hexDigits[c>>4], hexDigits[c&15])
	}
	return string(out)
}

// digestTerms tells one set of search rows from another.
func digestTerms(ts []term) int64 {
	h := sha256.New()
	var n [8]byte
	for i := range ts {
		binary.BigEndian.PutUint32(n[:4], uint32(len(ts[i].name)))
		binary.BigEndian.PutUint32(n[4:], uint32(len(ts[i].val)))
		h.Write(n[:])
		h.Write([]byte(ts[i].name))
		h.Write(ts[i].val)
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}
