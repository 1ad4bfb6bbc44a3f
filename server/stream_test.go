package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

var truth = true

var activeNow = core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}

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
				whole, err := kmiptest.Do(c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(id), Parameters: &m.p, Data: data, IV: iv})
				if err != nil {
					t.Fatalf("%s %s: %v", class.name, m.name, err)
				}
				whole.Data, whole.Tag = bytes.Clone(whole.Data), bytes.Clone(whole.Tag) // the client's buffer is used again
				var tag []byte
				parts := cut(r, data)
				got, err := send(parts, func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
					in := core.EncryptInput{ID: core.ID(id), Data: data, Correlation: correlation, Init: first, Final: last}
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
					in := core.DecryptInput{ID: core.ID(id), Data: data, Correlation: correlation, Init: first, Final: last}
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
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V2_1)
	r := rand.New(rand.NewPCG(3, 4))
	data := bytes.Repeat([]byte("in parts "), 50)
	hmac := &core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmHMACSHA256}
	made, err := kmiptest.Do(c, &kmip.Create, &core.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: core.Attributes{activeNow,
		{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmHMACSHA256)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)},
		{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskMACGenerate | core.MaskMACVerify)}}})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := kmiptest.Do(c, &kmip.MAC, &core.MACInput{ID: core.ID(made.ID), Parameters: hmac, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	whole.MAC = bytes.Clone(whole.MAC)
	mac, err := send(cut(r, data), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
		out, err := kmiptest.Do(c, &kmip.MAC, &core.MACInput{ID: core.ID(made.ID), Parameters: hmac, Data: data, Correlation: correlation, Init: first, Final: last})
		return out.MAC, out.Correlation, err
	})
	if err != nil || !bytes.Equal(mac, whole.MAC) {
		t.Errorf("MAC: %x, %v; want %x", mac, err, whole.MAC)
	}
	sum := &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}
	digest, err := kmiptest.Do(c, &kmip.Hash, &core.HashInput{Parameters: sum, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	digest.Data = bytes.Clone(digest.Data)
	hashed, err := send(cut(r, data), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
		out, err := kmiptest.Do(c, &kmip.Hash, &core.HashInput{Parameters: sum, Data: data, Correlation: correlation, Init: first, Final: last})
		return out.Data, out.Correlation, err
	})
	if err != nil || !bytes.Equal(hashed, digest.Data) {
		t.Errorf("Hash: %x, %v; want %x", hashed, err, digest.Data)
	}
	pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &core.CreateKeyPairInput{
		Common:  core.Attributes{activeNow, {Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}},
		Public:  core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		t.Fatal(err)
	}
	signature, err := send(cut(r, data), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
		out, err := kmiptest.Do(c, &kmip.Sign, &core.SignInput{ID: core.ID(pair.PrivateID), Data: data, Correlation: correlation, Init: first, Final: last})
		return out.Signature, out.Correlation, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]core.ValidityIndicator{"in parts ": core.ValidityIndicatorValid, "forged": core.ValidityIndicatorInvalid} {
		var got core.ValidityIndicator
		_, err := send(cut(r, bytes.Repeat([]byte(what), 50)), func(data, correlation []byte, first, last *bool) ([]byte, []byte, error) {
			in := core.SignatureVerifyInput{ID: core.ID(pair.PublicID), Data: data, Correlation: correlation, Init: first, Final: last}
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
			out, err := kmiptest.Do(c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(id), Parameters: ctr, Data: []byte("one"), IV: make([]byte, 16), Init: &truth})
			if err != nil || out.Correlation == nil {
				t.Fatal(out, err)
			}
			return bytes.Clone(out.Correlation)
		}
		next := func(c *kmiptest.Client, in core.EncryptInput) core.ResultReason {
			in.Data = []byte("two")
			_, err := kmiptest.Do(c, &kmip.Encrypt, &in)
			return kmiptest.Reason(err)
		}
		for what, try := range map[string]struct {
			got, want core.ResultReason
		}{
			"an invented value":           {next(c, core.EncryptInput{ID: core.ID(id), Correlation: make([]byte, 16)}), unknown},
			"an empty value":              {next(c, core.EncryptInput{ID: core.ID(id), Correlation: []byte{}}), unknown},
			"another of the group":        {next(other, core.EncryptInput{ID: core.ID(id), Correlation: begin(id)}), unknown},
			"another object":              {next(c, core.EncryptInput{ID: core.ID(id2), Correlation: begin(id)}), core.ReasonInvalidField},
			"another mode":                {next(c, core.EncryptInput{ID: core.ID(id), Correlation: begin(id), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC}}), core.ReasonInvalidField},
			"another IV":                  {next(c, core.EncryptInput{ID: core.ID(id), Correlation: begin(id), IV: []byte("0123456789abcdef")}), core.ReasonInvalidField},
			"the first part with a value": {next(c, core.EncryptInput{ID: core.ID(id), Correlation: begin(id), Init: &truth}), core.ReasonInvalidField},
			"the last part without":       {next(c, core.EncryptInput{ID: core.ID(id), Parameters: ctr, Final: &truth}), core.ReasonInvalidField},
		} {
			if try.got != try.want {
				t.Errorf("KMIP %v, %s: %v; want %v", v, what, try.got, try.want)
			}
		}
		if _, err := kmiptest.Do(c, &kmip.Decrypt, &core.DecryptInput{ID: core.ID(id), Correlation: begin(id), Data: []byte("x")}); kmiptest.Reason(err) != unknown {
			t.Errorf("KMIP %v, another operation: %v", v, err)
		}
		// On another connection of the same principal the stream goes on.
		open, again := begin(id), dial(t, s, "dev", v)
		if r := next(again, core.EncryptInput{ID: core.ID(id), Correlation: open}); r != 0 {
			t.Errorf("KMIP %v, on another connection: %v", v, r)
		}
		if _, err := kmiptest.Do(c, &kmip.Revoke, &core.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
			t.Fatal(err)
		}
		if r := next(c, core.EncryptInput{ID: core.ID(id), Correlation: open}); r != state {
			t.Errorf("KMIP %v, a key revoked between two parts: %v", v, r)
		}
		if r := next(c, core.EncryptInput{ID: core.ID(id), Correlation: open}); r != unknown {
			t.Errorf("KMIP %v, after a part that failed: %v", v, r)
		}
	}
}
