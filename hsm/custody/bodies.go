package custody

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Bodies of the directory are encrypted in this process, with a key that V of the system
// set derives in the HSM: thousands of them are read at start, and an HSM may need a
// millisecond for each call. See decision 24.

// directoryBodyText is the fixed text that V signs. Its MAC is the key of bodies.
const directoryBodyText = "keyreeve directory body v1"

// bodyEpochBytes is the length of the epoch of V before an encrypted body.
const bodyEpochBytes = 2

// deriveBodyKey derives the key of bodies in the HSM.
func deriveBodyKey(ctx context.Context, member hsm.Member, label string) (cipher.AEAD, error) {
	used, err := member.Use(ctx, &hsm.Key{Label: label}, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: hsm.SHA256HMAC}, Data: []byte(directoryBodyText)})
	if err != nil {
		return nil, err
	}
	defer clear(used.Data)
	block, err := aes.NewCipher(used.Data)
	if err != nil {
		return nil, core.Wrap(core.TokenUnavailable, err, "the HSM derived %d bytes in place of a key of 32", len(used.Data))
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// EncryptBody implements [core.Sealer]: the epoch of V, then IV, data and tag.
func (i *Installation) EncryptBody(name, body []byte) ([]byte, error) {
	n, err := i.keysOf("")
	if err != nil {
		return nil, err
	}
	epoch := n.newest[purposeDerive]
	key, ok := n.bodyKeys[epoch]
	if !ok {
		return nil, errNoBodyKey(epoch)
	}
	out := binary.BigEndian.AppendUint16(make([]byte, 0, len(body)+core.BodyOverhead), uint16(epoch))
	return key.Seal(out, nil, body, name), nil
}

// DecryptBody implements [core.Sealer].
func (i *Installation) DecryptBody(name, encrypted []byte) ([]byte, error) {
	n, err := i.keysOf("")
	if err != nil {
		return nil, err
	}
	if len(encrypted) < core.BodyOverhead {
		return nil, errWrongBody()
	}
	epoch := int(binary.BigEndian.Uint16(encrypted))
	key, ok := n.bodyKeys[epoch]
	if !ok {
		return nil, errNoBodyKey(epoch)
	}
	body, err := key.Open(nil, nil, encrypted[bodyEpochBytes:], name)
	if err != nil {
		return nil, errWrongBody()
	}
	return body, nil
}

func errNoBodyKey(epoch int) error {
	return core.Errorf(core.TokenUnavailable, "the key of epoch %d that encrypts bodies of the directory is not loaded from the HSM", epoch)
}

func errWrongBody() error {
	return core.Errorf(core.CryptographicFailure, "a body of the directory cannot be decrypted; restore its row from a backup and find out who can write the database")
}
