package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// maxIndexed is the longest value, in bytes, that the search table holds as it
// is; a longer one is there by its hash.
const maxIndexed = 200

// searchRow is one line of the search table.
type searchRow struct{ name, val string }

// searched says which standard attributes are in the search table, and of
// structures which fields. The others are asked for by typed columns, or by
// reading on.
var searched = map[core.Tag][]core.Tag{
	core.TagName:                           {core.TagNameValue},
	core.TagAlternativeName:                {core.TagAlternativeNameValue},
	core.TagLink:                           {core.TagLinkedObjectIdentifier},
	core.TagApplicationSpecificInformation: {core.TagApplicationNamespace, core.TagApplicationData},
	core.TagDigest:                         {core.TagDigestValue},
	core.TagX509CertificateIdentifier:      {core.TagCertificateSerialNumber},
	core.TagX509CertificateSubject:         {core.TagSubjectDistinguishedName},
	core.TagContactInformation:             nil,
	core.TagObjectGroup:                    nil,
	core.TagShortUniqueIdentifier:          nil,
}

// searchRows lists what an object can be found by, beside its columns; of a
// filter's attributes, what the search table can answer.
func searchRows(as core.Attributes) []searchRow {
	var out []searchRow
	for i := range as {
		out = appendRows(out, &as[i])
	}
	return out
}

func appendRows(out []searchRow, a *core.Attribute) []searchRow {
	fields, ok := searched[a.Tag]
	if !ok && a.Tag != 0 {
		return out
	}
	name := indexed(a.Ref().String())
	if a.Value.Kind != core.KindStructure {
		return appendRow(out, name, a.Value)
	}
	for _, f := range fields {
		out = appendRow(out, name+"/"+f.String(), a.Value.Field(f))
	}
	return out
}

func appendRow(out []searchRow, name string, v core.Value) []searchRow {
	switch v.Kind {
	case core.KindAny, core.KindStructure:
		return out
	case core.KindTextString:
		return append(out, searchRow{name, indexed(v.Text)})
	case core.KindByteString, core.KindBigInteger:
		return append(out, searchRow{name, indexed(string(v.Bytes))})
	}
	return append(out, searchRow{name, strconv.FormatInt(v.Num, 10)})
}

func indexed(s string) string {
	if len(s) <= maxIndexed && clean(s) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// sqlBuilder writes SQL with numbered parameters: every value is bound.
type sqlBuilder struct {
	text strings.Builder
	args []any
}

// add appends text and, behind it, one parameter for each value.
func (s *sqlBuilder) add(text string, values ...any) {
	s.text.WriteString(text)
	for i, v := range values {
		if i > 0 {
			s.text.WriteString(", ")
		}
		s.args = append(s.args, v)
		fmt.Fprintf(&s.text, "$%d", len(s.args))
	}
}

// findable is false when nothing can match: no row has a name that a database
// cannot hold, and PostgreSQL would call the question an error.
func findable(tenant string, f *core.Filter) bool {
	for i := range f.Attributes {
		if a := &f.Attributes[i]; a.Tag == core.TagUniqueIdentifier && !clean(a.Value.Text) {
			return false
		}
	}
	return clean(tenant)
}

// columnOf gives the typed column of an attribute that Locate compares for equality.
var columnOf = map[core.Tag]string{core.TagObjectType: "o.type", core.TagCryptographicAlgorithm: "o.algorithm", core.TagCryptographicLength: "o.length"}

// candidates builds the SQL of a page of candidates. It starts from the first
// of keys, which the caller has made the most selective one, and else from the
// tenant's objects in the order of their birth.
func candidates(tenant string, f *core.Filter, keys []searchRow, after int64, limit int) (string, []any) {
	s := &sqlBuilder{}
	if len(keys) > 0 {
		// CROSS JOIN keeps SQLite from turning the order round.
		s.add("SELECT "+objectColumns+" FROM object_attr a CROSS JOIN object o WHERE o.seq = a.seq AND a.tenant = ", tenant)
		s.add(" AND a.name = ", keys[0].name)
		s.add(" AND a.val = ", keys[0].val)
		s.add(" AND a.seq > ", after)
		for _, k := range keys[1:] {
			s.add(" AND EXISTS (SELECT 1 FROM object_attr b WHERE b.tenant = ", tenant)
			s.add(" AND b.name = ", k.name)
			s.add(" AND b.val = ", k.val)
			s.add(" AND b.seq = a.seq)")
		}
	} else {
		s.add("SELECT "+objectColumns+" FROM object o WHERE o.tenant = ", tenant)
		s.add(" AND o.seq > ", after)
	}
	for i := range f.Attributes {
		a := &f.Attributes[i]
		if c, ok := columnOf[a.Tag]; ok {
			s.add(" AND "+c+" = ", a.Value.Num)
		} else if a.Tag == core.TagUniqueIdentifier {
			s.add(" AND o.id = ", a.Value.Text)
		}
	}
	if !f.Everyone {
		s.owned(f)
	}
	order := "o.seq"
	if len(keys) > 0 {
		order = "a.seq"
	}
	s.add(" ORDER BY "+order+" LIMIT ", limit)
	return s.text.String(), s.args
}

// owned narrows to what the owner or the groups of f have; nobody is a member
// of the group without a name.
func (s *sqlBuilder) owned(f *core.Filter) {
	var groups []any
	for _, g := range f.Groups {
		if g != "" && clean(g) {
			groups = append(groups, g)
		}
	}
	s.add(" AND (1 = 0")
	if clean(f.Owner) {
		s.add(" OR o.owner = ", f.Owner)
	}
	if len(groups) > 0 {
		s.add(" OR o.grp IN (", groups...)
		s.add(")")
	}
	s.add(")")
}

// selectivityProbe is how far rows of a search key are counted to tell which
// is the rarer.
const selectivityProbe = 256

func probe(tenant string, k searchRow) (string, []any) {
	s := &sqlBuilder{}
	s.add("SELECT count(*) FROM (SELECT 1 FROM object_attr WHERE tenant = ", tenant)
	s.add(" AND name = ", k.name)
	s.add(" AND val = ", k.val)
	s.add(" LIMIT ", selectivityProbe)
	s.add(") probe")
	return s.text.String(), s.args
}

// rarestFirst puts the key with the fewest rows first; count tells how many.
func rarestFirst(keys []searchRow, count func(searchRow) (int, error)) error {
	if len(keys) < 2 {
		return nil
	}
	least, at := selectivityProbe+1, 0
	for i, k := range keys {
		n, err := count(k)
		if err != nil {
			return err
		}
		if n < least {
			least, at = n, i
		}
	}
	keys[0], keys[at] = keys[at], keys[0]
	return nil
}
