package format

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"math/big"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keyreeve/keyreeve/core"
)

// privateKey is a parsed private key. Its slices alias the bytes that it was read from.
// Nothing here copies a secret, or passes one to a package that would: crypto/x509,
// crypto/rsa and math/big leave copies for the collector.
//
// Reading checks the form. completeRSA checks that the numbers of an RSA key belong
// together. Whether a public point belongs to the key is checked when the HSM signs
// with it, and for class C by crypto/x509.
type privateKey struct {
	kind         core.KeyKind
	rsa          [rsaNumbers][]byte // without leading zeros; some may be missing until completeRSA
	curve        *namedCurve        // EC
	d            []byte             // EC, without leading zeros, and Ed25519
	point        []byte             // the public point, EC and Ed25519; nil if it is missing
	isStoredForm bool               // it came as the PKCS#8 that it is kept as
	made         [][]byte           // numbers that did not come; see complete
}

// The numbers of an RSA private key in the order of RFC 8017 §A.1.2.
const (
	modulus = iota
	publicExponent
	privateExponent
	prime1
	prime2
	exponent1
	exponent2
	coefficient
	rsaNumbers
)

// Bounds of RSA, in bits. Keys shorter than 2048 bits are not made here.
const (
	minModulus  = 512
	maxModulus  = 16384
	maxExponent = 31
)

// namedCurve is a supported curve.
type namedCurve struct {
	name  core.RecommendedCurve
	curve elliptic.Curve
	oid   []byte // the content of its OBJECT IDENTIFIER
	order []byte // big-endian; its length is that of d
}

var namedCurves = [...]*namedCurve{
	newCurve(core.RecommendedCurveP224, elliptic.P224(), 0x2b, 0x81, 0x04, 0x00, 0x21),
	newCurve(core.RecommendedCurveP256, elliptic.P256(), 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07),
	newCurve(core.RecommendedCurveP384, elliptic.P384(), 0x2b, 0x81, 0x04, 0x00, 0x22),
	newCurve(core.RecommendedCurveP521, elliptic.P521(), 0x2b, 0x81, 0x04, 0x00, 0x23),
}

func newCurve(name core.RecommendedCurve, c elliptic.Curve, oid ...byte) *namedCurve {
	return &namedCurve{name, c, oid, c.Params().N.Bytes()}
}

func findCurve(is func(*namedCurve) bool) *namedCurve {
	for _, c := range namedCurves {
		if is(c) {
			return c
		}
	}
	return nil
}

func curveByOID(oid []byte) *namedCurve {
	return findCurve(func(c *namedCurve) bool { return bytes.Equal(c.oid, oid) })
}

func curveNamed(name core.RecommendedCurve) *namedCurve {
	return findCurve(func(c *namedCurve) bool { return c.name == name })
}

// curveName returns the name of a supported curve.
func curveName(curve elliptic.Curve) core.RecommendedCurve {
	return findCurve(func(c *namedCurve) bool { return c.curve == curve }).name
}

// The contents of the algorithms' OBJECT IDENTIFIERs (RFC 3279 §2.3, RFC 8410 §3).
var (
	oidRSA     = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}
	oidEC      = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01}
	oidEd25519 = []byte{0x2b, 0x65, 0x70}
)

func invalid(format string, args ...any) error {
	return core.Errorf(core.InvalidField, format, args...)
}

// unreadForm is the error for key bytes whose form is valid but not supported here:
// encrypted, on another curve or of another algorithm. They are stored unread.
type unreadForm struct{ error }

func (u unreadForm) Unwrap() error { return u.error }

func isUnread(err error) bool {
	_, ok := errors.AsType[unreadForm](err)
	return ok
}

var (
	errNoDER    = invalid("it is not DER of that form, or more bytes follow it")
	errCurve    = unreadForm{invalid("its curve is not P-224, P-256, P-384 or P-521")}
	errNoCurve  = invalid("it names no curve")
	errPassword = unreadForm{invalid("it is encrypted under a password")}
	errKind     = unreadForm{invalid("its algorithm is not RSA, EC or Ed25519")}
	errMulti    = invalid("RSA keys of more than two primes are not supported")
	errTogether = invalid("its numbers do not belong together")
)

// readPrivate parses a private key that a client sent.
func readPrivate(kb *core.KeyBlock) (*privateKey, error) {
	der, fields := cryptobyte.String(kb.Material), core.Structure(kb.Transparent...)
	switch kb.Format {
	case core.KeyFormatTypePKCS1:
		return readPKCS1(der)
	case core.KeyFormatTypePKCS8:
		return readPKCS8(der)
	case core.KeyFormatTypeECPrivateKey:
		return readSEC1(der, nil)
	case core.KeyFormatTypeTransparentRSAPrivateKey:
		return rsaFromFields(fields)
	case core.KeyFormatTypeTransparentECPrivateKey, core.KeyFormatTypeTransparentECDSAPrivateKey:
		return ecFromFields(fields)
	}
	return nil, core.Errorf(core.KeyFormatTypeNotSupported, "a Private Key cannot be registered as %v; see docs/KMIP.md for the formats", kb.Format)
}

// readPKCS1 reads an RSAPrivateKey (RFC 8017 §A.1.2). The last three numbers may be
// missing: the RFC does not allow it, but some clients do it.
func readPKCS1(der cryptobyte.String) (*privateKey, error) {
	var seq cryptobyte.String
	var version int
	if !der.ReadASN1(&seq, asn1.SEQUENCE) || !der.Empty() || !seq.ReadASN1Integer(&version) {
		return nil, errNoDER
	}
	if version == 1 {
		return nil, errMulti
	}
	k := &privateKey{kind: core.KeyRSA}
	for i := range k.rsa {
		if i >= exponent1 && seq.Empty() {
			break
		}
		if !seq.ReadASN1Integer(&k.rsa[i]) { // positive and minimal; aliases der
			return nil, errNoDER
		}
	}
	if version != 0 || !seq.Empty() {
		return nil, errNoDER
	}
	return k, k.checkRSA()
}

// readPKCS8 reads a PrivateKeyInfo (RFC 5208 §5) or a OneAsymmetricKey (RFC 5958 §2).
// Attributes are ignored, and so is the public key, except that of Ed25519.
func readPKCS8(der cryptobyte.String) (*privateKey, error) {
	var seq, alg, oid, key, ignored, rest cryptobyte.String
	var version int
	var attributes, public bool
	if encryptedPKCS8(der) {
		return nil, errPassword
	}
	if !der.ReadASN1(&seq, asn1.SEQUENCE) || !der.Empty() || !seq.ReadASN1Integer(&version) || !seq.ReadASN1(&alg, asn1.SEQUENCE) ||
		!alg.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !seq.ReadASN1(&key, asn1.OCTET_STRING) ||
		!seq.ReadOptionalASN1(&ignored, &attributes, asn1.Tag(0).ContextSpecific().Constructed()) ||
		!seq.ReadOptionalASN1(&rest, &public, asn1.Tag(1).ContextSpecific()) || !seq.Empty() || version < 0 || version > 1 {
		return nil, errNoDER
	}
	k, err := readInner(oid, alg, key)
	if err != nil {
		return nil, err
	}
	k.isStoredForm = k.isStoredForm && version == 0 && !attributes && !public
	if public && k.kind == core.KeyEd25519 {
		if len(rest) != 1+ed25519.PublicKeySize || rest[0] != 0 {
			return nil, errNoDER
		}
		k.point = rest[1:]
	}
	return k, nil
}

// encryptedPKCS8 reports whether der is an EncryptedPrivateKeyInfo (RFC 5958 §3).
func encryptedPKCS8(der cryptobyte.String) bool {
	var seq, alg, oid, data cryptobyte.String
	return der.ReadASN1(&seq, asn1.SEQUENCE) && der.Empty() && seq.ReadASN1(&alg, asn1.SEQUENCE) && alg.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) &&
		seq.ReadASN1(&data, asn1.OCTET_STRING) && len(data) > 0 && seq.Empty()
}

// readInner reads a key by the identifier and the parameters of its algorithm. It sets
// isStoredForm if those are as marshalPKCS8 writes them.
func readInner(oid, parameters, key cryptobyte.String) (k *privateKey, err error) {
	switch {
	case bytes.Equal(oid, oidRSA):
		var null cryptobyte.String
		given := !parameters.Empty()
		if given && (!parameters.ReadASN1(&null, asn1.NULL) || !null.Empty() || !parameters.Empty()) {
			return nil, errNoDER
		}
		if k, err = readPKCS1(key); err == nil {
			k.isStoredForm = given && k.rsa[coefficient] != nil
		}
	case bytes.Equal(oid, oidEC):
		var name cryptobyte.String
		if !parameters.ReadASN1(&name, asn1.OBJECT_IDENTIFIER) || !parameters.Empty() {
			return nil, errNoCurve
		}
		c := curveByOID(name)
		if c == nil {
			return nil, errCurve
		}
		k, err = readSEC1(key, c)
	case bytes.Equal(oid, oidEd25519):
		var seed cryptobyte.String
		if !parameters.Empty() || !key.ReadASN1(&seed, asn1.OCTET_STRING) || !key.Empty() || len(seed) != ed25519.SeedSize {
			return nil, errNoDER
		}
		k = &privateKey{kind: core.KeyEd25519, d: seed, isStoredForm: true}
	default:
		return nil, errKind
	}
	return k, err
}

// readSEC1 reads an ECPrivateKey (RFC 5915 §3). outer is the curve that is named outside
// it, if any; a curve that is named inside must be the same.
func readSEC1(der cryptobyte.String, outer *namedCurve) (*privateKey, error) {
	var seq, d, inside, name, public cryptobyte.String
	var version int
	var named, pointed bool
	if !der.ReadASN1(&seq, asn1.SEQUENCE) || !der.Empty() || !seq.ReadASN1Integer(&version) || version != 1 || !seq.ReadASN1(&d, asn1.OCTET_STRING) ||
		!seq.ReadOptionalASN1(&inside, &named, asn1.Tag(0).ContextSpecific().Constructed()) ||
		!seq.ReadOptionalASN1(&public, &pointed, asn1.Tag(1).ContextSpecific().Constructed()) || !seq.Empty() {
		return nil, errNoDER
	}
	k := &privateKey{kind: core.KeyEC, curve: outer, d: d}
	if named {
		if !inside.ReadASN1(&name, asn1.OBJECT_IDENTIFIER) || !inside.Empty() {
			return nil, errNoCurve
		}
		if k.curve = curveByOID(name); outer != nil && k.curve != outer {
			return nil, errTogether
		}
		if k.curve == nil {
			return nil, errCurve
		}
	}
	if k.curve == nil {
		return nil, errNoCurve
	}
	if pointed {
		var bits cryptobyte.String
		if !public.ReadASN1(&bits, asn1.BIT_STRING) || !public.Empty() || len(bits) < 2 || bits[0] != 0 {
			return nil, errNoDER
		}
		k.point = bits[1:]
	}
	k.isStoredForm = outer != nil && len(d) == len(k.curve.order)
	return k, k.checkEC()
}

// rsaTags are the fields of the numbers in a Transparent RSA Private Key (KMIP 1.4
// §2.1.7.4, 2.1 §3.1.2).
var rsaTags = [rsaNumbers]core.Tag{core.TagModulus, core.TagPublicExponent, core.TagPrivateExponent, core.TagP, core.TagQ,
	core.TagPrimeExponentP, core.TagPrimeExponentQ, core.TagCRTCoefficient}

// rsaFromFields reads the numbers as unsigned, whatever their first bit: some clients
// leave out the leading zero byte, and no number is negative.
func rsaFromFields(v core.Value) (*privateKey, error) {
	k := &privateKey{kind: core.KeyRSA}
	for i, t := range rsaTags {
		k.rsa[i] = trimZeros(v.Field(t).Bytes)
	}
	if k.rsa[publicExponent] == nil {
		k.rsa[publicExponent] = []byte{1, 0, 1}
	}
	if k.rsa[modulus] == nil || (k.rsa[privateExponent] == nil && k.rsa[prime1] == nil && k.rsa[prime2] == nil) {
		return nil, invalid("a Transparent RSA Private Key needs the Modulus, and the Private Exponent, P or Q")
	}
	return k, nil // completeRSA checks it
}

func ecFromFields(v core.Value) (*privateKey, error) {
	k := &privateKey{kind: core.KeyEC, d: v.Field(core.TagD).Bytes, curve: curveNamed(core.RecommendedCurve(v.Field(core.TagRecommendedCurve).Uint()))}
	if k.curve == nil {
		return nil, errCurve
	}
	return k, k.checkEC()
}

// trimZeros cuts off leading zero bytes. It returns nil for zero.
func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

// bitLen returns the length of a number in bits.
func bitLen(b []byte) int {
	if b = trimZeros(b); b == nil {
		return 0
	}
	return 8*(len(b)-1) + bits.Len8(b[0])
}

// isLessBigEndian reports whether a < b, of big-endian numbers. The time depends only on
// their lengths.
func isLessBigEndian(a, b []byte) bool {
	a, b = trimZeros(a), trimZeros(b)
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	borrow := 0
	for i := len(a) - 1; i >= 0; i-- {
		borrow = (int(a[i]) - int(b[i]) - borrow) >> 8 & 1
	}
	return borrow == 1
}

// lowWord returns a number modulo 2⁶⁴.
func lowWord(b []byte) (w uint64) {
	for _, c := range b[max(0, len(b)-8):] {
		w = w<<8 | uint64(c)
	}
	return w
}

func (k *privateKey) checkRSA() error {
	for i, b := range k.rsa {
		if k.rsa[i] = trimZeros(b); k.rsa[i] == nil && i < exponent1 {
			return invalid("one of its numbers is missing or zero")
		}
	}
	n, e, p, q := k.rsa[modulus], k.rsa[publicExponent], k.rsa[prime1], k.rsa[prime2]
	if size := bitLen(n); size < minModulus || size > maxModulus {
		return invalid("the RSA key has %d bits; it may have %d to %d", size, minModulus, maxModulus)
	}
	if bitLen(e) > maxExponent || bitLen(e) < 2 {
		return invalid("the public exponent has %d bits; it may have 2 to %d", bitLen(e), maxExponent)
	}
	over := bitLen(p) + bitLen(q) - bitLen(n) // 0 or 1 for a product
	odd := n[len(n)-1] & e[len(e)-1] & p[len(p)-1] & q[len(q)-1] & 1
	if odd == 0 || over < 0 || over > 1 || lowWord(p)*lowWord(q) != lowWord(n) || !isLessBigEndian(k.rsa[privateExponent], n) {
		return errTogether
	}
	return k.checkCRT()
}

// checkCRT checks the last three numbers: all or none are there, and each is below its
// prime.
func (k *privateKey) checkCRT() error {
	given := 0
	for i, below := range [...]int{exponent1: prime1, exponent2: prime2, coefficient: prime1} {
		if i < exponent1 || k.rsa[i] == nil {
			continue
		}
		if given++; !isLessBigEndian(k.rsa[i], k.rsa[below]) {
			return errTogether
		}
	}
	if given != 0 && given != 3 {
		return invalid("Prime Exponent P, Prime Exponent Q and CRT Coefficient must be given together")
	}
	return nil
}

func (k *privateKey) checkEC() error {
	if k.d = trimZeros(k.d); k.d == nil || !isLessBigEndian(k.d, k.curve.order) {
		return invalid("D is not between 1 and the order of the curve")
	}
	if k.point == nil {
		return nil
	}
	if k.ecPublic() == nil {
		return invalid("the public point does not lie on the curve")
	}
	return nil
}

// ecPublic returns the public key from the point, compressed or not; nil if it is none.
func (k *privateKey) ecPublic() *ecdsa.PublicKey {
	if x, y := elliptic.UnmarshalCompressed(k.curve.curve, k.point); x != nil {
		return &ecdsa.PublicKey{Curve: k.curve.curve, X: x, Y: y}
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(k.curve.curve, k.point)
	if err != nil {
		return nil
	}
	return pub
}

// public returns the public half, or nil if it did not come with the key.
func (k *privateKey) public() any {
	switch {
	case k.kind == core.KeyRSA:
		e := new(big.Int).SetBytes(k.rsa[publicExponent])
		return &rsa.PublicKey{N: new(big.Int).SetBytes(k.rsa[modulus]), E: int(e.Int64())}
	case k.point == nil:
		return nil
	case k.kind == core.KeyEC:
		return k.ecPublic()
	}
	return ed25519.PublicKey(k.point)
}

// PublicOf returns the public half of a private key in PKCS#8: *rsa.PublicKey,
// *ecdsa.PublicKey, ed25519.PublicKey, or nil if the key does not contain one. It makes
// no copy of a secret.
func PublicOf(pkcs8 []byte) (any, error) {
	k, err := readPKCS8(pkcs8)
	if err != nil {
		return nil, err
	}
	return k.public(), nil
}

// SeedOf returns the seed in an Ed25519 private key in PKCS#8, which it aliases.
func SeedOf(pkcs8 []byte) ([]byte, error) {
	k, err := readPKCS8(pkcs8)
	if err != nil {
		return nil, err
	}
	if k.kind != core.KeyEd25519 {
		return nil, invalid("the Key Material is not an Ed25519 private key")
	}
	return k.d, nil
}

// describe fills in kind, algorithm, length and curve. It refuses an algorithm in the
// Key Block that does not fit the key.
func (k *privateKey) describe(n *core.Normalized) (err error) {
	given := n.Algorithm
	n.Kind = k.kind
	switch k.kind {
	case core.KeyRSA:
		err = checkAlgorithm(given, core.AlgorithmRSA)
		n.Algorithm, n.Length = core.AlgorithmRSA, bitLen(k.rsa[modulus])
	case core.KeyEC:
		err = checkAlgorithm(given, core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH)
		n.Length, n.Curve = k.curve.curve.Params().BitSize, k.curve.name
		if given == 0 {
			n.Algorithm = core.AlgorithmEC
		}
	case core.KeyEd25519:
		err = checkAlgorithm(given, core.AlgorithmEd25519, core.AlgorithmEC) // 1.x has no name for Ed25519
		n.Algorithm, n.Length, n.Curve = core.AlgorithmEd25519, 256, core.RecommendedCurveCURVE25519
	}
	return err
}
