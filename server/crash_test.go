package server_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// The server is killed in the middle of Create, Register and Destroy under
// load; whatever it had acknowledged is as it said, nothing is half made, and
// no token object is left that no row names. KEYREEVE_SOAK lengthens it.

func TestKilledUnderLoadSQLite(t *testing.T) {
	killUnderLoad(t)
}

func TestKilledUnderLoadPostgres(t *testing.T) {
	killUnderLoad(t, "KEYREEVE_DEV_STORE="+storetest.Postgres(t))
}

// kills is how often the server is killed in a plain test run; the soak goes on
// for its time, 50 times at least.
const kills = 5

func killUnderLoad(t *testing.T, env ...string) {
	s := servertest.Start(t, env...)
	var ledger ledger
	began := time.Now()
	soak, _ := time.ParseDuration(os.Getenv("KEYREEVE_SOAK"))
	for round := 0; round < kills || (soak > 0 && (round < 50 || time.Since(began) < soak/2)); round++ {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() { ledger.work(t, s, w, round) })
		}
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond)
		s.Kill()
		wg.Wait()
		s.Run()
		ledger.check(t, s, round)
		if t.Failed() {
			return
		}
	}
	made, gone := ledger.count()
	t.Logf("%d objects made, %d destroyed, all as acknowledged", made, gone)
	if made == 0 {
		t.Error("nothing was done between the kills, so nothing was tried")
	}
	s.Kill()
	s.Run()
	if log, _ := os.ReadFile(s.Log); strings.Contains(string(log), "token object that no row names") {
		t.Errorf("orphans stayed in the token:\n%s", log)
	}
}

// ledger remembers what was acknowledged.
type ledger struct {
	mu    sync.Mutex
	alive map[string][]byte // id -> value, nil where the server made it
	gone  []string
	doubt []string // a Destroy without an answer: either is right
}

func (l *ledger) count() (int, int) { return len(l.alive) + len(l.gone), len(l.gone) }

// work makes and destroys objects until the connection breaks.
func (l *ledger) work(t *testing.T, s *servertest.Server, w, round int) {
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Error(err)
		return
	}
	c, err := kmiptest.Dial(s.KMIP, cfg, core.V1_4)
	if err != nil {
		return
	}
	defer c.Close()
	for i := 0; ; i++ {
		in := kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt)
		if i%4 == 1 {
			in.Attributes = append(in.Attributes, core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")})
		}
		made, err := kmiptest.Do(c, &kmip.Create, in)
		if err != nil {
			return
		}
		l.made(made.ID, nil)
		value := fmt.Appendf(nil, "secret %d of %d in round %d, and more", i, w, round)
		reg, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSecretData,
			Object: core.ObjectBody{Type: core.ObjectTypeSecretData, SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: value}}})
		if err != nil {
			return
		}
		l.made(reg.ID, value)
		if i%2 == 1 {
			l.destroying(made.ID)
			if _, err := kmiptest.Do(c, &kmip.Destroy, &core.DestroyInput{ID: core.ID(made.ID)}); err != nil {
				return
			}
			l.destroyed(made.ID)
		}
	}
}

func (l *ledger) made(id string, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive == nil {
		l.alive = map[string][]byte{}
	}
	l.alive[id] = value
}

func (l *ledger) destroying(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.alive, id)
	l.doubt = append(l.doubt, id)
}

func (l *ledger) destroyed(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doubt = slices.DeleteFunc(l.doubt, func(d string) bool { return d == id })
	l.gone = append(l.gone, id)
}

// check asks for everything acknowledged so far.
func (l *ledger) check(t *testing.T, s *servertest.Server, round int) {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	c, err := kmiptest.Dial(s.KMIP, cfg, core.V1_4)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for id, value := range l.alive {
		out, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
		if err != nil {
			t.Fatalf("round %d: %s was acknowledged and cannot be had: %v", round, id, err)
		}
		if value != nil && string(out.Object.KeyBlock.Material) != string(value) || value == nil && len(out.Object.KeyBlock.Material) != 32 {
			t.Fatalf("round %d: %s has another value", round, id)
		}
	}
	for _, id := range l.gone {
		if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err == nil {
			t.Fatalf("round %d: %s was destroyed and is there again", round, id)
		}
	}
	for _, id := range l.doubt {
		_, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
		if r := kmiptest.Reason(err); err != nil && r != core.ReasonItemNotFound {
			t.Fatalf("round %d: %s is half destroyed: %v", round, id, err)
		}
	}
}
