package engine_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
)

// issued makes certificates that say odd things of themselves.
func issued(t testing.TB) (out [][]byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []pkix.Name{{}, {CommonName: "a"}, {CommonName: strings.Repeat("é", 3000), Organization: []string{"a,b", "c+d", `e\`}}, {CommonName: "a\x00b\x1b[2J"},
		{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "one"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "two"}, {Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "odd"}}}} {
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(0x80), Subject: n, Issuer: n, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, der)
	}
	return out
}

// FuzzCertificate checks that the attributes derived from any certificate have the
// types that the standard gives them.
func FuzzCertificate(f *testing.F) {
	for _, der := range issued(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		var o core.ManagedObject
		if rules.DescribeCertificate(&o, der) != nil {
			return
		}
		for _, a := range o.Attributes {
			if r := core.RuleOf(a.Tag); r == nil || a.Tag.Info().Kind != a.Value.Kind {
				t.Errorf("%v is a %v", a.Tag, a.Value.Kind)
			}
			for _, field := range a.Value.Fields {
				if field.Tag.Info().Kind != field.Value.Kind {
					t.Errorf("%v in %v is a %v", field.Tag, a.Tag, field.Value.Kind)
				}
			}
		}
		if o.Attributes.Num(core.TagCryptographicLength) < 0 || !o.Attributes.Has(core.TagX509CertificateIdentifier) {
			t.Errorf("%+v", o.Attributes)
		}
	})
}

// A certificate is registered and found whatever its names are.
func TestOddCertificates(t *testing.T) {
	for _, der := range issued(t) {
		w := newWorld(t)
		out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate,
			Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: core.CertificateTypeX509, CertificateValue: der}})
		if err != nil {
			t.Errorf("%x: %v", der, err)
			continue
		}
		as, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(out.ID)})
		if err != nil || as.Attributes.Num(core.TagCertificateLength) != int64(len(der)) {
			t.Errorf("%+v, %v", as.Attributes, err)
		}
	}
	w := newWorld(t)
	for what, b := range map[string][]byte{"nothing": nil, "no DER": []byte("x"), "half": issued(t)[0][:100], "bytes behind": append(issued(t)[0], 0)} {
		if _, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate,
			Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: core.CertificateTypeX509, CertificateValue: b}}); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v; want InvalidField", what, err)
		}
	}
}

// What a certificate says of itself counts in what its object may carry, as what
// the client says does: its names can be as long as the message.
func TestNamesInACertificateAreBounded(t *testing.T) {
	w := newWorld(t)
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	for n, want := range map[int]core.Code{1: core.Internal, rules.MaxAttributeBytes / 1024: core.InvalidField} {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c"}}
		for range n {
			c.Subject.OrganizationalUnit = append(c.Subject.OrganizationalUnit, strings.Repeat("u", 1024))
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate,
			Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: core.CertificateTypeX509, CertificateValue: der}})
		if core.CodeOf(err) != want || (err == nil) != (want == core.Internal) {
			t.Errorf("a certificate with %d KiB of names: %v; want %v", n, err, want)
		}
	}
}
