package rules

import (
	"cmp"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of a derivation.
const (
	MaxDerivationBytes = 64 * 1024 // of each of Derivation Data, Salt and Initialization Vector
	maxIterations      = 2_000_000 // the HSM port bounds them further by the length of the key
	minHiddenBits      = 112       // of a key from a base of class N or X
)

// presence says whether a method has a field of the Derivation Parameters.
type presence uint8

const (
	never presence = iota
	may
	must
)

// derivationMethods lists the Derivation Methods that are supported, with their fields (KMIP
// 1.4 §4.6, 2.1 §7.12). HASH and PBKDF2 work on the base object alone, so it is their data.
var derivationMethods = map[core.DerivationMethod]struct{ data, salt, iv, iterations presence }{
	core.DerivationMethodPBKDF2:         {salt: must, iterations: must},
	core.DerivationMethodHASH:           {},
	core.DerivationMethodHMAC:           {data: must},
	core.DerivationMethodENCRYPT:        {data: must, iv: may},
	core.DerivationMethodNIST800_108C:   {data: must},
	core.DerivationMethodNIST800_108F:   {data: must, iv: may},
	core.DerivationMethodNIST800_108DPI: {data: must},
	core.DerivationMethodHKDF:           {data: may, salt: may},
}

// CheckDerivationMethod refuses a Derivation Method that is not supported, or that the version
// of the client lacks; 0 is no version of KMIP.
func CheckDerivationMethod(m core.DerivationMethod, v core.Version) error {
	info := core.TagDerivationMethod.Info().Enum.Lookup(uint32(m))
	if info == nil {
		return core.Errorf(core.InvalidField, "there is no Derivation Method %v", m)
	}
	if v != 0 && !v.Within(info.Since, info.Until) {
		return core.Errorf(core.InvalidField, "KMIP %v has no Derivation Method %v", v, m)
	}
	if _, ok := derivationMethods[m]; !ok {
		return core.Errorf(core.FeatureNotSupported, "Derivation Method %v is not supported; use PBKDF2, HASH, HMAC, ENCRYPT, HKDF or a method of NIST 800-108", m)
	}
	return nil
}

// CompleteDerivation checks the fields of a derivation from the key base, and sets its PRF and
// its parameters. d has the fields of the request; nil is an absent one. dataOf is a second
// base object, whose value is the Derivation Data, or nil.
func CompleteDerivation(d *core.Derivation, asked *core.CryptographicParameters, iterations *int32, base, dataOf *core.ManagedObject) error {
	if err := checkDerivationFields(d, iterations, dataOf); err != nil {
		return err
	}
	d.Parameters = CompleteParameters(asked, base)
	scheme := &schemeHMAC
	switch d.Method {
	case core.DerivationMethodHASH:
		scheme, d.Parameters.CryptographicAlgorithm = &SchemeHash, 0
	case core.DerivationMethodENCRYPT:
		if own := base.Algorithm(); own != core.AlgorithmAES && own != core.AlgorithmDES3 {
			return core.Errorf(core.BadCryptographicParameters, "%v needs an AES or 3DES key, and object %s is for %v", d.Method, base.ID, own)
		}
		if scheme = CipherScheme(base, &d.Parameters); scheme != &schemeECB && scheme != &schemeCBC {
			return core.Errorf(core.BadCryptographicParameters, "keys are derived by encryption in mode ECB or CBC, with a Block Cipher Mode that the request or the key names; other modes would only XOR the Derivation Data with a key stream")
		}
		if err := scheme.CheckInputs(&core.Cipher{Parameters: d.Parameters, IV: d.IV}); err != nil {
			return err
		}
	case core.DerivationMethodNIST800_108C, core.DerivationMethodNIST800_108F, core.DerivationMethodNIST800_108DPI:
		scheme = MACScheme(base, &d.Parameters)
	}
	if err := scheme.CheckAsked(asked, base); err != nil {
		return err
	}
	return choosePRF(d, asked, scheme, base)
}

// checkDerivationFields refuses fields that the method lacks, and those that it has not but
// needs.
func checkDerivationFields(d *core.Derivation, iterations *int32, dataOf *core.ManagedObject) error {
	fields := derivationMethods[d.Method]
	if (d.Data != nil || dataOf != nil) && fields.data == never {
		return core.Errorf(core.InvalidMessage, "%v works on the value of one base object, which is its Derivation Data; leave the Derivation Data and further Unique Identifiers out", d.Method)
	}
	if d.Data != nil && dataOf != nil {
		return core.Errorf(core.InvalidMessage, "Derivation Data and Secret Data %s are given; give one of them", dataOf.ID)
	}
	for _, f := range []struct {
		tag  core.Tag
		has  bool
		size int
		presence
	}{
		{core.TagDerivationData, d.Data != nil || dataOf != nil, len(d.Data), fields.data},
		{core.TagSalt, d.Salt != nil, len(d.Salt), fields.salt},
		{core.TagInitializationVector, d.IV != nil, len(d.IV), fields.iv},
		{core.TagIterationCount, iterations != nil, 0, fields.iterations},
	} {
		switch {
		case f.has && f.presence == never:
			return core.Errorf(core.InvalidField, "%v has no effect with %v; leave it out", f.tag, d.Method)
		case !f.has && f.presence == must:
			return core.Errorf(core.InvalidField, "%v needs the %v", d.Method, f.tag)
		case f.size > MaxDerivationBytes:
			return core.Errorf(core.InvalidField, "the %v has %d bytes; at most %d are taken", f.tag, f.size, MaxDerivationBytes)
		}
	}
	if iterations != nil {
		if d.Iterations = int(*iterations); d.Iterations < 1 || d.Iterations > maxIterations {
			return core.Errorf(core.InvalidField, "the Iteration Count is %d; it must be 1 to %d", d.Iterations, maxIterations)
		}
	}
	return nil
}

// choosePRF sets the pseudorandom function. PBKDF2 and HKDF have a default for all keys. An
// HMAC key is used with its own algorithm only, which it names too.
func choosePRF(d *core.Derivation, asked *core.CryptographicParameters, scheme *Scheme, base *core.ManagedObject) error {
	hash, own := d.Parameters.HashingAlgorithm, base.Algorithm()
	named := hmacOfHash[hash]
	switch {
	case d.Method == core.DerivationMethodHASH, d.Method == core.DerivationMethodENCRYPT:
		return nil
	case hash != 0 && named == 0:
		return core.Errorf(core.BadCryptographicParameters, "%v does not derive by Hashing Algorithm %v", d.Method, hash)
	case named == 0 && asked != nil && isHMAC(asked.CryptographicAlgorithm):
		named = asked.CryptographicAlgorithm
	}
	switch {
	case d.Method == core.DerivationMethodPBKDF2: // RFC 8018 A.2
		d.PRF = cmp.Or(named, core.AlgorithmHMACSHA1)
	case d.Method == core.DerivationMethodHKDF: // KMIP 2.1 §7.12
		d.PRF = cmp.Or(named, core.AlgorithmHMACSHA256)
	case scheme == &schemeCMAC && own == core.AlgorithmAES:
		d.PRF = own
	case isHMAC(own) && named != 0 && named != own:
		return core.Errorf(core.BadCryptographicParameters, "object %s is a key for %v, and the request derives by %v", base.ID, own, named)
	case isHMAC(own):
		d.PRF = own
	case named != 0:
		d.PRF = named
	default:
		return core.Errorf(core.BadCryptographicParameters, "neither the request nor object %s names the Hashing Algorithm of %v", base.ID, d.Method)
	}
	return nil
}

// CheckDerivedSecret refuses a derivation from a base of class N or X if callers could find
// out the derived key without reading it:
//
//   - A short key can be guessed. With its value the next longer one can be guessed, and so on.
//   - A block of 3DES has 64 bits. A key of equal blocks, which ECB makes of equal data, could
//     be guessed, and so the value of each block one after the other.
//   - Another use of the base computes the same function of data that the caller chooses.
func CheckDerivedSecret(d *core.Derivation, base *core.ManagedObject, bits int) error {
	if base.Material.Class == core.ClassC {
		return nil
	}
	if bits < minHiddenBits {
		return core.Errorf(core.InvalidField, "object %s is of class %s, and a key of %d bits that is derived from it could be guessed; ask for %d bits", base.ID, base.Material.Class, bits, minHiddenBits)
	}
	if d.Method == core.DerivationMethodENCRYPT && base.Algorithm() == core.AlgorithmDES3 {
		return core.Errorf(core.BadCryptographicParameters, "object %s is of class %s, and keys that %v derives by 3DES could be guessed, since its blocks have 64 bits; derive from an AES key", base.ID, base.Material.Class, d.Method)
	}
	same := core.MaskMACGenerate
	if d.PRF == core.AlgorithmAES || d.Method == core.DerivationMethodENCRYPT {
		same |= core.MaskEncrypt | core.MaskDecrypt | core.MaskWrapKey | core.MaskUnwrapKey
	}
	if m := base.Mask() & same; m != 0 {
		return core.Errorf(core.IncompatibleUsageMask, "the Cryptographic Usage Mask of object %s also allows %v, by which a caller could compute the key that %v derives; keys of class %s derive in this way only if their mask does not", base.ID, m, d.Method, base.Material.Class)
	}
	return nil
}
