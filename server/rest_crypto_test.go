package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// base64OfHex returns bytes that are given as hex in base64.
func base64OfHex(t *testing.T, text string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// knownKey registers a key of class C whose value is known, and returns its identifier.
func knownKey(t *testing.T, s *servertest.Server, kind core.ObjectType, algorithm core.CryptographicAlgorithm, mask core.UsageMask, value string) string {
	t.Helper()
	material, err := hex.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	as := core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(mask)}, activeNow}
	block := core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: material}
	if kind == core.ObjectTypeSymmetricKey {
		block.Algorithm, block.Length = algorithm, int32(8*len(material))
	}
	out, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Register, &operation.RegisterInput{ObjectType: kind, Attributes: as,
		Object: core.ObjectBody{Type: kind, SecretDataType: core.SecretDataTypePassword, KeyBlock: block}})
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// Bytes are wrapped and unwrapped as RFC 3394 and RFC 5649 say, and derived as RFC 5869 says.
func TestWrapAndDeriveByVectors(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	const both = core.MaskWrapKey | core.MaskUnwrapKey
	for _, v := range []struct{ rfc, kek, data, wrapped, wrapping string }{
		{"RFC 3394 4.1", "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5", "aes-kw"},
		{"RFC 3394 4.6", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
			"28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21", "aes-kw"},
		{"RFC 5649", "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "00112233445566778899aabbccddeeff0011223344556677", "34f130bc235a05759ee87a33cb922274af61d217090a4afd0c9cd8a5f8ba52dd", "aes-kwp"},
	} {
		id := knownKey(t, s, core.ObjectTypeSymmetricKey, core.AlgorithmAES, both, v.kek)
		data, wrapped := base64OfHex(t, v.data), base64OfHex(t, v.wrapped)
		for _, wrapping := range []string{"", fmt.Sprintf(`,"wrapping":%q`, v.wrapping)} {
			if wrapping == "" && v.wrapping != "aes-kw" {
				continue // not the default
			}
			p.must(200, "POST", "/v1/wrap", fmt.Sprintf(`{"keyId":%q,"keyMaterial":%q%s}`, id, data, wrapping), fmt.Sprintf(`"wrappedKey":%q`, wrapped), id)
			p.must(200, "POST", "/v1/unwrap", fmt.Sprintf(`{"keyId":%q,"wrappedKey":%q%s}`, id, wrapped, wrapping), fmt.Sprintf(`"keyMaterial":%q`, data), id)
		}
		changed := base64OfHex(t, v.wrapped[:len(v.wrapped)-2]+"00")
		p.must(422, "POST", "/v1/unwrap", fmt.Sprintf(`{"keyId":%q,"wrappedKey":%q}`, id, changed))
	}
	base := knownKey(t, s, core.ObjectTypeSecretData, 0, core.MaskDeriveKey, "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b")
	const request = `{"keyId":%q,"method":"hkdf","salt":%q,"context":%q,%s}`
	salt, info := base64OfHex(t, "000102030405060708090a0b0c"), base64OfHex(t, "f0f1f2f3f4f5f6f7f8f9")
	okm := "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
	p.must(200, "POST", "/v1/derive", fmt.Sprintf(request, base, salt, info, `"length":42`), fmt.Sprintf(`"derived":%q`, base64OfHex(t, okm)), `"version":1`)
	made := p.must(200, "POST", "/v1/derive", fmt.Sprintf(request, base, salt, info, `"length":32,"into":{"type":"symmetric","algorithm":"AES","usage":["encrypt","wrapKey"]}`), `"length":256`, `"state":"Active"`)
	if strings.Contains(made.text, "derived") {
		t.Errorf("a derived key shows bytes: %s", made.text)
	}
	id := made.body["key"].(map[string]any)["keyId"].(string)
	got, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Get, &operation.GetInput{ID: core.ID(id)})
	if err != nil || hex.EncodeToString(got.Object.KeyBlock.Material) != okm[:64] {
		t.Errorf("the derived key is %x, %v", got.Object.KeyBlock.Material, err)
	}
}

// What REST wraps is what KMIP's Get wraps, and each door unwraps what the other has wrapped.
func TestWrapAcrossDoors(t *testing.T) {
	s := servertest.Start(t)
	p, c := restAs(t, s, "dev"), dial(t, s, "dev", core.V1_4)
	make := func(body string) string { return p.must(201, "POST", "/v1/keys", body).member(p, "keyId") }
	under := make(`{"type":"symmetric","algorithm":"AES","length":256,"usage":["wrapKey","unwrapKey"],"extractable":false}`)
	key := make(`{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt"],"sensitive":true}`)
	wrapped := p.must(200, "POST", "/v1/wrap", fmt.Sprintf(`{"keyId":%q,"targetKeyId":%q}`, under, key), under).member(p, "wrappedKey")
	got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding,
		Encryption: &core.WrappingKeyInfo{ID: under}}})
	if err != nil || base64.StdEncoding.EncodeToString(got.Object.KeyBlock.Wrapped) != wrapped {
		t.Errorf("KMIP's Get wraps %x, %v; REST %s", got.Object.KeyBlock.Wrapped, err, wrapped)
	}
	// The wrapping key is of class N: what it unwraps never leaves in clear.
	p.must(403, "POST", "/v1/unwrap", fmt.Sprintf(`{"keyId":%q,"wrappedKey":%q}`, under, wrapped), "Sensitive", "class N")
	made := p.must(200, "POST", "/v1/unwrap", fmt.Sprintf(`{"keyId":%q,"wrappedKey":%q,"into":{"type":"symmetric","algorithm":"AES","length":256,"usage":["decrypt"]}}`, under, wrapped), under)
	again := made.body["key"].(map[string]any)["keyId"].(string)
	sealed := p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"the same key","encoding":"utf8","format":"raw"}`, key))
	p.must(200, "POST", "/v1/decrypt", fmt.Sprintf(`{"keyId":%q,"ciphertext":%q,"iv":%q,"tag":%q,"format":"raw","encoding":"utf8"}`, again, sealed.member(p, "ciphertext"), sealed.member(p, "iv"), sealed.member(p, "tag")), "the same key")

	// RSA-OAEP.
	pair := p.must(201, "POST", "/v1/keys", `{"type":"pair","algorithm":"RSA","length":2048,"usage":["wrapKey","unwrapKey"],"sensitive":false,"extractable":true}`)
	private, public := pair.member(p, "keyId"), pair.member(p, "publicKeyId")
	data := base64.StdEncoding.EncodeToString([]byte("twenty-four bytes of it."))
	wrapped = p.must(200, "POST", "/v1/wrap", fmt.Sprintf(`{"keyId":%q,"keyMaterial":%q,"wrapping":"rsa-oaep-sha1"}`, public, data), public).member(p, "wrappedKey")
	p.must(200, "POST", "/v1/unwrap", fmt.Sprintf(`{"keyId":%q,"wrappedKey":%q,"wrapping":"rsa-oaep-sha1"}`, private, wrapped), data, private)
	wrapped = p.must(200, "POST", "/v1/wrap", fmt.Sprintf(`{"keyId":%q,"targetKeyId":%q,"wrapping":"rsa-oaep-sha1"}`, public, key)).member(p, "wrappedKey")
	p.must(200, "POST", "/v1/unwrap", fmt.Sprintf(`{"keyId":%q,"wrappedKey":%q,"wrapping":"rsa-oaep-sha1","into":{"type":"symmetric","algorithm":"AES","length":256,"usage":["decrypt"]}}`, private, wrapped), private, `"length":256`)

	// A derived key is the one of KMIP's Derive Key.
	base := make(`{"type":"symmetric","algorithm":"HMAC-SHA256","length":256,"usage":["deriveKey"],"extractable":false}`)
	p.must(403, "POST", "/v1/derive", fmt.Sprintf(`{"keyId":%q,"method":"hkdf","length":32}`, base), "Sensitive", "class N")
	made = p.must(200, "POST", "/v1/derive", fmt.Sprintf(`{"keyId":%q,"method":"hmac","context":"bGFiZWw=","into":{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt"]}}`, base), `"class":"N"`, base)
	same, err := kmiptest.Do(c, &kmip.DeriveKey, deriveFrom(core.ID(base)))
	if err != nil {
		t.Fatal(err)
	}
	sealed = p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"the same key","encoding":"utf8","format":"raw"}`, made.body["key"].(map[string]any)["keyId"]))
	p.must(200, "POST", "/v1/decrypt", fmt.Sprintf(`{"keyId":%q,"ciphertext":%q,"iv":%q,"tag":%q,"format":"raw","encoding":"utf8"}`, same.ID, sealed.member(p, "ciphertext"), sealed.member(p, "iv"), sealed.member(p, "tag")), "the same key")
}

// Requests that are not as the specification says, or that somebody else sends.
func TestWrapAndDeriveAreRefused(t *testing.T) {
	s := servertest.Start(t)
	p := restAs(t, s, "dev")
	id := p.must(201, "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","length":256,"usage":["wrapKey","unwrapKey","deriveKey"],"sensitive":false,"extractable":true}`).member(p, "keyId")
	sum := sha256.Sum256([]byte("bytes"))
	data := base64.StdEncoding.EncodeToString(sum[:])
	wrapped := p.must(200, "POST", "/v1/wrap", fmt.Sprintf(`{"keyId":%q,"keyMaterial":%q}`, id, data)).member(p, "wrappedKey")
	for _, c := range []struct {
		status           int
		path, body, part string
	}{
		{400, "wrap", `{"keyId":%q}`, "keyMaterial"}, {400, "wrap", `{"keyId":%[1]q,"keyMaterial":%[2]q,"targetKeyId":%[1]q}`, "keyMaterial"}, {400, "wrap", `{"keyId":%[1]q,"keyMaterial":"QQ=="}`, "multiples of 8"},
		{400, "wrap", `{"keyId":"a@b@c","keyMaterial":"QQ=="}`, "version"}, {400, "wrap", `{"keyId":%[1]q,"keyMaterial":%[2]q,"wrapping":"rot13"}`, "wrapping"},
		{400, "wrap", `{"keyId":%[1]q,"keyMaterial":%[2]q,"wrapping":"rsa-oaep-sha256"}`, ""}, {404, "wrap", `{"keyId":"none","keyMaterial":%[2]q}`, "none"}, {404, "wrap", `{"keyId":%[1]q,"targetKeyId":"none"}`, "none"},
		{400, "unwrap", `{"keyId":%q}`, "wrappedKey"}, {400, "unwrap", `{"keyId":%[1]q,"wrappedKey":%[3]q,"into":{"type":"pair","algorithm":"RSA","usage":["sign"]}}`, "into"},
		{400, "unwrap", `{"keyId":%[1]q,"wrappedKey":%[3]q,"into":{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"group":"strangers"}}`, "group"},
		{400, "derive", `{"keyId":%q,"method":"hkdf"}`, "length"}, {400, "derive", `{"keyId":%q,"method":"hkdf","length":4097}`, "length"}, {400, "derive", `{"keyId":%q,"method":"ENCRYPT","length":16}`, "method"},
		{400, "derive", `{"keyId":%q,"method":"hmac","length":16}`, "Derivation Data"}, {400, "derive", `{"keyId":%q,"method":"hmac","length":16,"hash":"SHA-256","context":"QQ==","salt":"QQ=="}`, "Salt"},
		{400, "derive", `{"keyId":%q,"method":"hkdf","length":16,"into":{"type":"pair","algorithm":"RSA","usage":["sign"]}}`, "into"},
		{400, "derive", `{"keyId":%q,"method":"hkdf","length":16,"into":{"type":"symmetric","algorithm":"AES","length":128,"usage":["encrypt"]}}`, "into.length"},
		{400, "derive", `{"keyId":%q,"method":"hkdf","into":{"type":"symmetric","algorithm":"AES","usage":["encrypt"]}}`, "Length"},
		{400, "derive", `{"keyId":%q,"method":"hkdf","length":16,"into":{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"group":"strangers"}}`, "group"},
	} {
		body := strings.NewReplacer("%[1]q", fmt.Sprintf("%q", id), "%q", fmt.Sprintf("%q", id), "%[2]q", fmt.Sprintf("%q", data), "%[3]q", fmt.Sprintf("%q", wrapped)).Replace(c.body)
		p.must(c.status, "POST", "/v1/"+c.path, body, c.part)
	}
	s.Certify(certs.Request{Name: "eve", Tenant: "default"})
	eve := restAs(t, s, "eve")
	for path, body := range map[string]string{"wrap": `"keyMaterial":` + fmt.Sprintf("%q", data), "unwrap": `"wrappedKey":` + fmt.Sprintf("%q", wrapped), "derive": `"method":"hkdf","length":16`} {
		named := eve.must(404, "POST", "/v1/"+path, fmt.Sprintf(`{"keyId":"alias/none",%s}`, body))
		got := eve.ask("POST", "/v1/"+path, fmt.Sprintf(`{"keyId":%q,%s}`, id, body))
		if got.status != 403 && got.status != 404 || strings.Contains(got.text, "keyMaterial") {
			t.Errorf("%s as a stranger: %d %s; of nothing %s", path, got.status, got.text, named.text)
		}
	}
}
