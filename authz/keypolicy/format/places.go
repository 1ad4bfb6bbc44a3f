package format

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Prefixes of the regions that are countries and continents. No name of [Regions] has a colon.
const (
	CountryPrefix   = "country:"   // and a code of ISO 3166-1 with two letters: "country:DE"
	ContinentPrefix = "continent:" // and a code of GeoNames with two letters: "continent:EU"
)

// IsPlace reports whether a region is a country or a continent.
func IsPlace(region string) bool {
	return strings.HasPrefix(region, CountryPrefix) || strings.HasPrefix(region, ContinentPrefix)
}

// countryCodes are those of ISO 3166-1, and XK, which MaxMind uses for Kosovo.
var countryCodes = strings.Fields(`
	AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ
	BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM
	DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS
	GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN
	KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ
	MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
	PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
	SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI
	VN VU WF WS YE YT ZA ZM ZW XK
`)

var continentCodes = []string{"AF", "AN", "AS", "EU", "NA", "OC", "SA"}

// checkPlace refuses a code that no address has: a denial for it would never apply.
func checkPlace(region string) error {
	if code, ok := strings.CutPrefix(region, CountryPrefix); ok && !slices.Contains(countryCodes, code) {
		return fmt.Errorf("the region %q has no code of ISO 3166-1; write two capital letters, such as country:DE", core.ClientText(region))
	}
	if code, ok := strings.CutPrefix(region, ContinentPrefix); ok && !slices.Contains(continentCodes, code) {
		return fmt.Errorf("the region %q is no continent; those are %s", core.ClientText(region), strings.Join(continentCodes, ", "))
	}
	return nil
}
