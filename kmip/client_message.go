package kmip

import "github.com/keyreeve/keyreeve/core"
import "github.com/keyreeve/keyreeve/core/proof"

// The client's side of the envelope: for tests, the load generator and tools.

// RequestOptions are the header fields a client may set.
type RequestOptions struct {
	MaximumResponseSize int32
	ClientCorrelation   string
	Credentials         []proof.Credential
	ErrorOption         core.BatchErrorContinuationOption
}

// ClientItem is one operation to send. Payload appends its payload.
type ClientItem struct {
	Operation core.Operation
	BatchID   []byte
	Payload   func(dst []byte, v core.Version) ([]byte, error)
}

// AppendRequest appends a whole request message.
func AppendRequest(dst []byte, v core.Version, o RequestOptions, items ...ClientItem) ([]byte, error) {
	dst, msg := openStructure(dst, core.TagRequestMessage)
	dst, h := openStructure(dst, core.TagRequestHeader)
	c := coder{version: v, out: dst}
	protocolVersion(&c, &v)
	c.int32Field(core.TagMaximumResponseSize, &o.MaximumResponseSize, false)
	c.textField(core.TagClientCorrelationValue, &o.ClientCorrelation, false)
	appendAuthentication(&c, o.Credentials)
	enumField(&c, core.TagBatchErrorContinuationOption, &o.ErrorOption, false)
	count := int32(len(items))
	c.int32Field(core.TagBatchCount, &count, true)
	dst = c.out
	closeStructure(dst, h)
	for _, i := range items {
		var at int
		dst, at = openStructure(dst, core.TagBatchItem)
		dst = append4(dst, core.TagOperation, core.KindEnumeration, uint32(i.Operation))
		if i.BatchID != nil {
			dst = appendPadded(dst, core.TagUniqueBatchItemID, core.KindByteString, i.BatchID)
		}
		var err error
		if dst, err = i.Payload(dst, v); err != nil {
			return nil, err
		}
		closeStructure(dst, at)
	}
	closeStructure(dst, msg)
	return dst, nil
}

// appendAuthentication appends the Authentication of a header, if there are credentials.
func appendAuthentication(c *coder, credentials []proof.Credential) {
	if len(credentials) == 0 {
		return
	}
	c.structure(core.TagAuthentication, false, func() {
		for _, given := range credentials {
			c.structure(core.TagCredential, true, func() {
				enumField(c, core.TagCredentialType, &given.Type, true)
				c.structure(core.TagCredentialValue, true, func() { appendCredentialValue(c, &given) })
			})
		}
	})
}

func appendCredentialValue(c *coder, given *proof.Credential) {
	if given.Username != "" || given.Type == core.CredentialTypeUsernameAndPassword {
		c.textField(core.TagUsername, &given.Username, true)
	}
	if d := given.Device; d != nil {
		c.textField(core.TagDeviceSerialNumber, &d.SerialNumber, false)
	}
	if given.Password != nil {
		c.out = appendPadded(c.out, core.TagPassword, core.KindTextString, given.Password)
	}
	if given.OneTimePassword != nil {
		c.out = appendPadded(c.out, core.TagOneTimePassword, core.KindTextString, given.OneTimePassword)
	}
	if d := given.Device; d != nil {
		for _, f := range deviceFields(d) {
			c.textField(f.tag, f.text, false)
		}
	}
	if h := given.Hashed; h != nil {
		c.out = append8(c.out, core.TagTimeStamp, core.KindDateTimeExtended, uint64(h.Timestamp))
		enumField(c, core.TagHashingAlgorithm, &h.Algorithm, false)
		c.out = appendPadded(c.out, core.TagHashedPassword, core.KindByteString, h.Hash)
	}
	for _, f := range given.Value {
		c.out = appendValue(c.out, f.Tag, f.Value)
	}
}

// ClientResponse is a response message as a client reads it.
type ClientResponse struct {
	Version           core.Version
	TimeStamp         int64
	ServerCorrelation string
	ServerHash        []byte // Server Hashed Password
	Items             []ResponseItem
}

// ResponseItem is one answer.
type ResponseItem struct {
	Operation core.Operation
	BatchID   []byte
	Status    core.ResultStatus
	Reason    core.ResultReason
	Message   string
	Payload   []byte // the payload item, nil: absent
}

// ParseResponse validates and reads a response message.
func ParseResponse(msg []byte) (ClientResponse, error) {
	var r ClientResponse
	if err := Validate(msg); err != nil {
		return r, err
	}
	top, _ := nextItem(msg)
	if top.tag != core.TagResponseMessage {
		return r, malformed("the message is a %v, not a Response Message", top.tag)
	}
	c := coder{version: core.V2_1, lenient: true, reading: true, client: true}
	var count int32
	c.readStructure(top, func() {
		c.structure(core.TagResponseHeader, true, func() {
			protocolVersion(&c, &r.Version)
			if it, ok := c.takeField(core.TagTimeStamp, core.KindDateTime, true); ok {
				r.TimeStamp = it.number()
			}
			c.eachField(core.TagAttestationType, core.KindAny, MaxListed, func(item) {})
			c.bytesField(core.TagServerHashedPassword, &r.ServerHash, false)
			c.textField(core.TagServerCorrelationValue, &r.ServerCorrelation, false)
			c.int32Field(core.TagBatchCount, &count, true)
		})
		c.eachField(core.TagBatchItem, core.KindStructure, MaxBatchItems, func(it item) {
			var ri ResponseItem
			c.readStructure(it, func() { responseItem(&c, &ri) })
			r.Items = append(r.Items, ri)
		})
	})
	if c.err == nil && int(count) != len(r.Items) {
		c.fail(malformed("the answer has %d items and a Batch Count of %d", len(r.Items), count))
	}
	return r, c.err
}

func responseItem(c *coder, ri *ResponseItem) {
	enumField(c, core.TagOperation, &ri.Operation, false)
	c.bytesField(core.TagUniqueBatchItemID, &ri.BatchID, false)
	if it, ok := c.takeField(core.TagResultStatus, core.KindEnumeration, true); ok {
		ri.Status = core.ResultStatus(it.number())
	}
	enumField(c, core.TagResultReason, &ri.Reason, false)
	c.textField(core.TagResultMessage, &ri.Message, false)
	ri.Payload = c.rawField(core.TagResponsePayload)
}
