package custody

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// authorityCurve is the curve of the keys that sign certificates.
const authorityCurve = core.RecommendedCurveP256

// authorityKey returns the name of the key of an authority by its ID, which is its CKA_ID in
// hex. No row names it, so it is no orphan of the resident objects and no set either.
func (i *Installation) authorityKey(id string) (hsm.Key, error) {
	if err := i.checkOpen(); err != nil {
		return hsm.Key{}, err
	}
	ckaid, err := hex.DecodeString(id)
	if err != nil || !installationID.MatchString(id) {
		return hsm.Key{}, core.Errorf(core.InvalidField, "the ID of an authority's key is 32 hex digits, not %q", core.ClientText(id))
	}
	label := authorityLabel(i.id, id)
	return hsm.Key{Label: label, CKAID: ckaid, Template: hsm.Template{Type: hsm.EC, Sensitive: true, Uses: hsm.Sign, Label: label, CKAID: ckaid}}, nil
}

// MakeAuthorityKey makes a key pair on P-256 that signs certificates. The private key never
// leaves the HSM, not even wrapped. It returns the ID of the key, and the public half as
// SubjectPublicKeyInfo. After an error the HSM may have a key that nothing uses.
func (c *keyMaker) MakeAuthorityKey(ctx context.Context) (id string, spki []byte, err error) {
	var random [16]byte
	rand.Read(random[:])
	id = hex.EncodeToString(random[:])
	key, err := c.authorityKey(id)
	if err != nil {
		return "", nil, err
	}
	if key.Template.Curve, err = asn1.Marshal(curveOIDs[authorityCurve]); err != nil {
		return "", nil, err
	}
	made, err := c.member.Make(ctx, hsm.Order{Template: key.Template, Generate: true})
	if err != nil {
		return "", nil, err
	}
	spki, err = marshalPublic(&made.Public, core.KeySpec{Kind: core.KeyEC, Curve: authorityCurve})
	return id, spki, err
}

// SignByAuthority signs a SHA-256 with the key of an authority. The signature is in the form of
// X.509: r and s in DER. No other key of the HSM can be named.
func (c *keyUser) SignByAuthority(ctx context.Context, id string, digest []byte) ([]byte, error) {
	key, err := c.authorityKey(id)
	switch {
	case err != nil:
		return nil, err
	case len(digest) != sha256.Size:
		return nil, core.Errorf(core.InvalidField, "an authority signs a SHA-256, not %d bytes", len(digest))
	case !c.member.Has(hsm.ECDSA, hsm.Sign):
		return nil, core.Errorf(core.UnsupportedByHSM, "this HSM does not sign with ECDSA; use a file as enrollment.key")
	}
	used, err := c.member.Use(ctx, &key, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: hsm.ECDSA}, Data: digest})
	if err != nil {
		return nil, err
	}
	return soft.ECDSAToDER(used.Data)
}
