package engine_test

import (
	"bytes"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine/upkeep"
)

// What a certificate says of itself stays when the message that brought it is
// gone: the connection fills that memory with the next message.
func TestCertificateOutlivesItsMessage(t *testing.T) {
	for _, der := range issued(t) {
		w := newWorld(t)
		message := bytes.Clone(der)
		out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate,
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
	as, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(id)})
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

// A certificate whose names an early build overwrote is found by its stored
// attributes alone; one that says odd things of itself is not mistaken for it.
func TestDamagedCertificatesAreFound(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for _, der := range issued(t) {
		out, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate,
			Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: core.CertificateTypeX509, CertificateValue: der}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, out.ID)
	}
	if found, err := upkeep.DamagedCertificates(ctx, w.store); err != nil || len(found) != 0 {
		t.Errorf("sound certificates: %+v, %v", found, err)
	}
	for tag, field := range map[core.Tag]core.Tag{core.TagX509CertificateIssuer: core.TagIssuerDistinguishedName,
		core.TagX509CertificateSubject: core.TagSubjectDistinguishedName, core.TagX509CertificateIdentifier: core.TagIssuerDistinguishedName} {
		for _, id := range ids {
			o := w.store.objects[storedKey{"default", id}]
			v, _ := o.Attributes.Get(tag)
			der := v.Field(field).Bytes
			if len(der) < 16 {
				continue // the empty name: two bytes
			}
			for what, b := range map[string][]byte{"another message": bytes.Repeat([]byte{7}, len(der)), "its end": append(bytes.Clone(der[:len(der)-4]), "KEYS"...),
				"its beginning": append([]byte("KEYS"), der[4:]...)} {
				sound := o.Attributes
				fields := append([]core.Field(nil), v.Fields...)
				fields[0] = core.Field{Tag: field, Value: core.Bytes(b)}
				o.Attributes = sound.Set(tag, core.Structure(fields...))
				found, err := upkeep.DamagedCertificates(ctx, w.store)
				if err != nil || len(found) != 1 || found[0].ID != id {
					t.Errorf("%v overwritten by %s: %+v, %v", tag, what, found, err)
				}
				o.Attributes = sound
			}
		}
	}
}
