package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// MAC is KMIP 1.4 §4.33, 2.1 §6.1.32.
var MAC = defineKeyUse(keyUseRow(core.OperationMAC, useReasons, core.ReasonUsageLimitExceeded),
	func(in *operation.MACInput) *core.Identifier { return &in.ID }, macRequest, macResponse)

func macRequest(c *coder, in *operation.MACInput) {
	keyAndParameters(c, &in.ID, &in.Parameters)
	dataField(c, &in.Data)
	streamFields(c, &in.Correlation, &in.Init, &in.Final)
}

func macResponse(c *coder, out *operation.MACOutput) {
	c.uniqueIdentifier(&out.ID)
	c.bytesField(core.TagMACData, &out.MAC, false)
	correlationValue(c, &out.Correlation)
}
