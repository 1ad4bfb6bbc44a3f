package engine_test

import (
	"context"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// attentivePolicy permits everything in a tenant but changes of policies, and keeps what
// it was asked.
type attentivePolicy struct {
	tenantPolicy
	asked []core.AccessRequest
	slow  func() // called once, when the next key that wraps is asked about
}

func (p *attentivePolicy) Decide(_ context.Context, r *core.AccessRequest) (core.Decision, error) {
	p.asked = append(p.asked, *r)
	if p.slow != nil && r.Action == core.ActionEncrypt {
		p.slow()
		p.slow = nil
	}
	refused := r.Action == core.ActionAttachPolicy || r.Action == core.ActionDetachPolicy || r.Object != nil && r.Object.Tenant != r.Principal.Tenant
	return core.Decision{Allow: !refused, Scope: "tenant", Reasons: []string{"test"}}, nil
}

// payrollIsGoverned says that the Object Group payroll has key policies.
type payrollIsGoverned struct{ core.AccessFacts }

func (payrollIsGoverned) AddFacts(*core.AccessRequest) error { return nil }
func (payrollIsGoverned) GovernsGroup(_ string, group string) (bool, error) {
	return group == "payroll", nil
}

// namedLabels are the labels that key policies of roles name.
var namedLabels = []core.PolicyLabel{
	{Field: "tags.x-keyreeve-tag-env", Value: "secret", Denies: true}, {Field: "tags.x-keyreeve-tag-env", Value: "open"},
	{Field: "tags.x-keyreeve-alias", Value: "secret", Denies: true}, {Field: "tags.x-keyreeve-alias", Value: "open"},
	{Field: "tags.x-Site", Value: "a", Denies: true}, {Field: "object.objectGroup", Value: "vault", Denies: true}, {Field: "object.class", Value: string(core.ClassC), Denies: true},
}

func (payrollIsGoverned) PoliciesNaming(_ *core.ManagedObject, labels []core.PolicyLabel) ([]string, error) {
	if slices.ContainsFunc(labels, func(l core.PolicyLabel) bool { return slices.Contains(namedLabels, l) }) {
		return []string{"of-role"}, nil
	}
	return nil, nil
}

// attentiveWorld is a world where each may use each object of the tenant, and nobody may
// change policies.
func attentiveWorld(t *testing.T) (*world, *attentivePolicy) {
	w, p := newWorld(t), &attentivePolicy{}
	w.Ports.Policy, w.Ports.Facts = p, payrollIsGoverned{}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	return w, p
}

func groupLabel(name string) core.Attribute {
	return core.Attribute{Tag: core.TagObjectGroup, Value: core.Text(name)}
}

func tagLabel(value string) core.Attribute {
	return core.Attribute{Vendor: "x", Name: "keyreeve-tag-env", Value: core.Text(value)}
}

// Key policies look at Object Groups and tags. A caller that may change attributes, or re-key,
// does not thereby escape a denial, or gain what a policy allows for other labels.
func TestLabelsAreNoWayAroundPolicies(t *testing.T) {
	policy := core.Attribute{Vendor: core.PolicyAttribute.Vendor, Name: core.PolicyAttribute.Name, Value: core.Text("p")}
	other := core.Attribute{Vendor: "x", Name: "Site", Value: core.Text("b")}
	for what, c := range map[string]struct {
		has    core.Attributes
		set    core.Attribute
		owner  bool // whether the owner may do it
		others bool
	}{
		"a foreign key joins a governed group": {nil, groupLabel("payroll"), true, false},
		"a key joins a group without policies": {nil, groupLabel("tapes"), true, true},
		"a governed group is left":             {core.Attributes{groupLabel("payroll")}, groupLabel("tapes"), false, false},
		"a tag of a key with a policy":         {core.Attributes{policy, tagLabel("prod")}, tagLabel("dev"), false, false},
		"a tag of a key in a governed group":   {core.Attributes{groupLabel("payroll"), tagLabel("prod")}, tagLabel("dev"), false, false},
		"a tag of a key without policies":      {core.Attributes{tagLabel("prod")}, tagLabel("dev"), true, false},
		"the first tag":                        {nil, tagLabel("dev"), true, false},
		"the same tag":                         {core.Attributes{policy, tagLabel("prod")}, tagLabel("prod"), true, true},
		"another custom attribute":             {core.Attributes{policy}, other, true, true},
		"a tag that a denial names is lost":    {core.Attributes{tagLabel("secret")}, tagLabel("dev"), false, false},
		"a tag that a denial names is gained":  {nil, tagLabel("secret"), true, false},
		"a tag that an allow names is gained":  {core.Attributes{tagLabel("dev")}, tagLabel("open"), false, false},
		"a tag that an allow names is lost":    {core.Attributes{tagLabel("open")}, tagLabel("dev"), true, false},
		"an attribute that a denial names":     {core.Attributes{{Vendor: "x", Name: "Site", Value: core.Text("a")}}, other, false, false},
		"a group that a denial names is left":  {core.Attributes{groupLabel("vault")}, groupLabel("tapes"), false, false},
	} {
		t.Run(what, func(t *testing.T) {
			w, _ := attentiveWorld(t)
			for caller, may := range map[*core.Caller]bool{w.alice: c.owner, w.bob: c.owner, w.eve: c.others} {
				id := w.aesKey()
				o, err := w.store.Object(ctx, "default", id)
				if err != nil {
					t.Fatal(err)
				}
				o.Attributes = append(o.Attributes, c.has...)
				_, err = w.SetAttribute(ctx, caller, &operation.SetAttributeInput{ID: core.ID(id), Attribute: c.set})
				if may != (err == nil) || !may && core.CodeOf(err) != core.PermissionDenied {
					t.Errorf("%s sets it: %v; want success %v", caller.Principal.ID, err, may)
				}
				if c.set.Tag == core.TagObjectGroup && len(c.has) > 0 {
					continue // Re-key keeps the groups of the old key
				}
				_, err = w.ReKey(ctx, caller, &operation.RekeyInput{ID: core.ID(id), Attributes: core.Attributes{c.set}})
				if may != (err == nil) || !may && core.CodeOf(err) != core.PermissionDenied {
					t.Errorf("%s re-keys with it: %v; want success %v", caller.Principal.ID, err, may)
				}
			}
		})
	}
}

// Conditions see the attributes of vendor x. One of another vendor that reads alike is no such label.
func TestLookAlikesAreNoLabels(t *testing.T) {
	w, _ := attentiveWorld(t)
	id := w.aesKey()
	o, err := w.store.Object(ctx, "default", id)
	if err != nil {
		t.Fatal(err)
	}
	o.Attributes = o.Attributes.Add(tagLabel("secret")).Add(core.Attribute{Vendor: "x-keyreeve-tag", Name: "env", Value: core.Text("secret")}) // as servers stored it before such vendors were refused
	if _, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: core.AttributeName{Vendor: "x", Name: "keyreeve-tag-env"}}); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("the tag that a denial names is deleted beside one that reads alike: %v; want Permission Denied", err)
	}
}

// A tag or a governed group that is deleted is a change as well.
func TestDeletedLabelsAreChanges(t *testing.T) {
	w, _ := attentiveWorld(t)
	for _, label := range []core.Attribute{groupLabel("payroll"), tagLabel("prod")} {
		id := w.aesKey()
		o, err := w.store.Object(ctx, "default", id)
		if err != nil {
			t.Fatal(err)
		}
		o.Attributes = append(o.Attributes, label, core.Attribute{Vendor: "y", Name: "keyreeve-policy", Value: core.Text("p")})
		if _, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: label.Ref()}); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("the owner deletes %v: %v; want Permission Denied", label.Ref(), err)
		}
	}
}

// A denial that names a class is not escaped by a stricter class, also not by Re-key.
func TestClassIsALabel(t *testing.T) {
	w, _ := attentiveWorld(t)
	sensitive := core.Attribute{Tag: core.TagSensitive, Value: core.Bool(true)}
	for what, change := range map[string]func(id string) error{
		"Set Attribute": func(id string) error {
			_, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(id), Attribute: sensitive})
			return err
		},
		"Re-key": func(id string) error {
			_, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id), Attributes: core.Attributes{sensitive}})
			return err
		},
	} {
		id := w.aesKey()
		if err := change(id); core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("%s makes a key of class C Sensitive: %v; want Permission Denied", what, err)
		}
		if o, err := w.store.Object(ctx, "default", id); err != nil || o.Material.Class != core.ClassC {
			t.Errorf("%s: the key has the class %s, %v; want C", what, o.Material.Class, err)
		}
	}
}

// Statements about parameters see those by which a wrapping key wraps, and not those of
// its own; the Get of the value that is wrapped has none.
func TestWrappingParametersAreDecided(t *testing.T) {
	w, p := attentiveWorld(t)
	id, with := w.aesKey(), w.inState(core.Active)
	p.asked = nil
	for _, mode := range []core.BlockCipherMode{core.BlockCipherModeAESKeyWrapPadding, 0} {
		info := &core.WrappingKeyInfo{ID: with}
		if mode != 0 {
			info.Parameters = &core.CryptographicParameters{BlockCipherMode: mode}
		}
		out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: info}})
		if err != nil {
			t.Fatal(err)
		}
		out.Secret.Release()
		want := mode
		if mode == 0 {
			want = core.BlockCipherModeNISTKeyWrap
		}
		r := p.asked[len(p.asked)-1]
		if r.Action != core.ActionEncrypt || r.Object.ID != with || r.Asked.Parameters == nil || r.Asked.Parameters.BlockCipherMode != want || r.Asked.Wrapped != nil {
			t.Errorf("the wrapping key is asked about %v with %+v; want Encrypt with the mode %v", r.Action, r.Asked, want)
		}
	}
}

// A slow operation asks each of its questions again as it was asked first.
func TestSlowWrappingAsksTheSame(t *testing.T) {
	w, p := attentiveWorld(t)
	id, with := w.aesKey(), w.inState(core.Active)
	p.asked, p.slow = nil, func() { w.clock.now++ }
	out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: with}}})
	if err != nil {
		t.Fatal(err)
	}
	out.Secret.Release()
	asked := map[core.Action][]core.AccessRequest{}
	for _, r := range p.asked {
		asked[r.Action] = append(asked[r.Action], r)
	}
	for _, action := range []core.Action{core.ActionGet, core.ActionEncrypt} {
		all := asked[action]
		if len(all) != 2 || (all[0].Asked.Wrapped == nil) != (all[1].Asked.Wrapped == nil) || (all[0].Asked.Parameters == nil) != (all[1].Asked.Parameters == nil) {
			t.Errorf("%v was asked %d times: %+v; want twice, with the same parameters", action, len(all), all)
		}
	}
}

// A caller that may get a secret only wrapped does not learn its Digest: that question is about
// a Get in clear.
func TestDigestIsAskedAsClearGet(t *testing.T) {
	w, p := attentiveWorld(t)
	out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData, Object: core.ObjectBody{Type: core.ObjectTypeSecretData,
		SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: []byte("secret")}}})
	if err != nil {
		t.Fatal(err)
	}
	p.asked = nil
	if _, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(out.ID)}); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.asked, func(r core.AccessRequest) bool {
		return r.Action == core.ActionGet && r.Asked.Wrapped != nil && !*r.Asked.Wrapped
	}) {
		t.Errorf("the policy was asked %+v; want Get in clear among it", p.asked)
	}
}

// Statements about the hash see that of Hash, in each part of a stream.
func TestHashIsDecidedByItsAlgorithm(t *testing.T) {
	w, p := attentiveWorld(t)
	sha1 := &core.CryptographicParameters{HashingAlgorithm: core.HashSHA1}
	first, err := w.Hash(ctx, w.alice, &operation.HashInput{Parameters: sha1, Data: []byte("d"), Init: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Hash(ctx, w.alice, &operation.HashInput{Correlation: first.Correlation, Data: []byte("d"), Final: new(true)}); err != nil {
		t.Fatal(err)
	}
	if len(p.asked) != 2 {
		t.Fatalf("the policy was asked %d times, want 2", len(p.asked))
	}
	for i, r := range p.asked {
		if r.Action != core.ActionHash || r.Asked.Parameters == nil || r.Asked.Parameters.HashingAlgorithm != core.HashSHA1 {
			t.Errorf("part %d: asked %v with %+v; want Hash by SHA-1", i, r.Action, r.Asked)
		}
	}
}

// A key that is made, taken or replaced is decided by what it is, also where the request names
// nothing: the length that the server chooses, the mask of both halves, the length of the bytes.
func TestNewKeysAreDecidedByWhatTheyAre(t *testing.T) {
	w, p := attentiveWorld(t)
	attributes := func(alg core.CryptographicAlgorithm, mask core.UsageMask, bits int32) core.Attributes {
		as := core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(alg)}, {Tag: core.TagCryptographicUsageMask, Value: core.Mask(mask)}}
		if bits != 0 {
			as = as.Set(core.TagCryptographicLength, core.Int(bits))
		}
		return as
	}
	both := core.MaskEncrypt | core.MaskDecrypt
	old, pair, hmac := w.aesKey(), w.keyPair(), w.base(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmHMACSHA256))
	for what, c := range map[string]struct {
		do     func() error
		action core.Action
		alg    core.CryptographicAlgorithm
		length int32
		mask   core.UsageMask
	}{
		"Create without a length": {func() error {
			_, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attributes(core.AlgorithmAES, both, 0)})
			return err
		}, core.ActionCreate, core.AlgorithmAES, 256, both},
		"Create Key Pair": {func() error {
			_, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attributes(core.AlgorithmRSA, core.MaskSign, 2048), Public: attributes(core.AlgorithmRSA, core.MaskVerify, 2048)})
			return err
		}, core.ActionCreateKeyPair, core.AlgorithmRSA, 2048, core.MaskSign | core.MaskVerify},
		"Register of 16 bytes": {func() error {
			_, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attributes(core.AlgorithmAES, both, 0),
				Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: make([]byte, 16)}}})
			return err
		}, core.ActionRegister, core.AlgorithmAES, 128, both},
		"Re-key to another length": {func() error {
			_, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(old), Attributes: core.Attributes{{Tag: core.TagCryptographicLength, Value: core.Int(192)}}})
			return err
		}, core.ActionReKey, core.AlgorithmAES, 192, 0},
		"Re-key Key Pair": {func() error {
			_, err := w.ReKeyKeyPair(ctx, w.alice, &operation.RekeyKeyPairInput{ID: core.ID(pair.PrivateID)})
			return err
		}, core.ActionReKeyKeyPair, core.AlgorithmEC, 256, core.MaskSign | core.MaskVerify},
		"Derive Key, of another kind than its base": {func() error {
			in := derivedFrom(hmac)
			in.Attributes = attributes(core.AlgorithmAES, both, 192)
			_, err := w.DeriveKey(ctx, w.alice, in)
			return err
		}, core.ActionDeriveKey, core.AlgorithmAES, 192, both},
	} {
		p.asked = nil
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		last := p.asked[len(p.asked)-1]
		if a := &last.Asked; last.Action != c.action || a.Parameters == nil || a.Parameters.CryptographicAlgorithm != c.alg || a.Length != c.length || c.mask != 0 && a.UsageMask != c.mask {
			t.Errorf("%s is decided last as %v with %+v; want %v, %v, %d bits and the uses %v", what, last.Action, last.Asked, c.action, c.alg, c.length, c.mask)
		}
	}
}
