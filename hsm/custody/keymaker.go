package custody

import (
	"context"
	"encoding/asn1"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// keyMaker makes and imports keys.
type keyMaker struct {
	*keyBase
	oracle pkcs1Oracle
}

// Where an operation ran, for its record.
const (
	inToken    = "token"
	inMemory   = "memory"   // Go, on a class C key's bytes
	inSoftware = "software" // Go, on public bytes
)

var curveOIDs = map[core.RecommendedCurve]asn1.ObjectIdentifier{core.RecommendedCurveP256: {1, 2, 840, 10045, 3, 1, 7},
	core.RecommendedCurveP384: {1, 3, 132, 0, 34}, core.RecommendedCurveP521: {1, 3, 132, 0, 35}}

// newMaterial returns the material of a key before the key is made.
func newMaterial(s core.KeySpec, length int) core.Material {
	return core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: length, CKAID: s.CKAID}
}

// makeKey executes an order, stores the result in the material of a row and binds the row.
// A key that is not resident is wrapped under the newest KEK of its class.
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

// edwardsCurve returns CKA_EC_PARAMS of Ed25519.
func edwardsCurve() ([]byte, error) { return asn1.MarshalWithParams("edwards25519", "printable") }

// errEd25519 is the error for making or using an Ed25519 key of class C.
var errEd25519 = core.Errorf(core.UnsupportedByHSM, "this HSM cannot wrap Ed25519 keys; keep the key in it (x-keyreeve-custody = resident), or turn on hsm.allow_software, which allows to use keys of class C outside it unless the settings of the tenant forbid it (software)")
