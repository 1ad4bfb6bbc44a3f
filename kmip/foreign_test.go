package kmip_test

import (
	"bytes"
	"math/big"
	"reflect"
	"testing"
	"time"

	ovh "github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/payloads"
	ovhttlv "github.com/ovh/kmip-go/ttlv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// ovhRequests and ovhResponses are the payloads that ovh/kmip-go has and we have too.
var ovhRequests = []ovh.OperationPayload{&payloads.ActivateRequestPayload{}, &payloads.AddAttributeRequestPayload{}, &payloads.CreateRequestPayload{},
	&payloads.CreateKeyPairRequestPayload{}, &payloads.DecryptRequestPayload{}, &payloads.DeleteAttributeRequestPayload{}, &payloads.DestroyRequestPayload{},
	&payloads.DiscoverVersionsRequestPayload{}, &payloads.EncryptRequestPayload{}, &payloads.GetRequestPayload{}, &payloads.GetAttributeListRequestPayload{},
	&payloads.GetAttributesRequestPayload{}, &payloads.LocateRequestPayload{}, &payloads.ModifyAttributeRequestPayload{}, &payloads.QueryRequestPayload{},
	&payloads.RegisterRequestPayload{}, &payloads.RekeyRequestPayload{}, &payloads.RekeyKeyPairRequestPayload{}, &payloads.RevokeRequestPayload{}, &payloads.SignRequestPayload{}, &payloads.SignatureVerifyRequestPayload{}}

var ovhResponses = []ovh.OperationPayload{&payloads.ActivateResponsePayload{}, &payloads.AddAttributeResponsePayload{}, &payloads.CreateResponsePayload{},
	&payloads.DecryptResponsePayload{}, &payloads.DeleteAttributeResponsePayload{}, &payloads.DestroyResponsePayload{}, &payloads.DiscoverVersionsResponsePayload{},
	&payloads.EncryptResponsePayload{}, &payloads.GetResponsePayload{}, &payloads.GetAttributeListResponsePayload{}, &payloads.GetAttributesResponsePayload{},
	&payloads.LocateResponsePayload{}, &payloads.ModifyAttributeResponsePayload{}, &payloads.QueryResponsePayload{}, &payloads.RegisterResponsePayload{},
	&payloads.RekeyResponsePayload{}, &payloads.RevokeResponsePayload{}, &payloads.SignResponsePayload{}, &payloads.SignatureVerifyResponsePayload{}}

// What ovh's typed codec writes is read here and written again as the same
// bytes: requests with every header field, and responses.
func TestOvhIsRead(t *testing.T) {
	eachVersion(t, func(t *testing.T, g *gen) {
		if g.v >= core.V2_0 { // which the library does not speak
			return
		}
		version := ovh.ProtocolVersion{ProtocolVersionMajor: int32(g.v.Major()), ProtocolVersionMinor: int32(g.v.Minor())}
		for i := range ovhRequests {
			g.ovhRequest(t, version, ovhRequests[i])
		}
		g.answer = true
		for i := range ovhResponses {
			g.ovhResponse(t, version, ovhResponses[i])
		}
	})
}

func operationNamed(t *testing.T, op ovh.Operation) produced {
	for _, p := range everyOperation {
		if p.op == core.Operation(op) {
			return p
		}
	}
	t.Fatalf("operation %v is not ours", op)
	return produced{}
}

// ovhPayload fills a payload of like's type. ok is false if the version lacks it.
func (g *gen) ovhPayload(t *testing.T, like ovh.OperationPayload) (p produced, payload reflect.Value, ok bool) {
	p = operationNamed(t, like.Operation())
	payload = reflect.New(reflect.TypeOf(like).Elem())
	if p.since <= g.v {
		g.fill(payload.Elem())
	}
	return p, payload, p.since <= g.v
}

func (g *gen) ovhRequest(t *testing.T, version ovh.ProtocolVersion, like ovh.OperationPayload) {
	p, payload, ok := g.ovhPayload(t, like)
	if !ok {
		return
	}
	if q, ok := payload.Interface().(*payloads.QueryRequestPayload); ok {
		q.QueryFunction = append(q.QueryFunction, ovh.QueryFunctionOperations) // one must be there
	}
	if a, ok := payload.Interface().(*payloads.AddAttributeRequestPayload); ok {
		a.Attribute.AttributeIndex = nil // the server gives it
	}
	msg := ovh.NewRequestMessage(version, payload.Interface().(ovh.OperationPayload))
	g.fill(reflect.ValueOf(&msg.Header).Elem())
	msg.Header.ProtocolVersion, msg.Header.BatchCount, msg.Header.MaximumResponseSize = version, 1, g.int32()
	b := ovhttlv.MarshalTTLV(&msg)
	r, err := kmip.ParseRequest(b)
	if err != nil {
		t.Fatalf("%v %v: %v\n%s", p.op, g.v, err, tree(b))
	}
	h := &r.Header
	if m := h.MaximumResponseSize; m != nil && *m != msg.Header.MaximumResponseSize || m == nil && msg.Header.MaximumResponseSize != 0 {
		t.Errorf("Maximum Response Size is read as %v", m)
	}
	if (h.TimeStamp == nil) != (msg.Header.TimeStamp == nil) || h.TimeStamp != nil && *h.TimeStamp != msg.Header.TimeStamp.Unix() {
		t.Errorf("Time Stamp %v is read as %v", msg.Header.TimeStamp, h.TimeStamp)
	}
	if uint32(h.ErrorOption) != uint32(msg.Header.BatchErrorContinuationOption) || g.v >= core.V1_4 && h.ClientCorrelation != msg.Header.ClientCorrelationValue {
		t.Errorf("the header is read as %+v", h)
	}
	if a := msg.Header.Authentication; a != nil {
		c := a.Credential
		if len(h.Credentials) == 0 || uint32(h.Credentials[0].Type) != uint32(c.CredentialType) ||
			c.CredentialValue.UserPassword != nil && (h.Credentials[0].Username != c.CredentialValue.UserPassword.Username || string(h.Credentials[0].Password) != c.CredentialValue.UserPassword.Password) {
			t.Errorf("the credential is read as %+v", h.Credentials)
		}
	}
	g.readAlike(t, p.readRequest, r.Items[0].Payload, b)
}

// readAlike fails if a payload of msg is not the same when it is read and written again.
func (g *gen) readAlike(t *testing.T, read func(payload []byte, v core.Version) ([]byte, error), payload, msg []byte) {
	again, err := read(payload, g.v)
	if err != nil {
		t.Fatalf("%v: %v\n%s", g.v, err, tree(msg))
	}
	differ(t, full(again), full(payload))
}

func (g *gen) ovhResponse(t *testing.T, version ovh.ProtocolVersion, like ovh.OperationPayload) {
	p, payload, ok := g.ovhPayload(t, like)
	if !ok {
		return
	}
	msg := ovh.ResponseMessage{Header: ovh.ResponseHeader{ProtocolVersion: version, TimeStamp: time.Unix(g.date(), 0), BatchCount: 1},
		BatchItem: []ovh.ResponseBatchItem{{Operation: like.Operation(), UniqueBatchItemID: g.optBlob(), ResponsePayload: payload.Interface().(ovh.OperationPayload)}}}
	if g.v >= core.V1_2 {
		msg.Header.AttestationType = some(g, 3, func() ovh.AttestationType { return ovh.AttestationType(g.enum(core.TagAttestationType)) })
	}
	b := ovhttlv.MarshalTTLV(&msg)
	r, err := kmip.ParseResponse(b)
	if err != nil || len(r.Items) != 1 || r.TimeStamp != msg.Header.TimeStamp.Unix() {
		t.Fatalf("%v %v: %+v %v\n%s", p.op, g.v, r, err, tree(b))
	}
	g.readAlike(t, p.readResponse, r.Items[0].Payload, b)
}

func tree(msg []byte) string {
	var b bytes.Buffer
	kmip.Print(&b, msg)
	return b.String()
}

// fill puts values by chance into ovh's types.
func (g *gen) fill(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *big.Int:
		*p = *new(big.Int).SetBytes(g.blob()[:])
		return
	case *time.Time:
		*p = time.Unix(g.date(), 0)
		return
	case *time.Duration:
		*p = time.Duration(g.uint32()) * time.Second
		return
	case *ovh.Attribute:
		g.fillAttribute(p)
		return
	case *ovh.AttributeName:
		*p = pick(g, ovh.AttributeNameState, ovh.AttributeNameX509CertificateIssuer, "x-Site", "y-a")
		if g.v < core.V1_1 {
			*p = ovh.AttributeNameState
		}
		return
	case *ovh.CredentialValue, *ovh.Credential:
		if c, ok := p.(*ovh.Credential); ok {
			c.CredentialType = ovh.CredentialTypeUsernameAndPassword
			c.CredentialValue.UserPassword = &ovh.CredentialValueUserPassword{Username: g.text(), Password: g.text()}
			if g.maybe() {
				*c = ovh.Credential{CredentialType: ovh.CredentialTypeDevice, CredentialValue: ovh.CredentialValue{Device: &ovh.CredentialValueDevice{DeviceSerialNumber: "s", Password: g.text()}}}
			}
		}
		return
	case *ovh.KeyBlock:
		g.fillKeyBlock(p)
		return
	case *ovhttlv.Value:
		*p = ovhttlv.Value{Tag: int(core.TagServerInformation), Value: ovhttlv.Struct{{Tag: 0x540002, Value: g.text()}, {Tag: 0x540001, Value: g.int64()}}}
		return
	case *ovh.Object:
		*p = pick[ovh.Object](g, &ovh.SymmetricKey{}, &ovh.SecretData{}, &ovh.OpaqueObject{}, &ovh.Certificate{}, &ovh.SplitKey{}, &ovh.PrivateKey{}, &ovh.PublicKey{})
		g.fill(reflect.ValueOf(*p).Elem())
		return
	case *ovh.TemplateAttribute: // never empty: we leave an empty one out
		p.Attribute = make([]ovh.Attribute, 1+g.IntN(3))
		for i := range p.Attribute {
			g.fillAttribute(&p.Attribute[i])
		}
		if !g.answer { // which names no Templates
			g.fill(reflect.ValueOf(&p.Name).Elem())
		}
		return
	case *ovh.Name:
		*p = ovh.Name{NameValue: "n" + g.text(), NameType: ovh.NameTypeUninterpretedTextString} // of a Template, whose type is not kept
		return
	case *ovh.ProtocolVersion:
		*p = ovh.ProtocolVersion{ProtocolVersionMajor: g.Int32N(256), ProtocolVersionMinor: g.Int32N(256)}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(g.text())
	case reflect.Bool:
		v.SetBool(g.bool())
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(g.int32()))
		if v.Type().Name() == "StorageStatusMask" || v.Type().Name() == "int32" {
			v.SetInt(int64(g.Int32N(1 << 30))) // Maximum Items and the like are not negative
		}
	case reflect.Uint32:
		t, ok := core.TagByName(v.Type().Name())
		if !ok {
			t = core.TagOpaqueDataType
		}
		v.SetUint(uint64(g.enum(t)))
	case reflect.Pointer:
		if g.maybe() {
			v.Set(reflect.New(v.Type().Elem()))
			g.fill(v.Elem())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(append([]byte{1}, g.blob()...))
			return
		}
		for range g.IntN(4) {
			e := reflect.New(v.Type().Elem()).Elem()
			g.fill(e)
			v.Set(reflect.Append(v, e))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				g.fill(v.Field(i))
			}
		}
	}
}

func (g *gen) fillAttribute(a *ovh.Attribute) {
	*a = pick(g,
		ovh.Attribute{AttributeName: ovh.AttributeNameName, AttributeValue: ovh.Name{NameValue: "n" + g.text(), NameType: ovh.NameTypeUninterpretedTextString}},
		ovh.Attribute{AttributeName: ovh.AttributeNameCryptographicAlgorithm, AttributeValue: ovh.CryptographicAlgorithmAES},
		ovh.Attribute{AttributeName: ovh.AttributeNameCryptographicLength, AttributeValue: g.int32()},
		ovh.Attribute{AttributeName: ovh.AttributeNameCryptographicUsageMask, AttributeValue: ovh.CryptographicUsageEncrypt},
		ovh.Attribute{AttributeName: ovh.AttributeNameActivationDate, AttributeValue: time.Unix(g.date(), 0)},
		ovh.Attribute{AttributeName: ovh.AttributeNameLeaseTime, AttributeValue: time.Duration(g.uint32()) * time.Second},
		ovh.Attribute{AttributeName: ovh.AttributeNameUsageLimits, AttributeValue: ovh.UsageLimits{UsageLimitsTotal: g.int64(), UsageLimitsCount: ptr(g.int64()), UsageLimitsUnit: ovh.UsageLimitsUnitByte}},
		ovh.Attribute{AttributeName: "x-Site", AttributeValue: g.text()},
		ovh.Attribute{AttributeName: "y-Slot", AttributeValue: g.int64()})
	if g.maybe() {
		a.AttributeIndex = ptr(1 + g.Int32N(100))
	}
}

func (g *gen) fillKeyBlock(k *ovh.KeyBlock) {
	raw := append([]byte{7}, g.blob()...)
	number := func() *big.Int { return new(big.Int).Neg(new(big.Int).SetBytes(g.blob())) }
	k.KeyFormatType, k.CryptographicAlgorithm, k.CryptographicLength = ovh.KeyFormatTypeRaw, ovh.CryptographicAlgorithmAES, 1+g.Int32N(1000)
	k.KeyValue = &ovh.KeyValue{Plain: &ovh.PlainKeyValue{KeyMaterial: ovh.KeyMaterial{Bytes: &raw}}}
	switch g.IntN(4) {
	case 0:
		k.KeyValue = &ovh.KeyValue{Wrapped: &raw}
		k.KeyWrappingData = &ovh.KeyWrappingData{}
		g.fill(reflect.ValueOf(k.KeyWrappingData).Elem())
	case 1:
		k.KeyFormatType = ovh.KeyFormatTypeTransparentRSAPrivateKey
		k.KeyValue.Plain.KeyMaterial = ovh.KeyMaterial{TransparentRSAPrivateKey: &ovh.TransparentRSAPrivateKey{Modulus: *number(), PrivateExponent: number(), P: number()}}
	case 2:
		k.KeyValue = nil
	}
	if k.KeyValue != nil && k.KeyValue.Plain != nil {
		g.fill(reflect.ValueOf(&k.KeyValue.Plain.Attribute).Elem())
	}
}
