package rules

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// NewKey describes a key that a simulated request makes, takes or replaces, in the words of tests
// in key policies. What is left out is not named by the request.
type NewKey struct {
	Algorithm string   // such as "AES"
	Length    int64    // in bits
	Usage     []string // names of the Cryptographic Usage Mask, such as "Encrypt"
}

// maxAskedLength bounds the length of a key in a question, in bits.
const maxAskedLength = 1 << 20

// Asked returns what a request for one of some actions asks for. A wrong name or length, and a key
// for actions that make none, is an error of code InvalidField.
func (n *NewKey) Asked(actions []core.Action) (asked core.Asked, err error) {
	if n.Algorithm == "" && n.Length == 0 && len(n.Usage) == 0 {
		return asked, nil
	}
	if !slices.ContainsFunc(actions, core.Action.MakesKey) {
		return asked, core.Errorf(core.InvalidField, "algorithm, length and usage are those of a new key: they go with create, register and Re-key")
	}
	if n.Algorithm != "" {
		algorithm, ok := core.TagCryptographicAlgorithm.Info().Enum.ByName(n.Algorithm)
		if !ok {
			return asked, core.Errorf(core.InvalidField, "algorithm: %q is none that is known; AES, RSA and EC are some", core.ClientText(n.Algorithm))
		}
		asked.Parameters = &core.CryptographicParameters{CryptographicAlgorithm: core.CryptographicAlgorithm(algorithm)}
	}
	if n.Length < 0 || n.Length > maxAskedLength {
		return asked, core.Errorf(core.InvalidField, "length: a key has 1 to %d bits, not %d", maxAskedLength, n.Length)
	}
	asked.Length = int32(n.Length)
	for _, name := range n.Usage {
		use, ok := core.TagCryptographicUsageMask.Info().Enum.ByName(name)
		if !ok {
			return asked, core.Errorf(core.InvalidField, "usage: %q is none that is known; Encrypt, Decrypt and \"Wrap Key\" are some", core.ClientText(name))
		}
		asked.UsageMask |= core.UsageMask(use)
	}
	if asked.Length == 0 && slices.Contains(actions, core.ActionCreate) {
		asked.Length = usualLength(asked.Parameters)
	}
	return asked, nil
}

// usualLength returns the length that the server chooses for a symmetric key; 0: it chooses none.
func usualLength(p *core.CryptographicParameters) int32 {
	if p == nil {
		return 0
	}
	return int32(symmetricSizes[p.CryptographicAlgorithm].usual)
}
