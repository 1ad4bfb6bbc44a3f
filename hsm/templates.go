package hsm

import (
	"encoding/binary"
	"fmt"

	p11 "github.com/miekg/pkcs11"
)

// Mechanisms and attributes that the binding has no names for.
const (
	ckmAESKeyWrap    = 0x2109 // RFC 3394
	ckmAESKeyWrapPad = 0x210A // RFC 5649 on SoftHSM2
	ckmEdDSA         = 0x1057
	ckmEdwardsGen    = 0x1055
)

const (
	ckaAllowedMechanisms = p11.CKA_ALLOWED_MECHANISMS
	ckaWrapTemplate      = p11.CKA_WRAP_TEMPLATE
	ckaUnwrapTemplate    = p11.CKA_UNWRAP_TEMPLATE
)

var (
	secretUses = []uint{p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_SIGN, p11.CKA_VERIFY, p11.CKA_WRAP, p11.CKA_UNWRAP, p11.CKA_DERIVE}
	// A private key's uses; SIGN_RECOVER stays off.
	privateUses = []uint{p11.CKA_DECRYPT, p11.CKA_SIGN, p11.CKA_SIGN_RECOVER, p11.CKA_UNWRAP, p11.CKA_DERIVE}
)

// template is written in full for every object: tokens' defaults allow all.
func template(class, keyType uint, sensitive, extractable bool, flags map[uint]bool, more ...*p11.Attribute) []*p11.Attribute {
	as := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, class), p11.NewAttribute(p11.CKA_KEY_TYPE, keyType),
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, sensitive), p11.NewAttribute(p11.CKA_EXTRACTABLE, extractable),
	}
	uses := secretUses
	if class == p11.CKO_PRIVATE_KEY {
		uses = privateUses
	}
	for _, u := range uses {
		as = append(as, p11.NewAttribute(u, flags[u]))
	}
	return append(as, more...)
}

// unmodifiable must come last: the token applies attributes in order.
func unmodifiable() *p11.Attribute { return p11.NewAttribute(p11.CKA_MODIFIABLE, false) }

func mechanismList(ms ...uint64) *p11.Attribute {
	var b []byte
	for _, m := range ms {
		b = binary.NativeEndian.AppendUint64(b, m)
	}
	return p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, b)
}

// setKeyBytes is the length of each key of a set.
const setKeyBytes = 32

// setTemplate says what a key of a set may do. The token enforces here what
// class N and X promise: see selftest.go. checkKey compares every line.
type setTemplate struct {
	make    uint // the mechanism that makes it
	keyType uint
	uses    map[uint]bool
	allowed uint64 // the one mechanism that it may be used by
	wrap    []flag // what a key must have to be wrapped under it
	unwrap  []flag // what a key has that is unwrapped under it
}

var (
	wrapping  = map[uint]bool{p11.CKA_WRAP: true, p11.CKA_UNWRAP: true}
	sensitive = []flag{{p11.CKA_SENSITIVE, true}}
	macs      = setTemplate{make: p11.CKM_GENERIC_SECRET_KEY_GEN, keyType: p11.CKK_GENERIC_SECRET, uses: map[uint]bool{p11.CKA_SIGN: true}, allowed: p11.CKM_SHA256_HMAC}
)

var setTemplates = map[string]setTemplate{
	"N": {make: p11.CKM_AES_KEY_GEN, keyType: p11.CKK_AES, uses: wrapping, allowed: ckmAESKeyWrap, wrap: sensitive,
		unwrap: []flag{{p11.CKA_PRIVATE, true}, {p11.CKA_SENSITIVE, true}, {p11.CKA_EXTRACTABLE, false}}},
	"X": {make: p11.CKM_AES_KEY_GEN, keyType: p11.CKK_AES, uses: wrapping, allowed: ckmAESKeyWrap, wrap: sensitive,
		unwrap: []flag{{p11.CKA_PRIVATE, true}, {p11.CKA_SENSITIVE, true}}},
	"C": {make: p11.CKM_AES_KEY_GEN, keyType: p11.CKK_AES, uses: wrapping, allowed: ckmAESKeyWrap},
	"D": {make: p11.CKM_AES_KEY_GEN, keyType: p11.CKK_AES, uses: map[uint]bool{p11.CKA_ENCRYPT: true, p11.CKA_DECRYPT: true}, allowed: p11.CKM_AES_GCM},
	"R": macs, "V": macs, "S": macs,
}

// attributes returns the mechanism and the template to make a key of a purpose
// in a session. It is not modifiable once it is kept: see keepKey.
func setAttributes(purpose string) (uint, []*p11.Attribute, error) {
	s, ok := setTemplates[purpose]
	if !ok {
		return 0, nil, fmt.Errorf("no key of a set has the purpose %q", purpose)
	}
	as := template(p11.CKO_SECRET_KEY, s.keyType, true, false, s.uses, p11.NewAttribute(p11.CKA_VALUE_LEN, setKeyBytes), mechanismList(s.allowed))
	if s.wrap != nil {
		as = append(as, p11.NewAttribute(ckaWrapTemplate, nestedTemplate(s.wrap...)))
	}
	if s.unwrap != nil {
		as = append(as, p11.NewAttribute(ckaUnwrapTemplate, nestedTemplate(s.unwrap...)))
	}
	return s.make, as, nil
}
