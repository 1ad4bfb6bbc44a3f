package oidc

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// issuerAttribute is the attribute of each principal that has the URL of its issuer.
const issuerAttribute = "issuer"

// claims are the claims of a token whose signature is right (RFC 7519 §4).
type claims map[string]any

// findClaim returns the claim of this name or, if there is none, at this path.
func (c claims) findClaim(path string) (any, bool) {
	if v, ok := c[path]; ok {
		return v, v != nil
	}
	var at any = map[string]any(c)
	for step := range strings.SplitSeq(path, ".") {
		inner, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		at = inner[step]
	}
	return at, at != nil
}

// textAt returns a claim that must be a text. It is "" if the claim is missing.
func (c claims) textAt(path string) (string, error) {
	v, ok := c.findClaim(path)
	if !ok {
		return "", nil
	}
	text, ok := v.(string)
	if !ok || text == "" {
		return "", fmt.Errorf("its claim %s is no text", path)
	}
	return text, nil
}

// textsAt returns a claim that must be a text or a list of texts.
func (c claims) textsAt(path string) ([]string, error) {
	v, ok := c.findClaim(path)
	if !ok {
		return nil, nil
	}
	if text, ok := v.(string); ok {
		return []string{text}, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("its claim %s is neither a text nor a list of texts", path)
	}
	out := make([]string, len(list))
	for i := range list {
		if out[i], ok = list[i].(string); !ok {
			return nil, fmt.Errorf("its claim %s has a member that is no text", path)
		}
	}
	return out, nil
}

// lastSecond bounds times in claims, so that they fit an int64 and a time.Duration.
const lastSecond = 1 << 33

// timeAt returns a claim that must be a time in Unix seconds (RFC 7519 §2, NumericDate).
func (c claims) timeAt(name string) (at int64, given bool, err error) {
	v, ok := c[name]
	if !ok {
		return 0, false, nil
	}
	seconds, ok := v.(float64)
	if !ok || !(seconds > 0 && seconds < lastSecond) {
		return 0, false, fmt.Errorf("its claim %s is no time", name)
	}
	return int64(seconds), true, nil
}

// checkTimesOf returns the time of expiry. A token needs exp and iat.
func (s *Issuer) checkTimesOf(c claims, now time.Time) (expires int64, err error) {
	expires, hasEnd, err := c.timeAt("exp")
	if err != nil {
		return 0, err
	}
	issued, hasStart, err := c.timeAt("iat")
	if err != nil {
		return 0, err
	}
	notBefore, _, err := c.timeAt("nbf")
	if err != nil {
		return 0, err
	}
	latest := now.Add(s.ClockSkew).Unix()
	switch {
	case !hasEnd || !hasStart:
		return 0, errNoTimes
	case now.Unix() >= expires:
		return 0, errExpired
	case notBefore > latest || issued > latest:
		return 0, errNotYet
	case expires-issued > int64(s.MaxLifetime/time.Second):
		return 0, errLifetime
	}
	return expires, nil
}

// checkAddressee fails unless a token is from this issuer, for this audience, and has the
// claims that are required.
func (s *Issuer) checkAddressee(c claims) error {
	if c["iss"] != s.URL {
		return errIssuer
	}
	audience, err := c.textsAt("aud")
	if err != nil {
		return err
	}
	if !slices.Contains(audience, s.Audience) {
		return errAudience
	}
	for path, want := range s.Required {
		texts, err := c.textsAt(path)
		if err != nil {
			return err
		}
		if !slices.Contains(texts, want) {
			return fmt.Errorf("its claim %s is not the one that is required", path)
		}
	}
	return nil
}

// principalOf returns the principal that the claims name, as far as the settings let the
// issuer name it.
func (s *Issuer) principalOf(c claims, now time.Time) (*core.Principal, error) {
	if err := s.checkAddressee(c); err != nil {
		return nil, err
	}
	p := &core.Principal{Method: core.MethodToken, Strength: core.StrengthToken}
	var err error
	if p.Expires, err = s.checkTimesOf(c, now); err != nil {
		return nil, err
	}
	if p.Tenant, err = s.tenantOf(c); err != nil {
		return nil, err
	}
	if p.ID, err = s.nameOf(c); err != nil {
		return nil, err
	}
	if p.Groups, err = c.allowedNames(s.GroupsClaim, s.Groups); err != nil {
		return nil, err
	}
	if p.Roles, err = c.allowedNames(s.RolesClaim, s.Roles); err != nil {
		return nil, err
	}
	p.Attributes, err = s.attributesOf(c)
	return p, err
}

func (s *Issuer) tenantOf(c claims) (string, error) {
	if s.Tenant != "" {
		return s.Tenant, nil
	}
	tenant, err := c.textAt(s.TenantClaim)
	if err == nil && !slices.Contains(s.Tenants, tenant) {
		err = errTenantClaim
	}
	return tenant, err
}

func (s *Issuer) nameOf(c claims) (string, error) {
	name, err := c.textAt(s.NameClaim)
	if err == nil && name == "" && s.NameFromSub {
		name, err = c.textAt("sub")
	}
	if err != nil {
		return "", err
	}
	short, ok := strings.CutSuffix(name, s.NameSuffix)
	if name = s.NamePrefix + short; short == "" || !ok || !core.ValidName(name) {
		return "", errName
	}
	return name, nil
}

// allowedNames returns the groups or roles of a claim that the settings allow. Others are left
// out: issuers list many that mean nothing here. A claim that is kept elsewhere is refused,
// since a group that is not seen could escape a denial.
func (c claims) allowedNames(path string, allowed []string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	if elsewhere, ok := c["_claim_names"].(map[string]any); ok && elsewhere[path] != nil {
		return nil, errElsewhere
	}
	all, err := c.textsAt(path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range all {
		listed := slices.Contains(allowed, n) || slices.Contains(allowed, everyGroup) && core.ValidName(n)
		if listed && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if len(out) > core.MaxUserNames {
		return nil, fmt.Errorf("its claim %s has more than %d names", path, core.MaxUserNames)
	}
	return out, nil
}

func (s *Issuer) attributesOf(c claims) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range s.Attributes {
		text, err := c.textAt(a)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		if len(text) > core.MaxAttributeValueBytes || core.Printable(text, len(text)) != text {
			return nil, fmt.Errorf("its claim %s has more than %d bytes or characters that are not ASCII", a, core.MaxAttributeValueBytes)
		}
		out[a] = text
	}
	out[issuerAttribute] = s.URL
	return out, nil
}

// boundTo returns the SHA-256 of the only certificate that may send a token (RFC 8705 §3.1),
// in hex; "" if it is not bound. Another kind of binding cannot be checked and is refused.
func (c claims) boundTo() (string, error) {
	v, ok := c["cnf"]
	if !ok {
		return "", nil
	}
	members, _ := v.(map[string]any)
	text, _ := members["x5t#S256"].(string)
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(sum) != 32 || len(members) != 1 {
		return "", errConfirmation
	}
	return hex.EncodeToString(sum), nil
}
