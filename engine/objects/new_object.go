package objects

import (
	"crypto/sha256"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// leaseSeconds is the Lease Time of all objects: how long a client may use a copy before
// it should ask again (KMIP 1.4 §3.20).
const leaseSeconds = 3600

// newObject returns a new object of the caller with all attributes that do not depend on
// key bytes. It reserves quota and stores nothing.
func newObject(k *engine.Call, t core.ObjectType, given core.Attributes) (*core.ManagedObject, error) {
	if err := rules.CheckCount(given); err != nil {
		return nil, err
	}
	if err := rules.CheckTotalSize(given); err != nil {
		return nil, err
	}
	p := k.Caller.Principal
	row, err := engine.RowOfCaller(k)
	if err != nil {
		return nil, err
	}
	if err := k.HoldObject(); err != nil {
		return nil, err
	}
	o := &core.ManagedObject{Tenant: p.Tenant, ID: engine.NewID(), Type: t, Owner: p.ID, Group: groupOfNew(p, given, row.KeyGroup, k.Settings.Defaults.KeyGroup), Version: 1}
	now := core.Date(k.Now)
	short := sha256.Sum256([]byte(o.ID)) // KMIP 2.1 §4.56
	as := core.Attributes{
		{Tag: core.TagUniqueIdentifier, Value: core.Text(o.ID)},
		{Tag: core.TagObjectType, Value: core.Enum(t)},
		{Tag: core.TagInitialDate, Value: now},
		{Tag: core.TagLastChangeDate, Value: now},
		{Tag: core.TagOriginalCreationDate, Value: now},
		{Tag: core.TagShortUniqueIdentifier, Value: core.Bytes(short[:])},
	}
	for _, a := range given {
		if a.Tag == core.TagOriginalCreationDate {
			as = as.Set(a.Tag, a.Value)
			continue
		}
		as = append(as, a)
	}
	if t != core.ObjectTypeTemplate {
		as = append(as, core.Attribute{Tag: core.TagState, Value: core.Enum(core.PreActive)},
			core.Attribute{Tag: core.TagLeaseTime, Value: core.Interval(leaseSeconds)})
		if k.Action != core.ActionRegister || !as.Has(core.TagFresh) { // only a registered object can have been seen by a client
			as = as.Set(core.TagFresh, core.Bool(true))
		}
	}
	o.Attributes = as
	if err := rules.CheckDates(o); err != nil {
		return nil, err
	}
	k.ClaimNames(given)
	o.Attributes = o.Attributes.Set(core.TagState, core.Enum(o.StateAt(k.Now)))
	if t == core.ObjectTypeTemplate {
		o.Attributes = o.Attributes.Without(core.AttributeName{Tag: core.TagState})
	}
	o.Attributes = rules.InitUsageLimits(o.Attributes)
	return o, nil
}

// groupOfNew returns the group whose members may use the object besides its owner: the
// first one that the caller is a member of. The Object Groups of the request come first,
// then the setting of the client, of its tenant and of the server. If there is none, it
// returns "": the object belongs to its owner alone.
func groupOfNew(p *core.Principal, given core.Attributes, ofTenant, ofServer string) string {
	for _, a := range given.All(core.AttributeName{Tag: core.TagObjectGroup}) {
		if p.InGroup(a.Value.Text) {
			return a.Value.Text
		}
	}
	for _, group := range []string{p.KeyGroup, ofTenant, ofServer} {
		if p.InGroup(group) {
			return group
		}
	}
	return ""
}

// chooseCustody chooses the class of new key material from the request and the server's
// defaults, and sets the attributes that depend on the class. generated is true if the
// server makes the material.
func chooseCustody(k *engine.Call, o *core.ManagedObject, generated bool) (class core.Class, err error) {
	row, err := engine.RowOfCaller(k)
	if err != nil {
		return "", err
	}
	sensitive, extractable := k.Settings.Defaults.Sensitive, !k.Settings.Defaults.NotExtractable
	if row.Sensitive != nil {
		sensitive = *row.Sensitive
	}
	if row.NotExtractable != nil {
		extractable = !*row.NotExtractable
	}
	if v, ok := o.Attributes.Get(core.TagSensitive); ok {
		sensitive = v.Num != 0
	}
	if v, ok := o.Attributes.Get(core.TagExtractable); ok {
		extractable = v.Num != 0
	}
	if sensitive, err = chooseSensitive(k, o, sensitive, extractable); err != nil {
		return "", err
	}
	class = core.ClassOf(sensitive, extractable)
	if slices.Contains(k.Settings.Defaults.ForbidClasses, class) {
		return "", core.Errorf(core.PermissionDenied, "this server keeps no objects with Sensitive %v and Extractable %v", sensitive, extractable)
	}
	if err := rules.CheckTenantClass(row, class); err != nil {
		return "", err
	}
	// Registered bytes have been outside: they were not always Sensitive, and they have
	// been Extractable (KMIP 1.4 §3.48, §3.50).
	o.Attributes = o.Attributes.Set(core.TagSensitive, core.Bool(sensitive)).Set(core.TagExtractable, core.Bool(extractable)).
		Set(core.TagAlwaysSensitive, core.Bool(generated && sensitive)).Set(core.TagNeverExtractable, core.Bool(generated && !extractable))
	rules.SetStorage(o, class)
	return class, nil
}

// chooseSensitive returns whether an object is Sensitive. If the client does not say,
// the value is changed if only that satisfies the client's Protection Storage Masks.
func chooseSensitive(k *engine.Call, o *core.ManagedObject, sensitive, extractable bool) (bool, error) {
	switch {
	case rules.PermitsClass(k.StorageMasks, core.ClassOf(sensitive, extractable)):
		return sensitive, nil
	case !o.Attributes.Has(core.TagSensitive) && rules.PermitsClass(k.StorageMasks, core.ClassOf(!sensitive, extractable)):
		return !sensitive, nil
	}
	return sensitive, core.Errorf(core.ProtectionStorageUnavailable, "with Sensitive %v and Extractable %v the storage is %v, which no Protection Storage Mask of the request allows",
		sensitive, extractable, rules.StorageOf(core.ClassOf(sensitive, extractable)))
}

// setDigest sets the SHA-256 Digest if it is known and a client may know it (see
// [engine.Call.MayKnowDigest]): not for class N, and for Secret Data only in class C.
func setDigest(o *core.ManagedObject, sha256 []byte) {
	if sha256 == nil || o.Material.Class == core.ClassN || (o.Type == core.ObjectTypeSecretData && o.Material.Class != core.ClassC) {
		return
	}
	o.Attributes = o.Attributes.Add(core.Attribute{Tag: core.TagDigest, Value: core.Digest{Hash: core.HashSHA256, Sum: sha256, Format: o.Material.Format}.Value()})
}

// setGenerator sets the Random Number Generator attribute (KMIP 1.4 §3.44).
func setGenerator(o *core.ManagedObject) {
	o.Attributes = o.Attributes.Set(core.TagRandomNumberGenerator, core.RandomNumberGenerator(core.RNGAlgorithmUnspecified))
}

// linkTo returns a Link attribute (KMIP 1.4 §3.35).
func linkTo(t core.LinkType, id string) core.Attribute {
	return core.Attribute{Tag: core.TagLink, Value: core.Link{Type: t, ID: id}.Value()}
}

// mergeTemplates checks the attributes that a client gives to a new object and merges
// them with those of the Templates that it names (KMIP 1.x). Later Templates replace
// earlier ones, and given attributes replace those of Templates (KMIP 1.4 §4).
func mergeTemplates(k *engine.Call, given core.Attributes, names []string) (core.Attributes, error) {
	if err := rules.CheckNewAttributes(given); err != nil {
		return nil, err
	}
	if len(names) > rules.MaxTemplates {
		return nil, core.Errorf(core.InvalidField, "%d Templates are named; a request may name %d", len(names), rules.MaxTemplates)
	}
	if len(names) == 0 {
		return rules.Overlay(nil, given, rules.MayHaveSeveral), nil
	}
	var out core.Attributes
	for _, n := range names {
		t, err := findTemplate(k, n)
		if err != nil {
			return nil, err
		}
		out = rules.Overlay(out, rules.TemplateContent(t).Without(core.AttributeName{Tag: core.TagName}), rules.MayHaveSeveral)
		if err := rules.CheckCount(out); err != nil { // in each round, because merging takes quadratic time
			return nil, err
		}
	}
	out = rules.Overlay(out, given, rules.MayHaveSeveral)
	return out, rules.CheckNewAttributes(out)
}

// setContent stores the content of a registered Template; see [rules.TemplateContent].
func setContent(o *core.ManagedObject, content core.Attributes) error {
	if err := rules.CheckNewAttributes(content); err != nil {
		return err
	}
	var fields []core.Field
	for _, a := range content {
		switch a.Tag {
		case core.TagName:
			return core.Errorf(core.InvalidField, "the Name of a Template stands in the Template-Attribute, not in the Template, since KMIP 1.2")
		case 0:
			fields = append(fields, core.Field{Tag: core.TagAttribute, Value: a.Structure()})
		default:
			fields = append(fields, core.Field{Tag: a.Tag, Value: a.Value})
		}
	}
	o.Attributes = o.Attributes.Set(core.TagTemplate, core.Structure(fields...))
	return rules.CheckTotalSize(o.Attributes)
}

// findTemplate returns the first Template of the tenant that has a Name and that the
// caller may read. If there is none, it fails with ItemNotFound.
func findTemplate(k *engine.Call, name string) (*core.ManagedObject, error) {
	f := core.Filter{Now: k.Now, WholeTenant: true, Attributes: core.Attributes{
		{Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeTemplate)},
		{Tag: core.TagName, Value: core.Name{Text: name}.Value()}}}
	found, err := k.Ports.Store.Candidates(k.Ctx, k.Caller.Principal.Tenant, f, 0, core.CandidatePage)
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if !f.Matches(o) || o.StateAt(k.Now).Gone() {
			continue
		}
		_, err := k.Decide(core.ActionGetAttributes, o)
		if err == nil {
			k.Involve(o.ID, core.RoleSource)
			return o, engine.RequireAvailable(k.Action, o)
		}
		if core.CodeOf(err) != core.PermissionDenied {
			return nil, err // the policy has failed, so it is not known which Template is meant
		}
	}
	return nil, core.Errorf(core.ItemNotFound, "no Template is named %s", core.ClientText(name))
}
