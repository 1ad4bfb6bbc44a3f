// Package keystest gives tests keys and their encodings. RSA keys, which take long to
// make, are made once.
package keystest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"sync"
	"testing"
)

var (
	mu      sync.Mutex
	rsaKeys = map[int]*rsa.PrivateKey{}
)

// RSAKey returns the one key of a length in bits that this test process has. With 1,025
// bits a PSS encoding is one byte shorter than the modulus.
func RSAKey(bits int) *rsa.PrivateKey {
	mu.Lock()
	defer mu.Unlock()
	if rsaKeys[bits] == nil {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		rsaKeys[bits] = k
	}
	return rsaKeys[bits]
}

// ECKey makes a key on a curve.
func ECKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Ed25519Key makes a key for Ed25519.
func Ed25519Key(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// SPKI returns a public key as SubjectPublicKeyInfo.
func SPKI(t testing.TB, key any) []byte {
	t.Helper()
	return encoded(t, x509.MarshalPKIXPublicKey, key)
}

// PKCS8 returns a private key as PKCS#8.
func PKCS8(t testing.TB, key any) []byte {
	t.Helper()
	return encoded(t, x509.MarshalPKCS8PrivateKey, key)
}

func encoded(t testing.TB, encode func(any) ([]byte, error), key any) []byte {
	t.Helper()
	der, err := encode(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
