package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Revoke is KMIP 1.4 §4.20, 2.1 §6.1.44.
var Revoke = define(Operation[operation.RevokeInput, operation.IDOutput]{
	Row: Row{
		Code:        core.OperationRevoke,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(stateReasons...),
	},
	Identifiers: repeatsTarget[operation.IDOutput](func(in *operation.RevokeInput) *core.Identifier { return &in.ID }),
	request:     revokeRequest,
	response:    idResponse,
})

func revokeRequest(c *coder, in *operation.RevokeInput) {
	c.identifier(&in.ID)
	c.structure(core.TagRevocationReason, true, func() {
		enumField(c, core.TagRevocationReasonCode, &in.Code, true)
		c.textField(core.TagRevocationMessage, &in.Message, false)
	})
	numberField(c, core.TagCompromiseOccurrenceDate, core.KindDateTime, &in.CompromiseOccurrence)
}
