package engine

import (
	"bytes"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// What a certificate says of itself stays when the message that brought it is
// gone: the connection fills that memory with the next message.
func TestCertificateOutlivesItsMessage(t *testing.T) {
	for _, der := range issued(t) {
		w := newWorld(t)
		message := bytes.Clone(der)
		out, err := w.Register(ctx, w.alice, &core.RegisterInput{ObjectType: core.ObjectTypeCertificate,
			Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: core.CertificateTypeX509, CertificateValue: message}})
		if err != nil {
			t.Fatal(err)
		}
		before := shownOf(w, out.ID)
		for i := range message {
			message[i] = 'K' // another tenant's key
		}
		if after := shownOf(w, out.ID); after != before {
			t.Errorf("the attributes of the certificate were\n%q\nand are, after the next message,\n%q", before, after)
		}
	}
}

// shownOf is all that Get Attributes tells alice, as one text.
func shownOf(w *world, id string) (out string) {
	w.t.Helper()
	as, err := w.GetAttributes(ctx, w.alice, &core.GetAttributesInput{ID: core.ID(id)})
	if err != nil {
		w.t.Fatal(err)
	}
	var text func(v core.Value) string
	text = func(v core.Value) string {
		s := v.Text + string(v.Bytes)
		for _, f := range v.Fields {
			s += f.Tag.String() + "=" + text(f.Value) + ";"
		}
		return s
	}
	for _, a := range as.Attributes {
		out += a.Tag.String() + a.Name + ":" + text(a.Value) + "\n"
	}
	return out
}
