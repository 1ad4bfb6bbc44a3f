package format

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Regions names ranges of addresses, for the condition region.
type Regions map[string][]netip.Prefix

// Bounds of regions. All ranges together leave room for the rest of a policy.
const (
	maxRegions      = 1000
	maxRegionRanges = MaxSize / 2 // of all regions
)

// ParseRegions reads names with lists of ranges in CIDR form. It fails with InvalidField if
// a name cannot be that of a region, a range is malformed, a region has no range, or there
// are too many.
func ParseRegions(all map[string][]string) (Regions, error) {
	if len(all) > maxRegions {
		return nil, core.Errorf(core.InvalidField, "there are %d regions; at most %d are possible", len(all), maxRegions)
	}
	out, total := Regions{}, 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := CheckIdentifier(name); err != nil {
			return nil, core.Errorf(core.InvalidField, "the name of a region %s", err)
		}
		if total += len(all[name]); total > maxRegionRanges {
			return nil, core.Errorf(core.InvalidField, "the regions have more than %d ranges", maxRegionRanges)
		}
		ranges, err := parseRanges(all[name])
		if err != nil {
			return nil, core.Errorf(core.InvalidField, "%s: %s", name, err)
		}
		out[name] = ranges
	}
	return out, nil
}

func parseRanges(texts []string) (ranges []netip.Prefix, err error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("a region has at least one range")
	}
	for _, text := range texts {
		p, err := ParseRange(text)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, p)
	}
	return ranges, nil
}

// rangesOf returns the ranges of regions, sorted. A country or continent stands for itself.
func (r Regions) rangesOf(names []string, placesKnown bool) ([]string, error) {
	var (
		all    []netip.Prefix
		places []string
	)
	for _, name := range names {
		ranges := r[name]
		switch {
		case IsPlace(name) && !placesKnown:
			return nil, fmt.Errorf("the region %q is a country or continent, which this server does not know; set policy.maxmind", core.ClientText(name))
		case IsPlace(name):
			if err := checkPlace(name); err != nil {
				return nil, err
			}
			places = append(places, name)
		case len(ranges) == 0:
			return nil, fmt.Errorf("the region %q is not configured", core.ClientText(name))
		}
		all = append(all, ranges...)
	}
	return sortedSet(append(rangeTexts(all), places...)), nil
}

// Equal reports whether two sets of regions have the same names with the same ranges.
func (r Regions) Equal(other Regions) bool {
	return maps.EqualFunc(r, other, slices.Equal)
}
