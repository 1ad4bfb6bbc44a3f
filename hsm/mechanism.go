package hsm

import (
	"crypto"
)

// MechanismType is a mechanism by its number in PKCS#11 (CKM_...).
type MechanismType uint

// The mechanisms that custody asks for.
const (
	RSAPKCS       MechanismType = 0x1
	RSAX509       MechanismType = 0x3
	RSAOAEP       MechanismType = 0x9
	DES3ECB       MechanismType = 0x132
	DES3CBC       MechanismType = 0x133
	DES3CMAC      MechanismType = 0x138
	MD5HMAC       MechanismType = 0x211
	SHA1HMAC      MechanismType = 0x221
	SHA256        MechanismType = 0x250
	SHA256HMAC    MechanismType = 0x251
	SHA224HMAC    MechanismType = 0x256
	SHA384HMAC    MechanismType = 0x261
	SHA512HMAC    MechanismType = 0x271
	ECDSA         MechanismType = 0x1041
	EdDSA         MechanismType = 0x1057
	AESECB        MechanismType = 0x1081
	AESCBC        MechanismType = 0x1082
	AESCTR        MechanismType = 0x1086
	AESGCM        MechanismType = 0x1087
	AESCMAC       MechanismType = 0x108A
	AESKeyWrap    MechanismType = 0x2109 // RFC 3394
	AESKeyWrapPad MechanismType = 0x210A // RFC 5649 on SoftHSM2
)

// Mechanism is a mechanism with its parameters.
type Mechanism struct {
	Type    MechanismType
	IV      []byte // CBC and GCM; the counter block of CTR
	AAD     []byte // GCM
	TagBits int    // GCM
	OAEP    OAEP
}

// OAEP are the parameters of RSA-OAEP.
type OAEP struct {
	Hash, MGF crypto.Hash
	Label     []byte
}
