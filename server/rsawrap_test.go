package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A client registers its own RSA public key and has keys given out under it, as
// zkey does, with OAEP and with PKCS#1 v1.5; class N stays.
func TestGetWrappedUnderTheClientsRSAKey(t *testing.T) {
	s := servertest.Start(t)
	mine, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []core.Version{core.V1_2, core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		public, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypePublicKey,
			Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskWrapKey)}, activeNow},
			Object:     core.ObjectBody{Type: core.ObjectTypePublicKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypePKCS1, Algorithm: core.AlgorithmRSA, Length: 2048, Material: x509.MarshalPKCS1PublicKey(&mine.PublicKey)}}})
		if err != nil {
			t.Fatal(err)
		}
		key, want := clearKey(t, c)
		for _, padding := range []core.PaddingMethod{core.PaddingMethodOAEP, core.PaddingMethodPKCS1V1_5} {
			parameters := &core.CryptographicParameters{PaddingMethod: padding}
			if padding == core.PaddingMethodOAEP { // the other has no hash
				parameters.HashingAlgorithm = core.HashSHA1
			}
			got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding,
				Encryption: &core.WrappingKeyInfo{ID: public.ID, Parameters: parameters}}})
			if err != nil {
				t.Errorf("KMIP %v, %v: %v", v, padding, err)
				continue
			}
			opened, err := mine.Decrypt(nil, got.Object.KeyBlock.Wrapped, &rsa.PKCS1v15DecryptOptions{})
			if padding == core.PaddingMethodOAEP {
				opened, err = rsa.DecryptOAEP(sha1.New(), nil, mine, got.Object.KeyBlock.Wrapped, nil)
			}
			if err != nil || !bytes.Equal(opened, want) {
				t.Errorf("KMIP %v, %v: another key was wrapped, %v", v, padding, err)
			}
		}
	}
}

// clearKey makes an AES key and returns its identifier and its bytes.
func clearKey(t *testing.T, c *kmiptest.Client) (id string, material []byte) {
	t.Helper()
	id = aesKey(t, c)
	clear, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
	if err != nil {
		t.Fatal(err)
	}
	return id, bytes.Clone(clear.Object.KeyBlock.Material)
}

// A key that comes wrapped under a pair of the server's is kept, whichever half the
// client names, and with attributes inside.
func TestRegisterWrappedUnderRSA(t *testing.T) {
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		attribute := func(tag core.Tag, value core.Value) core.Attribute { return core.Attribute{Tag: tag, Value: value} }
		pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &core.CreateKeyPairInput{
			Common:  core.Attributes{attribute(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA)), attribute(core.TagCryptographicLength, core.Int(2048)), activeNow},
			Private: core.Attributes{attribute(core.TagCryptographicUsageMask, core.Mask(core.MaskUnwrapKey))},
			Public:  core.Attributes{attribute(core.TagCryptographicUsageMask, core.Mask(core.MaskWrapKey))}})
		if err != nil {
			t.Fatal(err)
		}
		key, want := clearKey(t, c)
		for _, encoding := range []core.EncodingOption{core.EncodingOptionNoEncoding, core.EncodingOptionTTLVEncoding} {
			info := &core.WrappingKeyInfo{ID: pair.PublicID, Parameters: &core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA1}}
			got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: encoding, Encryption: info}})
			if err != nil {
				t.Errorf("KMIP %v, %v: Get: %v", v, encoding, err)
				continue
			}
			wrapped := bytes.Clone(got.Object.KeyBlock.Wrapped)
			for _, half := range []string{pair.PrivateID, pair.PublicID} {
				for _, length := range []int32{int32(8 * len(want)), 128} {
					other := *info
					other.ID = half
					out, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: core.Attributes{attribute(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))},
						Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: length, Wrapped: wrapped,
							Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: encoding, Encryption: &other}}}})
					if length != int32(8*len(want)) {
						if err == nil {
							t.Errorf("KMIP %v, %v: %d bytes called a key of %d bits are kept", v, encoding, len(want), length)
						}
						continue
					}
					if err != nil {
						t.Errorf("KMIP %v, %v: Register: %v", v, encoding, err)
						continue
					}
					back, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(out.ID)})
					if err != nil || !bytes.Equal(back.Object.KeyBlock.Material, want) {
						t.Errorf("KMIP %v, %v: another key came back, %v", v, encoding, err)
					}
				}
			}
		}
	}
}
