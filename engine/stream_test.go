package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/engine"
)

func (w *world) hashPart(c *core.Caller, data, correlation []byte, first, last bool) (core.HashOutput, error) {
	return w.Hash(ctx, c, &core.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256},
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
		out, err := w.Encrypt(ctx, w.alice, &core.EncryptInput{ID: core.ID(id), Parameters: parameters, Data: []byte("12345"), IV: make([]byte, 12), Init: &yes})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Encrypt(ctx, w.alice, &core.EncryptInput{ID: core.ID(id), Data: []byte("67890"), Correlation: out.Correlation, Final: &yes}); err != nil {
			t.Fatal(err)
		}
		o, _ := w.store.Object(ctx, "default", id)
		v, _ := o.Attributes.Get(core.TagUsageLimits)
		if got := v.Field(core.TagUsageLimitsCount).Num; got != want {
			t.Errorf("limits in %v: %d left, want %d", unit, got, want)
		}
	}
}
