package soft

import (
	"context"
	"crypto/aes"
	"crypto/hkdf"
	"crypto/hmac"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of a derivation.
const (
	maxPBKDF2Rounds = 2_000_000 // iterations, times the blocks of the result: about a second
	maxHKDFBlocks   = 255       // RFC 5869 §2.3

	contextCheckRounds = 4096 // between two looks at the context
)

// PRF writes a pseudorandom function of data, under the base key, into sum.
type PRF func(sum, data []byte) error

// prfBytes returns the length of the result of a pseudorandom function.
func prfBytes(alg core.CryptographicAlgorithm) (int, error) {
	if alg == core.AlgorithmAES {
		return aes.BlockSize, nil
	}
	h, err := HMACHash(alg)
	if err != nil {
		return 0, err
	}
	return h.Size(), nil
}

// CheckDerivation refuses a derivation that cannot give a key of n bytes, or takes too long.
func CheckDerivation(d *core.Derivation, n int) error {
	most, err := derivedBytes(d, n)
	if err == nil && n > most {
		err = core.Errorf(core.CryptographicFailure, "%v gives %d bits here, and the Cryptographic Length asks for %d", d.Method, 8*most, 8*n)
	}
	return err
}

// derivedBytes returns the length of the longest key that a derivation gives: n if it gives
// keys of any length.
func derivedBytes(d *core.Derivation, n int) (int, error) {
	switch d.Method {
	case core.DerivationMethodHASH:
		h, err := hashOf(d.Parameters.HashingAlgorithm)
		if err != nil {
			return 0, err
		}
		return h.Size(), nil
	case core.DerivationMethodENCRYPT:
		plan, err := DerivingCipher(d)
		if plan.Pad {
			return len(d.Data)/plan.Block*plan.Block + plan.Block, err
		}
		return len(d.Data), err
	}
	size, err := prfBytes(d.PRF)
	if err != nil {
		return 0, err
	}
	switch d.Method {
	case core.DerivationMethodHMAC:
		return size, nil
	case core.DerivationMethodHKDF:
		return maxHKDFBlocks * size, nil
	case core.DerivationMethodPBKDF2:
		if blocks := (n + size - 1) / size; d.Iterations > maxPBKDF2Rounds/blocks {
			return 0, core.Errorf(core.InvalidField, "the Iteration Count is %d; for a key of %d bits by %v it may be %d", d.Iterations, 8*n, d.PRF, maxPBKDF2Rounds/blocks)
		}
	}
	return n, nil
}

// DerivingCipher decides the cipher of the method ENCRYPT.
func DerivingCipher(d *core.Derivation) (Plan, error) {
	plan, err := CheckCipher(cipherOf(d), true)
	if err == nil && plan.MakeIV {
		err = core.Errorf(core.InvalidField, "%v in mode %v needs an Initialization Vector: a key that is derived with a random one could never be derived again", d.Method, plan.Mode)
	}
	return plan, err
}

func cipherOf(d *core.Derivation) *core.Cipher {
	return &core.Cipher{Parameters: d.Parameters, Data: d.Data, IV: d.IV}
}

// ExpandKey derives a key by calls of a pseudorandom function alone, so that the base key can
// stay in the HSM: by HMAC, and by the methods of NIST SP 800-108. Counters have 32 bits, and
// the data is all of the fixed input.
func ExpandKey(d *core.Derivation, prf PRF, out []byte) error {
	size, err := prfBytes(d.PRF)
	if err != nil {
		return err
	}
	sum, pipeline := make([]byte, size), make([]byte, size) // K(i) and A(i) of SP 800-108
	input := make([]byte, 0, size+len(d.IV)+4+len(d.Data))
	defer func() { clear(sum); clear(pipeline); clear(input[:cap(input)]) }()
	for i := uint32(1); len(out) > 0; i++ {
		input = input[:0]
		switch {
		case d.Method == core.DerivationMethodNIST800_108F && i == 1:
			input = append(input, d.IV...)
		case d.Method == core.DerivationMethodNIST800_108F:
			input = append(input, sum...)
		case d.Method == core.DerivationMethodNIST800_108DPI:
			before := pipeline
			if i == 1 {
				before = d.Data
			}
			if err := prf(sum, before); err != nil {
				return err
			}
			copy(pipeline, sum)
			input = append(input, pipeline...)
		}
		if d.Method != core.DerivationMethodHMAC {
			input = binary.BigEndian.AppendUint32(input, i)
		}
		input = append(input, d.Data...)
		if err := prf(sum, input); err != nil {
			return err
		}
		out = out[copy(out, sum):]
	}
	return nil
}

// DeriveKey derives a key from the bytes of a base key in memory.
func DeriveKey(ctx context.Context, key []byte, d *core.Derivation, out []byte) error {
	if err := CheckDerivation(d, len(out)); err != nil {
		return err
	}
	switch d.Method {
	case core.DerivationMethodHASH:
		sum, err := Digest(d.Parameters.HashingAlgorithm, key)
		defer clear(sum)
		copy(out, sum)
		return err
	case core.DerivationMethodENCRYPT:
		enciphered, err := Encrypt(key, cipherOf(d), nil)
		defer clear(enciphered.Data)
		copy(out, enciphered.Data)
		return err
	case core.DerivationMethodPBKDF2:
		return pbkdf2(ctx, key, d, out)
	case core.DerivationMethodHKDF:
		h, err := HMACHash(d.PRF)
		if err != nil {
			return err
		}
		derived, err := hkdf.Key(h.New, key, d.Salt, string(d.Data), len(out))
		defer clear(derived)
		copy(out, derived)
		return err
	}
	return ExpandKey(d, func(sum, data []byte) error {
		mac, err := macOf(d.PRF, key, data)
		defer clear(mac)
		copy(sum, mac)
		return err
	}, out)
}

// macOf computes the pseudorandom function of a derivation.
func macOf(alg core.CryptographicAlgorithm, key, data []byte) ([]byte, error) {
	if alg == core.AlgorithmAES {
		return CMAC(alg, key, data)
	}
	return MAC(alg, key, data)
}

// pbkdf2 is PBKDF2 of RFC 8018 §5.2. Unlike Go's, it ends with the context.
func pbkdf2(ctx context.Context, password []byte, d *core.Derivation, out []byte) error {
	h, err := HMACHash(d.PRF)
	if err != nil {
		return err
	}
	mac := hmac.New(h.New, password)
	u, t := make([]byte, 0, h.Size()), make([]byte, h.Size())
	defer func() { clear(u[:cap(u)]); clear(t) }()
	for block := uint32(1); len(out) > 0; block++ {
		mac.Reset()
		mac.Write(d.Salt)
		mac.Write(binary.BigEndian.AppendUint32(nil, block))
		u = mac.Sum(u[:0])
		copy(t, u)
		for round := 1; round < d.Iterations; round++ {
			if round%contextCheckRounds == 0 && ctx.Err() != nil {
				return core.Wrap(core.GeneralFailure, ctx.Err(), "the request ended after %d of %d iterations", round, d.Iterations)
			}
			mac.Reset()
			mac.Write(u)
			u = mac.Sum(u[:0])
			for i := range t {
				t[i] ^= u[i]
			}
		}
		out = out[copy(out, t):]
	}
	return nil
}
