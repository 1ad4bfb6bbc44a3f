package server

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/secretfile"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/settings"
)

// Config is the whole of a server's settings, with what a configuration file cannot say.
type Config struct {
	settings.Settings

	dev   *member.Config // the token of serve --dev
	file  string         // that it was read from; "": none
	users password.Users // of tests, in place of those in the directory
}

// Defaults are the settings of an empty file.
func Defaults() Config { return Config{Settings: settings.Defaults()} }

// LoadConfig reads a file strictly.
func LoadConfig(path string) (Config, error) {
	read, err := settings.Load(path)
	c := Config{Settings: read, file: path}
	if err != nil {
		return c, err
	}
	return c, c.check()
}

// RegionSources returns the settings for the condition region of key policies.
func (c *Config) RegionSources() authz.RegionSources {
	return authz.RegionSources{Regions: c.Policy.Regions, MaxMind: c.Policy.MaxMind}
}

// check lists all that is wrong at once.
func (c *Config) check() error {
	var errs []error
	need := func(name, v string) {
		if v == "" {
			errs = append(errs, fmt.Errorf("%s must be set", name))
		}
	}
	need("dir", c.Dir)
	need("kmip", c.KMIP)
	need("tls.certificate", c.TLS.Certificate)
	need("tls.key", c.TLS.Key)
	need("tls.client_ca", c.TLS.ClientCA)
	if c.dev == nil {
		need("hsm.module", c.HSM.Module)
		need("hsm.token", c.HSM.Token)
		if (c.HSM.PINFile == "") == (c.HSM.PINEnv == "") {
			errs = append(errs, errors.New("exactly one of hsm.pin_file and hsm.pin_env must be set"))
		}
	}
	if (c.Store.URL == "") == (c.Store.URLFile == "") {
		errs = append(errs, errors.New("exactly one of store.url and store.url_file must be set"))
	}
	if c.dev == nil && holdsPassword(c.Store.URL) {
		errs = append(errs, errors.New("store.url holds a password; put the URL into a file and name it in store.url_file"))
	}
	if c.KMIP == c.HTTPS && !strings.HasSuffix(c.KMIP, ":0") { // port 0: each takes a free one
		errs = append(errs, fmt.Errorf("kmip and https are both %s; give each door a port of its own", c.KMIP))
	}
	if c.Policy.File != "" && c.Policy.Tests == "" {
		errs = append(errs, errors.New("policy.tests must be set beside policy.file: a policy without tests is not activated"))
	}
	if c.Authentication.TokenLifetime > c.Authentication.TokenMaxLifetime {
		errs = append(errs, fmt.Errorf("authentication.token_lifetime is %v and may not be more than authentication.token_max_lifetime, which is %v", c.Authentication.TokenLifetime, c.Authentication.TokenMaxLifetime))
	}
	if c.Limits.MemoryPerPrincipalMiB > c.Limits.MemoryTotalMiB {
		errs = append(errs, fmt.Errorf("limits.memory_per_principal_mib is %d and may not be more than limits.memory_total_mib, which is %d", c.Limits.MemoryPerPrincipalMiB, c.Limits.MemoryTotalMiB))
	}
	errs = append(errs, checkPrefixes(c.Authentication.LDAP, c.Authentication.Issuers))
	errs = append(errs, settings.Check(&c.Settings)...)
	return errors.Join(errs...)
}

// accessTokens bounds access tokens.
func (c *Config) accessTokens() admin.TokenSettings {
	a := c.Authentication
	return admin.TokenSettings{Lifetime: a.TokenLifetime, Longest: a.TokenMaxLifetime, PerPrincipal: a.TokensPerPrincipal, PerTenant: a.TokensPerTenant}
}

// memory is shared by the doors, for messages and answers.
func (c *Config) memory() *bounds.Memory {
	return bounds.NewMemory(int64(c.Limits.MemoryTotalMiB)<<20, int64(c.Limits.MemoryPerPrincipalMiB)<<20)
}

// runtimeBase is the memory that the program needs beside messages, answers and checks of
// passwords: itself, caches, parts of streams, and connections, 24 KiB each.
const runtimeBase = 192 << 20

// RuntimeMemory returns the bytes that the Go runtime may take before it collects
// garbage more often.
func (c *Config) RuntimeMemory() int64 {
	return int64(c.Limits.MemoryTotalMiB)<<20 + runtimeBase + password.CheckMemory() + c.RegionSources().Memory()
}

func holdsPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password")
}

// storeURL is the URL, from its file where it is there.
func (c *Config) storeURL() (string, error) {
	if c.Store.URLFile == "" {
		return c.Store.URL, nil
	}
	line, err := secretfile.Line(c.Store.URLFile)
	if err != nil {
		return "", core.Wrap(core.StoreUnavailable, err, "store.url_file cannot be read")
	}
	return line, nil
}

// tokenSettings is the HSM's part.
func (c *Config) tokenSettings() hsmSettings {
	t := hsmSettings{Config: member.Config{Module: c.HSM.Module, Label: c.HSM.Token, Serial: c.HSM.Serial}}
	if c.dev != nil {
		t.Config = *c.dev
	} else if c.HSM.PINFile != "" {
		t.PIN = member.PINFile(c.HSM.PINFile)
	} else {
		t.PIN = func() (string, error) {
			if pin, ok := os.LookupEnv(c.HSM.PINEnv); ok {
				return pin, nil
			}
			return "", fmt.Errorf("the environment has no %s", c.HSM.PINEnv)
		}
	}
	t.Sessions, t.Handles, t.Copies, t.CopyTTL, t.AllowSoftware, t.UnwrapPKCS1 = c.HSM.Sessions, c.HSM.Handles, c.HSM.Copies, c.HSM.CopyTTL, c.HSM.AllowSoftware, c.HSM.UnwrapPKCS1
	return t
}

// AdminSocket is where commands reach a running server.
func (c *Config) AdminSocket() string { return filepath.Join(c.Dir, "admin.sock") }
