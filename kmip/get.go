package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Get is KMIP 1.4 §4.11, 2.1 §6.1.19.
var Get = define(Operation[operation.GetInput, operation.GetOutput]{
	Row: Row{
		Code:        core.OperationGet,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons: Reasons{
			Listed: []core.ResultReason{core.ReasonBadCryptographicParameters, core.ReasonEncodingOptionError,
				core.ReasonIncompatibleCryptographicUsageMask, core.ReasonInvalidObjectType, core.ReasonKeyCompressionTypeNotSupported,
				core.ReasonKeyFormatTypeNotSupported, core.ReasonKeyValueNotPresent, core.ReasonKeyWrapTypeNotSupported,
				core.ReasonNotExtractable, core.ReasonObjectNotFound, core.ReasonSensitive, core.ReasonWrappingObjectArchived,
				core.ReasonWrappingObjectDestroyed, core.ReasonWrappingObjectNotFound},
			Since21:  noReasons,
			Unlisted: append([]core.ResultReason{core.ReasonObjectDestroyed}, unlistedReasons...),
			Special:  []SpecialReason{{core.BadCryptographicParameters, core.ReasonItemNotFound, core.ReasonBadCryptographicParameters}},
		},
	},
	Identifiers: repeatsTarget[operation.GetOutput](func(in *operation.GetInput) *core.Identifier { return &in.ID }),
	request:     getRequest,
	response:    getResponse,
})

func getRequest(c *coder, in *operation.GetInput) {
	c.identifier(&in.ID)
	enumField(c, core.TagKeyFormatType, &in.Format, false)
	if c.atLeast(core.V1_4) {
		enumField(c, core.TagKeyWrapType, &in.WrapType, false)
	}
	enumField(c, core.TagKeyCompressionType, &in.Compression, false)
	optionalStructure(c, core.TagKeyWrappingSpecification, &in.Specification, wrappingSpecification)
}

func getResponse(c *coder, out *operation.GetOutput) {
	enumField(c, core.TagObjectType, &out.ObjectType, true)
	c.uniqueIdentifier(&out.ID)
	managedObject(c, &out.Object)
}
