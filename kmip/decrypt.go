package kmip

import "github.com/keyreeve/keyreeve/core"

// Decrypt is KMIP 1.4 §4.30, 2.1 §6.1.11.
var Decrypt = define(Operation[core.DecryptInput, core.DecryptOutput]{
	Row: Row{
		Code:        core.OperationDecrypt,
		Change:      ChangesNothing,
		Stream:      ManyParts,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons: Reasons{
			Listed:   cipherReasons,
			Since21:  noReasons,
			Unlisted: noReasons,
			Special:  useSpecials,
		},
	},
	request:  decryptRequest,
	response: decryptResponse,
	Target:   func(in *core.DecryptInput) *core.Identifier { return &in.ID },
	Links:    noLinks[core.DecryptInput],
	AnsweredIDs: func(list []string, in *core.DecryptInput, _ *core.DecryptOutput) []string {
		return append(list, in.ID.Text)
	},
	NextPlaceholder: noPlaceholder[core.DecryptOutput],
})

func decryptRequest(c *coder, in *core.DecryptInput) {
	c.identifier(&in.ID)
	c.parameters(&in.Parameters)
	c.data(&in.Data)
	c.bytes(core.TagIVCounterNonce, &in.IV, false)
	c.stream(&in.Correlation, &in.Init, &in.Final)
	if c.has(core.V1_4) {
		c.bytes(core.TagAuthenticatedEncryptionAdditionalData, &in.AAD, false)
		c.bytes(core.TagAuthenticatedEncryptionTag, &in.Tag, false)
	}
}

func decryptResponse(c *coder, out *core.DecryptOutput) {
	c.id(&out.ID)
	c.bytes(core.TagData, &out.Data, false)
	c.correlation(&out.Correlation)
}
