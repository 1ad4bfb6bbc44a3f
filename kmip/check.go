package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Check is KMIP 1.4 §4.10, 2.1 §6.1.7.
// A Check that is denied empties the ID Placeholder.
var Check = define(Operation[operation.CheckInput, operation.CheckOutput]{
	Row: Row{
		Code:        core.OperationCheck,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: EmptiesPlaceholderOnFailure,
		References:  noReferences,
		Reasons: onlyListed(core.ReasonIllegalObjectType, core.ReasonIncompatibleCryptographicUsageMask, core.ReasonObjectNotFound,
			core.ReasonUsageLimitExceeded).
			withSpecial(SpecialReason{core.IllegalOperation, core.ReasonIllegalOperation, core.ReasonIllegalObjectType},
				SpecialReason{core.UsageLimitExceeded, core.ReasonPermissionDenied, core.ReasonUsageLimitExceeded}),
	},
	Identifiers: repeatsTarget[operation.CheckOutput](func(in *operation.CheckInput) *core.Identifier { return &in.ID }),
	request:     checkRequest,
	response:    checkResponse,
})

func checkRequest(c *coder, in *operation.CheckInput) {
	c.identifier(&in.ID)
	numberField(c, core.TagUsageLimitsCount, core.KindLongInteger, &in.UsageLimitsCount)
	numberField(c, core.TagCryptographicUsageMask, core.KindInteger, &in.Mask)
	numberField(c, core.TagLeaseTime, core.KindInterval, &in.LeaseTime)
}

func checkResponse(c *coder, out *operation.CheckOutput) {
	c.textField(core.TagUniqueIdentifier, &out.ID, false)
	numberField(c, core.TagUsageLimitsCount, core.KindLongInteger, &out.UsageLimitsCount)
	numberField(c, core.TagCryptographicUsageMask, core.KindInteger, &out.Mask)
	numberField(c, core.TagLeaseTime, core.KindInterval, &out.LeaseTime)
}
