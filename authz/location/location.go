// Package location says in which country and on which continent an address is, by a file in
// the MaxMind DB format such as GeoLite2-Country.
//
// The file is read into memory whole: a file that is mapped would end the server if somebody
// shortened it. It is checked before it is used. The package never asks a service. Start at
// [ReadDatabase].
package location

import (
	"crypto/sha256"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/keyreeve/keyreeve/core"
)

// MaxFile is the size of the largest file, in bytes.
const MaxFile = 256 << 20

// Database knows the countries and continents of addresses. It never changes. Safe for
// concurrent use.
type Database struct {
	reader *maxminddb.Reader
	hash   [sha256.Size]byte // of the file
}

// ReadDatabase reads a file. It fails with InvalidField, and a sentence that names the file, if
// the file cannot be read, has more than 256 MiB, is damaged, or is no database of countries or
// cities with IPv4 and IPv6 addresses.
func ReadDatabase(file string) (*Database, error) {
	content, err := readBounded(file)
	if err != nil {
		return nil, err
	}
	r, err := maxminddb.OpenBytes(content)
	if err == nil {
		err = r.Verify()
	}
	switch {
	case err != nil:
		return nil, core.Wrap(core.InvalidField, err, "%s is no MaxMind DB file, or it is damaged", file)
	case !namesCountries(r.Metadata.DatabaseType):
		return nil, core.Errorf(core.InvalidField, "%s is a %s; give a database of countries or cities, such as GeoLite2-Country", file, core.ClientText(r.Metadata.DatabaseType))
	case r.Metadata.IPVersion != 6:
		return nil, core.Errorf(core.InvalidField, "%s knows IPv4 addresses alone; give one with IPv6 addresses too", file)
	}
	return &Database{r, sha256.Sum256(content)}, nil
}

// readBounded reads a regular file of at most MaxFile bytes.
func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file) // before it is opened: to open a pipe can take forever
	if err != nil {
		return nil, core.Wrap(core.InvalidField, err, "%s cannot be read", file)
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFile {
		return nil, core.Errorf(core.InvalidField, "%s is no file of at most %d MiB", file, MaxFile>>20)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, core.Wrap(core.InvalidField, err, "%s cannot be read", file)
	}
	defer f.Close()
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, core.Wrap(core.InvalidField, err, "%s cannot be read whole", file)
	}
	return content, nil
}

// namesCountries reports whether the records of a type of database have countries.
func namesCountries(databaseType string) bool {
	return strings.Contains(databaseType, "Country") || strings.Contains(databaseType, "City") || strings.Contains(databaseType, "Enterprise")
}

// addressRecord is the part of a record that is read. A code is "" if it is not known.
type addressRecord struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Continent struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"continent"`
}

// CodesOf returns the codes of the country, by ISO 3166-1, and of the continent of an address.
// A code is "" if it is not known, as of private addresses. An IPv4 address in IPv6 form is an
// IPv4 address. It fails with PolicyUnavailable if the database gives something else than codes
// of two capital letters.
func (d *Database) CodesOf(address netip.Addr) (country, continent string, err error) {
	var record addressRecord
	found := d.reader.Lookup(address.Unmap().WithZone(""))
	if err := found.Decode(&record); err != nil {
		return "", "", core.Wrap(core.PolicyUnavailable, err, "the MaxMind DB file has no readable record of the address")
	}
	country, continent = record.Country.Code, record.Continent.Code
	if !isCodeOrEmpty(country) || !isCodeOrEmpty(continent) {
		return "", "", core.Errorf(core.PolicyUnavailable, "the MaxMind DB file has a malformed code for the address")
	}
	return country, continent, nil
}

func isCodeOrEmpty(s string) bool {
	return s == "" || len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// Equal reports whether two databases were read from equal files. A nil database equals nil
// alone.
func (d *Database) Equal(other *Database) bool {
	if d == nil || other == nil {
		return d == other
	}
	return d.hash == other.hash
}
