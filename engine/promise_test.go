package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// A lease of a snapshot is not made longer by a wall clock that is set back:
// what another node has revoked is refused all the same.
func TestLeaseOutlivesNoClock(t *testing.T) {
	w := newWorld(t)
	w.store.shared = true
	here, there := newNode(engine.New(w.Ports, w.Settings)), newNode(engine.New(w.Ports, w.Settings))
	id := w.inState(core.Active)
	w.serve(here)
	if err := w.step(w.alice, "encrypt", id); err != nil {
		t.Fatal(err)
	}
	w.serve(there)
	if err := w.step(w.alice, "compromise", id); err != nil {
		t.Fatal(err)
	}
	w.serve(here)
	w.clock.now, w.clock.back = w.clock.now+1, 3600
	if err := w.step(w.alice, "encrypt", id); core.CodeOf(err) != core.WrongState {
		t.Errorf("a second after the key was revoked on another node: %v", err)
	}
}

// An operation that waits for the HSM while its key is revoked, destroyed or
// forbidden is not answered, and neither is one whose store has gone meanwhile.
func TestSlowOperationAsksAgain(t *testing.T) {
	for what, c := range map[string]struct {
		meanwhile func(w *world, id string)
		want      core.Code
	}{
		"revoked":          {func(w *world, id string) { w.step(w.bob, "compromise", id) }, core.WrongState},
		"disabled":         {func(w *world, id string) { w.step(w.bob, "disable", id) }, core.WrongState},
		"archived":         {func(w *world, id string) { w.step(w.bob, "archive", id) }, core.ObjectArchived},
		"deleted":          {func(w *world, id string) { w.step(w.bob, "soft delete", id) }, core.ObjectDestroyed},
		"its date reached": {func(w *world, id string) { w.clock.now += 100 }, core.WrongState},
		"forbidden": {func(w *world, id string) {
			w.Ports.Policy = tenantPolicy{fail: core.Errorf(core.PolicyUnavailable, "closed")}
		}, core.PolicyUnavailable},
		"nothing happened": {func(*world, string) {}, core.Internal},
	} {
		w := newWorld(t)
		id := w.inState(core.Active, core.TagDeactivationDate, core.Date(w.clock.now+50))
		w.hsm.slow = func() {
			w.hsm.slow = nil
			w.clock.now++
			c.meanwhile(w, id)
		}
		err := w.step(w.alice, "encrypt", id)
		if core.CodeOf(err) != c.want || (err == nil) != (c.want == core.Internal) {
			t.Errorf("%s: %v; want code %v", what, err, c.want)
		}
		if last := string(w.store.entries[len(w.store.entries)-1].Body); (err == nil) != strings.Contains(last, "allowed") {
			t.Errorf("%s: the record is %q", what, last)
		}
	}
}

// Of an operation that takes long, such as making an RSA key, the record says
// why it was allowed, and says it once.
func TestSlowOperationKeepsItsReasons(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	slow := func() { w.clock.now++ }
	w.hsm.slow = slow
	if err := w.step(w.alice, "encrypt", id); err != nil {
		t.Fatal(err)
	}
	w.hsm.slow, w.hsm.making = nil, slow // the keys of a new tenant
	if _, err := w.Create(ctx, w.out, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
		core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Encrypt", "Create allowed"} {
		i := slices.IndexFunc(w.store.entries, func(e core.StoredEntry) bool {
			return strings.HasPrefix(string(e.Body), want) && (want == "Encrypt" || e.Tenant == "other")
		})
		if i < 0 || !strings.HasSuffix(string(w.store.entries[i].Body), " | test") {
			t.Errorf("%s: the records are %v; want one with the reason once", want, w.store.entries)
		}
	}
}

// A panic in a verb is an answer and a record, whichever door it came through.
func TestPanicIsRecorded(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	w.hsm.slow = func() { panic("out of the token") }
	n := len(w.store.entries)
	if err := w.step(w.alice, "encrypt", id); err == nil || core.CodeOf(err) != core.Internal {
		t.Errorf("the answer is %v", err)
	}
	if got := w.store.entries[n:]; len(got) != 1 || !strings.Contains(string(got[0].Body), "failed") {
		t.Errorf("the records are %v", got)
	}
}

// A login that fails later, when the certificate was revoked meanwhile, is a
// denial in the records too.
func TestRefusedLoginIsADenial(t *testing.T) {
	w := newWorld(t)
	w.RecordRefused(ctx, w.alice, core.ActionGet, core.Errorf(core.AuthenticationNotSuccessful, "revoked"))
	w.RecordRefused(ctx, w.alice, core.ActionMessage, core.Errorf(core.AuthenticationNotSuccessful, "revoked"))
	for i, want := range []string{"Get denied", "Message denied"} {
		if body := string(w.store.entries[i].Body); !strings.HasPrefix(body, want) {
			t.Errorf("the record is %q, want %q", body, want)
		}
	}
}

// What one object may carry is bounded on every way in: by number, by size, and
// whatever Templates, Re-key and Set Attribute add to it.
func TestAttributesAreBounded(t *testing.T) {
	custom := func(from, to, size int) (as core.Attributes) {
		for i := from; i < to; i++ {
			as = append(as, core.Attribute{Vendor: "x", Name: fmt.Sprintf("a%d", i), Value: core.Text(strings.Repeat("v", size))})
		}
		return as
	}
	w := newWorld(t)
	v14 := *w.alice
	v14.Version = core.V1_4
	base := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))
	create := func(as core.Attributes, templates ...string) error {
		_, err := w.Create(ctx, &v14, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as, TemplateNames: templates})
		return err
	}
	var templates []string
	for i := range 3 {
		templates = append(templates, fmt.Sprint("t", i))
		if _, err := w.Register(ctx, &v14, &operation.RegisterInput{ObjectType: core.ObjectTypeTemplate, Attributes: attrs(core.TagName, name(templates[i])),
			Object: core.ObjectBody{Type: core.ObjectTypeTemplate, Template: custom(i*200, i*200+200, 1)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(base, templates[0]); err != nil {
		t.Errorf("one Template: %v", err)
	}
	for what, c := range map[string]struct {
		err  error
		want core.Code
	}{
		"three Templates of 200 attributes": {create(base, templates...), core.IndexOutOfBounds},
		"the same Template 17 times":        {create(base, slices.Repeat(templates[:1], 17)...), core.InvalidField},
		"300 attributes":                    {create(append(custom(0, 300, 1), base...)), core.IndexOutOfBounds},
		"100 KiB of attributes":             {create(append(custom(0, 100, 1024), base...)), core.InvalidField},
	} {
		if core.CodeOf(c.err) != c.want {
			t.Errorf("%s: %v; want %v", what, c.err, c.want)
		}
	}

	id := w.aesKey(core.TagActivationDate, core.Date(1))
	var err error
	for i := 0; err == nil && i < 2*rules.MaxAttributes; i++ {
		_, err = w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(id), Attribute: custom(i, i+1, 1)[0]})
	}
	if o, _ := w.store.Object(ctx, "default", id); core.CodeOf(err) != core.IndexOutOfBounds || len(o.Attributes) > rules.MaxAttributes {
		t.Errorf("Set Attribute without end: %v, %d attributes", err, len(o.Attributes))
	}
	if err := w.step(w.alice, "cease", id); err != nil {
		t.Errorf("an object that is full can still be revoked: %v", err)
	}

	id, err = w.aesKey(core.TagActivationDate, core.Date(1)), nil
	for i := 0; err == nil && i < 200; i++ {
		_, err = w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(id), Attribute: custom(i, i+1, 1024)[0]})
	}
	if o, _ := w.store.Object(ctx, "default", id); core.CodeOf(err) != core.InvalidField || o.Attributes.Size() > rules.MaxAttributeBytes {
		t.Errorf("Add Attribute of 1 KiB without end: %v, %d bytes", err, o.Attributes.Size())
	}
	for i := range 5 {
		as := attrs(core.TagContactInformation, core.Text("c"))
		for n := range 60 {
			as = as.Add(core.Attribute{Tag: core.TagName, Value: name(fmt.Sprint("n", i, "-", n))})
		}
		var out operation.CreateOutput
		if out, err = w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(w.aesKey()), Attributes: as}); err != nil {
			t.Fatal(err)
		}
		id = out.ID
		for range 5 {
			if out, err = w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id), Attributes: renamed(as, id)}); err != nil {
				break
			}
			id = out.ID
		}
	}
	if core.CodeOf(err) != core.IndexOutOfBounds {
		t.Errorf("Re-key that adds 60 names each time: %v", err)
	}
}

// renamed gives every Name of as another value.
func renamed(as core.Attributes, suffix string) core.Attributes {
	out := slices.Clone(as)
	for i := range out {
		if out[i].Tag == core.TagName {
			out[i].Value = name(out[i].Value.Field(core.TagNameValue).Text + suffix)
		}
	}
	return out
}

// A hostile list: each line is one request that must be refused with one code
// and leave the object as it was.
func TestRefusedRequests(t *testing.T) {
	type try struct {
		what  string
		state core.State
		do    func(w *world, id string) error
		want  core.Code
	}
	add := func(t core.Tag, v core.Value) func(*world, string) error {
		return func(w *world, id string) error {
			_, err := w.AddAttribute(ctx, w.bob, &operation.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: t, Value: v}})
			return err
		}
	}
	set := func(a core.Attribute) func(*world, string) error {
		return func(w *world, id string) error {
			_, err := w.SetAttribute(ctx, w.bob, &operation.SetAttributeInput{ID: core.ID(id), Attribute: a})
			return err
		}
	}
	modify := func(n core.AttributeName, a core.Attribute) func(*world, string) error {
		return func(w *world, id string) error {
			_, err := w.ModifyAttribute(ctx, w.bob, &operation.ModifyAttributeInput{ID: core.ID(id), Name: n, New: a})
			return err
		}
	}
	drop := func(n core.AttributeName) func(*world, string) error {
		return func(w *world, id string) error {
			_, err := w.DeleteAttribute(ctx, w.bob, &operation.DeleteAttributeInput{ID: core.ID(id), Name: n})
			return err
		}
	}
	step := func(op string) func(*world, string) error {
		return func(w *world, id string) error { return w.step(w.bob, op, id) }
	}
	tag := func(t core.Tag) core.AttributeName { return core.AttributeName{Tag: t} }
	custom := core.Attribute{Vendor: "x", Name: "site", Value: core.Enum(core.Active)}
	for _, c := range []try{
		{"State by way of a custom attribute", core.Deactivated, modify(tag(core.TagState), custom), core.InvalidField},
		{"Usage Mask by way of Contact Information", core.Active, modify(tag(core.TagCryptographicUsageMask), core.Attribute{Tag: core.TagContactInformation, Value: core.Text("x")}), core.InvalidField},
		{"another Owner of the identifier", core.Active, modify(tag(core.TagUniqueIdentifier), core.Attribute{Tag: core.TagUniqueIdentifier, Value: core.Text("x")}), core.AttributeReadOnly},
		{"Set State", core.Deactivated, set(core.Attribute{Tag: core.TagState, Value: core.Enum(core.Active)}), core.AttributeReadOnly},
		{"Set a Digest", core.Active, set(core.Attribute{Tag: core.TagDigest, Value: core.Structure()}), core.AttributeReadOnly},
		{"Set what is no attribute", core.Active, set(core.Attribute{Tag: core.TagBatchCount, Value: core.Int(1)}), core.InvalidAttribute},
		{"Set an attribute of the server's", core.Active, set(core.Attribute{Vendor: "y", Name: "a", Value: core.Text("b")}), core.AttributeReadOnly},
		{"a custom attribute without a value", core.Active, set(core.Attribute{Vendor: "x", Name: "a"}), core.InvalidField},
		{"a custom attribute without a vendor", core.Active, set(core.Attribute{Name: "State", Value: core.Enum(core.Active)}), core.InvalidField},
		{"custody after birth", core.Active, set(core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")}), core.AttributeReadOnly},
		{"no longer Sensitive than asked", core.Active, add(core.TagSensitive, core.Bool(true)), core.AttributeSingleValued},
		{"not Fresh any more", core.Active, set(core.Attribute{Tag: core.TagFresh, Value: core.Bool(true)}), core.AttributeReadOnly},
		{"deleting the State", core.Active, drop(tag(core.TagState)), core.AttributeReadOnly},
		{"deleting Sensitive", core.Active, drop(tag(core.TagSensitive)), core.AttributeReadOnly},
		{"deleting the Usage Mask", core.Active, drop(tag(core.TagCryptographicUsageMask)), core.AttributeReadOnly},
		{"deleting the Digest", core.Active, drop(tag(core.TagDigest)), core.AttributeReadOnly},
		{"deleting the Deactivation Date", core.Deactivated, drop(tag(core.TagDeactivationDate)), core.AttributeReadOnly},
		{"deleting nothing", core.Active, drop(core.AttributeName{}), core.AttributeNotFound},
		{"an Activation Date when Compromised", core.Compromised, add(core.TagActivationDate, core.Date(1)), core.WrongState},
		{"an Activation Date when Destroyed", core.Destroyed, add(core.TagActivationDate, core.Date(1)), core.WrongState},
		{"a Deactivation Date when Compromised", core.Compromised, add(core.TagDeactivationDate, core.Date(1)), core.WrongState},
		{"another Deactivation Date when Deactivated", core.Deactivated, modify(tag(core.TagDeactivationDate), core.Attribute{Tag: core.TagDeactivationDate, Value: core.Date(1 << 40)}), core.WrongState},
		{"a Protect Stop Date when Deactivated", core.Deactivated, add(core.TagProtectStopDate, core.Date(1<<40)), core.WrongState},
		{"a Process Start Date before the Activation Date", core.Active, add(core.TagProcessStartDate, core.Date(1)), core.InvalidField},
		{"a Deactivation Date before the Activation Date", core.Active, add(core.TagDeactivationDate, core.Date(1)), core.InvalidField},
		{"Revoke twice", core.Deactivated, step("cease"), core.WrongState},
		{"Compromise twice", core.Compromised, step("compromise"), core.WrongState},
		{"Activate after Deactivated", core.Deactivated, step("activate"), core.WrongState},
		{"Destroy of Active", core.Active, step("destroy"), core.WrongState},
		{"Destroy twice", core.Destroyed, step("destroy"), core.ObjectDestroyed},
		{"Get of Destroyed", core.Destroyed, step("get"), core.ObjectDestroyed},
		{"Re-key of Destroyed", core.Destroyed, step("re-key"), core.ObjectDestroyed},
	} {
		w := newWorld(t)
		id := w.inState(c.state)
		before, _ := w.store.Object(ctx, "default", id)
		objects := len(w.store.objects)
		if err := c.do(w, id); err == nil || core.CodeOf(err) != c.want {
			t.Errorf("%s: %v; want code %v", c.what, err, c.want)
		}
		if after, _ := w.store.Object(ctx, "default", id); after != before || len(w.store.objects) != objects {
			t.Errorf("%s: it was refused, and changed something", c.what)
		}
	}
}

// Templates have no State: they are not activated, nor revoked, but destroyed.
func TestTemplateHasNoState(t *testing.T) {
	w := newWorld(t)
	v14 := *w.alice
	v14.Version = core.V1_4
	out, err := w.Register(ctx, &v14, &operation.RegisterInput{ObjectType: core.ObjectTypeTemplate, Attributes: attrs(core.TagName, name("t")), Object: core.ObjectBody{Type: core.ObjectTypeTemplate}})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"activate", "cease", "compromise"} {
		if err := w.step(&v14, op, out.ID); core.CodeOf(err) != core.IllegalOperation {
			t.Errorf("%s of a Template: %v", op, err)
		}
	}
	if _, err := w.Check(ctx, &v14, &operation.CheckInput{ID: core.ID(out.ID)}); core.CodeOf(err) != core.IllegalOperation {
		t.Errorf("Check of a Template: %v", err)
	}
	if err := w.step(&v14, "destroy", out.ID); err != nil {
		t.Errorf("destroy of a Template: %v", err)
	}
}

// The Object Group attribute is a label. Changing it gives no access and takes none
// away, or a member of a group could pass a key on.
func TestObjectGroupGivesNoRight(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	w.eve.Principal.Groups = []string{"h"}
	group := core.Attribute{Tag: core.TagObjectGroup, Value: core.Text("h")}
	if _, err := w.AddAttribute(ctx, w.bob, &operation.AddAttributeInput{ID: core.ID(id), Attribute: group}); err != nil {
		t.Fatal(err)
	}
	if err := w.step(w.eve, "get", id); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a group that a member wrote down may use the key: %v", err)
	}
	if err := w.step(w.alice, "get", id); err != nil {
		t.Errorf("the owner: %v", err)
	}
	mine := core.Attribute{Tag: core.TagObjectGroup, Value: core.Text("g")}
	out, err := w.Create(ctx, w.eve, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
		core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt), core.TagObjectGroup, mine.Value)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.step(w.bob, "get attributes", out.ID); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a group that the maker does not belong to may use the key: %v", err)
	}
}

// What another tenant has is not found, not counted and not named: by a Link, as
// a Template, as a name that is taken, or as a wrapping key.
func TestOtherTenantsDoNotExist(t *testing.T) {
	w := newWorld(t)
	w.Settings.Defaults.UniqueNames = true
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	theirs := w.inState(core.Active, core.TagName, name("secret"))
	v14 := *w.alice
	v14.Version = core.V1_4
	if _, err := w.Register(ctx, &v14, &operation.RegisterInput{ObjectType: core.ObjectTypeTemplate, Attributes: attrs(core.TagName, name("template")),
		Object: core.ObjectBody{Type: core.ObjectTypeTemplate, Template: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES))}}); err != nil {
		t.Fatal(err)
	}
	make := func(templates []string, more ...any) (string, error) {
		as := attrs(append([]any{core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(allUses), core.TagActivationDate, core.Date(1)}, more...)...)
		out, err := w.Create(ctx, w.out, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as, TemplateNames: templates})
		return out.ID, err
	}
	if _, err := make([]string{"template"}); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("their Template: %v", err)
	}
	mine, err := make(nil, core.TagName, name("secret"))
	if err != nil {
		t.Errorf("a name that another tenant uses: %v", err)
	}
	link := core.Structure(core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkTypeParentLink)}, core.Field{Tag: core.TagLinkedObjectIdentifier, Value: core.Text(theirs)})
	none := core.Structure(core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkTypeParentLink)}, core.Field{Tag: core.TagLinkedObjectIdentifier, Value: core.Text("nobody")})
	for _, l := range []core.Value{link, none} {
		if _, err := w.AddAttribute(ctx, w.out, &operation.AddAttributeInput{ID: core.ID(mine), Attribute: core.Attribute{Tag: core.TagLink, Value: l}}); err != nil {
			t.Errorf("a Link to a missing object and one to another tenant's object must get the same answer: %v", err)
		}
	}
	text := func(id string) string {
		_, err := w.Get(ctx, w.out, &operation.GetInput{ID: core.ID(mine), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
			Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: id}}})
		return strings.ReplaceAll(fmt.Sprint(core.CodeOf(err), err), id, "ID")
	}
	if a, b := text(theirs), text("00000000-0000-0000-0000-000000000000"); a != b {
		t.Errorf("their wrapping key is answered %q, none %q", a, b)
	}
	out, err := w.Locate(ctx, w.out, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagName, name("secret"))})
	if err != nil || out.Located != 1 || !slices.Equal(out.IDs, []string{mine}) {
		t.Errorf("Locate finds %+v, %v; want one's own alone", out, err)
	}
}

// watchedStore notes each access to the rows of objects, and what is stored.
type watchedStore struct {
	core.Store
	calls *[]string
}

func (s watchedStore) note(call string) { *s.calls = append(*s.calls, call) }

func (s watchedStore) Object(ctx context.Context, tenant, id string) (*core.ManagedObject, error) {
	s.note("Object of " + tenant)
	return s.Store.Object(ctx, tenant, id)
}

func (s watchedStore) Candidates(ctx context.Context, tenant string, f core.Filter, beyond int64, limit int) ([]*core.ManagedObject, error) {
	s.note("Candidates of " + tenant)
	return s.Store.Candidates(ctx, tenant, f, beyond, limit)
}

func (s watchedStore) Usage(ctx context.Context, tenant string) (core.Usage, error) {
	s.note("Usage of " + tenant)
	return s.Store.Usage(ctx, tenant)
}

func (s watchedStore) Commit(ctx context.Context, c *core.Change) error {
	for _, w := range c.Writes {
		s.note(fmt.Sprintf("%T of %s", w, w.ForTenant()))
	}
	return s.Store.Commit(ctx, c)
}

// Each operation on an object of another tenant does what it does on one that does not exist: the
// same answer, the same accesses to the store in the same order, and none to the HSM. So its
// duration tells nothing either.
func TestOtherTenantsTakeTheSameTime(t *testing.T) {
	const absent = "00000000-0000-0000-0000-000000000000"
	tried := 0
	for action, e := range every {
		if !e.object {
			continue
		}
		tried++
		w := newWorld(t)
		theirs := w.objectOf(e)
		ask := func(id string) string {
			var calls []string
			ports := w.Ports
			ports.Store, ports.HSM = watchedStore{w.store, &calls}, nil // each use of the HSM would be a panic
			w.serve(newNode(engine.New(ports, w.Settings)))
			err := e.do(w, w.out, id)
			if core.CodeOf(err) != core.ItemNotFound {
				t.Errorf("%v on %s: %v; want Item Not Found", action, id, err)
			}
			return strings.ReplaceAll(fmt.Sprint(err, calls), id, "ID")
		}
		if a, b := ask(theirs), ask(absent); a != b {
			t.Errorf("%v on another tenant's object:\n%s\nand on none:\n%s", action, a, b)
		}
	}
	if tried < 15 {
		t.Errorf("only %d operations were tried", tried)
	}
}

// readers lets everybody of the tenant read attributes, as auditors do, and only
// the owner Get.
type readers struct{ tenantPolicy }

func (readers) Decide(_ context.Context, a *core.AccessRequest) (core.Decision, error) {
	reads := a.Action == core.ActionGetAttributes || a.Action == core.ActionGetAttributeList || a.Action == core.ActionLocate
	return core.Decision{Allow: a.Object == nil || reads || a.Object.Owner == a.Principal.ID, Scope: "tenant", Reasons: []string{"test"}}, nil
}

// Who may read attributes and not the value does not learn the Digest of a
// password, neither by reading it nor by searching for it.
func TestDigestOfASecretIsForReaders(t *testing.T) {
	w := newWorld(t)
	w.Ports.Policy = readers{}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData, Object: core.ObjectBody{Type: core.ObjectTypeSecretData,
		SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: []byte("secret")}}})
	if err != nil {
		t.Fatal(err)
	}
	o, _ := w.store.Object(ctx, "default", out.ID)
	digest, ok := o.Attributes.Get(core.TagDigest)
	if !ok {
		t.Fatal("the secret has no Digest")
	}
	for c, want := range map[*core.Caller]int{w.alice: 1, w.eve: 0} {
		got, err := w.GetAttributes(ctx, c, &operation.GetAttributesInput{ID: core.ID(out.ID)})
		if err != nil || len(got.Attributes.All(core.AttributeName{Tag: core.TagDigest})) != want {
			t.Errorf("%s reads %d Digests, want %d (%v)", c.Principal.ID, len(got.Attributes.All(core.AttributeName{Tag: core.TagDigest})), want, err)
		}
		found, err := w.Locate(ctx, c, &operation.LocateInput{MaximumItems: -1, Attributes: attrs(core.TagDigest, digest)})
		if err != nil || len(found.IDs) != want {
			t.Errorf("%s finds %v by the Digest, want %d (%v)", c.Principal.ID, found.IDs, want, err)
		}
	}
}
