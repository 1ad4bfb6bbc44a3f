package member

import (
	"context"
	"strings"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
)

// MakeKeys implements [hsm.Member].
func (m *Module) MakeKeys(ctx context.Context, keys []hsm.SetKey) (checks [][]byte, err error) {
	err = m.perform(ctx, call{doing: "make a set of keys", turn: true, run: func(s p11.SessionHandle, _ p11.ObjectHandle) (err error) {
		checks, err = m.keys.makeKeys(s, keys)
		return err
	}})
	return checks, err
}

// LoadKeys implements [hsm.Member]. It takes a turn for each group, so that other callers
// get the turn between them.
func (m *Module) LoadKeys(ctx context.Context, groups []hsm.SetKeys) (loaded int, err error) {
	var index *labelIndex
	for _, g := range groups {
		err := m.perform(ctx, call{doing: "load a tenant's keys", turn: true, run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
			if index == nil && len(groups) > 1 {
				all, err := m.conn.listObjects(s)
				if err != nil {
					return err
				}
				index = m.conn.newLabelIndex(all)
			}
			return m.keys.loadGroup(s, g, index)
		}})
		if err != nil {
			return loaded, err
		}
		loaded++
	}
	return loaded, nil
}

// Objects implements [hsm.Member].
func (m *Module) Objects(ctx context.Context, prefix string) (out []hsm.Object, err error) {
	err = m.perform(ctx, call{doing: "list the token's objects", turn: true, run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
		all, err := m.conn.listWhole(s)
		if err != nil {
			return err
		}
		out = nil
		for _, o := range all {
			if strings.HasPrefix(o.Label, prefix) {
				out = append(out, o.Object)
			}
		}
		return nil
	}})
	return out, err
}
