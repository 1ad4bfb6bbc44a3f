package kmip

import "github.com/keyreeve/keyreeve/core"

// Op ties an operation to its two payloads, once, for every version that has it.
type Op[I, O any] struct {
	Code     core.Operation
	request  func(*coder, *I)
	response func(*coder, *O)

	// ID is where the request names its object; nil: it names none.
	ID func(*I) *core.Identifier
	// Made is the Unique Identifier that the ID Placeholder takes afterwards;
	// nil: it is left alone (KMIP 1.4 §4, 2.1 §6).
	Made func(*O) string
	// Told lists the Unique Identifiers that the answer has; nil: that which the
	// request names, or Made.
	Told func(*O) []string
}

// The operations.
var (
	DiscoverVersions = Op[core.DiscoverVersionsInput, core.DiscoverVersionsOutput]{Code: core.OperationDiscoverVersions, request: discoverVersionsRequest, response: discoverVersionsResponse}
	Query            = Op[core.QueryInput, core.QueryOutput]{Code: core.OperationQuery, request: queryRequest, response: queryResponse}
	Create           = Op[core.CreateInput, core.CreateOutput]{Code: core.OperationCreate, request: createRequest, response: createResponse,
		Made: func(o *core.CreateOutput) string { return o.ID }}
	CreateKeyPair = Op[core.CreateKeyPairInput, core.CreateKeyPairOutput]{Code: core.OperationCreateKeyPair, request: createKeyPairRequest, response: createKeyPairResponse,
		Made: func(o *core.CreateKeyPairOutput) string { return o.PrivateID },
		Told: func(o *core.CreateKeyPairOutput) []string { return []string{o.PrivateID, o.PublicID} }}
	Register = Op[core.RegisterInput, core.RegisterOutput]{Code: core.OperationRegister, request: registerRequest, response: registerResponse,
		Made: func(o *core.RegisterOutput) string { return o.ID }}
	ReKey = Op[core.RekeyInput, core.CreateOutput]{Code: core.OperationReKey, request: rekeyRequest, response: rekeyResponse,
		ID: func(i *core.RekeyInput) *core.Identifier { return &i.ID }, Made: func(o *core.CreateOutput) string { return o.ID }}
	Locate = Op[core.LocateInput, core.LocateOutput]{Code: core.OperationLocate, request: locateRequest, response: locateResponse,
		Told: func(o *core.LocateOutput) []string { return o.IDs },
		Made: func(o *core.LocateOutput) string {
			if len(o.IDs) == 1 {
				return o.IDs[0]
			}
			return ""
		}}
	Check = Op[core.CheckInput, core.CheckOutput]{Code: core.OperationCheck, request: checkRequest, response: checkResponse,
		ID: func(i *core.CheckInput) *core.Identifier { return &i.ID }}
	Get = Op[core.GetInput, core.GetOutput]{Code: core.OperationGet, request: getRequest, response: getResponse,
		ID: func(i *core.GetInput) *core.Identifier { return &i.ID }}
	GetAttributes = Op[core.GetAttributesInput, core.GetAttributesOutput]{Code: core.OperationGetAttributes, request: getAttributesRequest, response: getAttributesResponse,
		ID: func(i *core.GetAttributesInput) *core.Identifier { return &i.ID }}
	GetAttributeList = Op[core.GetAttributeListInput, core.GetAttributeListOutput]{Code: core.OperationGetAttributeList, request: getAttributeListRequest, response: getAttributeListResponse,
		ID: func(i *core.GetAttributeListInput) *core.Identifier { return &i.ID }}
	AddAttribute = Op[core.AddAttributeInput, core.AttributeOutput]{Code: core.OperationAddAttribute, request: addAttributeRequest, response: attributeResponse,
		ID: func(i *core.AddAttributeInput) *core.Identifier { return &i.ID }}
	ModifyAttribute = Op[core.ModifyAttributeInput, core.AttributeOutput]{Code: core.OperationModifyAttribute, request: modifyAttributeRequest, response: attributeResponse,
		ID: func(i *core.ModifyAttributeInput) *core.Identifier { return &i.ID }}
	SetAttribute = Op[core.SetAttributeInput, core.AttributeOutput]{Code: core.OperationSetAttribute, request: setAttributeRequest, response: attributeResponse,
		ID: func(i *core.SetAttributeInput) *core.Identifier { return &i.ID }}
	DeleteAttribute = Op[core.DeleteAttributeInput, core.AttributeOutput]{Code: core.OperationDeleteAttribute, request: deleteAttributeRequest, response: attributeResponse,
		ID: func(i *core.DeleteAttributeInput) *core.Identifier { return &i.ID }}
	Activate = Op[core.ActivateInput, core.IDOutput]{Code: core.OperationActivate, request: activateRequest, response: idResponse,
		ID: func(i *core.ActivateInput) *core.Identifier { return &i.ID }}
	Revoke = Op[core.RevokeInput, core.IDOutput]{Code: core.OperationRevoke, request: revokeRequest, response: idResponse,
		ID: func(i *core.RevokeInput) *core.Identifier { return &i.ID }}
	Destroy = Op[core.DestroyInput, core.IDOutput]{Code: core.OperationDestroy, request: destroyRequest, response: idResponse,
		ID: func(i *core.DestroyInput) *core.Identifier { return &i.ID }}
	Encrypt = Op[core.EncryptInput, core.EncryptOutput]{Code: core.OperationEncrypt, request: encryptRequest, response: encryptResponse,
		ID: func(i *core.EncryptInput) *core.Identifier { return &i.ID }}
	Decrypt = Op[core.DecryptInput, core.DecryptOutput]{Code: core.OperationDecrypt, request: decryptRequest, response: decryptResponse,
		ID: func(i *core.DecryptInput) *core.Identifier { return &i.ID }}
	Sign = Op[core.SignInput, core.SignOutput]{Code: core.OperationSign, request: signRequest, response: signResponse,
		ID: func(i *core.SignInput) *core.Identifier { return &i.ID }}
	SignatureVerify = Op[core.SignatureVerifyInput, core.SignatureVerifyOutput]{Code: core.OperationSignatureVerify, request: signatureVerifyRequest, response: signatureVerifyResponse,
		ID: func(i *core.SignatureVerifyInput) *core.Identifier { return &i.ID }}
	MAC = Op[core.MACInput, core.MACOutput]{Code: core.OperationMAC, request: macRequest, response: macResponse,
		ID: func(i *core.MACInput) *core.Identifier { return &i.ID }}
	MACVerify = Op[core.MACVerifyInput, core.MACVerifyOutput]{Code: core.OperationMACVerify, request: macVerifyRequest, response: macVerifyResponse,
		ID: func(i *core.MACVerifyInput) *core.Identifier { return &i.ID }}
	Hash        = Op[core.HashInput, core.HashOutput]{Code: core.OperationHash, request: hashRequest, response: hashResponse}
	RNGRetrieve = Op[core.RNGRetrieveInput, core.RNGRetrieveOutput]{Code: core.OperationRNGRetrieve, request: rngRetrieveRequest, response: rngRetrieveResponse}
	RNGSeed     = Op[core.RNGSeedInput, core.RNGSeedOutput]{Code: core.OperationRNGSeed, request: rngSeedRequest, response: rngSeedResponse}
)

// In reports whether version v has the operation.
func In(op core.Operation, v core.Version) bool {
	row := core.TagOperation.Info().Enum.Lookup(uint32(op))
	return row != nil && v.Within(row.Since, row.Until)
}

// DecodeRequest reads a request payload: the item as the batch item holds it,
// nil when there is none. Byte strings of in alias it.
func (op *Op[I, O]) DecodeRequest(payload []byte, v core.Version, lenient bool, in *I) error {
	return decode(payload, core.TagRequestPayload, coder{v: v, lenient: lenient}, op.request, in)
}

// DecodeResponse is for clients.
func (op *Op[I, O]) DecodeResponse(payload []byte, v core.Version, out *O) error {
	return decode(payload, core.TagResponsePayload, coder{v: v, lenient: true, client: true}, op.response, out)
}

// AppendRequest is for clients.
func (op *Op[I, O]) AppendRequest(dst []byte, v core.Version, in *I) ([]byte, error) {
	c := coder{v: v, out: dst}
	c.within(core.TagRequestPayload, true, func() { op.request(&c, in) })
	return c.out, c.err
}

// AppendResponse appends the payload item.
func (op *Op[I, O]) AppendResponse(dst []byte, v core.Version, out *O) ([]byte, error) {
	c := borrow(v)
	defer c.giveBack()
	c.answer = true
	var at int
	c.out, at = openStructure(dst, core.TagResponsePayload)
	op.response(c, out)
	closeStructure(c.out, at)
	return c.out, c.err
}

// decode reads a validated payload item; a missing one has no fields.
func decode[P any](payload []byte, t core.Tag, how coder, fields func(*coder, *P), p *P) error {
	it := item{tag: t, kind: core.KindStructure}
	if len(payload) > 0 {
		it, _ = next(payload)
	}
	if it.tag != t || it.kind != core.KindStructure {
		return core.Errorf(core.InvalidMessage, "the batch item holds %v where its payload should be", it.tag)
	}
	c := borrow(how.v)
	defer c.giveBack()
	c.lenient, c.client, c.reading = how.lenient, how.client, true
	c.enter(it)
	fields(c, p)
	c.done(func() { fields(c, p) })
	return c.err
}
