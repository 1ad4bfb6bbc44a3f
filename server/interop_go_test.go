package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"path/filepath"
	"testing"

	gemalto "github.com/gemalto/kmip-go"
	"github.com/gemalto/kmip-go/kmip14"
	"github.com/gemalto/kmip-go/ttlv"
	ovh "github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"

	"github.com/keyreeve/keyreeve/server/servertest"
)

// ovh/kmip-go's client does the whole round.
func TestOvhClient(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c, err := kmipclient.Dial(s.KMIP, kmipclient.WithRootCAFile(filepath.Join(s.Certs, "ca.pem")),
		kmipclient.WithClientCertFiles(filepath.Join(s.Certs, "dev.pem"), filepath.Join(s.Certs, "dev-key.pem")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	key, err := c.Create().AES(256, ovh.CryptographicUsageEncrypt|ovh.CryptographicUsageDecrypt).WithName("ovh").ExecContext(ctx)
	must("Create", err)
	got, err := c.Get(key.UniqueIdentifier).ExecContext(ctx)
	must("Get", err)
	if b, err := got.Object.(*ovh.SymmetricKey).KeyMaterial(); err != nil || len(b) != 32 {
		t.Errorf("Get gives %+v", got.Object)
	}
	found, err := c.Locate().WithName("ovh").ExecContext(ctx)
	must("Locate", err)
	if len(found.UniqueIdentifier) != 1 || found.UniqueIdentifier[0] != key.UniqueIdentifier {
		t.Errorf("Locate finds %v", found.UniqueIdentifier)
	}
	_, err = c.Activate(key.UniqueIdentifier).ExecContext(ctx)
	must("Activate", err)
	gcm := ovh.CryptographicParameters{BlockCipherMode: ovh.BlockCipherModeGCM, TagLength: 16}
	sealed, err := c.Encrypt(key.UniqueIdentifier).WithCryptographicParameters(gcm).WithAAD([]byte("bound")).Data([]byte("attack at dawn")).ExecContext(ctx)
	must("Encrypt", err)
	open, err := c.Decrypt(key.UniqueIdentifier).WithCryptographicParameters(gcm).WithAAD([]byte("bound")).WithIvCounterNonce(sealed.IVCounterNonce).
		WithAuthTag(sealed.AuthenticatedEncryptionTag).Data(sealed.Data).ExecContext(ctx)
	must("Decrypt", err)
	if string(open.Data) != "attack at dawn" {
		t.Errorf("Decrypt gives %q", open.Data)
	}
	pair, err := c.CreateKeyPair().ECDSA(ovh.RecommendedCurveP_256, ovh.CryptographicUsageSign, ovh.CryptographicUsageVerify).ExecContext(ctx)
	must("Create Key Pair", err)
	for _, id := range []string{pair.PrivateKeyUniqueIdentifier, pair.PublicKeyUniqueIdentifier} {
		_, err = c.Activate(id).ExecContext(ctx)
		must("Activate", err)
	}
	params := ovh.CryptographicParameters{CryptographicAlgorithm: ovh.CryptographicAlgorithmECDSA, HashingAlgorithm: ovh.HashingAlgorithmSHA_256}
	sig, err := c.Sign(pair.PrivateKeyUniqueIdentifier).WithCryptographicParameters(params).Data([]byte("deed")).ExecContext(ctx)
	must("Sign", err)
	ok, err := c.SignatureVerify(pair.PublicKeyUniqueIdentifier).WithCryptographicParameters(params).Data([]byte("deed")).Signature(sig.SignatureData).ExecContext(ctx)
	must("Signature Verify", err)
	if ok.ValidityIndicator != ovh.ValidityIndicatorValid {
		t.Errorf("the signature is %v", ok.ValidityIndicator)
	}
	for _, id := range []string{key.UniqueIdentifier, pair.PrivateKeyUniqueIdentifier, pair.PublicKeyUniqueIdentifier} {
		_, err = c.Revoke(id).WithRevocationReasonCode(ovh.RevocationReasonCodeCessationOfOperation).ExecContext(ctx)
		must("Revoke", err)
		_, err = c.Destroy(id).ExecContext(ctx)
		must("Destroy", err)
	}
}

// gemaltoClient sends messages that gemalto/kmip-go encodes and reads the
// answers by its decoder, as ceph-csi and Rook do.
type gemaltoClient struct {
	t    *testing.T
	conn *tls.Conn
}

// do sends one operation and decodes the answer's payload into out.
func (c *gemaltoClient) do(op kmip14.Operation, payload, out any) {
	c.t.Helper()
	msg, err := ttlv.Marshal(gemalto.RequestMessage{RequestHeader: gemalto.RequestHeader{ProtocolVersion: gemalto.ProtocolVersion{ProtocolVersionMajor: 1, ProtocolVersionMinor: 4}, BatchCount: 1},
		BatchItem: []gemalto.RequestBatchItem{{Operation: op, RequestPayload: payload}}})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(msg); err != nil {
		c.t.Fatal(err)
	}
	answer, err := ttlv.NewDecoder(c.conn).NextTTLV()
	if err != nil {
		c.t.Fatal(err)
	}
	var res gemalto.ResponseMessage
	d := ttlv.NewDecoder(bytes.NewReader(answer))
	if err := d.Decode(&res); err != nil {
		c.t.Fatalf("%v: %v", op, err)
	}
	item := res.BatchItem[0]
	if item.ResultStatus != kmip14.ResultStatusSuccess {
		c.t.Fatalf("%v: %v %s", op, item.ResultReason, item.ResultMessage)
	}
	if err := d.DecodeValue(out, item.ResponsePayload.(ttlv.TTLV)); err != nil {
		c.t.Fatalf("%v: %v", op, err)
	}
}

func TestGemaltoClient(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := &gemaltoClient{t, dialTLS(t, s, "dev")}
	attr := func(name string, v any) gemalto.Attribute {
		return gemalto.Attribute{AttributeName: name, AttributeValue: v}
	}
	name := attr("Name", gemalto.Name{NameValue: "gemalto", NameType: kmip14.NameTypeUninterpretedTextString})
	var made struct{ UniqueIdentifier string }
	c.do(kmip14.OperationCreate, gemalto.CreateRequestPayload{ObjectType: kmip14.ObjectTypeSymmetricKey, TemplateAttribute: gemalto.TemplateAttribute{Attribute: []gemalto.Attribute{
		attr("Cryptographic Algorithm", kmip14.CryptographicAlgorithmAES), attr("Cryptographic Length", 256),
		attr("Cryptographic Usage Mask", kmip14.CryptographicUsageMaskEncrypt|kmip14.CryptographicUsageMaskDecrypt), name}}}, &made)
	var got struct {
		UniqueIdentifier string
		SymmetricKey     gemalto.SymmetricKey
	}
	c.do(kmip14.OperationGet, gemalto.GetRequestPayload{UniqueIdentifier: made.UniqueIdentifier}, &got)
	if b, ok := got.SymmetricKey.KeyBlock.KeyValue.KeyMaterial.([]byte); !ok || len(b) != 32 {
		t.Errorf("Get gives %T", got.SymmetricKey.KeyBlock.KeyValue.KeyMaterial)
	}
	var found struct{ UniqueIdentifier []string }
	c.do(kmip14.OperationLocate, struct{ Attribute []gemalto.Attribute }{[]gemalto.Attribute{name}}, &found)
	if len(found.UniqueIdentifier) != 1 || found.UniqueIdentifier[0] != made.UniqueIdentifier {
		t.Errorf("Locate finds %v", found.UniqueIdentifier)
	}
	c.use(made.UniqueIdentifier)
	c.sign()
}

// use encrypts and decrypts with a key, then ends it.
func (c *gemaltoClient) use(id string) {
	type use struct {
		UniqueIdentifier        string
		CryptographicParameters gemalto.CryptographicParameters
		Data                    []byte
		IVCounterNonce          []byte
	}
	type result struct {
		UniqueIdentifier string
		Data             []byte
	}
	var done gemalto.DestroyResponsePayload
	c.do(kmip14.OperationActivate, gemalto.DestroyRequestPayload{UniqueIdentifier: id}, &done)
	cbc := gemalto.CryptographicParameters{BlockCipherMode: kmip14.BlockCipherModeCBC, PaddingMethod: kmip14.PaddingMethodPKCS5}
	var sealed, open result
	c.do(kmip14.OperationEncrypt, use{id, cbc, []byte("attack at dawn"), make([]byte, 16)}, &sealed)
	c.do(kmip14.OperationDecrypt, use{id, cbc, sealed.Data, make([]byte, 16)}, &open)
	if string(open.Data) != "attack at dawn" {
		c.t.Errorf("Decrypt gives %q", open.Data)
	}
	c.end(id)
}

func (c *gemaltoClient) end(id string) {
	type reason struct{ RevocationReasonCode kmip14.RevocationReasonCode }
	var done gemalto.DestroyResponsePayload
	c.do(kmip14.OperationRevoke, struct {
		UniqueIdentifier string
		RevocationReason reason
	}{id, reason{kmip14.RevocationReasonCodeCessationOfOperation}}, &done)
	c.do(kmip14.OperationDestroy, gemalto.DestroyRequestPayload{UniqueIdentifier: id}, &done)
	if done.UniqueIdentifier != id {
		c.t.Errorf("Destroy answers %q", done.UniqueIdentifier)
	}
}

// sign makes a pair, signs and verifies.
func (c *gemaltoClient) sign() {
	attr := func(name string, v any) gemalto.Attribute {
		return gemalto.Attribute{AttributeName: name, AttributeValue: v}
	}
	var pair gemalto.CreateKeyPairResponsePayload
	c.do(kmip14.OperationCreateKeyPair, gemalto.CreateKeyPairRequestPayload{
		CommonTemplateAttribute:     &gemalto.TemplateAttribute{Attribute: []gemalto.Attribute{attr("Cryptographic Algorithm", kmip14.CryptographicAlgorithmRSA), attr("Cryptographic Length", 2048)}},
		PrivateKeyTemplateAttribute: &gemalto.TemplateAttribute{Attribute: []gemalto.Attribute{attr("Cryptographic Usage Mask", kmip14.CryptographicUsageMaskSign)}},
		PublicKeyTemplateAttribute:  &gemalto.TemplateAttribute{Attribute: []gemalto.Attribute{attr("Cryptographic Usage Mask", kmip14.CryptographicUsageMaskVerify)}}}, &pair)
	var done gemalto.DestroyResponsePayload
	for _, id := range []string{pair.PrivateKeyUniqueIdentifier, pair.PublicKeyUniqueIdentifier} {
		c.do(kmip14.OperationActivate, gemalto.DestroyRequestPayload{UniqueIdentifier: id}, &done)
	}
	params := gemalto.CryptographicParameters{PaddingMethod: kmip14.PaddingMethodPKCS1V1_5, HashingAlgorithm: kmip14.HashingAlgorithmSHA_256, CryptographicAlgorithm: kmip14.CryptographicAlgorithmRSA}
	var signed struct {
		UniqueIdentifier string
		SignatureData    []byte
	}
	c.do(kmip14.OperationSign, struct {
		UniqueIdentifier        string
		CryptographicParameters gemalto.CryptographicParameters
		Data                    []byte
	}{pair.PrivateKeyUniqueIdentifier, params, []byte("deed")}, &signed)
	var verdict struct{ ValidityIndicator kmip14.ValidityIndicator }
	c.do(kmip14.OperationSignatureVerify, struct {
		UniqueIdentifier        string
		CryptographicParameters gemalto.CryptographicParameters
		Data, SignatureData     []byte
	}{pair.PublicKeyUniqueIdentifier, params, []byte("deed"), signed.SignatureData}, &verdict)
	if verdict.ValidityIndicator != kmip14.ValidityIndicatorValid {
		c.t.Errorf("the signature is %v", verdict.ValidityIndicator)
	}
	c.end(pair.PrivateKeyUniqueIdentifier)
	c.end(pair.PublicKeyUniqueIdentifier)
}
