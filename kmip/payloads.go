package kmip

import "github.com/keyreeve/keyreeve/core"

// The payloads, in the order of the tables of KMIP 1.4 §4 and 2.1 §6. A field
// stands here once, for reading and writing and for all versions.

func (c *coder) id(p *string) { c.text(core.TagUniqueIdentifier, p, true) }

// protection is the Protection Storage Masks structure of 2.x.
func (c *coder) protection(t core.Tag, masks *[]int32) {
	if !c.has(core.V2_0) || (!c.reading && *masks == nil) {
		return
	}
	c.within(t, false, func() { c.ints(core.TagProtectionStorageMask, masks) })
}

// ints is a repeated Integer.
func (c *coder) ints(t core.Tag, p *[]int32) {
	if c.reading {
		c.each(t, MaxListed, func(it item) {
			if it.kind != core.KindInteger {
				c.fail(core.Errorf(core.InvalidMessage, "%v is a %v, not an Integer", t, it.kind))
				return
			}
			*p = append(*p, int32(it.num()))
		})
		return
	}
	for _, v := range *p {
		c.out = append4(c.out, t, core.KindInteger, uint32(v))
	}
}

// implied is the optional list of attributes that the server set by itself.
func (c *coder) implied(as *core.Attributes) {
	if c.style1() {
		c.template(plainTemplate, as, nil, false)
	}
}

func discoverVersionsRequest(c *coder, in *core.DiscoverVersionsInput)    { c.versions(&in.Versions) }
func discoverVersionsResponse(c *coder, out *core.DiscoverVersionsOutput) { c.versions(&out.Versions) }

func (c *coder) versions(p *[]core.Version) {
	if c.reading {
		c.each(core.TagProtocolVersion, MaxListed, func(it item) {
			var v core.Version
			c.inside(it, func() { c.versionFields(&v) })
			*p = append(*p, v)
		})
		return
	}
	for i := range *p {
		c.protocolVersion(&(*p)[i])
	}
}

func (c *coder) protocolVersion(v *core.Version) {
	c.within(core.TagProtocolVersion, true, func() { c.versionFields(v) })
}

func (c *coder) versionFields(v *core.Version) {
	major, minor := int32(v.Major()), int32(v.Minor())
	c.int32(core.TagProtocolVersionMajor, &major, true)
	c.int32(core.TagProtocolVersionMinor, &minor, true)
	if c.reading && c.err == nil {
		if major < 0 || major > 255 || minor < 0 || minor > 255 {
			c.fail(core.Errorf(core.InvalidMessage, "there is no protocol version %d.%d", major, minor))
		}
		*v = core.Version(major<<8 | minor)
	}
}

func queryRequest(c *coder, in *core.QueryInput) {
	enums(c, core.TagQueryFunction, &in.Functions)
	if c.reading && c.err == nil && len(in.Functions) == 0 {
		c.fail(core.Errorf(core.InvalidMessage, "Query asks for nothing: it lacks Query Function"))
	}
	if c.has(core.V2_1) && (c.reading || in.ObjectGroups != nil) {
		c.within(core.TagObjectGroups, false, func() { c.texts(core.TagObjectGroup, MaxListed, &in.ObjectGroups) })
	}
}

func queryResponse(c *coder, out *core.QueryOutput) {
	enums(c, core.TagOperation, &out.Operations)
	enums(c, core.TagObjectType, &out.ObjectTypes)
	c.text(core.TagVendorIdentification, &out.VendorIdentification, false)
	c.serverInformation(&out.ServerInformation)
	c.texts(core.TagApplicationNamespace, MaxListed, &out.ApplicationNamespaces)
	if c.has(core.V1_1) {
		c.fields(core.TagExtensionInformation, &out.Extensions)
	}
	if c.has(core.V1_2) {
		enums(c, core.TagAttestationType, &out.AttestationTypes)
	}
	if c.has(core.V1_3) {
		c.fields(core.TagRNGParameters, &out.RNGs)
		c.fields(core.TagProfileInformation, &out.Profiles)
		c.fields(core.TagValidationInformation, &out.Validations)
		c.fields(core.TagCapabilityInformation, &out.Capabilities)
		enums(c, core.TagClientRegistrationMethod, &out.ClientRegistration)
	}
	if c.has(core.V2_0) {
		c.fields(core.TagDefaultsInformation, &out.Defaults)
		c.protection(core.TagProtectionStorageMasks, &out.StorageProtectionMasks)
	}
}

// serverInformation keeps the structure's fields, which are the vendor's; 2.0
// has tags for them.
func (c *coder) serverInformation(p *[]core.Field) {
	if c.reading {
		if it, ok := c.field(core.TagServerInformation, core.KindStructure, false); ok {
			*p = it.valueOf().Fields
		}
	} else if *p != nil {
		c.out = appendValue(c.out, core.TagServerInformation, c.ofVersion(core.TagServerInformation, core.Structure(*p...)))
	}
}

func createRequest(c *coder, in *core.CreateInput) {
	enum(c, core.TagObjectType, &in.ObjectType, true)
	c.template(plainTemplate, &in.Attributes, &in.TemplateNames, true)
	c.protection(core.TagProtectionStorageMasks, &in.ProtectionMasks)
}

func createResponse(c *coder, out *core.CreateOutput) {
	enum(c, core.TagObjectType, &out.ObjectType, true)
	c.id(&out.ID)
	c.implied(&out.Attributes)
}

func createKeyPairRequest(c *coder, in *core.CreateKeyPairInput) {
	c.template(commonTemplate, &in.Common, &in.CommonTemplates, false)
	c.template(privateTemplate, &in.Private, &in.PrivateTemplates, false)
	c.template(publicTemplate, &in.Public, &in.PublicTemplates, false)
	c.protection(core.TagCommonProtectionStorageMasks, &in.CommonProtection)
	c.protection(core.TagPrivateProtectionStorageMasks, &in.PrivateProtection)
	c.protection(core.TagPublicProtectionStorageMasks, &in.PublicProtection)
}

func createKeyPairResponse(c *coder, out *core.CreateKeyPairOutput) {
	c.text(core.TagPrivateKeyUniqueIdentifier, &out.PrivateID, true)
	c.text(core.TagPublicKeyUniqueIdentifier, &out.PublicID, true)
}

func registerRequest(c *coder, in *core.RegisterInput) {
	enum(c, core.TagObjectType, &in.ObjectType, true)
	c.template(plainTemplate, &in.Attributes, &in.TemplateNames, true)
	c.object(&in.Object)
	c.protection(core.TagProtectionStorageMasks, &in.ProtectionMasks)
}

func registerResponse(c *coder, out *core.RegisterOutput) {
	c.id(&out.ID)
	c.implied(&out.Attributes)
}

func rekeyRequest(c *coder, in *core.RekeyInput) {
	c.identifier(&in.ID)
	number(c, core.TagOffset, core.KindInterval, &in.Offset)
	c.template(plainTemplate, &in.Attributes, &in.TemplateNames, false)
	c.protection(core.TagProtectionStorageMasks, &in.ProtectionMasks)
}

// rekeyResponse has no Object Type, unlike that of Create.
func rekeyResponse(c *coder, out *core.CreateOutput) {
	c.id(&out.ID)
	c.implied(&out.Attributes)
}

// locateRequest takes its filters as Attribute structures, from some clients
// inside a Template-Attribute, and in 2.x as Attributes.
// A field that is not understood could be a filter. Leaving it out would find
// more than was asked for, so it is refused.
func locateRequest(c *coder, in *core.LocateInput) {
	if c.reading {
		in.MaximumItems = -1
		c.exact, c.lenient = true, false
		c.skipExtensions()
	}
	c.maximum(&in.MaximumItems)
	if c.has(core.V1_3) || c.reading {
		c.int32(core.TagOffsetItems, &in.OffsetItems, false)
	}
	c.storageStatus(&in.StorageStatus)
	if c.has(core.V1_1) {
		enum(c, core.TagObjectGroupMember, &in.GroupMember, false)
	}
	if !c.style1() {
		c.attributes2(core.TagAttributes, &in.Attributes, false)
	} else {
		if c.reading {
			c.template(plainTemplate, &in.Attributes, nil, false)
		}
		c.attributes1(&in.Attributes)
	}
	if n := len(in.Attributes); c.reading && n > MaxLocateFilters {
		c.fail(core.Errorf(core.InvalidField, "Locate has %d attributes to compare with; %d is the most", n, MaxLocateFilters))
	}
}

// storageStatus is the Storage Status Mask, 0 when absent. A mask that is given
// and asks for no storage would look like an absent one, so it is refused.
func (c *coder) storageStatus(p *uint32) {
	status := int32(*p)
	if c.reading {
		it, ok := c.field(core.TagStorageStatusMask, core.KindInteger, false)
		if status = int32(it.num()); ok && status == 0 {
			c.fail(core.Errorf(core.InvalidField, "the Storage Status Mask is 0, which asks for no storage; leave it out to search on-line storage"))
		}
		*p = uint32(status)
	} else if status != 0 {
		c.out = append4(c.out, core.TagStorageStatusMask, core.KindInteger, uint32(status))
	}
}

// maximum is Maximum Items, negative when absent.
func (c *coder) maximum(p *int32) {
	if c.reading {
		if it, ok := c.field(core.TagMaximumItems, core.KindInteger, false); ok {
			if *p = int32(it.num()); *p < 0 {
				c.fail(core.Errorf(core.InvalidField, "Maximum Items is negative"))
			}
		}
	} else if *p >= 0 {
		c.out = append4(c.out, core.TagMaximumItems, core.KindInteger, uint32(*p))
	}
}

func locateResponse(c *coder, out *core.LocateOutput) {
	if c.reading {
		out.Located = -1
	}
	if c.has(core.V1_3) {
		if c.reading {
			if it, ok := c.field(core.TagLocatedItems, core.KindInteger, false); ok {
				out.Located = int32(it.num())
			}
		} else if out.Located >= 0 {
			c.out = append4(c.out, core.TagLocatedItems, core.KindInteger, uint32(out.Located))
		}
	}
	c.texts(core.TagUniqueIdentifier, MaxListed, &out.IDs)
}

func checkRequest(c *coder, in *core.CheckInput) {
	c.identifier(&in.ID)
	number(c, core.TagUsageLimitsCount, core.KindLongInteger, &in.UsageLimitsCount)
	number(c, core.TagCryptographicUsageMask, core.KindInteger, &in.Mask)
	number(c, core.TagLeaseTime, core.KindInterval, &in.LeaseTime)
}

func checkResponse(c *coder, out *core.CheckOutput) {
	c.text(core.TagUniqueIdentifier, &out.ID, false)
	number(c, core.TagUsageLimitsCount, core.KindLongInteger, &out.UsageLimitsCount)
	number(c, core.TagCryptographicUsageMask, core.KindInteger, &out.Mask)
	number(c, core.TagLeaseTime, core.KindInterval, &out.LeaseTime)
}

func getRequest(c *coder, in *core.GetInput) {
	c.identifier(&in.ID)
	enum(c, core.TagKeyFormatType, &in.Format, false)
	if c.has(core.V1_4) {
		enum(c, core.TagKeyWrapType, &in.WrapType, false)
	}
	enum(c, core.TagKeyCompressionType, &in.Compression, false)
	c.wrappingSpecification(&in.Specification)
}

func getResponse(c *coder, out *core.GetOutput) {
	enum(c, core.TagObjectType, &out.ObjectType, true)
	c.id(&out.ID)
	c.object(&out.Object)
}

func getAttributesRequest(c *coder, in *core.GetAttributesInput) {
	c.identifier(&in.ID)
	c.names(&in.Names)
}

func getAttributesResponse(c *coder, out *core.GetAttributesOutput) {
	c.id(&out.ID)
	if c.style1() {
		c.attributes1(&out.Attributes)
	} else {
		c.attributes2(core.TagAttributes, &out.Attributes, true)
	}
}

func getAttributeListRequest(c *coder, in *core.GetAttributeListInput) { c.identifier(&in.ID) }

func getAttributeListResponse(c *coder, out *core.GetAttributeListOutput) {
	c.id(&out.ID)
	c.names(&out.Names)
}

func addAttributeRequest(c *coder, in *core.AddAttributeInput) {
	c.identifier(&in.ID)
	c.attribute(core.TagNewAttribute, &in.Attribute, true)
	if c.reading && in.Attribute.Index != 0 {
		c.fail(core.Errorf(core.InvalidField, "a new instance of an attribute has no Attribute Index yet: the answer to Add Attribute has one"))
	}
}

func setAttributeRequest(c *coder, in *core.SetAttributeInput) {
	c.identifier(&in.ID)
	c.attribute(core.TagNewAttribute, &in.Attribute, true)
}

// modifyAttributeRequest names the instance by index in 1.x, by its present
// value in 2.x.
func modifyAttributeRequest(c *coder, in *core.ModifyAttributeInput) {
	c.identifier(&in.ID)
	if c.style1() {
		c.modifyAttribute1(in)
		return
	}
	var current core.Attribute
	if in.CurrentValue != nil {
		current = core.Attribute{Tag: in.Name.Tag, Vendor: in.Name.Vendor, Name: in.Name.Name, Value: *in.CurrentValue}
	}
	if (c.reading || in.CurrentValue != nil) && c.attribute(core.TagCurrentAttribute, &current, false) && c.reading {
		in.CurrentValue = &current.Value
	}
	c.attribute(core.TagNewAttribute, &in.New, true)
	if c.reading {
		in.Name = in.New.Ref()
		if in.CurrentValue != nil && current.Ref() != in.Name {
			c.fail(core.Errorf(core.InvalidField, "Current Attribute and New Attribute are different attributes"))
		}
	}
}

func (c *coder) modifyAttribute1(in *core.ModifyAttributeInput) {
	if !c.reading {
		c.writeAttribute1(&in.New)
		return
	}
	if it, ok := c.field(core.TagAttribute, core.KindStructure, true); ok {
		c.readAttribute1(it, &in.New, nil)
		in.Name = in.New.Ref()
		in.Name.Index, in.Name.Indexed = in.New.Index, true
	}
}

func deleteAttributeRequest(c *coder, in *core.DeleteAttributeInput) {
	c.identifier(&in.ID)
	if c.style1() {
		c.reference(&in.Name, true)
		index := int32(in.Name.Index)
		c.int32(core.TagAttributeIndex, &index, false)
		if c.reading {
			in.Name.Index, in.Name.Indexed = int(index), true
		}
		return
	}
	var current core.Attribute
	if in.CurrentValue != nil {
		current = core.Attribute{Tag: in.Name.Tag, Vendor: in.Name.Vendor, Name: in.Name.Name, Value: *in.CurrentValue}
	}
	if (c.reading || in.CurrentValue != nil) && c.attribute(core.TagCurrentAttribute, &current, false) && c.reading {
		in.Name, in.CurrentValue = current.Ref(), &current.Value
	}
	if (c.reading || in.CurrentValue == nil) && !c.reference(&in.Name, false) && in.CurrentValue == nil {
		c.fail(core.Errorf(core.InvalidMessage, "Delete Attribute names no attribute"))
	}
	if c.reading && in.CurrentValue != nil && in.Name != current.Ref() {
		c.fail(core.Errorf(core.InvalidField, "Current Attribute and Attribute Reference are different attributes"))
	}
}

// attributeResponse is that of Add, Modify, Set and Delete Attribute: 1.x
// repeats the attribute, 2.x does not.
func attributeResponse(c *coder, out *core.AttributeOutput) {
	c.id(&out.ID)
	if c.style1() {
		c.attribute(0, &out.Attribute, true)
	}
}

func activateRequest(c *coder, in *core.ActivateInput) { c.identifier(&in.ID) }
func destroyRequest(c *coder, in *core.DestroyInput)   { c.identifier(&in.ID) }
func idResponse(c *coder, out *core.IDOutput)          { c.id(&out.ID) }

func revokeRequest(c *coder, in *core.RevokeInput) {
	c.identifier(&in.ID)
	c.within(core.TagRevocationReason, true, func() {
		enum(c, core.TagRevocationReasonCode, &in.Code, true)
		c.text(core.TagRevocationMessage, &in.Message, false)
	})
	number(c, core.TagCompromiseOccurrenceDate, core.KindDateTime, &in.CompromiseOccurrence)
}

// stream is how data in parts is marked, since 1.3.
func (c *coder) stream(correlation *[]byte, first, last **bool) {
	if !c.has(core.V1_3) {
		return
	}
	c.bytes(core.TagCorrelationValue, correlation, false)
	c.bool(core.TagInitIndicator, first)
	c.bool(core.TagFinalIndicator, last)
}

func (c *coder) correlation(p *[]byte) {
	if c.has(core.V1_3) {
		c.bytes(core.TagCorrelationValue, p, false)
	}
}

// data must be there until 1.2; later a part of a stream may lack it.
func (c *coder) data(p *[]byte) { c.bytes(core.TagData, p, !c.has(core.V1_3)) }

func encryptRequest(c *coder, in *core.EncryptInput) {
	c.identifier(&in.ID)
	c.parameters(&in.Parameters)
	c.data(&in.Data)
	c.bytes(core.TagIVCounterNonce, &in.IV, false)
	c.stream(&in.Correlation, &in.Init, &in.Final)
	if c.has(core.V1_4) {
		c.bytes(core.TagAuthenticatedEncryptionAdditionalData, &in.AAD, false)
	}
}

// encryptResponse appends the tag to the data for versions that have no field for it.
func encryptResponse(c *coder, out *core.EncryptOutput) {
	c.id(&out.ID)
	data := out.Data
	if !c.reading && !c.has(core.V1_4) && out.Tag != nil {
		data = append(data[:len(data):len(data)], out.Tag...)
	}
	c.bytes(core.TagData, &data, false)
	out.Data = data
	c.bytes(core.TagIVCounterNonce, &out.IV, false)
	c.correlation(&out.Correlation)
	if c.has(core.V1_4) {
		c.bytes(core.TagAuthenticatedEncryptionTag, &out.Tag, false)
	}
}

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

// digested is Digested Data, since 1.4, which replaces Data.
func (c *coder) digested(data, digested *[]byte) {
	c.bytes(core.TagData, data, !c.has(core.V1_3))
	if c.has(core.V1_4) {
		c.bytes(core.TagDigestedData, digested, false)
	}
}

func signRequest(c *coder, in *core.SignInput) {
	c.identifier(&in.ID)
	c.parameters(&in.Parameters)
	c.digested(&in.Data, &in.Digested)
	c.stream(&in.Correlation, &in.Init, &in.Final)
}

func signResponse(c *coder, out *core.SignOutput) {
	c.id(&out.ID)
	c.bytes(core.TagSignatureData, &out.Signature, false)
	c.correlation(&out.Correlation)
}

func signatureVerifyRequest(c *coder, in *core.SignatureVerifyInput) {
	c.identifier(&in.ID)
	c.parameters(&in.Parameters)
	c.bytes(core.TagData, &in.Data, false)
	if c.has(core.V1_4) {
		c.bytes(core.TagDigestedData, &in.Digested, false)
	}
	c.bytes(core.TagSignatureData, &in.Signature, !c.has(core.V1_3))
	c.stream(&in.Correlation, &in.Init, &in.Final)
}

func signatureVerifyResponse(c *coder, out *core.SignatureVerifyOutput) {
	c.id(&out.ID)
	enum(c, core.TagValidityIndicator, &out.Validity, false) // not before the last part of a stream
	c.bytes(core.TagData, &out.Data, false)
	c.correlation(&out.Correlation)
}

func macRequest(c *coder, in *core.MACInput) {
	c.identifier(&in.ID)
	c.parameters(&in.Parameters)
	c.data(&in.Data)
	c.stream(&in.Correlation, &in.Init, &in.Final)
}

func macResponse(c *coder, out *core.MACOutput) {
	c.id(&out.ID)
	c.bytes(core.TagMACData, &out.MAC, false)
	c.correlation(&out.Correlation)
}

func macVerifyRequest(c *coder, in *core.MACVerifyInput) {
	c.identifier(&in.ID)
	c.parameters(&in.Parameters)
	c.bytes(core.TagData, &in.Data, false)
	c.bytes(core.TagMACData, &in.MAC, !c.has(core.V1_3))
	c.stream(&in.Correlation, &in.Init, &in.Final)
}

func macVerifyResponse(c *coder, out *core.MACVerifyOutput) {
	c.id(&out.ID)
	enum(c, core.TagValidityIndicator, &out.Validity, false)
	c.correlation(&out.Correlation)
}

func hashRequest(c *coder, in *core.HashInput) {
	c.parameters(&in.Parameters)
	c.data(&in.Data)
	c.stream(&in.Correlation, &in.Init, &in.Final)
}

func hashResponse(c *coder, out *core.HashOutput) {
	c.bytes(core.TagData, &out.Data, false)
	c.correlation(&out.Correlation)
}

func rngRetrieveRequest(c *coder, in *core.RNGRetrieveInput) {
	c.int32(core.TagDataLength, &in.Length, true)
}
func rngRetrieveResponse(c *coder, out *core.RNGRetrieveOutput) {
	c.bytes(core.TagData, &out.Data, true)
}
func rngSeedRequest(c *coder, in *core.RNGSeedInput) { c.bytes(core.TagData, &in.Data, true) }
func rngSeedResponse(c *coder, out *core.RNGSeedOutput) {
	c.int32(core.TagDataLength, &out.Amount, true)
}
