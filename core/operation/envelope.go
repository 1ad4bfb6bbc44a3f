package operation

import "github.com/keyreeve/keyreeve/core"

type (
	// EnvelopeInput is the input of EncryptEnvelope and DecryptEnvelope. The bounds of its parts
	// are those of package envelope.
	EnvelopeInput struct {
		ID      core.Identifier // DecryptEnvelope: empty for the key that the envelope names
		Data    []byte          // the plaintext, or the envelope
		AAD     []byte          // authenticated with the data, and not in the envelope
		Context map[string]string
	}
	// EnvelopeOutput has the envelope, or the plaintext.
	EnvelopeOutput struct {
		ID          string // of the version that was used
		Family      string // Unique Identifier of its first version
		Version     int64
		Data        []byte
		RotationDue bool // the version has made half of the encryptions that it may make
	}

	// ReencryptInput is the input of Reencrypt. AAD and Context are those of the old envelope and
	// of the new one.
	ReencryptInput struct {
		ID      core.Identifier // the key of the new envelope
		Source  core.Identifier // the key of the old envelope; empty for the one that it names
		Data    []byte          // the old envelope
		AAD     []byte
		Context map[string]string
	}

	// DataKeyInput is the input of GenerateDataKey.
	DataKeyInput struct {
		ID      core.Identifier
		Length  int  // bytes
		Clear   bool // the data key is returned in clear too
		AAD     []byte
		Context map[string]string
	}
	DataKeyOutput struct {
		EnvelopeOutput
		Secret *core.Secret // owns the clear data key; nil unless Clear. Release after the answer is written
	}
)

// DeriveBytesInput derives bytes that are no key. Length is in bytes.
type DeriveBytesInput struct {
	ID         core.Identifier
	Method     core.DerivationMethod
	Parameters DerivationParameters
	Length     int
}

// WrapBytesInput wraps bytes under a key, or unwraps them. Nil Parameters are those of the key.
type WrapBytesInput struct {
	ID         core.Identifier
	Parameters *core.CryptographicParameters
	Data       []byte
}

// WrapBytesOutput has the wrapped bytes, and the key version that wrapped them.
type WrapBytesOutput struct {
	ID   string
	Data []byte
}

// SecretOutput has bytes in clear, and the key version that they come from. The caller releases
// the secret.
type SecretOutput struct {
	ID      string
	Family  string
	Version int64
	Secret  *core.Secret
}
