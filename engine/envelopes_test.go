package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/envelope"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

var invoice = map[string]string{"app": "billing", "tenant": "acme"}

// sealed is an envelope that alice makes with a key.
func (w *world) sealed(id, text string) []byte {
	w.t.Helper()
	out, err := w.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(id), Data: []byte(text), AAD: []byte("aad"), Context: invoice})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Data
}

// openBy decrypts an envelope that w.sealed has made. "" names no key.
func (w *world) openBy(c *core.Caller, id string, data []byte) (operation.EnvelopeOutput, error) {
	return w.DecryptEnvelope(ctx, c, &operation.EnvelopeInput{ID: core.ID(id), Data: data, AAD: []byte("aad"), Context: invoice})
}

// family makes keys of alice's that are versions of the first one.
func (w *world) family(n int) (ids []string) {
	for i := range n {
		ids = append(ids, w.inState(core.Active))
		if i == 0 {
			continue
		}
		o, _ := w.store.Object(ctx, "default", ids[i])
		o.Attributes = o.Attributes.Add(core.Attribute{Vendor: core.FamilyAttribute.Vendor, Name: core.FamilyAttribute.Name, Value: core.Text(ids[0])}).
			Add(core.Attribute{Vendor: core.VersionAttribute.Vendor, Name: core.VersionAttribute.Name, Value: core.Int(int32(i + 1))})
		w.ForgetSnapshot("default", ids[i])
	}
	return ids
}

func TestEnvelopes(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	id := w.inState(core.Active)
	out, err := w.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(id), Data: []byte("invoice 7"), AAD: []byte("aad"), Context: invoice})
	if err != nil || out.ID != id || out.Family != id || out.Version != 1 {
		t.Fatalf("Encrypt answers %+v, %v", out, err)
	}
	if r := j.last(); r.Action != core.ActionEncrypt || r.Object != id || r.ExecutedIn != "token" {
		t.Errorf("the record is %+v", r)
	}
	e, err := envelope.Parse(out.Data)
	if err != nil || e.Family != id || e.Version != 1 || e.Algorithm != envelope.AESGCM || bytes.Contains(out.Data, []byte("invoice")) {
		t.Errorf("the envelope is %+v, %v", e, err)
	}
	back, err := w.openBy(w.bob, id, out.Data)
	if err != nil || string(back.Data) != "invoice 7" || back.ID != id || back.Version != 1 {
		t.Errorf("Decrypt answers %+v, %v", back, err)
	}
	if r := j.last(); r.Action != core.ActionDecrypt || r.Object != id {
		t.Errorf("the record is %+v", r)
	}
	if again := w.sealed(id, "invoice 7"); bytes.Equal(again, out.Data) {
		t.Error("two envelopes of the same data are equal")
	}
	for _, data := range []string{"", strings.Repeat("x", 100_000)} {
		if back, err := w.openBy(w.alice, id, w.sealed(id, data)); err != nil || string(back.Data) != data {
			t.Errorf("%d bytes: %d come back, %v", len(data), len(back.Data), err)
		}
	}
}

// Whatever is wrong with an envelope, the answer has the same code and the same words, so that
// nobody learns which part it was.
func TestWrongEnvelopesAreAnsweredAlike(t *testing.T) {
	w := newWorld(t)
	ids := w.family(2)
	stranger := w.inState(core.Active)
	mine := w.sealed(ids[0], "invoice 7")
	parsed, err := envelope.Parse(mine)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(e *envelope.Envelope)) []byte {
		e := parsed
		e.IV, e.Ciphertext, e.Tag = bytes.Clone(e.IV), bytes.Clone(e.Ciphertext), bytes.Clone(e.Tag)
		change(&e)
		b, err := e.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	right := operation.EnvelopeInput{ID: core.ID(ids[0]), Data: mine, AAD: []byte("aad"), Context: invoice}
	words := map[string]bool{}
	for what, change := range map[string]func(in *operation.EnvelopeInput){
		"another aad":               func(in *operation.EnvelopeInput) { in.AAD = []byte("AAD") },
		"no aad":                    func(in *operation.EnvelopeInput) { in.AAD = nil },
		"no context":                func(in *operation.EnvelopeInput) { in.Context = nil },
		"another context":           func(in *operation.EnvelopeInput) { in.Context = map[string]string{"app": "billing", "tenant": "other"} },
		"the key of another family": func(in *operation.EnvelopeInput) { in.ID = core.ID(stranger) },
		"another tag":               func(in *operation.EnvelopeInput) { in.Data = with(func(e *envelope.Envelope) { e.Tag[0] ^= 1 }) },
		"another IV":                func(in *operation.EnvelopeInput) { in.Data = with(func(e *envelope.Envelope) { e.IV[0] ^= 1 }) },
		"another ciphertext":        func(in *operation.EnvelopeInput) { in.Data = with(func(e *envelope.Envelope) { e.Ciphertext[0] ^= 1 }) },
		"another version":           func(in *operation.EnvelopeInput) { in.Data = with(func(e *envelope.Envelope) { e.Version = 2 }) },
		"a version that is not":     func(in *operation.EnvelopeInput) { in.Data = with(func(e *envelope.Envelope) { e.Version = 3 }) },
		"another algorithm": func(in *operation.EnvelopeInput) {
			in.Data = with(func(e *envelope.Envelope) { e.Algorithm = envelope.ChaCha20Poly1305 })
		},
		"a family that is not": func(in *operation.EnvelopeInput) { in.Data = with(func(e *envelope.Envelope) { e.Family = "nobody" }) },
		"another family":       func(in *operation.EnvelopeInput) { in.Data = with(func(e *envelope.Envelope) { e.Family = stranger }) },
	} {
		in := right
		change(&in)
		out, err := w.DecryptEnvelope(ctx, w.alice, &in)
		if core.CodeOf(err) != core.CryptographicFailure || out.Data != nil {
			t.Errorf("%s: %+v, %v; want CryptographicFailure", what, out, err)
			continue
		}
		words[err.Error()] = true
	}
	if len(words) != 1 {
		t.Errorf("the answers differ: %v", words)
	}
	if _, err := w.DecryptEnvelope(ctx, w.alice, &right); err != nil {
		t.Errorf("the envelope itself: %v", err)
	}
	for what, in := range map[string]operation.EnvelopeInput{
		"no envelope":   {ID: core.ID(ids[0]), Data: []byte("plain text that is as long as an envelope could be, and more")},
		"a longer aad":  {ID: core.ID(ids[0]), Data: mine, AAD: make([]byte, envelope.MaxAAD+1)},
		"an empty name": {ID: core.ID(ids[0]), Data: mine, Context: map[string]string{"": "x"}},
	} {
		if _, err := w.DecryptEnvelope(ctx, w.alice, &in); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v; want InvalidField", what, err)
		}
	}
	if _, err := w.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(ids[0]), Data: make([]byte, envelope.MaxPlaintext+1)}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("more data than an envelope has: %v; want InvalidField", err)
	}
}

// The version that made an envelope decrypts it, whichever version of its family is named.
func TestVersionsOfEnvelopes(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	ids := w.family(3)
	for i, id := range ids {
		data := w.sealed(id, fmt.Sprint("by ", i))
		if e, _ := envelope.Parse(data); e.Family != ids[0] || int(e.Version) != i+1 {
			t.Errorf("the envelope names version %d of %s", e.Version, e.Family)
		}
		for _, named := range ids {
			for range 2 { // the second time the version is known
				out, err := w.openBy(w.alice, named, data)
				if err != nil || string(out.Data) != fmt.Sprint("by ", i) || out.ID != id || out.Version != int64(i+1) || j.last().Object != id {
					t.Errorf("version %d, named as %s: %+v, %v, record of %s", i+1, named, out, err, j.last().Object)
				}
			}
		}
	}
	// A version that is remembered is still looked at: its row may have been changed.
	data := w.sealed(ids[2], "x")
	o, _ := w.store.Object(ctx, "default", ids[2])
	o.Attributes = o.Attributes.Without(core.VersionAttribute)
	w.ForgetSnapshot("default", ids[2])
	if _, err := w.openBy(w.alice, ids[0], data); core.CodeOf(err) != core.CryptographicFailure {
		t.Errorf("a row that is no longer the version: %v; want CryptographicFailure", err)
	}
}

// The policy is asked about the version that is used, and a caller without the right learns nothing of the
// envelope.
func TestDecryptEnvelopeIsDecided(t *testing.T) {
	w := newWorld(t)
	ids := w.family(2)
	stranger, data := w.inState(core.Active), w.sealed(ids[1], "x")
	for _, named := range []string{ids[0], ids[1], stranger} {
		if _, err := w.openBy(w.eve, named, data); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("a caller without the right names %s: %v; want PermissionDenied", named, err)
		}
	}
	if _, err := w.openBy(w.out, ids[1], data); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("another tenant: %v; want ItemNotFound", err)
	}
	// Alice may use the first version, and not the second.
	o, _ := w.store.Object(ctx, "default", ids[1])
	o.Owner, o.Group = "eve", ""
	w.ForgetSnapshot("default", ids[1])
	if _, err := w.openBy(w.alice, ids[0], data); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a version of somebody else: %v; want PermissionDenied", err)
	}
	if _, err := w.openBy(w.eve, ids[0], data); err != nil {
		t.Errorf("the owner of the version: %v", err)
	}
}

// Without a key in the request, the action is another one.
func TestDecryptUnnamedIsAnActionOfItsOwn(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	ids := w.family(2)
	data := w.sealed(ids[1], "x")
	out, err := w.openBy(w.alice, "", data)
	if r := j.last(); err != nil || string(out.Data) != "x" || r.Action != core.ActionDecryptUnnamed || r.Object != ids[1] {
		t.Errorf("%+v, %v, record %v of %s", out, err, r.Action, r.Object)
	}
	if _, err := w.openBy(w.eve, "", data); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("a stranger: %v; want ItemNotFound", err)
	}
	if _, err := w.openBy(w.out, "", data); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("another tenant: %v; want ItemNotFound", err)
	}
	w.Ports.Policy = refusing{action: core.ActionDecryptUnnamed}
	if _, err := w.openBy(w.alice, "", data); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("without the right to it: %v; want PermissionDenied", err)
	}
	if _, err := w.openBy(w.alice, ids[1], data); err != nil {
		t.Errorf("with the key named: %v", err)
	}
	w.Ports.Policy = refusing{action: core.ActionDecrypt}
	if _, err := w.openBy(w.alice, ids[1], data); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("without the right to decrypt: %v; want PermissionDenied", err)
	}
}

// State, dates, mask, type and Usage Limits bound envelopes as they bound Encrypt and Decrypt.
func TestEnvelopeKeysAreChecked(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	data := w.sealed(id, "x")
	encrypt := func(id string, n int) error {
		_, err := w.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(id), Data: make([]byte, n)})
		return err
	}
	step := func(op string) {
		t.Helper()
		if err := w.step(w.alice, op, id); err != nil {
			t.Fatal(err)
		}
	}
	step("cease")
	if err := encrypt(id, 1); core.CodeOf(err) != core.WrongState {
		t.Errorf("a Deactivated key encrypts: %v; want WrongState", err)
	}
	if _, err := w.openBy(w.alice, id, data); err != nil {
		t.Errorf("a Deactivated key decrypts: %v", err)
	}
	step("destroy")
	if _, err := w.openBy(w.alice, id, data); core.CodeOf(err) != core.ObjectDestroyed {
		t.Errorf("a destroyed key decrypts: %v; want ObjectDestroyed", err)
	}
	limited := w.inState(core.Active, core.TagUsageLimits, core.UsageLimits{Total: 10, Count: 10, Unit: core.UsageLimitsUnitByte}.Value())
	if err := encrypt(limited, 8); err != nil {
		t.Error(err)
	}
	if err := encrypt(limited, 3); core.CodeOf(err) != core.UsageLimitExceeded {
		t.Errorf("3 bytes with 2 left: %v; want UsageLimitExceeded", err)
	}
	noMask := w.inState(core.Active)
	o, _ := w.store.Object(ctx, "default", noMask)
	data = w.sealed(noMask, "x")
	o, _ = w.store.Object(ctx, "default", noMask)
	o.Attributes = o.Attributes.Set(core.TagCryptographicUsageMask, core.Mask(core.MaskSign))
	w.ForgetSnapshot("default", noMask)
	if err := encrypt(noMask, 1); core.CodeOf(err) != core.IncompatibleUsageMask {
		t.Errorf("a key that may not encrypt: %v; want IncompatibleUsageMask", err)
	}
	if _, err := w.openBy(w.alice, noMask, data); core.CodeOf(err) != core.IncompatibleUsageMask {
		t.Errorf("a key that may not decrypt: %v; want IncompatibleUsageMask", err)
	}
	for _, algorithm := range []core.CryptographicAlgorithm{core.AlgorithmDES3, core.AlgorithmHMACSHA256, core.AlgorithmChaCha20} {
		out, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(algorithm),
			core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt), core.TagActivationDate, core.Date(1))})
		if err != nil {
			t.Fatal(err)
		}
		if err := encrypt(out.ID, 1); core.CodeOf(err) != core.IllegalOperation {
			t.Errorf("an envelope by %v: %v; want IllegalOperation", algorithm, err)
		}
	}
}

// The algorithm of an envelope is that of its key.
func TestEnvelopeOfChaCha20Poly1305(t *testing.T) {
	w := newWorld(t)
	out, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmChaCha20Poly1305),
		core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt|core.MaskDecrypt), core.TagActivationDate, core.Date(1))})
	if err != nil {
		t.Fatal(err)
	}
	data := w.sealed(out.ID, "x")
	if e, err := envelope.Parse(data); err != nil || e.Algorithm != envelope.ChaCha20Poly1305 {
		t.Errorf("the envelope is %+v, %v", e, err)
	}
	if back, err := w.openBy(w.alice, out.ID, data); err != nil || string(back.Data) != "x" {
		t.Errorf("Decrypt: %+v, %v", back, err)
	}
}

// From the first envelope on, the key takes no IV of a client and no mode without a tag: the
// count of its encryptions and the mark are stored before the envelope leaves.
func TestEnvelopeKeysMakeTheirIVs(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	short := gcm
	short.IVLength = new(int32)
	*short.IVLength = 64
	tries := map[string]struct {
		p  core.CryptographicParameters
		iv []byte
	}{
		"a client's IV":       {gcm, make([]byte, 12)},
		"a short IV":          {short, nil},
		"ECB":                 {core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}, nil},
		"CBC":                 {core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC}, nil},
		"CTR with its own IV": {core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCTR}, make([]byte, 16)},
		"no parameters":       {core.CryptographicParameters{}, nil},
	}
	before := w.reservedOf(id)
	w.sealed(id, "x")
	o, _ := w.store.Object(ctx, "default", id)
	if !rules.MakesEnvelopes(o) || w.reservedOf(id) <= before {
		t.Errorf("after an envelope the attributes are %v, with %d reserved before", o.Attributes, before)
	}
	version := o.Version
	for what, c := range tries {
		if err := w.encryptBy(w.node, id, c.p, c.iv); core.CodeOf(err) != core.InvalidField && core.CodeOf(err) != core.BadCryptographicParameters {
			t.Errorf("%s after the first envelope: %v; want InvalidField or BadCryptographicParameters", what, err)
		}
	}
	w.mustEncrypt(w.node, id, 2)
	w.sealed(id, "x")
	if o, _ := w.store.Object(ctx, "default", id); o.Version != version {
		t.Errorf("further envelopes store the key again: version %d after %d", o.Version, version)
	}
	// The other way round: a key that has encrypted so makes no envelopes, and its successor does.
	for what, c := range tries {
		other := w.inState(core.Active)
		for range 2 {
			if err := w.encryptBy(w.node, other, c.p, c.iv); err != nil {
				t.Errorf("%s with a key that makes no envelopes: %v", what, err)
			}
		}
		o, _ := w.store.Object(ctx, "default", other)
		if len(o.Attributes.All(core.RawCipherAttribute)) != 1 {
			t.Errorf("%s: the attributes are %v", what, o.Attributes)
		}
		stored := o.Version
		for _, n := range []node{w.node, newNode(engine.New(w.Ports, w.Settings))} {
			if _, err := n.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(other)}); core.CodeOf(err) != core.IllegalOperation || !strings.Contains(err.Error(), "rotate") {
				t.Errorf("an envelope after %s: %v; want IllegalOperation, and that the key is to be rotated", what, err)
			}
		}
		if err := w.encryptBy(w.node, other, c.p, c.iv); err != nil {
			t.Errorf("%s after an envelope that was refused: %v", what, err)
		}
		if o, _ = w.store.Object(ctx, "default", other); o.Version != stored || rules.MakesEnvelopes(o) {
			t.Errorf("%s again stores the key again: version %d after %d", what, o.Version, stored)
		}
		next, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(other), Offset: new(int64)})
		if err != nil {
			t.Fatal(err)
		}
		w.sealed(next.ID, "x")
	}
	w.mustEncrypt(w.node, w.inState(core.Active), 1) // GCM with an IV of the server leaves no mark
}

// A node that knows neither of two marks yet does not set both.
func TestMarksOfTwoNodes(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	one, two := newNode(engine.New(w.Ports, w.Settings)), newNode(engine.New(w.Ports, w.Settings))
	seal := func(n node, id string) error {
		_, err := n.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(id)})
		return err
	}
	raw := func(n node, id string) error { return w.encryptBy(n, id, gcm, make([]byte, 12)) }
	for what, c := range map[string]struct{ first, then func(node, string) error }{"an envelope first": {seal, raw}, "a client's IV first": {raw, seal}} {
		id := w.inState(core.Active)
		w.mustEncrypt(two, id, 1) // so that the node has the object
		if err := c.first(one, id); err != nil {
			t.Fatal(err)
		}
		if err := c.then(two, id); err == nil {
			t.Errorf("%s: the other node does the other", what)
		}
	}
	id := w.inState(core.Active)
	errs := make([]error, 40)
	coretest.AtOnce(len(errs), func(i int) { errs[i] = []func(node, string) error{seal, raw}[i%2]([]node{one, two}[i/2%2], id) })
	for i := range errs {
		if (errs[i] == nil) != (errs[len(errs)-2+i%2] == nil) || (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("at once: %v", errs)
			break
		}
	}
}

// An envelope tells its key stream and the key of its tag to anyone who can encrypt chosen blocks
// with the same key. Derive Key by ENCRYPT does that.
func TestEnvelopeKeysDeriveNoCiphertext(t *testing.T) {
	w := newWorld(t)
	envelopes := core.MaskDeriveKey | core.MaskEncrypt
	for _, mode := range []core.BlockCipherMode{core.BlockCipherModeECB, core.BlockCipherModeCBC} {
		p := core.CryptographicParameters{BlockCipherMode: mode}
		by := func(id string) error {
			in := derivedFrom(id)
			encrypting(&p)(in)
			if mode == core.BlockCipherModeCBC {
				in.Parameters.IV = make([]byte, 16)
			}
			_, err := w.DeriveKey(ctx, w.alice, in)
			return err
		}
		base := w.base(core.TagCryptographicUsageMask, core.Mask(envelopes))
		w.sealed(base, "x")
		if err := by(base); core.CodeOf(err) != core.BadCryptographicParameters {
			t.Errorf("ENCRYPT in %v under a key that makes envelopes: %v; want BadCryptographicParameters", mode, err)
		}
		if _, err := w.DeriveKey(ctx, w.alice, derivedFrom(base)); err != nil {
			t.Errorf("HMAC: %v", err)
		}
		first := w.base(core.TagCryptographicUsageMask, core.Mask(envelopes))
		if err := by(first); err != nil {
			t.Fatal(err)
		}
		if _, err := w.EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(first)}); core.CodeOf(err) != core.IllegalOperation {
			t.Errorf("an envelope after ENCRYPT in %v: %v; want IllegalOperation", mode, err)
		}
		only := w.base()
		if err := by(only); err != nil || len(w.stored(only).Attributes.All(core.RawCipherAttribute)) != 0 {
			t.Errorf("a key that only derives: %v, %v", err, w.stored(only).Attributes)
		}
	}
}

// Many first envelopes at once, on two nodes: the mark is stored, and each succeeds.
func TestFirstEnvelopesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	nodes := []node{newNode(engine.New(w.Ports, w.Settings)), newNode(engine.New(w.Ports, w.Settings))}
	id := w.inState(core.Active)
	errs := make([]error, 40)
	coretest.AtOnce(len(errs), func(i int) {
		_, errs[i] = nodes[i%2].EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(id), Data: []byte("x")})
	})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	o, _ := w.store.Object(ctx, "default", id)
	if !rules.MakesEnvelopes(o) || rules.ReservedNonces(o) > 2*2*firstNonces || len(o.Attributes.All(core.EnvelopesAttribute)) != 1 {
		t.Errorf("%d encryptions are reserved, and the attributes are %v", rules.ReservedNonces(o), o.Attributes)
	}
	w.setReserved(id, core.Long(rules.MaxNonces))
	if _, err := newNode(engine.New(w.Ports, w.Settings)).EncryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: core.ID(id)}); core.CodeOf(err) != core.UsageLimitExceeded {
		t.Errorf("an envelope beyond 2^32: %v; want UsageLimitExceeded", err)
	}
}

// reencrypt makes an envelope of alice's again, for another key.
func (w *world) reencrypt(c *core.Caller, source, id string, data []byte) (operation.EnvelopeOutput, error) {
	return w.Reencrypt(ctx, c, &operation.ReencryptInput{ID: core.ID(id), Source: core.ID(source), Data: data, AAD: []byte("aad"), Context: invoice})
}

func TestReencrypt(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	ids, other := w.family(2), w.inState(core.Active)
	data := w.sealed(ids[0], "invoice 7")
	for _, source := range []string{"", ids[0], ids[1]} {
		for _, to := range []string{ids[1], other, ids[0]} {
			out, err := w.reencrypt(w.alice, source, to, data)
			if err != nil || out.ID != to || bytes.Contains(out.Data, []byte("invoice")) || bytes.Equal(out.Data, data) {
				t.Fatalf("from %q to %s: %+v, %v", source, to, out, err)
			}
			if len(w.hsm.opened) != len("invoice 7") || slices.Max(w.hsm.opened) != 0 {
				t.Errorf("the plaintext stays in memory: %q", w.hsm.opened)
			}
			r := j.last()
			if r.Action != core.ActionReencryptTo || r.Object != to || to != ids[0] && roleIn(r, ids[0]) != core.RoleSource || !strings.Contains(r.Detail, ids[0]) {
				t.Errorf("the record is of %v, %s, %v, %q", r.Action, r.Object, r.Involved, r.Detail)
			}
			if back, err := w.openBy(w.alice, to, out.Data); err != nil || string(back.Data) != "invoice 7" {
				t.Errorf("the new envelope is decrypted to %q, %v", back.Data, err)
			}
		}
	}
	if _, err := w.reencrypt(w.alice, other, ids[1], data); core.CodeOf(err) != core.CryptographicFailure {
		t.Errorf("another source is named: %v; want CryptographicFailure", err)
	}
	if _, err := w.Reencrypt(ctx, w.alice, &operation.ReencryptInput{ID: core.ID(other), Data: data}); core.CodeOf(err) != core.CryptographicFailure {
		t.Errorf("without aad and context: %v; want CryptographicFailure", err)
	}
	if err := w.step(w.alice, "cease", ids[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reencrypt(w.alice, "", ids[1], data); err != nil {
		t.Errorf("from a Deactivated key: %v", err)
	}
	if _, err := w.reencrypt(w.alice, "", ids[0], data); core.CodeOf(err) != core.WrongState {
		t.Errorf("to a Deactivated key: %v; want WrongState", err)
	}
}

// Both keys are decided and checked before one is used.
func TestReencryptNeedsBothKeys(t *testing.T) {
	w := newWorld(t)
	from, to := w.inState(core.Active), w.inState(core.Active)
	data := w.sealed(from, "x")
	refused := func(what string, c *core.Caller, want core.Code) {
		t.Helper()
		w.hsm.opened = nil
		before, _ := w.store.Object(ctx, "default", to)
		_, err := w.reencrypt(c, "", to, data)
		after, _ := w.store.Object(ctx, "default", to)
		if core.CodeOf(err) != want || w.hsm.opened != nil || before.Version != after.Version {
			t.Errorf("%s: %v, a key was used: %v; want code %v", what, err, w.hsm.opened != nil || before.Version != after.Version, want)
		}
	}
	for _, action := range []core.Action{core.ActionReencryptFrom, core.ActionReencryptTo} {
		w.Ports.Policy = refusing{action: action}
		refused(action.String(), w.alice, core.PermissionDenied)
	}
	for _, action := range []core.Action{core.ActionEncrypt, core.ActionDecrypt} {
		w.Ports.Policy = refusing{action: action}
		if _, err := w.reencrypt(w.alice, from, to, data); err != nil {
			t.Errorf("without the right to %v: %v", action, err)
		}
	}
	w.Ports.Policy = tenantPolicy{}
	refused("a stranger", w.eve, core.PermissionDenied)                                              // to the key that it names
	for id, want := range map[string]core.Code{from: core.ItemNotFound, to: core.PermissionDenied} { // the request does not name the source
		o, _ := w.store.Object(ctx, "default", id)
		was := o.Owner
		o.Owner, o.Group = "eve", ""
		w.ForgetSnapshot("default", id)
		refused("one key is of somebody else", w.alice, want)
		o.Owner = was
		w.ForgetSnapshot("default", id)
	}
	o, _ := w.store.Object(ctx, "default", from)
	o.Attributes = o.Attributes.Set(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))
	w.ForgetSnapshot("default", from)
	refused("a source that may not decrypt", w.alice, core.IncompatibleUsageMask)
}

// While it waits for the HSM the source is revoked for the caller: the answer is not sent.
func TestReencryptIsDecidedAgain(t *testing.T) {
	w := newWorld(t)
	from, to := w.inState(core.Active), w.inState(core.Active)
	data := w.sealed(from, "x")
	w.hsm.slow = func() {
		w.clock.now += 5
		w.Ports.Policy = refusing{action: core.ActionReencryptFrom}
	}
	if out, err := w.reencrypt(w.alice, "", to, data); core.CodeOf(err) != core.PermissionDenied || out.Data != nil {
		t.Errorf("%+v, %v; want PermissionDenied", out, err)
	}
}

// judging permits a data key only in an envelope, or only in clear.
type judging struct {
	tenantPolicy
	wrapped bool
	asked   []*bool
}

func (p *judging) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	p.asked = append(p.asked, r.Asked.Wrapped)
	if r.Action == core.ActionGenerateDataKey && (r.Asked.Wrapped == nil || *r.Asked.Wrapped != p.wrapped) {
		return core.Decision{Scope: "own", Reasons: []string{"test"}}, nil
	}
	return p.tenantPolicy.Decide(ctx, r)
}

func TestGenerateDataKey(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	id := w.inState(core.Active)
	generate := func(c *core.Caller, length int, inClear bool) (operation.DataKeyOutput, error) {
		return w.GenerateDataKey(ctx, c, &operation.DataKeyInput{ID: core.ID(id), Length: length, Clear: inClear, AAD: []byte("aad"), Context: invoice})
	}
	seen := map[string]bool{}
	for _, n := range []int{16, 32, 129, 1024} {
		out, err := generate(w.alice, n, true)
		if err != nil || out.Secret == nil || len(out.Secret.Bytes()) != n || out.ID != id || out.Version != 1 {
			t.Fatalf("%d bytes: %+v, %v", n, out, err)
		}
		if r := j.last(); r.Action != core.ActionGenerateDataKey || r.Object != id || !strings.Contains(r.Detail, "in clear") {
			t.Errorf("the record is of %v, %s, %q", r.Action, r.Object, r.Detail)
		}
		back, err := w.openBy(w.alice, id, out.Data)
		if err != nil || !bytes.Equal(back.Data, out.Secret.Bytes()) || seen[string(back.Data)] || slices.Max(back.Data) == 0 {
			t.Errorf("the envelope has %x, %v; the answer %x", back.Data, err, out.Secret.Bytes())
		}
		seen[string(back.Data)] = true
		out.Secret.Release()
		out, err = generate(w.alice, n, false)
		if err != nil || out.Secret != nil || strings.Contains(j.last().Detail, "clear") {
			t.Errorf("in an envelope alone: %+v, %v, recorded as %q", out, err, j.last().Detail)
		}
		if back, err := w.openBy(w.alice, id, out.Data); err != nil || len(back.Data) != n || slices.Max(back.Data) == 0 {
			t.Errorf("the envelope has %x, %v", back.Data, err)
		}
	}
	for _, n := range []int{-1, 0, 15, 1025, 1 << 30} {
		if out, err := generate(w.alice, n, true); core.CodeOf(err) != core.InvalidField || out.Secret != nil {
			t.Errorf("%d bytes: %+v, %v; want InvalidField", n, out, err)
		}
	}
	if _, err := generate(w.eve, 32, false); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a stranger: %v; want PermissionDenied", err)
	}
	for _, wrapped := range []bool{true, false} {
		p := &judging{wrapped: wrapped}
		w.Ports.Policy = p
		for _, inClear := range []bool{true, false} {
			if _, err := generate(w.alice, 32, inClear); (err == nil) != (inClear != wrapped) {
				t.Errorf("a policy that permits wrapped %v, and a request in clear %v: %v", wrapped, inClear, err)
			}
		}
	}
}
