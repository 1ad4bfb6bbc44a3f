package member

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// Inspection is the facts that a token shows without its PIN.
type Inspection struct {
	Label, Serial string
	Notes         []string // for the operator
}

// Inspect finds the token that cfg names. It checks library, slot, label, serial number
// and mechanisms, that the PIN can be read, and how many tries the token still allows. It
// opens no session and never calls C_Login, so it spends no try of the PIN.
func Inspect(cfg Config) (Inspection, error) {
	l, err := loadLibrary(cfg.withDefaults())
	if err != nil {
		return Inspection{}, err
	}
	defer l.ctx.Destroy()
	started, err := l.initialize()
	if err != nil {
		return Inspection{}, err
	}
	if started {
		defer l.ctx.Finalize()
	}
	if err := l.findSlot(); err != nil {
		return Inspection{}, err
	}
	i := Inspection{Label: l.info.Label, Serial: l.info.SerialNumber}
	if err := l.listMechanisms(); err != nil {
		return i, err
	}
	if err := l.checkMechanisms(); err != nil {
		return i, err
	}
	if _, err := l.readPIN(); err != nil {
		return i, err
	}
	i.Notes, err = pinState(l.cfg.Label, l.info.Flags)
	return i, err
}

// pinState explains the flags of a token about its user PIN.
func pinState(label string, flags uint) (notes []string, err error) {
	switch {
	case flags&p11.CKF_USER_PIN_INITIALIZED == 0:
		return nil, core.Errorf(core.TokenUnavailable, "token %q has no user PIN yet; set one with the vendor's tool, see hsm.token", label)
	case flags&p11.CKF_USER_PIN_LOCKED != 0:
		return nil, core.Errorf(core.TokenUnavailable, "the user PIN of token %q is locked; unlock it with the vendor's tool", label)
	case flags&p11.CKF_USER_PIN_FINAL_TRY != 0:
		return nil, core.Errorf(core.TokenUnavailable, "one more wrong PIN locks token %q; make sure that hsm.pin_file or hsm.pin_env has the right one before you start keyreeve", label)
	case flags&p11.CKF_USER_PIN_TO_BE_CHANGED != 0:
		return nil, core.Errorf(core.TokenUnavailable, "the user PIN of token %q must be changed first; use the vendor's tool", label)
	case flags&p11.CKF_USER_PIN_COUNT_LOW != 0:
		notes = append(notes, "a wrong PIN was tried on the token after the last login")
	}
	return notes, nil
}
