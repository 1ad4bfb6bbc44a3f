package custody

import (
	"context"
	"encoding/asn1"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// ImportWrapped imports a key that a client wrapped. The HSM unwraps it under the client's
// key and wraps it under the class KEK; it is never in clear here.
func (c *keyMaker) ImportWrapped(ctx context.Context, k core.Key, s core.KeySpec, with core.Key, p core.CryptographicParameters, wrapped []byte) (m core.Material, facts core.KeyFacts, err error) {
	if isRSAKey(with) {
		return c.unwrapUnderRSA(ctx, k, s, with, p, wrapped)
	}
	mechanism, err := c.wrapMechanism(with, p)
	if err != nil {
		return m, facts, err
	}
	if err := c.refuseClass(s); err != nil {
		return m, facts, err
	}
	length := keyBytes(s.Kind, s.Bits)
	if len(wrapped) < 24 || (!isPrivate(s.Kind) && (len(wrapped) != length+wrapOverhead || !isWrappable(length))) {
		return m, facts, core.Errorf(core.InvalidField, "%d wrapped bytes are not a key of %d bits", len(wrapped), s.Bits)
	}
	under, err := c.Reference(with)
	if err != nil {
		return m, facts, err
	}
	from := &hsm.Wrapped{Under: &under, Mechanism: mechanism, Blob: wrapped}
	if mechanism.Type == hsm.AESKeyWrapPad && !isPrivate(s.Kind) {
		return c.unwrapMeasured(ctx, k, s, from)
	}
	o := hsm.Order{Template: c.newKeyTemplate(&k, s, length), Unwrap: from, Digest: !isPrivate(s.Kind)}
	if o.Expect, err = claimedParts(s); err != nil {
		return m, facts, err
	}
	m = newMaterial(s, length)
	made, err := c.makeKey(ctx, k, &m, o)
	return m, core.KeyFacts{SHA256: made.SHA256, ExecutedIn: inToken}, err
}

// claimedParts returns the parts of a wrapped private key that the client claims; nil if
// the HSM cannot show them.
func claimedParts(s core.KeySpec) (*hsm.PublicParts, error) {
	switch s.Kind {
	case core.KeyRSA:
		return &hsm.PublicParts{ModulusBits: s.Bits}, nil
	case core.KeyEC:
		curve, err := asn1.Marshal(curveOIDs[s.Curve])
		return &hsm.PublicParts{Curve: curve}, err
	}
	return nil, nil
}

// Reclass wraps a key again under the KEK of a stricter class. Bytes that are stored as
// data are read and imported again. Keys do not leave the HSM.
func (c *keyMaker) Reclass(ctx context.Context, k core.Key, to core.Class) (m core.Material, err error) {
	n, err := c.checkRow(k)
	if err != nil {
		return m, err
	}
	s := core.KeySpec{Kind: k.Material.Kind, Class: to, Mode: k.Material.Mode, Format: k.Material.Format}
	if err := c.refuseClass(s); err != nil {
		return m, err
	}
	switch {
	case k.Material.Mode == core.ModeResident:
		return m, core.Errorf(core.IllegalOperation, "object %s is a resident key, whose class cannot change; create or register it again in the wanted class", k.ID)
	case k.Material.Kind == core.KeyPublic:
		return m, core.Errorf(core.IllegalOperation, "object %s is a public key, which has no stricter class", k.ID)
	case k.Material.Mode == core.ModeData:
		err = c.withClear(ctx, k, func(b []byte) (err error) { m, _, err = c.Import(ctx, k, s, b); return err })
		return m, err
	}
	old, err := c.referTo(n, k, k.Material.Blob, wrappableSecret)
	if err != nil {
		return m, err
	}
	m = *k.Material
	m.Class, m.TTLV = to, nil
	_, err = c.makeKey(ctx, k, &m, hsm.Order{Template: wrappableSecret, Unwrap: &hsm.Wrapped{Under: &hsm.Key{Label: old.KEK}, Mechanism: keyWrap, Blob: old.Blob}})
	return m, err
}
