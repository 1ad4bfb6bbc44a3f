package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// treated says of each field of each request, in whatever version, what becomes of
// it. effect: another value gives another outcome; the tests of its operation show
// it. checked: TestNoParameterIsIgnored tries it with nonsense. documented: the
// standard lets the server do without, and docs/KMIP.md says so.
var treated = map[core.Operation]map[string]string{
	core.OperationCreate: {"Object Type": "effect", "Attributes": "effect", "Template-Attribute": "effect", "Protection Storage Masks": "effect"},
	core.OperationCreateKeyPair: {"Common Attributes": "effect", "Common Protection Storage Masks": "effect", "Common Template-Attribute": "effect", "Private Key Attributes": "effect",
		"Private Key Template-Attribute": "effect", "Private Protection Storage Masks": "effect", "Public Key Attributes": "checked", "Public Key Template-Attribute": "checked", "Public Protection Storage Masks": "effect"},
	core.OperationRegister: {"Object Type": "effect", "Attributes": "checked", "Template-Attribute": "checked", "Protection Storage Masks": "effect",
		"Any Object (Section 2)": "checked", "Certificate, Symmetric Key, Private Key, Public Key, Split Key, Template Secret Data or Opaque Object": "checked"},
	core.OperationReKey: {"Attributes": "effect", "Offset": "effect", "Protection Storage Masks": "effect", "Template-Attribute": "effect", "Unique Identifier": "effect"},
	core.OperationReKeyKeyPair: {"Common Attributes": "effect", "Common Protection Storage Masks": "effect", "Common Template-Attribute": "effect", "Offset": "effect", "Private Key Attributes": "effect",
		"Private Key Template-Attribute": "effect", "Private Key Unique Identifier": "effect", "Private Protection Storage Masks": "effect", "Public Key Attributes": "effect", "Public Key Template-Attribute": "effect", "Public Protection Storage Masks": "effect"},
	core.OperationDeriveKey: {"Attributes": "effect", "Derivation Method": "effect", "Derivation Parameters": "checked", "Derivation Parameters, see below": "checked", "Object Type": "effect",
		"Template-Attribute": "effect", "Unique Identifier": "effect"},
	core.OperationLocate:           {"Attribute": "effect", "Attributes": "effect", "Maximum Items": "effect", "Object Group Member": "effect", "Offset Items": "effect", "Storage Status Mask": "effect"},
	core.OperationCheck:            {"Cryptographic Usage Mask": "effect", "Lease Time": "effect", "Unique Identifier": "effect", "Usage Limits Count": "effect"},
	core.OperationGet:              {"Key Compression Type": "effect", "Key Format Type": "checked", "Key Wrap Type": "effect", "Key Wrapping Specification": "checked", "Unique Identifier": "effect"},
	core.OperationGetAttributes:    {"Attribute Name": "effect", "Attribute Reference": "effect", "Unique Identifier": "effect"},
	core.OperationGetAttributeList: {"Unique Identifier": "effect"},
	core.OperationAddAttribute:     {"Attribute": "effect", "New Attribute": "effect", "Unique Identifier": "effect"},
	core.OperationModifyAttribute:  {"Attribute": "effect", "Current Attribute": "effect", "New Attribute": "effect", "Unique Identifier": "effect"},
	core.OperationSetAttribute:     {"New Attribute": "effect", "Unique Identifier": "effect"},
	core.OperationDeleteAttribute:  {"Attribute Index": "effect", "Attribute Name": "effect", "Attribute Reference": "checked", "Current Attribute": "checked", "Unique Identifier": "effect"},
	core.OperationActivate:         {"Unique Identifier": "effect"}, core.OperationDestroy: {"Unique Identifier": "effect"},
	core.OperationArchive: {"Unique Identifier": "effect"}, core.OperationRecover: {"Unique Identifier": "effect"},
	core.OperationRevoke: {"Compromise Occurrence Date": "checked", "Revocation Reason": "effect", "Unique Identifier": "effect"},
	core.OperationQuery:  {"Object Groups": "documented", "Query Function": "effect"}, core.OperationDiscoverVersions: {"Protocol Version": "effect"},
	core.OperationEncrypt: {"Authenticated Encryption Additional Data": "checked", "Correlation Value": "effect", "Cryptographic Parameters": "checked", "Data": "effect", "Final Indicator": "effect",
		"IV/Counter/Nonce": "checked", "Init Indicator": "effect", "Unique Identifier": "effect"},
	core.OperationDecrypt: {"Authenticated Encryption Additional Data": "checked", "Authenticated Encryption Tag": "checked", "Correlation Value": "effect", "Cryptographic Parameters": "checked", "Data": "effect",
		"Final Indicator": "effect", "IV/Counter/Nonce": "checked", "Init Indicator": "effect", "Unique Identifier": "effect"},
	core.OperationSign: {"Correlation Value": "effect", "Cryptographic Parameters": "checked", "Data": "effect", "Digested Data": "effect", "Final Indicator": "effect", "Init Indicator": "effect", "Unique Identifier": "effect"},
	core.OperationSignatureVerify: {"Correlation Value": "effect", "Cryptographic Parameters": "checked", "Data": "effect", "Digested Data": "effect", "Final Indicator": "effect", "Init Indicator": "effect",
		"Signature Data": "effect", "Unique Identifier": "effect"},
	core.OperationMAC:         {"Correlation Value": "effect", "Cryptographic Parameters": "checked", "Data": "effect", "Final Indicator": "effect", "Init Indicator": "effect", "Unique Identifier": "effect"},
	core.OperationMACVerify:   {"Correlation Value": "effect", "Cryptographic Parameters": "checked", "Data": "effect", "Final Indicator": "effect", "Init Indicator": "effect", "MAC Data": "effect", "Unique Identifier": "effect"},
	core.OperationRNGRetrieve: {"Data Length": "effect"}, core.OperationRNGSeed: {"Data": "effect"},
	core.OperationHash: {"Correlation Value": "effect", "Cryptographic Parameters": "checked", "Data": "effect", "Final Indicator": "effect", "Init Indicator": "effect"},
}

// Every field that the standard gives a request of ours has been thought of.
func TestEveryFieldOfRequestsIsTreated(t *testing.T) {
	t.Parallel()
	seen := map[core.Operation]map[string]bool{}
	for _, row := range coretest.CSV(t, "operations.csv") {
		n, ok := core.TagOperation.Info().Enum.ByName(row["operation"])
		op := core.Operation(n)
		if !ok || row["payload"] != "request" || kmip.RowOf(op) == nil {
			continue
		}
		if seen[op] == nil {
			seen[op] = map[string]bool{}
		}
		if seen[op][row["field"]] = true; treated[op][row["field"]] == "" {
			t.Errorf("%v: what becomes of %s is not said", op, row["field"])
		}
	}
	for op, fields := range treated {
		for f := range fields {
			if !seen[op][f] && len(seen) > 0 {
				t.Errorf("%v has no field %s", op, f)
			}
		}
	}
}

// nonsense gives each field of Cryptographic Parameters a value that cannot be meant.
func nonsense() map[core.Tag]core.CryptographicParameters {
	const unknown = 0x8000_0077
	n, yes := int32(-77), true
	return map[core.Tag]core.CryptographicParameters{
		core.TagBlockCipherMode: {BlockCipherMode: unknown}, core.TagPaddingMethod: {PaddingMethod: unknown}, core.TagHashingAlgorithm: {HashingAlgorithm: unknown}, core.TagKeyRoleType: {KeyRoleType: core.KeyRoleTypeBDK},
		core.TagDigitalSignatureAlgorithm: {DigitalSignatureAlgorithm: unknown}, core.TagCryptographicAlgorithm: {CryptographicAlgorithm: core.AlgorithmBlowfish}, core.TagRandomIV: {RandomIV: &yes},
		core.TagIVLength: {IVLength: &n}, core.TagTagLength: {TagLength: &n}, core.TagFixedFieldLength: {FixedFieldLength: &n}, core.TagInvocationFieldLength: {InvocationFieldLength: &n},
		core.TagCounterLength: {CounterLength: &n}, core.TagInitialCounterValue: {InitialCounterValue: &n}, core.TagSaltLength: {SaltLength: &n}, core.TagMaskGenerator: {MaskGenerator: unknown},
		core.TagMaskGeneratorHashingAlgorithm: {MaskGeneratorHashing: unknown}, core.TagPSource: {PSource: []byte("P")}, core.TagTrailerField: {TrailerField: &n}}
}

// with is p with one field more, or with another value in it.
func with(p, more core.CryptographicParameters) *core.CryptographicParameters {
	for _, f := range more.Fields() {
		p.SetField(f.Tag, f.Value)
	}
	return &p
}

// ways are the ways to use a key; each way's do is right, and gets its parameters
// and whatever else is tried.
type way struct {
	name string
	p    core.CryptographicParameters
	do   func(p *core.CryptographicParameters) error
	free []core.Tag // fields that may have any value
}

// No field of Cryptographic Parameters is taken and ignored: a value that cannot be
// meant is refused in every use of a key, in memory and in the token. So are
// Additional Data, a Tag and an IV where there is no place for them.
func TestNoParameterIsIgnored(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		for _, extractable := range []bool{true, false} {
			tried := 0
			for _, w := range slices.Concat(cipherWays(t, c, extractable), signWays(t, c, extractable), deriveWays(t, c, extractable)) {
				if err := w.do(&w.p); err != nil {
					t.Errorf("%v, Extractable %v, %s: %v", v, extractable, w.name, err)
					continue
				}
				for tag, more := range nonsense() {
					if slices.Contains(w.free, tag) {
						continue
					}
					if tried++; w.do(with(w.p, more)) == nil {
						t.Errorf("%v, Extractable %v, %s: nonsense in %v is ignored", v, extractable, w.name, tag)
					}
				}
			}
			if tried < 300 {
				t.Errorf("only %d parameters were tried", tried)
			}
		}
	}
}

// deriveWays are the methods of Derive Key.
func deriveWays(t *testing.T, c *kmiptest.Client, extractable bool) (out []way) {
	t.Helper()
	in := kmiptest.AESKey(256, core.MaskDeriveKey, activeNow, leaving(extractable))
	base, err := kmiptest.Do(c, &kmip.Create, in)
	if err != nil {
		t.Fatal(err)
	}
	sha256 := core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}
	data, count := [][]byte{[]byte("sixteen bytes ofsixteen bytes of")}, int32(2)
	method := func(m core.DerivationMethod, p core.CryptographicParameters, more operation.DerivationParameters) {
		derive := func(p *core.CryptographicParameters, more operation.DerivationParameters) error {
			more.Parameters = p
			_, err := kmiptest.Do(c, &kmip.DeriveKey, &operation.DeriveKeyInput{ObjectType: core.ObjectTypeSymmetricKey, IDs: []core.Identifier{core.ID(base.ID)}, Method: m, Parameters: more,
				Attributes: kmiptest.AESKey(256, core.MaskEncrypt).Attributes})
			return err
		}
		for what, nonsense := range map[string]operation.DerivationParameters{
			"Data": {Data: append([][]byte{{1}}, more.Data...), IV: more.IV, Salt: more.Salt, Iterations: more.Iterations}, "an IV": {Data: more.Data, IV: []byte("an IV of 17 bytes"), Salt: more.Salt, Iterations: more.Iterations},
			"a Salt": {Data: more.Data, IV: more.IV, Salt: []byte("salt"), Iterations: more.Iterations}, "an Iteration Count": {Data: more.Data, IV: more.IV, Salt: more.Salt, Iterations: new(int32(-1))}} {
			salted := m == core.DerivationMethodPBKDF2 || m == core.DerivationMethodHKDF
			if !(what == "a Salt" && salted) && !(what == "Data" && m == core.DerivationMethodHKDF) && !(what == "an IV" && m == core.DerivationMethodNIST800_108F) && derive(&p, nonsense) == nil {
				t.Errorf("Extractable %v, %v: %s is ignored", extractable, m, what)
			}
		}
		out = append(out, way{m.String(), p, func(p *core.CryptographicParameters) error { return derive(p, more) }, nil})
	}
	method(core.DerivationMethodHMAC, sha256, operation.DerivationParameters{Data: data})
	method(core.DerivationMethodENCRYPT, core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC}, operation.DerivationParameters{Data: data, IV: []byte("an IV of sixteen")})
	method(core.DerivationMethodENCRYPT, core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}, operation.DerivationParameters{Data: data})
	method(core.DerivationMethodNIST800_108C, sha256, operation.DerivationParameters{Data: data})
	method(core.DerivationMethodNIST800_108F, sha256, operation.DerivationParameters{Data: data, IV: []byte("an IV")})
	method(core.DerivationMethodNIST800_108DPI, core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES}, operation.DerivationParameters{Data: data}) // by CMAC
	if extractable {                                                                                                                                                 // tokens do not do these
		method(core.DerivationMethodHASH, sha256, operation.DerivationParameters{})
		method(core.DerivationMethodPBKDF2, sha256, operation.DerivationParameters{Salt: []byte("salt"), Iterations: &count})
		if c.Version >= core.V2_0 {
			method(core.DerivationMethodHKDF, sha256, operation.DerivationParameters{Salt: []byte("salt")})
		}
	}
	return out
}

func leaving(extractable bool) core.Attribute {
	return core.Attribute{Tag: core.TagExtractable, Value: core.Bool(extractable)}
}

// made is a symmetric key of an algorithm.
func made(t *testing.T, c *kmiptest.Client, alg core.CryptographicAlgorithm, bits int32, extractable bool) core.Identifier {
	t.Helper()
	in := kmiptest.AESKey(bits, core.MaskEncrypt|core.MaskDecrypt|core.MaskMACGenerate|core.MaskMACVerify, activeNow, leaving(extractable))
	in.Attributes[0].Value = core.Enum(alg)
	out, err := kmiptest.Do(c, &kmip.Create, in)
	if err != nil {
		t.Fatal(err)
	}
	return core.ID(out.ID)
}

// inputs are what Encrypt or Decrypt has beside Data.
type inputs struct{ iv, aad, tag []byte }

func cipherWays(t *testing.T, c *kmiptest.Client, extractable bool) (out []way) {
	t.Helper()
	data := []byte("sixteen bytes ofsixteen bytes of")
	cipher := func(name string, id core.Identifier, p core.CryptographicParameters, ivBytes int, authenticates bool) {
		iv := []byte("an IV of sixteen")[:ivBytes]
		encrypt := func(p *core.CryptographicParameters, in inputs) (operation.EncryptOutput, error) {
			return kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: id, Parameters: p, Data: data, IV: in.iv, AAD: in.aad})
		}
		var aad []byte
		if authenticates {
			aad = []byte("additional data")
		}
		e, err := encrypt(&p, inputs{iv: iv, aad: aad})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		secret, tag := slices.Clone(e.Data), slices.Clone(e.Tag)
		decrypt := func(p *core.CryptographicParameters, in inputs) error {
			_, err := kmiptest.Do(c, &kmip.Decrypt, &operation.DecryptInput{ID: id, Parameters: p, Data: secret, IV: in.iv, AAD: in.aad, Tag: in.tag})
			return err
		}
		for what, in := range map[string]inputs{"an IV": {iv: []byte("another IV of 24 bytes. "), aad: aad}, "Additional Data": {iv: iv, aad: []byte("other data")}, "a Tag": {iv: iv, aad: aad, tag: []byte("sixteen bytes of")}} {
			if _, err := encrypt(&p, in); what != "a Tag" && !(authenticates && what == "Additional Data") && !(name == "GCM" && what == "an IV") && err == nil {
				t.Errorf("Extractable %v, Encrypt by %s: %s is ignored", extractable, name, what)
			}
			if in.tag == nil {
				in.tag = tag
			}
			if err := decrypt(&p, in); err == nil {
				t.Errorf("Extractable %v, Decrypt by %s: %s is ignored", extractable, name, what)
			}
		}
		out = append(out, way{"Encrypt by " + name, p, func(p *core.CryptographicParameters) error {
			_, err := encrypt(p, inputs{iv: iv, aad: aad})
			return err
		}, nil}, way{"Decrypt by " + name, p, func(p *core.CryptographicParameters) error { return decrypt(p, inputs{iv, aad, tag}) }, []core.Tag{core.TagRandomIV}})
	}
	mode := func(m core.BlockCipherMode) core.CryptographicParameters {
		return core.CryptographicParameters{BlockCipherMode: m}
	}
	aes := made(t, c, core.AlgorithmAES, 256, extractable)
	cipher("ECB", aes, mode(core.BlockCipherModeECB), 0, false)
	out[len(out)-1].free = nil // Random IV means nothing where there is no IV
	cipher("CBC", aes, mode(core.BlockCipherModeCBC), 16, false)
	cipher("CTR", aes, mode(core.BlockCipherModeCTR), 16, false)
	cipher("GCM", aes, mode(core.BlockCipherModeGCM), 12, true)
	cipher("3DES in CBC", made(t, c, core.AlgorithmDES3, 168, extractable), mode(core.BlockCipherModeCBC), 8, false)
	if extractable { // tokens have no mechanism for these
		cipher("ChaCha20", made(t, c, core.AlgorithmChaCha20, 256, true), core.CryptographicParameters{}, 12, false)
		cipher("ChaCha20-Poly1305", made(t, c, core.AlgorithmChaCha20Poly1305, 256, true), core.CryptographicParameters{}, 12, true)
	}
	return append(out, rsaWays(t, c, extractable)...)
}

func madePair(t *testing.T, c *kmiptest.Client, alg core.CryptographicAlgorithm, bits int32, extractable bool, private, public core.UsageMask) (core.Identifier, core.Identifier) {
	t.Helper()
	common := core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(alg)}, activeNow}
	if bits > 0 {
		common = append(common, core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(bits)})
	}
	out, err := kmiptest.Do(c, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{Common: common,
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(private)}, leaving(extractable)}, Public: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(public)}}})
	if err != nil {
		t.Fatal(err)
	}
	return core.ID(out.PrivateID), core.ID(out.PublicID)
}

func rsaWays(t *testing.T, c *kmiptest.Client, extractable bool) (out []way) {
	t.Helper()
	private, public := madePair(t, c, core.AlgorithmRSA, 2048, extractable, core.MaskDecrypt, core.MaskEncrypt)
	for name, p := range map[string]core.CryptographicParameters{"OAEP": {PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA256}, "PKCS1 v1.5": {PaddingMethod: core.PaddingMethodPKCS1V1_5}} {
		encrypt := func(p *core.CryptographicParameters, in inputs) ([]byte, error) {
			e, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: public, Parameters: p, Data: []byte("data"), IV: in.iv, AAD: in.aad})
			return slices.Clone(e.Data), err
		}
		secret, err := encrypt(&p, inputs{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		decrypt := func(p *core.CryptographicParameters, in inputs) error {
			_, err := kmiptest.Do(c, &kmip.Decrypt, &operation.DecryptInput{ID: private, Parameters: p, Data: secret, IV: in.iv, AAD: in.aad, Tag: in.tag})
			return err
		}
		for what, in := range map[string]inputs{"an IV": {iv: []byte("i")}, "Additional Data": {aad: []byte("a")}, "a Tag": {tag: []byte("sixteen bytes of")}} {
			if _, err := encrypt(&p, in); what != "a Tag" && err == nil {
				t.Errorf("Encrypt by RSA with %s: %s is ignored", name, what)
			}
			if decrypt(&p, in) == nil {
				t.Errorf("Decrypt by RSA with %s: %s is ignored", name, what)
			}
		}
		var free []core.Tag
		if name == "OAEP" {
			free = []core.Tag{core.TagPSource} // any label serves for encryption
		}
		out = append(out, way{"Encrypt by RSA with " + name, p, func(p *core.CryptographicParameters) error { _, err := encrypt(p, inputs{}); return err }, free},
			way{"Decrypt by RSA with " + name, p, func(p *core.CryptographicParameters) error { return decrypt(p, inputs{}) }, nil})
	}
	return out
}

func signWays(t *testing.T, c *kmiptest.Client, extractable bool) (out []way) {
	t.Helper()
	data := []byte("data")
	sign := func(name string, alg core.CryptographicAlgorithm, bits int32, p core.CryptographicParameters) {
		private, public := madePair(t, c, alg, bits, extractable, core.MaskSign, core.MaskVerify)
		s, err := kmiptest.Do(c, &kmip.Sign, &operation.SignInput{ID: private, Parameters: &p, Data: data})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		signature := slices.Clone(s.Signature)
		out = append(out, way{"Sign by " + name, p, func(p *core.CryptographicParameters) error {
			_, err := kmiptest.Do(c, &kmip.Sign, &operation.SignInput{ID: private, Parameters: p, Data: data})
			return err
		}, nil}, way{"Signature Verify by " + name, p, func(p *core.CryptographicParameters) error {
			out, err := kmiptest.Do(c, &kmip.SignatureVerify, &operation.SignatureVerifyInput{ID: public, Parameters: p, Data: data, Signature: signature})
			if err == nil && out.Validity != core.ValidityIndicatorValid {
				err = fmt.Errorf("it is %v", out.Validity)
			}
			return err
		}, nil})
	}
	sign("RSA PKCS1", core.AlgorithmRSA, 2048, core.CryptographicParameters{PaddingMethod: core.PaddingMethodPKCS1V1_5, HashingAlgorithm: core.HashSHA256})
	sign("RSA PSS", core.AlgorithmRSA, 2048, core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS, HashingAlgorithm: core.HashSHA256})
	sign("ECDSA", core.AlgorithmEC, 256, core.CryptographicParameters{HashingAlgorithm: core.HashSHA256})
	sign("Ed25519", core.AlgorithmEd25519, 0, core.CryptographicParameters{})
	mac := func(name string, id core.Identifier) {
		m, err := kmiptest.Do(c, &kmip.MAC, &operation.MACInput{ID: id, Data: data, Parameters: &core.CryptographicParameters{}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		code := slices.Clone(m.MAC)
		out = append(out, way{"MAC by " + name, core.CryptographicParameters{}, func(p *core.CryptographicParameters) error {
			_, err := kmiptest.Do(c, &kmip.MAC, &operation.MACInput{ID: id, Parameters: p, Data: data})
			return err
		}, nil}, way{"MAC Verify by " + name, core.CryptographicParameters{}, func(p *core.CryptographicParameters) error {
			_, err := kmiptest.Do(c, &kmip.MACVerify, &operation.MACVerifyInput{ID: id, Parameters: p, Data: data, MAC: code})
			return err
		}, nil})
	}
	hmac := made(t, c, core.AlgorithmHMACSHA256, 512, extractable)
	m, err := kmiptest.Do(c, &kmip.MAC, &operation.MACInput{ID: hmac, Data: data, Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA512}})
	if err != nil || len(m.MAC) != 64 {
		t.Errorf("a MAC by SHA-512 has %d bytes, %v", len(m.MAC), err)
	}
	mac("HMAC", hmac)
	mac("CMAC", made(t, c, core.AlgorithmAES, 256, extractable))
	return append(out, way{"Hash", core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, func(p *core.CryptographicParameters) error {
		_, err := kmiptest.Do(c, &kmip.Hash, &operation.HashInput{Parameters: p, Data: data})
		return err
	}, nil})
}

// The other door refuses as well what it would have to ignore.
func TestNoParameterOfRESTIsIgnored(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	id := aesKey(t, dial(t, s, "dev", core.V1_4), activeNow)
	b64 := base64.StdEncoding.EncodeToString
	for _, mode := range []string{"CBC", "CTR"} {
		encrypt := func(more string) (int, string) {
			return post(t, s, "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"format":"raw","mode":%q,"plaintext":%q%s}`, id, mode, b64([]byte("data")), more))
		}
		status, body := encrypt("")
		if status != http.StatusOK {
			t.Fatal(body)
		}
		var sealed struct{ Ciphertext, IV string }
		json.Unmarshal([]byte(body), &sealed)
		decrypt := func(more string) (int, string) {
			return post(t, s, "/v1/decrypt", fmt.Sprintf(`{"keyId":%q,"format":"raw","mode":%q,"ciphertext":%q,"iv":%q%s}`, id, mode, sealed.Ciphertext, sealed.IV, more))
		}
		if status, body := decrypt(""); status != http.StatusOK {
			t.Fatal(body)
		}
		for _, more := range []string{`,"aad":"YWFk"`, `,"tag":"c2l4dGVlbiBieXRlcyBvZg=="`} {
			if status, body := encrypt(more); status == http.StatusOK {
				t.Errorf("Encrypt by %s with %s: %s", mode, more, body)
			}
			if status, body := decrypt(more); status == http.StatusOK {
				t.Errorf("Decrypt by %s with %s: %s", mode, more, body)
			}
		}
	}
	for _, bad := range []string{`"length":0`, `"length":-1`, `"name":""`, `"custody":""`, `"custody":"cached"`} {
		if status, body := post(t, s, "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],`+bad+`}`); status != http.StatusBadRequest {
			t.Errorf("POST /v1/keys with %s: %d %s", bad, status, body)
		}
	}
	for _, path := range []string{"/v1/keys?dry_run=true", "/v1/encrypt?mode=GCM"} {
		if status, body := post(t, s, path, `{"type":"symmetric","algorithm":"AES","usage":["encrypt"]}`); status != http.StatusBadRequest || !strings.Contains(body, "query") {
			t.Errorf("POST %s: %d %s", path, status, body)
		}
	}
}

// restCipher is the body and the answer of POST /v1/encrypt and /v1/decrypt.
type restCipher struct {
	KeyID      string `json:"keyId"`
	Format     string `json:"format,omitempty"`
	Mode       string `json:"mode"`
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext []byte `json:"ciphertext,omitempty"`
	IV         []byte `json:"iv,omitempty"`
	Tag        []byte `json:"tag,omitempty"`
	AAD        []byte `json:"aad,omitempty"`
}

// restClient keeps its connection.
func restClient(t *testing.T, s *servertest.Server) *http.Client {
	t.Helper()
	cfg := clientTLS(t, s, "dev")
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 30 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// throughREST returns the answer, or the sentence of a refusal.
func throughREST(t *testing.T, c *http.Client, url string, in restCipher) (out restCipher, refusal string) {
	t.Helper()
	in.Format = "raw"
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		err = json.Unmarshal(b, &out)
	} else {
		var p struct{ Detail string }
		err = json.Unmarshal(b, &p)
		refusal = p.Detail
	}
	if err != nil || (res.StatusCode != http.StatusOK && refusal == "") {
		t.Fatalf("%d %s: %v", res.StatusCode, b, err)
	}
	return out, refusal
}

// said is the sentence of a refusal through KMIP.
func said(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	f, ok := errors.AsType[*kmiptest.Failure](err)
	if !ok || f.Message == "" {
		t.Fatalf("an error without a sentence: %v", err)
	}
	return f.Message
}

// Both doors answer alike, for each class of key, mode, length of data, IV, Tag and
// Additional Data: what one encrypts the other decrypts, and what one refuses the other
// refuses in the same sentence.
func TestDoorsAnswerAlike(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c, rest := dial(t, s, "dev", core.V1_4), restClient(t, s)
	modes := map[string]core.CryptographicParameters{"GCM": {BlockCipherMode: core.BlockCipherModeGCM}, "CTR": {BlockCipherMode: core.BlockCipherModeCTR},
		"CBC": {BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5}}
	for name, m := range map[string]core.Attributes{"C": {}, "X": {sensitive}, "N": {sensitive, locked}, "N, resident": {sensitive, locked, resident}} {
		id := aesKey(t, c, append(m, activeNow)...)
		for mode, p := range modes {
			for _, n := range []int{1, 33} {
				for _, aad := range [][]byte{nil, []byte("bound")} {
					what := fmt.Sprintf("class %s, %s, %d bytes, aad %q", name, mode, n, aad)
					doorsAgree(t, c, rest, s, what, p, restCipher{KeyID: id, Mode: mode, Plaintext: bytes.Repeat([]byte{7}, n), AAD: aad})
				}
			}
		}
	}
}

// doorsAgree compares for one key, mode, length and Additional Data.
func doorsAgree(t *testing.T, c *kmiptest.Client, rest *http.Client, s *servertest.Server, what string, p core.CryptographicParameters, in restCipher) {
	t.Helper()
	sealed, refusal := throughREST(t, rest, "https://"+s.HTTPS+"/v1/encrypt", in)
	e, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(in.KeyID), Parameters: &p, Data: in.Plaintext, AAD: in.AAD})
	mine := operation.EncryptOutput{Data: bytes.Clone(e.Data), IV: bytes.Clone(e.IV), Tag: bytes.Clone(e.Tag)}
	if other := said(t, err); other != refusal {
		t.Errorf("Encrypt with %s: %q through KMIP, %q through REST", what, other, refusal)
		return
	}
	if len(mine.Data) != len(sealed.Ciphertext) || len(mine.IV) != len(sealed.IV) || len(mine.Tag) != len(sealed.Tag) {
		t.Errorf("Encrypt with %s: the lengths are %d, %d, %d through KMIP and %d, %d, %d through REST", what, len(mine.Data), len(mine.IV), len(mine.Tag), len(sealed.Ciphertext), len(sealed.IV), len(sealed.Tag))
	}
	if refusal != "" { // decryption is tried all the same
		mine.Data, sealed.Ciphertext = make([]byte, 16), make([]byte, 32)
	}
	for _, one := range []operation.EncryptOutput{mine, {Data: sealed.Ciphertext, IV: sealed.IV, Tag: sealed.Tag}} {
		for _, iv := range [][]byte{one.IV, nil, []byte("8 bytes "), bytes.Repeat([]byte{9}, 12), bytes.Repeat([]byte{9}, 16), bytes.Repeat([]byte{9}, 80)} {
			for _, tag := range [][]byte{one.Tag, nil, []byte("4444"), bytes.Repeat([]byte{9}, 12), bytes.Repeat([]byte{9}, 16), bytes.Repeat([]byte{9}, 17)} {
				for _, data := range [][]byte{one.Data, append(bytes.Clone(one.Data), 1)} {
					try := restCipher{KeyID: in.KeyID, Mode: in.Mode, Ciphertext: data, IV: iv, Tag: tag, AAD: in.AAD}
					back, refusal := throughREST(t, rest, "https://"+s.HTTPS+"/v1/decrypt", try)
					d, err := kmiptest.Do(c, &kmip.Decrypt, &operation.DecryptInput{ID: core.ID(in.KeyID), Parameters: &p, Data: data, IV: iv, Tag: tag, AAD: in.AAD})
					if other := said(t, err); other != refusal || !bytes.Equal(d.Data, back.Plaintext) {
						t.Errorf("Decrypt with %s, IV of %d, tag of %d: %x %q through KMIP, %x %q through REST", what, len(iv), len(tag), d.Data, other, back.Plaintext, refusal)
					}
					if whole := len(data) == len(one.Data) && bytes.Equal(iv, one.IV) && bytes.Equal(tag, one.Tag); whole && !bytes.Equal(back.Plaintext, in.Plaintext) && refusal == "" {
						t.Errorf("Decrypt with %s: %x comes back", what, back.Plaintext)
					}
				}
			}
		}
	}
}

var truth = true

// cut splits data at random places into one part or more, some of them empty.
func cut(r *rand.Rand, data []byte) [][]byte {
	at := []int{0, len(data)}
	for range 1 + r.IntN(5) {
		at = append(at, r.IntN(len(data)+1))
	}
	slices.Sort(at)
	var parts [][]byte
	for i := range at[1:] {
		parts = append(parts, data[at[i]:at[i+1]])
	}
	return parts
}

// send sends data part by part by one's own operation and joins the answers.
func send(parts [][]byte, one func(data, correlation []byte, first, last *bool) (out, next []byte, err error)) (all []byte, err error) {
	var correlation []byte
	for i, p := range parts {
		var first, last *bool
		if i == 0 {
			first = &truth
		}
		if i == len(parts)-1 {
			last = &truth
		}
		out, next, err := one(p, correlation, first, last)
		if err != nil {
			return nil, fmt.Errorf("part %d of %d: %w", i+1, len(parts), err)
		}
		if (next == nil) != (last != nil) || (correlation != nil && next != nil && !bytes.Equal(next, correlation)) {
			return nil, fmt.Errorf("part %d of %d: Correlation Value %x after %x", i+1, len(parts), next, correlation)
		}
		correlation, all = bytes.Clone(next), append(all, out...)
	}
	return all, nil
}

// Whatever the parts, the outcome is that of the whole: for every class of
// key, every mode, and data of every length up to a few blocks.
func TestPartsMakeTheWhole(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	r := rand.New(rand.NewPCG(1, 2))
	type mode struct {
		name string
		p    core.CryptographicParameters
		iv   int
		step int // data in multiples of it
	}
	modes := []mode{
		{"CBC padded", core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5}, 16, 1},
		{"CBC", core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC}, 16, 16},
		{"ECB padded", core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB, PaddingMethod: core.PaddingMethodPKCS5}, 0, 1},
		{"CTR", core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCTR}, 16, 1},
		{"GCM", core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}, 12, 1},
	}
	for _, class := range []struct {
		name                   string
		sensitive, extractable bool
	}{{"C", false, true}, {"X", true, true}, {"N", true, false}} {
		id := aesKey(t, c, activeNow, core.Attribute{Tag: core.TagSensitive, Value: core.Bool(class.sensitive)}, core.Attribute{Tag: core.TagExtractable, Value: core.Bool(class.extractable)})
		for _, m := range modes {
			for range 12 {
				data, iv := make([]byte, m.step*(1+r.IntN(80/m.step+1))), make([]byte, m.iv)
				for i := range data {
					data[i] = byte(r.Uint32())
				}
				for i := range iv {
					iv[i] = byte(0xf0 + r.IntN(16)) // counters that run over
				}
				if m.iv == 0 {
					iv = nil
				}
				whole, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Parameters: &m.p, Data: data, IV: iv})
				if err != nil {
					t.Fatalf("%s %s: %v", class.name, m.name, err)
				}
				whole.Data, whole.Tag = bytes.Clone(whole.Data), bytes.Clone(whole.Tag) // the client's buffer is used again
				var tag []byte
				parts := cut(r, data)
				got, err := send(parts, func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
					in := operation.EncryptInput{ID: core.ID(id), Data: data, Correlation: correlation, Init: first, Final: last}
					if first != nil {
						in.Parameters, in.IV = &m.p, iv
					}
					out, err := kmiptest.Do(c, &kmip.Encrypt, &in)
					tag = bytes.Clone(out.Tag)
					return out.Data, out.Correlation, err
				})
				if err != nil || !bytes.Equal(got, whole.Data) || !bytes.Equal(tag, whole.Tag) {
					t.Fatalf("%s %s, Encrypt of %d bytes in %d parts: %v\ngot  %x %x\nwant %x %x", class.name, m.name, len(data), len(parts), err, got, tag, whole.Data, whole.Tag)
				}
				back, err := send(cut(r, whole.Data), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
					in := operation.DecryptInput{ID: core.ID(id), Data: data, Correlation: correlation, Init: first, Final: last}
					if first != nil {
						in.Parameters, in.IV, in.Tag = &m.p, iv, whole.Tag
					}
					out, err := kmiptest.Do(c, &kmip.Decrypt, &in)
					return out.Data, out.Correlation, err
				})
				if err != nil || !bytes.Equal(back, data) {
					t.Fatalf("%s %s, Decrypt of %d bytes: %v\ngot  %x\nwant %x", class.name, m.name, len(data), err, back, data)
				}
			}
		}
	}
}

// What answers at the end answers as for the whole.
func TestPartsOfMACHashAndSignature(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V2_1)
	r := rand.New(rand.NewPCG(3, 4))
	data := bytes.Repeat([]byte("in parts "), 50)
	hmac := &core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmHMACSHA256}
	made, err := kmiptest.Do(c, &kmip.Create, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: core.Attributes{activeNow,
		{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmHMACSHA256)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)},
		{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskMACGenerate | core.MaskMACVerify)}}})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := kmiptest.Do(c, &kmip.MAC, &operation.MACInput{ID: core.ID(made.ID), Parameters: hmac, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	whole.MAC = bytes.Clone(whole.MAC)
	mac, err := send(cut(r, data), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
		out, err := kmiptest.Do(c, &kmip.MAC, &operation.MACInput{ID: core.ID(made.ID), Parameters: hmac, Data: data, Correlation: correlation, Init: first, Final: last})
		return out.MAC, out.Correlation, err
	})
	if err != nil || !bytes.Equal(mac, whole.MAC) {
		t.Errorf("MAC: %x, %v; want %x", mac, err, whole.MAC)
	}
	sum := &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}
	digest, err := kmiptest.Do(c, &kmip.Hash, &operation.HashInput{Parameters: sum, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	digest.Data = bytes.Clone(digest.Data)
	hashed, err := send(cut(r, data), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
		out, err := kmiptest.Do(c, &kmip.Hash, &operation.HashInput{Parameters: sum, Data: data, Correlation: correlation, Init: first, Final: last})
		return out.Data, out.Correlation, err
	})
	if err != nil || !bytes.Equal(hashed, digest.Data) {
		t.Errorf("Hash: %x, %v; want %x", hashed, err, digest.Data)
	}
	pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{
		Common:  core.Attributes{activeNow, {Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}},
		Public:  core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := send(cut(r, data), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
		out, err := kmiptest.Do(c, &kmip.Sign, &operation.SignInput{ID: core.ID(pair.PrivateID), Data: data, Correlation: correlation, Init: first, Final: last})
		return out.Signature, out.Correlation, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]core.ValidityIndicator{"in parts ": core.ValidityIndicatorValid, "forged": core.ValidityIndicatorInvalid} {
		var got core.ValidityIndicator
		_, err := send(cut(r, bytes.Repeat([]byte(what), 50)), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
			in := operation.SignatureVerifyInput{ID: core.ID(pair.PublicID), Data: data, Correlation: correlation, Init: first, Final: last}
			if last != nil {
				in.Signature = signature
			}
			out, err := kmiptest.Do(c, &kmip.SignatureVerify, &in)
			if last == nil && out.Validity != 0 {
				t.Errorf("a part is answered %v", out.Validity)
			}
			got = out.Validity
			return nil, out.Correlation, err
		})
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", what, got, err, want)
		}
	}
}

// A stream is its owner's, for one object and operation, and ends with what
// forbids it.
func TestPartsAreRefused(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		c, other := dial(t, s, "dev", v), dial(t, s, "dev2", v)
		id, id2 := aesKey(t, c, activeNow), aesKey(t, c, activeNow)
		unknown, state := core.ReasonItemNotFound, core.ReasonPermissionDenied
		if v >= core.V2_0 {
			unknown, state = core.ReasonInvalidCorrelationValue, core.ReasonWrongKeyLifecycleState
		}
		ctr := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCTR}
		begin := func(id string) []byte {
			t.Helper()
			out, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Parameters: ctr, Data: []byte("one"), IV: make([]byte, 16), Init: &truth})
			if err != nil || out.Correlation == nil {
				t.Fatal(out, err)
			}
			return bytes.Clone(out.Correlation)
		}
		next := func(c *kmiptest.Client, in operation.EncryptInput) core.ResultReason {
			in.Data = []byte("two")
			_, err := kmiptest.Do(c, &kmip.Encrypt, &in)
			return kmiptest.Reason(err)
		}
		for what, try := range map[string]struct {
			got, want core.ResultReason
		}{
			"an invented value":           {next(c, operation.EncryptInput{ID: core.ID(id), Correlation: make([]byte, 16)}), unknown},
			"an empty value":              {next(c, operation.EncryptInput{ID: core.ID(id), Correlation: []byte{}}), unknown},
			"another of the group":        {next(other, operation.EncryptInput{ID: core.ID(id), Correlation: begin(id)}), unknown},
			"another object":              {next(c, operation.EncryptInput{ID: core.ID(id2), Correlation: begin(id)}), core.ReasonInvalidField},
			"another mode":                {next(c, operation.EncryptInput{ID: core.ID(id), Correlation: begin(id), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC}}), core.ReasonInvalidField},
			"another IV":                  {next(c, operation.EncryptInput{ID: core.ID(id), Correlation: begin(id), IV: []byte("0123456789abcdef")}), core.ReasonInvalidField},
			"the first part with a value": {next(c, operation.EncryptInput{ID: core.ID(id), Correlation: begin(id), Init: &truth}), core.ReasonInvalidField},
			"the last part without":       {next(c, operation.EncryptInput{ID: core.ID(id), Parameters: ctr, Final: &truth}), core.ReasonInvalidField},
		} {
			if try.got != try.want {
				t.Errorf("KMIP %v, %s: %v; want %v", v, what, try.got, try.want)
			}
		}
		if _, err := kmiptest.Do(c, &kmip.Decrypt, &operation.DecryptInput{ID: core.ID(id), Correlation: begin(id), Data: []byte("x")}); kmiptest.Reason(err) != unknown {
			t.Errorf("KMIP %v, another operation: %v", v, err)
		}
		// On another connection of the same principal the stream goes on.
		open, again := begin(id), dial(t, s, "dev", v)
		if r := next(again, operation.EncryptInput{ID: core.ID(id), Correlation: open}); r != 0 {
			t.Errorf("KMIP %v, on another connection: %v", v, r)
		}
		if _, err := kmiptest.Do(c, &kmip.Revoke, &operation.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
			t.Fatal(err)
		}
		if r := next(c, operation.EncryptInput{ID: core.ID(id), Correlation: open}); r != state {
			t.Errorf("KMIP %v, a key revoked between two parts: %v", v, r)
		}
		if r := next(c, operation.EncryptInput{ID: core.ID(id), Correlation: open}); r != unknown {
			t.Errorf("KMIP %v, after a part that failed: %v", v, r)
		}
	}
}
