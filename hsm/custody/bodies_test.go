package custody_test

import (
	"bytes"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// An encrypted body is read only under its own name, and another process with the same
// token reads it too.
func TestBodiesAreBoundToTheirNames(t *testing.T) {
	cfg := hsmtest.Config(t)
	token := hsmtest.Open(t, cfg, "default")
	name, body := []byte("policy|default|p|1"), []byte(`{"statements":[]}`)
	encrypted, err := token.EncryptBody(name, body)
	if err != nil || len(encrypted) != len(body)+core.BodyOverhead || bytes.Contains(encrypted, body[:8]) {
		t.Fatalf("%d bytes were encrypted to %x, %v", len(body), encrypted, err)
	}
	if again, _ := token.EncryptBody(name, body); bytes.Equal(again, encrypted) {
		t.Error("the same body is encrypted to the same bytes twice")
	}
	if got, err := token.DecryptBody(name, encrypted); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read back: %q, %v", got, err)
	}
	for at := range encrypted {
		forged := bytes.Clone(encrypted)
		forged[at] ^= 1
		if got, err := token.DecryptBody(name, forged); err == nil || len(got) > 0 {
			t.Fatalf("byte %d was changed, and the body is read as %q", at, got)
		}
	}
	for what, c := range map[string]struct{ name, encrypted []byte }{
		"another name": {[]byte("policy|default|p|2"), encrypted}, "no name": {nil, encrypted}, "a body cut short": {name, encrypted[:len(encrypted)-1]},
		"less than a tag": {name, encrypted[:core.BodyOverhead-1]}, "nothing": {name, nil},
	} {
		if got, err := token.DecryptBody(c.name, c.encrypted); core.CodeOf(err) != core.CryptographicFailure || len(got) > 0 {
			t.Errorf("%s: %q, %v; want CryptographicFailure", what, got, err)
		}
	}
	if empty, err := token.EncryptBody(name, nil); err != nil || len(empty) != core.BodyOverhead {
		t.Errorf("no body: %x, %v", empty, err)
	}
	token.Close(ctx)
	if got, err := hsmtest.Open(t, cfg, "default").DecryptBody(name, encrypted); err != nil || !bytes.Equal(got, body) {
		t.Errorf("after a restart: %q, %v", got, err)
	}
}

// Without the system set nothing is encrypted.
func TestBodiesNeedTheSystemSet(t *testing.T) {
	token, err := hsmtest.Start(ctx, hsmtest.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close(ctx)
	if out, err := token.EncryptBody(nil, []byte("body")); core.CodeOf(err) != core.TokenUnavailable || len(out) > 0 {
		t.Errorf("encrypted to %x, %v; want TokenUnavailable", out, err)
	}
	if out, err := token.DecryptBody(nil, make([]byte, 100)); core.CodeOf(err) != core.TokenUnavailable || len(out) > 0 {
		t.Errorf("decrypted to %x, %v; want TokenUnavailable", out, err)
	}
}

func BenchmarkDecryptBody(b *testing.B) {
	token := hsmtest.Open(b, hsmtest.Config(b), "default")
	encrypted, err := token.EncryptBody([]byte("name"), make([]byte, 700))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := token.DecryptBody([]byte("name"), encrypted); err != nil {
			b.Fatal(err)
		}
	}
}
