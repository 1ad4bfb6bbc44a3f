package format

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keyreeve/keyreeve/core"
)

// normalizePrivate brings a private key to PKCS#8. A key that may leave in clear
// is tried by crypto/x509 besides; of the others no copy is left but the one that
// is returned.
func normalizePrivate(n core.Normalized, kb *core.KeyBlock, class core.Class) (core.Normalized, error) {
	if keptAsGiven(kb.Format) {
		return asGiven(n, kb, class, nil)
	}
	if n, kept, err := transparentAsGiven(n, kb, true, class); kept {
		return n, err
	}
	k, err := readPrivate(kb)
	if isUnread(err) && kb.Transparent == nil {
		return asGiven(n, kb, class, err)
	}
	if err != nil {
		if core.CodeOf(err) == core.InvalidField {
			err = invalid("the Key Material is no private key in format %v: %v", kb.Format, err)
		}
		return n, err
	}
	if k.kind == core.KeyRSA {
		defer k.forget()
		if err := k.complete(); err != nil {
			return n, err
		}
	}
	if err := k.describe(&n); err != nil {
		return n, err
	}
	if k.exact {
		n.Bytes = bytes.Clone(kb.Material)
	} else {
		n.Bytes = k.pkcs8()
	}
	if class == core.ClassC {
		err = k.proveInGo(&n)
	}
	if err != nil {
		clear(n.Bytes)
	}
	return n, err
}

// proveInGo tries a class C key by crypto/x509, and lets that write what did not
// come as it is kept: with the point that was left out.
func (k *private) proveInGo(n *core.Normalized) error {
	key, err := x509.ParsePKCS8PrivateKey(n.Bytes)
	if err != nil {
		return core.Wrap(core.InvalidField, err, "the Key Material is no private key: %v", errTogether)
	}
	var public interface{ Equal(crypto.PublicKey) bool }
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		public = &key.PublicKey
	case ed25519.PrivateKey:
		public = key.Public().(ed25519.PublicKey)
	}
	if k.point != nil && !public.Equal(k.public()) {
		return invalid("the public key inside the private key is another's")
	}
	if k.exact {
		return nil
	}
	clear(n.Bytes)
	n.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	return err
}

// pkcs8 writes the key as PrivateKeyInfo into one buffer that is never left for a
// larger one.
func (k *private) pkcs8() []byte {
	w := newBackward(k)
	whole := w.at
	switch k.kind {
	case core.KeyRSA:
		for i := rsaNumbers - 1; i >= 0; i-- {
			if k.rsa[i] != nil {
				w.integer(k.rsa[i])
			}
		}
		w.integer([]byte{0})
		w.wrap(asn1.SEQUENCE, whole)
	case core.KeyEC:
		if k.point != nil {
			w.put(k.point)
			w.put([]byte{0}) // no unused bits
			w.wrap(asn1.BIT_STRING, whole)
			w.wrap(asn1.Tag(1).ContextSpecific().Constructed(), whole)
		}
		end := w.at
		w.put(k.d)
		w.at -= len(k.curve.order) - len(k.d) // zeros
		w.wrap(asn1.OCTET_STRING, end)
		w.integer([]byte{1})
		w.wrap(asn1.SEQUENCE, whole)
	case core.KeyEd25519:
		w.put(k.d)
		w.wrap(asn1.OCTET_STRING, whole)
	}
	w.wrap(asn1.OCTET_STRING, whole)
	k.identifier(w)
	w.integer([]byte{0})
	w.wrap(asn1.SEQUENCE, whole)
	return w.buf[w.at:]
}

// identifier writes the AlgorithmIdentifier.
func (k *private) identifier(w *backward) {
	end, oid := w.at, oidEd25519
	switch k.kind {
	case core.KeyRSA:
		w.wrap(asn1.NULL, w.at)
		oid = oidRSA
	case core.KeyEC:
		w.put(k.curve.oid)
		w.wrap(asn1.OBJECT_IDENTIFIER, end)
		oid = oidEC
	}
	at := w.at
	w.put(oid)
	w.wrap(asn1.OBJECT_IDENTIFIER, at)
	w.wrap(asn1.SEQUENCE, end)
}

// backward writes DER from its end, so that every length is known when it is
// written and nothing moves.
type backward struct {
	buf []byte
	at  int
}

// overhead is more than headers, identifiers and small numbers take, in bytes.
const overhead = 128

// newBackward has room for a key.
func newBackward(k *private) *backward {
	room := overhead + len(k.d) + len(k.point)
	if k.curve != nil {
		room += len(k.curve.order)
	}
	for _, b := range k.rsa {
		room += len(b)
	}
	return &backward{make([]byte, room), room}
}

func (w *backward) put(b []byte) {
	w.at -= len(b)
	copy(w.buf[w.at:], b)
}

// wrap writes tag and length of what lies between here and end.
func (w *backward) wrap(t asn1.Tag, end int) {
	n := end - w.at
	switch {
	case n < 0x80:
		w.put([]byte{byte(n)})
	case n <= 0xff:
		w.put([]byte{0x81, byte(n)})
	default:
		w.put([]byte{0x82, byte(n >> 8), byte(n)}) // 16384 bits make 9 KiB
	}
	w.put([]byte{byte(t)})
}

// integer writes a number that is not negative.
func (w *backward) integer(b []byte) {
	end := w.at
	w.put(b)
	if b[0]&0x80 != 0 {
		w.put([]byte{0})
	}
	w.wrap(asn1.INTEGER, end)
}
