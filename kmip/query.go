package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Query is KMIP 1.4 §4.25, 2.1 §6.1.40.
var Query = define(Operation[operation.QueryInput, operation.QueryOutput]{
	Row: Row{
		Code:        core.OperationQuery,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons: Reasons{
			Listed:   []core.ResultReason{core.ReasonUnknownObjectGroup},
			Since21:  []core.ResultReason{core.ReasonUnknownObjectGroup},
			Unlisted: noReasons,
			Special:  noSpecialReasons,
		},
	},
	Identifiers: noIdentifiers[operation.QueryInput, operation.QueryOutput](),
	request:     queryRequest,
	response:    queryResponse,
})

func queryRequest(c *coder, in *operation.QueryInput) {
	numberList(c, core.TagQueryFunction, core.KindEnumeration, &in.Functions)
	if c.reading && c.err == nil && len(in.Functions) == 0 {
		c.fail(core.Errorf(core.InvalidMessage, "the Query has no Query Function"))
	}
	if c.atLeast(core.V2_1) && (c.reading || in.ObjectGroups != nil) {
		c.structure(core.TagObjectGroups, false, func() { c.textList(core.TagObjectGroup, MaxListed, &in.ObjectGroups) })
	}
}

func queryResponse(c *coder, out *operation.QueryOutput) {
	numberList(c, core.TagOperation, core.KindEnumeration, &out.Operations)
	numberList(c, core.TagObjectType, core.KindEnumeration, &out.ObjectTypes)
	c.textField(core.TagVendorIdentification, &out.VendorIdentification, false)
	serverInformation(c, &out.ServerInformation)
	c.textList(core.TagApplicationNamespace, MaxListed, &out.ApplicationNamespaces)
	if c.atLeast(core.V1_1) {
		c.structureList(core.TagExtensionInformation, &out.Extensions)
	}
	if c.atLeast(core.V1_2) {
		numberList(c, core.TagAttestationType, core.KindEnumeration, &out.AttestationTypes)
	}
	if c.atLeast(core.V1_3) {
		c.structureList(core.TagRNGParameters, &out.RNGs)
		c.structureList(core.TagProfileInformation, &out.Profiles)
		c.structureList(core.TagValidationInformation, &out.Validations)
		c.structureList(core.TagCapabilityInformation, &out.Capabilities)
		numberList(c, core.TagClientRegistrationMethod, core.KindEnumeration, &out.ClientRegistration)
	}
	if c.atLeast(core.V2_0) {
		c.structureList(core.TagDefaultsInformation, &out.Defaults)
		protectionMasks(c, core.TagProtectionStorageMasks, &out.StorageProtectionMasks)
	}
}

// serverInformation keeps the structure's fields, which are the vendor's; 2.0
// has tags for them.
func serverInformation(c *coder, p *[]core.Field) {
	if c.reading {
		if it, ok := c.takeField(core.TagServerInformation, core.KindStructure, false); ok {
			*p = it.valueOf().Fields
		}
	} else if *p != nil {
		c.out = appendValue(c.out, core.TagServerInformation, c.ofVersion(core.TagServerInformation, core.Structure(*p...)))
	}
}
