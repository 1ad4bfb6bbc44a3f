package rules

import (
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// MaxFamilyVersions bounds the versions of one key family, because a change of its key policies
// stores all of them at once.
const MaxFamilyVersions = 1000

// IsOfFamily reports whether an attribute belongs to a key family: none that a client may set,
// and none that a replacement inherits. Names that read alike in another case, or with another
// vendor, count too.
func IsOfFamily(n core.AttributeName) bool {
	for _, own := range [...]core.AttributeName{core.FamilyAttribute, core.VersionAttribute, core.NewestAttribute, core.AliasAttribute, core.RotationAttribute, core.RotateAtAttribute} {
		if n.Tag == 0 && strings.EqualFold(n.String(), own.String()) {
			return true
		}
	}
	return false
}

// Bounds of aliases.
const (
	maxAliasLength = 200 // as many bytes as an index holds
	MaxAliases     = 32  // of one key
)

// CheckAlias refuses a text that is no alias.
func CheckAlias(alias string) error {
	other := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._/-", r))
	}
	if alias == "" || len(alias) > maxAliasLength || strings.ContainsFunc(alias, other) {
		return core.Errorf(core.InvalidField, "an alias has 1 to %d letters, digits, dots, slashes, hyphens and underscores; %s is none", maxAliasLength, core.ClientText(alias))
	}
	return nil
}

// ParseKeyReference reads how the REST door names keys: ID, ID@VERSION, alias/NAME and
// alias/NAME@VERSION.
func ParseKeyReference(text string) (core.Identifier, error) {
	id := core.Identifier{Text: text, Family: true}
	if name, number, ok := cutLast(text, '@'); ok {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 || number != strconv.FormatInt(n, 10) {
			return id, core.Errorf(core.InvalidField, "the version in %s is no number from 1 on", core.ClientText(text))
		}
		id.Text, id.Version = name, n
	}
	if alias, ok := strings.CutPrefix(id.Text, "alias/"); ok {
		id.Text, id.Alias = "", alias
		return id, CheckAlias(alias)
	}
	if id.Text == "" {
		return id, core.Errorf(core.InvalidField, "%s names no key; write its identifier, or alias/NAME", core.ClientText(text))
	}
	return id, nil
}

// cutLast cuts a text at the last separator.
func cutLast(text string, separator byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(text, separator); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}

// OnlyServerSets reports whether a vendor attribute is one that clients neither give, change
// nor delete: of vendor y, of a key family, or of the life of an object.
func OnlyServerSets(n core.AttributeName) bool {
	return n.Tag == 0 && (n.Vendor == "y" || IsOfFamily(n) || isOfLife(n))
}
