package member

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// library is a loaded PKCS#11 library and the token that was found in it.
type library struct {
	cfg        Config
	ctx        *p11.Ctx
	glue       *glue
	slot       uint
	info       p11.TokenInfo
	mechanisms atomic.Pointer[map[uint]p11.MechanismInfo]
}

// loadLibrary loads a library and calls nothing in it.
func loadLibrary(cfg Config) (*library, error) {
	l := &library{cfg: cfg}
	if l.ctx = p11.New(cfg.Module); l.ctx == nil {
		return nil, core.Errorf(core.TokenUnavailable, "the PKCS#11 library %s cannot be loaded; see hsm.module (for SoftHSM2, install the package softhsm2)", cfg.Module)
	}
	var err error
	if l.glue, err = loadGlue(cfg.Module); err != nil {
		return nil, core.Wrap(core.TokenUnavailable, err, "the PKCS#11 library cannot be used; see hsm.module")
	}
	return l, nil
}

// initialize starts the library. It reports false if this process has already started it.
func (l *library) initialize() (started bool, err error) {
	err = l.ctx.Initialize()
	if errors.Is(err, p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return false, nil
	}
	if err != nil {
		return false, core.Wrap(core.TokenUnavailable, err, "the PKCS#11 library %s does not start; check its own configuration (SoftHSM2: SOFTHSM2_CONF)", l.cfg.Module)
	}
	return true, nil
}

// findSlot finds the token by label and serial, since slot numbers change. Without a
// serial only one token may have the label: no PIN is tried on a wrong token. After the
// first time the serial of the first time is required.
func (l *library) findSlot() error {
	slots, err := l.ctx.GetSlotList(true)
	if err != nil {
		return core.Wrap(core.TokenUnavailable, err, "the PKCS#11 library lists no slots")
	}
	serial := cmp.Or(l.cfg.Serial, l.info.SerialNumber)
	var others, serials []string
	for _, s := range slots {
		info, err := l.ctx.GetTokenInfo(s)
		switch {
		case err != nil:
		case info.Flags&p11.CKF_TOKEN_INITIALIZED == 0:
			others = append(others, "one that is not initialised")
		case info.Label == l.cfg.Label && (serial == "" || info.SerialNumber == serial):
			l.slot, l.info = s, info
			serials = append(serials, info.SerialNumber)
		default:
			others = append(others, fmt.Sprintf("%q with serial %s", info.Label, info.SerialNumber))
		}
	}
	switch len(serials) {
	case 0:
		return l.errNoToken(serial, others)
	case 1:
		return nil
	}
	l.info = p11.TokenInfo{}
	return core.Errorf(core.TokenUnavailable, "%d tokens are labelled %q, with the serials %s; set hsm.serial to one of them. No PIN was tried", len(serials), l.cfg.Label, strings.Join(serials, " and "))
}

// errNoToken says which token was looked for, and which others were found.
func (l *library) errNoToken(serial string, others []string) error {
	asked, see := fmt.Sprintf("%q", l.cfg.Label), "hsm.token"
	if serial != "" {
		asked, see = asked+" with serial "+serial, "hsm.token and hsm.serial"
	}
	if others == nil {
		others = []string{"none"}
	}
	return core.Errorf(core.TokenUnavailable, "no token is labelled %s; the tokens are: %s; see %s, and the configuration of %s", asked, strings.Join(others, ", "), see, l.cfg.Module)
}

// checkSameToken fails if the slot now has another token than the one that was found.
func (l *library) checkSameToken() error {
	info, err := l.ctx.GetTokenInfo(l.slot)
	if err != nil {
		return core.Wrap(core.TokenUnavailable, err, "token %q cannot be read again; no PIN was tried", l.cfg.Label)
	}
	if info.Label != l.info.Label || info.SerialNumber != l.info.SerialNumber {
		return core.Errorf(core.TokenUnavailable, "the token in slot %d is now %q with serial %s, not %q with serial %s; no PIN was tried", l.slot, info.Label, info.SerialNumber, l.info.Label, l.info.SerialNumber)
	}
	return nil
}

// listMechanisms reads the mechanisms of the token.
func (l *library) listMechanisms() error {
	list, err := l.ctx.GetMechanismList(l.slot)
	if err != nil {
		return core.Wrap(core.TokenUnavailable, err, "token %q lists no mechanisms", l.cfg.Label)
	}
	mechanisms := make(map[uint]p11.MechanismInfo, len(list))
	for _, m := range list {
		if info, err := l.ctx.GetMechanismInfo(l.slot, []*p11.Mechanism{m}); err == nil {
			mechanisms[m.Mechanism] = info
		}
	}
	l.mechanisms.Store(&mechanisms)
	return nil
}

// hasMechanism reports whether the token has a mechanism for a use (CKF_ENCRYPT ...).
func (l *library) hasMechanism(mechanism, flag uint) bool {
	list := l.mechanisms.Load()
	if list == nil {
		return false
	}
	info, ok := (*list)[mechanism]
	return ok && info.Flags&flag != 0
}

// checkMechanisms fails if the token lacks a mechanism that every key needs.
func (l *library) checkMechanisms() error {
	for _, m := range []struct {
		mechanism, flag uint
		name            string
	}{{ckmAESKeyWrap, p11.CKF_WRAP, "CKM_AES_KEY_WRAP (0x2109)"}, {ckmAESKeyWrap, p11.CKF_UNWRAP, "CKM_AES_KEY_WRAP (0x2109)"}, {p11.CKM_AES_GCM, p11.CKF_ENCRYPT, "CKM_AES_GCM"},
		{p11.CKM_SHA256_HMAC, p11.CKF_SIGN, "CKM_SHA256_HMAC"}, {p11.CKM_AES_KEY_GEN, p11.CKF_GENERATE, "CKM_AES_KEY_GEN"}} {
		if !l.hasMechanism(m.mechanism, m.flag) {
			return core.Errorf(core.TokenUnavailable, "token %q lacks the mechanism %s, which keyreeve needs to protect keys; see docs/DESIGN.md, Custody", l.cfg.Label, m.name)
		}
	}
	return nil
}

// openSession opens a session that can change objects.
func (l *library) openSession() (p11.SessionHandle, error) {
	return l.ctx.OpenSession(l.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
}

// readPIN reads the PIN from where the configuration has it.
func (l *library) readPIN() (string, error) {
	pin, err := l.cfg.PIN()
	if err != nil {
		return "", core.Wrap(core.TokenUnavailable, err, "the PIN cannot be read; see hsm.pin_file or hsm.pin_env")
	}
	if pin == "" { // some tokens then ask at their own PIN pad
		return "", core.Errorf(core.TokenUnavailable, "the PIN is empty; see hsm.pin_file or hsm.pin_env")
	}
	return pin, nil
}

// computesHere reports whether the token is software. Its calls then use the processors
// of this process.
func (l *library) computesHere() bool { return strings.HasPrefix(l.info.ManufacturerID, "SoftHSM") }
