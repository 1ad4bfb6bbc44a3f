package hsm

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// refusedPIN remembers, by its hash, a PIN that the token would not take. The
// mutex fix guards it.
type refusedPIN struct {
	is     bool
	locked bool // then a try does no harm, and somebody may have unlocked it
	sum    [sha256.Size]byte
}

// pinRefusals are answers to a wrong PIN: tokens count them, and lock after a few.
var pinRefusals = map[p11.Error]bool{p11.CKR_PIN_INCORRECT: true, p11.CKR_PIN_LEN_RANGE: true, p11.CKR_PIN_INVALID: true, p11.CKR_PIN_EXPIRED: true, p11.CKR_PIN_LOCKED: true}

// login tries a PIN once and never again by itself: see TryPINAgain.
func (t *Token) login() error {
	if t.refused.is {
		return core.Errorf(core.TokenUnavailable, "token %q refused the PIN before, so it is not tried again: correct hsm.pin_file and send SIGHUP, or correct hsm.pin_env and restart keyreeve", t.cfg.Label)
	}
	pin, err := t.pin()
	if err != nil {
		return err
	}
	err = t.lib.Login(t.keeper, p11.CKU_USER, pin)
	if err == nil || errors.Is(err, p11.Error(p11.CKR_USER_ALREADY_LOGGED_IN)) {
		return nil
	}
	if e := p11.Error(0); errors.As(err, &e) && pinRefusals[e] {
		t.refused = refusedPIN{true, e == p11.CKR_PIN_LOCKED, sha256.Sum256([]byte(pin))}
		return core.Errorf(core.TokenUnavailable, "token %q refused the PIN (%v); it was tried once and is not tried again, since tokens lock: correct hsm.pin_file or hsm.pin_env and restart keyreeve; a running server reads a corrected hsm.pin_file at SIGHUP", t.cfg.Label, err)
	}
	if errors.Is(err, p11.Error(p11.CKR_USER_PIN_NOT_INITIALIZED)) {
		return core.Wrap(core.TokenUnavailable, err, "token %q has no user PIN yet; set one with the tool of its maker, see hsm.token", t.cfg.Label)
	}
	return core.Wrap(core.TokenUnavailable, err, "login to token %q did not work; see hsm.token and the log of the HSM", t.cfg.Label)
}

func (t *Token) pin() (string, error) {
	pin, err := t.cfg.PIN()
	if err != nil {
		return "", core.Wrap(core.TokenUnavailable, err, "the PIN cannot be read; see hsm.pin_file or hsm.pin_env")
	}
	if pin == "" { // means "ask at the token's own pad" to some
		return "", core.Errorf(core.TokenUnavailable, "the PIN is empty; see hsm.pin_file or hsm.pin_env")
	}
	return pin, nil
}

// TryPINAgain has a PIN tried once more where the last one was refused and
// somebody has mended it. The same PIN is not: who reloads for another reason
// must not lock the token.
func (t *Token) TryPINAgain() error {
	if !t.broken.Load() {
		return nil
	}
	t.fix.Lock()
	if t.refused.is {
		pin, err := t.pin()
		if err != nil {
			t.fix.Unlock()
			return err
		}
		sum := sha256.Sum256([]byte(pin))
		if !t.refused.locked && subtle.ConstantTimeCompare(sum[:], t.refused.sum[:]) == 1 {
			t.fix.Unlock()
			return core.Errorf(core.TokenUnavailable, "the PIN is still the one that token %q refused, so it is not tried again: correct hsm.pin_file; if the PIN of the token was changed, restart keyreeve", t.cfg.Label)
		}
		t.refused.is = false
	}
	t.tried = t.tried.Add(-reconnectEvery)
	t.fix.Unlock()
	return t.reconnect()
}
