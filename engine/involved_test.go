package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/envelope"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/kmip"
)

// parentLink is a Link of an object.
func parentLink(id string) core.Attribute {
	return core.Attribute{Tag: core.TagLink, Value: core.Link{Type: core.LinkTypeParentLink, ID: id}.Value()}
}

// severalObjects are the operations that can have to do with more than one object. Each
// does so, as alice, and returns the objects. wrapping and other are keys of alice's, and
// linked is one with a Link to other.
var severalObjects = map[core.Action][]func(w *world, wrapping, other, linked string) ([]string, error){
	core.ActionCreate: {func(w *world, _, other, _ string) ([]string, error) {
		out, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
			core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)).Add(parentLink(other))})
		return []string{out.ID, other}, err
	}, func(w *world, _, _, _ string) ([]string, error) { // by a Template
		old := *w.alice
		old.Version = core.V1_4
		template, err := w.Register(ctx, &old, &operation.RegisterInput{ObjectType: core.ObjectTypeTemplate, Attributes: attrs(core.TagName, name("t")),
			Object: core.ObjectBody{Type: core.ObjectTypeTemplate, Template: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES))}})
		if err != nil {
			return nil, err
		}
		out, err := w.Create(ctx, &old, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"t"}, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))})
		return []string{out.ID, template.ID}, err
	}},
	core.ActionCreateKeyPair: {func(w *world, _, other, _ string) ([]string, error) {
		out, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC),
			core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(core.MaskSign)), Public: core.Attributes{parentLink(other)}})
		return []string{out.PrivateID, out.PublicID, other}, err
	}},
	core.ActionRegister: {func(w *world, _, other, _ string) ([]string, error) {
		out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Attributes: core.Attributes{parentLink(other)},
			Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueData: []byte("o")}})
		return []string{out.ID, other}, err
	}, func(w *world, wrapping, _, _ string) ([]string, error) {
		out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)),
			Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Wrapped: make([]byte, 40),
				Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: wrappedWith(wrapping)}}}})
		return []string{out.ID, wrapping}, err
	}},
	core.ActionGet: {func(w *world, wrapping, other, _ string) ([]string, error) {
		return []string{other, wrapping}, getWrapped(w, other, wrapping)
	}, func(w *world, _, other, _ string) ([]string, error) { // and one that is refused
		getWrapped(w, other, "nobody")
		return []string{other, "nobody"}, nil
	}},
	core.ActionReKey: {func(w *world, _, other, _ string) ([]string, error) {
		out, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(other)})
		return []string{other, out.ID}, err
	}},
	core.ActionReKeyKeyPair: {func(w *world, _, _, _ string) ([]string, error) {
		old := w.keyPair()
		out, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(old.PrivateID)})
		return []string{old.PrivateID, old.PublicID, out.PrivateID, out.PublicID}, err
	}},
	core.ActionDeriveKey: {func(w *world, _, other, _ string) ([]string, error) {
		secret := w.secret("label")
		in := derivedFrom(other, secret)
		in.Parameters.Data = nil
		out, err := w.DeriveKey(ctx, w.alice, in)
		return []string{other, secret, out.ID}, err
	}, func(w *world, _, other, _ string) ([]string, error) { // and one that is refused
		w.DeriveKey(ctx, w.alice, derivedFrom(other, "nobody"))
		return []string{other, "nobody"}, nil
	}},
	core.ActionAddAttribute: {func(w *world, wrapping, other, _ string) ([]string, error) {
		_, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(other), Attribute: parentLink(wrapping)})
		return []string{other, wrapping}, err
	}},
	core.ActionModifyAttribute: {func(w *world, wrapping, other, linked string) ([]string, error) {
		link := parentLink(wrapping)
		_, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(linked), Name: link.Ref(), New: link})
		return []string{linked, wrapping, other}, err
	}},
	core.ActionDeleteAttribute: {func(w *world, _, other, linked string) ([]string, error) {
		link := parentLink(other)
		_, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(linked), Name: link.Ref()})
		return []string{linked, other}, err
	}},
	core.ActionSetAttribute: {func(w *world, wrapping, other, linked string) ([]string, error) {
		_, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(linked), Attribute: parentLink(wrapping)})
		return []string{linked, wrapping}, err
	}},
}

// oneObject are the operations that have to do with one object at most, and Locate,
// whose record says how many objects it answered.
var oneObject = []core.Action{core.ActionLocate, core.ActionCheck, core.ActionGetAttributes, core.ActionGetAttributeList, core.ActionActivate,
	core.ActionRevoke, core.ActionDestroy, core.ActionArchive, core.ActionRecover, core.ActionQuery, core.ActionDiscoverVersions, core.ActionEncrypt, core.ActionDecrypt, core.ActionSign,
	core.ActionSignatureVerify, core.ActionMAC, core.ActionMACVerify, core.ActionRNGRetrieve, core.ActionRNGSeed, core.ActionHash}

func wrappedWith(id string) *core.WrappingKeyInfo { return &core.WrappingKeyInfo{ID: id} }

func getWrapped(w *world, id, with string) error {
	_, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
		Encoding: core.EncodingOptionNoEncoding, Encryption: wrappedWith(with)}})
	return err
}

// A change of a Link that is refused names the object that the Link names.
func TestRefusedLinksAreRecorded(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	id, other := w.inState(core.Active), w.inState(core.Active)
	link := parentLink(other)
	for what, do := range map[string]func() error{
		"Add Attribute": func() error {
			_, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID("nobody"), Attribute: link})
			return err
		},
		"Modify Attribute": func() error {
			_, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(id), Name: link.Ref(), New: link})
			return err
		},
		"Set Attribute": func() error {
			_, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID("nobody"), Attribute: link})
			return err
		},
		"Delete Attribute": func() error {
			_, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: link.Ref(), CurrentValue: &link.Value})
			return err
		},
	} {
		if err := do(); err == nil {
			t.Errorf("%s is not refused", what)
		}
		if r := j.last(); r.Action.String() != what || roleIn(r, other) == "" {
			t.Errorf("%s: the record of %s names %s and %v; want also %s", what, r.Action, r.Object, r.Involved, other)
		}
	}
}

// A record names every object that an operation had to do with, so that it is
// found by each.
func TestRecordsNameEveryObject(t *testing.T) {
	for _, row := range kmip.Operations() {
		action := core.ActionOf(row.Code)
		if (severalObjects[action] == nil) != slices.Contains(oneObject, action) {
			t.Errorf("%v is not tried with several objects, and nothing says that it has one", action)
		}
		for i, do := range severalObjects[action] {
			w := newWorld(t)
			j := &keptRecords{}
			w.Ports.Journal = j
			wrapping, other, linked := w.inState(core.Active), w.inState(core.Active), w.inState(core.Active)
			if _, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(linked), Attribute: parentLink(other)}); err != nil {
				t.Fatal(err)
			}
			ids, err := do(w, wrapping, other, linked)
			if err != nil {
				t.Errorf("%v %d: %v", action, i, err)
				continue
			}
			r := j.last()
			for _, id := range ids {
				if r.Action != action || r.Object != id && roleIn(r, id) == "" {
					t.Errorf("%v %d: the record of %s names %s and %v; want also %s", action, i, r.Action, r.Object, r.Involved, id)
				}
			}
		}
	}
}

// roleIn returns what an object beside the target was to a recorded action.
func roleIn(r core.Record, id string) core.ObjectRole {
	for _, o := range r.Involved {
		if o.ID == id {
			return o.Role
		}
	}
	return ""
}

// A record says what each object was to the action.
func TestRecordsNameRoles(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	id, wrapping, other := w.inState(core.Active), w.inState(core.Active), w.inState(core.Active)
	if err := getWrapped(w, id, wrapping); err != nil || roleIn(j.last(), wrapping) != core.RoleWrappingKey {
		t.Errorf("Get wrapped: %v, and the wrapping key is %q", err, roleIn(j.last(), wrapping))
	}
	if _, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(id), Attribute: parentLink(other)}); err != nil || roleIn(j.last(), other) != core.RoleLinked {
		t.Errorf("Add Attribute of a Link: %v, and the other object is %q", err, roleIn(j.last(), other))
	}
	next, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id)})
	if err != nil || roleIn(j.last(), next.ID) != core.RoleReplacement {
		t.Errorf("Re-key: %v, and the new key is %q", err, roleIn(j.last(), next.ID))
	}
	pair, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC),
		core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))})
	halves := []string{pair.PrivateID, pair.PublicID}
	if at := slices.Index(halves, j.last().Object); err != nil || at < 0 || roleIn(j.last(), halves[1-at]) != core.RoleMade {
		t.Errorf("Create Key Pair: %v, and the record names %s and %v", err, j.last().Object, j.last().Involved)
	}
}

// A request may rely on any number of objects, and each keeps its own check. None of
// up to two costs an allocation.
func TestGrantsKeepTheirChecks(t *testing.T) {
	w := newWorld(t)
	k := w.Begin(ctx, w.alice, core.ActionGet)
	ids := []string{w.inState(core.Active), w.inState(core.Active), w.inState(core.Active), w.inState(core.Active)}
	target, err := k.FindObject(core.ID(ids[0]))
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]int{}
	count := func(o *core.ManagedObject, _ int64) error { checked[o.ID]++; return nil }
	for _, id := range ids[1:] {
		k.AddGrant(core.RoleSource, core.ActionGetAttributes, id, count)
	}
	if err := k.Require(target, count); err != nil {
		t.Fatal(err)
	}
	w.clock.now += 5 // now they are asked for again
	if err := k.StillGranted(); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if want := 1 + max(0, 1-i); checked[id] != want {
			t.Errorf("object %d was checked %d times, want %d", i, checked[id], want)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		k.ForgetGrants()
		k.AddGrant(core.RoleTarget, core.ActionGet, ids[0], nil)
		k.AddGrant(core.RoleWrappingKey, core.ActionEncrypt, ids[1], nil)
	}); n != 0 {
		t.Errorf("two grants cost %v allocations", n)
	}
}

// A record of a refused request names the keys as the request or the envelope does.
func TestRefusedEnvelopesAreRecorded(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	w.Ports.FindVersion = func(*engine.Call, string, core.Identifier, bool) (*core.ManagedObject, error) {
		return nil, core.Errorf(core.ItemNotFound, "none")
	}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	id := w.inState(core.Active)
	e := envelope.Envelope{Header: envelope.Header{Family: id, Version: 7, Algorithm: envelope.AESGCM}, IV: make([]byte, 12), Tag: make([]byte, 16)}
	data, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	none := core.Identifier{Alias: "none", Family: true}
	decrypt := func(id core.Identifier, data []byte) func() error {
		return func() error {
			_, err := w.DecryptEnvelope(ctx, w.alice, &operation.EnvelopeInput{ID: id, Data: data})
			return err
		}
	}
	again := func(to, source core.Identifier, data []byte) func() error {
		return func() error {
			_, err := w.Reencrypt(ctx, w.alice, &operation.ReencryptInput{ID: to, Source: source, Data: data})
			return err
		}
	}
	for what, c := range map[string]struct {
		do             func() error
		object, source string
	}{
		"an alias that is none":            {decrypt(none, data), "alias/none", ""},
		"no envelope":                      {decrypt(none, []byte("x")), "alias/none", ""},
		"no key, a version that is not":    {decrypt(core.Identifier{}, data), id + "@7", ""},
		"again, no envelope":               {again(core.Identifier{Alias: "to", Family: true}, none, []byte("x")), "alias/to", "alias/none"},
		"again, the target is none":        {again(core.Identifier{Alias: "to", Family: true}, core.ID(id), data), "alias/to", id},
		"again, the source is none":        {again(core.ID(id), none, data), id, "alias/none"},
		"again, the source is not by name": {again(core.ID(id), core.Identifier{}, data), id, ""},
		"wrapped, the wrapping key is none": {func() error {
			_, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encryption: &core.WrappingKeyInfo{Key: &none}}})
			return err
		}, id, "alias/none"},
	} {
		err := c.do()
		r := j.last()
		var sources []string
		for _, o := range r.Involved {
			if o.Role == core.RoleSource || o.Role == core.RoleWrappingKey {
				sources = append(sources, o.ID)
			}
		}
		if err == nil || r.Object != c.object || strings.Join(sources, " ") != c.source {
			t.Errorf("%s: %v; recorded with %q and %q, want %q and %q", what, err, r.Object, sources, c.object, c.source)
		}
	}
}
