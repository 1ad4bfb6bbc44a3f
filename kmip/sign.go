package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Sign is KMIP 1.4 §4.31, 2.1 §6.1.55.
var Sign = defineKeyUse(keyUseRow(core.OperationSign, useReasons, core.ReasonUnsupportedCryptographicParameters, core.ReasonUsageLimitExceeded),
	func(in *operation.SignInput) *core.Identifier { return &in.ID }, signRequest, signResponse)

func signRequest(c *coder, in *operation.SignInput) {
	keyAndParameters(c, &in.ID, &in.Parameters)
	digestedData(c, &in.Data, &in.Digested)
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
}

func signResponse(c *coder, out *operation.SignOutput) {
	c.uniqueIdentifier(&out.ID)
	c.bytesField(core.TagSignatureData, &out.Signature, false)
	correlationValue(c, &out.Correlation)
}
