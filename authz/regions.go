package authz

import (
	"net/netip"
	"os"
	"strings"

	"github.com/keyreeve/keyreeve/authz/keypolicy"
	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/authz/location"
	"github.com/keyreeve/keyreeve/core"
)

// RegionSources say what the condition region of key policies may name.
type RegionSources struct {
	Regions map[string][]string // name: ranges in CIDR form
	MaxMind string              // file with countries and continents of addresses; "": none
}

// Memory returns the bytes that the file takes at most: the old and the new content while a
// reload reads it. 0 if there is no such file.
func (s RegionSources) Memory() int64 {
	info, err := os.Stat(s.MaxMind)
	if err != nil {
		return 0 // the start says why
	}
	return 2 * min(info.Size(), location.MaxFile)
}

// regionTable is what was read from sources. It never changes.
type regionTable struct {
	ranges format.Regions
	places *location.Database // nil: none
}

// Check fails with InvalidField if a region is malformed or the file cannot be used.
func (s RegionSources) Check() error {
	_, err := readRegions(s)
	return err
}

func readRegions(s RegionSources) (t *regionTable, err error) {
	t = &regionTable{}
	if t.ranges, err = format.ParseRegions(s.Regions); err != nil {
		return nil, err
	}
	if s.MaxMind == "" {
		return t, nil
	}
	if t.places, err = location.ReadDatabase(s.MaxMind); err != nil {
		return nil, core.Wrap(core.InvalidField, err, "policy.maxmind cannot be used")
	}
	return t, nil
}

// locateFunc returns nil if the countries of addresses are not known.
func (t *regionTable) locateFunc() keypolicy.LocateFunc {
	if t.places == nil {
		return nil
	}
	return t.placesOf
}

func (t *regionTable) placesOf(address netip.Addr) (places []string, err error) {
	country, continent, err := t.places.CodesOf(address)
	if country != "" {
		places = append(places, format.CountryPrefix+country)
	}
	if continent != "" {
		places = append(places, format.ContinentPrefix+continent)
	}
	return places, err
}

// changesTo returns the names of the settings that another table changes.
func (t *regionTable) changesTo(other *regionTable) (settings []string) {
	if !t.ranges.Equal(other.ranges) {
		settings = append(settings, "policy.regions")
	}
	if !t.places.Equal(other.places) {
		settings = append(settings, "policy.maxmind")
	}
	return settings
}

// ReloadRegions asks for the sources, reads them and replaces the regions. announce is called
// before, with the settings that changed, if something did; if it fails, the old regions stay.
// They also stay if a source cannot be used. Two calls do all this one after the other, so the
// sources that were asked for last stay. A stored policy that names a region that is no longer
// there cannot be evaluated: each request that it concerns is denied.
func (k *KeyPolicies) ReloadRegions(ask func() (RegionSources, error), announce func(changed string) error) error {
	k.reloading.Lock()
	defer k.reloading.Unlock()
	sources, err := ask()
	if err != nil {
		return err
	}
	table, err := readRegions(sources)
	if err != nil {
		return err
	}
	changed := k.regionsNow().changesTo(table)
	if len(changed) == 0 {
		return nil
	}
	if err := announce(strings.Join(changed, " and ")); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.regions = table
	k.compiled.Clear()
	k.changes.Add(1) // matches of the old regions are found no longer
	return nil
}

func (k *KeyPolicies) regionsNow() *regionTable {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.regions
}
