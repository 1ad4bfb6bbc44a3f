package engine_test

import (
	"bytes"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

func (w *world) hashPart(c *core.Caller, data, correlation []byte, first, last bool) (operation.HashOutput, error) {
	return w.Hash(ctx, c, &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256},
		Data: data, Correlation: correlation, Init: &first, Final: &last})
}

// Streams are bounded: of one principal, in bytes, in time; and what is
// refused or ended leaves nothing behind.
func TestStreamBounds(t *testing.T) {
	w := newWorld(t)
	var open [][]byte
	for range engine.MaxStreamsEach {
		out, err := w.hashPart(w.alice, []byte("a"), nil, true, false)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, out.Correlation)
	}
	if _, err := w.hashPart(w.alice, nil, nil, true, false); core.CodeOf(err) != core.Busy {
		t.Errorf("stream %d of one principal: %v", engine.MaxStreamsEach+1, err)
	}
	if _, err := w.hashPart(w.bob, nil, nil, true, false); err != nil {
		t.Errorf("another principal: %v", err)
	}
	if _, err := w.hashPart(w.alice, make([]byte, engine.MaxHeld), open[0], false, false); core.CodeOf(err) != core.InvalidField {
		t.Errorf("%d bytes and one: %v", engine.MaxHeld, err)
	}
	if _, err := w.hashPart(w.alice, nil, open[0], false, true); core.CodeOf(err) != core.InvalidCorrelationValue {
		t.Errorf("after a part that was refused: %v", err)
	}
	s := w.IdleStreams()[string(open[1])]
	held := s.Held[:cap(s.Held)]
	w.ExpireStream(s)
	w.ExpireStream(s) // a timer that comes late
	if !coretest.Retired(held) {
		t.Error("what an expired stream held is still there")
	}
	if _, err := w.hashPart(w.alice, nil, open[1], false, true); core.CodeOf(err) != core.InvalidCorrelationValue {
		t.Errorf("an expired stream: %v", err)
	}
	for _, c := range open[2:] {
		if _, err := w.hashPart(w.alice, []byte("b"), c, false, true); err != nil {
			t.Error(err)
		}
	}
	if all, idle, held := w.StreamsLeft(); all != 1 || idle != 1 || held != 0 {
		t.Errorf("left: %d streams, %d idle, %d bytes; bob's one holds nothing", all, idle, held)
	}
}

func TestHeldInAll(t *testing.T) {
	w := newWorld(t)
	for i := range engine.MaxHeldInAll/engine.MaxHeld + 1 {
		_, err := w.hashPart(w.alice, make([]byte, engine.MaxHeld), nil, true, false)
		if want := i == engine.MaxHeldInAll/engine.MaxHeld; (core.CodeOf(err) == core.Busy) != want {
			t.Errorf("stream %d of %d bytes: %v", i+1, engine.MaxHeld, err)
		}
	}
}

// A stream draws once on limits that count uses, and for each part on limits
// that count bytes.
func TestStreamUsageLimits(t *testing.T) {
	for unit, want := range map[core.UsageLimitsUnit]int64{core.UsageLimitsUnitObject: 99, core.UsageLimitsUnitByte: 90} {
		w := newWorld(t)
		id := w.aesKey(core.TagActivationDate, core.Date(1), core.TagUsageLimits, core.UsageLimits{Total: 100, Count: 100, Unit: unit}.Value())
		parameters := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}
		yes := true
		out, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Parameters: parameters, Data: []byte("12345"), IV: make([]byte, 12), Init: &yes})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("67890"), Correlation: out.Correlation, Final: &yes}); err != nil {
			t.Fatal(err)
		}
		o, _ := w.store.Object(ctx, "default", id)
		v, _ := o.Attributes.Get(core.TagUsageLimits)
		if got := v.Field(core.TagUsageLimitsCount).Num; got != want {
			t.Errorf("limits in %v: %d left, want %d", unit, got, want)
		}
	}
}

// A part whose record cannot be stored ends its stream: the client is told that
// it failed, and its data must not be in what a later part answers.
func TestUnrecordedPartEndsItsStream(t *testing.T) {
	w := newWorld(t)
	first, err := w.hashPart(w.alice, []byte("a"), nil, true, false)
	if err != nil {
		t.Fatal(err)
	}
	w.store.refuse = core.Errorf(core.StoreUnavailable, "disk full")
	if _, err := w.hashPart(w.alice, []byte("b"), first.Correlation, false, false); core.CodeOf(err) != core.AuditUnavailable {
		t.Fatal(err)
	}
	w.store.refuse = nil
	if _, err := w.hashPart(w.alice, []byte("b"), first.Correlation, false, true); core.CodeOf(err) != core.InvalidCorrelationValue {
		t.Errorf("after a part that was not recorded: %v", err)
	}
	if all, idle, held := w.StreamsLeft(); all != 0 || held != 0 || idle != 0 {
		t.Errorf("left: %d streams, %d bytes", all, held)
	}
}

// An IV of no bytes is none: one is made, told, and used for every part.
func TestEmptyIVIsNone(t *testing.T) {
	w := newWorld(t)
	yes := true
	for _, mode := range []core.BlockCipherMode{core.BlockCipherModeGCM, core.BlockCipherModeCBC, core.BlockCipherModeCTR} {
		id := w.aesKey(core.TagActivationDate, core.Date(1))
		p := &core.CryptographicParameters{BlockCipherMode: mode}
		out, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Parameters: p, Data: make([]byte, 16), IV: []byte{}, Init: &yes})
		if err != nil || len(out.IV) == 0 {
			t.Errorf("%v: IV %x, %v", mode, out.IV, err)
			continue
		}
		for _, s := range w.IdleStreams() {
			if s.ObjectID() == id && !bytes.Equal(s.FirstIV, out.IV) {
				t.Errorf("%v: the stream has IV %x and the client was told %x", mode, s.FirstIV, out.IV)
			}
		}
		if _, err := w.Decrypt(ctx, w.alice, &operation.DecryptInput{ID: core.ID(id), Parameters: p, Data: make([]byte, 16), IV: []byte{}, Init: &yes}); core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("%v, Decrypt without IV: %v", mode, err)
		}
	}
}

// What a stream remembers beside its data counts too.
func TestRememberedIsBounded(t *testing.T) {
	w := newWorld(t)
	yes := true
	id := w.aesKey(core.TagActivationDate, core.Date(1))
	big := make([]byte, engine.MaxHeldInAll/4+1)
	for i := range 4 {
		_, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM},
			Data: []byte("x"), IV: make([]byte, 12), AAD: big, Init: &yes})
		if (core.CodeOf(err) == core.Busy) != (i == 3) {
			t.Errorf("stream %d with %d bytes of Additional Data: %v", i+1, len(big), err)
		}
	}
}

// countedAccount is a principal's account without other users.
type countedAccount struct{ used, most, users int64 }

func (a *countedAccount) TryReserve(bytes int64) error {
	if a.used+bytes > a.most {
		return core.Errorf(core.Busy, "full")
	}
	a.used += bytes
	return nil
}
func (a *countedAccount) Release(bytes int64) { a.used -= bytes }
func (a *countedAccount) Close()              { a.users-- }

// What a stream holds counts in its principal's account, and is given back however
// the stream ends.
func TestHeldPartsCountInTheAccount(t *testing.T) {
	const part = 100 << 10
	w := newWorld(t)
	account := &countedAccount{most: 1 << 20}
	var whose []string
	w.CountStreamsIn(func(tenant, principal string) engine.Account {
		whose = append(whose, tenant+"/"+principal)
		account.users++
		return account
	})
	data := make([]byte, part)
	for name, end := range map[string]func(correlation []byte){
		"by its last part": func(c []byte) { w.hashPart(w.alice, data, c, false, true) },
		"by a part that is refused": func(c []byte) {
			if _, err := w.hashPart(w.alice, make([]byte, 1<<20), c, false, false); core.CodeOf(err) != core.Busy {
				t.Errorf("more than the account has: %v", err)
			}
		},
		"by time": func(c []byte) { w.ExpireStream(w.IdleStreams()[string(c)]) },
		"by a part that is not recorded": func(c []byte) {
			w.store.refuse = core.Errorf(core.StoreUnavailable, "disk full")
			w.hashPart(w.alice, data, c, false, false)
			w.store.refuse = nil
		},
	} {
		first, err := w.hashPart(w.alice, data, nil, true, false)
		if err != nil || account.used != part || account.users != 1 {
			t.Fatalf("%s: one part of %d bytes counts %d for %d users, %v", name, part, account.used, account.users, err)
		}
		if end(first.Correlation); account.used != 0 || account.users != 0 {
			t.Errorf("ended %s: %d bytes and %d users are left", name, account.used, account.users)
		}
	}
	if whose[0] != "default/alice" {
		t.Errorf("counted in the account of %s", whose[0])
	}
	if all, _, held := w.StreamsLeft(); all != 0 || held != 0 {
		t.Errorf("left: %d streams, %d bytes", all, held)
	}
}
