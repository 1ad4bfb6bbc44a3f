package store

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

const deleteIndexRows = `DELETE FROM object_attr WHERE tenant = $1 AND seq = $2`

// maxIndexRows is the largest number of rows of the search table in one statement.
const maxIndexRows = 8

// indexTexts holds the INSERTs of 1, 2 ... maxIndexRows rows.
var indexTexts = func() (texts [maxIndexRows + 1]string) {
	for n := 1; n <= maxIndexRows; n++ {
		texts[n] = "INSERT INTO object_attr (tenant, name, val, seq) VALUES " + valueRows(1, n, 4) + " ON CONFLICT DO NOTHING"
	}
	return texts
}()

// aliasRows is the name of the rows of aliases.
var aliasRows = core.AliasAttribute.String()

// insertAlias is apart from the other rows, because it must fail if the alias is taken.
var insertAlias = "INSERT INTO object_attr (tenant, name, val, seq) VALUES (" + parameters(1, 4) + ")"

// addIndexRows adds the statements for an object's rows of the search table.
func (l *statementCollector) addIndexRows(o *core.ManagedObject) {
	rows := slices.DeleteFunc(searchRows(o.Attributes), func(r searchRow) bool {
		if r.name == aliasRows {
			l.aliases = append(l.aliases, statement{text: insertAlias, args: []any{o.Tenant, r.name, r.val, o.Seq}, duplicate: aliasTaken(r.val), doing: "write an alias"})
			return true
		}
		return false
	})
	for part := range slices.Chunk(rows, maxIndexRows) {
		args := make([]any, 0, 4*len(part))
		for _, r := range part {
			args = append(args, o.Tenant, r.name, r.val, o.Seq)
		}
		l.addStatements(statement{text: indexTexts[len(part)], args: args, doing: "index an object"})
	}
}

func aliasTaken(alias string) error {
	return core.Errorf(core.ObjectAlreadyExists, "the alias %s is taken", alias)
}

// maxIndexed is the longest value, in bytes, that the search table holds as it is. Of a
// longer value it holds the hash.
const maxIndexed = 200

// searchRow is one row of the search table.
type searchRow struct{ name, val string }

// searchFields lists the standard attributes that are in the search table, and which
// fields of structures. Other attributes have typed columns, or the engine checks each
// candidate.
var searchFields = map[core.Tag][]core.Tag{
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

// searchRows returns the rows of the search table for the attributes of an object. For
// the attributes of a filter, it returns the rows that a match must have.
func searchRows(as core.Attributes) []searchRow {
	var out []searchRow
	for i := range as {
		out = appendRows(out, &as[i])
	}
	return out
}

func appendRows(out []searchRow, a *core.Attribute) []searchRow {
	fields, ok := searchFields[a.Tag]
	if !ok && a.Tag != 0 && !a.Tag.IsVendor() {
		return out
	}
	name := indexValue(a.Ref().String())
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
		return append(out, searchRow{name, indexValue(v.Text)})
	case core.KindByteString, core.KindBigInteger:
		return append(out, searchRow{name, indexValue(string(v.Bytes))})
	}
	return append(out, searchRow{name, strconv.FormatInt(v.Num, 10)})
}

func indexValue(s string) string {
	if len(s) <= maxIndexed && document.IsStorable(s) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}
