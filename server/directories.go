package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// directories are the LDAP directories of the tenants. They never change.
type directories []*ldap.Directory

func newDirectories(all []ldap.Settings, p ldap.Ports) (directories, error) {
	out := make(directories, len(all))
	for i, s := range all {
		var err error
		if out[i], err = ldap.New(s, p); err != nil {
			return nil, fmt.Errorf("authentication.ldap[%d].%w", i, err)
		}
	}
	return out, nil
}

// forPasswords returns the directories as package password takes them.
func (all directories) forPasswords() []password.Directory {
	out := make([]password.Directory, len(all))
	for i := range all {
		out[i] = all[i]
	}
	return out
}

// serves reports whether a tenant has a directory.
func (all directories) serves(tenant string) bool {
	for _, d := range all {
		if d.Tenant() == tenant {
			return true
		}
	}
	return false
}

// watch probes all directories until ctx ends.
func (all directories) watch(ctx context.Context) {
	var running sync.WaitGroup
	for _, d := range all {
		running.Go(func() { d.Watch(ctx) })
	}
	running.Wait()
}

// countDown returns how many directories verify no passwords.
func (all directories) countDown() (down int) {
	for _, d := range all {
		if d.Health().Problem != "" {
			down++
		}
	}
	return down
}

// part is what health says of the directories to a tenant. Without one of them the server is
// still ready for everybody else.
func (all directories) part(tenant string) httpd.Part {
	p := httpd.Part{Ready: true}
	for _, d := range all {
		if h := d.Health(); h.Problem != "" {
			p.Degraded = true
			if tenant != core.SystemTenant && h.Tenant != tenant {
				continue
			}
			p.Notes = append(p.Notes, fmt.Sprintf("the directory %s verifies no passwords of tenant %s: %s", h.URL, h.Tenant, h.Problem))
		}
	}
	return p
}

// doctorDirectories checks the files of the directories. It asks no directory: a wrong password
// of the service account could lock that.
func doctorDirectories(cfg Config, say func(string, error, string)) {
	all, err := newDirectories(cfg.Authentication.LDAP, ldap.Ports{})
	for i, d := range all {
		if d != nil && err == nil {
			if err = d.CheckFiles(); err != nil {
				err = fmt.Errorf("authentication.ldap[%d].bind_password_file: %w", i, err)
			}
		}
	}
	if len(cfg.Authentication.LDAP) > 0 {
		say("ldap", err, fmt.Sprintf("the files of %d directories can be read; the running server tells whether they answer", len(all)))
	}
}

// checkPrefixes fails if a directory and an OpenID provider of one tenant could name the same
// principal.
func checkPrefixes(directories []ldap.Settings, issuers []oidc.Issuer) error {
	for i, d := range directories {
		for _, o := range issuers {
			shared := o.Tenant == d.Tenant || slices.Contains(o.Tenants, d.Tenant)
			mayBegin := strings.HasPrefix(o.NamePrefix, d.NamePrefix) && !d.MayNameCertificates || strings.HasPrefix(d.NamePrefix, o.NamePrefix) && !o.MayNameUsers
			if shared && mayBegin {
				return fmt.Errorf("authentication.ldap[%d].name_prefix: the directory and the issuer %s could name the same principals; choose prefixes of which none begins with the other", i, o.URL)
			}
		}
	}
	return nil
}

// ldapAnswered logs the beginning and the end of an outage.
func (s *Server) ldapAnswered(url string, err error) {
	if err != nil {
		s.log.Error("authentication.ldap: the directory verifies no passwords", "url", url, "error", err)
		return
	}
	s.log.Info("authentication.ldap: the directory verifies passwords again", "url", url)
}
