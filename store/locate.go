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

// searchRows lists what an object can be found by, beside its columns.
func searchRows(as core.Attributes) []searchRow {
	var out []searchRow
	for i := range as {
		if r, ok := searchKey(&as[i]); ok {
			out = append(out, r)
		}
	}
	return out
}

// searchKey is how an attribute stands in the search table; false: not at all.
func searchKey(a *core.Attribute) (searchRow, bool) {
	r := searchRow{name: a.Ref().String()}
	switch {
	case a.Tag == core.TagName:
		r.val = indexed(a.Value.Field(core.TagNameValue).Text)
		return r, !a.Value.Field(core.TagNameValue).IsZero()
	case a.Tag == core.TagLink:
		r.val = indexed(a.Value.Field(core.TagLinkedObjectIdentifier).Text)
		return r, !a.Value.Field(core.TagLinkedObjectIdentifier).IsZero()
	case a.Tag == core.TagApplicationSpecificInformation:
		r.val = indexed(a.Value.Field(core.TagApplicationNamespace).Text)
		return r, !a.Value.Field(core.TagApplicationNamespace).IsZero()
	case a.Tag != 0 && a.Tag != core.TagObjectGroup && a.Tag != core.TagContactInformation:
		return r, false
	}
	switch a.Value.Kind {
	case core.KindStructure, core.KindAny:
		return r, false
	case core.KindTextString:
		r.val = indexed(a.Value.Text)
	case core.KindByteString, core.KindBigInteger:
		r.val = indexed(string(a.Value.Bytes))
	default:
		r.val = strconv.FormatInt(a.Value.Num, 10)
	}
	return r, true
}

func indexed(s string) string {
	if len(s) <= maxIndexed && !strings.ContainsRune(s, 0) {
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

// searchable lists the filter's attributes that the search table can answer.
func searchable(f *core.Filter) []searchRow {
	var out []searchRow
	for i := range f.Attributes {
		if r, ok := searchKey(&f.Attributes[i]); ok {
			out = append(out, r)
		}
	}
	return out
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
		s.add(" AND (o.owner = ", f.Owner)
		if len(f.Groups) > 0 {
			groups := make([]any, len(f.Groups))
			for i, g := range f.Groups {
				groups[i] = g
			}
			s.add(" OR o.grp IN (", groups...)
			s.add(")")
		}
		s.add(")")
	}
	order := "o.seq"
	if len(keys) > 0 {
		order = "a.seq"
	}
	s.add(" ORDER BY "+order+" LIMIT ", limit)
	return s.text.String(), s.args
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
