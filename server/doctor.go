package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/store"
)

// Finding is what the doctor says of one part; a Problem says what to mend.
type Finding struct{ Part, Problem, Note string }

// Doctor tries every part that Start would use, and changes nothing but a
// database that is behind its schema.
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
	if err := Ask(cfg.AdminSocket(), http.MethodGet, "/doors", nil, &doors); err != nil {
		doors = nil
	}
	say("dir", cfg.checkDir(), cfg.Dir)
	if err := cfg.anothersFiles(os.Geteuid()); err != nil {
		say("hsm, store", err, "")
	} else {
		token := doctorToken(ctx, cfg, say)
		if token != nil {
			defer token.Close(ctx)
		}
		doctorStore(ctx, cfg, token, doors != nil, say)
	}
	p, err := authz.New(ctx, authz.Options{Load: cfg.loadPolicy})
	note := ""
	if err == nil {
		note = "sha256 " + p.Hash()
	}
	say("policy", err, note)
	doctorTLS(cfg, say)
	doctorDoor("kmip", cfg.KMIP, doors, say)
	doctorDoor("https", cfg.HTTPS, doors, say)
	return out
}

// anothersFiles refuses a doctor that is not the user of the server, such as
// root: token and database keep files beside theirs, and those that it left would
// lock the server out.
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
			continue // whoever needs it says so
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != user {
			return fmt.Errorf("%s belongs to user %d, and the doctor runs as user %d, whose files could lock the server out; run it as user %d to have token and database looked at", path, st.Uid, user, st.Uid)
		}
	}
	return nil
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

// doctorStore opens the database, unless a running server has it, and looks for
// the keys that it names in the token, if there is one.
func doctorStore(ctx context.Context, cfg Config, token *hsm.Token, running bool, say func(string, error, string)) {
	if running {
		say("store", nil, "in use by the running server")
		var damaged []engine.DamagedCertificate
		err := Ask(cfg.AdminSocket(), http.MethodGet, "/certificates/damaged", nil, &damaged)
		sayDamaged(damaged, err, say)
		return
	}
	url, err := cfg.storeURL()
	if err == nil {
		var s core.Store
		var sealer core.Sealer = keyless{}
		if token != nil {
			sealer = token
		}
		if s, err = store.Open(ctx, url, sealer); err == nil {
			err = ownKeys(ctx, s, token)
			damaged, derr := engine.DamagedCertificates(ctx, s)
			sayDamaged(damaged, derr, say)
			s.Close()
		}
	}
	say("store", err, "")
}

// sayDamaged says which stored certificates are damaged, and what to do.
func sayDamaged(damaged []engine.DamagedCertificate, err error, say func(string, error, string)) {
	for _, d := range damaged {
		say("certificates", errors.New(d.String()), "")
	}
	if err != nil {
		say("certificates", err, "")
	}
}

// keyless is the sealer where there is no token: no row can be read.
type keyless struct{}

func (keyless) Seal(string, []byte) ([]byte, error)    { return nil, errKeyless }
func (keyless) CheckSeal(string, []byte, []byte) error { return errKeyless }

var errKeyless = core.Errorf(core.TokenUnavailable, "the seals of the database cannot be checked without the HSM")

// ownKeys tries whether the token holds the keys of the database's tenants.
func ownKeys(ctx context.Context, s core.Store, token *hsm.Token) error {
	if token == nil {
		return nil
	}
	if err := belongs(ctx, token, s); err != nil {
		return err
	}
	sets, err := s.KeySets(ctx, "")
	if err != nil {
		return err
	}
	return token.LoadKeySets(ctx, slices.DeleteFunc(sets, func(s core.KeySet) bool { return s.State != core.KeySetActive }))
}

func doctorToken(ctx context.Context, cfg Config, say func(string, error, string)) *hsm.Token {
	t, err := hsm.Open(ctx, cfg.token())
	if err != nil {
		say("hsm", err, "")
		return nil
	}
	h := t.Health(ctx)
	say("hsm", nil, fmt.Sprintf("token %q, serial %s", h.Label, h.Serial))
	for _, r := range h.Refusals {
		say("hsm", nil, "note: "+r)
	}
	return t
}

// soon is how long before its end a certificate is pointed out.
const soon = 30 * 24 * time.Hour

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
	if time.Until(pair.Leaf.NotAfter) < soon {
		err = fmt.Errorf("the server certificate ends on %s; renew tls.certificate", end)
	}
	say("tls", err, "server certificate until "+end)
	for _, n := range auth.Health(time.Now(), soon).Notes {
		say("tls", nil, "note: "+n)
	}
}
