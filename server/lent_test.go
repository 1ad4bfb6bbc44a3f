//go:build race || poison

package server

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/keys/keystest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// These tests need a build in which lent memory is filled with a pattern after
// use (core.Retire): with the race detector, or by "make lent".

// lentWorld is a server in this process whose every trace is searched for the
// pattern.
type lentWorld struct {
	t    *testing.T
	s    *Server
	dir  string
	log  coretest.LogLines
	c    *kmiptest.Client
	v    core.Version
	done map[core.Operation]map[core.Version]int // successes
	material
}

func newLentWorld(t *testing.T, change func(*Config)) *lentWorld {
	t.Helper()
	if _, err := member.SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	w := &lentWorld{t: t, dir: hsmtest.Dir(t), done: map[core.Operation]map[core.Version]int{}, material: newMaterial(t)}
	cfg, err := Dev(w.dir, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	if w.s, err = Start(context.Background(), cfg, slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *lentWorld) dial(v core.Version) *kmiptest.Client {
	w.t.Helper()
	cfg, err := kmiptest.Config(filepath.Join(w.dir, "certs"), "dev")
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := kmiptest.Dial(w.s.KMIPAddr, cfg, v)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// speak opens a connection in a version.
func (w *lentWorld) speak(v core.Version) {
	if w.c != nil {
		w.c.Close()
	}
	w.v, w.c = v, w.dial(v)
}

// send sends items and searches the answer.
func (w *lentWorld) send(o kmip.RequestOptions, items ...kmip.ClientItem) []kmip.ResponseItem {
	w.t.Helper()
	msg, err := kmip.AppendRequest(nil, w.v, o, items...)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := w.c.Send(msg)
	if err != nil {
		w.t.Fatalf("%v in %v: %v", items[0].Operation, w.v, err)
	}
	if hit := poisoned(answer); hit != "" {
		w.t.Errorf("the answer to %v in %v shows retired memory: %s", items[0].Operation, w.v, hit)
	}
	r, err := kmip.ParseResponse(answer)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range r.Items {
		if i.Status == core.StatusSuccess {
			if w.done[i.Operation] == nil {
				w.done[i.Operation] = map[core.Version]int{}
			}
			w.done[i.Operation][w.v]++
		}
	}
	return r.Items
}

// try does one operation, which may fail.
func try[I, O any](w *lentWorld, op *kmip.Operation[I, O], in *I) (out O, err error) {
	w.t.Helper()
	item := kmiptest.Item(op, in)
	item.BatchID = []byte("batch item " + op.Code.String())
	r := w.send(kmip.RequestOptions{}, item)
	if r[0].Status != core.StatusSuccess {
		return out, fmt.Errorf("%v: %v: %s", r[0].Operation, r[0].Reason, r[0].Message)
	}
	return out, op.DecodeResponse(bytes.Clone(r[0].Payload), w.v, &out)
}

// must does one that may not fail.
func must[I, O any](w *lentWorld, op *kmip.Operation[I, O], in *I) O {
	w.t.Helper()
	out, err := try(w, op, in)
	if err != nil {
		w.t.Errorf("in %v: %v", w.v, err)
	}
	return out
}

// end searches what is left when the server has stopped.
func (w *lentWorld) end() {
	w.t.Helper()
	if w.c != nil {
		w.c.Close()
	}
	if err := w.s.Stop(context.Background()); err != nil {
		w.t.Error(err)
	}
	hits, values := holds(w.s)
	for _, h := range hits {
		w.t.Errorf("the server still refers to retired memory: %s", h)
	}
	if values < 10_000 {
		w.t.Errorf("%d values were looked at in the server; it has more", values)
	}
	if hit := poisoned(w.log.Bytes()); hit != "" {
		w.t.Errorf("the log shows retired memory: %s", hit)
	}
	files := 0
	filepath.Walk(w.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() || !strings.Contains(info.Name(), ".db") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			w.t.Error(err)
		}
		if hit := poisoned(b); hit != "" {
			w.t.Errorf("%s has retired memory: %s", info.Name(), hit)
		}
		files++
		return nil
	})
	if files == 0 {
		w.t.Error("no database was found to be searched")
	}
}

// material is what is registered.
type material struct {
	cert               []byte
	rsa1, rsa8, ec, ed []byte
	spki, pkcs1        []byte
	fields             []core.Field // a transparent RSA private key
}

func newMaterial(t *testing.T) (m material) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec, ed := keystest.ECKey(t, elliptic.P256()), keystest.Ed25519Key(t)
	name := pkix.Name{CommonName: "subject of a certificate", Organization: []string{"an organization"}, Country: []string{"NO"}, Locality: []string{"a place"}, SerialNumber: "serial number"}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1 << 62), Subject: name, Issuer: name, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		DNSNames: []string{"name.example"}, EmailAddresses: []string{"mail@name.example"}}
	if m.cert, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, &ec.PublicKey, ec); err != nil {
		t.Fatal(err)
	}
	m.rsa1 = x509.MarshalPKCS1PrivateKey(key)
	m.rsa8, _ = x509.MarshalPKCS8PrivateKey(key)
	m.ec, _ = x509.MarshalPKCS8PrivateKey(ec)
	m.ed, _ = x509.MarshalPKCS8PrivateKey(ed)
	m.spki, _ = x509.MarshalPKIXPublicKey(&key.PublicKey)
	m.pkcs1 = x509.MarshalPKCS1PublicKey(&key.PublicKey)
	num := func(t core.Tag, n *big.Int) {
		m.fields = append(m.fields, core.Field{Tag: t, Value: core.BigInt(append([]byte{0}, n.Bytes()...))})
	}
	num(core.TagModulus, key.N)
	num(core.TagPrivateExponent, key.D)
	num(core.TagPublicExponent, big.NewInt(int64(key.E)))
	num(core.TagP, key.Primes[0])
	num(core.TagQ, key.Primes[1])
	num(core.TagPrimeExponentP, key.Precomputed.Dp)
	num(core.TagPrimeExponentQ, key.Precomputed.Dq)
	num(core.TagCRTCoefficient, key.Precomputed.Qinv)
	return m
}

const everyUse = core.MaskEncrypt | core.MaskDecrypt | core.MaskSign | core.MaskVerify | core.MaskMACGenerate | core.MaskMACVerify | core.MaskWrapKey | core.MaskUnwrapKey

// Every operation, on every type of object, in every version and at both doors,
// leaves nothing behind that refers to the memory of its request.
func TestLentMemoryIsNotKept(t *testing.T) {
	w := newLentWorld(t, nil)
	for _, v := range core.Versions {
		w.speak(v)
		var ids []string
		for _, class := range []core.Attributes{nil, {boolean(core.TagSensitive, true)}, {boolean(core.TagExtractable, false)}} {
			ids = append(ids, w.objects(class)...)
		}
		ids = append(ids, w.wrappedObjects()...)
		w.attributesOfEachKind()
		w.uses()
		w.life()
		w.searches()
		w.batches()
		w.refused()
		for _, id := range ids { // after other messages
			must(w, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)})
			must(w, &kmip.GetAttributeList, &operation.GetAttributeListInput{ID: core.ID(id)})
			try(w, &kmip.Get, &operation.GetInput{ID: core.ID(id)})
			try(w, &kmip.AddAttribute, &operation.AddAttributeInput{ID: core.ID(id), Attribute: custom("added", core.Text("later"))})
		}
	}
	w.rest()
	w.openStreams()
	for _, v := range core.Versions { // everything is shown in every version
		w.speak(v)
		for _, id := range must(w, &kmip.Locate, &operation.LocateInput{MaximumItems: -1}).IDs {
			must(w, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)})
		}
		for _, row := range kmip.Operations() {
			if row.In(v) && w.done[row.Code][v] == 0 {
				t.Errorf("%v has not been done in %v", row.Code, v)
			}
		}
	}
	w.end()
}

func boolean(t core.Tag, b bool) core.Attribute { return core.Attribute{Tag: t, Value: core.Bool(b)} }

func custom(name string, v core.Value) core.Attribute {
	return core.Attribute{Vendor: "x", Name: name, Value: v}
}

func masked(m core.UsageMask, more ...core.Attribute) core.Attributes {
	return append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(m)}, {Tag: core.TagActivationDate, Value: core.Date(1)}}, more...)
}

// objects registers and makes what can be, in the class that the attributes ask for.
func (w *lentWorld) objects(class core.Attributes) (ids []string) {
	w.t.Helper()
	secret := len(class) > 0
	register := func(t core.ObjectType, o core.ObjectBody, more ...core.Attribute) {
		o.Type = t
		as := masked(everyUse, append(slices.Clone(class), more...)...)
		if t == core.ObjectTypeCertificate || t == core.ObjectTypeOpaqueObject {
			as = append(slices.Clone(class), kmiptest.Name("name of an object"), custom("site", core.Text("a site")))
		}
		if out, err := try(w, &kmip.Register, &operation.RegisterInput{ObjectType: t, Attributes: as, Object: o}); err == nil {
			ids = append(ids, out.ID)
		} else if !secret {
			w.t.Errorf("in %v: %v", w.v, err)
		}
	}
	block := func(f core.KeyFormatType, alg core.CryptographicAlgorithm, b []byte) core.ObjectBody {
		return core.ObjectBody{KeyBlock: core.KeyBlock{Format: f, Algorithm: alg, Material: b}}
	}
	key := make([]byte, 32)
	rand.Read(key)
	aes := block(core.KeyFormatTypeRaw, core.AlgorithmAES, key)
	aes.KeyBlock.Length = 256
	register(core.ObjectTypeSymmetricKey, aes, kmiptest.Name("name of a key"))
	aes.KeyBlock.Attributes = core.Attributes{custom("inside", core.Text("inside the key value"))}
	register(core.ObjectTypeSymmetricKey, aes)
	register(core.ObjectTypeSymmetricKey, core.ObjectBody{KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeTransparentSymmetricKey, Algorithm: core.AlgorithmAES, Length: 256,
		Transparent: []core.Field{{Tag: core.TagKey, Value: core.Bytes(key)}}}})
	register(core.ObjectTypeSymmetricKey, block(core.KeyFormatTypeRaw, core.AlgorithmHMACSHA256, key))
	register(core.ObjectTypePrivateKey, block(core.KeyFormatTypePKCS1, core.AlgorithmRSA, w.rsa1))
	register(core.ObjectTypePrivateKey, block(core.KeyFormatTypePKCS8, core.AlgorithmRSA, w.rsa8))
	register(core.ObjectTypePrivateKey, block(core.KeyFormatTypePKCS8, core.AlgorithmEC, w.ec))
	register(core.ObjectTypePrivateKey, core.ObjectBody{KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPrivateKey, Algorithm: core.AlgorithmRSA, Length: 2048, Transparent: w.fields}})
	register(core.ObjectTypePublicKey, block(core.KeyFormatTypeX509, core.AlgorithmRSA, w.spki))
	register(core.ObjectTypePublicKey, block(core.KeyFormatTypePKCS1, core.AlgorithmRSA, w.pkcs1))
	password := block(core.KeyFormatTypeOpaque, 0, []byte("a password of many letters"))
	password.SecretDataType = core.SecretDataTypePassword
	register(core.ObjectTypeSecretData, password)
	register(core.ObjectTypeCertificate, core.ObjectBody{CertificateType: core.CertificateTypeX509, CertificateValue: w.cert})
	register(core.ObjectTypeOpaqueObject, core.ObjectBody{OpaqueDataType: 0x8000_0001, OpaqueData: []byte("opaque data of many bytes")})
	if w.v < core.V2_0 && !secret {
		register(core.ObjectTypeTemplate, core.ObjectBody{Template: core.Attributes{custom("of a template", core.Text("content of a template"))}}, kmiptest.Name("template "+w.v.String()))
	}
	if w.v >= core.V1_3 && !secret {
		register(core.ObjectTypePrivateKey, block(core.KeyFormatTypePKCS8, core.AlgorithmEd25519, w.ed))
	}
	made := must(w, &kmip.Create, kmiptest.AESKey(256, everyUse, append(slices.Clone(class), custom("made", core.Text("a text")))...))
	pair := must(w, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{Common: append(core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)},
		{Tag: core.TagCryptographicLength, Value: core.Int(256)}, kmiptest.Name("a pair")}, class...), Private: masked(core.MaskSign), Public: masked(core.MaskVerify)})
	if w.v >= core.V1_1 {
		again := must(w, &kmip.ReKeyKeyPair, &operation.RekeyKeyPairInput{ID: core.ID(pair.PrivateID), CreateKeyPairInput: operation.CreateKeyPairInput{Common: core.Attributes{custom("new", core.Text("of the new pair"))}}})
		ids = append(ids, again.PrivateID, again.PublicID)
	}
	return append(ids, made.ID, pair.PrivateID, pair.PublicID)
}

// wrappedObjects takes keys out wrapped and registers them again.
func (w *lentWorld) wrappedObjects() (ids []string) {
	w.t.Helper()
	kek := must(w, &kmip.Create, kmiptest.AESKey(256, core.MaskWrapKey|core.MaskUnwrapKey, core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)})).ID
	key := must(w, &kmip.Create, kmiptest.AESKey(256, everyUse, custom("wrapped", core.Text("goes with the key")))).ID
	for _, e := range []core.EncodingOption{core.EncodingOptionNoEncoding, core.EncodingOptionTTLVEncoding} {
		if w.v < core.V1_1 && e == core.EncodingOptionNoEncoding {
			continue
		}
		spec := &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: e,
			Encryption: &core.WrappingKeyInfo{ID: kek, Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}}}
		if e == core.EncodingOptionTTLVEncoding {
			spec.AttributeNames = []core.AttributeName{{Vendor: "x", Name: "wrapped"}}
		}
		out, err := try(w, &kmip.Get, &operation.GetInput{ID: core.ID(key), Specification: spec})
		if err != nil {
			w.t.Errorf("in %v: %v", w.v, err)
			continue
		}
		o := out.Object
		o.KeyBlock.Algorithm, o.KeyBlock.Length = core.AlgorithmAES, 256
		back := must(w, &kmip.Register, &operation.RegisterInput{ObjectType: o.Type, Attributes: masked(everyUse, kmiptest.Name("registered wrapped")), Object: o})
		ids = append(ids, back.ID)
	}
	return append(ids, kek, key)
}

// attributesOfEachKind gives, changes and deletes every attribute that a client may.
func (w *lentWorld) attributesOfEachKind() {
	w.t.Helper()
	text := func(t core.Tag) core.Value { return core.Text("text of " + t.String()) }
	structures := map[core.Tag]core.Value{
		core.TagName:                           kmiptest.Name("another name").Value,
		core.TagApplicationSpecificInformation: core.Structure(core.Field{Tag: core.TagApplicationNamespace, Value: core.Text("a namespace")}, core.Field{Tag: core.TagApplicationData, Value: core.Text("application data")}),
		core.TagLink:                           core.Structure(core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkTypeParentLink)}, core.Field{Tag: core.TagLinkedObjectIdentifier, Value: core.Text("a linked object's identifier")}),
		core.TagAlternativeName:                core.Structure(core.Field{Tag: core.TagAlternativeNameValue, Value: core.Text("alternative name")}, core.Field{Tag: core.TagAlternativeNameType, Value: core.Enum(core.AlternativeNameTypeURI)}),
		core.TagCryptographicParameters:        core.Structure(core.Field{Tag: core.TagBlockCipherMode, Value: core.Enum(core.BlockCipherModeGCM)}, core.Field{Tag: core.TagPSource, Value: core.Bytes([]byte("a source of P"))}),
		core.TagKeyValueLocation:               core.Structure(core.Field{Tag: core.TagKeyValueLocationValue, Value: core.Text("a location of a key")}, core.Field{Tag: core.TagKeyValueLocationType, Value: core.Enum(core.KeyValueLocationTypeURI)}),
	}
	id := must(w, &kmip.Create, kmiptest.AESKey(256, everyUse)).ID
	given := 0
	attempt := func(a core.Attribute) {
		if _, err := try(w, &kmip.AddAttribute, &operation.AddAttributeInput{ID: core.ID(id), Attribute: a}); err != nil {
			return
		}
		given++
		in := &operation.ModifyAttributeInput{ID: core.ID(id), Name: a.Ref(), New: a}
		if w.v >= core.V2_0 {
			in.CurrentValue = &a.Value
		}
		try(w, &kmip.ModifyAttribute, in)
		if w.v >= core.V2_0 {
			try(w, &kmip.SetAttribute, &operation.SetAttributeInput{ID: core.ID(id), Attribute: a})
		}
		must(w, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{a.Ref()}})
		try(w, &kmip.Locate, &operation.LocateInput{MaximumItems: 5, Attributes: core.Attributes{a}})
		if given%3 == 0 {
			try(w, &kmip.DeleteAttribute, &operation.DeleteAttributeInput{ID: core.ID(id), Name: a.Ref()})
		}
	}
	for _, r := range core.AttributeRules() {
		if !w.v.Within(r.Since, r.Until) || !r.ClientSets {
			continue
		}
		v, ok := structures[r.Tag]
		switch k := r.Tag.Info().Kind; {
		case ok:
		case k == core.KindTextString:
			v = text(r.Tag)
		case k == core.KindByteString:
			v = core.Bytes([]byte("bytes of " + r.Name))
		default:
			continue // a number refers to nothing
		}
		attempt(core.Attribute{Tag: r.Tag, Value: v})
	}
	for i, v := range []core.Value{core.Text("text"), core.Bytes([]byte("byte string")), core.BigInt([]byte("big integer")),
		core.Structure(core.Field{Tag: 0x540001, Value: core.Text("inside a structure")}, core.Field{Tag: 0x540002, Value: core.Structure(core.Field{Tag: 0x540003, Value: core.Bytes([]byte("and deeper"))})})} {
		attempt(custom(fmt.Sprintf("kind-%d", i), v))
	}
	if given < 8 {
		w.t.Errorf("in %v only %d attributes could be given", w.v, given)
	}
}

// uses does every cryptographic operation, whole and in parts.
func (w *lentWorld) uses() {
	if w.v < core.V1_2 {
		return
	}
	w.t.Helper()
	active := core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}
	yes := true
	for _, kept := range []bool{false, true} {
		class := boolean(core.TagExtractable, !kept)
		aes := core.ID(must(w, &kmip.Create, kmiptest.AESKey(256, everyUse, active, class)).ID)
		data := []byte("a message that is long enough to be seen")
		gcm := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM, CryptographicAlgorithm: core.AlgorithmAES}
		e := must(w, &kmip.Encrypt, &operation.EncryptInput{ID: aes, Parameters: gcm, Data: data})
		must(w, &kmip.Decrypt, &operation.DecryptInput{ID: aes, Parameters: gcm, Data: e.Data, IV: e.IV, Tag: e.Tag})
		try(w, &kmip.Decrypt, &operation.DecryptInput{ID: aes, Parameters: gcm, Data: data, IV: e.IV})
		m := must(w, &kmip.MAC, &operation.MACInput{ID: aes, Data: data})
		must(w, &kmip.MACVerify, &operation.MACVerifyInput{ID: aes, Data: data, MAC: m.MAC})
		if w.v >= core.V1_3 {
			ctr := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCTR, CryptographicAlgorithm: core.AlgorithmAES}
			for _, p := range []*core.CryptographicParameters{gcm, ctr} {
				first := must(w, &kmip.Encrypt, &operation.EncryptInput{ID: aes, Parameters: p, Data: data, Init: &yes})
				must(w, &kmip.Encrypt, &operation.EncryptInput{ID: aes, Data: data, Correlation: first.Correlation})
				must(w, &kmip.Encrypt, &operation.EncryptInput{ID: aes, Data: data, Correlation: first.Correlation, Final: &yes})
			}
			first := must(w, &kmip.MAC, &operation.MACInput{ID: aes, Data: data, Init: &yes})
			must(w, &kmip.MAC, &operation.MACInput{ID: aes, Data: data, Correlation: first.Correlation, Final: &yes})
			check := must(w, &kmip.MACVerify, &operation.MACVerifyInput{ID: aes, Data: data, MAC: m.MAC, Init: &yes})
			must(w, &kmip.MACVerify, &operation.MACVerifyInput{ID: aes, Correlation: check.Correlation, Final: &yes})
			hashed := must(w, &kmip.Hash, &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: data, Init: &yes})
			must(w, &kmip.Hash, &operation.HashInput{Data: data, Correlation: hashed.Correlation, Final: &yes})
			must(w, &kmip.Hash, &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: data, Init: &yes}) // it stays under way
		}
		pair := must(w, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{Common: core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
			Private: masked(core.MaskSign, class), Public: masked(core.MaskVerify)})
		p := &core.CryptographicParameters{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmECDSAWithSHA256}
		sig := must(w, &kmip.Sign, &operation.SignInput{ID: core.ID(pair.PrivateID), Parameters: p, Data: data})
		must(w, &kmip.SignatureVerify, &operation.SignatureVerifyInput{ID: core.ID(pair.PublicID), Parameters: p, Data: data, Signature: sig.Signature})
		if w.v >= core.V1_4 {
			sum := sha256.Sum256(data)
			must(w, &kmip.Sign, &operation.SignInput{ID: core.ID(pair.PrivateID), Parameters: p, Digested: sum[:]})
		}
	}
	must(w, &kmip.Hash, &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("data to be hashed")})
	must(w, &kmip.RNGRetrieve, &operation.RNGRetrieveInput{Length: 64})
	try(w, &kmip.RNGSeed, &operation.RNGSeedInput{Data: []byte("a seed of many bytes")})
	rsa := core.ObjectBody{Type: core.ObjectTypePublicKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeX509, Algorithm: core.AlgorithmRSA, Material: w.spki}}
	id := core.ID(must(w, &kmip.Register, &operation.RegisterInput{ObjectType: rsa.Type, Attributes: masked(core.MaskEncrypt), Object: rsa}).ID)
	must(w, &kmip.Encrypt, &operation.EncryptInput{ID: id, Data: []byte("data"), Parameters: &core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA256}})
}

// life brings keys through their states.
func (w *lentWorld) life() {
	w.t.Helper()
	for _, code := range []core.RevocationReasonCode{core.RevocationReasonCodeKeyCompromise, core.RevocationReasonCodeCessationOfOperation} {
		id := core.ID(must(w, &kmip.Create, kmiptest.AESKey(256, everyUse|core.MaskDeriveKey, kmiptest.Name("a key with a life"))).ID)
		must(w, &kmip.Activate, &operation.ActivateInput{ID: id})
		must(w, &kmip.Check, &operation.CheckInput{ID: id})
		must(w, &kmip.Archive, &operation.LifeInput{ID: id})
		must(w, &kmip.Recover, &operation.LifeInput{ID: id})
		must(w, &kmip.ReKey, &operation.RekeyInput{ID: id, Attributes: core.Attributes{custom("new", core.Text("of the new key"))}})
		data := core.ID(must(w, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData, Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskDeriveKey)}, {Tag: core.TagActivationDate, Value: core.Date(1)}},
			Object: core.ObjectBody{Type: core.ObjectTypeSecretData, SecretDataType: core.SecretDataTypeSeed, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: []byte("derivation data")}}}).ID)
		derive := operation.DeriveKeyInput{ObjectType: core.ObjectTypeSymmetricKey, IDs: []core.Identifier{id, data}, Method: core.DerivationMethodHMAC,
			Parameters: operation.DerivationParameters{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}}, Attributes: kmiptest.AESKey(256, everyUse, custom("derived", core.Text("of a derived key"))).Attributes}
		must(w, &kmip.DeriveKey, &derive)
		derive.IDs, derive.Parameters.Data = derive.IDs[:1], [][]byte{[]byte("the label of a derivation")}
		must(w, &kmip.DeriveKey, &derive)
		must(w, &kmip.Revoke, &operation.RevokeInput{ID: id, Code: code, Message: "why it was revoked"})
		must(w, &kmip.Destroy, &operation.DestroyInput{ID: id})
	}
	must(w, &kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations, core.QueryFunctionQueryObjects, core.QueryFunctionQueryServerInformation}})
	if w.v >= core.V1_1 {
		must(w, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{})
	}
}

func (w *lentWorld) searches() {
	w.t.Helper()
	for _, a := range []core.Attribute{kmiptest.Name("name of a key"), custom("site", core.Text("a site")), {Tag: core.TagObjectGroup, Value: core.Text("no such group")},
		{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}} {
		must(w, &kmip.Locate, &operation.LocateInput{MaximumItems: 3, Attributes: core.Attributes{a}})
	}
}

// batches try what a batch keeps from one item to the next.
func (w *lentWorld) batches() {
	w.t.Helper()
	item := func(i kmip.ClientItem, id string) kmip.ClientItem { i.BatchID = []byte(id); return i }
	create := item(kmiptest.Item(&kmip.Create, kmiptest.AESKey(128, everyUse, custom("of a batch", core.Text("in a batch")))), "the first batch item")
	fails := item(kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID("no such object in this server")}), "the last batch item")
	for _, o := range []kmip.RequestOptions{{}, {ErrorOption: core.BatchErrorContinuationOptionContinue}, {ErrorOption: core.BatchErrorContinuationOptionUndo}} {
		if w.v >= core.V1_4 {
			o.ClientCorrelation = "the correlation value of a client"
		}
		w.send(o, create, item(kmiptest.Item(&kmip.Get, &operation.GetInput{}), "the second batch item"), fails)
	}
}

// refused sends what is answered by an error: its sentence may quote the request.
func (w *lentWorld) refused() {
	w.t.Helper()
	nothing := "an identifier that no object of this server has, and a long one"
	try(w, &kmip.Get, &operation.GetInput{ID: core.ID(nothing)})
	try(w, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(nothing)})
	try(w, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(nothing)})
	try(w, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate, Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: core.CertificateTypeX509, CertificateValue: []byte("this is no certificate")}})
	try(w, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypePrivateKey, Attributes: masked(core.MaskSign), Object: core.ObjectBody{Type: core.ObjectTypePrivateKey,
		KeyBlock: core.KeyBlock{Format: core.KeyFormatTypePKCS8, Algorithm: core.AlgorithmRSA, Material: []byte("this is no private key")}}})
	if w.v < core.V2_0 {
		try(w, &kmip.Create, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, TemplateNames: []string{"no template has this name"}})
	}
	w.send(kmip.RequestOptions{}, kmip.ClientItem{Operation: 0x8000_0123, BatchID: []byte("an unknown operation"), Payload: func(dst []byte, _ core.Version) ([]byte, error) {
		return append(dst, 0x42, 0, 0x79, 1, 0, 0, 0, 0), nil
	}})
}

// rest does the same by the other door.
func (w *lentWorld) rest() {
	w.t.Helper()
	tlsConfig, err := kmiptest.Config(filepath.Join(w.dir, "certs"), "dev")
	if err != nil {
		w.t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, DisableCompression: true}}
	defer c.CloseIdleConnections()
	ask := func(method, path, body string) string {
		req, err := http.NewRequest(method, "https://"+w.s.HTTPSAddr+path, strings.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Request-Id", "the request id of a client")
		res, err := c.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		if hit := poisoned(b); hit != "" {
			w.t.Errorf("the answer to %s %s shows retired memory: %s", method, path, hit)
		}
		return string(b)
	}
	member := func(answer, name string) string {
		_, rest, _ := strings.Cut(answer, `"`+name+`":"`)
		v, _, _ := strings.Cut(rest, `"`)
		return v
	}
	for _, class := range []string{``, `,"sensitive":true`, `,"extractable":false`} {
		made := ask("POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","length":256,"name":"a key of the other door","usage":["encrypt","decrypt"]`+class+`}`)
		ask("POST", "/v1/keys", `{"type":"pair","algorithm":"EC","length":256,"name":"a pair of the other door","usage":["sign","verify"]`+class+`}`)
		id := member(made, "keyId")
		if id == "" {
			w.t.Fatal(made)
		}
		secret := ask("POST", "/v1/encrypt", `{"keyId":"`+id+`","format":"raw","plaintext":"YSBtZXNzYWdlIHRoYXQgaXMgbG9uZw==","aad":"YWRkaXRpb25hbCBkYXRh"}`)
		clear := ask("POST", "/v1/decrypt", `{"keyId":"`+id+`","format":"raw","ciphertext":"`+member(secret, "ciphertext")+`","iv":"`+member(secret, "iv")+`","tag":"`+member(secret, "tag")+`","aad":"YWRkaXRpb25hbCBkYXRh"}`)
		if !strings.Contains(clear, "YSBtZXNzYWdlIHRoYXQgaXMgbG9uZw==") {
			w.t.Errorf("Decrypt by REST answers %s", clear)
		}
		envelope := ask("POST", "/v1/encrypt", `{"keyId":"`+id+`","plaintext":"a message that is long","encoding":"utf8","aad":"YWRkaXRpb25hbCBkYXRh","context":{"a name of the context":"a value of the context"}}`)
		opened := ask("POST", "/v1/decrypt", `{"keyId":"`+id+`","ciphertext":"`+member(envelope, "ciphertext")+`","encoding":"utf8","aad":"YWRkaXRpb25hbCBkYXRh","context":{"a name of the context":"a value of the context"}}`)
		if !strings.Contains(opened, "a message that is long") {
			w.t.Errorf("Decrypt of an envelope by REST answers %s", opened)
		}
		ask("POST", "/v1/reencrypt", `{"keyId":"`+id+`","sourceKeyId":"`+id+`","ciphertext":"`+member(envelope, "ciphertext")+`","aad":"YWRkaXRpb25hbCBkYXRh","context":{"a name of the context":"a value of the context"}}`)
		if data := member(ask("POST", "/v1/data-keys", `{"keyId":"`+id+`","plaintext":true}`), "plaintext"); len(data) != 44 {
			w.t.Errorf("a data key is %q", data)
		}
		ask("GET", "/v1/keys/"+id, "")
	}
	ask("GET", "/v1/keys?filter=name:%22a+key+of+the+other+door%22", "")
	ask("GET", "/v1/keys/no-such-key-in-this-server", "")
	ask("GET", "/v1/nothing/is/at/this/path", "")
	ask("POST", "/v1/keys", `{"an unknown member":"and its value"}`)
	ask("POST", "/v1/encrypt", `{"keyId":"no such key in this server","format":"raw","plaintext":"YQ=="}`)
}

// A call that its connection has left behind works on its own memory: what
// others send meanwhile does not reach it, nor it them.
func TestLentMemoryOfCallsLeftBehind(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	const hang = 2 * time.Second
	w := newLentWorld(t, func(c *Config) {
		c.dev.Module = faults.Module
		c.Limits.Operation = 500 * time.Millisecond
	})
	w.speak(core.V1_4)
	key := core.ID(must(w, &kmip.Create, kmiptest.AESKey(256, everyUse, boolean(core.TagExtractable, false), core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)})).ID)
	gcm := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}
	must(w, &kmip.Encrypt, &operation.EncryptInput{ID: key, Parameters: gcm, Data: []byte("once, so that its handle is there")})
	faults.Rule(fmt.Sprintf("C_Encrypt 0x0 %d", hang.Milliseconds()))
	for range 3 {
		item := kmiptest.Item(&kmip.Encrypt, &operation.EncryptInput{ID: key, Parameters: gcm, Data: []byte("data of a call that hangs"), AAD: []byte("and its additional data")})
		item.BatchID = []byte("the batch item of a call that hangs")
		if r := w.send(kmip.RequestOptions{ClientCorrelation: "a client whose call hangs"}, item); r[0].Status == core.StatusSuccess {
			t.Error("a call that hangs was answered with success")
		}
		w.speak(core.V1_4)
		for range 10 {
			must(w, &kmip.Locate, &operation.LocateInput{MaximumItems: 1, Attributes: core.Attributes{kmiptest.Name("somebody else's name")}})
		}
	}
	faults.Rule()
	const want = 1 + 3 + 3 // the first, those left behind, and those that came back
	for end := time.Now().Add(20 * hang); w.recorded("Encrypt") < want && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	if n := w.recorded("Encrypt"); n != want {
		t.Errorf("%d records of Encrypt; want %d", n, want)
	}
	w.end()
}

// recorded counts the records of an operation.
func (w *lentWorld) recorded(op string) (n int) {
	w.t.Helper()
	all, err := w.s.store.Records(context.Background(), core.RecordQuery{Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range all {
		if strings.Contains(string(e.Body), `"operation":"`+op+`"`) {
			n++
		}
	}
	return n
}

// openStreams begins streams that stay under way: what they remember is searched.
func (w *lentWorld) openStreams() {
	w.t.Helper()
	w.speak(core.V2_1)
	yes, data := true, []byte("the first part of a stream")
	active := core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}
	aes := core.ID(must(w, &kmip.Create, kmiptest.AESKey(256, everyUse, active)).ID)
	gcm := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}
	iv, tag := []byte("IV of 12 byt"), []byte("tag of 16 bytes.")
	must(w, &kmip.Encrypt, &operation.EncryptInput{ID: aes, Parameters: gcm, Data: data, IV: iv, AAD: data, Init: &yes})
	must(w, &kmip.Decrypt, &operation.DecryptInput{ID: aes, Parameters: gcm, Data: data, IV: iv, AAD: data, Tag: tag, Init: &yes})
	for _, mode := range []core.BlockCipherMode{core.BlockCipherModeCBC, core.BlockCipherModeCTR} {
		p := &core.CryptographicParameters{BlockCipherMode: mode}
		first := must(w, &kmip.Encrypt, &operation.EncryptInput{ID: aes, Parameters: p, Data: data, IV: tag, Init: &yes})
		must(w, &kmip.Encrypt, &operation.EncryptInput{ID: aes, Data: data, Correlation: first.Correlation})
	}
	must(w, &kmip.MAC, &operation.MACInput{ID: aes, Data: data, Init: &yes})
	must(w, &kmip.MACVerify, &operation.MACVerifyInput{ID: aes, Data: data, MAC: tag, Init: &yes})
	spki := core.ObjectBody{Type: core.ObjectTypePublicKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeX509, Algorithm: core.AlgorithmRSA, Material: w.spki}}
	public := core.ID(must(w, &kmip.Register, &operation.RegisterInput{ObjectType: spki.Type, Attributes: masked(core.MaskVerify | core.MaskEncrypt), Object: spki}).ID)
	must(w, &kmip.Encrypt, &operation.EncryptInput{ID: public, Data: data, Init: &yes, Parameters: &core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA256, PSource: []byte("a source of P")}})
	must(w, &kmip.SignatureVerify, &operation.SignatureVerifyInput{ID: public, Data: data, Signature: tag, Init: &yes,
		Parameters: &core.CryptographicParameters{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmSHA256WithRSAEncryption}})
	must(w, &kmip.Locate, &operation.LocateInput{MaximumItems: 1}) // so that the last message is over
}
