package engine_test

import (
	"context"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
)

// keyPair makes a key pair of alice's. more are attributes of the private key.
func (w *world) keyPair(more ...any) operation.CreateKeyPairOutput {
	w.t.Helper()
	out, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{
		Common:  attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC), core.TagCryptographicLength, core.Int(256)),
		Private: attrs(append([]any{core.TagCryptographicUsageMask, core.Mask(core.MaskSign)}, more...)...),
		Public:  attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskVerify))})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// object returns an object of tenant default as it is stored.
func (w *world) object(id string) *core.ManagedObject {
	w.t.Helper()
	o, err := w.store.Object(ctx, "default", id)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// linkOf returns the object to which o has a Link of a type.
func linkOf(o *core.ManagedObject, t core.LinkType) (id string) {
	for _, a := range o.Attributes.All(core.AttributeName{Tag: core.TagLink}) {
		if l := core.LinkOf(a.Value); l.Type == t {
			id += l.ID
		}
	}
	return id
}

// Each half of the new pair has the names, the dates and the owner of the old half, and the
// links of the standard (KMIP 1.4 §4.5).
func TestReKeyKeyPairReplacesBothHalves(t *testing.T) {
	w := newWorld(t)
	offset := int64(100)
	old, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{
		Common:  attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA), core.TagCryptographicLength, core.Int(2048), core.TagActivationDate, core.Date(w.clock.now-50), core.TagDeactivationDate, core.Date(w.clock.now+50)),
		Private: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskSign), core.TagName, name("private"), core.TagContactInformation, core.Text("old")),
		Public:  attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskVerify), core.TagName, name("public"))})
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.ReKeyKeyPair(ctx, w.bob, &operation.RekeyKeyPairInput{ID: core.ID(old.PrivateID), Offset: &offset, CreateKeyPairInput: operation.CreateKeyPairInput{
		Common: attrs(core.TagComment, core.Text("both")), Private: attrs(core.TagContactInformation, core.Text("new")), Public: attrs(core.TagName, name("more"))}})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		old, fresh, other string
		half              core.LinkType
		mask              core.UsageMask
		names             int
		contact           string
	}{
		"private": {old.PrivateID, out.PrivateID, out.PublicID, core.LinkTypePublicKeyLink, core.MaskSign, 1, "new"},
		"public":  {old.PublicID, out.PublicID, out.PrivateID, core.LinkTypePrivateKeyLink, core.MaskVerify, 2, ""},
	} {
		was, is := w.object(c.old), w.object(c.fresh)
		if linkOf(was, core.LinkTypeReplacementObjectLink) != c.fresh || linkOf(is, core.LinkTypeReplacedObjectLink) != c.old || linkOf(is, c.half) != c.other {
			t.Errorf("%s: the links of the old half are %v, those of the new one %v", what, was.Attributes.All(core.AttributeName{Tag: core.TagLink}), is.Attributes.All(core.AttributeName{Tag: core.TagLink}))
		}
		if names := is.Attributes.All(core.AttributeName{Tag: core.TagName}); was.Attributes.Has(core.TagName) || len(names) != c.names || core.NameOf(names[0].Value).Text != what {
			t.Errorf("%s: the names of the new half are %v; the old one keeps one: %v", what, names, was.Attributes.Has(core.TagName))
		}
		if is.Owner != "alice" || is.Group != was.Group || is.Mask() != c.mask || is.Attributes.Text(core.TagContactInformation) != c.contact || is.Attributes.Text(core.TagComment) != "both" {
			t.Errorf("%s: the new half is %s's with %v and %v", what, is.Owner, is.Mask(), is.Attributes)
		}
		if was.StateAt(w.clock.now) != core.Active || is.Attributes.Num(core.TagActivationDate) != w.clock.now+100 || is.Attributes.Num(core.TagDeactivationDate) != w.clock.now+200 {
			t.Errorf("%s: the old half is %v, the dates of the new one are %d and %d s on", what, was.StateAt(w.clock.now), is.Attributes.Num(core.TagActivationDate)-w.clock.now, is.Attributes.Num(core.TagDeactivationDate)-w.clock.now)
		}
	}
}

// Length and curve of an elliptic curve key are one thing: who asks for one of them does not
// keep the other.
func TestReKeyKeyPairToAnotherSize(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		asked core.Attributes
		bits  int64
		curve core.RecommendedCurve
	}{{nil, 256, core.RecommendedCurveP256}, {attrs(core.TagCryptographicLength, core.Int(384)), 384, core.RecommendedCurveP384},
		{attrs(core.TagCryptographicDomainParameters, core.DomainParameters{Curve: core.RecommendedCurveP521}.Value()), 521, core.RecommendedCurveP521}} {
		out, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(w.keyPair().PrivateID), CreateKeyPairInput: operation.CreateKeyPairInput{Common: c.asked}})
		if err != nil {
			t.Errorf("asked for %v: %v", c.asked, err)
			continue
		}
		for _, id := range []string{out.PrivateID, out.PublicID} {
			v, _ := w.object(id).Attributes.Get(core.TagCryptographicDomainParameters)
			if got := w.object(id).Attributes.Num(core.TagCryptographicLength); got != c.bits || core.DomainParametersOf(v).Curve != c.curve {
				t.Errorf("asked for %v: %d bits on %v; want %d on %v", c.asked, got, core.DomainParametersOf(v).Curve, c.bits, c.curve)
			}
		}
	}
}

// pairKeeper lets its administrator re-key the pairs of other principals, but not read them.
type pairKeeper struct{ tenantPolicy }

func (p pairKeeper) Decide(ctx context.Context, a *core.AccessRequest) (core.Decision, error) {
	if a.Principal.ID == "admin" && a.Action == core.ActionReKeyKeyPair {
		return core.Decision{Allow: true, Scope: "tenant", Reasons: []string{"administrator"}}, nil
	}
	return p.tenantPolicy.Decide(ctx, a)
}

// custody lists the classes with the attributes that ask for them.
var custody = map[core.Class][]any{core.ClassC: {core.TagSensitive, core.Bool(false), core.TagExtractable, core.Bool(true)},
	core.ClassX: {core.TagSensitive, core.Bool(true), core.TagExtractable, core.Bool(true)}, core.ClassN: {core.TagSensitive, core.Bool(true), core.TagExtractable, core.Bool(false)}}

// Re-key Key Pair in every state of each half, in every class and another one, by everybody.
func TestReKeyKeyPairByStateClassAndRight(t *testing.T) {
	steps := map[core.State][]string{core.PreActive: {}, core.Active: {"activate"}, core.Deactivated: {"activate", "cease"},
		core.Compromised: {"compromise"}, core.Destroyed: {"destroy"}, core.DestroyedCompromised: {"compromise", "destroy"}}
	for state, way := range steps {
		for was, kept := range custody {
			for to, asked := range custody {
				for _, half := range []string{"private", "public"} {
					w := newWorld(t)
					w.Ports.Policy = pairKeeper{}
					admin := *w.eve
					admin.Principal = &core.Principal{Tenant: "default", ID: "admin"}
					for who, caller := range map[string]*core.Caller{"owner": w.alice, "member": w.bob, "stranger": w.eve, "admin": &admin, "other tenant": w.out} {
						old := w.keyPair(kept...)
						moved := old.PrivateID
						if half == "public" {
							moved = old.PublicID
						}
						for _, step := range way {
							if err := w.step(w.alice, step, moved); err != nil {
								t.Fatal(err)
							}
						}
						want := core.Internal // it is allowed
						switch own := who == "owner" || who == "member"; {
						case who == "other tenant":
							want = core.ItemNotFound
						case who == "stranger":
							want = core.PermissionDenied
						case state.Gone():
							want = core.ObjectDestroyed
						case was != to && (!own || rules.Stricter(was, to)):
							want = core.PermissionDenied
						}
						objects := len(w.store.objects)
						out, err := w.ReKeyKeyPair(ctx, caller, &operation.RekeyKeyPairInput{ID: core.ID(old.PrivateID), CreateKeyPairInput: operation.CreateKeyPairInput{Private: attrs(asked...)}})
						if core.CodeOf(err) != want || (err == nil) != (want == core.Internal) {
							t.Errorf("%s half %v, from class %s to %s, by the %s: %v; want code %v", half, state, was, to, who, err, want)
						}
						if err != nil {
							if len(w.store.objects) != objects {
								t.Errorf("%s half %v, from class %s to %s, by the %s: refused, and made an object", half, state, was, to, who)
							}
							continue
						}
						for id, class := range map[string]core.Class{out.PrivateID: to, out.PublicID: core.ClassC} {
							if o := w.object(id); o.Material.Class != class || o.Owner != "alice" || o.StateAt(w.clock.now) == core.Compromised {
								t.Errorf("from class %s to %s, by the %s: %v of class %s, %s's", was, to, who, o.StateAt(w.clock.now), o.Material.Class, o.Owner)
							}
						}
						if _, err := w.Get(ctx, &admin, &operation.GetInput{ID: core.ID(out.PrivateID)}); core.CodeOf(err) != core.PermissionDenied {
							t.Errorf("the administrator's Get of the new key: %v", err)
						}
					}
				}
			}
		}
	}
}

// What is no pair of the caller's is not replaced: Links are given by clients, so they prove
// nothing.
func TestReKeyKeyPairNeedsAPair(t *testing.T) {
	w := newWorld(t)
	link := func(c *core.Caller, id string, t core.LinkType, to string) {
		w.t.Helper()
		name := core.AttributeName{Tag: core.TagLink}
		if _, err := w.DeleteAttribute(ctx, c, &operation.DeleteAttributeInput{ID: core.ID(id), Name: name}); err != nil && core.CodeOf(err) != core.AttributeNotFound {
			w.t.Fatal(err)
		}
		if to == "" {
			return
		}
		if _, err := w.AddAttribute(ctx, c, &operation.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: core.TagLink, Value: core.Link{Type: t, ID: to}.Value()}}); err != nil {
			w.t.Fatal(err)
		}
	}
	alone, astray, oneSided, stolen, aes := w.keyPair(), w.keyPair(), w.keyPair(), w.keyPair(), w.aesKey()
	link(w.alice, alone.PrivateID, core.LinkTypePublicKeyLink, "")
	link(w.alice, astray.PrivateID, core.LinkTypePublicKeyLink, aes)
	link(w.alice, oneSided.PublicID, core.LinkTypePrivateKeyLink, alone.PrivateID)
	theirs, err := w.CreateKeyPair(ctx, w.eve, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))})
	if err != nil {
		t.Fatal(err)
	}
	link(w.alice, stolen.PrivateID, core.LinkTypePublicKeyLink, theirs.PublicID)
	link(w.eve, theirs.PublicID, core.LinkTypePrivateKeyLink, stolen.PrivateID)
	gone := w.keyPair()
	link(w.alice, gone.PrivateID, core.LinkTypePublicKeyLink, "nobody")
	for what, c := range map[string]struct {
		id   string
		want core.Code
	}{"no Link": {alone.PrivateID, core.InvalidObjectType}, "a Link to a symmetric key": {astray.PrivateID, core.InvalidObjectType}, "no Link back": {oneSided.PrivateID, core.InvalidObjectType},
		"the public key of another principal": {stolen.PrivateID, core.PermissionDenied}, "a public key that is not there": {gone.PrivateID, core.InvalidObjectType},
		"a public key": {oneSided.PublicID, core.InvalidObjectType}, "a symmetric key": {aes, core.InvalidObjectType}, "nothing": {"", core.ItemNotFound}} {
		objects := len(w.store.objects)
		if out, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(c.id)}); core.CodeOf(err) != c.want || err == nil {
			t.Errorf("%s: %v, %v; want code %v", what, out, err, c.want)
		}
		if len(w.store.objects) != objects {
			t.Errorf("%s: an object was made", what)
		}
	}
	if _, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(stolen.PrivateID)}); core.CodeOf(err) != core.InvalidObjectType {
		t.Errorf("Re-key of a private key: %v", err)
	}
}

// Undo takes both new halves back, and both old ones are as they were.
func TestUndoOfReKeyKeyPair(t *testing.T) {
	w := newWorld(t)
	old := w.keyPair(core.TagName, name("n"))
	private, public := w.object(old.PrivateID), w.object(old.PublicID)
	c := *w.alice
	c.Undo = &core.Undo{}
	out, err := w.ReKeyKeyPair(ctx, &c, &operation.RekeyKeyPairInput{ID: core.ID(old.PrivateID)})
	if err == nil {
		_, err = w.ReKeyKeyPair(ctx, &c, &operation.RekeyKeyPairInput{ID: core.ID(out.PrivateID)})
	}
	if err == nil {
		err = w.UndoBatch(ctx, &c, c.Undo)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(w.store.objects) != 2 {
		t.Errorf("%d objects are stored; want the old pair", len(w.store.objects))
	}
	for _, was := range []*core.ManagedObject{private, public} {
		if is := w.object(was.ID); !slices.EqualFunc(is.Attributes, was.Attributes, func(a, b core.Attribute) bool {
			return a.Ref() == b.Ref() && (a.Value.Equal(b.Value) || a.Tag == core.TagLastChangeDate)
		}) {
			t.Errorf("the %v is not as it was: %v; it was %v", was.Type, is.Attributes, was.Attributes)
		}
	}
}

// Storage masks hold for each half, as for Create Key Pair.
func TestReKeyKeyPairStorageMasks(t *testing.T) {
	w := newWorld(t)
	software, hardware := []int32{int32(core.ProtectionStorageMaskSoftware)}, []int32{int32(core.ProtectionStorageMaskHardware)}
	for what, c := range map[string]struct {
		class                   core.Class
		common, private, public []int32
		want                    core.Code
	}{"as it is": {core.ClassC, software, nil, nil, core.Internal}, "in hardware": {core.ClassX, nil, hardware, software, core.Internal},
		"a public key in hardware": {core.ClassX, hardware, nil, nil, core.PublicProtectionStorageUnavailable}, "a class C key in hardware": {core.ClassC, software, hardware, nil, core.ProtectionStorageUnavailable}} {
		in := &operation.RekeyKeyPairInput{ID: core.ID(w.keyPair(custody[c.class]...).PrivateID), CreateKeyPairInput: operation.CreateKeyPairInput{CommonProtection: c.common, PrivateProtection: c.private, PublicProtection: c.public}}
		if _, err := w.ReKeyKeyPair(ctx, w.alice, in); core.CodeOf(err) != c.want || (err == nil) != (c.want == core.Internal) {
			t.Errorf("%s: %v; want code %v", what, err, c.want)
		}
	}
}
