package custody_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
)

func behalf(tenant, id string) context.Context {
	return core.OnBehalfOf(context.Background(), &core.Principal{Tenant: tenant, ID: id})
}

// slowToken is a token of two tenants in front of which calls can be made late.
// "quiet" has one class N key and one signing pair, "flood" the same.
func slowToken(t *testing.T) (*faulty, map[string]core.Key) {
	t.Helper()
	f := openFaulty(t, func(c *hsmtest.Settings) { c.Copies = -1 })
	for i, tenant := range []string{"flood", "quiet"} {
		set := hsmtest.KeySet(t, f.Token, int64(i+2), tenant) // set 1 is the tenant default's
		if err := f.LoadKeySets(ctx, []core.KeySet{set}); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]core.Key{}
	for _, tenant := range []string{"flood", "quiet"} {
		k := aesKey("n")
		k.Tenant = tenant
		m, _, err := f.Generate(ctx, k, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
		keys[tenant] = keep(t, k, m, err)
		priv := core.Key{Tenant: tenant, ID: "ec", Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmEC, Mask: core.MaskSign, Bits: 256}
		pub := core.Key{Tenant: tenant, ID: "ec public", Type: core.ObjectTypePublicKey, Algorithm: core.AlgorithmEC, Mask: core.MaskVerify, Bits: 256}
		s := spec(core.KeyEC, core.ClassN, core.ModeWrapped, 256)
		s.Curve, s.Format = core.RecommendedCurveP256, core.KeyFormatTypePKCS8
		m, _, _, _, err = f.GeneratePair(ctx, priv, pub, s)
		keys[tenant+" ec"] = keep(t, priv, m, err)
	}
	return f, keys
}

// Of 240 callers of one tenant that sign without a pause, in a token that takes
// 20 ms for each signature, no more than a handful are served between the time
// when another tenant asks for an encryption and the time when it is answered.
func TestSigningFloodLeavesTurns(t *testing.T) {
	f, keys := slowToken(t)
	ec := keys["flood ec"]
	sign := func(ctx context.Context) error {
		_, _, err := f.Sign(ctx, ec, core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, []byte("deed"), false)
		return err
	}
	encrypt := func() error {
		_, err := f.Encrypt(behalf("quiet", "q"), keys["quiet"], gcm([]byte("data")))
		return err
	}
	if err := encrypt(); err != nil {
		t.Fatal(err)
	}
	f.Rule("C_Sign 0x0 20")
	var signed atomic.Int64
	stop := make(chan bool)
	var wg sync.WaitGroup
	for i := range 240 {
		ctx := behalf("flood", fmt.Sprint("f", i%3))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := sign(ctx); err != nil && core.CodeOf(err) != core.Busy {
					t.Errorf("the flood: %v", err)
				}
				signed.Add(1)
			}
		})
	}
	for signed.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	overtaken := int64(0)
	for range 30 {
		before := signed.Load()
		if err := encrypt(); err != nil {
			t.Errorf("the quiet tenant: %v", err)
		}
		overtaken = max(overtaken, signed.Load()-before)
	}
	f.Rule()
	close(stop)
	wg.Wait()
	t.Logf("%d signatures; at most %d during one encryption of the other tenant", signed.Load(), overtaken)
	if overtaken > 2*member.DefaultSessions {
		t.Errorf("%d signatures of the flood went first, of 240 that waited", overtaken)
	}
	if h := f.Health(ctx); h.InUse > 1 || h.Stuck != 0 {
		t.Errorf("afterwards: %+v", h)
	}
}

// While RSA keys are made, which takes seconds, other tenants make, unwrap, use
// and destroy keys as usual: not one of their calls waits for a key to be ready.
func TestLongGenerationHoldsNobodyUp(t *testing.T) {
	f, _ := slowToken(t)
	f.Rule("C_GenerateKeyPair 0x0 3000")
	made := make(chan error, 6)
	for i := range cap(made) {
		priv := core.Key{Tenant: "flood", ID: fmt.Sprint("rsa", i), Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskSign, Bits: 2048}
		pub := core.Key{Tenant: "flood", ID: fmt.Sprint("rsa public", i), Type: core.ObjectTypePublicKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskVerify, Bits: 2048}
		s := spec(core.KeyRSA, core.ClassN, core.ModeWrapped, 2048)
		s.Format = core.KeyFormatTypePKCS8
		ctx, cancel := context.WithCancel(behalf("flood", "f"))
		if i > 1 { // these clients leave while they wait
			time.AfterFunc(500*time.Millisecond, cancel)
		}
		t.Cleanup(cancel)
		go func() { _, _, _, _, err := f.GeneratePair(ctx, priv, pub, s); made <- err }()
	}
	for f.Health(ctx).InUse == 0 {
		time.Sleep(time.Millisecond)
	}
	quiet := behalf("quiet", "q")
	for i := range 40 {
		k := aesKey(fmt.Sprint("new", i))
		k.Tenant = "quiet"
		mode := core.ModeWrapped
		if i%4 == 0 {
			mode = core.ModeResident
		}
		m, _, err := f.Generate(quiet, k, spec(core.KeyAES, core.ClassN, mode, 256))
		if err != nil {
			t.Fatal(err)
		}
		k = keep(t, k, m, err)
		if _, err := f.Encrypt(quiet, k, gcm([]byte("data"))); err != nil {
			t.Fatal(err)
		}
		if mode == core.ModeResident {
			if err := f.DestroyObject(quiet, core.TokenObject{Tenant: k.Tenant, ID: k.ID, CKAID: k.Material.CKAID}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if f.Health(ctx).InUse == 0 {
		t.Skip("this machine is too slow: the long calls were over before 40 short ones")
	}
	failed := 0
	for range cap(made) {
		if err := <-made; err != nil {
			if failed++; core.CodeOf(err) != core.Busy {
				t.Errorf("a client that left: %v", err)
			}
		}
	}
	if failed != 4 {
		t.Errorf("%d of 4 clients that left were given up", failed)
	}
}

// One tenant makes no more than its part of the long keys at once, so that they
// leave sessions to others; a queue that is full refuses at once with Busy.
func TestLongGenerationsAreFew(t *testing.T) {
	f, _ := slowToken(t)
	f.Rule("C_GenerateKeyPair 0x0 300")
	var wg sync.WaitGroup
	var refused atomic.Int64
	most := 0
	done := make(chan bool)
	for i := range 80 {
		priv := core.Key{Tenant: "flood", ID: fmt.Sprint("rsa", i), Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskSign, Bits: 2048}
		pub := core.Key{Tenant: "flood", ID: fmt.Sprint("rsa public", i), Type: core.ObjectTypePublicKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskVerify, Bits: 2048}
		s := spec(core.KeyRSA, core.ClassN, core.ModeWrapped, 2048)
		s.Format = core.KeyFormatTypePKCS8
		ctx, cancel := context.WithTimeout(behalf("flood", "f"), 2*time.Second)
		t.Cleanup(cancel)
		wg.Go(func() {
			if _, _, _, _, err := f.GeneratePair(ctx, priv, pub, s); core.CodeOf(err) == core.Busy {
				refused.Add(1)
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			if most > member.DefaultSessions/4 {
				t.Errorf("%d sessions made long keys at once", most)
			}
			if refused.Load() == 0 {
				t.Error("80 callers found room in the queue")
			}
			return
		case <-time.After(5 * time.Millisecond):
			most = max(most, int(f.Member.Usage().InUse))
		}
	}
}

// Reads of class C keys come in turns too: among 300 of one tenant those of
// another do not come last.
func TestReadsComeInTurns(t *testing.T) {
	f, _ := slowToken(t)
	key := func(tenant string) core.Key {
		k := aesKey("c")
		k.Tenant = tenant
		m, _, err := f.Generate(ctx, k, spec(core.KeyAES, core.ClassC, core.ModeWrapped, 256))
		return keep(t, k, m, err)
	}
	flood, quiet := key("flood"), key("quiet")
	f.Rule("C_UnwrapKey 0x0 5")
	var read atomic.Int64
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			if _, err := f.Clear(behalf("flood", "f"), flood, nil); err != nil {
				t.Error(err)
			}
			read.Add(1)
		})
	}
	for read.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	before := read.Load()
	if _, err := f.Clear(behalf("quiet", "q"), quiet, nil); err != nil {
		t.Error(err)
	}
	if n := read.Load() - before; n > 64 {
		t.Errorf("%d reads of the other tenant went first", n)
	}
	f.Rule()
	wg.Wait()
}

// Key pairs are made beside all other changes of the token's objects. None of
// them fails, and every key works: the module is safe to be used so.
func TestPairsAreMadeBesideOtherChanges(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	const each = 60
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprint("pair", g, "-", i)
				priv := core.Key{Tenant: "default", ID: id, Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmEC, Mask: core.MaskSign, Bits: 256}
				pub := core.Key{Tenant: "default", ID: id + " public", Type: core.ObjectTypePublicKey, Algorithm: core.AlgorithmEC, Mask: core.MaskVerify, Bits: 256}
				s := spec(core.KeyEC, core.ClassN, core.ModeWrapped, 256)
				s.Curve, s.Format = core.RecommendedCurveP256, core.KeyFormatTypePKCS8
				m, mp, _, _, err := token.GeneratePair(ctx, priv, pub, s)
				if err != nil {
					t.Errorf("a pair: %v", err)
					return
				}
				priv, pub = keep(t, priv, m, err), keep(t, pub, mp, err)
				p := core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}
				sig, _, err := token.Sign(ctx, priv, p, []byte("deed"), false)
				if ok, _, verr := token.Verify(ctx, pub, p, []byte("deed"), false, sig); err != nil || verr != nil || !ok {
					t.Errorf("a pair does not work: %v, %v, %v", err, verr, ok)
				}
			}
		})
		wg.Go(func() {
			for i := range each {
				k := aesKey(fmt.Sprint("resident", g, "-", i))
				m, _, err := token.Generate(ctx, k, spec(core.KeyAES, core.ClassN, core.ModeResident, 256))
				if err != nil {
					t.Errorf("a resident key: %v", err)
					return
				}
				k = keep(t, k, m, err)
				if _, err := token.Encrypt(ctx, k, gcm([]byte("data"))); err != nil {
					t.Errorf("a resident key does not work: %v", err)
				}
				token.Forget(k.Tenant, k.ID)
				if err := token.DestroyObject(ctx, core.TokenObject{Tenant: k.Tenant, ID: k.ID, CKAID: k.Material.CKAID}); err != nil {
					t.Errorf("destroy: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// A tenant that uses more keys than are kept drives out its own, not the few of
// another: those stay unwrapped and in memory.
func TestManyKeysDriveOutTheirOwn(t *testing.T) {
	cfg := hsmtest.Config(t)
	cfg.Handles, cfg.Copies = 20, 20
	token := hsmtest.Open(t, cfg, "flood", "quiet")
	make := func(tenant, id string, class core.Class) core.Key {
		k := aesKey(id)
		k.Tenant = tenant
		m, _, err := token.Generate(ctx, k, spec(core.KeyAES, class, core.ModeWrapped, 256))
		return keep(t, k, m, err)
	}
	use := func(k core.Key) {
		if _, err := token.Encrypt(ctx, k, gcm([]byte("data"))); err != nil {
			t.Fatal(err)
		}
	}
	quiet := []core.Key{make("quiet", "n", core.ClassN), make("quiet", "c", core.ClassC)}
	for _, k := range quiet {
		use(k)
	}
	for i := range 60 {
		use(make("flood", fmt.Sprint("n", i), core.ClassN))
		use(make("flood", fmt.Sprint("c", i), core.ClassC))
	}
	if h := token.Health(ctx); h.CachedHandles > 20 || h.CachedCopies > 20 {
		t.Errorf("%+v", h)
	}
	for _, k := range quiet {
		before := token.Health(ctx)
		token.Forget(k.Tenant, k.ID)
		if after := token.Health(ctx); after.CachedHandles+after.CachedCopies != before.CachedHandles+before.CachedCopies-1 {
			t.Errorf("key %s of the other tenant was not kept any more", k.ID)
		}
	}
}
