package server_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"hash"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/keys/keystest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// inBase64 returns bytes as a body has them.
func inBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// randomBytes returns n random bytes.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// newJob makes an import job, and returns it with its transport key.
func newJob(p *restPeople, algorithm string) (string, *rsa.PublicKey) {
	p.t.Helper()
	made := p.must(201, "POST", "/v1/import-jobs", fmt.Sprintf(`{"algorithm":%q}`, algorithm), `"algorithm":"`+algorithm+`"`, `"length":3072`)
	job := made.member(p, "jobId")
	if made.header.Get("Location") != "/v1/import-jobs/"+job {
		p.t.Errorf("Location is %q", made.header.Get("Location"))
	}
	block, _ := pem.Decode([]byte(made.member(p, "publicKey")))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	return job, key.(*rsa.PublicKey)
}

// wrapOAEP wraps bytes as an import job of an algorithm with SHA-1 wants it.
func wrapOAEP(t *testing.T, h hash.Hash, public *rsa.PublicKey, b []byte) []byte {
	t.Helper()
	out, err := rsa.EncryptOAEP(h, rand.Reader, public, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wrapForJob wraps a key as the algorithm of an import job says.
func wrapForJob(t *testing.T, algorithm string, public *rsa.PublicKey, key []byte) string {
	t.Helper()
	if !strings.HasPrefix(algorithm, "rsa-aes-kwp") {
		return inBase64(wrapOAEP(t, sha1.New(), public, key))
	}
	passing := randomBytes(32)
	return inBase64(append(wrapOAEP(t, sha1.New(), public, passing), keystest.WrapKWP(t, passing, key)...))
}

// importBody is a body of POST /v1/keys/import. more has members of it.
func importBody(kind, member, key string, more ...string) string {
	return fmt.Sprintf(`{"type":%q,%q:%q,%s}`, kind, member, key, strings.Join(more, ","))
}

const asAES, asSigner, asSecret = `"algorithm":"AES","length":256,"usage":["encrypt","decrypt"]`, `"algorithm":"EC","curve":"P-256","usage":["sign"]`, `"length":256`

// opensWith fails unless the key of the server is the AES key with these bytes.
func opensWith(p *restPeople, id string, key []byte) {
	p.t.Helper()
	sealed := p.must(200, "POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"plaintext":"YSBtZXNzYWdl","format":"raw"}`, id))
	parts := map[string][]byte{}
	for _, name := range []string{"ciphertext", "iv", "tag"} {
		parts[name], _ = base64.StdEncoding.DecodeString(sealed.member(p, name))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		p.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		p.t.Fatal(err)
	}
	if text, err := gcm.Open(nil, parts["iv"], append(parts["ciphertext"], parts["tag"]...), nil); err != nil || string(text) != "a message" {
		p.t.Errorf("key %s is another one than that which was imported: %q, %v", id, text, err)
	}
}

// signsWith fails unless the key of the server is the private half of an EC key.
func signsWith(p *restPeople, id string, public *ecdsa.PublicKey) {
	p.t.Helper()
	digest := sha256.Sum256([]byte("a message"))
	sig, _ := base64.StdEncoding.DecodeString(p.must(200, "POST", "/v1/sign", fmt.Sprintf(`{"keyId":%q,"message":"a message","encoding":"utf8","algorithm":"ECDSA-SHA-256"}`, id)).member(p, "signature"))
	if !ecdsa.VerifyASN1(public, digest[:], sig) {
		p.t.Errorf("key %s signs as another one than that which was imported", id)
	}
}

// Keys of each type and class come under an import job, are used over REST, and are what KMIP
// calls registered. Each job takes one key, also when the server was started again.
func TestImportUnderJobsOverREST(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	p, c := restAs(t, s, "dev"), dial(t, s, "dev", core.V2_1)
	secret, signer := randomBytes(32), keystest.ECKey(t, elliptic.P256())
	for _, of := range []struct{ algorithm, class, flags string }{{"rsa-oaep-sha1", "C", `"sensitive":false`}, {"rsa-aes-kwp-sha1", "X", `"sensitive":true`}, {"rsa-aes-kwp-sha1", "N", `"sensitive":true,"extractable":false`}} {
		job, public := newJob(p, of.algorithm)
		made := p.must(201, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", wrapForJob(t, of.algorithm, public, secret), `"jobId":"`+job+`"`, asAES, of.flags), `"class":"`+of.class+`"`, `"state":"Active"`, `"length":256`, `"type":"symmetric"`)
		id := made.member(p, "keyId")
		if made.header.Get("Location") != "/v1/keys/"+id || made.header.Get("ETag") == "" {
			t.Errorf("the answer has the headers %v", made.header)
		}
		opensWith(p, id, secret)
		as := attributesOf(t, c, id, core.AttributeName{Tag: core.TagAlwaysSensitive}, core.AttributeName{Tag: core.TagNeverExtractable}, core.AttributeName{Tag: core.TagSensitive}, core.AttributeName{Tag: core.TagExtractable})
		if as.Bool(core.TagAlwaysSensitive) || as.Bool(core.TagNeverExtractable) || as.Bool(core.TagSensitive) != (of.class != "C") || as.Bool(core.TagExtractable) != (of.class != "N") {
			t.Errorf("the key of class %s has %v", of.class, as)
		}
		p.must(404, "GET", "/v1/import-jobs/"+job, "", "ItemNotFound")
		p.must(404, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", wrapForJob(t, of.algorithm, public, secret), `"jobId":"`+job+`"`, asAES), "ItemNotFound")
	}
	job, public := newJob(p, "rsa-oaep-sha1")
	p.must(201, "POST", "/v1/keys/import", importBody("secret", "wrappedKey", wrapForJob(t, "rsa-oaep-sha1", public, secret), `"jobId":"`+job+`"`, asSecret, `"activate":false`), `"type":"secret"`, `"state":"Pre-Active"`)
	job, public = newJob(p, "rsa-aes-kwp-sha1")
	wrapped := wrapForJob(t, "rsa-aes-kwp-sha1", public, keystest.PKCS8(t, signer))
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s.Run()
	p = restAs(t, s, "dev")
	p.must(200, "GET", "/v1/import-jobs/"+job, "", `"jobId":"`+job+`"`, "BEGIN PUBLIC KEY")
	id := p.must(201, "POST", "/v1/keys/import", importBody("private", "wrappedKey", wrapped, `"jobId":"`+job+`"`, asSigner, `"sensitive":true`), `"class":"X"`, `"curve":"P-256"`, `"algorithm":"EC"`).member(p, "keyId")
	signsWith(p, id, &signer.PublicKey)
}

// What does not fit an import job is refused, and the job stays for what does. All faults of the
// wrapped bytes have one answer.
func TestUnfitImportsUnderAJob(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Issue("eve", "default")
	s.Issue("olga", "other")
	p, secret := restAs(t, s, "dev"), randomBytes(32)
	job, public := newJob(p, "rsa-aes-kwp-sha1")
	good := wrapForJob(t, "rsa-aes-kwp-sha1", public, secret)
	with := `"jobId":"` + job + `"`
	for _, name := range []string{"eve", "olga"} {
		other := restAs(t, s, name)
		other.must(404, "GET", "/v1/import-jobs/"+job, "", "ItemNotFound")
		other.must(404, "DELETE", "/v1/import-jobs/"+job, "", "ItemNotFound")
		other.must(404, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", good, with, asAES), "ItemNotFound")
	}
	raw, _ := base64.StdEncoding.DecodeString(good)
	flipped := bytes.Clone(raw)
	flipped[len(flipped)-1] ^= 1
	passing := randomBytes(32)
	answers := map[string]bool{}
	for what, wrapped := range map[string][]byte{"a flipped bit": flipped, "OAEP with SHA-256": append(wrapOAEP(t, sha256.New(), public, passing), keystest.WrapKWP(t, passing, secret)...),
		"a key of 16 bytes": append(wrapOAEP(t, sha1.New(), public, passing), keystest.WrapKWP(t, passing, secret[:16])...), "another AES key": append(wrapOAEP(t, sha1.New(), public, passing), keystest.WrapKWP(t, secret, secret)...)} {
		got := p.ask("POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", inBase64(wrapped), with, asAES))
		got.demand(p, 422, what, "CryptographicFailure")
		answers[got.member(p, "detail")] = true
	}
	if len(answers) != 1 {
		t.Errorf("faults of the wrapped bytes have %d answers: %v", len(answers), answers)
	}
	for what, body := range map[string]string{
		"truncated":                 importBody("symmetric", "wrappedKey", inBase64(raw[:len(raw)-1]), with, asAES),
		"as RSA-OAEP alone":         importBody("symmetric", "wrappedKey", inBase64(raw[:384]), with, asAES),
		"a public key":              importBody("public", "wrappedKey", good, with, asAES),
		"a pair":                    importBody("pair", "wrappedKey", good, with, asAES),
		"no length":                 importBody("symmetric", "wrappedKey", good, with, `"algorithm":"AES","usage":["encrypt"]`),
		"no algorithm":              importBody("symmetric", "wrappedKey", good, with, `"length":256,"usage":["encrypt"]`),
		"no usage":                  importBody("symmetric", "wrappedKey", good, with, `"length":256,"algorithm":"AES"`),
		"a length that AES lacks":   importBody("symmetric", "wrappedKey", good, with, `"algorithm":"AES","length":200,"usage":["encrypt"]`),
		"RSA that is symmetric":     importBody("symmetric", "wrappedKey", good, with, `"algorithm":"RSA","length":2048,"usage":["encrypt"]`),
		"a group of others":         importBody("symmetric", "wrappedKey", good, with, asAES, `"group":"theirs"`),
		"with a wrapping":           importBody("symmetric", "wrappedKey", good, with, asAES, `"wrapping":"aes-kw"`),
		"with a key and a job":      importBody("symmetric", "wrappedKey", good, with, asAES, `"wrappingKeyId":"x"`),
		"under nothing":             importBody("symmetric", "wrappedKey", good, asAES),
		"clear and under a job":     importBody("symmetric", "keyMaterial", good, with, asAES),
		"clear and wrapped":         importBody("symmetric", "wrappedKey", good, with, asAES, `"keyMaterial":"AAAA"`),
		"neither clear nor wrapped": `{"type":"symmetric",` + with + `,` + asAES + `}`,
		"no base64":                 importBody("symmetric", "wrappedKey", "!"+good[1:], with, asAES),
		"an unknown member":         importBody("symmetric", "wrappedKey", good, with, asAES, `"hash":"sha1"`),
	} {
		p.ask("POST", "/v1/keys/import", body).demand(p, 400, what)
	}
	p.must(404, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", good, `"jobId":"no-such-job"`, asAES), "ItemNotFound")
	pkcs8 := keystest.PKCS8(t, keystest.RSAKey(2048))
	for what, claim := range map[string]string{"EC": asSigner, "a longer RSA key": `"algorithm":"RSA","length":3072,"usage":["sign"]`, "Ed25519": `"algorithm":"Ed25519","length":256,"usage":["sign"]`} {
		got := p.ask("POST", "/v1/keys/import", importBody("private", "wrappedKey", wrapForJob(t, "rsa-aes-kwp-sha1", public, pkcs8), with, claim))
		if got.status != 422 && got.status != 400 {
			t.Errorf("an RSA key of 2048 bits, said to be %s: %d %s", what, got.status, got.text)
		}
	}
	if got := recordsOf(t, s, "Register", "eve", "failed") + recordsOf(t, s, "Register", "eve", "denied"); got != 1 {
		t.Errorf("the import under the job of another left %d records", got)
	}
	if got := records(t, s, "Register", "--json", "--principal", "eve"); len(got) != 1 || !strings.Contains(got[0], "import job "+job) {
		t.Errorf("the record of it does not name the job: %q", got)
	}
	opensWith(p, p.must(201, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", good, with, asAES)).member(p, "keyId"), secret)
	p.must(200, "GET", "/v1/keys?filter=algorithm:RSA", "", `"keys":[]`)

	job, public = newJob(p, "rsa-oaep-sha1")
	with = `"jobId":"` + job + `"`
	p.must(400, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", wrapForJob(t, "rsa-aes-kwp-sha1", public, secret), with, asAES))
	p.must(400, "POST", "/v1/keys/import", importBody("private", "wrappedKey", wrapForJob(t, "rsa-oaep-sha1", public, secret), with, asSigner), "AES key")
	p.must(204, "DELETE", "/v1/import-jobs/"+job, "")
	p.must(404, "DELETE", "/v1/import-jobs/"+job, "")
	p.must(404, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", wrapForJob(t, "rsa-oaep-sha1", public, secret), with, asAES))
}

// The transport key of a job has the hash that its name says; an HSM without it says so.
func TestImportJobsOverREST(t *testing.T) {
	t.Parallel()
	p := restAs(t, servertest.Start(t), "dev")
	for _, algorithm := range []string{"rsa-oaep-sha256", "rsa-aes-kwp-sha256"} { // SoftHSM2 has SHA-1 alone
		p.must(501, "POST", "/v1/import-jobs", fmt.Sprintf(`{"algorithm":%q}`, algorithm), "UnsupportedByHSM", "SHA-256")
	}
	made := p.must(201, "POST", "/v1/import-jobs", `{"algorithm":"rsa-oaep-sha1","length":4096}`, `"length":4096`)
	ends, err := time.Parse(time.RFC3339, made.member(p, "expiresAt"))
	if left := time.Until(ends); err != nil || left > 24*time.Hour || left < 24*time.Hour-time.Minute {
		t.Errorf("the job ends at %v, %v", ends, err)
	}
	if got := p.must(200, "GET", "/v1/import-jobs/"+made.member(p, "jobId"), ""); got.text != made.text {
		t.Errorf("the job is read as %s, and was made as %s", got.text, made.text)
	}
	for _, bad := range []string{`{}`, `{"algorithm":"rsa"}`, `{"algorithm":"rsa-pkcs1"}`, `{"algorithm":"rsa-oaep-sha1","length":2048}`, `{"algorithm":"rsa-oaep-sha1","length":3073}`, `{"algorithm":"rsa-oaep-sha1","length":8192}`, `{"algorithm":"rsa-oaep-sha1","hash":"sha1"}`, ``} {
		p.must(400, "POST", "/v1/import-jobs", bad)
	}
	p.must(404, "GET", "/v1/import-jobs/no-such-job", "")
}

// registerAES registers an AES key in clear over KMIP.
func registerAES(t *testing.T, c *kmiptest.Client, key []byte, mask core.UsageMask) string {
	t.Helper()
	out, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(mask)}, activeNow},
		Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: int32(8 * len(key)), Material: key}}})
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// What leaves wrapped under a key of the server is what KMIP's Get answers, and comes back under
// the same key as the same key.
func TestExportAndImportUnderAKey(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	p, c := restAs(t, s, "dev"), dial(t, s, "dev", core.V2_1)
	kek, secret := randomBytes(32), randomBytes(32)
	with := registerAES(t, c, kek, core.MaskWrapKey|core.MaskUnwrapKey)
	pair := p.must(201, "POST", "/v1/keys", `{"type":"pair","algorithm":"RSA","length":3072,"usage":["wrapKey","unwrapKey"]}`)
	rsaPrivate, rsaPublic := pair.member(p, "keyId"), pair.member(p, "publicKeyId")
	id := p.must(201, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", inBase64(keystest.WrapKWP(t, kek, secret)), `"wrappingKeyId":"`+with+`","wrapping":"aes-kwp"`, asAES, `"sensitive":true`, `"name":"brought"`), `"class":"X"`).member(p, "keyId")
	opensWith(p, id, secret)
	if got := p.must(200, "GET", "/v1/keys/"+id+"/export?wrapping=aes-kwp&wrapWith="+with, "").member(p, "wrappedKey"); got != inBase64(keystest.WrapKWP(t, kek, secret)) {
		t.Errorf("the key leaves as %s", got)
	}
	for wrapping, mode := range map[string]core.BlockCipherMode{"": core.BlockCipherModeNISTKeyWrap, "&wrapping=aes-kw": core.BlockCipherModeNISTKeyWrap, "&wrapping=aes-kwp": core.BlockCipherModeAESKeyWrapPadding} {
		out := p.must(200, "GET", "/v1/keys/"+id+"/export?wrapWith="+with+wrapping, "", `"algorithm":"AES"`, `"length":256`, `"wrappingKeyId":"`+with+`"`, `"keyId":"`+id+`"`)
		got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding,
			Encryption: &core.WrappingKeyInfo{ID: with, Parameters: &core.CryptographicParameters{BlockCipherMode: mode}}}})
		if err != nil || inBase64(got.Object.KeyBlock.Wrapped) != out.member(p, "wrappedKey") {
			t.Errorf("Get over KMIP answers another key than export%s: %v", wrapping, err)
		}
		how := ""
		if wrapping != "" {
			how = `,"wrapping":"` + strings.TrimPrefix(wrapping, "&wrapping=") + `"`
		}
		back := p.must(201, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", out.member(p, "wrappedKey"), `"wrappingKeyId":"`+with+`"`+how, asAES, `"extractable":false`), `"class":"N"`).member(p, "keyId")
		opensWith(p, back, secret)
		p.must(403, "GET", "/v1/keys/"+back+"/export?wrapWith="+with, "")
	}
	out := p.must(200, "GET", "/v1/keys/"+id+"/export?wrapping=rsa-oaep-sha1&wrapWith="+rsaPublic, "").member(p, "wrappedKey")
	back := p.must(201, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", out, `"wrappingKeyId":"`+rsaPrivate+`","wrapping":"rsa-oaep-sha1"`, asAES)).member(p, "keyId")
	opensWith(p, back, secret)

	for what, query := range map[string]string{"no wrapping key": "", "an unknown wrapping": "?wrapWith=" + with + "&wrapping=rsa", "a wrapping alone": "?wrapping=aes-kw", "a format of wrapped bytes": "?format=pem&wrapWith=" + with,
		"an unknown format": "?format=der", "another parameter": "?wrapWith=" + with + "&encoding=none", "an empty wrapping key": "?wrapWith="} {
		p.ask("GET", "/v1/keys/"+id+"/export"+query, "").demand(p, 400, what)
	}
	p.must(404, "GET", "/v1/keys/"+id+"/export?wrapWith=no-such-key", "")
	p.must(404, "GET", "/v1/keys/no-such-key/export?wrapWith="+with, "")
	s.Issue("eve", "default")
	eve := restAs(t, s, "eve")
	eve.must(403, "GET", "/v1/keys/"+id+"/export?wrapWith="+with, "", "PermissionDenied")
	eve.must(404, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", out, `"wrappingKeyId":"`+rsaPrivate+`","wrapping":"rsa-oaep-sha1"`, asAES), "WrappingObjectNotFound")
	for what, body := range map[string]string{"a key that does not unwrap": importBody("symmetric", "wrappedKey", out, `"wrappingKeyId":"`+id+`"`, asAES), "another length": importBody("symmetric", "wrappedKey", out, `"wrappingKeyId":"`+with+`"`, asAES),
		"AES as RSA": importBody("symmetric", "wrappedKey", out, `"wrappingKeyId":"`+with+`","wrapping":"rsa-oaep-sha1"`, asAES)} {
		if got := p.ask("POST", "/v1/keys/import", body); got.status/100 != 4 {
			t.Errorf("%s: %d %s", what, got.status, got.text)
		}
	}
	p.must(404, "POST", "/v1/keys/import", importBody("symmetric", "wrappedKey", out, `"wrappingKeyId":"no-such-key"`, asAES))
}

// A public key leaves in clear, and the half of a pair that is named is that which leaves.
func TestExportOfPublicKeys(t *testing.T) {
	t.Parallel()
	p := restAs(t, servertest.Start(t), "dev")
	pair := p.must(201, "POST", "/v1/keys", `{"type":"pair","algorithm":"EC","curve":"P-256","usage":["sign","verify"]}`)
	private, public := pair.member(p, "keyId"), pair.member(p, "publicKeyId")
	want := p.must(200, "GET", "/v1/keys/"+public+"/public-key", "").member(p, "publicKey")
	for _, query := range []string{"", "?format=pem"} {
		if got := p.must(200, "GET", "/v1/keys/"+public+"/export"+query, "", `"keyId":"`+public+`"`).member(p, "publicKey"); got != want {
			t.Errorf("the public key leaves as %s; want %s", got, want)
		}
	}
	p.must(200, "GET", "/v1/keys/"+public+"/export?format=jwk", "", `"jwk":{`, `"crv":"P-256"`)
	p.must(400, "GET", "/v1/keys/"+private+"/export", "", "wrapWith")
	p.must(400, "GET", "/v1/keys/"+private+"/export?format=jwk", "", "wrapWith")
	spki := keystest.SPKI(t, &keystest.RSAKey(2048).PublicKey)
	id := p.must(201, "POST", "/v1/keys/import", importBody("public", "keyMaterial", inBase64(spki), `"usage":["verify"]`), `"type":"public"`, `"algorithm":"RSA"`, `"length":2048`).member(p, "keyId")
	block, _ := pem.Decode([]byte(p.must(200, "GET", "/v1/keys/"+id+"/export", "").member(p, "publicKey")))
	if !bytes.Equal(block.Bytes, spki) {
		t.Error("an imported public key leaves as another one")
	}
}

// Secrets in clear are refused unless a role or a policy permits Import Clear. A public key is no
// secret. What was sent is in no log and no record.
func TestImportInClear(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	s.Certify(certs.Request{Name: "ivan", Tenant: "default", Roles: []string{"importer"}})
	admin, dev, ivan := restAs(t, s, "anna"), restAs(t, s, "dev"), restAs(t, s, "ivan")
	admin.must(201, "POST", "/v1/roles", `{"name":"importer","actions":["import-clear","register"]}`)
	key, signer, rsaKey := randomBytes(32), keystest.ECKey(t, elliptic.P256()), keystest.RSAKey(2048)
	bodies := []struct{ kind, body string }{
		{"symmetric", importBody("symmetric", "keyMaterial", inBase64(key), `"algorithm":"AES","usage":["encrypt","decrypt"]`)},
		{"secret", importBody("secret", "keyMaterial", inBase64(key), `"description":"a password"`)},
		{"private", importBody("private", "keyMaterial", inBase64(keystest.PKCS8(t, signer)), `"usage":["sign"]`, `"sensitive":true`)},
		{"private", importBody("private", "keyMaterial", inBase64(keystest.PKCS8(t, rsaKey)), `"algorithm":"RSA","length":2048,"usage":["sign","decrypt"]`, `"extractable":false`)},
	}
	ids := map[string]string{}
	for _, b := range bodies {
		dev.must(403, "POST", "/v1/keys/import", b.body, "PermissionDenied")
		admin.must(403, "POST", "/v1/keys/import", b.body, "PermissionDenied")
		ids[b.kind] = ivan.must(201, "POST", "/v1/keys/import", b.body, `"state":"Active"`, `"owner":"ivan"`).member(ivan, "keyId")
	}
	opensWith(ivan, ids["symmetric"], key)
	escaped := strings.ReplaceAll(importBody("symmetric", "keyMaterial", inBase64(bytes.Repeat([]byte{0xff}, 32)), `"algorithm":"AES","usage":["encrypt","decrypt"]`), "/", `\/`) // as PHP writes it
	opensWith(ivan, ivan.must(201, "POST", "/v1/keys/import", escaped).member(ivan, "keyId"), bytes.Repeat([]byte{0xff}, 32))
	if got := recordsOf(t, s, "Import Clear", "dev", "denied") + recordsOf(t, s, "Register", "dev", "denied"); got != len(bodies) {
		t.Errorf("%d denied imports left %d records", len(bodies), got)
	}
	dev.must(201, "POST", "/v1/keys/import", importBody("public", "keyMaterial", inBase64(keystest.SPKI(t, &signer.PublicKey)), `"usage":["verify"]`), `"algorithm":"EC"`)

	encoded := inBase64(keystest.PKCS8(t, signer))
	for what, body := range map[string]string{
		"another length":           importBody("symmetric", "keyMaterial", inBase64(key), `"algorithm":"AES","length":128,"usage":["encrypt"]`),
		"another curve":            importBody("private", "keyMaterial", encoded, `"algorithm":"EC","curve":"P-384","usage":["sign"]`),
		"another algorithm":        importBody("private", "keyMaterial", encoded, `"algorithm":"RSA","usage":["sign"]`),
		"no PKCS#8":                importBody("private", "keyMaterial", inBase64(key), `"usage":["sign"]`),
		"a private as public key":  importBody("public", "keyMaterial", encoded, `"usage":["verify"]`),
		"a public as private key":  importBody("private", "keyMaterial", inBase64(keystest.SPKI(t, &signer.PublicKey)), `"usage":["sign"]`),
		"a truncated private key":  importBody("private", "keyMaterial", inBase64(keystest.PKCS8(t, signer)[:40]), `"usage":["sign"]`),
		"trailing bytes":           importBody("private", "keyMaterial", inBase64(append(keystest.PKCS8(t, signer), 0)), `"usage":["sign"]`),
		"no base64":                importBody("symmetric", "keyMaterial", "****"+encoded, `"algorithm":"AES","usage":["encrypt"]`),
		"base64 without padding":   importBody("symmetric", "keyMaterial", strings.TrimRight(inBase64(key), "="), `"algorithm":"AES","usage":["encrypt"]`),
		"base64 with a line break": importBody("symmetric", "keyMaterial", "AAAA\nAAAA", `"algorithm":"AES","usage":["encrypt"]`),
		"an escaped name":          strings.Replace(importBody("symmetric", "keyMaterial", inBase64(key), `"algorithm":"AES","usage":["encrypt"]`), "keyMaterial", `keyMateria\u006c`, 1),
		"two of them":              importBody("symmetric", "keyMaterial", inBase64(key), `"algorithm":"AES","usage":["encrypt"],"keyMaterial":"AAAA"`),
		"no text":                  `{"type":"symmetric","keyMaterial":5,"algorithm":"AES","usage":["encrypt"]}`,
		"null":                     `{"type":"symmetric","keyMaterial":null,"algorithm":"AES","usage":["encrypt"]}`,
		"empty":                    importBody("symmetric", "keyMaterial", "", `"algorithm":"AES","usage":["encrypt"]`),
		"wrapped and clear":        importBody("symmetric", "keyMaterial", inBase64(key), `"algorithm":"AES","usage":["encrypt"],"wrapping":"aes-kw"`),
	} {
		if got := ivan.ask("POST", "/v1/keys/import", body); got.status != 400 && got.status != 422 {
			t.Errorf("%s: %d %s; want 400 or 422", what, got.status, got.text)
		} else if strings.Contains(got.text, encoded[:16]) || strings.Contains(got.text, inBase64(key)[:16]) {
			t.Errorf("%s: the answer has what was sent: %s", what, got.text)
		}
	}
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	said := string(log) + strings.Join(records(t, s, "Register", "--json"), "\n") + strings.Join(records(t, s, "Import Clear", "--json"), "\n")
	for _, secret := range []string{inBase64(key), encoded, url.QueryEscape(encoded), fmt.Sprintf("%x", key)} {
		if strings.Contains(said, secret) {
			t.Error("the log or a record has the key")
		}
	}
}

// A server that is killed while it imports a resident key has the key and no job, or the job and
// no key, which can then be imported. Nothing else stays in the token.
func TestKilledImports(t *testing.T) {
	t.Parallel()
	s := startOn(t, "")
	secret, seen := randomBytes(32), map[string]int{}
	for round := range 6 {
		p := restAs(t, s, "dev")
		job, public := newJob(p, "rsa-aes-kwp-sha1")
		name := fmt.Sprint("killed-", round)
		body := importBody("symmetric", "wrappedKey", wrapForJob(t, "rsa-aes-kwp-sha1", public, secret), `"jobId":"`+job+`","custody":"resident","name":"`+name+`"`, asAES)
		status := make(chan int, 1)
		go func() {
			res, err := p.client.Post(p.url+"/v1/keys/import", "application/json", strings.NewReader(body))
			if err != nil {
				status <- 0
				return
			}
			res.Body.Close()
			status <- res.StatusCode
		}()
		time.Sleep(time.Duration(mathrand.IntN(40)) * time.Millisecond)
		s.Kill()
		answered := <-status
		s.Run()
		p = restAs(t, s, "dev")
		left, keys := p.ask("GET", "/v1/import-jobs/"+job, "").status, p.must(200, "GET", "/v1/keys?filter=name:"+name, "").body["keys"].([]any)
		if (len(keys) == 1) == (left == 200) || len(keys) > 1 || (answered == 201 && len(keys) == 0) {
			t.Errorf("round %d was answered %d; then there are %d keys, and the job is answered %d", round, answered, len(keys), left)
		}
		seen[fmt.Sprintf("answered %d, %d keys", answered, len(keys))]++
		if len(keys) == 0 {
			p.must(201, "POST", "/v1/keys/import", body)
			keys = p.must(200, "GET", "/v1/keys?filter=name:"+name, "").body["keys"].([]any)
		}
		opensWith(p, keys[0].(map[string]any)["keyId"].(string), secret)
	}
	t.Logf("kills: %v", seen)
	tokenAgrees(t, s, "")
}
