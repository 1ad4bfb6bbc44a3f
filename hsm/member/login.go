package member

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// refusedPIN remembers, by its hash, a PIN that the token refused.
type refusedPIN struct {
	known  bool
	locked bool // another try does no harm: the token may have been unlocked
	sum    [sha256.Size]byte
}

// pinRefusals are the answers to a wrong PIN. Tokens count wrong PINs, and lock after a
// few.
var pinRefusals = map[p11.Error]bool{p11.CKR_PIN_INCORRECT: true, p11.CKR_PIN_LEN_RANGE: true, p11.CKR_PIN_INVALID: true, p11.CKR_PIN_EXPIRED: true, p11.CKR_PIN_LOCKED: true}

// logIn logs a session in. It tries a refused PIN only once, and never again by itself;
// see [Module.TryPINAgain].
func (r *refusedPIN) logIn(l *library, s p11.SessionHandle) error {
	if r.known {
		return core.Errorf(core.TokenUnavailable, "token %q has refused the PIN before, so it is not tried again: correct hsm.pin_file and send SIGHUP, or correct hsm.pin_env and restart keyreeve", l.cfg.Label)
	}
	pin, err := l.readPIN()
	if err != nil {
		return err
	}
	err = l.ctx.Login(s, p11.CKU_USER, pin)
	if err == nil || errors.Is(err, p11.Error(p11.CKR_USER_ALREADY_LOGGED_IN)) {
		return nil
	}
	if e, ok := errors.AsType[p11.Error](err); ok && pinRefusals[e] {
		*r = refusedPIN{true, e == p11.CKR_PIN_LOCKED, sha256.Sum256([]byte(pin))}
		return core.Errorf(core.TokenUnavailable, "token %q refused the PIN (%v). It was tried once and is not tried again, since tokens lock after a few wrong PINs. Correct hsm.pin_file or hsm.pin_env and restart keyreeve; a running server reads hsm.pin_file again at SIGHUP", l.cfg.Label, err)
	}
	if errors.Is(err, p11.Error(p11.CKR_USER_PIN_NOT_INITIALIZED)) {
		return core.Wrap(core.TokenUnavailable, err, "token %q has no user PIN yet; set one with the vendor's tool, see hsm.token", l.cfg.Label)
	}
	return core.Wrap(core.TokenUnavailable, err, "login to token %q failed; see hsm.token and the log of the HSM", l.cfg.Label)
}

// allowAgain allows another try if the PIN is not the one that the token refused. A reload
// for another reason must not lock the token.
func (r *refusedPIN) allowAgain(l *library) error {
	if !r.known {
		return nil
	}
	pin, err := l.readPIN()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(pin))
	if !r.locked && subtle.ConstantTimeCompare(sum[:], r.sum[:]) == 1 {
		return core.Errorf(core.TokenUnavailable, "the PIN is still the one that token %q refused, so it is not tried again: correct hsm.pin_file, or restart keyreeve if the PIN of the token was changed", l.cfg.Label)
	}
	r.known = false
	return nil
}
