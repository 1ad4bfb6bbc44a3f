package kmip

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// DiscoverVersions is KMIP 1.4 §4.26, 2.1 §6.1.16.
var DiscoverVersions = define(Operation[operation.DiscoverVersionsInput, operation.DiscoverVersionsOutput]{
	Row: Row{
		Code:        core.OperationDiscoverVersions,
		Change:      ChangesNothing,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(),
	},
	Identifiers: noIdentifiers[operation.DiscoverVersionsInput, operation.DiscoverVersionsOutput](),
	request:     discoverVersionsRequest,
	response:    discoverVersionsResponse,
})

func discoverVersionsRequest(c *coder, in *operation.DiscoverVersionsInput) {
	versions(c, &in.Versions)
}

func discoverVersionsResponse(c *coder, out *operation.DiscoverVersionsOutput) {
	versions(c, &out.Versions)
}

func versions(c *coder, p *[]core.Version) {
	if c.reading {
		c.eachField(core.TagProtocolVersion, core.KindStructure, MaxListed, func(it item) {
			var v core.Version
			c.readStructure(it, func() { versionFields(c, &v) })
			*p = append(*p, v)
		})
		return
	}
	for i := range *p {
		protocolVersion(c, &(*p)[i])
	}
}
