package keyroutes

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// newKey is the body of POST /v1/keys.
type newKey struct {
	Type        string   `json:"type"`      // "symmetric" or "pair"
	Algorithm   string   `json:"algorithm"` // "AES", "RSA", "EC", "HMAC-SHA256" ...
	Length      *int32   `json:"length"`    // bits; left out: the usual one
	Name        *string  `json:"name"`
	Usage       []string `json:"usage"` // "encrypt", "decrypt", "sign", "verify", "mac_generate", "mac_verify", "wrap_key", "unwrap_key", "derive_key"
	Sensitive   *bool    `json:"sensitive"`
	Extractable *bool    `json:"extractable"`
	Custody     *string  `json:"custody"`  // "wrapped" or "resident"
	Group       *string  `json:"group"`    // one of the caller's groups, which owns the key too
	Activate    *bool    `json:"activate"` // left out: true
}

// key is the answer about an object.
type key struct {
	ID          string   `json:"id"`
	PublicID    string   `json:"public_id,omitempty"`
	ObjectType  string   `json:"object_type,omitempty"`
	Algorithm   string   `json:"algorithm,omitempty"`
	Length      int64    `json:"length,omitempty"`
	Names       []string `json:"names,omitempty"`
	State       string   `json:"state,omitempty"`
	Usage       []string `json:"usage,omitempty"`
	Sensitive   *bool    `json:"sensitive,omitempty"`
	Extractable *bool    `json:"extractable,omitempty"`
	InitialDate string   `json:"initial_date,omitempty"`
	Owner       string   `json:"owner,omitempty"`
	Group       string   `json:"group,omitempty"` // whose members may use it too
	Class       string   `json:"class,omitempty"` // "N", "X" or "C"
}

func (s *service) createKey(c *core.Caller, r *http.Request) (key, error) {
	var in newKey
	action := core.ActionCreate
	err := door.Decode(r.Body, &in)
	var as, private, public core.Attributes
	if in.Type == "pair" {
		action = core.ActionCreateKeyPair
	}
	if err == nil && in.Group != nil && !c.Principal.InGroup(*in.Group) {
		err = core.Errorf(core.InvalidField, `"group" %q is not a group of yours; leave it out for a key of your own`, door.Quotable(*in.Group))
	}
	if err == nil {
		as, private, public, err = in.attributes()
	}
	if err != nil {
		return key{}, s.Engine.RecordRefused(r.Context(), c, action, err)
	}
	if in.Type == "pair" {
		out, err := s.Objects.CreateKeyPair(r.Context(), c, &operation.CreateKeyPairInput{Common: as, Private: private, Public: public})
		return key{ID: out.PrivateID, PublicID: out.PublicID}, err
	}
	out, err := s.Objects.Create(r.Context(), c, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as})
	if err != nil {
		return key{}, err
	}
	return key{ID: out.ID, ObjectType: out.ObjectType.String()}, nil
}

// usages translates the names of uses, and says which half of a pair has them.
var usages = map[string]struct {
	mask   core.UsageMask
	public bool
}{"encrypt": {core.MaskEncrypt, true}, "decrypt": {core.MaskDecrypt, false}, "sign": {core.MaskSign, false}, "verify": {core.MaskVerify, true},
	"mac_generate": {core.MaskMACGenerate, false}, "mac_verify": {core.MaskMACVerify, false}, "wrap_key": {core.MaskWrapKey, true},
	"unwrap_key": {core.MaskUnwrapKey, false}, "derive_key": {core.MaskDeriveKey, false}}

// attributes translates the body into what both halves, or the one key, share,
// and the uses of each half.
func (in *newKey) attributes() (as, private, public core.Attributes, err error) {
	if in.Type != "symmetric" && in.Type != "pair" {
		return nil, nil, nil, core.Errorf(core.InvalidField, `"type" must be "symmetric" or "pair"`)
	}
	alg, ok := core.TagCryptographicAlgorithm.Info().Enum.ByName(in.Algorithm)
	if !ok {
		return nil, nil, nil, core.Errorf(core.InvalidField, `"algorithm" %q is none that is known; "AES", "RSA" and "EC" are some`, door.Quotable(in.Algorithm))
	}
	if len(in.Usage) == 0 {
		return nil, nil, nil, core.Errorf(core.InvalidField, `"usage" must list at least one use`)
	}
	set := func(t core.Tag, v core.Value) { as = as.Add(core.Attribute{Tag: t, Value: v}) }
	set(core.TagCryptographicAlgorithm, core.Enum(alg))
	if in.Length != nil {
		if *in.Length <= 0 {
			return nil, nil, nil, core.Errorf(core.InvalidField, `"length" must be a number of bits; leave it out for the usual one`)
		}
		set(core.TagCryptographicLength, core.Int(*in.Length))
	}
	if in.Name != nil {
		set(core.TagName, core.PlainName(*in.Name).Value())
	}
	if in.Sensitive != nil {
		set(core.TagSensitive, core.Bool(*in.Sensitive))
	}
	if in.Extractable != nil {
		set(core.TagExtractable, core.Bool(*in.Extractable))
	}
	if in.Custody != nil {
		as = as.Add(core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text(*in.Custody)})
	}
	if in.Group != nil {
		set(core.TagObjectGroup, core.Text(*in.Group))
	}
	if in.Activate == nil || *in.Activate {
		set(core.TagActivationDate, core.Date(time.Now().Unix()))
	}
	var masks [2]core.UsageMask
	for _, u := range in.Usage {
		use, ok := usages[u]
		if !ok {
			return nil, nil, nil, core.Errorf(core.InvalidField, `"usage" %q is none that is known`, door.Quotable(u))
		}
		if in.Type == "pair" && use.public {
			masks[1] |= use.mask
		} else {
			masks[0] |= use.mask
		}
	}
	if in.Type == "symmetric" {
		set(core.TagCryptographicUsageMask, core.Mask(masks[0]))
		return as, nil, nil, nil
	}
	return as, core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(masks[0])}}, core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(masks[1])}}, nil
}

func (s *service) getKey(c *core.Caller, r *http.Request) (key, error) {
	id := r.PathValue("id")
	out, err := s.Attributes.GetAttributes(r.Context(), c, &operation.GetAttributesInput{ID: core.ID(id)})
	if err != nil {
		return key{}, err
	}
	shown := describe(out.ID, out.Attributes)
	shown.Owner, shown.Group, shown.Class = out.Owner, out.Group, string(out.Class)
	return shown, nil
}

func describe(id string, as core.Attributes) key {
	k := key{ID: id, Length: as.Num(core.TagCryptographicLength), ObjectType: core.ObjectType(as.Num(core.TagObjectType)).String()}
	if as.Has(core.TagCryptographicAlgorithm) {
		k.Algorithm = core.CryptographicAlgorithm(as.Num(core.TagCryptographicAlgorithm)).String()
	}
	if as.Has(core.TagState) {
		k.State = core.State(as.Num(core.TagState)).String()
	}
	for _, a := range as.All(core.AttributeName{Tag: core.TagName}) {
		k.Names = append(k.Names, core.NameOf(a.Value).Text)
	}
	mask := core.UsageMask(uint32(as.Num(core.TagCryptographicUsageMask)))
	for _, v := range core.TagCryptographicUsageMask.Info().Enum.Values {
		if uint32(mask)&v.Value != 0 {
			k.Usage = append(k.Usage, strings.ReplaceAll(strings.ToLower(v.Name), " ", "_"))
		}
	}
	for t, p := range map[core.Tag]**bool{core.TagSensitive: &k.Sensitive, core.TagExtractable: &k.Extractable} {
		if v, ok := as.Get(t); ok {
			b := v.Num != 0
			*p = &b
		}
	}
	if v, ok := as.Get(core.TagInitialDate); ok {
		k.InitialDate = time.Unix(v.Num, 0).UTC().Format(time.RFC3339)
	}
	return k
}

// keyPage is the answer of GET /v1/keys.
type keyPage struct {
	IDs  []string `json:"ids"`
	Next int32    `json:"next_offset,omitempty"` // 0: there are no more
}

// listKeys is Locate: ?name=, ?algorithm=, ?state=, ?offset=, ?limit=.
func (s *service) listKeys(c *core.Caller, r *http.Request) (keyPage, error) {
	in, err := locateInput(r.URL.RawQuery)
	if err != nil {
		return keyPage{}, s.Engine.RecordRefused(r.Context(), c, core.ActionLocate, err)
	}
	out, err := s.Attributes.Locate(r.Context(), c, in)
	if err != nil {
		return keyPage{}, err
	}
	page := keyPage{IDs: out.IDs}
	if page.IDs == nil {
		page.IDs = []string{}
	}
	if len(out.IDs) == int(in.MaximumItems) {
		page.Next = in.OffsetItems + in.MaximumItems
	}
	return page, nil
}

// locateInput refuses a query that it does not read in full: a filter that is
// left out would find more than was asked for.
func locateInput(raw string) (*operation.LocateInput, error) {
	q, err := door.SingleValues(raw)
	if err != nil {
		return nil, err
	}
	in := &operation.LocateInput{MaximumItems: door.DefaultPage}
	for name, v := range q {
		if v == "" {
			return nil, core.Errorf(core.InvalidField, "%q is empty; leave it out", door.Quotable(name))
		}
		switch name {
		case "name":
			in.Attributes = in.Attributes.Add(core.Attribute{Tag: core.TagName, Value: core.Name{Text: v}.Value()})
		case "algorithm", "state", "object_type":
			t := map[string]core.Tag{"algorithm": core.TagCryptographicAlgorithm, "state": core.TagState, "object_type": core.TagObjectType}[name]
			n, ok := t.Info().Enum.ByName(v)
			if !ok {
				return nil, core.Errorf(core.InvalidField, "%q has no value %q", name, door.Quotable(v))
			}
			in.Attributes = in.Attributes.Add(core.Attribute{Tag: t, Value: core.Enum(n)})
		case "offset", "limit":
			n, err := strconv.ParseInt(v, 10, 32)
			if err != nil || n < 0 || n > math.MaxInt32-door.MaxPage || (name == "limit" && (n < 1 || n > door.MaxPage)) {
				return nil, core.Errorf(core.InvalidField, "%q must be a number%s", name, map[string]string{"limit": fmt.Sprintf(" from 1 to %d", door.MaxPage)}[name])
			}
			if name == "offset" {
				in.OffsetItems = int32(n)
			} else {
				in.MaximumItems = int32(n)
			}
		default:
			return nil, core.Errorf(core.InvalidField, "%q is no filter; name, algorithm, state, object_type, offset and limit are", door.Quotable(name))
		}
	}
	return in, nil
}

// keysOfTenant is GET /v1/keys for the caller's own tenant. Another tenant is not found,
// whether it exists or not.
func keysOfTenant(s *service, c *core.Caller, r *http.Request) (keyPage, error) {
	if name := r.PathValue("tenantId"); name != c.Principal.Tenant {
		return keyPage{}, s.Engine.RecordRefused(r.Context(), c, core.ActionLocate, core.Errorf(core.ItemNotFound, "there is no tenant %q", door.Quotable(name)))
	}
	return s.listKeys(c, r)
}
