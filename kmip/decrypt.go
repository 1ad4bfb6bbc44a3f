package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Decrypt is KMIP 1.4 §4.30, 2.1 §6.1.11.
var Decrypt = defineKeyUse(keyUseRow(core.OperationDecrypt, cipherReasons),
	func(in *operation.DecryptInput) *core.Identifier { return &in.ID }, decryptRequest, decryptResponse)

func decryptRequest(c *coder, in *operation.DecryptInput) {
	keyAndParameters(c, &in.ID, &in.Parameters)
	cipherData(c, &in.Data, &in.IV)
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
	additionalData(c, &in.AAD)
	authenticationTag(c, &in.Tag)
}

func decryptResponse(c *coder, out *operation.DecryptOutput) {
	c.uniqueIdentifier(&out.ID)
	c.bytesField(core.TagData, &out.Data, false)
	correlationValue(c, &out.Correlation)
}
