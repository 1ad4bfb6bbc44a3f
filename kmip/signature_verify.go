package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// SignatureVerify is KMIP 1.4 §4.32, 2.1 §6.1.56.
var SignatureVerify = defineKeyUse(keyUseRow(core.OperationSignatureVerify, useReasons, core.ReasonUnsupportedCryptographicParameters),
	func(in *operation.SignatureVerifyInput) *core.Identifier { return &in.ID }, signatureVerifyRequest, signatureVerifyResponse)

func signatureVerifyRequest(c *coder, in *operation.SignatureVerifyInput) {
	keyAndParameters(c, &in.ID, &in.Parameters)
	c.bytesField(core.TagData, &in.Data, false)
	if c.atLeast(core.V1_4) {
		c.bytesField(core.TagDigestedData, &in.Digested, false)
	}
	c.bytesField(core.TagSignatureData, &in.Signature, !c.atLeast(core.V1_3))
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
}

func signatureVerifyResponse(c *coder, out *operation.SignatureVerifyOutput) {
	c.uniqueIdentifier(&out.ID)
	enumField(c, core.TagValidityIndicator, &out.Validity, false) // not before the last part of a stream
	c.bytesField(core.TagData, &out.Data, false)
	correlationValue(c, &out.Correlation)
}
