package engine_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/batchundo"
)

// countedMatches is how many candidates Locate looks at to count matches beyond its
// answer.
const countedMatches = 10_000

func TestClassDecidesGet(t *testing.T) {
	w := newWorld(t)
	wrapping := w.inState(core.Active)
	spec := func(e core.EncodingOption) *core.KeyWrappingSpecification {
		return &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: e, Encryption: &core.WrappingKeyInfo{ID: wrapping}}
	}
	for _, c := range []struct {
		sensitive, extractable bool
		clear, bytes, ttlv     core.Code // Internal: allowed
	}{
		{false, true, core.Internal, core.Internal, core.Internal},
		{true, true, core.Sensitive, core.Internal, core.EncodingOptionError},
		{true, false, core.NotExtractable, core.NotExtractable, core.NotExtractable},
		{false, false, core.NotExtractable, core.NotExtractable, core.NotExtractable},
	} {
		id := w.aesKey(core.TagSensitive, core.Bool(c.sensitive), core.TagExtractable, core.Bool(c.extractable))
		for _, try := range []struct {
			spec *core.KeyWrappingSpecification
			want core.Code
		}{{nil, c.clear}, {spec(core.EncodingOptionNoEncoding), c.bytes}, {spec(0), c.ttlv}, {spec(core.EncodingOptionTTLVEncoding), c.ttlv}} {
			out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: try.spec})
			if (err == nil) != (try.want == core.Internal) || core.CodeOf(err) != try.want {
				t.Errorf("sensitive %v, extractable %v, specification %+v: %v; want code %v", c.sensitive, c.extractable, try.spec, err, try.want)
			}
			if try.spec != nil && err == nil && (out.Object.KeyBlock.Material != nil || out.Object.KeyBlock.Wrapped == nil) {
				t.Error("a wrapped Get answers with clear bytes")
			}
			out.Secret.Release()
		}
	}
}

// A wrapping key must be the caller's to use, be meant for wrapping and be Active.
func TestWrappingKeyIsChecked(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey()
	get := func(with string) error {
		out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{
			Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: with}}})
		out.Secret.Release()
		return err
	}
	noWrap := w.aesKey(core.TagActivationDate, core.Date(1))
	o, _ := w.store.Object(ctx, "default", noWrap)
	o.Attributes = o.Attributes.Set(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))
	evil, err := w.Create(ctx, w.eve, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
		core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(allUses), core.TagActivationDate, core.Date(1))})
	if err != nil {
		t.Fatal(err)
	}
	for with, want := range map[string]core.Code{"nobody": core.WrappingObjectNotFound, "": core.InvalidField, w.aesKey(): core.WrongState,
		noWrap: core.IncompatibleUsageMask, evil.ID: core.PermissionDenied, w.inState(core.Destroyed): core.WrappingObjectDestroyed} {
		if err := get(with); core.CodeOf(err) != want {
			t.Errorf("wrapping key %q: %v; want %v", with, err, want)
		}
	}
}

// KMIP 1.4 §2.1.6: a wrapping key that has Cryptographic Parameters wraps by one of
// them alone, and by the first where the client names none.
func TestWrappingKeyOffersParameters(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey()
	parameters := func(m core.BlockCipherMode) core.Value {
		return core.Structure((&core.CryptographicParameters{BlockCipherMode: m, CryptographicAlgorithm: core.AlgorithmAES}).Fields()...)
	}
	none := w.inState(core.Active)
	two := w.inState(core.Active, core.TagCryptographicParameters, parameters(core.BlockCipherModeCBC), core.TagCryptographicParameters, parameters(core.BlockCipherModeNISTKeyWrap))
	for _, c := range []struct {
		with  string
		asked core.BlockCipherMode
		want  core.Code // Internal: allowed
	}{{none, core.BlockCipherModeNISTKeyWrap, core.Internal}, {none, 0, core.Internal}, {two, core.BlockCipherModeNISTKeyWrap, core.Internal},
		{two, core.BlockCipherModeAESKeyWrapPadding, core.BadCryptographicParameters}, {two, 0, core.Internal}} {
		info := &core.WrappingKeyInfo{ID: c.with}
		if c.asked != 0 {
			info.Parameters = &core.CryptographicParameters{BlockCipherMode: c.asked}
		}
		out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
			Encoding: core.EncodingOptionNoEncoding, Encryption: info}})
		if (err == nil) != (c.want == core.Internal) || core.CodeOf(err) != c.want {
			t.Errorf("asked for %v: %v; want code %v", c.asked, err, c.want)
		}
		out.Secret.Release()
	}
}

// Anyone who may Get a key, but not its attributes, gets none inside the wrapped key either.
func TestWrappedAttributesNeedGetAttributes(t *testing.T) {
	w := newWorld(t)
	id, with := w.inState(core.Active), w.inState(core.Active)
	get := func(names ...core.AttributeName) error {
		out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
			Encryption: &core.WrappingKeyInfo{ID: with}, AttributeNames: names}})
		out.Secret.Release()
		return err
	}
	state := core.AttributeName{Tag: core.TagState}
	if err := get(state); err != nil {
		t.Fatalf("the owner gets its key wrapped with an attribute: %v", err)
	}
	w.Ports.Policy = refusing{action: core.ActionGetAttributes}
	if err := get(); err != nil {
		t.Errorf("without attributes: %v; want the wrapped key", err)
	}
	if err := get(state); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("with an attribute, and without the right to read attributes: %v; want PermissionDenied", err)
	}
}

func TestTemplateIsChecked(t *testing.T) {
	base := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))
	with := func(t core.Tag, v core.Value) core.Attributes { return base.Add(core.Attribute{Tag: t, Value: v}) }
	for what, c := range map[string]struct {
		as   core.Attributes
		want core.Code
	}{
		"a State":                 {with(core.TagState, core.Enum(core.Active)), core.AttributeReadOnly},
		"a Unique Identifier":     {with(core.TagUniqueIdentifier, core.Text("mine")), core.AttributeReadOnly},
		"a Digest":                {with(core.TagDigest, core.Structure()), core.AttributeReadOnly},
		"two lengths":             {with(core.TagCryptographicLength, core.Int(128)).Add(core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(256)}), core.AttributeSingleValued},
		"a length of text":        {with(core.TagCryptographicLength, core.Text("256")), core.InvalidField},
		"a negative length":       {with(core.TagCryptographicLength, core.Int(-1)), core.InvalidField},
		"a length of 129":         {with(core.TagCryptographicLength, core.Int(129)), core.InvalidField},
		"no attribute":            {with(core.TagBatchCount, core.Int(1)), core.InvalidAttribute},
		"the server's own vendor": {base.Add(core.Attribute{Vendor: "y", Name: "a", Value: core.Text("b")}), core.AttributeReadOnly},
		"an empty name":           {with(core.TagName, name("")), core.InvalidField},
		"the same name twice":     {with(core.TagName, name("a")).Add(core.Attribute{Tag: core.TagName, Value: name("a")}), core.NonUniqueNameAttribute},
		"huge text":               {with(core.TagContactInformation, core.Text(string(make([]byte, rules.MaxTextBytes+1)))), core.InvalidField},
		"dates crossed":           {with(core.TagActivationDate, core.Date(20)).Add(core.Attribute{Tag: core.TagDeactivationDate, Value: core.Date(10)}), core.InvalidField},
		"no algorithm":            {attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)), core.InvalidField},
		"single DES":              {attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmDES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)), core.InvalidField},
		"a Name without a type":   {with(core.TagName, core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text("a")})), core.InvalidField},
		"a Link to nowhere":       {with(core.TagLink, core.Structure(core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkTypeParentLink)})), core.InvalidField},
		"a Link by reference":     {with(core.TagLink, core.Structure(core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkTypeParentLink)}, core.Field{Tag: core.TagLinkedObjectIdentifier, Value: core.Int(0)})), core.InvalidField},
		"limits without a unit":   {with(core.TagUsageLimits, core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(5)})), core.InvalidField},
		"limits below nothing":    {with(core.TagUsageLimits, core.UsageLimits{Total: -1, Count: -1, Unit: core.UsageLimitsUnitByte}.Value()), core.InvalidField},
		"a namespace alone":       {with(core.TagApplicationSpecificInformation, core.Structure(core.Field{Tag: core.TagApplicationNamespace, Value: core.Text("ssl")})), core.NamespaceNotSupported},
		"no value":                {base.Add(core.Attribute{Vendor: "x", Name: "Site"}), core.InvalidField},
		"an unknown custody":      {base.Add(core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("moon")}), core.InvalidField},
	} {
		w := newWorld(t)
		_, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: c.as})
		if err == nil || core.CodeOf(err) != c.want {
			t.Errorf("%s: %v; want code %v", what, err, c.want)
		}
		if len(w.store.objects) != 0 {
			t.Errorf("%s: an object was stored", what)
		}
	}
}

func TestAttributeChanges(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active, core.TagName, name("one"))
	add := func(a core.Attribute) error {
		_, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(id), Attribute: a})
		return err
	}
	modify := func(t core.Tag, v core.Value) error {
		_, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(id), Name: core.AttributeName{Tag: t}, New: core.Attribute{Tag: t, Value: v}})
		return err
	}
	drop := func(n core.AttributeName) error {
		_, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: n})
		return err
	}
	for what, c := range map[string]struct {
		err  error
		want core.Code
	}{
		"the same name again":         {add(core.Attribute{Tag: core.TagName, Value: name("one")}), core.NonUniqueNameAttribute},
		"a second algorithm":          {add(core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}), core.AttributeSingleValued},
		"another State":               {modify(core.TagState, core.Enum(core.Destroyed)), core.AttributeReadOnly},
		"another mask":                {modify(core.TagCryptographicUsageMask, core.Mask(core.MaskDecrypt)), core.AttributeReadOnly},
		"Activation Date when Active": {modify(core.TagActivationDate, core.Date(5)), core.WrongState},
		"a contact that is not there": {modify(core.TagContactInformation, core.Text("x")), core.AttributeNotFound},
		"deleting what is not there":  {drop(core.AttributeName{Vendor: "x", Name: "none"}), core.AttributeNotFound},
		"deleting the length":         {drop(core.AttributeName{Tag: core.TagCryptographicLength}), core.AttributeReadOnly},
		"deleting an index too far":   {drop(core.AttributeName{Tag: core.TagName, Index: 7, Indexed: true}), core.AttributeInstanceNotFound},
	} {
		if core.CodeOf(c.err) != c.want || c.err == nil {
			t.Errorf("%s: %v; want code %v", what, c.err, c.want)
		}
	}
	for what, err := range map[string]error{"a second name": add(core.Attribute{Tag: core.TagName, Value: name("two")}),
		"a vendor attribute": add(core.Attribute{Vendor: "x", Name: "Site", Value: core.Text("here")}),
		"changing a name":    modify(core.TagName, name("uno")), "deleting a vendor attribute": drop(core.AttributeName{Vendor: "x", Name: "Site"})} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	o, _ := w.store.Object(ctx, "default", id)
	names := o.Attributes.All(core.AttributeName{Tag: core.TagName})
	if len(names) != 2 || names[0].Value.Field(core.TagNameValue).Text != "uno" || names[1].Index != 1 {
		t.Errorf("names are %+v; want uno and two with index 0 and 1", names)
	}
}

// Somebody else's change between read and write is not lost.
func TestChangeStartsOverAfterConflict(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey()
	stale, _ := w.store.Object(ctx, "default", id)
	if err := w.step(w.bob, "add name", id); err != nil {
		t.Fatal(err)
	}
	w.PlantSnapshot(stale) // as another node's old snapshot would stand here
	if err := w.step(w.alice, "activate", id); err != nil {
		t.Fatalf("a stale snapshot must lead to a second try: %v", err)
	}
	o, _ := w.store.Object(ctx, "default", id)
	if len(o.Attributes.All(core.AttributeName{Tag: core.TagName})) != 1 || o.Version != 3 {
		t.Errorf("after both changes: version %d, attributes %v", o.Version, o.Attributes)
	}
}

func TestRekeyMovesNameAndLinks(t *testing.T) {
	w := newWorld(t)
	offset := int64(100)
	id := w.aesKey(core.TagName, name("tape 7"), core.TagActivationDate, core.Date(w.clock.now-50), core.TagDeactivationDate, core.Date(w.clock.now+50))
	out, err := w.ReKey(ctx, w.bob, &operation.RekeyInput{ID: core.ID(id), Offset: &offset})
	if err != nil {
		t.Fatal(err)
	}
	old, _ := w.store.Object(ctx, "default", id)
	fresh, _ := w.store.Object(ctx, "default", out.ID)
	if fresh.Owner != old.Owner || fresh.Group != old.Group {
		t.Errorf("the replacement belongs to %s of %s; it must stay %s's", fresh.Owner, fresh.Group, old.Owner)
	}
	if old.Attributes.Has(core.TagName) || !fresh.Attributes.Has(core.TagName) {
		t.Error("the Name must move to the replacement")
	}
	if old.StateAt(w.clock.now) != core.Active || fresh.StateAt(w.clock.now) != core.PreActive {
		t.Errorf("states are %v and %v; the old key stays Active, the new one waits for its date", old.StateAt(w.clock.now), fresh.StateAt(w.clock.now))
	}
	if got := fresh.Attributes.Num(core.TagDeactivationDate); got != w.clock.now+100+100 {
		t.Errorf("the Deactivation Date is %d s on, want 200: it keeps its distance", got-w.clock.now)
	}
	link := func(o *core.ManagedObject) core.Value { v, _ := o.Attributes.Get(core.TagLink); return v }
	if link(old).Field(core.TagLinkedObjectIdentifier).Text != out.ID || link(fresh).Field(core.TagLinkedObjectIdentifier).Text != id {
		t.Error("the two are not linked")
	}
	if bytes.Equal(old.Material.Blob, fresh.Material.Blob) {
		t.Error("the replacement has the old key's bytes")
	}
}

func TestLocate(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, w.aesKey(core.TagName, name("disk"), core.TagContactInformation, core.Text(string(rune('e'-i)))))
	}
	slices.Reverse(ids) // the newest comes first
	find := func(c *core.Caller, in operation.LocateInput) []string {
		t.Helper()
		out, err := w.Locate(ctx, c, &in)
		if err != nil {
			t.Fatal(err)
		}
		return out.IDs
	}
	byName := attrs(core.TagName, name("disk"))
	for what, c := range map[string]struct{ got, want []string }{
		"by name":              {find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: byName}), ids},
		"a page":               {find(w.bob, operation.LocateInput{MaximumItems: 2, OffsetItems: 1, Attributes: byName}), ids[1:3]},
		"none":                 {find(w.bob, operation.LocateInput{MaximumItems: 0, Attributes: byName}), nil},
		"two attributes":       {find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: byName.Add(core.Attribute{Tag: core.TagContactInformation, Value: core.Text("c")})}), ids[2:3]},
		"an absent attribute":  {find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagComment, core.Text("x"))}), nil},
		"by one who may not":   {find(w.eve, operation.LocateInput{MaximumItems: -1, Attributes: byName}), nil},
		"from another tenant":  {find(w.out, operation.LocateInput{MaximumItems: -1, Attributes: byName}), nil},
		"a range of dates":     {find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagInitialDate, Value: core.Date(w.clock.now - 1)}, {Tag: core.TagInitialDate, Value: core.Date(w.clock.now + 1)}}}), ids},
		"a range before birth": {find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagInitialDate, Value: core.Date(1)}, {Tag: core.TagInitialDate, Value: core.Date(2)}}}), nil},
		"a part of the mask":   {find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))}), ids},
		"a bit too many":       {find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt|core.MaskCRLSign))}), nil},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: found %v, want %v", what, c.got, c.want)
		}
	}
	w.step(w.alice, "destroy", ids[0])
	if got := find(w.alice, operation.LocateInput{MaximumItems: -1, Attributes: byName}); !slices.Equal(got, ids[1:]) {
		t.Errorf("after a Destroy: %v; what is destroyed is not found", got)
	}
}

// Who pages by Offset Items is told how many there are, within a bound.
func TestLocatedItems(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.aesKey()
	}
	for _, c := range []struct{ maximum, offset, ids, located int32 }{{-1, 0, 5, 5}, {2, 0, 2, -1}, {2, 1, 2, 5}, {2, 4, 1, 5}, {2, 9, 0, 5}, {0, 1, 0, -1}} {
		out, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: c.maximum, OffsetItems: c.offset})
		if err != nil || len(out.IDs) != int(c.ids) || out.Located != c.located {
			t.Errorf("Maximum Items %d, Offset Items %d: %d and Located Items %d, %v; want %d and %d", c.maximum, c.offset, len(out.IDs), out.Located, err, c.ids, c.located)
		}
	}
	for range countedMatches / 500 {
		w.store.fill(w.alice, 500)
	}
	for range 10 {
		w.aesKey()
	}
	out, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: 2, OffsetItems: 1})
	if err != nil || out.Located != -1 {
		t.Errorf("Located Items is %d, %v; more than %d objects are not counted", out.Located, err, countedMatches)
	}
}

// KMIP 2.1 §4.24: what the server makes is fresh; of what is registered a client may
// say that it is not.
func TestFreshAtBirth(t *testing.T) {
	w := newWorld(t)
	made := w.aesKey(core.TagFresh, core.Bool(false))
	out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey,
		KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: make([]byte, 16), Algorithm: core.AlgorithmAES, Length: 128}},
		Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt), core.TagFresh, core.Bool(false))})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{made: true, out.ID: false} {
		if o, _ := w.store.Object(ctx, "default", id); o.Attributes.Bool(core.TagFresh) != want || len(o.Attributes.All(core.AttributeName{Tag: core.TagFresh})) != 1 {
			t.Errorf("Fresh is %v, want %v", o.Attributes.All(core.AttributeName{Tag: core.TagFresh}), want)
		}
	}
}

// The members of an Object Group are given out one after the other; Fresh ends
// with the first Get, and with nothing else (KMIP 1.2 §3.34, §4.9).
func TestObjectGroupMembers(t *testing.T) {
	w := newWorld(t)
	group := attrs(core.TagObjectGroup, core.Text("pool"))
	var ids []string
	for range 4 {
		ids = append(ids, w.aesKey(core.TagObjectGroup, core.Text("pool")))
	}
	w.aesKey(core.TagObjectGroup, core.Text("another"))
	find := func(m core.ObjectGroupMember) []string {
		t.Helper()
		out, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, GroupMember: m, Attributes: group})
		if err != nil {
			t.Fatal(err)
		}
		return out.IDs
	}
	fresh := func() int { return len(find(core.ObjectGroupMemberGroupMemberFresh)) }
	if err := w.step(w.alice, "destroy", ids[0]); err != nil {
		t.Fatal(err)
	}
	if got := find(core.ObjectGroupMemberGroupMemberFresh); !slices.Equal(got, ids[1:]) {
		t.Errorf("fresh members are %q; want them oldest first, %q", got, ids[1:])
	}
	for i, want := range []string{ids[1], ids[2], ids[3], ids[1], ids[1]} {
		if got := find(core.ObjectGroupMemberGroupMemberDefault); !slices.Equal(got, []string{want}) {
			t.Fatalf("default member %d is %q, want %s of %q", i, got, want, ids)
		}
		before := fresh()
		if _, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(want)}); err != nil || fresh() != before {
			t.Fatalf("Get Attributes (%v) leaves %d fresh members, not %d", err, fresh(), before)
		}
		if err := w.step(w.alice, "get", want); err != nil {
			t.Fatal(err)
		}
		if left := max(0, 2-i); fresh() != left {
			t.Errorf("after %d Gets %d members are fresh, want %d", i+1, fresh(), left)
		}
	}
	w.step(w.alice, "cease", ids[1])
	w.step(w.alice, "compromise", ids[1])
	if got := find(core.ObjectGroupMemberGroupMemberDefault); !slices.Equal(got, ids[2:3]) {
		t.Errorf("when the oldest is compromised the default member is %q, want %q", got, ids[2:3])
	}
}

func TestUndo(t *testing.T) {
	w := newWorld(t)
	kept := w.aesKey()
	before, _ := w.store.Object(ctx, "default", kept)
	c := *w.alice
	c.Undo = &core.Undo{}
	made, err := w.Create(ctx, &c, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
		core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{made.ID, kept} {
		if err := w.step(&c, "activate", id); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.UndoBatch(ctx, &c, c.Undo); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Object(ctx, "default", made.ID); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("the object made in the batch is still there: %v", err)
	}
	after, _ := w.store.Object(ctx, "default", kept)
	if after.StateAt(w.clock.now) != core.PreActive || after.Attributes.Has(core.TagActivationDate) != before.Attributes.Has(core.TagActivationDate) {
		t.Errorf("the object changed in the batch is not as it was: %v", after.Attributes)
	}
	if err := w.step(w.alice, "get", made.ID); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("the cache still knows the object that was taken back: %v", err)
	}
}

// What a use changes by the way - the Fresh mark, Usage Limits - is undone with
// the rest, and does not stop an Undo.
func TestUndoOfUses(t *testing.T) {
	w := newWorld(t)
	limits := core.UsageLimits{Total: 10, Count: 10, Unit: core.UsageLimitsUnitObject}.Value()
	c := *w.alice
	c.Undo = &core.Undo{}
	made, err := w.Create(ctx, &c, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
		core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt), core.TagUsageLimits, limits)})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"activate", "encrypt", "get"} {
		if err := w.step(&c, op, made.ID); err != nil {
			t.Fatal(op, err)
		}
	}
	if err := w.UndoBatch(ctx, &c, c.Undo); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Object(ctx, "default", made.ID); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("the object made in the batch is still there: %v", err)
	}
}

// A resident key's token object goes when the row says so, and a token that is
// away only delays it.
func TestDestroyResident(t *testing.T) {
	w := newWorld(t)
	out, err := w.createResident()
	if err != nil {
		t.Fatal(err)
	}
	w.hsm.fail = errors.New("away")
	if err := w.step(w.alice, "destroy", out.ID); err != nil {
		t.Fatalf("the row decides: %v", err)
	}
	if len(w.store.intents) != 1 || w.PendingDestroys() != 1 {
		t.Fatalf("%d intents are open and %d destroys pending, want 1 each", len(w.store.intents), w.PendingDestroys())
	}
	if n, err := w.Reconcile(ctx, false); err == nil || n.Finished != 0 || w.PendingDestroys() != 1 {
		t.Errorf("while the token is away the reconciler did %+v, %v", n, err)
	}
	w.hsm.fail = nil
	if n, err := w.Reconcile(ctx, false); err != nil || n.Removed != 1 || len(w.store.intents)+w.PendingDestroys() != 0 {
		t.Errorf("the reconciler did %+v, %v; %d intents are open", n, err, len(w.store.intents))
	}
}

// Names that Re-key is given come on top of those that the key had.
func TestRekeyAddsNames(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey(core.TagName, name("original"), core.TagActivationDate, core.Date(1), core.TagContactInformation, core.Text("old"))
	for i, next := range []string{"first", "second", "first"} {
		out, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id), Attributes: attrs(core.TagName, name(next), core.TagContactInformation, core.Text("new"))})
		if err != nil {
			t.Fatal(err)
		}
		id = out.ID
		o, _ := w.store.Object(ctx, "default", id)
		var names []string
		for n, a := range o.Attributes.All(core.AttributeName{Tag: core.TagName}) {
			names = append(names, a.Value.Field(core.TagNameValue).Text)
			if a.Index != n {
				t.Errorf("name %d has index %d", n, a.Index)
			}
		}
		if want := []string{"original", "first", "second"}[:min(i+2, 3)]; !slices.Equal(names, want) {
			t.Errorf("after Re-key %d: names %v, want %v", i+1, names, want)
		}
		if c := o.Attributes.All(core.AttributeName{Tag: core.TagContactInformation}); len(c) != 1 || c[0].Value.Text != "new" {
			t.Errorf("Contact Information is %v", c)
		}
	}
}

// An Offset and dates contradict each other, and dates without an Activation
// Date cannot be moved (KMIP 1.4 §11.5).
func TestRekeyOffset(t *testing.T) {
	w := newWorld(t)
	offset := int64(10)
	later := core.Date(w.clock.now + 100)
	for what, c := range map[string]struct {
		id    string
		asked core.Attributes
		want  core.Code
	}{
		"an Activation Date": {w.aesKey(), attrs(core.TagActivationDate, later), core.InvalidMessage},
		"a Protect Stop":     {w.aesKey(), attrs(core.TagProtectStopDate, later), core.InvalidMessage},
		"nothing to move by": {w.aesKey(core.TagDeactivationDate, later), nil, core.IllegalOperation},
		"nothing to move":    {w.aesKey(), nil, core.Internal}, // allowed
		"both dates":         {w.aesKey(core.TagActivationDate, core.Date(w.clock.now+5), core.TagDeactivationDate, later), nil, core.Internal},
	} {
		_, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(c.id), Offset: &offset, Attributes: c.asked})
		if core.CodeOf(err) != c.want || (err == nil) != (c.want == core.Internal) {
			t.Errorf("%s: %v; want code %v", what, err, c.want)
		}
	}
}

// Usage Limits are found by as much or more (KMIP 1.4 §4.9).
func TestLocateByUsageLimits(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active, core.TagUsageLimits, limitsOf(10, core.UsageLimitsUnitObject))
	if err := w.step(w.alice, "encrypt", id); err != nil {
		t.Fatal(err)
	}
	w.aesKey()
	asked := func(total, count int64) core.Value {
		return core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(total)}, core.Field{Tag: core.TagUsageLimitsCount, Value: core.Long(count)})
	}
	for v, want := range map[[2]int64]int{{10, 9}: 1, {1, 1}: 1, {10, 10}: 0, {11, 1}: 0} {
		out, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagUsageLimits, asked(v[0], v[1]))})
		if err != nil || len(out.IDs) != want {
			t.Errorf("a total of %d with %d left finds %v, %v; want %d", v[0], v[1], out.IDs, err, want)
		}
	}
}

// A batch that has taken so long that the reconciler may be at work on what it
// destroyed is not undone: the row would name a key that is lost.
func TestUndoComesTooLate(t *testing.T) {
	for seconds, want := range map[int64]bool{batchundo.Seconds - 1: true, batchundo.Seconds: false} {
		w := newWorld(t)
		out, err := w.createResident()
		if err != nil {
			t.Fatal(err)
		}
		c := *w.alice
		c.Undo = &core.Undo{}
		if err := w.step(&c, "destroy", out.ID); err != nil {
			t.Fatal(err)
		}
		w.clock.now += seconds
		if err := w.UndoBatch(ctx, &c, c.Undo); (err == nil) != want {
			t.Errorf("%d s after a Destroy: %v", seconds, err)
		}
		if o, _ := w.store.Object(ctx, "default", out.ID); o.StateAt(w.clock.now).Gone() == want {
			t.Errorf("%d s after a Destroy the object is %v", seconds, o.StateAt(w.clock.now))
		}
	}
}

// In a batch with Undo a resident key's token object is there until the batch is
// over: then it is gone, or the key is back.
func TestUndoOfDestroyedResident(t *testing.T) {
	for _, undone := range []bool{false, true} {
		w := newWorld(t)
		out, err := w.createResident()
		if err != nil {
			t.Fatal(err)
		}
		o, _ := w.store.Object(ctx, "default", out.ID)
		token := string(o.Material.CKAID)
		c := *w.alice
		c.Undo = &core.Undo{}
		if err := w.step(&c, "destroy", out.ID); err != nil {
			t.Fatal(err)
		}
		if !w.hsm.tokens[token] {
			t.Fatal("the token object is gone before the batch is over")
		}
		if undone {
			err = w.UndoBatch(ctx, &c, c.Undo)
		} else {
			w.FinishBatch(ctx, c.Undo)
		}
		if err != nil || w.hsm.tokens[token] != undone {
			t.Errorf("undone %v: the token object is there: %v (%v)", undone, w.hsm.tokens[token], err)
		}
		if !undone && len(w.store.intents) != 0 {
			t.Errorf("%d intents are open", len(w.store.intents))
		}
	}
}

// A creation that was slow and is not dead is not acknowledged while the
// reconciler removes its token object: the row would name a key that is lost.
func TestReconcilerAndSlowCreation(t *testing.T) {
	w := newWorld(t)
	if err := w.Tenants.Load(ctx, "default"); err != nil {
		t.Fatal(err)
	}
	token := engine.NewCKAID()
	late := &core.ManagedObject{Tenant: "default", ID: "late", Owner: "alice", Version: 1, Material: core.Material{Mode: core.ModeResident, CKAID: token}}
	w.hsm.tokens[string(token)] = true
	w.hsm.of[string(token)] = core.TokenObject{Tenant: "default", ID: "late"}
	intent := w.NewIntent(core.IntentCreateObject, "default", late.ID, token, w.clock.now)
	w.Intents.Begin(core.ChangeOf(core.BeginIntent{Intent: intent}), w.clock.Mono(), true)
	w.store.intents[intent.ID] = intent
	w.clock.now += engine.IntentAgeSeconds
	w.hsm.removing = func() {
		if err := w.store.Commit(ctx, core.ChangeOf(core.InsertObject{Object: late}, core.FinishIntent{ID: intent.ID, MustBeOpen: true})); core.CodeOf(err) != core.Conflict {
			t.Errorf("the creation was committed while its token object was removed: %v", err)
		}
	}
	n, err := w.Reconcile(ctx, false)
	if err != nil || n.Removed != 1 || len(w.store.intents) != 0 || w.hsm.tokens[string(token)] {
		t.Errorf("the reconciler did %+v, %v; intents %v", n, err, w.store.intents)
	}
}
