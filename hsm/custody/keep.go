package custody

import (
	"context"
	"encoding/asn1"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// keyMaker makes keys and takes keys in.
type keyMaker struct {
	*keyBase
	oracle pkcs1Oracle
}

// Where an operation ran, for the record.
const (
	inToken    = "token"
	inMemory   = "memory"   // Go, on a class C key's bytes
	inSoftware = "software" // Go, on public bytes
)

var curveOIDs = map[core.RecommendedCurve]asn1.ObjectIdentifier{core.RecommendedCurveP256: {1, 2, 840, 10045, 3, 1, 7},
	core.RecommendedCurveP384: {1, 3, 132, 0, 34}, core.RecommendedCurveP521: {1, 3, 132, 0, 35}}

// newMaterial is what is known of a key before it is made.
func newMaterial(s core.KeySpec, length int) core.Material {
	return core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: length, CKAID: s.CKAID}
}

// makeKey carries out an order for the material of a row and binds the row. A key
// that is not resident is wrapped under the newest KEK of its class.
func (c *keyMaker) makeKey(ctx context.Context, k core.Key, m *core.Material, o hsm.Order) (made hsm.Made, err error) {
	n, err := c.keysOf(k.Tenant)
	if err != nil {
		return made, err
	}
	if m.Mode != core.ModeResident {
		m.Wrap = formatKW
		if o.KEK, m.Epoch, err = n.newestKEK(m.Class); err != nil {
			return made, err
		}
	}
	if made, err = c.member.Make(ctx, o); err != nil {
		return made, err
	}
	m.Blob = made.Blob
	n.bindMaterial(k, m)
	return made, nil
}

// edwardsCurve is CKA_EC_PARAMS of Ed25519.
func edwardsCurve() ([]byte, error) { return asn1.MarshalWithParams("edwards25519", "printable") }

// errEd25519 is why an Ed25519 key of class C is neither made nor used.
var errEd25519 = core.Errorf(core.UnsupportedByHSM, "this HSM cannot wrap Ed25519 keys; keep the key in it (x-keyreeve-custody = resident), or hsm.allow_software lets keys that may leave in clear be used outside it")
