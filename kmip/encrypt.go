package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Encrypt is KMIP 1.4 §4.29, 2.1 §6.1.17.
var Encrypt = defineKeyUse(keyUseRow(core.OperationEncrypt, cipherReasons, core.ReasonUsageLimitExceeded),
	func(in *operation.EncryptInput) *core.Identifier { return &in.ID }, encryptRequest, encryptResponse)

func encryptRequest(c *coder, in *operation.EncryptInput) {
	keyAndParameters(c, &in.ID, &in.Parameters)
	cipherData(c, &in.Data, &in.IV)
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
	additionalData(c, &in.AAD)
}

// encryptResponse appends the tag to the data for versions that have no field for it.
func encryptResponse(c *coder, out *operation.EncryptOutput) {
	c.uniqueIdentifier(&out.ID)
	data := out.Data
	if !c.reading && !c.atLeast(core.V1_4) && out.Tag != nil {
		data = append(data[:len(data):len(data)], out.Tag...)
	}
	c.bytesField(core.TagData, &data, false)
	out.Data = data
	c.bytesField(core.TagIVCounterNonce, &out.IV, false)
	correlationValue(c, &out.Correlation)
	authenticationTag(c, &out.Tag)
}
