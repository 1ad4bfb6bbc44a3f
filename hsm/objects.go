package hsm

import (
	"context"
	"strings"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// find lists the token objects with an attribute, such as a label. That there
// is none is believed of a token that works, after a second look.
func (t *Token) find(s p11.SessionHandle, as ...*p11.Attribute) ([]p11.ObjectHandle, error) {
	ours := append([]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true)}, as...)
	found, err := t.search(s, ours, 8)
	if err != nil || len(found) > 0 {
		return found, err
	}
	if t.works(s) != nil {
		return nil, p11.Error(p11.CKR_DEVICE_ERROR)
	}
	return t.search(s, ours, 8)
}

// findObject lists the token objects that a resident key can be: both label and
// CKA_ID are those of its row, so that no row names a key of a set.
func (t *Token) findObject(s p11.SessionHandle, k *core.Key) ([]p11.ObjectHandle, error) {
	return t.find(s, p11.NewAttribute(p11.CKA_ID, k.Material.Token), p11.NewAttribute(p11.CKA_LABEL, t.objectLabel(k)))
}

func (t *Token) search(s p11.SessionHandle, tmpl []*p11.Attribute, most int) ([]p11.ObjectHandle, error) {
	t.finds.Add(1)
	if err := t.lib.FindObjectsInit(s, tmpl); err != nil {
		return nil, err
	}
	var all []p11.ObjectHandle
	for len(all) < most {
		some, _, err := t.lib.FindObjects(s, min(256, most-len(all)))
		if err != nil {
			t.lib.FindObjectsFinal(s)
			return nil, err
		}
		if len(some) == 0 {
			break
		}
		all = append(all, some...)
	}
	return all, t.lib.FindObjectsFinal(s)
}

// maxListed bounds the token objects that Objects lists.
const maxListed = 1_000_000

// Labels lists the labels of all token objects of this installation, those of
// the sets' keys included.
func (t *Token) Labels(ctx context.Context) (labels []string, err error) {
	objects, err := t.labelled(ctx, labelPrefix+t.installation+"/")
	for _, o := range objects {
		labels = append(labels, o.label)
	}
	return labels, err
}

// tokenObject is what tells an object of the token from others.
type tokenObject struct {
	id    []byte
	label string
}

// labelled lists the token objects whose label begins with prefix.
func (t *Token) labelled(ctx context.Context, prefix string) (out []tokenObject, err error) {
	if err := t.serves(); err != nil {
		return nil, err
	}
	err = t.do(ctx, "list the token's objects", func(s p11.SessionHandle) error {
		out = nil
		if err := t.admin.take(t.cfg.Wait); err != nil {
			return err
		}
		defer t.admin.give()
		all, err := t.search(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true)}, maxListed)
		if err == nil {
			err = t.works(s) // else its files are away, and what is missing is there
		}
		if err != nil {
			return err
		}
		for _, h := range all {
			as, err := t.lib.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, nil), p11.NewAttribute(p11.CKA_LABEL, nil)})
			if err != nil {
				continue // half-made objects have neither
			}
			if strings.HasPrefix(string(as[1].Value), prefix) {
				out = append(out, tokenObject{as[0].Value, string(as[1].Value)})
			}
		}
		return nil
	})
	return out, err
}
