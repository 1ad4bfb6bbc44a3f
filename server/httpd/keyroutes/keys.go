package keyroutes

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// objectTypes are the types of objects by their name in the API.
var objectTypes = map[core.ObjectType]string{core.ObjectTypeSymmetricKey: "symmetric", core.ObjectTypePrivateKey: "pair", core.ObjectTypePublicKey: "public", core.ObjectTypeSecretData: "secret",
	core.ObjectTypeCertificate: "certificate", core.ObjectTypeOpaqueObject: "opaque", core.ObjectTypeTemplate: "template", core.ObjectTypeSplitKey: "split", core.ObjectTypePGPKey: "pgp", core.ObjectTypeCertificateRequest: "certificateRequest"}

// describe returns what attributes say about an object.
func describe(id string, as core.Attributes) api.Key {
	k := api.Key{KeyID: id, Type: objectTypes[core.ObjectType(as.Num(core.TagObjectType))], Length: int32(as.Num(core.TagCryptographicLength)), State: stateOf(as),
		Usage: usageNames(core.UsageMask(uint32(as.Num(core.TagCryptographicUsageMask)))), CreatedAt: dateOf(as, core.TagInitialDate), ActivatedAt: dateOf(as, core.TagActivationDate), ExpiresAt: dateOf(as, core.TagDeactivationDate),
		Sensitive: flagOf(as, core.TagSensitive), Extractable: flagOf(as, core.TagExtractable)}
	if as.Has(core.TagCryptographicAlgorithm) {
		k.Algorithm = core.CryptographicAlgorithm(as.Num(core.TagCryptographicAlgorithm)).String()
	}
	if v, ok := as.Get(core.TagCryptographicDomainParameters); ok {
		if f := v.Field(core.TagRecommendedCurve); !f.IsZero() {
			k.Curve = core.RecommendedCurve(f.Num).String()
		}
	}
	if v, ok := as.Get(core.TagDescription); ok {
		k.Description = v.Text
	}
	if k.Algorithm != "" {
		k.Version = 1 // if no attribute says otherwise
	}
	addLife(&k, as)
	for i := range as {
		addAttribute(&k, &as[i])
	}
	if len(k.Names) > 0 {
		k.Name = k.Names[0]
	}
	if len(k.Names) == 1 {
		k.Names = nil
	}
	return k
}

// addAttribute takes an attribute that can have several values, or a name of its own.
func addAttribute(k *api.Key, a *core.Attribute) {
	switch {
	case a.Tag == core.TagName:
		k.Names = append(k.Names, core.NameOf(a.Value).Text)
	case a.Tag == core.TagObjectGroup:
		k.ObjectGroups = append(k.ObjectGroups, a.Value.Text)
	case a.Ref() == rules.CustodyAttribute:
		k.Custody = a.Value.Text
	case a.Ref() == core.VersionAttribute:
		k.Version = int32(a.Value.Num)
	case rules.IsOfFamily(a.Ref()): // the family is the keyId
	case a.Tag == 0 && a.Value.Kind == core.KindTextString:
		if name, ok := strings.CutPrefix(a.Ref().String(), tagPrefix); ok {
			put(&k.Tags, name, a.Value.Text)
		} else {
			put(&k.Attributes, a.Ref().String(), a.Value.Text)
		}
	}
}

// stateOf returns the name of a state, "" if there is none.
func stateOf(as core.Attributes) string {
	if !as.Has(core.TagState) {
		return ""
	}
	return core.State(as.Num(core.TagState)).String()
}

func put(m *map[string]string, name, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[name] = value
}

// flagOf returns an attribute that is true or false, nil if there is none.
func flagOf(as core.Attributes, t core.Tag) *bool {
	v, ok := as.Get(t)
	if !ok {
		return nil
	}
	flag := v.Num != 0
	return &flag
}

// dateOf returns a date as text, "" if there is none.
func dateOf(as core.Attributes, t core.Tag) string {
	v, ok := as.Get(t)
	if !ok {
		return ""
	}
	return door.TimeText(v.Num)
}

func (s *service) getKey(c *core.Caller, r *http.Request) (keyAnswer, error) {
	id, err := s.pathKey(c, r, core.ActionGetAttributes)
	if err != nil {
		return keyAnswer{}, err
	}
	out, err := s.Attributes.GetAttributes(r.Context(), c, &operation.GetAttributesInput{ID: id})
	if err != nil {
		return keyAnswer{}, err
	}
	return describeAll(&out), nil
}

func describeAll(out *operation.GetAttributesOutput) keyAnswer {
	k := keyAnswer{Key: describe(out.ID, out.Attributes), stored: out.Version}
	k.Owner, k.Group, k.Class = out.Owner, out.Group, string(out.Class)
	return k
}

// keyAnswer is the answer about one key.
type keyAnswer struct {
	api.Key
	stored int64 // ChangeNumber of the object; it is the ETag
	made   bool  // the request has made the key
}

// SetHeaders sets ETag and Location.
func (k keyAnswer) SetHeaders(h http.Header) {
	door.Version(k.stored).SetHeaders(h)
	if k.made {
		h.Set("Location", "/v1/keys/"+url.PathEscape(k.KeyID))
	}
}

func (s *service) createKey(c *core.Caller, r *http.Request) (keyAnswer, error) {
	var body api.NewKey
	action := core.ActionCreate
	err := door.Decode(r.Body, &body)
	if body.Type == typePair {
		action = core.ActionCreateKeyPair
	}
	var in keyAttributes
	if err == nil {
		err = checkGroup(c, body.Group)
	}
	if err == nil {
		in, err = readNewKey(&body)
	}
	if err != nil {
		return keyAnswer{}, s.Engine.RecordRefused(r.Context(), c, action, err)
	}
	if body.Type == typePair {
		out, err := s.Objects.CreateKeyPair(r.Context(), c, &operation.CreateKeyPairInput{Common: in.common, Private: in.private, Public: in.public, ActivateNow: orElse(body.Activate, true)})
		if err != nil {
			return keyAnswer{}, err
		}
		made := showMade(out.Private)
		made.PublicKeyID = out.PublicID
		return made, nil
	}
	t := core.ObjectTypeSymmetricKey
	if body.Type == typeSecret {
		t = core.ObjectTypeSecretData
	}
	out, err := s.Objects.Create(r.Context(), c, &operation.CreateInput{ObjectType: t, Attributes: in.common, ActivateNow: orElse(body.Activate, true)})
	if err != nil {
		return keyAnswer{}, err
	}
	return showMade(out.Made), nil
}

// checkGroup refuses a group for a new key that is none of the caller's.
func checkGroup(c *core.Caller, group *string) error {
	if group != nil && !c.Principal.InGroup(*group) {
		return core.Errorf(core.InvalidField, `"group" %q is not a group of yours; leave it out for a key of your own`, door.Quotable(*group))
	}
	return nil
}

// rebuildKey shows a key that an earlier request has made.
func (s *service) rebuildKey(c *core.Caller, r *http.Request, made string) (keyAnswer, error) {
	out, err := s.Attributes.GetAttributes(r.Context(), c, &operation.GetAttributesInput{ID: core.Identifier{Text: made}})
	if err != nil {
		return keyAnswer{}, err
	}
	k := describeAll(&out)
	k.made = true
	for _, a := range out.Attributes.All(core.AttributeName{Tag: core.TagLink}) {
		if link := core.LinkOf(a.Value); link.Type == core.LinkTypePublicKeyLink {
			k.PublicKeyID = link.ID
		}
	}
	return k, nil
}

// showMade returns an object that was just made, for its maker.
func showMade(o *core.ManagedObject) keyAnswer {
	k := keyAnswer{describe(o.ID, o.Attributes), o.ChangeNumber(), true}
	k.Owner, k.Group, k.Class = o.Owner, o.Group, string(o.Material.Class)
	return k
}

func readActivate(*api.ActivateRequest) (in operation.ActivateInput, err error) { return in, nil }

// activateKey makes a key Active now. The answer needs no right to read the key.
func (s *service) activateKey(c *core.Caller, r *http.Request) (keyAnswer, error) {
	in, err := readFor(s, c, r, core.ActionActivate, readActivate)
	if err != nil {
		return keyAnswer{}, err
	}
	if in.ID, err = s.pathKey(c, r, core.ActionActivate); err != nil {
		return keyAnswer{}, err
	}
	out, err := s.Objects.Activate(r.Context(), c, &in)
	return showChanged(&out), err
}

// revocationReasons are the reasons by their name in the API.
var revocationReasons = map[string]core.RevocationReasonCode{"unspecified": core.RevocationReasonCodeUnspecified, "keyCompromise": core.RevocationReasonCodeKeyCompromise, "caCompromise": core.RevocationReasonCodeCACompromise,
	"affiliationChanged": core.RevocationReasonCodeAffiliationChanged, "superseded": core.RevocationReasonCodeSuperseded, "cessationOfOperation": core.RevocationReasonCodeCessationOfOperation, "privilegeWithdrawn": core.RevocationReasonCodePrivilegeWithdrawn}

func readRevoke(in *api.RevokeRequest) (out operation.RevokeInput, err error) {
	out.Code, out.Message = revocationReasons[in.Reason], orElse(in.Message, "")
	if in.CompromisedAt != nil {
		at, err := door.ReadTime("compromisedAt", *in.CompromisedAt)
		if err != nil {
			return out, err
		}
		out.CompromiseOccurrence = &at
	}
	return out, nil
}

// revokeKey ends the use of a key to protect data. The answer needs no right to read the key.
func (s *service) revokeKey(c *core.Caller, r *http.Request) (keyAnswer, error) {
	in, err := readFor(s, c, r, core.ActionRevoke, readRevoke)
	if err != nil {
		return keyAnswer{}, err
	}
	if in.ID, err = s.pathKey(c, r, core.ActionRevoke); err != nil {
		return keyAnswer{}, err
	}
	out, err := s.Objects.Revoke(r.Context(), c, &in)
	return showChanged(&out), err
}
