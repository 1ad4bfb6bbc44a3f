package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// MACVerify is KMIP 1.4 §4.34, 2.1 §6.1.33.
var MACVerify = defineKeyUse(keyUseRow(core.OperationMACVerify, useReasons),
	func(in *operation.MACVerifyInput) *core.Identifier { return &in.ID }, macVerifyRequest, macVerifyResponse)

func macVerifyRequest(c *coder, in *operation.MACVerifyInput) {
	keyAndParameters(c, &in.ID, &in.Parameters)
	c.bytesField(core.TagData, &in.Data, false)
	c.bytesField(core.TagMACData, &in.MAC, !c.atLeast(core.V1_3))
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
}

func macVerifyResponse(c *coder, out *operation.MACVerifyOutput) {
	c.uniqueIdentifier(&out.ID)
	enumField(c, core.TagValidityIndicator, &out.Validity, false)
	correlationValue(c, &out.Correlation)
}
