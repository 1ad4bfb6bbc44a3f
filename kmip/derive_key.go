package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// DeriveKey is KMIP 1.4 §4.6, 2.1 §6.1.14. A base object that may not be used for it is an
// Invalid Field in 1.x (1.4 §11.7).
var DeriveKey = define(Operation[operation.DeriveKeyInput, operation.DeriveKeyOutput]{
	Row: Row{
		Code:        core.OperationDeriveKey,
		Change:      ChangesAndNames,
		Stream:      OnePart,
		Placeholder: SetsPlaceholder,
		References:  []Reference{{core.UniqueDeriveKey, EveryID}},
		Reasons: onlyListed(core.ReasonBadCryptographicParameters, core.ReasonCryptographicFailure, core.ReasonIncompatibleCryptographicUsageMask,
			core.ReasonInvalidAttribute, core.ReasonInvalidObjectType, core.ReasonKeyValueNotPresent, core.ReasonNonUniqueNameAttribute,
			core.ReasonObjectNotFound, core.ReasonUnsupportedCryptographicParameters, core.ReasonWrongKeyLifecycleState).
			withSpecial(SpecialReason{core.IncompatibleUsageMask, core.ReasonInvalidField, core.ReasonIncompatibleCryptographicUsageMask},
				SpecialReason{core.WrongState, core.ReasonInvalidField, core.ReasonWrongKeyLifecycleState},
				SpecialReason{core.AttributeReadOnly, core.ReasonInvalidField, core.ReasonInvalidAttribute},
				SpecialReason{core.AttributeSingleValued, core.ReasonInvalidField, core.ReasonInvalidAttribute},
				SpecialReason{core.NonUniqueNameAttribute, core.ReasonInvalidField, core.ReasonNonUniqueNameAttribute}),
	},
	Identifiers: makesObject(noTarget[operation.DeriveKeyInput],
		func(in *operation.DeriveKeyInput) core.Attributes { return in.Attributes },
		func(out *operation.DeriveKeyOutput) string { return out.ID }).
		withSources(func(in *operation.DeriveKeyInput) []core.Identifier { return in.IDs }),
	request:  deriveKeyRequest,
	response: deriveKeyResponse,
})

func deriveKeyRequest(c *coder, in *operation.DeriveKeyInput) {
	enumField(c, core.TagObjectType, &in.ObjectType, true)
	c.identifierList(&in.IDs)
	enumField(c, core.TagDerivationMethod, &in.Method, true)
	c.structure(core.TagDerivationParameters, true, func() { derivationParameters(c, &in.Parameters) })
	template(c, plainTemplate, &in.Attributes, &in.TemplateNames, true)
}

// derivationParameters is KMIP 1.4 §4.6, 2.1 §7.12. Since 2.0 the Derivation Data may be
// repeated.
func derivationParameters(c *coder, p *operation.DerivationParameters) {
	parameters(c, &p.Parameters)
	c.bytesField(core.TagInitializationVector, &p.IV, false)
	derivationData(c, &p.Data)
	c.bytesField(core.TagSalt, &p.Salt, false)
	numberField(c, core.TagIterationCount, core.KindInteger, &p.Iterations)
}

func derivationData(c *coder, p *[][]byte) {
	most := MaxListed
	if c.isV1() {
		most = 1
	}
	if c.reading {
		c.eachField(core.TagDerivationData, core.KindByteString, most, func(it item) { *p = append(*p, it.value) })
		return
	}
	for _, data := range *p {
		c.out = appendPadded(c.out, core.TagDerivationData, core.KindByteString, data)
	}
}

func deriveKeyResponse(c *coder, out *operation.DeriveKeyOutput) {
	c.uniqueIdentifier(&out.ID)
	impliedAttributes(c, &out.Attributes)
}
