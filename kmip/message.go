package kmip

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// Request is a request message that is read down to its batch items. Their payloads
// are read later, one by one, so that a bad payload fails only its own item (KMIP 1.2
// §11.1). Everything in it aliases the message.
type Request struct {
	Header  Header
	Items   []RequestItem
	Decoded int // bytes that its values take when they are read, about
}

// Header is the request header (KMIP 1.4 §7.2, 2.1 §8.2).
type Header struct {
	Version               core.Version
	MaximumResponseSize   *int32 // bytes
	ClientCorrelation     string
	ServerCorrelation     string
	AsynchronousMandatory bool
	Credentials           []proof.Credential
	ErrorOption           core.BatchErrorContinuationOption // 0: absent, which means Stop
	TimeStamp             *int64
	BatchCount            int32
}

// RequestItem is one batch item.
type RequestItem struct {
	Operation core.Operation
	Ephemeral bool
	BatchID   []byte // Unique Batch Item ID; nil: absent
	Payload   []byte // the payload item, nil: absent
	Critical  bool   // carries a Message Extension that must be understood
}

// Parse validates a message and reads its header and frames. It reuses the memory of
// r. An error concerns the whole message; its code says why. If the version could be
// read, r has it even then, so that the answer can use it.
func (r *Request) Parse(msg []byte) error {
	*r = Request{Items: r.Items[:0]}
	var err error
	if r.Decoded, err = validate(msg, MaxItems, MaxFields); err != nil {
		return err
	}
	top, _ := nextItem(msg)
	if top.tag != core.TagRequestMessage || top.kind != core.KindStructure {
		return malformed("the message is a %v, not a Request Message", top.tag)
	}
	c := borrow(core.V2_1)
	defer c.giveBack()
	c.lenient, c.reading = true, true
	if len(top.value) == 0 {
		return malformed("the message is empty")
	}
	header, items := nextItem(top.value)
	if header.tag != core.TagRequestHeader || header.kind != core.KindStructure {
		return malformed("the message does not begin with a Request Header")
	}
	requestHeader(c, header, &r.Header)
	if c.err != nil {
		return c.err
	}
	if !Known(r.Header.Version) {
		return core.Errorf(core.InvalidMessage, "the server does not support KMIP %v; Discover Versions lists the versions it supports", r.Header.Version)
	}
	return r.readItems(items)
}

// Known reports whether the server supports a version.
func Known(v core.Version) bool { return slices.Contains(core.Versions, v) }

func protocolVersion(c *coder, v *core.Version) {
	c.structure(core.TagProtocolVersion, true, func() { versionFields(c, v) })
}

func versionFields(c *coder, v *core.Version) {
	major, minor := int32(v.Major()), int32(v.Minor())
	c.int32Field(core.TagProtocolVersionMajor, &major, true)
	c.int32Field(core.TagProtocolVersionMinor, &minor, true)
	if c.reading && c.err == nil {
		if major < 0 || major > 255 || minor < 0 || minor > 255 {
			c.fail(core.Errorf(core.InvalidMessage, "there is no protocol version %d.%d", major, minor))
		}
		*v = core.Version(major<<8 | minor)
	}
}

func requestHeader(c *coder, it item, h *Header) {
	c.readStructure(it, func() {
		protocolVersion(c, &h.Version)
		c.version = h.Version
		numberField(c, core.TagMaximumResponseSize, core.KindInteger, &h.MaximumResponseSize)
		c.textField(core.TagClientCorrelationValue, &h.ClientCorrelation, false)
		c.textField(core.TagServerCorrelationValue, &h.ServerCorrelation, false)
		asynchronous(c, h)
		authentication(c, h)
		enumField(c, core.TagBatchErrorContinuationOption, &h.ErrorOption, false)
		var ignored *bool
		c.boolField(core.TagAttestationCapableIndicator, &ignored)
		c.eachField(core.TagAttestationType, core.KindAny, MaxListed, func(item) {})
		c.boolField(core.TagBatchOrderOption, &ignored)
		numberField(c, core.TagTimeStamp, core.KindDateTime, &h.TimeStamp)
		c.int32Field(core.TagBatchCount, &h.BatchCount, true)
	})
}

// asynchronous is the Asynchronous Indicator, a Boolean in 1.x and an enumeration in
// 2.x. With True and Optional the server may choose; it answers at once.
func asynchronous(c *coder, h *Header) {
	it, ok := c.takeField(core.TagAsynchronousIndicator, core.KindAny, false)
	if ok && it.kind == core.KindEnumeration && c.version >= core.V2_0 {
		h.AsynchronousMandatory = core.AsynchronousIndicator(c.knownEnum(it)) == core.AsynchronousIndicatorMandatory
	} else if ok && it.kind != core.KindBoolean {
		c.fail(wrongKind(it, core.KindBoolean))
	}
}

func authentication(c *coder, h *Header) {
	c.structure(core.TagAuthentication, false, func() {
		c.eachField(core.TagCredential, core.KindStructure, MaxCredentials, func(it item) {
			var cred proof.Credential
			c.readStructure(it, func() { credential(c, &cred) })
			h.Credentials = append(h.Credentials, cred)
		})
	})
}

func credential(c *coder, p *proof.Credential) {
	enumField(c, core.TagCredentialType, &p.Type, true)
	v, ok := c.takeField(core.TagCredentialValue, core.KindStructure, true)
	if !ok {
		return
	}
	switch since2 := c.version >= core.V2_0; {
	case p.Type == core.CredentialTypeUsernameAndPassword:
		c.readStructure(v, func() { userAndPassword(c, p) })
	case p.Type == core.CredentialTypeDevice:
		p.Device = new(proof.Device)
		c.readStructure(v, func() { device(c, p) })
	case p.Type == core.CredentialTypeOneTimePassword && since2:
		c.readStructure(v, func() {
			userAndPassword(c, p)
			if it, ok := c.takeField(core.TagOneTimePassword, core.KindTextString, true); ok {
				p.OneTimePassword = it.value
			}
		})
	case p.Type == core.CredentialTypeHashedPassword && since2:
		p.Hashed = new(proof.HashedPassword)
		c.readStructure(v, func() { hashedPassword(c, p) })
	default:
		p.Value = v.borrowedValue().Fields
	}
}

// device reads the value of a Device credential (KMIP 1.4 §2.1.2, 2.1 §9.11). Each of its fields may
// be left out.
func device(c *coder, p *proof.Credential) {
	d := p.Device
	c.textField(core.TagDeviceSerialNumber, &d.SerialNumber, false)
	if it, ok := c.takeField(core.TagPassword, core.KindTextString, false); ok {
		p.Password = it.value
	}
	for _, f := range deviceFields(d) {
		c.textField(f.tag, f.text, false)
	}
}

// deviceFields are the fields that follow the password, in their order.
func deviceFields(d *proof.Device) [4]struct {
	tag  core.Tag
	text *string
} {
	return [...]struct {
		tag  core.Tag
		text *string
	}{{core.TagDeviceIdentifier, &d.Identifier}, {core.TagNetworkIdentifier, &d.Network}, {core.TagMachineIdentifier, &d.Machine}, {core.TagMediaIdentifier, &d.Media}}
}

func userAndPassword(c *coder, p *proof.Credential) {
	c.textField(core.TagUsername, &p.Username, true)
	if it, ok := c.takeField(core.TagPassword, core.KindTextString, false); ok {
		p.Password = it.value
	}
}

// hashedPassword reads the value of a Hashed Password (KMIP 2.1 §9.11, Table 415).
func hashedPassword(c *coder, p *proof.Credential) {
	c.textField(core.TagUsername, &p.Username, true)
	if it, ok := c.takeField(core.TagTimeStamp, core.KindDateTimeExtended, true); ok {
		p.Hashed.Timestamp = it.number()
	}
	enumField(c, core.TagHashingAlgorithm, &p.Hashed.Algorithm, false)
	if it, ok := c.takeField(core.TagHashedPassword, core.KindByteString, true); ok {
		p.Hashed.Hash = it.value
	}
}

// readItems reads the frames of the batch items.
func (r *Request) readItems(body []byte) error {
	if n := r.Header.BatchCount; n < 1 || n > MaxBatchItems {
		return malformed("the Batch Count is %d; a message has 1 to %d items", n, MaxBatchItems)
	}
	if r.Items == nil {
		r.Items = make([]RequestItem, 0, r.Header.BatchCount)
	}
	for len(body) > 0 {
		var it item
		if it, body = nextItem(body); it.tag.IsVendor() {
			continue // vendor fields may be ignored
		}
		if it.tag != core.TagBatchItem {
			return malformed("%v is not a Batch Item", it.tag)
		}
		if len(r.Items) == int(r.Header.BatchCount) {
			return malformed("the message has more items than its Batch Count of %d", r.Header.BatchCount)
		}
		if err := r.readItem(it); err != nil {
			return err
		}
	}
	if len(r.Items) != int(r.Header.BatchCount) {
		return malformed("the message has %d items and a Batch Count of %d", len(r.Items), r.Header.BatchCount)
	}
	return nil
}

// readItem reads the frame of one batch item.
func (r *Request) readItem(it item) error {
	c := borrow(r.Header.Version)
	defer c.giveBack()
	c.lenient, c.reading = true, true
	r.Items = append(r.Items, RequestItem{})
	ri := &r.Items[len(r.Items)-1]
	c.readStructure(it, func() { requestItem(c, ri) })
	return c.err
}

func requestItem(c *coder, ri *RequestItem) {
	if it, ok := c.takeField(core.TagOperation, core.KindEnumeration, true); ok {
		ri.Operation = core.Operation(it.number())
	}
	var ephemeral *bool
	c.boolField(core.TagEphemeral, &ephemeral)
	ri.Ephemeral = ephemeral != nil && *ephemeral
	c.bytesField(core.TagUniqueBatchItemID, &ri.BatchID, false)
	if n := len(ri.BatchID); n > MaxBatchIDBytes {
		c.fail(malformed("a Unique Batch Item ID has %d bytes; the limit is %d", n, MaxBatchIDBytes))
	}
	ri.Payload = c.rawField(core.TagRequestPayload)
	c.eachField(core.TagMessageExtension, core.KindStructure, MaxExtensions, func(it item) { // since 2.0 there may be several
		c.readStructure(it, func() {
			var vendor string
			var critical *bool
			c.textField(core.TagVendorIdentification, &vendor, true)
			c.boolField(core.TagCriticalityIndicator, &critical)
			ri.Critical = ri.Critical || (critical != nil && *critical) // keyreeve knows no extension
			c.takeField(core.TagVendorExtension, core.KindStructure, false)
		})
	})
}

// rawField takes a field as the bytes of the whole item, with its header.
func (c *coder) rawField(t core.Tag) []byte {
	for b := c.frame.body; len(b) > 0; {
		it, rest := nextItem(b)
		if it.tag == t {
			c.frame.taken++
			return b[:len(b)-len(rest)]
		}
		b = rest
	}
	return nil
}

// Response builds a response message item by item (KMIP 1.4 §7.1, 2.1 §8.4).
// Mark and Truncate remove an item that became too large.
type Response struct {
	buf     []byte
	version core.Version
	count   int
	header  int // where the value of the Batch Count is
}

// Begin starts a message in buf[:0]: header with version, time stamp (Unix
// seconds) and, if not empty, Server Correlation Value.
func (r *Response) Begin(buf []byte, v core.Version, now int64, correlation string) {
	r.BeginProved(buf, v, now, correlation, nil)
}

// BeginProved is Begin with the Server Hashed Password that answers a Hashed Password (KMIP 2.1
// §8.5); nil: none.
func (r *Response) BeginProved(buf []byte, v core.Version, now int64, correlation string, serverHash []byte) {
	b, _ := openStructure(buf[:0], core.TagResponseMessage)
	b, h := openStructure(b, core.TagResponseHeader)
	b, pv := openStructure(b, core.TagProtocolVersion)
	b = append4(b, core.TagProtocolVersionMajor, core.KindInteger, uint32(v.Major()))
	b = append4(b, core.TagProtocolVersionMinor, core.KindInteger, uint32(v.Minor()))
	closeStructure(b, pv)
	b = append8(b, core.TagTimeStamp, core.KindDateTime, uint64(now))
	if serverHash != nil {
		b = appendPadded(b, core.TagServerHashedPassword, core.KindByteString, serverHash)
	}
	if correlation != "" {
		b = appendPadded(b, core.TagServerCorrelationValue, core.KindTextString, correlation)
	}
	count := len(b) + headerBytes
	b = append4(b, core.TagBatchCount, core.KindInteger, 0)
	closeStructure(b, h)
	*r = Response{buf: b, version: v, header: count}
}

// Size returns the size of the message so far, in bytes.
func (r *Response) Size() int { return len(r.buf) }

// Mark returns the current end of the message, for Truncate and Undo.
func (r *Response) Mark() (mark, count int) { return len(r.buf), r.count }

// Truncate removes what was appended since Mark, and zeroes it.
func (r *Response) Truncate(mark, count int) {
	clear(r.buf[mark:])
	r.buf, r.count = r.buf[:mark], count
}

// Succeed appends an item with its payload.
func Succeed[I, O any](r *Response, id []byte, op *Operation[I, O], out *O) (err error) {
	at := r.openItem(op.Code, id)
	r.buf = append4(r.buf, core.TagResultStatus, core.KindEnumeration, uint32(core.StatusSuccess))
	if r.buf, err = op.AppendResponse(r.buf, r.version, out); err == nil {
		closeStructure(r.buf, at)
	}
	return err
}

// Failure appends an item that failed. It has no payload. It always has a reason
// and a message, since clients depend on both. Operation 0 is omitted.
func (r *Response) Failure(op core.Operation, id []byte, status core.ResultStatus, reason core.ResultReason, message string) {
	at := r.openItem(op, id)
	r.buf = append4(r.buf, core.TagResultStatus, core.KindEnumeration, uint32(status))
	if status == core.StatusOperationFailed {
		r.buf = append4(r.buf, core.TagResultReason, core.KindEnumeration, uint32(reason))
		r.buf = appendPadded(r.buf, core.TagResultMessage, core.KindTextString, message)
	}
	closeStructure(r.buf, at)
}

// Undo marks the items since Mark as undone. Their payloads stay: the standard omits
// a Response Payload only from failures, and an undone item has not failed (KMIP 1.4
// §7.2, §11.1, 2.1 §8.6).
func (r *Response) Undo(mark int) {
	for b := r.buf[mark:]; len(b) > 0; {
		var it item
		it, b = nextItem(b)
		for fields := it.value; len(fields) > 0; {
			var f item
			if f, fields = nextItem(fields); f.tag == core.TagResultStatus {
				f.value[3] = byte(core.StatusOperationUndone)
			}
		}
	}
}

func (r *Response) openItem(op core.Operation, id []byte) int {
	r.count++
	var at int
	r.buf, at = openStructure(r.buf, core.TagBatchItem)
	if op != 0 {
		r.buf = append4(r.buf, core.TagOperation, core.KindEnumeration, uint32(op))
	}
	if id != nil {
		r.buf = appendPadded(r.buf, core.TagUniqueBatchItemID, core.KindByteString, id)
	}
	return at
}

// End fills in the lengths and the Batch Count and returns the message.
func (r *Response) End() []byte {
	r.buf[r.header+3] = byte(r.count)
	closeStructure(r.buf, 0)
	return r.buf
}
