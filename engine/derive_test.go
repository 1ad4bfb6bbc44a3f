package engine_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// derivedFrom asks for an AES-256 key by HMAC-SHA256.
func derivedFrom(ids ...string) *operation.DeriveKeyInput {
	in := &operation.DeriveKeyInput{ObjectType: core.ObjectTypeSymmetricKey, Method: core.DerivationMethodHMAC,
		Parameters: operation.DerivationParameters{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: [][]byte{[]byte("label")}},
		Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt|core.MaskDecrypt))}
	for _, id := range ids {
		in.IDs = append(in.IDs, core.ID(id))
	}
	return in
}

// with replaces attributes, or adds them.
func with(as core.Attributes, more ...any) core.Attributes {
	for _, a := range attrs(more...) {
		as = as.Set(a.Tag, a.Value)
	}
	return as
}

// secret registers Secret Data of alice's that keys may be derived from.
func (w *world) secret(value string, more ...any) string {
	w.t.Helper()
	out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData,
		Attributes: with(attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskDeriveKey), core.TagActivationDate, core.Date(1)), more...),
		Object:     core.ObjectBody{Type: core.ObjectTypeSecretData, SecretDataType: core.SecretDataTypeSeed, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: []byte(value)}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.ID
}

// base makes an active AES key of alice's whose only use is to derive.
func (w *world) base(more ...any) string {
	w.t.Helper()
	out, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: with(attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES),
		core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(core.MaskDeriveKey), core.TagActivationDate, core.Date(1)), more...)})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.ID
}

func (w *world) stored(id string) *core.ManagedObject {
	w.t.Helper()
	o, err := w.store.Object(ctx, "default", id)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// linksOf lists what the Links of one type name.
func linksOf(o *core.ManagedObject, t core.LinkType) (ids []string) {
	for _, a := range o.Attributes.All(core.AttributeName{Tag: core.TagLink}) {
		if l := core.LinkOf(a.Value); l.Type == t {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

// A derived key is a new object of the caller, with what the request asks for, linked both
// ways to what it was derived from.
func TestDeriveKey(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	base, label := w.base(), w.secret("label")
	for what, ids := range map[string][]string{"Derivation Data": {base}, "Secret Data as data": {base, label}, "Secret Data before the key": {label, base}} {
		in := derivedFrom(ids...)
		if len(ids) > 1 {
			in.Parameters.Data = nil
		}
		in.Attributes = in.Attributes.Add(core.Attribute{Tag: core.TagName, Value: name(what)})
		before := len(linksOf(w.stored(base), core.LinkTypeDerivedKeyLink))
		out, err := w.DeriveKey(ctx, w.alice, in)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		o, want := w.stored(out.ID), make([]byte, 32)
		d := core.Derivation{Method: core.DerivationMethodHMAC, PRF: core.AlgorithmHMACSHA256, Data: []byte("label")}
		if err := soft.DeriveKey(ctx, w.stored(base).Material.Blob, &d, want); err != nil || !bytes.Equal(o.Material.Blob, want) {
			t.Errorf("%s: %x, %v; want %x", what, o.Material.Blob, err, want)
		}
		if o.Owner != "alice" || o.Group != "g" || o.Algorithm() != core.AlgorithmAES || o.Mask() != core.MaskEncrypt|core.MaskDecrypt || o.StateAt(w.clock.Now()) != core.PreActive ||
			!o.Attributes.Has(core.TagDigest) || !o.Attributes.Has(core.TagRandomNumberGenerator) || core.KeyFormatType(o.Attributes.Num(core.TagKeyFormatType)) != core.KeyFormatTypeRaw {
			t.Errorf("%s: owner %s, group %s, %v", what, o.Owner, o.Group, o.Attributes)
		}
		if got := linksOf(o, core.LinkTypeDerivationBaseObjectLink); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(ids))) {
			t.Errorf("%s: derived from %v, want %v", what, got, ids)
		}
		for _, id := range ids {
			if got := linksOf(w.stored(id), core.LinkTypeDerivedKeyLink); len(got) == 0 || got[len(got)-1] != out.ID {
				t.Errorf("%s: object %s names %v, want %s", what, id, got, out.ID)
			}
		}
		if after := len(linksOf(w.stored(base), core.LinkTypeDerivedKeyLink)); after != before+1 {
			t.Errorf("%s: %d links of the base before, %d after", what, before, after)
		}
		if r := j.last(); r.Object != ids[0] || r.ExecutedIn != "token" || !strings.Contains(r.Detail, out.ID+" by HMAC") || roleIn(r, out.ID) != core.RoleMade {
			t.Errorf("%s: recorded as %+v", what, r)
		}
	}
	in := derivedFrom(base)
	in.ObjectType, in.Attributes = core.ObjectTypeSecretData, attrs(core.TagCryptographicLength, core.Int(128))
	out, err := w.DeriveKey(ctx, w.alice, in)
	if o := w.stored(out.ID); err != nil || o.Type != core.ObjectTypeSecretData || core.SecretDataType(o.Attributes.Num(core.TagSecretDataType)) != core.SecretDataTypeSeed || len(o.Material.Blob) != 16 {
		t.Errorf("Secret Data: %v", err)
	}
}

// What is wrong with a request is said, and nothing is made or changed.
func TestDeriveKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	base, label, password := w.base(), w.secret("label"), w.secret("password")
	other := w.base(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmHMACSHA256))
	pair, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC), core.TagCryptographicLength, core.Int(256),
		core.TagCryptographicUsageMask, core.Mask(core.MaskDeriveKey), core.TagActivationDate, core.Date(1))})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := w.Create(ctx, w.out, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES),
		core.TagCryptographicUsageMask, core.Mask(core.MaskDeriveKey), core.TagActivationDate, core.Date(1))})
	if err != nil {
		t.Fatal(err)
	}
	iterations := func(n int32) *int32 { return &n }
	pbkdf2 := func(in *operation.DeriveKeyInput) {
		in.IDs, in.Method, in.Parameters = []core.Identifier{core.ID(password)}, core.DerivationMethodPBKDF2, operation.DerivationParameters{Salt: []byte("salt"), Iterations: iterations(1)}
	}
	ecb := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}
	for what, c := range map[string]struct {
		change func(in *operation.DeriveKeyInput)
		want   core.Code
	}{
		"no object":                   {func(in *operation.DeriveKeyInput) { in.IDs = nil }, core.InvalidMessage},
		"an unknown object":           {func(in *operation.DeriveKeyInput) { in.IDs[0].Text = "nobody" }, core.ItemNotFound},
		"an object of another tenant": {func(in *operation.DeriveKeyInput) { in.IDs[0].Text = foreign.ID }, core.ItemNotFound},
		"data of another tenant": {func(in *operation.DeriveKeyInput) {
			in.Parameters.Data, in.IDs = nil, append(in.IDs, core.ID(foreign.ID))
		}, core.ItemNotFound},
		"three objects":   {func(in *operation.DeriveKeyInput) { in.IDs = append(in.IDs, core.ID(label), core.ID(password)) }, core.InvalidField},
		"an object twice": {func(in *operation.DeriveKeyInput) { in.IDs = append(in.IDs, in.IDs[0]) }, core.InvalidField},
		"two keys":        {func(in *operation.DeriveKeyInput) { in.Parameters.Data, in.IDs = nil, append(in.IDs, core.ID(other)) }, core.InvalidField},
		"a private key":   {func(in *operation.DeriveKeyInput) { in.IDs[0].Text = pair.PrivateID }, core.InvalidObjectType},
		"a key without the mask": {func(in *operation.DeriveKeyInput) {
			in.IDs[0].Text = w.base(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))
		}, core.IncompatibleUsageMask},
		"data without the mask": {func(in *operation.DeriveKeyInput) {
			in.Parameters.Data, in.IDs = nil, append(in.IDs, core.ID(w.secret("s", core.TagCryptographicUsageMask, core.Mask(core.UsageMask(0)))))
		}, core.IncompatibleUsageMask},
		"a Pre-Active key": {func(in *operation.DeriveKeyInput) { in.IDs[0].Text = w.aesKey() }, core.WrongState},
		"Pre-Active data": {func(in *operation.DeriveKeyInput) {
			in.Parameters.Data, in.IDs = nil, append(in.IDs, core.ID(w.secret("s", core.TagActivationDate, core.Date(1<<40))))
		}, core.WrongState},
		"a key before its start": {func(in *operation.DeriveKeyInput) {
			in.IDs[0].Text = w.base(core.TagProcessStartDate, core.Date(1<<40))
		}, core.WrongState},
		"a key after its stop":    {func(in *operation.DeriveKeyInput) { in.IDs[0].Text = w.base(core.TagProtectStopDate, core.Date(2)) }, core.WrongState},
		"a pair":                  {func(in *operation.DeriveKeyInput) { in.ObjectType = core.ObjectTypePrivateKey }, core.InvalidObjectType},
		"an unknown method":       {func(in *operation.DeriveKeyInput) { in.Method = 0x80000001 }, core.InvalidField},
		"Asymmetric Key":          {func(in *operation.DeriveKeyInput) { in.Method = core.DerivationMethodAsymmetricKey }, core.FeatureNotSupported},
		"AWS Signature Version 4": {func(in *operation.DeriveKeyInput) { in.Method = core.DerivationMethodAWSSignatureVersion4 }, core.FeatureNotSupported},
		"no data":                 {func(in *operation.DeriveKeyInput) { in.Parameters.Data = nil }, core.InvalidField},
		"data twice":              {func(in *operation.DeriveKeyInput) { in.Parameters.Data = append(in.Parameters.Data, []byte("d")) }, core.InvalidField},
		"data and Secret Data":    {func(in *operation.DeriveKeyInput) { in.IDs = append(in.IDs, core.ID(label)) }, core.InvalidMessage},
		"HASH with data":          {func(in *operation.DeriveKeyInput) { in.Method = core.DerivationMethodHASH }, core.InvalidMessage},
		"HASH of two objects": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters.Data, in.IDs = core.DerivationMethodHASH, nil, append(in.IDs, core.ID(label))
		}, core.InvalidMessage},
		"HASH without a hash": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters = core.DerivationMethodHASH, operation.DerivationParameters{}
		}, core.InvalidField},
		"HMAC with salt":       {func(in *operation.DeriveKeyInput) { in.Parameters.Salt = []byte{1} }, core.InvalidField},
		"HMAC with an IV":      {func(in *operation.DeriveKeyInput) { in.Parameters.IV = []byte{1} }, core.InvalidField},
		"HMAC with iterations": {func(in *operation.DeriveKeyInput) { in.Parameters.Iterations = iterations(1) }, core.InvalidField},
		"HMAC without a hash":  {func(in *operation.DeriveKeyInput) { in.Parameters.Parameters = nil }, core.BadCryptographicParameters},
		"HMAC with a mode":     {func(in *operation.DeriveKeyInput) { in.Parameters.Parameters.BlockCipherMode = core.BlockCipherModeECB }, core.BadCryptographicParameters},
		"HMAC by SHA3":         {func(in *operation.DeriveKeyInput) { in.Parameters.Parameters.HashingAlgorithm = core.HashSHA3_256 }, core.BadCryptographicParameters},
		"another hash than the key's": {func(in *operation.DeriveKeyInput) {
			in.IDs[0].Text, in.Parameters.Parameters.HashingAlgorithm = other, core.HashSHA512
		}, core.BadCryptographicParameters},
		"too long for HMAC": {func(in *operation.DeriveKeyInput) { in.Parameters.Parameters.HashingAlgorithm = core.HashSHA1 }, core.CryptographicFailure},
		"ENCRYPT by CTR": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters.Parameters = core.DerivationMethodENCRYPT, &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCTR}
		}, core.BadCryptographicParameters},
		"ENCRYPT without a mode": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters.Parameters = core.DerivationMethodENCRYPT, nil
		}, core.BadCryptographicParameters},
		"ENCRYPT by ECB with an IV": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters.Parameters, in.Parameters.IV = core.DerivationMethodENCRYPT, ecb, make([]byte, 16)
		}, core.InvalidField},
		"ENCRYPT by CBC without an IV": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters.Parameters, in.Parameters.Data = core.DerivationMethodENCRYPT, &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC}, [][]byte{make([]byte, 32)}
		}, core.InvalidField},
		"ENCRYPT of too little": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters.Parameters, in.Parameters.Data = core.DerivationMethodENCRYPT, ecb, [][]byte{make([]byte, 16)}
		}, core.CryptographicFailure},
		"ENCRYPT of part of a block": {func(in *operation.DeriveKeyInput) {
			in.Method, in.Parameters.Parameters, in.Parameters.Data = core.DerivationMethodENCRYPT, ecb, [][]byte{make([]byte, 33)}
		}, core.CryptographicFailure},
		"ENCRYPT by Secret Data": {func(in *operation.DeriveKeyInput) {
			in.IDs[0].Text, in.Method, in.Parameters.Parameters = password, core.DerivationMethodENCRYPT, ecb
		}, core.BadCryptographicParameters},
		"PBKDF2 without salt":       {func(in *operation.DeriveKeyInput) { pbkdf2(in); in.Parameters.Salt = nil }, core.InvalidField},
		"PBKDF2 without iterations": {func(in *operation.DeriveKeyInput) { pbkdf2(in); in.Parameters.Iterations = nil }, core.InvalidField},
		"PBKDF2 with 0 iterations":  {func(in *operation.DeriveKeyInput) { pbkdf2(in); in.Parameters.Iterations = iterations(0) }, core.InvalidField},
		"PBKDF2 with -1 iterations": {func(in *operation.DeriveKeyInput) { pbkdf2(in); in.Parameters.Iterations = iterations(-1) }, core.InvalidField},
		"PBKDF2 for minutes":        {func(in *operation.DeriveKeyInput) { pbkdf2(in); in.Parameters.Iterations = iterations(1<<31 - 1) }, core.InvalidField},
		"PBKDF2 for seconds":        {func(in *operation.DeriveKeyInput) { pbkdf2(in); in.Parameters.Iterations = iterations(1_000_001) }, core.InvalidField},
		"PBKDF2 with data":          {func(in *operation.DeriveKeyInput) { pbkdf2(in); in.Parameters.Data = [][]byte{{1}} }, core.InvalidMessage},
		"too much data":             {func(in *operation.DeriveKeyInput) { in.Parameters.Data[0] = make([]byte, rules.MaxDerivationBytes+1) }, core.InvalidField},
		"no length": {func(in *operation.DeriveKeyInput) {
			in.Attributes = in.Attributes.Without(core.AttributeName{Tag: core.TagCryptographicLength})
		}, core.InvalidField},
		"no algorithm": {func(in *operation.DeriveKeyInput) {
			in.Attributes = in.Attributes.Without(core.AttributeName{Tag: core.TagCryptographicAlgorithm})
		}, core.InvalidField},
		"a length that AES lacks": {func(in *operation.DeriveKeyInput) {
			in.Attributes = in.Attributes.Set(core.TagCryptographicLength, core.Int(200))
		}, core.InvalidField},
		"an RSA key": {func(in *operation.DeriveKeyInput) {
			in.Attributes = in.Attributes.Set(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA))
		}, core.InvalidField},
		"a State": {func(in *operation.DeriveKeyInput) {
			in.Attributes = in.Attributes.Set(core.TagState, core.Enum(core.Active))
		}, core.AttributeReadOnly},
	} {
		in := derivedFrom(base)
		c.change(in)
		objects, links := len(w.store.objects), len(linksOf(w.stored(base), core.LinkTypeDerivedKeyLink))
		_, err := w.DeriveKey(ctx, w.alice, in)
		if err == nil || core.CodeOf(err) != c.want {
			t.Errorf("%s: %v, code %v; want %v", what, err, core.CodeOf(err), c.want)
		}
		if len(w.store.objects) != objects || len(linksOf(w.stored(base), core.LinkTypeDerivedKeyLink)) != links {
			t.Errorf("%s: something was made or changed", what)
		}
	}
	for _, c := range []struct {
		version core.Version
		method  core.DerivationMethod
		want    core.Code
	}{{core.V1_4, core.DerivationMethodHKDF, core.InvalidField}, {core.V1_2, core.DerivationMethodAsymmetricKey, core.InvalidField}, {core.V1_4, core.DerivationMethodAsymmetricKey, core.FeatureNotSupported},
		{core.V2_0, core.DerivationMethodHKDF, core.Internal}, {0, core.DerivationMethodHKDF, core.Internal}} { // 0: not by KMIP
		caller, in := *w.alice, derivedFrom(base)
		caller.Version, in.Method = c.version, c.method
		if _, err := w.DeriveKey(ctx, &caller, in); core.CodeOf(err) != c.want || (c.want == core.Internal) != (err == nil) {
			t.Errorf("%v in KMIP %v: %v; want code %v", c.method, c.version, err, c.want)
		}
	}
	if _, err := w.DeriveKey(ctx, w.eve, derivedFrom(base)); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("by a stranger: %v", err)
	}
}

// What callers do not name is the default of the method, or the key's: its Cryptographic
// Parameters, or its own HMAC. A key with Cryptographic Parameters derives by those alone.
func TestDerivationParametersAreCompleted(t *testing.T) {
	w := newWorld(t)
	parameters := func(p core.CryptographicParameters) core.Value { return core.Structure(p.Fields()...) }
	sha512 := core.CryptographicParameters{HashingAlgorithm: core.HashSHA512}
	hmac := w.base(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmHMACSHA384))
	withHash := w.base(core.TagCryptographicParameters, parameters(sha512))
	aes, password := w.base(), w.secret("password")
	two := int32(2)
	for what, c := range map[string]struct {
		id    string
		in    operation.DerivationParameters
		by    core.DerivationMethod
		want  core.Derivation
		fails core.Code
	}{
		"the key's own HMAC":             {hmac, operation.DerivationParameters{Data: [][]byte{{1}}}, core.DerivationMethodHMAC, core.Derivation{PRF: core.AlgorithmHMACSHA384, Data: []byte{1}}, 0},
		"the key's Parameters":           {withHash, operation.DerivationParameters{Data: [][]byte{{1}}}, core.DerivationMethodHMAC, core.Derivation{PRF: core.AlgorithmHMACSHA512, Data: []byte{1}}, 0},
		"others than the key's":          {withHash, operation.DerivationParameters{Data: [][]byte{{1}}, Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}}, core.DerivationMethodHMAC, core.Derivation{}, core.BadCryptographicParameters},
		"an HMAC as algorithm":           {aes, operation.DerivationParameters{Data: [][]byte{{1}}, Parameters: &core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmHMACSHA512}}, core.DerivationMethodHMAC, core.Derivation{PRF: core.AlgorithmHMACSHA512, Data: []byte{1}}, 0},
		"CMAC of an AES key":             {aes, operation.DerivationParameters{Data: [][]byte{{1}}}, core.DerivationMethodNIST800_108C, core.Derivation{PRF: core.AlgorithmAES, Data: []byte{1}}, 0},
		"CMAC that is named":             {aes, operation.DerivationParameters{Data: [][]byte{{1}}, Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCMAC}}, core.DerivationMethodNIST800_108DPI, core.Derivation{PRF: core.AlgorithmAES, Data: []byte{1}}, 0},
		"HMAC of an AES key":             {aes, operation.DerivationParameters{Data: [][]byte{{1}}, IV: []byte{2}, Parameters: &sha512}, core.DerivationMethodNIST800_108F, core.Derivation{PRF: core.AlgorithmHMACSHA512, Data: []byte{1}, IV: []byte{2}}, 0},
		"PBKDF2 by SHA-1":                {password, operation.DerivationParameters{Salt: []byte("s"), Iterations: &two}, core.DerivationMethodPBKDF2, core.Derivation{PRF: core.AlgorithmHMACSHA1, Salt: []byte("s"), Iterations: 2}, 0},
		"PBKDF2 by SHA-512":              {password, operation.DerivationParameters{Salt: []byte("s"), Iterations: &two, Parameters: &sha512}, core.DerivationMethodPBKDF2, core.Derivation{PRF: core.AlgorithmHMACSHA512, Salt: []byte("s"), Iterations: 2}, 0},
		"PBKDF2 by HMAC-SHA512":          {password, operation.DerivationParameters{Salt: []byte("s"), Iterations: &two, Parameters: &core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmHMACSHA512}}, core.DerivationMethodPBKDF2, core.Derivation{PRF: core.AlgorithmHMACSHA512, Salt: []byte("s"), Iterations: 2}, 0},
		"HKDF by SHA-256":                {hmac, operation.DerivationParameters{}, core.DerivationMethodHKDF, core.Derivation{PRF: core.AlgorithmHMACSHA256}, 0},
		"HKDF by SHA-512, all its parts": {hmac, operation.DerivationParameters{Salt: []byte("s"), Data: [][]byte{[]byte("info")}, Parameters: &sha512}, core.DerivationMethodHKDF, core.Derivation{PRF: core.AlgorithmHMACSHA512, Salt: []byte("s"), Data: []byte("info")}, 0},
		"HASH":                           {password, operation.DerivationParameters{Parameters: &sha512}, core.DerivationMethodHASH, core.Derivation{Parameters: sha512}, 0},
		"ENCRYPT": {aes, operation.DerivationParameters{Data: [][]byte{make([]byte, 32)}, IV: make([]byte, 16), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC}}, core.DerivationMethodENCRYPT,
			core.Derivation{Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeCBC}, Data: make([]byte, 32), IV: make([]byte, 16)}, 0},
	} {
		in := derivedFrom(c.id)
		in.Method, in.Parameters = c.by, c.in
		out, err := w.DeriveKey(ctx, w.alice, in)
		if c.fails != 0 {
			if core.CodeOf(err) != c.fails {
				t.Errorf("%s: %v; want code %v", what, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		want := make([]byte, 32)
		c.want.Method = c.by
		if err := soft.DeriveKey(ctx, w.stored(c.id).Material.Blob, &c.want, want); err != nil || !bytes.Equal(w.stored(out.ID).Material.Blob, want) {
			t.Errorf("%s: another key, or %v", what, err)
		}
	}
}

// A key from a base of class N or X is of that class or a stricter one, whatever the request
// says or leaves open, and tells no more of its history than its base.
func TestDerivedKeysAreAsSecretAsTheirBase(t *testing.T) {
	yes, no := core.Bool(true), core.Bool(false)
	for class, c := range map[core.Class][]any{core.ClassC: {core.TagSensitive, no, core.TagExtractable, yes}, core.ClassX: {core.TagSensitive, yes, core.TagExtractable, yes},
		core.ClassN: {core.TagSensitive, yes, core.TagExtractable, no}, "N, readable": {core.TagSensitive, no, core.TagExtractable, no}} {
		if class == "N, readable" {
			class = core.ClassN
		}
		for _, asked := range [][]any{{}, {core.TagSensitive, no}, {core.TagSensitive, yes}, {core.TagExtractable, yes}, {core.TagExtractable, no}, {core.TagSensitive, no, core.TagExtractable, yes},
			{core.TagSensitive, yes, core.TagExtractable, yes}, {core.TagSensitive, yes, core.TagExtractable, no}} {
			w := newWorld(t)
			base := w.base(c...)
			in := derivedFrom(base)
			in.Attributes = append(in.Attributes, attrs(asked...)...)
			out, err := w.DeriveKey(ctx, w.alice, in)
			if err != nil {
				if core.CodeOf(err) != core.PermissionDenied || class == core.ClassC {
					t.Errorf("class %s, asked for %v: %v", class, asked, err)
				}
				continue
			}
			o := w.stored(out.ID)
			if rules.Stricter(class, o.Material.Class) {
				t.Errorf("class %s, asked for %v: a key of class %s", class, asked, o.Material.Class)
			}
			if len(asked) == 0 && o.Material.Class != class {
				t.Errorf("class %s, asked for nothing: class %s", class, o.Material.Class)
			}
			if o.Material.Class == core.ClassN && o.Attributes.Has(core.TagDigest) {
				t.Errorf("class %s, asked for %v: it has a Digest", class, asked)
			}
			b := w.stored(base)
			for _, history := range []core.Tag{core.TagAlwaysSensitive, core.TagNeverExtractable} {
				if o.Attributes.Bool(history) && !b.Attributes.Bool(history) {
					t.Errorf("class %s, asked for %v: %v, and its base is not", class, asked, history)
				}
			}
			if class != core.ClassC {
				if got, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(out.ID)}); err == nil {
					t.Errorf("class %s, asked for %v: Get gives it in clear", class, asked)
					got.Secret.Release()
				}
			}
		}
	}
}

// From a base of class N or X no key is derived that a caller could find out: by guessing a
// short one, or by another use of the base.
func TestDerivedKeysCannotBeFoundOut(t *testing.T) {
	w := newWorld(t)
	ecb := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}
	mask := func(m core.UsageMask) core.Value { return core.Mask(core.MaskDeriveKey | m) }
	for class, kept := range map[core.Class][]any{core.ClassC: {}, core.ClassX: {core.TagSensitive, core.Bool(true)}, core.ClassN: {core.TagExtractable, core.Bool(false)}} {
		for what, c := range map[string]struct {
			mask   core.UsageMask
			change func(in *operation.DeriveKeyInput)
			want   core.Code
		}{
			"112 bits": {0, func(in *operation.DeriveKeyInput) {
				in.ObjectType, in.Attributes = core.ObjectTypeSecretData, attrs(core.TagCryptographicLength, core.Int(112))
			}, 0},
			"104 bits": {0, func(in *operation.DeriveKeyInput) {
				in.ObjectType, in.Attributes = core.ObjectTypeSecretData, attrs(core.TagCryptographicLength, core.Int(104))
			}, core.InvalidField},
			"HMAC, may make MACs":   {core.MaskMACGenerate, func(in *operation.DeriveKeyInput) {}, core.IncompatibleUsageMask},
			"HMAC, may verify MACs": {core.MaskMACVerify, func(in *operation.DeriveKeyInput) {}, 0},
			"HMAC, may encrypt":     {core.MaskEncrypt | core.MaskDecrypt, func(in *operation.DeriveKeyInput) {}, 0},
			"ENCRYPT":               {0, encrypting(ecb), 0},
			"ENCRYPT by 3DES": {0, func(in *operation.DeriveKeyInput) {
				encrypting(ecb)(in)
				in.IDs[0].Text = w.base(append([]any{core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmDES3), core.TagCryptographicLength, core.Int(192)}, kept...)...)
			}, core.BadCryptographicParameters},
			"ENCRYPT, may encrypt": {core.MaskEncrypt, encrypting(ecb), core.IncompatibleUsageMask},
			"ENCRYPT, may decrypt": {core.MaskDecrypt, encrypting(ecb), core.IncompatibleUsageMask},
			"ENCRYPT, may wrap":    {core.MaskWrapKey, encrypting(ecb), core.IncompatibleUsageMask},
			"counter mode by CMAC": {core.MaskEncrypt, func(in *operation.DeriveKeyInput) {
				in.Method, in.Parameters.Parameters = core.DerivationMethodNIST800_108C, nil
			}, core.IncompatibleUsageMask},
			"counter mode by HMAC":     {core.MaskEncrypt, func(in *operation.DeriveKeyInput) { in.Method = core.DerivationMethodNIST800_108C }, 0},
			"counter mode, makes MACs": {core.MaskMACGenerate, func(in *operation.DeriveKeyInput) { in.Method = core.DerivationMethodNIST800_108C }, core.IncompatibleUsageMask},
		} {
			in := derivedFrom(w.base(append([]any{core.TagCryptographicUsageMask, mask(c.mask)}, kept...)...))
			c.change(in)
			want := c.want
			if class == core.ClassC {
				want = 0
			}
			if _, err := w.DeriveKey(ctx, w.alice, in); (err == nil) != (want == 0) || (want != 0 && core.CodeOf(err) != want) {
				t.Errorf("class %s, %s: %v; want code %v", class, what, err, want)
			}
		}
	}
}

func encrypting(p *core.CryptographicParameters) func(in *operation.DeriveKeyInput) {
	return func(in *operation.DeriveKeyInput) {
		in.Method, in.Parameters.Parameters, in.Parameters.Data = core.DerivationMethodENCRYPT, p, [][]byte{make([]byte, 32)}
	}
}

// Derive Key draws on the Usage Limits of both base objects, before the HSM is used.
func TestDeriveKeyCountsUses(t *testing.T) {
	w := newWorld(t)
	limits := func(n int64, u core.UsageLimitsUnit) []any {
		return []any{core.TagUsageLimits, core.UsageLimits{Total: n, Count: n, Unit: u}.Value()}
	}
	for what, base := range map[string]string{"Object": w.base(limits(2, core.UsageLimitsUnitObject)...), "Byte": w.base(limits(64, core.UsageLimitsUnitByte)...)} {
		for n := range 3 {
			if _, err := w.DeriveKey(ctx, w.alice, derivedFrom(base)); (err == nil) != (n < 2) || (err != nil && core.CodeOf(err) != core.UsageLimitExceeded) {
				t.Errorf("%s, use %d: %v", what, n+1, err)
			}
		}
	}
}

// A base that thousands of keys are derived from stays small: it names the first ones, and
// each of them names its base.
func TestDerivedKeyLinksAreBounded(t *testing.T) {
	w := newWorld(t)
	base, label := w.base(), w.secret("label")
	in := derivedFrom(base, label)
	in.Parameters.Data = nil
	for range 70 {
		out, err := w.DeriveKey(ctx, w.alice, in)
		if err != nil {
			t.Fatal(err)
		}
		if got := linksOf(w.stored(out.ID), core.LinkTypeDerivationBaseObjectLink); !slices.Equal(got, []string{base, label}) {
			t.Fatalf("derived from %v", got)
		}
	}
	for _, id := range []string{base, label} {
		if n := len(linksOf(w.stored(id), core.LinkTypeDerivedKeyLink)); n != 64 {
			t.Errorf("object %s names %d derived keys, want 64", id, n)
		}
	}
	found, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagLink, Value: core.Link{Type: core.LinkTypeDerivationBaseObjectLink, ID: base}.Value()}}})
	if err != nil || len(found.IDs) != 70 {
		t.Errorf("Locate by the Link finds %d of 70, %v", len(found.IDs), err)
	}
}

// Many callers derive from one key at once, while others use up a bound on its uses.
func TestDeriveKeyAtOnce(t *testing.T) {
	w := newWorld(t)
	base := w.base(core.TagUsageLimits, core.UsageLimits{Total: 10, Count: 10, Unit: core.UsageLimitsUnitObject}.Value())
	results := make(chan error)
	for range 16 {
		go func() {
			_, err := w.DeriveKey(ctx, w.alice, derivedFrom(base))
			results <- err
		}()
	}
	made := 0
	for range 16 {
		if err := <-results; err == nil {
			made++
		} else if core.CodeOf(err) != core.UsageLimitExceeded {
			t.Error(err)
		}
	}
	if o := w.stored(base); made != 10 || len(linksOf(o, core.LinkTypeDerivedKeyLink)) != 10 {
		t.Errorf("%d keys derived, the base names %d; want 10", made, len(linksOf(o, core.LinkTypeDerivedKeyLink)))
	}
}

// A batch that is undone leaves no derived key and no Link to one.
func TestDeriveKeyIsUndone(t *testing.T) {
	w := newWorld(t)
	base, label := w.base(), w.secret("label")
	in := derivedFrom(base, label)
	in.Parameters.Data = nil
	caller := *w.alice
	caller.Undo = &core.Undo{}
	out, err := w.DeriveKey(ctx, &caller, in)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.UndoBatch(ctx, w.alice, caller.Undo); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Object(ctx, "default", out.ID); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("the derived key is still there: %v", err)
	}
	for _, id := range []string{base, label} {
		if got := linksOf(w.stored(id), core.LinkTypeDerivedKeyLink); len(got) != 0 {
			t.Errorf("object %s still names %v", id, got)
		}
	}
}

// A base key that is revoked while a key is derived from it derives nothing.
func TestDeriveKeyAfterRevocation(t *testing.T) {
	w := newWorld(t)
	base := w.base()
	w.hsm.slow = func() {
		w.hsm.slow = nil
		if err := w.step(w.alice, "compromise", base); err != nil {
			t.Error(err)
		}
	}
	objects := len(w.store.objects)
	if _, err := w.DeriveKey(ctx, w.alice, derivedFrom(base)); core.CodeOf(err) != core.WrongState || len(w.store.objects) != objects {
		t.Errorf("a base that was revoked meanwhile: %v", err)
	}
}

// The same for a base that names all the derived keys that it can name, and for a second base.
func TestDeriveKeyFromFullBaseAfterChange(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		base, label := w.base(), w.secret("label")
		in := derivedFrom(base, label)
		in.Parameters.Data = nil
		for range 64 {
			if _, err := w.DeriveKey(ctx, w.alice, in); err != nil {
				t.Fatal(err)
			}
		}
		for what, c := range map[string]struct {
			id, step string
			want     core.Code
		}{"the base is disabled": {base, "disable", core.WrongState}, "the data is archived": {label, "archive", core.ObjectArchived}, "the data is compromised": {label, "compromise", core.WrongState}} {
			w.hsm.slow = func() {
				w.hsm.slow = nil
				if err := w.step(w.alice, c.step, c.id); err != nil {
					t.Error(err)
				}
			}
			objects := len(w.store.objects)
			if _, err := w.DeriveKey(ctx, w.alice, in); core.CodeOf(err) != c.want || len(w.store.objects) != objects {
				t.Errorf("%s meanwhile: %v; want %v", what, err, c.want)
			}
			for _, back := range []string{"enable", "recover"} {
				w.step(w.alice, back, c.id)
			}
			if c.step == "compromise" {
				break
			}
		}
	}
}

// The HSM learns whether the tenant forbids software, and a token that fails leaves nothing.
func TestDeriveKeyAndTheHSM(t *testing.T) {
	w := newWorld(t)
	base := w.base()
	w.hsm.fail = core.Errorf(core.TokenUnavailable, "away")
	objects := len(w.store.objects)
	if _, err := w.DeriveKey(context.Background(), w.alice, derivedFrom(base)); core.CodeOf(err) != core.TokenUnavailable || len(w.store.objects) != objects {
		t.Errorf("without the token: %v", err)
	}
}
