package engine_test

import (
	"context"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// rated denies an action beyond 10 uses in 60 seconds.
type rated struct {
	tenantPolicy
	action core.Action
}

var gateOfCheck = core.Gate{Statement: "p@1/rate", Denies: true, GateTerms: core.GateTerms{Rate: &core.RateTerms{Uses: 10, Per: 60}}}

func (p rated) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if r.Action != p.action || slices.Contains(r.Granted, gateOfCheck.Statement) {
		return p.tenantPolicy.Decide(ctx, r)
	}
	return core.Decision{Scope: "own", Reasons: []string{"test"}, Gates: []core.Gate{gateOfCheck}}, nil
}

// A use that fails is given back, unless the HSM has used the key and refused the data: who
// guesses must not guess more often than the rate says.
func TestFailedUsesAreGivenBack(t *testing.T) {
	for _, c := range []struct {
		what   string
		action core.Action
		refuse error
		fails  core.Code
		want   int // uses that pass afterwards
	}{
		{"a use whose record cannot be stored", core.ActionCheck, core.Errorf(core.StoreUnavailable, "full"), core.AuditUnavailable, 10},
		{"a wrong ciphertext", core.ActionDecrypt, nil, core.CryptographicFailure, 0},
	} {
		w := newWorld(t)
		w.serve(newNode(engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: rated{action: c.action}, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{})))
		key := w.inState(core.Active)
		use := func(data []byte) (err error) {
			if c.action == core.ActionDecrypt {
				_, err = w.Decrypt(ctx, w.alice, &operation.DecryptInput{ID: core.ID(key), Data: data, Tag: data})
				return err
			}
			_, err = w.Check(ctx, w.alice, &operation.CheckInput{ID: core.ID(key)})
			return err
		}
		w.store.refuse = c.refuse
		for range 10 {
			if err := use([]byte("wrong")); core.CodeOf(err) != c.fails {
				t.Fatalf("%s: %v; want %v", c.what, err, c.fails)
			}
		}
		w.store.refuse = nil
		passed := 0
		for range 20 {
			if core.CodeOf(use([]byte("wrong"))) != core.TooManyRequests {
				passed++
			}
		}
		if passed != c.want {
			t.Errorf("%s, ten times: %d uses pass afterwards; want %d", c.what, passed, c.want)
		}
	}
}

// A rate bounds the uses of one principal and one key, also of requests that run at once. The
// uses of the span before fade out, so that no burst at its end doubles the rate.
func TestRates(t *testing.T) {
	w := newWorld(t)
	w.serve(newNode(engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: rated{action: core.ActionCheck}, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{})))
	key, other := w.aesKey(), w.aesKey()
	passed := func(c *core.Caller, id string) int {
		codes := make([]core.Code, 25)
		coretest.AtOnce(len(codes), func(i int) {
			_, err := w.Check(ctx, c, &operation.CheckInput{ID: core.ID(id)})
			if err != nil {
				codes[i] = core.CodeOf(err)
				return
			}
			codes[i] = core.Code(255)
		})
		n := 0
		for _, code := range codes {
			switch code {
			case core.Code(255):
				n++
			case core.TooManyRequests:
			default:
				t.Errorf("a request beyond the rate: %v; want TooManyRequests", code)
			}
		}
		return n
	}
	for _, step := range []struct {
		what   string
		after  int64
		caller *core.Caller
		key    string
		want   int
	}{
		{"the first span", 0, w.alice, key, 10}, {"the same span", 59, w.alice, key, 0}, {"another key", 0, w.alice, other, 10}, {"another principal", 0, w.bob, key, 10},
		{"the next span begins", 1, w.alice, key, 0}, {"its middle", 30, w.alice, key, 5}, {"long after", 600, w.alice, key, 10}, {"the clock is set back", -300, w.alice, key, 0},
	} {
		w.clock.now += step.after
		if got := passed(step.caller, step.key); got != step.want {
			t.Errorf("%s: %d requests passed, want %d", step.what, got, step.want)
		}
	}
}

// A refusal by a rate says after how many seconds a use passes.
func TestRatesSayHowLong(t *testing.T) {
	w := newWorld(t)
	w.serve(newNode(engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: rated{action: core.ActionCheck}, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{})))
	key := w.aesKey()
	use := func() error {
		_, err := w.Check(ctx, w.alice, &operation.CheckInput{ID: core.ID(key)})
		return err
	}
	for range 10 {
		if err := use(); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.now += 20
	wait := core.RetryAfterOf(use())
	if wait != 46 { // the next span begins after 40 s, and a tenth of the uses has faded 6 s later
		t.Errorf("the time to wait is %d s, want 46", wait)
	}
	w.clock.now += wait - 1
	if err := use(); core.RetryAfterOf(err) != 1 {
		t.Errorf("a second too early: %v, %d s", err, core.RetryAfterOf(err))
	}
	w.clock.now++
	if err := use(); err != nil {
		t.Errorf("after the time to wait: %v", err)
	}
}
