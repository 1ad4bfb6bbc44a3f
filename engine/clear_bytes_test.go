package engine_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
)

// clearVerbs are the verbs on bytes that are no key of the server.
var clearVerbs = map[string]struct {
	do     func(w *world, c *core.Caller, id core.Identifier) ([]byte, error)
	action core.Action
	beside core.Action // 0: none
	mask   core.UsageMask
}{
	"derive": {func(w *world, c *core.Caller, id core.Identifier) ([]byte, error) {
		out, err := w.DeriveBytes(ctx, c, &operation.DeriveBytesInput{ID: id, Method: core.DerivationMethodHKDF, Length: 42,
			Parameters: operation.DerivationParameters{Salt: []byte("salt"), Data: [][]byte{[]byte("context")}}})
		return taken(out.Secret), err
	}, core.ActionDeriveKey, core.ActionExportClear, core.MaskDeriveKey},
	"wrap": {func(w *world, c *core.Caller, id core.Identifier) ([]byte, error) {
		out, err := w.WrapBytes(ctx, c, &operation.WrapBytesInput{ID: id, Data: make([]byte, 16)})
		return out.Data, err
	}, core.ActionEncrypt, 0, core.MaskWrapKey},
	"unwrap": {func(w *world, c *core.Caller, id core.Identifier) ([]byte, error) {
		out, err := w.UnwrapBytes(ctx, c, &operation.WrapBytesInput{ID: id, Data: []byte("0123456789abcdef01234567")})
		return taken(out.Secret), err
	}, core.ActionDecrypt, core.ActionExportClear, core.MaskUnwrapKey},
}

// taken returns a copy of a secret, which it releases.
func taken(s *core.Secret) []byte {
	if s == nil {
		return nil
	}
	defer s.Release()
	return bytes.Clone(s.Bytes())
}

// Each verb with keys of each class: bytes leave in clear only if the key itself could.
func TestClearBytesByClass(t *testing.T) {
	for class, kept := range map[core.Class][]any{core.ClassC: {}, core.ClassX: {core.TagSensitive, core.Bool(true)}, core.ClassN: {core.TagExtractable, core.Bool(false)}} {
		for verb, v := range clearVerbs {
			w := newWorld(t)
			j := &keptRecords{}
			w.Ports.Journal = j
			id := w.base(append([]any{core.TagCryptographicUsageMask, core.Mask(v.mask)}, kept...)...)
			out, err := v.do(w, w.alice, core.ID(id))
			r := j.last()
			if class != core.ClassC && v.beside == core.ActionExportClear {
				if core.CodeOf(err) != core.Sensitive || out != nil || r.Outcome != core.Failed {
					t.Errorf("%s with a key of class %s: %q, %v; want Sensitive", verb, class, out, err)
				}
				continue
			}
			if err != nil || len(out) == 0 || r.Action != v.action || r.Object != id || len(r.Involved) != 0 || !strings.Contains(r.Detail, "bytes") || r.ExecutedIn != "token" {
				t.Errorf("%s with a key of class %s: %q, %v; recorded as %+v", verb, class, out, err, r)
			}
		}
	}
}

// The policy is asked for the use and for Export Clear. A denial of one of them, another tenant, a
// key in a wrong state, with a wrong mask or of a wrong type gives nothing.
func TestClearBytesAreRefused(t *testing.T) {
	for verb, v := range clearVerbs {
		w := newWorld(t)
		j := &keptRecords{}
		w.Ports.Journal = j
		id := w.base(core.TagCryptographicUsageMask, core.Mask(v.mask))
		refused := func(what string, c *core.Caller, id core.Identifier, want ...core.Code) {
			t.Helper()
			out, err := v.do(w, c, id)
			ok := false
			for _, code := range want {
				ok = ok || core.CodeOf(err) == code
			}
			if !ok || err == nil || out != nil {
				t.Errorf("%s, %s: %q, %v; want %v", verb, what, out, err, want)
			}
			if r := j.last(); r.Outcome == core.Allowed || r.Action != v.action {
				t.Errorf("%s, %s: recorded as %+v", verb, what, r)
			}
		}
		for _, action := range []core.Action{v.action, v.beside} {
			if action == 0 {
				continue
			}
			w.Ports.Policy = refusing{action: action}
			refused("without "+action.String(), w.alice, core.ID(id), core.PermissionDenied)
		}
		w.Ports.Policy = tenantPolicy{}
		refused("another tenant", w.out, core.ID(id), core.ItemNotFound, core.WrappingObjectNotFound)
		refused("a stranger", w.eve, core.ID(id), core.PermissionDenied, core.WrappingObjectNotFound)
		refused("nothing", w.alice, core.ID("none"), core.ItemNotFound, core.WrappingObjectNotFound)
		refused("another mask", w.alice, core.ID(w.base(core.TagCryptographicUsageMask, core.Mask(core.MaskSign))), core.IncompatibleUsageMask)
		for _, step := range []string{"disable", "archive", "destroy"} {
			other := w.base(core.TagCryptographicUsageMask, core.Mask(v.mask))
			if step == "destroy" {
				w.step(w.alice, "compromise", other)
			}
			if err := w.step(w.alice, step, other); err != nil {
				t.Fatal(err)
			}
			refused("after "+step, w.alice, core.ID(other), core.WrongState, core.ObjectArchived, core.WrappingObjectArchived, core.ObjectDestroyed, core.WrappingObjectDestroyed)
		}
		w.hsm.fail = core.Errorf(core.TokenUnavailable, "away")
		refused("without the HSM", w.alice, core.ID(id), core.TokenUnavailable)
		w.hsm.fail = nil
		w.store.refuse = core.Errorf(core.StoreUnavailable, "full")
		if out, err := v.do(w, w.alice, core.ID(id)); core.CodeOf(err) != core.AuditUnavailable || out != nil {
			t.Errorf("%s without a record: %q, %v", verb, out, err)
		}
	}
}

// Bounds, and fields that a method does not have.
func TestClearBytesAreBounded(t *testing.T) {
	w := newWorld(t)
	all := w.base(core.TagCryptographicUsageMask, core.Mask(core.MaskDeriveKey|core.MaskWrapKey|core.MaskUnwrapKey))
	for length, ok := range map[int]bool{-1: false, 0: false, 1: true, 4096: true, 4097: false} {
		out, err := w.DeriveBytes(ctx, w.alice, &operation.DeriveBytesInput{ID: core.ID(all), Method: core.DerivationMethodHKDF, Length: length})
		if (err == nil) != ok || err == nil && len(taken(out.Secret)) != length || err != nil && core.CodeOf(err) != core.InvalidField {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
	if _, err := w.DeriveBytes(ctx, w.alice, &operation.DeriveBytesInput{ID: core.ID(all), Method: core.DerivationMethodHKDF, Length: 16, Parameters: operation.DerivationParameters{IV: []byte("iv")}}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("HKDF with an IV: %v", err)
	}
	for size, ok := range map[int]bool{0: false, 16: true, 64 * 1024: true, 64*1024 + 1: false} {
		_, err := w.WrapBytes(ctx, w.alice, &operation.WrapBytesInput{ID: core.ID(all), Data: make([]byte, size)})
		if (err == nil) != ok || err != nil && core.CodeOf(err) != core.InvalidField {
			t.Errorf("wrap %d bytes: %v", size, err)
		}
	}
	if _, err := w.UnwrapBytes(ctx, w.alice, &operation.WrapBytesInput{ID: core.ID(all), Data: make([]byte, 64*1024+1)}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("unwrap 64 KiB and one byte: %v", err)
	}
	limited := w.base(core.TagCryptographicUsageMask, core.Mask(core.MaskDeriveKey|core.MaskWrapKey), core.TagUsageLimits, core.UsageLimits{Total: 2, Count: 2, Unit: core.UsageLimitsUnitObject}.Value())
	for i, verb := range []string{"derive", "wrap", "derive", "wrap"} {
		if _, err := clearVerbs[verb].do(w, w.alice, core.ID(limited)); (err == nil) != (i < 2) || err != nil && core.CodeOf(err) != core.UsageLimitExceeded {
			t.Errorf("use %d, %s: %v", i+1, verb, err)
		}
	}
}

// While bytes are derived the key is revoked or becomes Sensitive, or Export Clear is denied:
// nothing is answered.
func TestClearBytesAreDecidedAgain(t *testing.T) {
	for what, during := range map[string]func(w *world, id string) error{
		"revoked": func(w *world, id string) error { return w.step(w.alice, "compromise", id) },
		"denied":  func(w *world, _ string) error { w.Ports.Policy = refusing{action: core.ActionExportClear}; return nil },
		"made Sensitive": func(w *world, id string) error {
			_, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(id), Name: core.AttributeName{Tag: core.TagSensitive}, New: core.Attribute{Tag: core.TagSensitive, Value: core.Bool(true)}})
			return err
		},
	} {
		w := newWorld(t)
		id := w.base()
		w.hsm.slow = func() {
			w.clock.now += 5
			if err := during(w, id); err != nil {
				t.Error(err)
			}
		}
		if out, err := clearVerbs["derive"].do(w, w.alice, core.ID(id)); err == nil || out != nil {
			t.Errorf("%s: %q, %v", what, out, err)
		}
	}
}

// Names of versions work, and the answer says which version was used.
func TestClearBytesOfVersions(t *testing.T) {
	w := newWorld(t)
	for verb, v := range clearVerbs {
		one := w.base(core.TagCryptographicUsageMask, core.Mask(v.mask))
		two := w.rekey(one)
		coretest.AtOnce(2, func(i int) {
			if out, err := v.do(w, w.alice, core.Identifier{Text: one, Family: true, Version: int64(i + 1)}); err != nil || len(out) == 0 {
				t.Errorf("%s with version %d of %s, whose second one is %s: %v", verb, i+1, one, two, err)
			}
		})
	}
	out, err := w.WrapBytes(ctx, w.alice, &operation.WrapBytesInput{ID: core.Identifier{Alias: "none", Family: true}, Data: make([]byte, 16)})
	if core.CodeOf(err) != core.WrappingObjectNotFound {
		t.Errorf("an alias that is none: %v, %v", fmt.Sprint(out), err)
	}
}
