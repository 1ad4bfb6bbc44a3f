package engine_test

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

var ctx = context.Background()

// inState makes a key of alice's and takes it to a state by operations alone.
func (w *world) inState(s core.State, more ...any) string {
	w.t.Helper()
	id := w.aesKey(more...)
	if _, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(id), Attribute: label}); err != nil {
		w.t.Fatal(err)
	}
	steps := map[core.State][]string{core.PreActive: {}, core.Active: {"activate"}, core.Deactivated: {"activate", "cease"},
		core.Compromised: {"compromise"}, core.Destroyed: {"destroy"}, core.DestroyedCompromised: {"compromise", "destroy"}}
	for _, step := range steps[s] {
		if err := w.step(w.alice, step, id); err != nil {
			w.t.Fatalf("%s on the way to %v: %v", step, s, err)
		}
	}
	return id
}

// label is a custom attribute that every key of inState has.
var label = core.Attribute{Vendor: "x", Name: "label", Value: core.Text("l")}

// step does one operation on id by name and returns its error.
func (w *world) step(c *core.Caller, op, id string) error {
	var err error
	data := []byte("sixteen byte text and more")
	switch op {
	case "activate":
		_, err = w.Activate(ctx, c, &operation.ActivateInput{ID: core.ID(id)})
	case "cease":
		_, err = w.Revoke(ctx, c, &operation.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeCessationOfOperation})
	case "compromise":
		_, err = w.Revoke(ctx, c, &operation.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeKeyCompromise})
	case "destroy":
		_, err = w.Destroy(ctx, c, &operation.DestroyInput{ID: core.ID(id)})
	case "get":
		var out operation.GetOutput
		out, err = w.Get(ctx, c, &operation.GetInput{ID: core.ID(id)})
		out.Secret.Release()
	case "get attributes":
		_, err = w.GetAttributes(ctx, c, &operation.GetAttributesInput{ID: core.ID(id)})
	case "get attribute list":
		_, err = w.GetAttributeList(ctx, c, &operation.GetAttributeListInput{ID: core.ID(id)})
	case "add name":
		_, err = w.AddAttribute(ctx, c, &operation.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: core.TagName, Value: name("n")}})
	case "modify attribute":
		_, err = w.ModifyAttribute(ctx, c, &operation.ModifyAttributeInput{ID: core.ID(id), Name: label.Ref(), New: label})
	case "set attribute":
		_, err = w.SetAttribute(ctx, c, &operation.SetAttributeInput{ID: core.ID(id), Attribute: label})
	case "delete attribute":
		_, err = w.DeleteAttribute(ctx, c, &operation.DeleteAttributeInput{ID: core.ID(id), Name: label.Ref()})
	case "encrypt":
		_, err = w.Encrypt(ctx, c, &operation.EncryptInput{ID: core.ID(id), Data: data})
	case "decrypt":
		// made outside the engine, so that Decrypt can be tried in states that do not encrypt
		o, lerr := w.store.Object(ctx, c.Principal.Tenant, id)
		var sealed core.Ciphered
		if lerr == nil && o.Material.Blob != nil {
			sealed, _ = w.hsm.Encrypt(ctx, o.Key(), &core.Cipher{Data: data})
		}
		_, err = w.Decrypt(ctx, c, &operation.DecryptInput{ID: core.ID(id), Data: sealed.Data})
	case "sign":
		_, err = w.Sign(ctx, c, &operation.SignInput{ID: core.ID(id), Data: data})
	case "signature verify":
		_, err = w.SignatureVerify(ctx, c, &operation.SignatureVerifyInput{ID: core.ID(id), Data: data, Signature: []byte("signature")})
	case "mac":
		_, err = w.MAC(ctx, c, &operation.MACInput{ID: core.ID(id), Data: data})
	case "mac verify":
		_, err = w.MACVerify(ctx, c, &operation.MACVerifyInput{ID: core.ID(id), Data: data, MAC: []byte("mac")})
	case "derive":
		_, err = w.DeriveKey(ctx, c, derivedFrom(id))
	case "disable":
		_, err = w.Disable(ctx, c, &operation.LifeInput{ID: core.ID(id)})
	case "enable":
		_, err = w.Enable(ctx, c, &operation.LifeInput{ID: core.ID(id)})
	case "soft delete":
		_, err = w.SoftDelete(ctx, c, &operation.SoftDeleteInput{ID: core.ID(id)})
	case "restore":
		_, err = w.Restore(ctx, c, &operation.LifeInput{ID: core.ID(id)})
	case "purge":
		_, err = w.PurgeDeleted(ctx, c, &operation.LifeInput{ID: core.ID(id)})
	case "archive":
		_, err = w.Archive(ctx, c, &operation.LifeInput{ID: core.ID(id)})
	case "recover":
		_, err = w.Recover(ctx, c, &operation.LifeInput{ID: core.ID(id)})
	case "wrap":
		var out operation.GetOutput
		out, err = w.Get(ctx, c, &operation.GetInput{ID: core.ID(w.aesKey()), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
			Encoding: core.EncodingOptionNoEncoding, Encryption: wrappedWith(id)}})
		out.Secret.Release()
	case "re-key":
		_, err = w.ReKey(ctx, c, &operation.RekeyInput{ID: core.ID(id)})
	case "check":
		_, err = w.Check(ctx, c, &operation.CheckInput{ID: core.ID(id)})
	default:
		w.t.Fatalf("no step is called %s", op)
	}
	return err
}

// What each operation may do in each state, in the order Pre-Active, Active,
// Deactivated, Compromised, Destroyed, Destroyed Compromised: y allowed, s wrong
// state, d destroyed. KMIP 1.4 §3.22, 2.1 §4.57.
var stateTable = map[string]string{
	"activate":           "ysssss",
	"cease":              "sysss" + "s",
	"compromise":         "yyysys",
	"destroy":            "ysyydd",
	"get":                "yyyydd",
	"get attributes":     "yyyyyy",
	"get attribute list": "yyyyyy",
	"add name":           "yyyyyy",
	"modify attribute":   "yyyyyy",
	"set attribute":      "yyyyyy",
	"delete attribute":   "yyyyyy",
	"encrypt":            "syssdd",
	"decrypt":            "syyydd",
	"sign":               "syssdd",
	"signature verify":   "syyydd",
	"mac":                "syssdd",
	"mac verify":         "syyydd",
	"re-key":             "yyyydd",
	"derive":             "syssdd",
	"check":              "yyyydd",
	"disable":            "yyyydd",
	"enable":             "ssssdd",
	"soft delete":        "yyyydd",
	"restore":            "ssssdd",
	"purge":              "ssssdd",
	"archive":            "yyyydd",
	"recover":            "yyyydd",
}

// Every operation is tried in every state, so that a rule that is lost shows as
// surely as one that is added.
func TestOperationsByState(t *testing.T) {
	codes := map[byte]core.Code{'s': core.WrongState, 'd': core.ObjectDestroyed}
	for op, row := range stateTable {
		for s := core.PreActive; s <= core.DestroyedCompromised; s++ {
			w := newWorld(t)
			id := w.inState(s)
			err := w.step(w.alice, op, id)
			want := row[s-core.PreActive]
			if want == 'y' {
				if err != nil {
					t.Errorf("%s of an object that is %v: %v; it is allowed", op, s, err)
				}
			} else if core.CodeOf(err) != codes[want] || err == nil {
				t.Errorf("%s of an object that is %v: got %v; want code %v", op, s, err, codes[want])
			}
		}
	}
}

// Every operation is tried by every kind of stranger: in the tenant it is
// denied, from another tenant the object does not exist.
func TestOperationsByRight(t *testing.T) {
	for op := range stateTable {
		w := newWorld(t)
		id := w.inState(core.Active)
		if err := w.step(w.eve, op, id); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("%s by one who is neither owner nor in the group: %v; want PermissionDenied", op, err)
		}
		if err := w.step(w.out, op, id); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("%s from another tenant: %v; want ItemNotFound", op, err)
		}
		if err := w.step(w.bob, op, id); core.CodeOf(err) == core.PermissionDenied {
			t.Errorf("%s by a member of the object's group: %v", op, err)
		}
		w.Ports.Policy = tenantPolicy{fail: core.Errorf(core.PolicyUnavailable, "broken")}
		if err := w.step(w.alice, op, id); core.CodeOf(err) != core.PolicyUnavailable {
			t.Errorf("%s with a broken policy: %v; want PolicyUnavailable", op, err)
		}
	}
}

// Dates that have fallen due count at once, without anybody having been told.
func TestDatesFallDue(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey(core.TagActivationDate, core.Date(w.clock.now+10), core.TagProcessStartDate, core.Date(w.clock.now+20),
		core.TagProtectStopDate, core.Date(w.clock.now+30), core.TagDeactivationDate, core.Date(w.clock.now+40))
	start := w.clock.now
	for _, at := range []struct {
		after            int64
		encrypt, decrypt bool
		state            core.State
	}{{0, false, false, core.PreActive}, {10, false, false, core.Active}, {20, true, true, core.Active},
		{30, false, true, core.Active}, {40, false, true, core.Deactivated}} {
		w.clock.now = start + at.after
		if err := w.step(w.alice, "encrypt", id); (err == nil) != at.encrypt {
			t.Errorf("%d s on, Encrypt: %v", at.after, err)
		}
		if err := w.step(w.alice, "decrypt", id); (err == nil) != at.decrypt {
			t.Errorf("%d s on, Decrypt: %v", at.after, err)
		}
		out, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{{Tag: core.TagState}}})
		if err != nil || core.State(out.Attributes.Num(core.TagState)) != at.state {
			t.Errorf("%d s on the State is %v, want %v (%v)", at.after, core.State(out.Attributes.Num(core.TagState)), at.state, err)
		}
		found, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagState, core.Enum(at.state))})
		if err != nil || len(found.IDs) != 1 {
			t.Errorf("%d s on Locate by State %v finds %v (%v)", at.after, at.state, found.IDs, err)
		}
	}
}

func TestUsageLimits(t *testing.T) {
	w := newWorld(t)
	limits := core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(60)},
		core.Field{Tag: core.TagUsageLimitsUnit, Value: core.Enum(core.UsageLimitsUnitByte)})
	id := w.inState(core.Active, core.TagUsageLimits, limits)
	for i := range 2 { // 26 bytes each
		if err := w.step(w.alice, "encrypt", id); err != nil {
			t.Fatalf("use %d: %v", i, err)
		}
	}
	if err := w.step(w.alice, "encrypt", id); core.CodeOf(err) != core.UsageLimitExceeded {
		t.Errorf("the third use: %v; want UsageLimitExceeded", err)
	}
	if err := w.step(w.alice, "decrypt", id); err != nil {
		t.Errorf("processing is not limited: %v", err)
	}
}
