package server

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
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
	doctorToken(ctx, cfg, say)
	doctorStore(ctx, cfg, doors != nil, say)
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

// doctorDoor tries an address, unless a running server has it.
func doctorDoor(name, address string, doors map[string]string, say func(string, error, string)) {
	switch {
	case doors[name] != "":
		say(name, nil, doors[name]+", in use by the running server")
	case address != "":
		l, err := net.Listen("tcp", address)
		if err == nil {
			l.Close()
		}
		say(name, err, address)
	}
}

// doctorStore opens the database, unless a running server has it.
func doctorStore(ctx context.Context, cfg Config, running bool, say func(string, error, string)) {
	if running {
		say("store", nil, "in use by the running server")
		return
	}
	url, err := cfg.storeURL()
	if err == nil {
		var s core.Store
		if s, err = store.Open(ctx, url); err == nil {
			s.Close()
		}
	}
	say("store", err, "")
}

func doctorToken(ctx context.Context, cfg Config, say func(string, error, string)) {
	t, err := hsm.Open(ctx, cfg.token())
	if err != nil {
		say("hsm", err, "")
		return
	}
	defer t.Close(ctx)
	h := t.Health(ctx)
	say("hsm", nil, fmt.Sprintf("token %q, serial %s", h.Label, h.Serial))
	for _, r := range h.Refusals {
		say("hsm", nil, "note: "+r)
	}
}

// soon is how long before its end a certificate is pointed out.
const soon = 30 * 24 * time.Hour

func doctorTLS(cfg Config, say func(string, error, string)) {
	auth, err := authn.New(authn.Options{Mappings: cfg.TLS.Principals, CRLFile: cfg.TLS.ClientCRL, CRLMayLack: cfg.dev != nil})
	if err == nil {
		_, err = cfg.serverTLS(auth)
	}
	note := ""
	if b, rerr := os.ReadFile(cfg.TLS.Certificate); rerr == nil && err == nil {
		if block, _ := pem.Decode(b); block != nil {
			if c, perr := x509.ParseCertificate(block.Bytes); perr == nil {
				note = "server certificate until " + c.NotAfter.Format(time.DateOnly)
				if time.Until(c.NotAfter) < soon {
					err = fmt.Errorf("the server certificate ends on %s; renew tls.certificate", c.NotAfter.Format(time.DateOnly))
				}
			}
		}
	}
	say("tls", err, note)
}
