package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// ReKey is KMIP 1.4 §4.4, 2.1 §6.1.46.
var ReKey = define(Operation[operation.RekeyInput, operation.CreateOutput]{
	Row: Row{
		Code:        core.OperationReKey,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  []Reference{{core.UniqueReKey, EveryID}},
		Reasons: Reasons{
			Listed: []core.ResultReason{core.ReasonCryptographicFailure, core.ReasonInvalidObjectType, core.ReasonKeyValueNotPresent,
				core.ReasonObjectNotFound, core.ReasonProtectionStorageUnavailable},
			Since21:  noReasons,
			Unlisted: replacementUnlisted,
			Special:  replacementSpecials,
		},
	},
	Identifiers: makesObject(func(in *operation.RekeyInput) *core.Identifier { return &in.ID },
		func(in *operation.RekeyInput) core.Attributes { return in.Attributes },
		func(out *operation.CreateOutput) string { return out.ID }),
	request:  rekeyRequest,
	response: rekeyResponse,
})

func rekeyRequest(c *coder, in *operation.RekeyInput) {
	c.identifier(&in.ID)
	numberField(c, core.TagOffset, core.KindInterval, &in.Offset)
	template(c, plainTemplate, &in.Attributes, &in.TemplateNames, false)
	protectionMasks(c, core.TagProtectionStorageMasks, &in.ProtectionMasks)
}

// rekeyResponse has no Object Type, unlike that of Create.
func rekeyResponse(c *coder, out *operation.CreateOutput) {
	c.uniqueIdentifier(&out.ID)
	impliedAttributes(c, &out.Attributes)
}
