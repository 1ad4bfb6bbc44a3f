package rules

import (
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
	for _, own := range [...]core.AttributeName{core.FamilyAttribute, core.VersionAttribute, core.NewestAttribute} {
		if n.Tag == 0 && strings.EqualFold(n.String(), own.String()) {
			return true
		}
	}
	return false
}

// OnlyServerSets reports whether a vendor attribute is one that clients neither give, change
// nor delete: of vendor y, or of a key family.
func OnlyServerSets(n core.AttributeName) bool {
	return n.Tag == 0 && (n.Vendor == "y" || IsOfFamily(n))
}
