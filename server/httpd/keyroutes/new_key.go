package keyroutes

import (
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// The types of new keys.
const (
	typeSymmetric = "symmetric"
	typePair      = "pair"
	typeSecret    = "secret"
)

// tagPrefix begins the names of the attributes that hold tags.
const tagPrefix = "x-keyreeve-tag-"

// usage is a use of a key, and the half of a pair that has it.
type usage struct {
	name   string
	mask   core.UsageMask
	public bool
}

// usages are the uses of keys by their name in the API.
var usages = []usage{{"encrypt", core.MaskEncrypt, true}, {"decrypt", core.MaskDecrypt, false}, {"sign", core.MaskSign, false}, {"verify", core.MaskVerify, true},
	{"macGenerate", core.MaskMACGenerate, false}, {"macVerify", core.MaskMACVerify, false}, {"wrapKey", core.MaskWrapKey, true}, {"unwrapKey", core.MaskUnwrapKey, false}, {"deriveKey", core.MaskDeriveKey, false}}

// usageNames lists the uses in a mask. Those that the API has no name for are left out.
func usageNames(mask core.UsageMask) (names []string) {
	for _, u := range usages {
		if mask&u.mask != 0 {
			names = append(names, u.name)
		}
	}
	return names
}

// keyAttributes are the attributes of a new key: those that both halves of a pair share, and
// those of each half. A key that is no pair has common ones alone.
type keyAttributes struct{ common, private, public core.Attributes }

// readNewKey translates a body.
func readNewKey(in *api.NewKey) (out keyAttributes, err error) {
	set := func(t core.Tag, v core.Value) { out.common = out.common.Add(core.Attribute{Tag: t, Value: v}) }
	if err := setAlgorithm(in, set); err != nil {
		return out, err
	}
	if in.Name != nil {
		set(core.TagName, core.PlainName(*in.Name).Value())
	}
	if in.Description != nil {
		set(core.TagDescription, core.Text(*in.Description))
	}
	for t, flag := range map[core.Tag]*bool{core.TagSensitive: in.Sensitive, core.TagExtractable: in.Extractable} {
		if flag != nil {
			set(t, core.Bool(*flag))
		}
	}
	if in.Group != nil { // first, because the first group of the caller owns the key
		set(core.TagObjectGroup, core.Text(*in.Group))
	}
	for _, g := range in.ObjectGroups {
		if in.Group == nil || g != *in.Group {
			set(core.TagObjectGroup, core.Text(g))
		}
	}
	if in.ExpiresAt != nil {
		at, err := door.ReadTime("expiresAt", *in.ExpiresAt)
		if err != nil {
			return out, err
		}
		set(core.TagDeactivationDate, core.Date(at))
	}
	if err := addCustom(in, &out.common); err != nil {
		return out, err
	}
	return out, setUsage(in, &out)
}

// setAlgorithm sets algorithm, length and curve. Secret Data may have no algorithm, and a private
// or public key that is imported in clear shows it.
func setAlgorithm(in *api.NewKey, set func(core.Tag, core.Value)) error {
	if in.Algorithm == nil && (in.Type == typeSymmetric || in.Type == typePair) {
		return core.Errorf(core.InvalidField, `"algorithm" must be given`)
	}
	if in.Algorithm != nil {
		n, ok := core.TagCryptographicAlgorithm.Info().Enum.ByName(*in.Algorithm)
		if !ok {
			return core.Errorf(core.InvalidField, `"algorithm" %q is none that is known; "AES", "RSA" and "EC" are some`, door.Quotable(*in.Algorithm))
		}
		set(core.TagCryptographicAlgorithm, core.Enum(n))
	}
	if in.Length != nil {
		set(core.TagCryptographicLength, core.Int(*in.Length))
	}
	if in.Curve == nil {
		return nil
	}
	curve, ok := core.TagRecommendedCurve.Info().Enum.ByName(*in.Curve)
	if !ok || in.Length != nil {
		return core.Errorf(core.InvalidField, `"curve" must be a curve such as "P-256", without a length, and not %q`, door.Quotable(*in.Curve))
	}
	set(core.TagCryptographicDomainParameters, core.Structure(core.Field{Tag: core.TagRecommendedCurve, Value: core.Enum(curve)}))
	return nil
}

// addCustom adds custody, tags and custom attributes, in the order of their names.
func addCustom(in *api.NewKey, as *core.Attributes) error {
	if in.Custody != nil {
		*as = as.Add(core.Attribute{Vendor: rules.CustodyAttribute.Vendor, Name: rules.CustodyAttribute.Name, Value: core.Text(*in.Custody)})
	}
	for _, name := range slices.Sorted(maps.Keys(in.Tags)) {
		*as = as.Add(customAttribute(tagPrefix+name, in.Tags[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(in.Attributes)) {
		if !strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "x-keyreeve-") {
			return core.Errorf(core.InvalidField, `the name of the attribute %q must begin with "x-", and not with "x-keyreeve-"`, door.Quotable(name))
		}
		*as = as.Add(customAttribute(name, in.Attributes[name]))
	}
	return nil
}

// customAttribute returns an attribute whose name begins with "x-".
func customAttribute(name, value string) core.Attribute {
	return core.Attribute{Vendor: "x", Name: strings.TrimPrefix(name, "x-"), Value: core.Text(value)}
}

// setUsage sets the usage masks.
func setUsage(in *api.NewKey, out *keyAttributes) error {
	if len(in.Usage) == 0 && in.Type != typeSecret {
		return core.Errorf(core.InvalidField, `"usage" must list at least one use`)
	}
	var private, public core.UsageMask
	for _, name := range in.Usage {
		at := slices.IndexFunc(usages, func(u usage) bool { return u.name == name })
		if at < 0 {
			return core.Errorf(core.InvalidField, `"usage" %q is none that is known`, door.Quotable(name))
		}
		if in.Type == typePair && usages[at].public {
			public |= usages[at].mask
		} else {
			private |= usages[at].mask
		}
	}
	maskOf := func(m core.UsageMask) core.Attributes {
		return core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(m)}}
	}
	if in.Type == typePair {
		out.private, out.public = maskOf(private), maskOf(public)
	} else if private != 0 {
		out.common = append(out.common, maskOf(private)...)
	}
	return nil
}
