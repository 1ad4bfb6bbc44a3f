// Package profile keeps the servers that the client of the REST door knows: a file of
// profiles, each with an address and with what proves who asks.
//
// The file is read strictly: an unknown member, a relative path, and a file that others
// can read are errors. It holds no secret itself. A token is in a file of its own beside
// it. Start at [Choose].
package profile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"github.com/keyreeve/keyreeve/core/secretfile"
)

// DefaultName is the name of the profile that counts if none is named.
const DefaultName = "default"

// Outputs are the forms in which a command prints its result. The first one is the default.
var Outputs = []string{"table", "json", "yaml"}

// Profile is a server, and what proves who asks.
type Profile struct {
	URL         string `yaml:"url"`                   // https://HOST:PORT
	CA          string `yaml:"ca,omitempty"`          // PEM file of the authority of the server; "": those of this machine
	Certificate string `yaml:"certificate,omitempty"` // PEM file
	Key         string `yaml:"key,omitempty"`         // PEM file
	TokenFile   string `yaml:"token_file,omitempty"`  // file with an access token
	Output      string `yaml:"output,omitempty"`      // one of Outputs
}

// Connection is a profile with its token.
type Connection struct {
	Profile
	Name  string // of the profile; "" if the environment says it all
	Token string
}

// file is the file of profiles.
type file struct {
	Profiles map[string]Profile `yaml:"profiles"`
}

// maxFile bounds the file of profiles, in bytes.
const maxFile = 1 << 20

// Path returns the path of the file of profiles.
func Path() (string, error) {
	if path := os.Getenv("KEYREEVE_PROFILES"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("the folder for profiles is unknown; set KEYREEVE_PROFILES: %w", err)
	}
	return filepath.Join(dir, "keyreeve", "profiles.yaml"), nil
}

// Load returns the profiles of a file by name. A file that does not exist has none.
func Load(path string) (map[string]Profile, error) {
	b, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]Profile{}, nil
	}
	if err != nil {
		return nil, err
	}
	var f file
	if strings.TrimSpace(string(b)) != "" {
		if err := yaml.Load(b, &f, yaml.WithKnownFields()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	for name, p := range f.Profiles {
		if err := CheckName(name); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("%s: profile %s: %w", path, name, err)
		}
	}
	if f.Profiles == nil {
		f.Profiles = map[string]Profile{}
	}
	return f.Profiles, nil
}

// Save adds a profile to the file, or replaces it.
func Save(path, name string, p Profile) error {
	if err := errors.Join(CheckName(name), p.Check()); err != nil {
		return err
	}
	all, err := Load(path)
	if err != nil {
		return err
	}
	all[name] = p
	b, err := yaml.Dump(file{all})
	if err != nil {
		return err
	}
	return writeWithFolder(path, b)
}

// SaveToken writes the token of a profile for a server into the file at [TokenPath], and
// returns its path.
func SaveToken(profiles, name, url, token string) (path string, err error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	path = TokenPath(profiles, name, url)
	return path, writeWithFolder(path, []byte(token+"\n"))
}

// TokenPath returns the path of the file for the token of a profile: beside the file of
// profiles. No other profile has it, no other file of profiles in the same folder, and not
// the same profile for another server.
func TokenPath(profiles, name, url string) string {
	file := filepath.Base(profiles)
	sum := sha256.Sum256([]byte(file + "\x00" + name + "\x00" + strings.TrimRight(url, "/")))
	return filepath.Join(filepath.Dir(profiles), fmt.Sprintf("%s-%s-%x.token", file, name, sum[:8]))
}

// variables are the variables of the environment that say how to reach a server.
var variables = []string{"KEYREEVE_CA", "KEYREEVE_CERT", "KEYREEVE_KEY", "KEYREEVE_TOKEN"}

// Choose returns the connection of the profile that is named. If none is, it is that of the
// environment, and without KEYREEVE_URL that of the profile [DefaultName]. The two are never
// mixed: a token is sent to no server that it was not meant for.
func Choose(name string) (Connection, error) {
	if name == "" {
		if os.Getenv("KEYREEVE_URL") != "" {
			return fromEnvironment()
		}
		for _, v := range variables {
			if os.Getenv(v) != "" {
				return Connection{}, fmt.Errorf("%s is set without KEYREEVE_URL; set both, or name a profile with --profile", v)
			}
		}
		name = DefaultName
	}
	path, err := Path()
	if err != nil {
		return Connection{}, err
	}
	all, err := Load(path)
	if err != nil {
		return Connection{}, err
	}
	p, ok := all[name]
	if !ok {
		return Connection{}, fmt.Errorf("%s has no profile %s; make one with keyreeve login --profile %s", path, name, name)
	}
	c := Connection{Profile: p, Name: name}
	if p.TokenFile != "" {
		c.Token, err = ReadToken(p.TokenFile)
	}
	return c, err
}

// fromEnvironment returns the connection that the environment describes.
func fromEnvironment() (c Connection, err error) {
	c = Connection{Token: os.Getenv("KEYREEVE_TOKEN"), Profile: Profile{URL: os.Getenv("KEYREEVE_URL")}}
	for v, to := range map[string]*string{"KEYREEVE_CA": &c.CA, "KEYREEVE_CERT": &c.Certificate, "KEYREEVE_KEY": &c.Key} {
		if path := os.Getenv(v); path != "" {
			if *to, err = filepath.Abs(path); err != nil {
				return c, err
			}
		}
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("KEYREEVE_URL and the variables beside it: %w", err)
	}
	return c, nil
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckName says what is wrong with the name of a profile.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a profile: use letters, digits, '.', '_' and '-', at most 64", name)
	}
	return nil
}

// Check says what is wrong with a profile.
func (p Profile) Check() error {
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("url must be https://HOST:PORT and no more") // it is not quoted: it may have a password
	}
	for member, path := range map[string]string{"ca": p.CA, "certificate": p.Certificate, "key": p.Key, "token_file": p.TokenFile} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%s must be an absolute path, not %q", member, path)
		}
	}
	if (p.Certificate == "") != (p.Key == "") {
		return errors.New("certificate and key go together; one of them is missing")
	}
	if p.Output != "" && !slices.Contains(Outputs, p.Output) {
		return fmt.Errorf("output must be one of %s, not %q", strings.Join(Outputs, ", "), p.Output)
	}
	return nil
}

// ReadToken returns the token in a file that only its owner can read. The file is opened once:
// what is checked is what is read.
func ReadToken(path string) (string, error) {
	b, err := readPrivate(path)
	defer clear(b)
	if err != nil {
		return "", err
	}
	return secretfile.LineOf(path, b)
}
