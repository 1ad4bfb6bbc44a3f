package custody_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
)

// faulty is a token behind a PKCS#11 module that answers errors on demand.
type faulty struct {
	*hsmtest.Token
	*hsmtest.Faults
}

func openFaulty(t *testing.T, edit func(*hsmtest.Settings)) *faulty {
	t.Helper()
	faults := hsmtest.FaultModule(t)
	cfg := hsmtest.Config(t)
	cfg.Module = faults.Module
	edit(&cfg)
	return &faulty{hsmtest.Open(t, cfg, "default"), faults}
}

// faultKeys are one key of each way that operations find theirs.
func faultKeys(t *testing.T, token *hsmtest.Token) (n, x, c, resident core.Key) {
	make := func(id string, class core.Class, mode core.Mode) core.Key {
		k := aesKey(id)
		m, _, err := token.Generate(ctx, k, spec(core.KeyAES, class, mode, 256))
		return keep(t, k, m, err)
	}
	return make("n", core.ClassN, core.ModeWrapped), make("x", core.ClassX, core.ModeWrapped), make("c", core.ClassC, core.ModeWrapped), make("r", core.ClassN, core.ModeResident)
}

// soon tries for two seconds, within which a token that is there again is used
// again.
func soon(do func() error) (err error) {
	for range 40 {
		if err = do(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// Under every fault, with eight callers at work, each call ends with an answer
// or an error that says the HSM is away; when the fault is over all work again,
// without a restart, and no session is lost.
func TestFaultsPass(t *testing.T) {
	f := openFaulty(t, func(c *hsmtest.Settings) { c.Copies, c.Wait = -1, time.Second })
	n, x, c, resident := faultKeys(t, f.Token)
	public := []byte("before and after")
	sealed, err := f.Encrypt(ctx, n, gcm(public))
	if err != nil {
		t.Fatal(err)
	}
	work := map[string]func() error{
		"Encrypt": func() error { _, err := f.Encrypt(ctx, n, gcm(public)); return err },
		"Decrypt": func() error {
			in := gcm(sealed.Data)
			in.IV, in.Tag = sealed.IV, sealed.Tag
			out, err := f.Decrypt(ctx, n, in)
			if err == nil && !bytes.Equal(out.Data, public) {
				return fmt.Errorf("decrypts to %q", out.Data)
			}
			return err
		},
		"resident": func() error { _, err := f.Encrypt(ctx, resident, gcm(public)); return err },
		"X":        func() error { _, err := f.Encrypt(ctx, x, gcm(public)); return err },
		"Clear": func() error {
			b, err := f.Clear(ctx, c, nil)
			if err == nil && len(b) != 32 {
				return fmt.Errorf("%d bytes", len(b))
			}
			return err
		},
		"Generate": func() error {
			_, _, err := f.Generate(ctx, aesKey("new"), spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
			return err
		},
		"Random": func() error { return f.Random(ctx, make([]byte, 16)) },
	}
	for _, fault := range []string{
		"C_Encrypt 0x30 0", "C_EncryptInit 0xb3 0", "C_UnwrapKey 0x30 0", "C_GenerateRandom 0x190 0", "C_Sign 0x32 0", "C_GenerateKey 0x30 0", "C_WrapKey 0x31 0",
		"C_EncryptInit 0x101 0", "C_OpenSession 0xb1 0", "C_EncryptInit 0x82 0", "C_EncryptInit 0x60 0", "C_GetSessionInfo 0x30 0", "C_Login 0x30 0",
		"C_Encrypt 0x80000001 0", "C_Encrypt 0x5 0", "* 0x30 0", "* 0x190 0", "* 0x0 20",
	} {
		f.Rule(fault)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for what, do := range work {
					err := do()
					switch core.CodeOf(err) {
					case core.TokenUnavailable, core.CryptographicFailure:
					default:
						if err != nil {
							t.Errorf("%s under %s: %v", what, fault, err)
						}
					}
					if err != nil && (strings.Contains(err.Error(), "panic") || core.CodeOf(err) == core.Internal) {
						t.Errorf("%s under %s: %v", what, fault, err)
					}
				}
			})
		}
		wg.Wait()
		f.Rule()
		for what, do := range work {
			if err := soon(do); err != nil {
				t.Fatalf("%s after %s: %v", what, fault, err)
			}
		}
		if h := f.Health(ctx); !h.Ready || h.InUse != 0 || h.Sessions > member.DefaultSessions {
			t.Fatalf("after %s: %+v", fault, h)
		}
	}
}

// A request that can be repeated is: a fault that ends with the session or the
// library costs nobody an error.
func TestFaultsCostNobody(t *testing.T) {
	f := openFaulty(t, func(c *hsmtest.Settings) { c.Copies = -1 })
	n, _, c, _ := faultKeys(t, f.Token)
	if _, err := f.Encrypt(ctx, n, gcm([]byte("warm"))); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []string{"C_EncryptInit 0xb3 0", "C_Encrypt 0x30 0", "C_UnwrapKey 0x30 0", "C_Encrypt 0x101 0", "C_UnwrapKey 0xb0 0"} {
		for what, do := range map[string]func() error{
			"Encrypt": func() error { _, err := f.Encrypt(ctx, n, gcm([]byte("data"))); return err },
			"Clear":   func() error { _, err := f.Clear(ctx, c, nil); return err },
		} {
			done := make(chan error, 1)
			f.Rule(fault)
			go func() { done <- do() }()
			time.Sleep(5 * time.Millisecond)
			// The fault ends here, in the test's own goroutine: a timer can fire
			// after the test, and its failure then panics the whole package.
			f.Rule()
			<-done // during the fault an error is allowed
			if err := soon(do); err != nil {
				t.Errorf("%s once %s was over: %v", what, fault, err)
			}
		}
	}
}

// A thousand errors lose no session.
func TestErrorsLoseNoSession(t *testing.T) {
	f := openFaulty(t, func(c *hsmtest.Settings) { c.Copies = -1 })
	n, _, _, _ := faultKeys(t, f.Token)
	f.Rule("C_Encrypt 0x30 0")
	for range 1000 {
		if _, err := f.Encrypt(ctx, n, gcm([]byte("data"))); core.CodeOf(err) != core.TokenUnavailable {
			t.Fatal(err)
		}
	}
	f.Rule()
	if err := soon(func() error { _, err := f.Encrypt(ctx, n, gcm([]byte("data"))); return err }); err != nil {
		t.Fatal(err)
	}
	if h := f.Health(ctx); h.Sessions > member.DefaultSessions || h.InUse != 0 {
		t.Errorf("%+v", h)
	}
}

// A library that hangs in some calls holds up those calls and nobody else for
// longer than the deadline; health says so, and when they come back all is well.
func TestHangingCalls(t *testing.T) {
	f := openFaulty(t, func(c *hsmtest.Settings) { c.Copies, c.Wait, c.Stuck = -1, 300*time.Millisecond, 200*time.Millisecond })
	n, _, c, _ := faultKeys(t, f.Token)
	if _, err := f.Encrypt(ctx, n, gcm([]byte("warm"))); err != nil {
		t.Fatal(err)
	}
	f.Rule("C_UnwrapKey 0x0 3000", "C_Encrypt 0x0 3000")
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() { f.Encrypt(ctx, n, gcm([]byte("hangs"))) })
		wg.Go(func() { f.Clear(ctx, c, nil) })
	}
	time.Sleep(500 * time.Millisecond)
	f.Rule() // those inside stay inside; new calls would be quick
	began := time.Now()
	err := f.Random(ctx, make([]byte, 16))
	if core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), "not returned") {
		t.Errorf("while most sessions hang: %v", err)
	}
	if _, err := f.Clear(ctx, c, nil); core.CodeOf(err) != core.TokenUnavailable {
		t.Errorf("a read while most sessions hang: %v", err)
	}
	if h := f.Health(ctx); h.Ready || h.Stuck == 0 || !strings.Contains(h.Problem, "not returned") {
		t.Errorf("health while calls hang: %+v", h)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("three refusals took %v", took)
	}
	wg.Wait()
	for range 50 {
		if err = f.Random(ctx, make([]byte, 16)); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if h := f.Health(ctx); err != nil || !h.Ready || h.Stuck != 0 {
		t.Errorf("when they came back: %v, %+v", err, h)
	}
	if _, err := f.Clear(ctx, c, nil); err != nil {
		t.Error(err)
	}
}

// GENERAL_ERROR is the data's fault where the token works, and the token's where
// it does not: with its files away, say, when random numbers still come.
func TestAmbiguousErrors(t *testing.T) {
	f := openFaulty(t, func(c *hsmtest.Settings) { c.Copies, c.Wait = -1, time.Second })
	n, _, _, _ := faultKeys(t, f.Token)
	use := func() error { _, err := f.Encrypt(ctx, n, gcm([]byte("data"))); return err }
	for _, c := range []struct {
		rules []string
		code  core.Code
		ready bool
	}{
		{[]string{"C_Encrypt 0x5 0"}, core.CryptographicFailure, true},
		{[]string{"C_Encrypt 0x6 0"}, core.CryptographicFailure, true},
		{[]string{"C_Encrypt 0x5 0", "C_Sign 0x5 0", "C_Initialize 0x5 0"}, core.TokenUnavailable, false},
		{[]string{"C_Encrypt 0x5 0", "C_SignInit 0x82 0", "C_Initialize 0x5 0"}, core.TokenUnavailable, false},
		{[]string{"C_Encrypt 0x5 0", "C_OpenSession 0xb1 0"}, core.CryptographicFailure, true},
	} {
		if err := soon(use); err != nil {
			t.Fatal(err)
		}
		f.Rule(c.rules...)
		if err := use(); core.CodeOf(err) != c.code {
			t.Errorf("under %v: %v", c.rules, err)
		}
		if h := f.Health(ctx); h.Ready != c.ready && c.rules[len(c.rules)-1] != "C_OpenSession 0xb1 0" {
			t.Errorf("under %v health is %+v", c.rules, h)
		}
		f.Rule()
	}
	if err := soon(use); err != nil {
		t.Error(err)
	}
}

// A handle that is gone when an object is to be destroyed is no proof that the
// object is: it is looked for again.
func TestDestroyLooksAgain(t *testing.T) {
	f := openFaulty(t, func(*hsmtest.Settings) {})
	k := aesKey("r")
	m, _, err := f.Generate(ctx, k, spec(core.KeyAES, core.ClassN, core.ModeResident, 256))
	if err != nil {
		t.Fatal(err)
	}
	before, err := f.Objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f.Rule("C_DestroyObject 0x82 0")
	if err := f.DestroyObject(ctx, core.TokenObject{Tenant: k.Tenant, ID: k.ID, CKAID: m.CKAID}); core.CodeOf(err) != core.TokenUnavailable {
		t.Errorf("an object that stays is said to be destroyed: %v", err)
	}
	f.Rule()
	if err := soon(func() error {
		return f.DestroyObject(ctx, core.TokenObject{Tenant: k.Tenant, ID: k.ID, CKAID: m.CKAID})
	}); err != nil {
		t.Error(err)
	}
	if after, err := f.Objects(ctx); err != nil || len(after) != len(before)-1 {
		t.Errorf("%d objects before, %d after, %v", len(before), len(after), err)
	}
}
