// Package envelope reads and writes envelopes: ciphertext together with the name and the version
// of the key that made it.
//
// It handles bytes only: it neither encrypts nor decrypts. The form is documented for people in
// docs/envelope.md. Start at [Parse], or at [Header.AdditionalData].
package envelope

import (
	"encoding/binary"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

// Sizes of the parts that have one size, in bytes.
const (
	IVBytes  = 12
	TagBytes = 16
)

// Bounds of the other parts.
const (
	MaxFamilyBytes       = 128
	MaxPlaintext         = 16 << 20 // bytes
	MaxAAD               = 64 << 10 // bytes
	MaxContextPairs      = 64
	MaxContextKeyBytes   = 256
	MaxContextValueBytes = 4 << 10
)

// magic begins every envelope: three letters and the number of the format.
const magic = "kre\x01"

// Algorithm is the cipher of an envelope.
type Algorithm byte

// The algorithms. Both have an IV of 12 bytes and a tag of 16 bytes.
const (
	AESGCM           Algorithm = 1
	ChaCha20Poly1305 Algorithm = 2
)

// Header is the part of an envelope before the IV.
type Header struct {
	Family    string // Unique Identifier of the first version of the key
	Version   uint32 // of the key that encrypted, from 1
	Algorithm Algorithm
}

// Envelope is an envelope in its parts.
type Envelope struct {
	Header
	IV, Ciphertext, Tag []byte
}

// check refuses a header that no envelope has.
func (h *Header) check() error {
	switch {
	case len(h.Family) == 0 || len(h.Family) > MaxFamilyBytes:
		return core.Errorf(core.InvalidField, "an envelope names a key family of 1 to %d bytes, not of %d", MaxFamilyBytes, len(h.Family))
	case h.Version == 0:
		return core.Errorf(core.InvalidField, "an envelope names a key version from 1")
	case h.Algorithm != AESGCM && h.Algorithm != ChaCha20Poly1305:
		return core.Errorf(core.InvalidField, "no envelope has the algorithm %d", h.Algorithm)
	}
	for i := range len(h.Family) {
		if h.Family[i] <= ' ' || h.Family[i] > '~' {
			return core.Errorf(core.InvalidField, "the name of the key family in an envelope is not printable ASCII without spaces")
		}
	}
	return nil
}

// appendTo appends the header to b.
func (h *Header) appendTo(b []byte) []byte {
	b = append(b, magic...)
	b = append(append(b, byte(len(h.Family))), h.Family...)
	return append(binary.BigEndian.AppendUint32(b, h.Version), byte(h.Algorithm))
}

// AdditionalData returns what the tag of an envelope authenticates beside the plaintext: the
// header, then aad, then the pairs of context, sorted by the bytes of their keys. Each of them has
// its length before it, so that different inputs never give the same bytes.
func (h *Header) AdditionalData(aad []byte, context map[string]string) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if err := CheckInputs(aad, context); err != nil {
		return nil, err
	}
	b := appendSized(h.appendTo(nil), aad)
	b = binary.BigEndian.AppendUint32(b, uint32(len(context)))
	for _, key := range slices.Sorted(maps.Keys(context)) {
		b = appendSized(appendSized(b, []byte(key)), []byte(context[key]))
	}
	return b, nil
}

func appendSized(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

// CheckInputs refuses aad and context beyond their bounds, and context that is not UTF-8.
func CheckInputs(aad []byte, context map[string]string) error {
	if len(aad) > MaxAAD {
		return core.Errorf(core.InvalidField, "aad has %d bytes; %d is the most", len(aad), MaxAAD)
	}
	if len(context) > MaxContextPairs {
		return core.Errorf(core.InvalidField, "context has %d pairs; %d is the most", len(context), MaxContextPairs)
	}
	for key, value := range context {
		switch {
		case len(key) == 0 || len(key) > MaxContextKeyBytes:
			return core.Errorf(core.InvalidField, "a key of context has 1 to %d bytes, not %d", MaxContextKeyBytes, len(key))
		case len(value) > MaxContextValueBytes:
			return core.Errorf(core.InvalidField, "a value of context has %d bytes; %d is the most", len(value), MaxContextValueBytes)
		case !utf8.ValidString(key) || !utf8.ValidString(value):
			return core.Errorf(core.InvalidField, "context is not UTF-8")
		}
	}
	return nil
}

// Bytes returns the envelope as it is given to clients.
func (e *Envelope) Bytes() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	if len(e.IV) != IVBytes || len(e.Tag) != TagBytes || len(e.Ciphertext) > MaxPlaintext {
		return nil, core.Errorf(core.Internal, "an envelope has no IV of %d, tag of %d and ciphertext of %d bytes", len(e.IV), len(e.Tag), len(e.Ciphertext))
	}
	b := make([]byte, 0, len(magic)+1+len(e.Family)+4+1+IVBytes+len(e.Ciphertext)+TagBytes)
	return append(append(append(e.appendTo(b), e.IV...), e.Ciphertext...), e.Tag...), nil
}

// Parse reads an envelope. It refuses every form but the one that [Envelope.Bytes] writes. The
// parts refer to b.
func Parse(b []byte) (e Envelope, err error) {
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return e, core.Errorf(core.InvalidField, "the ciphertext is not an envelope of this server: it does not begin with %x", magic)
	}
	rest := b[len(magic):]
	if len(rest) < 1 || len(rest) < 1+int(rest[0])+4+1+IVBytes+TagBytes {
		return e, core.Errorf(core.InvalidField, "the envelope is cut off: it has %d bytes", len(b))
	}
	n := int(rest[0])
	e.Family, rest = string(rest[1:1+n]), rest[1+n:]
	e.Version, e.Algorithm, rest = binary.BigEndian.Uint32(rest), Algorithm(rest[4]), rest[5:]
	if err := e.check(); err != nil {
		return Envelope{}, err
	}
	end := len(rest) - TagBytes
	if end-IVBytes > MaxPlaintext {
		return Envelope{}, core.Errorf(core.InvalidField, "the envelope has %d bytes of ciphertext; %d is the most", end-IVBytes, MaxPlaintext)
	}
	e.IV, e.Ciphertext, e.Tag = rest[:IVBytes:IVBytes], rest[IVBytes:end:end], rest[end:]
	return e, nil
}
