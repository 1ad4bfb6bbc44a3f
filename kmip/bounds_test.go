package kmip_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

func text(t core.Tag, s string) []byte { return kmiptest.RawItem(t, core.KindTextString, []byte(s)) }
func num(t core.Tag, k core.Kind, n uint32) []byte {
	return kmiptest.RawItem(t, k, binary.BigEndian.AppendUint32(nil, n))
}

// structured makes a structure of one field n times.
func structured(t core.Tag, field []byte, n int) []byte {
	return kmiptest.RawItem(t, core.KindStructure, bytes.Repeat(field, n))
}

// Each bound of a request is met exactly: its last value is read, the next is
// refused with an error that quotes it.
func TestBoundsOfRequests(t *testing.T) {
	attribute1 := kmiptest.RawItem(core.TagAttribute, core.KindStructure, text(core.TagAttributeName, "x-a"), num(core.TagAttributeValue, core.KindInteger, 1))
	attribute2 := kmiptest.RawItem(core.TagAttribute, core.KindStructure, text(core.TagVendorIdentification, "x"), text(core.TagAttributeName, "a"), num(core.TagAttributeValue, core.KindInteger, 1))
	template := kmiptest.RawItem(core.TagName, core.KindStructure, text(core.TagNameValue, "a"))
	version := kmiptest.RawItem(core.TagProtocolVersion, core.KindStructure, num(core.TagProtocolVersionMajor, core.KindInteger, 1), num(core.TagProtocolVersionMinor, core.KindInteger, 4))
	reference := num(core.TagAttributeReference, core.KindEnumeration, uint32(core.TagState))
	objectType := num(core.TagObjectType, core.KindEnumeration, 2)
	keyed := func(inside []byte) [][]byte {
		material := kmiptest.RawItem(core.TagKeyMaterial, core.KindByteString, make([]byte, 16))
		return [][]byte{objectType, kmiptest.RawItem(core.TagTemplateAttribute, core.KindStructure), kmiptest.RawItem(core.TagSymmetricKey, core.KindStructure,
			kmiptest.RawItem(core.TagKeyBlock, core.KindStructure, num(core.TagKeyFormatType, core.KindEnumeration, 1), kmiptest.RawItem(core.TagKeyValue, core.KindStructure, material, inside)))}
	}
	derived := func(attributes core.Tag, parameters []byte, bases int) [][]byte {
		return [][]byte{objectType, bytes.Repeat(text(core.TagUniqueIdentifier, "a"), bases), num(core.TagDerivationMethod, core.KindEnumeration, 3), parameters,
			kmiptest.RawItem(attributes, core.KindStructure)}
	}
	specified := func(inside []byte) [][]byte {
		return [][]byte{kmiptest.RawItem(core.TagKeyWrappingSpecification, core.KindStructure, num(core.TagWrappingMethod, core.KindEnumeration, 1), inside)}
	}
	for what, c := range map[string]struct {
		op   core.Operation
		v    core.Version
		most int
		make func(n int) [][]byte
	}{
		"attributes": {core.OperationCreate, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte {
			return [][]byte{objectType, structured(core.TagTemplateAttribute, attribute1, n)}
		}},
		"attributes of 2.x":        {core.OperationCreate, core.V2_1, kmip.MaxAttributes, func(n int) [][]byte { return [][]byte{objectType, structured(core.TagAttributes, attribute2, n)} }},
		"attributes of a key pair": {core.OperationCreateKeyPair, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte { return [][]byte{structured(core.TagPrivateKeyTemplateAttribute, attribute1, n)} }},
		"attributes of a Re-key":   {core.OperationReKey, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte { return [][]byte{structured(core.TagTemplateAttribute, attribute1, n)} }},
		"attributes of a new key pair": {core.OperationReKeyKeyPair, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte {
			return [][]byte{structured(core.TagPublicKeyTemplateAttribute, attribute1, n)}
		}},
		"objects to derive from": {core.OperationDeriveKey, core.V1_4, kmip.MaxListed, func(n int) [][]byte {
			return derived(core.TagTemplateAttribute, kmiptest.RawItem(core.TagDerivationParameters, core.KindStructure), n)
		}},
		"Derivation Data of 2.x": {core.OperationDeriveKey, core.V2_1, kmip.MaxListed, func(n int) [][]byte {
			return derived(core.TagAttributes, structured(core.TagDerivationParameters, kmiptest.RawItem(core.TagDerivationData, core.KindByteString, []byte("data")), n), 1)
		}},
		"Derivation Data of 1.x": {core.OperationDeriveKey, core.V1_4, 1, func(n int) [][]byte {
			return derived(core.TagTemplateAttribute, structured(core.TagDerivationParameters, kmiptest.RawItem(core.TagDerivationData, core.KindByteString, []byte("data")), n), 1)
		}},
		"attributes in a Key Value": {core.OperationRegister, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte { return keyed(bytes.Repeat(attribute1, n)) }},
		"attributes of a Template": {core.OperationRegister, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte {
			return [][]byte{objectType, kmiptest.RawItem(core.TagTemplateAttribute, core.KindStructure), structured(core.TagTemplate, attribute1, n)}
		}},
		"filters": {core.OperationLocate, core.V1_4, kmip.MaxLocateFilters, func(n int) [][]byte { return [][]byte{bytes.Repeat(attribute1, n)} }},
		"filters in a Template-Attribute": {core.OperationLocate, core.V1_4, kmip.MaxLocateFilters, func(n int) [][]byte {
			return [][]byte{structured(core.TagTemplateAttribute, attribute1, n-1), attribute1}
		}},
		"filters of 2.x": {core.OperationLocate, core.V2_1, kmip.MaxLocateFilters, func(n int) [][]byte { return [][]byte{structured(core.TagAttributes, attribute2, n)} }},
		"Templates":      {core.OperationCreate, core.V1_4, kmip.MaxTemplateNames, func(n int) [][]byte { return [][]byte{objectType, structured(core.TagTemplateAttribute, template, n)} }},
		"names":          {core.OperationGetAttributes, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte { return [][]byte{bytes.Repeat(text(core.TagAttributeName, "State"), n)} }},
		"references":     {core.OperationGetAttributes, core.V2_1, kmip.MaxAttributes, func(n int) [][]byte { return [][]byte{bytes.Repeat(reference, n)} }},
		"names to wrap":  {core.OperationGet, core.V1_4, kmip.MaxAttributes, func(n int) [][]byte { return specified(bytes.Repeat(text(core.TagAttributeName, "State"), n)) }},
		"versions":       {core.OperationDiscoverVersions, core.V1_4, kmip.MaxListed, func(n int) [][]byte { return [][]byte{bytes.Repeat(version, n)} }},
		"query functions": {core.OperationQuery, core.V1_4, kmip.MaxListed, func(n int) [][]byte {
			return [][]byte{bytes.Repeat(num(core.TagQueryFunction, core.KindEnumeration, 1), n)}
		}},
		"Object Groups": {core.OperationQuery, core.V2_1, kmip.MaxListed, func(n int) [][]byte {
			return [][]byte{num(core.TagQueryFunction, core.KindEnumeration, 1), structured(core.TagObjectGroups, text(core.TagObjectGroup, "a"), n)}
		}},
		"storage masks": {core.OperationCreate, core.V2_1, kmip.MaxListed, func(n int) [][]byte {
			return [][]byte{objectType, kmiptest.RawItem(core.TagAttributes, core.KindStructure), structured(core.TagProtectionStorageMasks, num(core.TagProtectionStorageMask, core.KindInteger, 1), n)}
		}},
		"bytes of an identifier": {core.OperationGet, core.V1_4, kmip.MaxIdentifierBytes, func(n int) [][]byte { return [][]byte{text(core.TagUniqueIdentifier, strings.Repeat("a", n))} }},
		"bytes of a name":        {core.OperationGetAttributes, core.V1_4, kmip.MaxTextBytes, func(n int) [][]byte { return [][]byte{text(core.TagAttributeName, strings.Repeat("a", n))} }},
		"bytes of a Revocation Message": {core.OperationRevoke, core.V1_4, kmip.MaxTextBytes, func(n int) [][]byte {
			return [][]byte{kmiptest.RawItem(core.TagRevocationReason, core.KindStructure, num(core.TagRevocationReasonCode, core.KindEnumeration, 1), text(core.TagRevocationMessage, strings.Repeat("a", n)))}
		}},
		"bytes of a wrapping key's name": {core.OperationGet, core.V1_4, kmip.MaxTextBytes, func(n int) [][]byte {
			return specified(kmiptest.RawItem(core.TagEncryptionKeyInformation, core.KindStructure, text(core.TagUniqueIdentifier, strings.Repeat("a", n))))
		}},
	} {
		read := everyOperation[slices.IndexFunc(everyOperation, func(p produced) bool { return p.op == c.op })].readRequest
		for n := c.most; n <= c.most+1; n++ {
			payload := kmiptest.RawItem(core.TagRequestPayload, core.KindStructure, c.make(n)...)
			if err := kmip.Validate(payload); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			_, err := read(payload, c.v)
			switch {
			case n == c.most && err != nil:
				t.Errorf("%d %s: %v", n, what, err)
			case n > c.most && (core.CodeOf(err) != core.InvalidField || !strings.Contains(err.Error(), strconv.Itoa(c.most))):
				t.Errorf("%d %s: %v; want an error that quotes the bound", n, what, err)
			}
		}
	}
}

// Bounds of the whole message, which nothing in it is looked at beyond.
func TestBoundsOfMessages(t *testing.T) {
	version := kmiptest.RawItem(core.TagProtocolVersion, core.KindStructure, num(core.TagProtocolVersionMajor, core.KindInteger, 1), num(core.TagProtocolVersionMinor, core.KindInteger, 4))
	credential := kmiptest.RawItem(core.TagCredential, core.KindStructure, num(core.TagCredentialType, core.KindEnumeration, 2), kmiptest.RawItem(core.TagCredentialValue, core.KindStructure))
	extension := kmiptest.RawItem(core.TagMessageExtension, core.KindStructure, text(core.TagVendorIdentification, "a"))
	vendor := num(0x540001, core.KindInteger, 1)
	message := func(header, item []byte, items int) []byte {
		h := kmiptest.RawItem(core.TagRequestHeader, core.KindStructure, version, header, num(core.TagBatchCount, core.KindInteger, uint32(items)))
		one := kmiptest.RawItem(core.TagBatchItem, core.KindStructure, num(core.TagOperation, core.KindEnumeration, uint32(core.OperationGet)), item)
		return kmiptest.RawItem(core.TagRequestMessage, core.KindStructure, h, bytes.Repeat(one, items))
	}
	payload := func(inside []byte) []byte {
		return kmiptest.RawItem(core.TagRequestPayload, core.KindStructure, inside)
	}
	const around = 8 // items of a message without a payload's
	for what, c := range map[string]struct {
		most int
		make func(n int) []byte
		code core.Code
	}{
		"batch items":         {kmip.MaxBatchItems, func(n int) []byte { return message(nil, payload(nil), n) }, core.InvalidMessage},
		"credentials":         {kmip.MaxCredentials, func(n int) []byte { return message(structured(core.TagAuthentication, credential, n), payload(nil), 1) }, core.InvalidField},
		"extensions":          {kmip.MaxExtensions, func(n int) []byte { return message(nil, append(payload(nil), bytes.Repeat(extension, n)...), 1) }, core.InvalidField},
		"fields":              {kmip.MaxFields, func(n int) []byte { return message(nil, payload(bytes.Repeat(vendor, n)), 1) }, core.InvalidMessage},
		"fields further down": {kmip.MaxFields, func(n int) []byte { return message(nil, payload(structured(0x540002, vendor, n)), 1) }, core.InvalidMessage},
		"bytes of a batch id": {kmip.MaxBatchIDBytes, func(n int) []byte {
			return message(nil, append(kmiptest.RawItem(core.TagUniqueBatchItemID, core.KindByteString, make([]byte, n)), payload(nil)...), 1)
		}, core.InvalidMessage},
		"bytes of a correlation value": {kmip.MaxTextBytes, func(n int) []byte {
			return message(text(core.TagClientCorrelationValue, strings.Repeat("a", n)), payload(nil), 1)
		}, core.InvalidField},
		"items": {kmip.MaxItems, func(n int) []byte {
			left, all := n-around-1, []byte(nil)
			for left > 0 { // structures of 1,000 fields
				in := min(left-1, 1000)
				all = append(all, structured(0x540002, vendor, in)...)
				left -= in + 1
			}
			return message(nil, payload(all), 1)
		}, core.InvalidMessage},
	} {
		for n := c.most; n <= c.most+1; n++ {
			_, err := kmip.ParseRequest(c.make(n))
			switch {
			case n == c.most && err != nil:
				t.Errorf("%d %s: %v", n, what, err)
			case n > c.most && (core.CodeOf(err) != c.code || !strings.Contains(err.Error(), strconv.Itoa(c.most))):
				t.Errorf("%d %s: %v; want an error that quotes the bound", n, what, err)
			}
		}
	}
}
