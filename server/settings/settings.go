// Package settings has the settings of a server: their names in the configuration file,
// their defaults and their bounds. It decides nothing and opens nothing: package server
// makes its parts with them. Start at [Settings].
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
)

// Settings are the whole of a server's settings: docs/config.sample.yaml shows
// each with its default. An unknown key is an error; secrets are given by
// reference alone.
type Settings struct {
	Dir   string `yaml:"dir" bound:"file"`      // folder of the admin socket; must exist
	Node  string `yaml:"node" bound:"text"`     // this node's name in audit records; "": the host's name
	KMIP  string `yaml:"kmip" bound:"address"`  // host:port of the KMIP door
	HTTPS string `yaml:"https" bound:"address"` // host:port of the REST door; "": none

	TLS struct {
		Certificate string            `yaml:"certificate" bound:"file"`        // PEM, the server's, with its chain
		Key         string            `yaml:"key" bound:"secret"`              // PEM
		ClientCA    string            `yaml:"client_ca" bound:"file"`          // PEM, authorities whose clients may connect
		Authorities []authn.Authority `yaml:"authorities" bound:"authorities"` // what each of them may name in its certificates
		ClientCRL   string            `yaml:"client_crl" bound:"file"`         // PEM, a list of each authority; read again when it changes
		ClientOCSP  []authn.OCSPRule  `yaml:"client_ocsp" bound:"ocsp"`        // authorities whose certificates are checked at a responder
		CRLStale    string            `yaml:"crl_stale" bound:"stale"`         // serve or refuse clients of an authority whose list is past its Next Update
		RequireEKU  bool              `yaml:"require_eku"`                     // demand Extended Key Usage clientAuth of clients
		OldSuites   bool              `yaml:"old_suites"`                      // also offer TLS 1.2 suites with CBC or RSA key exchange, for old arrays
		Principals  []authn.Mapping   `yaml:"principals" bound:"principals"`   // for certificates without a keyreeve URI

		ExpiryWarning time.Duration `yaml:"expiry_warning" bound:"1h..8760h"` // how long before its end a certificate is pointed out in health, log and metrics
	} `yaml:"tls"`

	Authentication struct {
		Credentials                string        `yaml:"credentials" bound:"credentials"`       // verify or ignore the credentials in the header of KMIP messages
		TokenLifetime              time.Duration `yaml:"token_lifetime" bound:"1m..12h"`        // of an access token whose buyer names none
		TokenMaxLifetime           time.Duration `yaml:"token_max_lifetime" bound:"1m..12h"`    // that a buyer may name
		TokensPerPrincipal         int           `yaml:"tokens_per_principal" bound:"1..10000"` // that live at once
		TokensPerTenant            int           `yaml:"tokens_per_tenant" bound:"1..1000000"`  // the same
		PasswordWithoutCertificate bool          `yaml:"password_without_certificate"`          // a password buys a token over TLS without a client certificate
		Issuers                    []oidc.Issuer `yaml:"issuers" bound:"issuers"`               // of bearer tokens, besides this server

		SpeaksFor []authn.SpeakerRule `yaml:"speaks_for" bound:"speakers"` // which certificate may send passwords and tokens of which user
		LDAP      []ldap.Settings     `yaml:"ldap" bound:"ldap"`           // directories that verify passwords, one of a tenant
	} `yaml:"authentication"`

	Enrollment struct {
		Certificate string        `yaml:"certificate" bound:"file"`     // PEM, of the server's own authority for clients; "": no client is enrolled
		Key         string        `yaml:"key" bound:"secret"`           // PEM, or hsm:ID for a key in the HSM
		Lifetime    time.Duration `yaml:"lifetime" bound:"1h..87600h"`  // of the certificates that it issues
		Invitation  time.Duration `yaml:"invitation" bound:"1m..8760h"` // how long an invitation lives
		Renewal     time.Duration `yaml:"renewal" bound:"0..87600h"`    // how long before its end a certificate can be renewed by itself; 0: never
	} `yaml:"enrollment"`

	HSM struct {
		Module        string        `yaml:"module" bound:"file"`     // path of the PKCS#11 library
		Token         string        `yaml:"token" bound:"label"`     // token label
		Serial        string        `yaml:"serial" bound:"serial"`   // "": if only one token has the label
		PINFile       string        `yaml:"pin_file" bound:"secret"` // one of the two
		PINEnv        string        `yaml:"pin_env" bound:"variable"`
		Sessions      int           `yaml:"sessions" bound:"1..1024"`      // logged-in sessions; one tenant gets three quarters of them at most
		Handles       int           `yaml:"handles" bound:"1..1000000"`    // keys kept unwrapped in the token
		Copies        int           `yaml:"copies" bound:"-1|1..1000000"`  // class C keys kept in locked memory; -1: none
		CopyTTL       time.Duration `yaml:"copy_ttl" bound:"-1s|1s..24h"`  // how long; -1s: none
		MaxTenants    int           `yaml:"max_tenants" bound:"1..100000"` // sets of 7 keys that the token may hold for tenants
		AllowSoftware bool          `yaml:"allow_software"`                // class C keys may be used in Go where the token lacks a mechanism: ChaCha20, Ed25519
		UnwrapPKCS1   bool          `yaml:"unwrap_pkcs1"`                  // RSA keys for Unwrap Key alone also unwrap by PKCS#1 v1.5
	} `yaml:"hsm"`

	Store struct {
		URL     string `yaml:"url" bound:"url"`         // sqlite:PATH or postgres://...
		URLFile string `yaml:"url_file" bound:"secret"` // instead of url, where it holds a password
	} `yaml:"store"`

	Policy struct {
		File  string `yaml:"file" bound:"file"`  // "": the default policy
		Tests string `yaml:"tests" bound:"file"` // its tests; "" with file "": the default's

		ApprovalLifetime time.Duration `yaml:"approval_lifetime" bound:"1m..720h"` // how long a request waits for approvals

		Regions map[string][]string `yaml:"regions" bound:"regions"` // name: ranges of addresses, for the condition region of key policies

		MaxMind string `yaml:"maxmind" bound:"file"` // MaxMind DB file, for regions that are countries and continents; "": none
	} `yaml:"policy"`

	Keys struct {
		Sensitive      bool     `yaml:"sensitive"`                      // new objects are Sensitive unless asked otherwise
		NotExtractable bool     `yaml:"not_extractable"`                // new objects are not Extractable unless asked otherwise
		ForbidClasses  []string `yaml:"forbid_classes" bound:"classes"` // of N, X, C
		UniqueNames    bool     `yaml:"unique_names"`                   // refuse a Name that another object has

		Retention time.Duration `yaml:"retention" bound:"24h..87600h"` // how long a deleted key can be restored, unless the request says otherwise

		DeactivatedMayProcess bool `yaml:"deactivated_may_process"` // Deactivated keys decrypt, verify and unwrap
		CompromisedMayProcess bool `yaml:"compromised_may_process"` // and Compromised ones

		Tenants map[string]map[string]bool `yaml:"tenants" bound:"tenants"` // tenant: those of tenantSwitches that differ from the server's
	} `yaml:"keys"`

	Limits struct {
		Connections int `yaml:"connections" bound:"1..1000000"` // at once, of each door
		PerPeer     int `yaml:"per_peer" bound:"1..1000000"`    // of them from one address

		PerPrincipal  int `yaml:"per_principal" bound:"1..1000000"`   // of them of one principal
		PerTenant     int `yaml:"per_tenant" bound:"1..1000000"`      // of them of one tenant, never more than seven eighths
		Waiting       int `yaml:"waiting" bound:"1..1000000"`         // that have not yet shown a certificate, besides
		WaitingPerNet int `yaml:"waiting_per_net" bound:"1..1000000"` // of them from one /24, or /64 of IPv6

		Handshake time.Duration `yaml:"handshake" bound:"10ms..5m"`
		Read      time.Duration `yaml:"read" bound:"10ms..1h"`
		Idle      time.Duration `yaml:"idle" bound:"100ms..24h"`
		Write     time.Duration `yaml:"write" bound:"10ms..1h"`
		Operation time.Duration `yaml:"operation" bound:"10ms..1h"`
		Search    time.Duration `yaml:"search" bound:"10ms..1h"` // of one Locate, after which it ends with an error

		MemoryTotalMiB        int `yaml:"memory_total_mib" bound:"32..1048576"`         // of messages and answers that are worked on
		MemoryPerPrincipalMiB int `yaml:"memory_per_principal_mib" bound:"16..1048576"` // of them of one principal, over all its connections
	} `yaml:"limits"`

	Quotas struct {
		Objects           int64 `yaml:"objects" bound:"0..1000000000000000"`            // of one tenant, destroyed ones included; 0: no bound, here and below
		ResidentKeys      int64 `yaml:"resident_keys" bound:"0..1000000000000000"`      // token objects of one tenant's keys
		Bytes             int64 `yaml:"bytes" bound:"0..1000000000000000"`              // attributes and sealed keys of one tenant
		TenantRequests    int64 `yaml:"tenant_requests" bound:"0..1000000000000000"`    // operations a second of one tenant
		PrincipalRequests int64 `yaml:"principal_requests" bound:"0..1000000000000000"` // operations a second of one principal
	} `yaml:"quotas"`

	Tenants struct {
		DeleteAfter time.Duration `yaml:"delete_after" bound:"0s..8760h"` // between the two steps of the deletion of a tenant
	} `yaml:"tenants"`

	Compat map[string][]string `yaml:"compat" bound:"compat"` // principal: names of attributes left out when all are asked for
}

// The values of tls.crl_stale.
const (
	StaleServe  = "serve"
	StaleRefuse = "refuse"
)

// The values of authentication.credentials.
const (
	VerifyCredentials = "verify" // in tenants that have or had users
	IgnoreCredentials = "ignore" // they are only noted in the record
)

// Defaults are the settings of an empty file.
func Defaults() Settings {
	var c Settings
	c.KMIP, c.HTTPS = "0.0.0.0:5696", "0.0.0.0:8443"
	c.HSM.Sessions, c.HSM.Handles, c.HSM.Copies, c.HSM.CopyTTL = member.DefaultSessions, 4096, 8192, time.Minute
	c.HSM.MaxTenants = 1000
	c.Keys.DeactivatedMayProcess, c.Keys.CompromisedMayProcess = true, true // as the standard
	c.TLS.CRLStale = StaleServe
	c.TLS.ExpiryWarning = 720 * time.Hour
	c.Policy.ApprovalLifetime = 24 * time.Hour
	c.Keys.Retention = engine.DefaultRetention
	c.Enrollment.Lifetime, c.Enrollment.Invitation, c.Enrollment.Renewal = 2160*time.Hour, 24*time.Hour, 720*time.Hour
	c.Authentication.Credentials = VerifyCredentials
	c.Authentication.TokenLifetime, c.Authentication.TokenMaxLifetime = 15*time.Minute, core.MaxTokenLifetime
	c.Authentication.TokensPerPrincipal, c.Authentication.TokensPerTenant = 100, 10_000
	c.Limits.Connections, c.Limits.PerPeer, c.Limits.PerPrincipal, c.Limits.PerTenant = 10_000, 256, 2000, 7500
	c.Limits.Waiting, c.Limits.WaitingPerNet = 2000, 500
	c.Limits.Handshake, c.Limits.Read, c.Limits.Idle, c.Limits.Write = 5*time.Second, 10*time.Second, 10*time.Minute, 10*time.Second
	c.Limits.Operation, c.Limits.Search = 30*time.Second, 10*time.Second
	c.Limits.MemoryTotalMiB, c.Limits.MemoryPerPrincipalMiB = 256, 64
	c.Tenants.DeleteAfter = 7 * 24 * time.Hour
	c.Quotas.Objects, c.Quotas.ResidentKeys, c.Quotas.Bytes = 10_000_000, 1000, 64<<30
	return c
}

// The switches of keys that a tenant may have for itself.
const (
	DeactivatedMayProcess = "deactivated_may_process"
	CompromisedMayProcess = "compromised_may_process"
)

var tenantSwitches = []string{DeactivatedMayProcess, CompromisedMayProcess}

// RevokedKeysOf returns what holds for each tenant that has switches of its own. A
// switch that a tenant leaves out is the server's.
func (c *Settings) RevokedKeysOf() map[string]engine.RevokedKeys {
	out := make(map[string]engine.RevokedKeys, len(c.Keys.Tenants))
	for tenant, own := range c.Keys.Tenants {
		may := func(name string, server bool) bool {
			if v, ok := own[name]; ok {
				return v
			}
			return server
		}
		out[tenant] = engine.RevokedKeys{
			DeactivatedRefused: !may(DeactivatedMayProcess, c.Keys.DeactivatedMayProcess),
			CompromisedRefused: !may(CompromisedMayProcess, c.Keys.CompromisedMayProcess),
		}
	}
	return out
}

// NamedTenants lists the tenants that the configuration names, declared or not.
func (c *Settings) NamedTenants() []string {
	names := slices.Collect(maps.Keys(c.Keys.Tenants))
	for _, m := range c.TLS.Principals {
		names = append(names, m.Tenant)
	}
	for _, a := range c.TLS.Authorities {
		names = append(names, a.Tenants...)
	}
	for _, r := range c.Authentication.SpeaksFor {
		names = append(names, r.Tenant)
	}
	for _, l := range c.Authentication.LDAP {
		names = append(names, l.Tenant)
	}
	for _, i := range c.Authentication.Issuers {
		names = append(append(names, i.Tenant), i.Tenants...)
	}
	return names
}

// TenantQuota is what each tenant may have.
func (c *Settings) TenantQuota() core.Quota {
	return core.Quota{Objects: c.Quotas.Objects, ResidentKeys: c.Quotas.ResidentKeys, Bytes: c.Quotas.Bytes,
		TenantRequests: c.Quotas.TenantRequests, PrincipalRequests: c.Quotas.PrincipalRequests}
}

// Load reads a file strictly. It does not check the bounds; see [Check].
func Load(path string) (Settings, error) {
	c := Defaults()
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return c, nil
	}
	if err := yaml.Load(b, &c, yaml.WithKnownFields()); err != nil {
		return c, fmt.Errorf("%s: %w", path, mistakes(err))
	}
	return c, nil
}

// mistakes lists the errors of a file by line, without the names of our types.
func mistakes(err error) error {
	all, ok := errors.AsType[*yaml.LoadErrors](err)
	if !ok {
		return err
	}
	var errs []error
	for _, e := range all.Errors {
		what, _, _ := strings.Cut(e.Message, " in type ")
		errs = append(errs, fmt.Errorf("line %d: %s", e.Mark.Line, what))
	}
	return errors.Join(append(errs, errors.New("see docs/config.sample.yaml for what there is"))...)
}
