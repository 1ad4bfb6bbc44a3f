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

// normalizePrivate converts a private key to PKCS#8. crypto/x509 checks a class C key as
// well. Of the other classes no copy is left except the returned one.
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
			err = invalid("the Key Material is not a private key in format %v: %v", kb.Format, err)
		}
		return n, err
	}
	if k.kind == core.KeyRSA {
		defer k.forgetMade()
		if err := k.completeRSA(); err != nil {
			return n, err
		}
	}
	if err := k.describe(&n); err != nil {
		return n, err
	}
	if k.isStoredForm {
		n.Bytes = bytes.Clone(kb.Material)
	} else {
		n.Bytes = k.marshalPKCS8()
	}
	if class == core.ClassC {
		err = k.proveInGo(&n)
	}
	if err != nil {
		clear(n.Bytes)
	}
	return n, err
}

// proveInGo checks a class C key with crypto/x509. A key that did not come in the stored
// form is written again by crypto/x509, which adds a missing public point.
func (k *privateKey) proveInGo(n *core.Normalized) error {
	key, err := x509.ParsePKCS8PrivateKey(n.Bytes)
	if err != nil {
		return core.Wrap(core.InvalidField, err, "the Key Material is not a private key: %v", errTogether)
	}
	var public interface{ Equal(crypto.PublicKey) bool }
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		public = &key.PublicKey
	case ed25519.PrivateKey:
		public = key.Public().(ed25519.PublicKey)
	}
	if k.point != nil && !public.Equal(k.public()) {
		return invalid("the public key inside the private key does not belong to it")
	}
	if k.isStoredForm {
		return nil
	}
	clear(n.Bytes)
	n.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	return err
}

// marshalPKCS8 writes the key as PrivateKeyInfo into one buffer, which never grows: a
// grown buffer would leave a copy behind.
func (k *privateKey) marshalPKCS8() []byte {
	w := newBackward(k)
	whole := w.at
	switch k.kind {
	case core.KeyRSA:
		for i := rsaNumbers - 1; i >= 0; i-- {
			if k.rsa[i] != nil {
				w.prependInteger(k.rsa[i])
			}
		}
		w.prependInteger([]byte{0})
		w.prependHeader(asn1.SEQUENCE, whole)
	case core.KeyEC:
		if k.point != nil {
			w.prepend(k.point)
			w.prepend([]byte{0}) // no unused bits
			w.prependHeader(asn1.BIT_STRING, whole)
			w.prependHeader(asn1.Tag(1).ContextSpecific().Constructed(), whole)
		}
		end := w.at
		w.prepend(k.d)
		w.at -= len(k.curve.order) - len(k.d) // zeros
		w.prependHeader(asn1.OCTET_STRING, end)
		w.prependInteger([]byte{1})
		w.prependHeader(asn1.SEQUENCE, whole)
	case core.KeyEd25519:
		w.prepend(k.d)
		w.prependHeader(asn1.OCTET_STRING, whole)
	}
	w.prependHeader(asn1.OCTET_STRING, whole)
	k.prependAlgorithm(w)
	w.prependInteger([]byte{0})
	w.prependHeader(asn1.SEQUENCE, whole)
	return w.buf[w.at:]
}

// prependAlgorithm writes the AlgorithmIdentifier.
func (k *privateKey) prependAlgorithm(w *backwardDER) {
	end, oid := w.at, oidEd25519
	switch k.kind {
	case core.KeyRSA:
		w.prependHeader(asn1.NULL, w.at)
		oid = oidRSA
	case core.KeyEC:
		w.prepend(k.curve.oid)
		w.prependHeader(asn1.OBJECT_IDENTIFIER, end)
		oid = oidEC
	}
	at := w.at
	w.prepend(oid)
	w.prependHeader(asn1.OBJECT_IDENTIFIER, at)
	w.prependHeader(asn1.SEQUENCE, end)
}

// backwardDER writes DER from its end to its start. So every length is known before it
// is written, and nothing moves.
type backwardDER struct {
	buf []byte
	at  int
}

// overhead is more than headers, identifiers and small numbers take, in bytes.
const overhead = 128

// newBackward makes a writer with room for a key.
func newBackward(k *privateKey) *backwardDER {
	room := overhead + len(k.d) + len(k.point)
	if k.curve != nil {
		room += len(k.curve.order)
	}
	for _, b := range k.rsa {
		room += len(b)
	}
	return &backwardDER{make([]byte, room), room}
}

func (w *backwardDER) prepend(b []byte) {
	w.at -= len(b)
	copy(w.buf[w.at:], b)
}

// prependHeader writes the tag and the length of everything between here and end.
func (w *backwardDER) prependHeader(t asn1.Tag, end int) {
	n := end - w.at
	switch {
	case n < 0x80:
		w.prepend([]byte{byte(n)})
	case n <= 0xff:
		w.prepend([]byte{0x81, byte(n)})
	default:
		w.prepend([]byte{0x82, byte(n >> 8), byte(n)}) // 16384 bits make 9 KiB
	}
	w.prepend([]byte{byte(t)})
}

// prependInteger writes a number, which is not negative.
func (w *backwardDER) prependInteger(b []byte) {
	end := w.at
	w.prepend(b)
	if b[0]&0x80 != 0 {
		w.prepend([]byte{0})
	}
	w.prependHeader(asn1.INTEGER, end)
}
