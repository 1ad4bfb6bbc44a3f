package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/keys/keystest"
	"github.com/keyreeve/keyreeve/keys/soft"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// material is a key as a client has it: how it travels and what of it is secret.
type material struct {
	name    string
	kind    core.ObjectType
	block   core.KeyBlock
	mask    core.UsageMask
	secrets map[string][]byte
	public  any             // what its signatures are verified with
	more    core.Attributes // asked for besides
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func whole(b []byte) map[string][]byte { return map[string][]byte{"value": b} }

func symmetric(name string, alg core.CryptographicAlgorithm, mask core.UsageMask, b []byte) material {
	return material{name: name, kind: core.ObjectTypeSymmetricKey, mask: mask, secrets: whole(b),
		block: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: b, Algorithm: alg, Length: int32(8 * len(b))}}
}

// unsigned is a positive Big Integer.
func unsigned(b []byte) core.Value { return core.BigInt(append([]byte{0}, b...)) }

func rsaKey(t *testing.T) (*rsa.PrivateKey, map[string][]byte) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(k.Primes[0], one), new(big.Int).Sub(k.Primes[1], one))
	secrets := map[string][]byte{"d": k.D.Bytes(), "p": k.Primes[0].Bytes(), "q": k.Primes[1].Bytes(), "dp": k.Precomputed.Dp.Bytes(),
		"dq": k.Precomputed.Dq.Bytes(), "qinv": k.Precomputed.Qinv.Bytes(), "d by phi": new(big.Int).ModInverse(big.NewInt(int64(k.E)), phi).Bytes()}
	return k, secrets
}

func rsaMaterial(t *testing.T, name string, block func(*rsa.PrivateKey) core.KeyBlock) material {
	t.Helper()
	k, secrets := rsaKey(t)
	return material{name: name, kind: core.ObjectTypePrivateKey, mask: core.MaskSign, block: block(k), secrets: secrets, public: &k.PublicKey}
}

func pkcs8(k any) core.KeyBlock {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return core.KeyBlock{Format: core.KeyFormatTypePKCS8, Material: der}
}

func transparentRSA(k *rsa.PrivateKey) core.KeyBlock {
	return core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPrivateKey, Transparent: []core.Field{
		{Tag: core.TagModulus, Value: unsigned(k.N.Bytes())}, {Tag: core.TagPrivateExponent, Value: unsigned(k.D.Bytes())},
		{Tag: core.TagPublicExponent, Value: core.BigInt([]byte{1, 0, 1})}, {Tag: core.TagP, Value: unsigned(k.Primes[0].Bytes())},
		{Tag: core.TagQ, Value: unsigned(k.Primes[1].Bytes())}, {Tag: core.TagPrimeExponentP, Value: unsigned(k.Precomputed.Dp.Bytes())},
		{Tag: core.TagPrimeExponentQ, Value: unsigned(k.Precomputed.Dq.Bytes())}, {Tag: core.TagCRTCoefficient, Value: unsigned(k.Precomputed.Qinv.Bytes())}}}
}

// partialRSA is a Transparent RSA Private Key of its Modulus, its Public Exponent and
// some other numbers; the server computes the rest.
func partialRSA(keep ...core.Tag) func(*rsa.PrivateKey) core.KeyBlock {
	return func(k *rsa.PrivateKey) core.KeyBlock {
		kb := transparentRSA(k)
		kb.Transparent = slices.DeleteFunc(kb.Transparent, func(f core.Field) bool {
			return f.Tag != core.TagModulus && f.Tag != core.TagPublicExponent && !slices.Contains(keep, f.Tag)
		})
		return kb
	}
}

func ecMaterial(t *testing.T, name string, block func(*ecdsa.PrivateKey) core.KeyBlock) material {
	t.Helper()
	k := keystest.ECKey(t, elliptic.P256())
	d, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return material{name: name, kind: core.ObjectTypePrivateKey, mask: core.MaskSign, block: block(k), secrets: map[string][]byte{"d": d}, public: &k.PublicKey}
}

// materials are keys of every kind that Register takes for classes N and X,
// fresh each time.
func materials(t *testing.T) []material {
	t.Helper()
	password := []byte(hex.EncodeToString(random(24)))
	return []material{
		symmetric("AES-256", core.AlgorithmAES, core.MaskEncrypt, random(32)),
		symmetric("HMAC-SHA256", core.AlgorithmHMACSHA256, core.MaskMACGenerate, random(32)),
		symmetric("HMAC-SHA256 of 20 bytes", core.AlgorithmHMACSHA256, core.MaskMACGenerate, random(20)),
		{name: "password", kind: core.ObjectTypeSecretData, block: core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: password}, secrets: whole(password)},
		rsaMaterial(t, "RSA in PKCS_1", func(k *rsa.PrivateKey) core.KeyBlock {
			return core.KeyBlock{Format: core.KeyFormatTypePKCS1, Material: x509.MarshalPKCS1PrivateKey(k)}
		}),
		rsaMaterial(t, "RSA in PKCS_8", func(k *rsa.PrivateKey) core.KeyBlock { return pkcs8(k) }),
		rsaMaterial(t, "Transparent RSA", transparentRSA),
		rsaMaterial(t, "Transparent RSA of N, d, e", partialRSA(core.TagPrivateExponent)),
		rsaMaterial(t, "Transparent RSA of N, P, Q, e", partialRSA(core.TagP, core.TagQ)),
		ecMaterial(t, "P-256 in SEC1", func(k *ecdsa.PrivateKey) core.KeyBlock {
			der, err := x509.MarshalECPrivateKey(k)
			if err != nil {
				t.Fatal(err)
			}
			return core.KeyBlock{Format: core.KeyFormatTypeECPrivateKey, Material: der}
		}),
		ecMaterial(t, "P-256 in PKCS_8", func(k *ecdsa.PrivateKey) core.KeyBlock { return pkcs8(k) }),
		ecMaterial(t, "Transparent P-256", func(k *ecdsa.PrivateKey) core.KeyBlock {
			d, _ := k.Bytes()
			return core.KeyBlock{Format: core.KeyFormatTypeTransparentECPrivateKey, Transparent: []core.Field{
				{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}, {Tag: core.TagD, Value: unsigned(d)}}}
		}),
	}
}

// residents are keys that become objects of the token, of which Ed25519 keys of
// these classes cannot be anything else.
func residents(t *testing.T) (all []material) {
	t.Helper()
	for _, m := range materials(t) {
		if m.name == "AES-256" || strings.HasSuffix(m.name, "in PKCS_8") {
			m.name += ", resident"
			m.more = core.Attributes{resident}
			all = append(all, m)
		}
	}
	k := keystest.Ed25519Key(t)
	return append(all, material{name: "Ed25519 in PKCS_8", kind: core.ObjectTypePrivateKey, mask: core.MaskSign, block: pkcs8(k),
		secrets: map[string][]byte{"seed": k.Seed()}, public: k.Public()})
}

// registration asks for a key in a class.
func (m material) registration(class core.Class, more ...core.Attribute) *operation.RegisterInput {
	as := core.Attributes{{Tag: core.TagSensitive, Value: core.Bool(class != core.ClassC)}, {Tag: core.TagExtractable, Value: core.Bool(class != core.ClassN)}, activeNow}
	if m.mask != 0 {
		as = append(as, core.Attribute{Tag: core.TagCryptographicUsageMask, Value: core.Mask(m.mask)})
	}
	return &operation.RegisterInput{ObjectType: m.kind, Attributes: append(append(as, m.more...), more...),
		Object: core.ObjectBody{Type: m.kind, SecretDataType: core.SecretDataTypePassword, KeyBlock: m.block}}
}

// use works with a registered key as its mask allows.
func (m material) use(t *testing.T, c *kmiptest.Client, id string) {
	t.Helper()
	data := random(100)
	var err error
	switch {
	case m.mask == core.MaskEncrypt:
		_, err = kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}, Data: data})
	case m.mask == core.MaskMACGenerate:
		_, err = kmiptest.Do(c, &kmip.MAC, &operation.MACInput{ID: core.ID(id), Data: data})
	case m.mask == core.MaskSign:
		in := operation.SignInput{ID: core.ID(id), Data: data}
		switch m.public.(type) {
		case *rsa.PublicKey:
			in.Parameters = &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256, PaddingMethod: core.PaddingMethodPKCS1V1_5}
		case *ecdsa.PublicKey:
			in.Parameters = &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}
		}
		var out operation.SignOutput
		out, err = kmiptest.Do(c, &kmip.Sign, &in)
		sum := sha256.Sum256(data)
		switch pub := m.public.(type) {
		case *rsa.PublicKey:
			if err == nil && rsa.VerifyPKCS1v15(pub, 5, sum[:], out.Signature) != nil {
				t.Errorf("%s: the signature is wrong", m.name)
			}
		case *ecdsa.PublicKey:
			if err == nil && !ecdsa.VerifyASN1(pub, sum[:], out.Signature) {
				t.Errorf("%s: the signature is wrong", m.name)
			}
		case ed25519.PublicKey:
			if err == nil && !ed25519.Verify(pub, data, out.Signature) {
				t.Errorf("%s: the signature is wrong", m.name)
			}
		}
	}
	if err != nil {
		t.Errorf("%s: %v", m.name, err)
	}
}

// watch adds a key's secrets to what is looked for.
func (m material) watch(n *needles, prefix string) {
	for part, b := range m.secrets {
		n.add(prefix+" "+m.name+", "+part, b)
	}
}

// wrapOut gets a class X key under another, in both Encoding Options.
func wrapOut(t *testing.T, c *kmiptest.Client, m material, id, kek string) {
	t.Helper()
	for _, e := range []core.EncodingOption{core.EncodingOptionNoEncoding, core.EncodingOptionTTLVEncoding} {
		if e == core.EncodingOptionNoEncoding && m.kind != core.ObjectTypePrivateKey && len(m.block.Material)%8 != 0 {
			continue // NIST key wrap does not carry it
		}
		_, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
			Encoding: e, Encryption: &core.WrappingKeyInfo{ID: kek}}})
		if err != nil && kmiptest.Reason(err) != core.ReasonEncodingOptionError {
			t.Errorf("%s, wrapped with %v: %v", m.name, e, err)
		}
	}
}

// No byte of a key of class N or X is in clear in any file that the server
// writes, nor in its memory while no operation is under way: whatever the key,
// however it came, whether it was taken or refused, with every connection that
// brought it still open. Memory is searched after each key, before others use
// the room that it had. It needs to read another process' memory, which the
// server forbids to all but root.
//
// One thing is left out, by having the Go runtime preempt nobody by signals: when a
// signal interrupts a thread that copies a key, the kernel saves the thread's
// vector registers on its signal stack, where they lie until the next one (found
// there about once in 300 keys on a busy machine; docs/decisions/0006).
func TestNoKeyByteInTheServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the server's memory can be read by root alone: run this test as root")
	}
	t.Parallel()
	s := servertest.Start(t, "GODEBUG=asyncpreemptoff=1")
	if out, err := s.Command("cert", "issue", "--dir", s.Dir, "--name", "auditor", "--role", "auditor"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := search{t: t, s: s, needles: newNeedles(), found: map[string]int{}}
	c := dial(t, s, "dev", core.V1_4)
	kek, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskWrapKey|core.MaskUnwrapKey, activeNow))
	if err != nil {
		t.Fatal(err)
	}
	found.controls(c)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		for _, class := range []core.Class{core.ClassN, core.ClassX} {
			for _, m := range append(materials(t), residents(t)...) {
				c := dial(t, s, "dev", v) // a connection each, all left open
				prefix := fmt.Sprintf("class %s, KMIP %v", class, v)
				m.watch(found.needles, prefix)
				out, err := kmiptest.Do(c, &kmip.Register, m.registration(class))
				if err != nil {
					t.Errorf("%s %s: %v", prefix, m.name, err)
					continue
				}
				m.use(t, c, out.ID)
				if class == core.ClassX && m.more == nil && m.name != "Ed25519 in PKCS_8" {
					wrapOut(t, c, m, out.ID, kek.ID)
				}
				found.inMemory(written)
			}
		}
	}
	found.tightened(c)
	found.derived(c)
	found.unwrapped(c, kek.ID)
	found.refused()
	found.inMemory(anywhere)
	found.inFiles()
	metrics := restRaw(t, s, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	found.in([]byte(metrics), "in metrics")
	if !strings.Contains(metrics, "keyreeve_") {
		t.Errorf("no metrics but %q", metrics)
	}
	for _, must := range []string{"control in memory", "control in a file", "class C control, value in memory"} {
		if found.found[must] == 0 {
			t.Errorf("%s: not found, so the search finds nothing", must)
		}
	}
	for what, times := range found.found {
		if !allowed(what) {
			t.Errorf("%s: %d times", what, times)
		}
	}
}

// search looks for needles in a server.
type search struct {
	t       *testing.T
	s       *servertest.Server
	needles *needles
	found   map[string]int // by secret and place
	control string         // id of the class C control
}

// controls makes what must be found: a name, in memory and in the database, and
// a class C key that was just got, in memory alone.
func (f *search) controls(c *kmiptest.Client) {
	f.t.Helper()
	name := "control " + hex.EncodeToString(random(16))
	f.needles.add("control", []byte(name))
	key := symmetric("control", core.AlgorithmAES, core.MaskEncrypt, random(32))
	key.watch(f.needles, "class C")
	made, err := kmiptest.Do(c, &kmip.Register, key.registration(core.ClassC, kmiptest.Name(name)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.control = made.ID
	f.getInClear(c, f.control)
	f.inMemory(written)
}

// derived derives keys, of which the server has the bytes until the HSM has them.
func (f *search) derived(c *kmiptest.Client) {
	f.t.Helper()
	for _, class := range []core.Class{core.ClassN, core.ClassX} {
		for _, by := range []core.Derivation{
			{Method: core.DerivationMethodHMAC, PRF: core.AlgorithmHMACSHA512, Data: []byte("label")},
			{Method: core.DerivationMethodNIST800_108DPI, PRF: core.AlgorithmHMACSHA256, Data: []byte("label")},
			{Method: core.DerivationMethodENCRYPT, Data: random(64), Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}},
		} {
			base := symmetric("base of "+by.Method.String(), core.AlgorithmAES, core.MaskDeriveKey, random(32))
			parameters := by.Parameters
			if by.PRF != 0 {
				base = symmetric("base of "+by.Method.String(), by.PRF, core.MaskDeriveKey, random(64))
				parameters = core.CryptographicParameters{CryptographicAlgorithm: by.PRF}
			}
			value := make([]byte, 64)
			if err := soft.DeriveKey(f.t.Context(), base.block.Material, &by, value); err != nil {
				f.t.Fatal(err)
			}
			key := symmetric("key by "+by.Method.String(), core.AlgorithmHMACSHA256, core.MaskMACGenerate, value)
			base.watch(f.needles, "class "+string(class))
			key.watch(f.needles, "class "+string(class))
			made, err := kmiptest.Do(c, &kmip.Register, base.registration(class))
			if err != nil {
				f.t.Fatal(err)
			}
			out, err := kmiptest.Do(c, &kmip.DeriveKey, &operation.DeriveKeyInput{ObjectType: core.ObjectTypeSymmetricKey, IDs: []core.Identifier{core.ID(made.ID)}, Method: by.Method,
				Parameters: operation.DerivationParameters{Parameters: &parameters, Data: [][]byte{by.Data}}, Attributes: append(key.registration(class).Attributes,
					core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmHMACSHA256)}, core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(512)})})
			if err != nil {
				f.t.Errorf("class %s, %s: %v", class, key.name, err)
				continue
			}
			key.use(f.t, c, out.ID)
			f.inMemory(written)
		}
	}
}

// tightened makes keys stricter that have been got in clear.
func (f *search) tightened(c *kmiptest.Client) {
	f.t.Helper()
	for _, tag := range []core.Tag{core.TagExtractable, core.TagSensitive} {
		m := symmetric("AES-256", core.AlgorithmAES, core.MaskEncrypt, random(32))
		id := f.ofClassC(c, m)
		f.getInClear(c, id)
		if _, err := kmiptest.Do(c, &kmip.ModifyAttribute, &operation.ModifyAttributeInput{ID: core.ID(id), Name: core.AttributeName{Tag: tag},
			New: core.Attribute{Tag: tag, Value: core.Bool(tag == core.TagSensitive)}}); err != nil {
			f.t.Errorf("%v changed: %v", tag, err)
		}
		f.answersOfOthers(c, m)
		m.watch(f.needles, "made stricter by "+tag.String()+":")
		f.inMemory(written)
	}
}

// unwrapped registers keys that come wrapped.
func (f *search) unwrapped(c *kmiptest.Client, kek string) {
	f.t.Helper()
	wrapping := core.WrappingKeyInfo{ID: kek}
	for _, class := range []core.Class{core.ClassN, core.ClassX} {
		for _, m := range materials(f.t) {
			if m.block.Algorithm != core.AlgorithmAES { // HMAC keys are kept, and wrapped, filled up
				continue
			}
			id := f.ofClassC(c, m)
			out, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{
				Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &wrapping}})
			if err != nil {
				f.t.Errorf("%s: %v", m.name, err)
				continue
			}
			m.block.Material, m.block.Wrapped = nil, bytes.Clone(out.Object.KeyBlock.Wrapped)
			m.block.Wrapping = &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &wrapping}
			if _, err := kmiptest.Do(c, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(id)}); err != nil {
				f.t.Errorf("%s: %v", m.name, err)
			}
			made, err := kmiptest.Do(c, &kmip.Register, m.registration(class))
			if err != nil {
				f.t.Errorf("%s, wrapped, class %s: %v", m.name, class, err)
				continue
			}
			m.use(f.t, c, made.ID)
			m.watch(f.needles, fmt.Sprintf("class %s, wrapped:", class))
			f.inMemory(written)
		}
	}
}

// ofClassC registers a class C key that is not active.
func (f *search) ofClassC(c *kmiptest.Client, m material) string {
	f.t.Helper()
	in := m.registration(core.ClassC)
	in.Attributes = in.Attributes.Without(core.AttributeName{Tag: core.TagActivationDate})
	made, err := kmiptest.Do(c, &kmip.Register, in)
	if err != nil {
		f.t.Errorf("%s: %v", m.name, err)
	}
	return made.ID
}

// getInClear gets a key in clear. crypto/tls can leave the answer in a buffer that was
// too small, until the room is used again: see decision 6. answersOfOthers uses it.
func (f *search) getInClear(c *kmiptest.Client, id string) {
	f.t.Helper()
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
		f.t.Errorf("Get: %v", err)
	}
}

// answersOfOthers gets the class C control, which may be found, so often that the
// server collects its garbage and uses the room of earlier answers again. When a
// certain room is used again is for the runtime to say, so it goes on, up to ten
// times, until m is not found. A copy that the server keeps is there for longer.
func (f *search) answersOfOthers(c *kmiptest.Client, m material) {
	f.t.Helper()
	for range 10 {
		for range 2000 {
			f.getInClear(c, f.control)
		}
		left := search{t: f.t, s: f.s, needles: newNeedles(), found: map[string]int{}}
		m.watch(left.needles, "so far,")
		if left.inMemory(written); len(left.found) == 0 {
			return
		}
	}
}

// refused sends keys that are not taken, each for another reason.
func (f *search) refused() {
	t := f.t
	t.Helper()
	send := func(why, as string, m material, in *operation.RegisterInput, spoil func(msg []byte) []byte) {
		t.Helper()
		m.watch(f.needles, "refused, "+why+":")
		c := dial(t, f.s, as, core.V1_4)
		msg, err := kmip.AppendRequest(nil, c.Version, c.Options, kmiptest.Item(&kmip.Register, in))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Send(spoil(msg))
		if err != nil {
			t.Errorf("%s: %v", why, err)
			return
		}
		f.in(answer, "in an answer")
		r, err := kmip.ParseResponse(answer)
		if err != nil || len(r.Items) != 1 || r.Items[0].Status != core.StatusOperationFailed {
			t.Errorf("%s, %s: %+v, %v; it should be refused", why, m.name, r, err)
		}
	}
	asItIs := func(msg []byte) []byte { return msg }
	for _, m := range materials(t) {
		send("denied by the policy", "auditor", m, m.registration(core.ClassN), asItIs)
	}
	f.inMemory(written)
	for _, m := range materials(t) {
		if m.kind != core.ObjectTypeSecretData {
			send("wrong length", "dev", m, m.registration(core.ClassN, core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(72)}), asItIs)
		}
	}
	f.inMemory(written)
	for _, m := range materials(t) {
		if m.kind != core.ObjectTypeSecretData {
			send("wrong algorithm", "dev", m, m.registration(core.ClassX, core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmBlowfish)}), asItIs)
		}
	}
	f.inMemory(written)
	for _, m := range materials(t) {
		send("dates that contradict", "dev", m, m.registration(core.ClassN, core.Attribute{Tag: core.TagDeactivationDate, Value: core.Date(0)}), asItIs)
	}
	f.inMemory(written)
	for _, m := range materials(t) {
		send("malformed behind the key", "dev", m, m.registration(core.ClassN), func(msg []byte) []byte {
			at := bytes.Index(msg, []byte{0x42, 0x00, 0x43}) // the Key Block's Key Material: a type that there is not
			msg[at+3] = 0x7f
			return msg
		})
	}
	f.inMemory(written)
	for _, m := range materials(t) {
		send("cut off", "dev", m, m.registration(core.ClassN), func(msg []byte) []byte { // a shorter message of the same content
			msg = msg[:len(msg)-16]
			msg[6], msg[7] = byte((len(msg)-8)>>8), byte(len(msg)-8)
			return msg
		})
	}
	f.inMemory(written)
	odd := symmetric("AES of 21 bytes", core.AlgorithmAES, core.MaskEncrypt, random(21))
	send("no length that can be kept", "dev", odd, odd.registration(core.ClassN), asItIs)
	k, secrets := rsaKey(t)
	other, _ := rsaKey(t)
	mixed := material{name: "RSA of two keys", kind: core.ObjectTypePrivateKey, mask: core.MaskSign, secrets: secrets, block: transparentRSA(k)}
	mixed.block.Transparent[0].Value = unsigned(other.N.Bytes())
	send("no one key", "dev", mixed, mixed.registration(core.ClassN), asItIs)
	f.inMemory(written)
}

// in searches what the server gave out.
func (f *search) in(b []byte, where string) {
	f.needles.in(append(bytes.Clone(b), make([]byte, longestPattern)...), func(p pattern, at int) {
		if f.found[p.name+" "+where]++; f.found[p.name+" "+where] == 1 {
			f.t.Logf("%s: %s %s, before %q", p.name, p.form, where, b[:at][max(0, at-40):])
		}
	})
}

// inFiles searches every file that the server has written.
func (f *search) inFiles() {
	f.t.Helper()
	files := 0
	err := filepath.WalkDir(f.s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		f.in(b, "in a file")
		return err
	})
	if err != nil || files < 10 {
		f.t.Errorf("%d files were searched: %v", files, err)
	}
}

// A message is zeroed right after its answer: settle is how long that takes as a
// rule, unsettled how long it may take where the machine has other things to do.
const (
	settle    = 20 * time.Millisecond
	unsettled = time.Second
)

func anywhere(mapping) bool  { return true }
func written(m mapping) bool { return m.writable }

// inMemory searches the server's memory: what it can write, or any that can be
// read. What is found must be there for longer than a request takes to end.
func (f *search) inMemory(which func(mapping) bool) {
	f.t.Helper()
	time.Sleep(settle)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", f.s.PID()))
	if err != nil {
		f.t.Fatal(err)
	}
	defer mem.Close()
	type hit struct {
		pattern
		at int64
		in string
	}
	var hits []hit
	for _, m := range readable(f.t, f.s.PID()) {
		if which(m) {
			f.needles.inFile(mem, m.from, m.to, func(p pattern, at int64) { hits = append(hits, hit{p, at, m.what}) })
		}
	}
	if slices.ContainsFunc(hits, func(h hit) bool { return !allowed(h.name + " in memory") }) {
		time.Sleep(unsettled)
	}
	for _, h := range hits {
		still := make([]byte, len(h.bytes))
		if mem.ReadAt(still, h.at); !bytes.Equal(still, h.bytes) {
			continue
		}
		if f.found[h.name+" in memory"]++; f.found[h.name+" in memory"] == 1 {
			f.t.Logf("%s: %s at %x of %q", h.name, h.form, h.at, h.in)
		}
	}
}

// allowed is what may be found: the controls, where they are to be.
func allowed(what string) bool {
	return strings.HasPrefix(what, "control") || what == "class C control, value in memory"
}

// No core is written, whatever the limits that the server was started with and
// however it ends.
func TestNoCoreDump(t *testing.T) {
	t.Parallel()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: before.Max, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(unix.RLIMIT_CORE, &before) })
	s := servertest.Start(t, "GOTRACEBACK=crash")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", s.PID()))
	if err != nil {
		t.Skip("limits are read from /proc, on Linux alone")
	}
	if !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("cores may be written:\n%s", limits)
	}
	// Users other than root can read nothing of a process that is not dumpable.
	info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; os.Geteuid() != 0 && owner != 0 {
		t.Errorf("its memory belongs to user %d, so it is dumpable", owner)
	}
	s.Signal(syscall.SIGABRT)
	err = s.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).CoreDump() {
		t.Errorf("after SIGABRT: %v", err)
	}
}

// needles finds known secrets in files and in memory, in every form in which a
// program could keep them. A secret is looked for in pieces of pieceBytes, so
// that a part of a copy is found too.
type needles struct {
	byStart map[uint32][]pattern
	maybe   [1 << 18]uint64 // a bit for each 24-bit start, since most bytes start nothing
}

// pattern is one form of one piece of a secret.
type pattern struct {
	name  string // of the secret
	form  string
	bytes []byte
}

const pieceBytes = 16

// longestPattern is that of hexadecimal.
const longestPattern = 2 * pieceBytes

func newNeedles() *needles { return &needles{byStart: map[uint32][]pattern{}} }

// add looks for a secret as it is, and turned round: math/big keeps numbers with
// their last byte first.
func (n *needles) add(name string, secret []byte) {
	turned := bytes.Clone(secret)
	slices.Reverse(turned)
	n.pieces(name, "", secret)
	n.pieces(name, "turned ", turned)
}

func (n *needles) pieces(name, form string, secret []byte) {
	for at := 0; at+pieceBytes <= len(secret); at += pieceBytes {
		p := secret[at : at+pieceBytes]
		n.pattern(name, form+"raw", p)
		n.pattern(name, form+"hex", []byte(hex.EncodeToString(p)))
		n.pattern(name, form+"HEX", []byte(strings.ToUpper(hex.EncodeToString(p))))
		for shift := range 3 {
			// What the bytes before and behind the piece do not change.
			from, to := (shift*8+5)/6, (shift+pieceBytes)*8/6
			b := append(make([]byte, shift), p...)
			n.pattern(name, form+"base64", []byte(base64.StdEncoding.EncodeToString(b))[from:to])
			n.pattern(name, form+"base64url", []byte(base64.URLEncoding.EncodeToString(b))[from:to])
		}
	}
}

func (n *needles) pattern(name, form string, b []byte) {
	start := binary.LittleEndian.Uint32(b)
	n.maybe[start&0xffffff>>6] |= 1 << (start & 63)
	n.byStart[start] = append(n.byStart[start], pattern{name, form, b})
}

var zeroPage [4096]byte

// in calls hit for every pattern in b.
func (n *needles) in(b []byte, hit func(p pattern, at int)) {
	for i := 0; i+longestPattern/2 <= len(b); i++ {
		if i%len(zeroPage) == 0 && bytes.HasPrefix(b[i:], zeroPage[:]) {
			i += len(zeroPage) - longestPattern // most of a heap is empty
		}
		start := uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16
		if n.maybe[start>>6]&(1<<(start&63)) == 0 {
			continue
		}
		for _, p := range n.byStart[start|uint32(b[i+3])<<24] {
			if bytes.HasPrefix(b[i:], p.bytes) {
				hit(p, i)
			}
		}
	}
}

// inFile searches a whole file, or a part of one.
func (n *needles) inFile(r io.ReaderAt, from, to int64, hit func(p pattern, at int64)) {
	const step = 1 << 20
	buf := make([]byte, step+longestPattern)
	for at := from; at < to; at += step {
		m, err := r.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		if m == 0 && err != nil {
			continue // not mapped, or not readable
		}
		n.in(buf[:m], func(p pattern, i int) {
			if i < step { // what begins later begins the next step
				hit(p, at+int64(i))
			}
		})
	}
}

// mapping is a line of /proc/PID/maps.
type mapping struct {
	from, to int64
	writable bool
	what     string
}

// readable lists what of a process' memory can be read.
func readable(t *testing.T, pid int) (all []mapping) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Fields(line)
		ends := strings.SplitN(f[0], "-", 2)
		from, err1 := strconv.ParseUint(ends[0], 16, 64)
		to, err2 := strconv.ParseUint(ends[1], 16, 64)
		if err := errors.Join(err1, err2); err != nil || len(f) < 5 {
			t.Fatalf("a line of maps is %q: %v", line, err)
		}
		what := strings.Join(f[5:], " ")
		if f[1][0] == 'r' && to < 1<<63 && !strings.HasPrefix(what, "[vv") {
			all = append(all, mapping{int64(from), int64(to), f[1][1] == 'w', what})
		}
	}
	return all
}

// The search finds every form of every piece, wherever it begins.
func TestNeedlesAreFound(t *testing.T) {
	secret := make([]byte, 40) // two pieces and a rest
	rand.Read(secret)
	turned := bytes.Clone(secret)
	slices.Reverse(turned)
	n := newNeedles()
	n.add("planted", secret)
	for _, s := range [][]byte{secret, turned} {
		for shift := range 3 {
			for form, encode := range map[string]func([]byte) string{
				"raw": func(b []byte) string { return string(b) }, "hex": hex.EncodeToString,
				"HEX":       func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) },
				"base64":    base64.StdEncoding.EncodeToString,
				"base64url": base64.RawURLEncoding.EncodeToString,
			} {
				hay := append(make([]byte, 1<<20-17), encode(append(make([]byte, shift), s...))...) // over the seam of two steps
				hay = append(hay, make([]byte, 100)...)
				found := map[string]int{}
				n.inFile(bytes.NewReader(hay), 0, int64(len(hay)), func(p pattern, _ int64) { found[p.form]++ })
				total := 0
				for name, c := range found {
					if strings.HasSuffix(name, form) {
						total += c
					}
				}
				if total < 2 {
					t.Errorf("%s, shifted by %d: %v found, not two pieces", form, shift, found)
				}
			}
		}
	}
}
