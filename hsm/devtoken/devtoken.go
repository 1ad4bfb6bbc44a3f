// Package devtoken makes the SoftHSM2 token of a development server. Start at [Make].
package devtoken

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// softHSMPaths are the places where distributions install SoftHSM2.
var softHSMPaths = []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"}

// SoftHSM finds the SoftHSM2 library.
func SoftHSM() (string, error) {
	for _, p := range softHSMPaths {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", core.Wrap(core.TokenUnavailable, errNoSoftHSM, "SoftHSM2 is not installed: install the package softhsm2, or set hsm.module to a PKCS#11 library")
}

var errNoSoftHSM = errors.New("the library libsofthsm2.so was not found")

// Token says where a token is and how to log in to it.
type Token struct{ Module, Label, PINFile string }

// Label is the label of the tokens.
const Label = "keyreeve"

// Make makes a SoftHSM2 token with random PINs in an empty dir, or finds the one that
// it made before. It sets SOFTHSM2_CONF for this process. It is for development and tests:
// the PIN is in a file beside the token.
func Make(dir string) (Token, error) {
	t, err := Find(dir)
	if err != nil {
		return t, err
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return t, err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, "pin")); err != nil {
		if err := emptyTokens(dir); err != nil {
			return t, err
		}
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return t, err
	}
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := os.WriteFile(softHSMConf(dir), []byte(text), 0o600); err != nil {
		return t, err
	}
	if _, err := os.Stat(filepath.Join(dir, "pin")); err == nil {
		return t, nil
	}
	return t, InitToken(t.Module, dir)
}

// lockFolder waits for other processes that make a token in dir.
func lockFolder(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		d.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { d.Close() }, nil
}

// newPIN is the name of the PIN's file while its token is being made. It is renamed
// to "pin" when the token is complete, and no session is opened before. A token
// beside it was left by a process that was killed, and holds no key.
const newPIN = "pin.new"

// emptyTokens removes a token that was never completed. A token whose PIN is lost is
// left alone: there may be keys in it.
func emptyTokens(dir string) error {
	tokens := filepath.Join(dir, "tokens")
	left, err := os.ReadDir(tokens)
	if err != nil || len(left) == 0 { // no folder yet
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, newPIN)); err != nil {
		return core.Errorf(core.TokenUnavailable, "the folder %s holds a token, and the file with its PIN, %s, is missing; restore it, or use an empty folder", tokens, filepath.Join(dir, "pin"))
	}
	return os.RemoveAll(tokens)
}

func softHSMConf(dir string) string { return filepath.Join(dir, "softhsm2.conf") }

// Find returns the token that Make made in dir. It makes
// nothing. It sets SOFTHSM2_CONF for this process.
func Find(dir string) (Token, error) {
	module, err := SoftHSM()
	if err != nil {
		return Token{}, err
	}
	return Token{Module: module, Label: Label, PINFile: filepath.Join(dir, "pin")}, os.Setenv("SOFTHSM2_CONF", softHSMConf(dir))
}

// InitToken makes one more token in dir. The PIN's file gets its name last: then the token is
// complete.
func InitToken(module, dir string) error {
	lib := p11.New(module)
	if lib == nil {
		return core.Errorf(core.TokenUnavailable, "the PKCS#11 library %s cannot be loaded", module)
	}
	defer lib.Destroy()
	if err := lib.Initialize(); err != nil {
		return fmt.Errorf("start SoftHSM2: %w", err)
	}
	defer lib.Finalize()
	so, pin := randomPIN(), randomPIN()
	slots, err := lib.GetSlotList(true)
	if err != nil {
		return err
	}
	for _, s := range slots {
		info, err := lib.GetTokenInfo(s)
		if err != nil || info.Flags&p11.CKF_TOKEN_INITIALIZED != 0 {
			continue
		}
		for name, text := range map[string]string{"so-pin": so, newPIN: pin} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
				return err
			}
		}
		if err := initSlot(lib, s, so, pin); err != nil {
			return fmt.Errorf("make the token: %w", err)
		}
		return os.Rename(filepath.Join(dir, newPIN), filepath.Join(dir, "pin"))
	}
	return core.Errorf(core.TokenUnavailable, "SoftHSM2 has no free slot")
}

func initSlot(lib *p11.Ctx, slot uint, so, pin string) error {
	if err := lib.InitToken(slot, so, Label); err != nil {
		return err
	}
	s, err := lib.OpenSession(slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer lib.CloseSession(s)
	if err := lib.Login(s, p11.CKU_SO, so); err != nil {
		return err
	}
	defer lib.Logout(s)
	return lib.InitPIN(s, pin)
}

func randomPIN() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}
