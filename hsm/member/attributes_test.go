package member

import (
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
)

// The mechanisms of the seam have the numbers that PKCS#11 gives them.
func TestMechanismNumbers(t *testing.T) {
	for m, number := range map[hsm.MechanismType]uint{
		hsm.RSAPKCS: p11.CKM_RSA_PKCS, hsm.RSAX509: p11.CKM_RSA_X_509, hsm.RSAOAEP: p11.CKM_RSA_PKCS_OAEP, hsm.DES3ECB: p11.CKM_DES3_ECB, hsm.DES3CBC: p11.CKM_DES3_CBC,
		hsm.DES3CMAC: p11.CKM_DES3_CMAC, hsm.MD5HMAC: p11.CKM_MD5_HMAC, hsm.SHA1HMAC: p11.CKM_SHA_1_HMAC, hsm.SHA256: p11.CKM_SHA256, hsm.SHA224HMAC: p11.CKM_SHA224_HMAC,
		hsm.SHA256HMAC: p11.CKM_SHA256_HMAC, hsm.SHA384HMAC: p11.CKM_SHA384_HMAC, hsm.SHA512HMAC: p11.CKM_SHA512_HMAC, hsm.ECDSA: p11.CKM_ECDSA, hsm.AESECB: p11.CKM_AES_ECB,
		hsm.AESCBC: p11.CKM_AES_CBC, hsm.AESCTR: p11.CKM_AES_CTR, hsm.AESGCM: p11.CKM_AES_GCM, hsm.AESCMAC: p11.CKM_AES_CMAC, hsm.AESKeyWrap: p11.CKM_AES_KEY_WRAP,
	} {
		if uint(m) != number {
			t.Errorf("mechanism %#x is %#x in PKCS#11", m, number)
		}
	}
}
