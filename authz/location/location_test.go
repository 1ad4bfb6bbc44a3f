package location_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/authz/location"
	"github.com/keyreeve/keyreeve/authz/location/locationtest"
	"github.com/keyreeve/keyreeve/core"
)

var networks = map[string]locationtest.Place{
	"192.0.2.0/25":       {Country: "DE", Continent: "EU"},
	"192.0.2.128/25":     {Country: "US", Continent: "NA"},
	"198.51.100.7/32":    {Continent: "EU"},
	"203.0.113.0/24":     {Country: "AQ"},
	"203.0.112.0/24":     {},
	"2001:db8::/33":      {Country: "JP", Continent: "AS"},
	"2001:db8:8000::/35": {Country: "deu", Continent: "EU"},
}

func database(t *testing.T, content []byte) (*location.Database, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "places.mmdb")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return location.ReadDatabase(file)
}

func TestCodesOfAddresses(t *testing.T) {
	d, err := database(t, locationtest.File("GeoLite2-City", networks))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"192.0.2.0": "DE EU", "192.0.2.127": "DE EU", "192.0.2.128": "US NA", "192.0.1.255": " ", "192.0.3.0": " ",
		"::ffff:192.0.2.1": "DE EU", "198.51.100.7": " EU", "198.51.100.6": " ", "203.0.113.9": "AQ ", "203.0.112.9": " ",
		"2001:db8::1": "JP AS", "2001:db8::1%eth0": "JP AS", "2001:db8:c000::1": " ", "2001:db9::1": " ",
		"10.0.0.1": " ", "127.0.0.1": " ", "::1": " ", "fe80::1%eth0": " ", "0.0.0.0": " ", "255.255.255.255": " ",
	} {
		country, continent, err := d.CodesOf(netip.MustParseAddr(address))
		if got := country + " " + continent; got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", address, got, err, want)
		}
	}
	if country, continent, err := d.CodesOf(netip.MustParseAddr("2001:db8:8000::1")); core.CodeOf(err) != core.PolicyUnavailable || country+continent != "" {
		t.Errorf("a record with a malformed code: %q, %q, %v; want PolicyUnavailable", country, continent, err)
	}
}

// A file that cannot be used is refused by a sentence that names it.
func TestUnusableFilesAreRefused(t *testing.T) {
	whole := locationtest.File("GeoLite2-Country", networks)
	version := append([]byte("ip_version"), 5<<5|2, 0, 6)
	for what, c := range map[string]struct {
		content []byte
		says    string
	}{
		"an empty file":       {nil, "is no MaxMind DB file"},
		"a text":              {[]byte("no addresses"), "is no MaxMind DB file"},
		"half of a file":      {whole[:len(whole)/2], "is no MaxMind DB file"},
		"a file without head": {whole[9:], "damaged"},
		"another database":    {locationtest.File("GeoLite2-ASN", networks), "is a GeoLite2-ASN"},
		"IPv4 alone":          {bytes.Replace(whole, version, append(version[:len(version)-1:len(version)-1], 4), 1), "places.mmdb"},
	} {
		if d, err := database(t, c.content); core.CodeOf(err) != core.InvalidField || d != nil || !strings.Contains(fmt.Sprint(err), c.says) || !strings.Contains(fmt.Sprint(err), "places.mmdb") {
			t.Errorf("%s: %v; want InvalidField with %q and the name of the file", what, err, c.says)
		}
	}
	large := filepath.Join(t.TempDir(), "large") // without blocks on the disk
	if err := errors.Join(os.WriteFile(large, nil, 0o600), os.Truncate(large, 256<<20+1)); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{large, filepath.Join(t.TempDir(), "none"), t.TempDir(), "/dev/zero", ""} {
		if d, err := location.ReadDatabase(file); core.CodeOf(err) != core.InvalidField || d != nil {
			t.Errorf("%q: %v; want InvalidField", file, err)
		}
	}
}

// A damaged byte ends nothing: the file is refused, or each address has codes of two capital
// letters, or an error.
func TestDamagedBytesAreHarmless(t *testing.T) {
	whole := locationtest.File("GeoLite2-Country", networks)
	refused, file := 0, filepath.Join(t.TempDir(), "places.mmdb")
	for i := range whole {
		for _, flip := range []byte{1, 0x80, 0xff} {
			content := bytes.Clone(whole)
			content[i] ^= flip
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := location.ReadDatabase(file)
			if err != nil {
				refused++
				continue
			}
			for network := range networks {
				country, continent, err := d.CodesOf(netip.MustParsePrefix(network).Addr())
				for _, code := range []string{country, continent} {
					if code != "" && (len(code) != 2 || strings.ToUpper(code) != code || err != nil) {
						t.Errorf("byte %d xor %#x: %s has the code %q, %v", i, flip, network, code, err)
					}
				}
			}
		}
	}
	if refused < len(whole)/2 {
		t.Errorf("%d of %d damaged files were refused; the check sees too little", refused, 3*len(whole))
	}
}

// Databases are equal if their files are.
func TestEqualDatabases(t *testing.T) {
	one, err1 := database(t, locationtest.File("GeoLite2-Country", networks))
	same, err2 := database(t, locationtest.File("GeoLite2-Country", networks))
	other, err3 := database(t, locationtest.File("GeoLite2-City", networks))
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	var none *location.Database
	if !one.Equal(same) || one.Equal(other) || one.Equal(none) || none.Equal(one) || !none.Equal(nil) {
		t.Error("databases are not equal exactly if their files are")
	}
}
