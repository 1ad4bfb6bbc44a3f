package core_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
)

// givenAtBirth lists what the standard calls set by the server, which a client
// says in Create and the like all the same (KMIP 1.4 Table 165).
var givenAtBirth = []core.Tag{core.TagCryptographicAlgorithm, core.TagCryptographicLength, core.TagCertificateType}

// Each attribute's rule is that of its table in every version that has it; the
// standard has no attribute that is not here.
func TestAttributeRulesAreTheStandards(t *testing.T) {
	seen := map[core.Tag][]core.Version{}
	for _, row := range coretest.CSV(t, "attribute_rules.csv") {
		name, v := row["attribute"], coretest.Version(row["version"])
		if name == "Custom Attribute" || name == "Vendor Attribute" {
			continue
		}
		rules := []*core.AttributeRule{core.RuleByName(name)}
		if name == "Certificate Attributes" {
			rules = certificateAttributes()
		}
		for _, r := range rules {
			if r == nil {
				t.Errorf("KMIP %v has an attribute %s", v, name)
				continue
			}
			seen[r.Tag] = append(seen[r.Tag], v)
			if !v.Within(r.Since, r.Until) {
				t.Errorf("%s is of KMIP %v to %v here, and KMIP %v has it", r.Name, r.Since, r.Until, v)
			}
			sets := strings.Contains(row["Initially set by"], "Client") || slices.Contains(givenAtBirth, r.Tag)
			if r.ClientSets != sets || r.ClientDeletes != yesIn(row["Deletable by client"]) || r.Multiple != yesIn(row["Multiple instances permitted"]) || r.ClientChanges != changes(row["Modifiable by client"]) {
				t.Errorf("the rule of %s is %+v, and KMIP %v has %v", r.Name, *r, v, row)
			}
		}
	}
	for _, r := range core.AttributeRules() {
		for _, v := range core.Versions {
			// The standard has a section on Cryptographic Domain Parameters and no rules in it.
			if v.Within(r.Since, r.Until) && !slices.Contains(seen[r.Tag], v) && r.Tag != core.TagCryptographicDomainParameters {
				t.Errorf("KMIP %v has no attribute %s", v, r.Name)
			}
		}
	}
}

func yesIn(cell string) bool { return strings.HasPrefix(cell, "Yes") }

func changes(cell string) core.Modify {
	switch {
	case !yesIn(cell):
		return core.ModifyNever
	case cell == "Yes, only while in Pre-Active state":
		return core.ModifyPreActive
	case strings.Contains(cell, "only while in Pre-Active or Active state"):
		return core.ModifyUntilReached
	}
	return core.ModifyAlways
}

func certificateAttributes() (out []*core.AttributeRule) {
	for _, r := range core.AttributeRules() {
		if r.Since == core.V2_0 && (strings.HasPrefix(r.Name, "Certificate Subject ") || strings.HasPrefix(r.Name, "Certificate Issuer ")) {
			out = append(out, core.RuleOf(r.Tag))
		}
	}
	return out
}

// Tags and enumerations are the standard's, by number, name and first version.
func TestNamesAreTheStandards(t *testing.T) {
	for _, row := range coretest.CSV(t, "tags.csv") {
		n, _ := strconv.ParseUint(row["hex"], 16, 32)
		since := coretest.Version(row["first_version"])
		if i := core.Tag(n).Info(); since != 0 && (i == nil || i.Name != row["name"] || i.XML != row["xml_name"] || i.Since != since) {
			t.Errorf("tag %s is %+v, and the standard has %v", row["hex"], i, row)
		}
	}
	enums := map[string]*core.EnumInfo{}
	for _, e := range core.Enums() {
		enums[e.XML] = e
	}
	for _, row := range coretest.CSV(t, "enums.csv") {
		versions := strings.Fields(row["versions"])
		since := coretest.Version(versions[0])
		if since == 0 {
			continue // a later version of the standard
		}
		e := enums[row["enum_xml"]]
		if e == nil {
			t.Errorf("there is no enumeration %s", row["enum"])
			continue
		}
		n, _ := strconv.ParseUint(row["value_hex"], 16, 32)
		value := e.Lookup(uint32(n))
		if value == nil || value.Name != row["name"] || value.XML != row["xml_name"] || value.Since != since {
			t.Errorf("%s %s is %+v, and the standard has %v", e.Name, row["value_hex"], value, row)
			continue
		}
		last := coretest.Version(versions[len(versions)-1]) // 0: of a later version
		for _, v := range core.Versions {
			listed := slices.Contains(versions, v.String())
			if in := v.Within(value.Since, value.Until); listed && !in || in && last != 0 && v > last {
				t.Errorf("%s %s is of KMIP %v to %v here, and of %v in the standard", e.Name, value.Name, value.Since, value.Until, versions)
			}
		}
	}
}
