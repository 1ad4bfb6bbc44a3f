package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/httpd"
	"github.com/keyreeve/keyreeve/store"
)

// Finding is the doctor's result about one part. A Problem says what to do.
type Finding struct{ Part, Problem, Note string }

// Doctor looks at every part that Start would use. It changes nothing: it makes
// and migrates no database, leaves no file, and does not log in to the token, so
// no try of the PIN is spent. What needs a login it asks of the server that runs
// with these settings, if there is one.
func Doctor(ctx context.Context, cfg Config) []Finding {
	var out []Finding
	say := func(part string, err error, note string) {
		f := Finding{Part: part, Note: note}
		if err != nil {
			f.Problem, f.Note = err.Error(), ""
		}
		out = append(out, f)
	}
	var doors map[string]string // of the server that runs with these settings, if any
	if err := adminsocket.Ask(cfg.AdminSocket(), http.MethodGet, "/doors", nil, &doors); err != nil && !errors.Is(err, adminsocket.ErrNoServer) {
		say("health", fmt.Errorf("the running server says: %w", err), "")
	}
	say("dir", cfg.checkDir(), cfg.Dir)
	doctorToken(cfg, say)
	if doors != nil {
		doctorRunning(cfg, say)
	} else {
		say("hsm", nil, "note: not logged in, so that no try of the PIN is spent: PIN, keys and self-test are checked when keyreeve serve starts")
		doctorStore(ctx, cfg, say)
	}
	note, err := doctorPolicy(ctx, cfg)
	say("policy", err, note)
	doctorTLS(cfg, say)
	doctorDirectories(cfg, say)
	doctorDoor("kmip", cfg.KMIP, doors, say)
	doctorDoor("https", cfg.HTTPS, doors, say)
	return out
}

// doctorPolicy tries the policy and the MaxMind DB file that the settings name. The one in force can be another.
func doctorPolicy(ctx context.Context, cfg Config) (string, error) {
	if err := cfg.RegionSources().Check(); err != nil {
		return "", err
	}
	offer, err := cfg.loadPolicy()
	if err != nil {
		return "", err
	}
	p, err := authz.Load(ctx, authz.Options{}, offer.PolicySource)
	if err != nil {
		return "", err
	}
	return "sha256 " + p.Hash(), nil
}

// doctorToken looks at the token without a login.
func doctorToken(cfg Config, say func(string, error, string)) {
	if err := cfg.anothersFiles(os.Geteuid()); err != nil {
		say("hsm", err, "")
		return
	}
	found, err := member.Inspect(cfg.tokenSettings().Config)
	say("hsm", err, fmt.Sprintf("token %q, serial %s", found.Label, found.Serial))
	for _, n := range found.Notes {
		say("hsm", nil, "note: "+n)
	}
}

// anothersFiles refuses to load the library of the token for anyone but the user
// of the server, such as for root: a library may write files of its own beside the
// token, and those of another user could lock the server out.
func (c *Config) anothersFiles(user int) error {
	paths := []string{c.Dir}
	if url, err := c.storeURL(); err == nil {
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue // the part that needs it reports it
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != user {
			return fmt.Errorf("%s belongs to user %d, and the doctor runs as user %d: the token was not looked at, because its library may leave files that lock the server out; run the doctor as user %d", path, st.Uid, user, st.Uid)
		}
	}
	return nil
}

// doctorRunning asks the running server for what needs the token's keys.
func doctorRunning(cfg Config, say func(string, error, string)) {
	var health httpd.Health
	if err := adminsocket.Ask(cfg.AdminSocket(), http.MethodGet, "/health", nil, &health); err != nil {
		say("health", err, "")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(health.Parts)) {
		part := health.Parts[name]
		var err error
		if !part.Ready {
			err = fmt.Errorf("the running server says: %s", part.Problem)
		}
		say(name, err, "in use by the running server, and ready")
		for _, n := range part.Notes {
			say(name, nil, "note: "+n)
		}
	}
	var damaged []upkeep.DamagedCertificate
	err := adminsocket.Ask(cfg.AdminSocket(), http.MethodGet, "/certificates/damaged", nil, &damaged)
	sayDamaged(damaged, err, say)
}

// doctorDoor tries an address, unless a running server has it.
func doctorDoor(name, address string, doors map[string]string, say func(string, error, string)) {
	switch {
	case doors[name] != "":
		say(name, nil, doors[name]+", in use by the running server")
	case address != "":
		l, err := net.Listen("tcp", address)
		if err == nil {
			l.Close()
		} else {
			err = fmt.Errorf("the port cannot be opened; see %s: %w", name, err)
		}
		say(name, err, address)
	}
}

// doctorStore reads the database. The seals of its rows need the token's keys, so
// they are not checked, and nothing is decided by what the rows say.
func doctorStore(ctx context.Context, cfg Config, say func(string, error, string)) {
	id, err := lookAtStore(ctx, cfg, say)
	say("store", err, "installation "+id)
	if err == nil {
		say("store", nil, "note: seals of rows, and whether database and token belong together, are checked when keyreeve serve starts")
	}
}

func lookAtStore(ctx context.Context, cfg Config, say func(string, error, string)) (installation string, err error) {
	url, err := cfg.storeURL()
	if err != nil {
		return "", err
	}
	s, err := store.OpenReadOnly(ctx, url, unchecked{})
	if err != nil {
		return "", err
	}
	defer s.Close()
	if installation, err = s.InstallationID(ctx); err != nil {
		return "", err
	}
	damaged, err := upkeep.DamagedCertificates(ctx, s)
	sayDamaged(damaged, err, say)
	return installation, nil
}

// sayDamaged says which stored certificates are damaged, and what to do.
func sayDamaged(damaged []upkeep.DamagedCertificate, err error, say func(string, error, string)) {
	for _, d := range damaged {
		say("certificates", errors.New(d.String()), "")
	}
	if err != nil {
		say("certificates", err, "")
	}
}

// unchecked takes every seal for right. It is for looking alone.
type unchecked struct{}

func (unchecked) Seal(string, []byte) ([]byte, error) {
	return nil, core.Errorf(core.Internal, "the doctor seals nothing")
}

func (unchecked) CheckSeal(string, []byte, []byte) error { return nil }

func (unchecked) EncryptBody(_, _ []byte) ([]byte, error) { return nil, errDoctorReadsNoBody() }
func (unchecked) DecryptBody(_, _ []byte) ([]byte, error) { return nil, errDoctorReadsNoBody() }

func errDoctorReadsNoBody() error {
	return core.Errorf(core.Internal, "the doctor reads no body of the directory")
}

func doctorTLS(cfg Config, say func(string, error, string)) {
	auth, err := authn.New(cfg.authnSettings(), nil)
	if err != nil {
		say("tls", err, "")
		return
	}
	pair, err := cfg.keyPair()
	if err != nil {
		say("tls", err, "")
		return
	}
	end := pair.Leaf.NotAfter.Format(time.DateOnly)
	if time.Until(pair.Leaf.NotAfter) < cfg.TLS.ExpiryWarning {
		err = fmt.Errorf("the server certificate ends on %s; renew tls.certificate", end)
	}
	say("tls", err, "server certificate until "+end)
	for _, n := range auth.Health(time.Now(), cfg.TLS.ExpiryWarning).Notes {
		say("tls", nil, "note: "+n)
	}
}
