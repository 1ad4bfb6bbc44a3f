package about

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// objectTypes lists the types of objects that the server stores.
var objectTypes = []core.ObjectType{core.ObjectTypeCertificate, core.ObjectTypeSymmetricKey, core.ObjectTypePublicKey,
	core.ObjectTypePrivateKey, core.ObjectTypeTemplate, core.ObjectTypeSecretData, core.ObjectTypeOpaqueObject}

// DiscoverVersions returns the protocol versions that the server supports, the preferred
// ones first (KMIP 1.4 §4.26, 2.1 §6.1.16). If the request lists versions, only those
// are returned, in the order of the request.
func (v *Verbs) DiscoverVersions(ctx context.Context, c *core.Caller, in *operation.DiscoverVersionsInput) (operation.DiscoverVersionsOutput, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionDiscoverVersions, in, discoverVersions)
}

func discoverVersions(k *engine.Call, in *operation.DiscoverVersionsInput) (out operation.DiscoverVersionsOutput, err error) {
	if len(in.Versions) == 0 {
		return operation.DiscoverVersionsOutput{Versions: core.Versions}, nil
	}
	for _, v := range in.Versions {
		if slices.Contains(core.Versions, v) && !slices.Contains(out.Versions, v) {
			out.Versions = append(out.Versions, v)
		}
	}
	return out, nil
}

// Query returns what the server supports in the client's version (KMIP 1.4 §4.25, 2.1
// §6.1.40). The door adds the list of operations.
func (v *Verbs) Query(ctx context.Context, c *core.Caller, in *operation.QueryInput) (operation.QueryOutput, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionQuery, in, queryServer)
}

func queryServer(k *engine.Call, in *operation.QueryInput) (out operation.QueryOutput, err error) {
	for _, f := range in.Functions {
		switch f {
		case core.QueryFunctionQueryObjects:
			out.ObjectTypes = objectTypesFor(k)
		case core.QueryFunctionQueryServerInformation:
			out.VendorIdentification = k.Settings.Server.Vendor
			out.ServerInformation = serverInformation(k)
		case core.QueryFunctionQueryExtensionList:
			out.Extensions = extensions(false)
		case core.QueryFunctionQueryExtensionMap:
			out.Extensions = extensions(true)
		case core.QueryFunctionQueryRNGs:
			out.RNGs = []core.Field{{Tag: core.TagRNGParameters, Value: core.RandomNumberGenerator(core.RNGAlgorithmUnspecified)}}
		case core.QueryFunctionQueryStorageProtectionMasks:
			out.StorageProtectionMasks = []int32{int32(rules.StorageOf(core.ClassC)), int32(rules.StorageOf(core.ClassX))}
		case core.QueryFunctionQueryCapabilities:
			out.Capabilities = []core.Field{{Tag: core.TagCapabilityInformation, Value: core.Structure(
				core.Field{Tag: core.TagStreamingCapability, Value: core.Bool(true)},
				core.Field{Tag: core.TagAsynchronousCapability, Value: core.Bool(false)},
				core.Field{Tag: core.TagAttestationCapability, Value: core.Bool(false)},
				core.Field{Tag: core.TagBatchUndoCapability, Value: core.Bool(true)},
				core.Field{Tag: core.TagBatchContinueCapability, Value: core.Bool(true)})}}
		}
	}
	return out, nil
}

// Vendor tags in the Server Information of KMIP 1.x, whose content the vendor defines
// (1.4 §4.25). KMIP 2.0 has its own tags for both.
const (
	tagVendorServerName    core.Tag = 0x540001
	tagVendorServerVersion core.Tag = 0x540002
)

var vendorTags = []struct {
	tag  core.Tag
	name string
}{{tagVendorServerName, "Server Name"}, {tagVendorServerVersion, "Server Version"}}

// serverInformation returns the Server Information in the client's version.
func serverInformation(k *engine.Call) []core.Field {
	name, version := core.TagServerName, core.TagServerVersion
	if k.SpeaksKMIP1() {
		name, version = tagVendorServerName, tagVendorServerVersion
	}
	return []core.Field{{Tag: name, Value: core.Text(k.Settings.Server.Product)}, {Tag: version, Value: core.Text(k.Settings.Server.Version)}}
}

// extensions lists the vendor tags, with number and type if withTags (KMIP 1.4 §2.1.9,
// 2.1 §7.15).
func extensions(withTags bool) (out []core.Field) {
	for _, t := range vendorTags {
		fields := []core.Field{{Tag: core.TagExtensionName, Value: core.Text(t.name)}}
		if withTags {
			fields = append(fields, core.Field{Tag: core.TagExtensionTag, Value: core.Int(int32(t.tag))},
				core.Field{Tag: core.TagExtensionType, Value: core.Int(int32(core.KindTextString))})
		}
		out = append(out, core.Field{Tag: core.TagExtensionInformation, Value: core.Structure(fields...)})
	}
	return out
}

// objectTypesFor returns the object types for the client's version. Template is listed
// for KMIP 1.x only. Clients of 1.4 expect it, although it is deprecated since 1.3.
func objectTypesFor(k *engine.Call) []core.ObjectType {
	if k.SpeaksKMIP1() {
		return objectTypes
	}
	return slices.DeleteFunc(slices.Clone(objectTypes), func(t core.ObjectType) bool { return t == core.ObjectTypeTemplate })
}
