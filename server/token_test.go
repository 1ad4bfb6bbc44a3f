package server_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// The folder with the token's files goes away under load, and comes back.
func TestTokenFolderGone(t *testing.T) {
	s := servertest.Start(t, "KEYREEVE_DEV_COPIES=none")
	p := admitted(t, s)
	l := newLedger()
	tokens := filepath.Join(s.Dir, "tokens")
	loaded(t, s, l, func() {
		end := time.Now().Add(lasting(0))
		for round := 0; round < 2 || time.Now().Before(end); round++ {
			if err := os.Rename(tokens, tokens+".away"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond)
			sick(t, s, p, "does not start", "HSM")
			if err := os.Rename(tokens+".away", tokens); err != nil {
				t.Fatal(err)
			}
			well(t, s, p)
		}
	})
	l.check(t, s, "afterwards", true)
	tokenAgrees(t, s, "")
}

// A PIN that has become wrong is tried once at the next reconnect, and never
// again by itself: tokens lock after a few. Everything says what to fix, and
// when it is fixed SIGHUP has it tried once more, without a restart.
func TestWrongPINIsTriedOnce(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	s := servertest.Start(t, "KEYREEVE_DEV_MODULE="+faults.Module, "KEYREEVE_DEV_COPIES=none")
	p := admitted(t, s)
	pin := filepath.Join(s.Dir, "pin")
	right, err := os.ReadFile(pin)
	if err != nil {
		t.Fatal(err)
	}
	write(t, pin, "1234wrong\n")
	faults.Rule("* 0x32 0") // the token is away for a moment
	if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Get, &core.GetInput{ID: core.ID(p.copied)}); err == nil {
		t.Error("Get without a token is answered")
	}
	time.Sleep(400 * time.Millisecond)
	before := faults.Logins()
	faults.Rule()
	for range 3 { // and long after the pause between two tries
		sick(t, s, p, "hsm.pin_file", "HSM")
		time.Sleep(300 * time.Millisecond)
	}
	s.Signal(syscall.SIGHUP) // with the same PIN
	for range 200 {          // the policy is read and tried first, which takes its time
		if log, _ := os.ReadFile(s.Log); strings.Contains(string(log), "still the one") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if ready, text := health(t, s); ready || !strings.Contains(text, "hsm.pin_file") || !strings.Contains(text, "SIGHUP") {
		t.Errorf("health says %s", text)
	}
	if n := faults.Logins() - before; n != 1 {
		t.Errorf("C_Login was called %d times with a wrong PIN, want 1", n)
	}
	log, _ := os.ReadFile(s.Log)
	if !strings.Contains(string(log), "hsm.pin_file") || !strings.Contains(string(log), "still the one") || bytes.Contains(log, []byte("1234wrong")) || bytes.Contains(log, bytes.TrimSpace(right)) {
		t.Errorf("the log should name the setting, and no PIN:\n%s", log)
	}
	if got := records(t, s, "Load PIN"); len(got) != 1 || !strings.Contains(got[0], " failed ") || !strings.Contains(got[0], "hsm.pin_file") || strings.Contains(got[0], "1234wrong") {
		t.Errorf("the records of a PIN that was not taken: %q", got)
	}
	write(t, pin, string(right))
	s.Signal(syscall.SIGHUP)
	well(t, s, p)
	if n := faults.Logins() - before; n != 2 {
		t.Errorf("C_Login was called %d times in all, want 2", n)
	}
}

// A token that is full: what would stay in it is refused, all else goes on, and
// what was begun is cleaned up; also where the token answers an error and has
// made the object all the same.
func TestTokenFull(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	s := servertest.Start(t, "KEYREEVE_DEV_MODULE="+faults.Module, "KEYREEVE_DEV_COPIES=none")
	p := admitted(t, s)
	for _, rule := range []string{"C_CopyObject 0x31 0", "C_CopyObject+ 0x31 0", "C_CopyObject 0x5 0", "C_CopyObject+ 0x6 0"} {
		faults.Rule(rule)
		full(t, s, p)
		faults.Rule()
		well(t, s, p)
	}
	l := newLedger()
	loaded(t, s, l, func() {
		for range 20 {
			faults.Rule("C_CopyObject+ 0x31 0")
			time.Sleep(20 * time.Millisecond)
			faults.Rule()
			time.Sleep(50 * time.Millisecond)
		}
	})
	l.check(t, s, "afterwards", true)
	tokenAgrees(t, s, "")
}

// full demands that what would stay in the token is refused for want of room, and
// that the rest goes on.
func full(t *testing.T, s *servertest.Server, p patients) {
	t.Helper()
	c := dial(t, s, "dev", core.V1_4)
	register := func() error {
		_, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
			Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(usesOfAES)}, resident},
			Object:     core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Material: make([]byte, 32)}}})
		return err
	}
	for what, do := range treatments(c, p) {
		switch err := do(); {
		case what != "Create resident" && err != nil:
			t.Errorf("%s needs no room in the token: %v", what, err)
		case what == "Create resident" && (kmiptest.Reason(err) != core.ReasonGeneralFailure || !strings.Contains(err.Error(), "room")):
			t.Errorf("%s in a full token: %v", what, err)
		}
	}
	if err := register(); kmiptest.Reason(err) != core.ReasonGeneralFailure || !strings.Contains(err.Error(), "room") {
		t.Errorf("Register in a full token: %v", err)
	}
	if ready, text := health(t, s); !ready {
		t.Errorf("a token that is full serves what it has: %s", text)
	}
}

// The same with SoftHSM2 on a disk that is full.
func TestTokenDiskFull(t *testing.T) {
	s := servertest.Start(t, "KEYREEVE_DEV_COPIES=none")
	p := admitted(t, s)
	s.Kill()
	tokens := filepath.Join(s.Dir, "tokens")
	if err := os.Rename(tokens, tokens+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", tokens, "tmpfs", 0, "size=300k"); err != nil {
		t.Skipf("a small disk cannot be mounted (%v): run the tests as root", err)
	}
	t.Cleanup(func() { s.Kill(); syscall.Unmount(tokens, syscall.MNT_DETACH) })
	if err := os.CopyFS(tokens, os.DirFS(tokens+".old")); err != nil {
		t.Fatal(err)
	}
	s.Run()
	filler := filepath.Join(tokens, "filler")
	fill(t, filler)
	full(t, s, p)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	well(t, s, p)
	tokenAgrees(t, s, "")
}
