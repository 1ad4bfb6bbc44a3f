package member

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
)

// maxListed bounds the token objects that are listed.
const maxListed = 1_000_000

// findTokenObjects lists the token objects with the given attributes. If it finds none, it
// probes the token and searches again: a token that does not work finds nothing either.
func (c *connection) findTokenObjects(s p11.SessionHandle, as ...*p11.Attribute) ([]p11.ObjectHandle, error) {
	ours := append([]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true)}, as...)
	found, err := c.search(s, ours, 8)
	if err != nil || len(found) > 0 {
		return found, err
	}
	if c.probeToken(s) != nil {
		return nil, p11.Error(p11.CKR_DEVICE_ERROR)
	}
	return c.search(s, ours, 8)
}

// findObject lists the token objects that have both the label and the CKA_ID. So the row
// of a client's key cannot name a key of a set.
func (c *connection) findObject(s p11.SessionHandle, label string, ckaid []byte) ([]p11.ObjectHandle, error) {
	return c.findTokenObjects(s, p11.NewAttribute(p11.CKA_ID, ckaid), p11.NewAttribute(p11.CKA_LABEL, label))
}

func (c *connection) search(s p11.SessionHandle, tmpl []*p11.Attribute, most int) ([]p11.ObjectHandle, error) {
	c.finds.Add(1)
	if err := c.ctx.FindObjectsInit(s, tmpl); err != nil {
		return nil, err
	}
	var all []p11.ObjectHandle
	for len(all) < most {
		some, _, err := c.ctx.FindObjects(s, min(256, most-len(all)))
		if err != nil {
			c.ctx.FindObjectsFinal(s)
			return nil, err
		}
		if len(some) == 0 {
			break
		}
		all = append(all, some...)
	}
	return all, c.ctx.FindObjectsFinal(s)
}

// foundObject is a token object with its handle.
type foundObject struct {
	hsm.Object
	handle p11.ObjectHandle
}

// listObjects lists all token objects that have a label.
func (c *connection) listObjects(s p11.SessionHandle) (out []foundObject, err error) {
	all, err := c.search(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true)}, maxListed)
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		as, err := c.readAttributes(s, h, p11.CKA_ID, p11.CKA_LABEL)
		if err != nil {
			continue // incomplete objects have neither
		}
		out = append(out, foundObject{hsm.Object{Label: string(as[1]), CKAID: as[0]}, h})
	}
	return out, nil
}

// listWhole is listObjects for callers that act on missing objects. It probes the token
// before and after, since objects whose files are unavailable look missing.
func (c *connection) listWhole(s p11.SessionHandle) ([]foundObject, error) {
	if err := c.probeToken(s); err != nil {
		return nil, err
	}
	all, err := c.listObjects(s)
	if err == nil {
		err = c.probeToken(s)
	}
	return all, err
}

// labelIndex is all token objects by their label. Without it, the search for each key of
// many tenants would compare every object.
type labelIndex struct {
	start   uint64 // of the library: the handles are numbers of this start only
	byLabel map[string][]p11.ObjectHandle
}

func (c *connection) newLabelIndex(all []foundObject) *labelIndex {
	index := &labelIndex{start: c.starts.Load(), byLabel: map[string][]p11.ObjectHandle{}}
	for _, o := range all {
		index.byLabel[o.Label] = append(index.byLabel[o.Label], o.handle)
	}
	return index
}

// findLabel lists the token objects with a label. It uses the index if that has some.
func (c *connection) findLabel(s p11.SessionHandle, label string, index *labelIndex) ([]p11.ObjectHandle, error) {
	if index != nil && index.start == c.starts.Load() && len(index.byLabel[label]) > 0 {
		return index.byLabel[label], nil
	}
	return c.findTokenObjects(s, p11.NewAttribute(p11.CKA_LABEL, label))
}
