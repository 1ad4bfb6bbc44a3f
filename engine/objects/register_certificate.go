package objects

import (
	"crypto/sha256"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// maxCertificateBytes bounds a Certificate Value, because writing a name with many parts
// as text takes quadratic time.
const maxCertificateBytes = 64 * 1024

// takeCertificate takes a certificate. From an X.509 certificate it derives attributes
// (KMIP 1.4 §3.8 to §3.15, 2.1 §4.6 to §4.8).
func takeCertificate(k *engine.Call, o *core.ManagedObject, body *core.ObjectBody) error {
	switch n := len(body.CertificateValue); {
	case n == 0:
		return core.Errorf(core.InvalidField, "the Certificate has no Certificate Value")
	case n > maxCertificateBytes:
		return core.Errorf(core.InvalidField, "the Certificate Value has %d bytes; at most %d are taken", n, maxCertificateBytes)
	}
	if err := rules.MatchCertificateType(o, body); err != nil {
		return err
	}
	o.Attributes = o.Attributes.Set(core.TagCertificateType, core.Enum(body.CertificateType)).
		Set(core.TagCertificateLength, core.Int(int32(len(body.CertificateValue))))
	if body.CertificateType == core.CertificateTypeX509 {
		if err := rules.DescribeCertificate(o, body.CertificateValue); err != nil {
			return err
		}
	}
	if err := takeData(k, o, body.CertificateValue, core.KeyFormatTypeX509); err != nil {
		return err
	}
	sum := sha256.Sum256(body.CertificateValue)
	o.Attributes = o.Attributes.Without(core.AttributeName{Tag: core.TagDigest})
	setDigest(o, sum[:])
	return nil
}
