package member

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// keyRing makes the keys of sets and has the handles of the loaded ones. Safe for
// concurrent use, except for inPlace, which the self-test sets.
type keyRing struct {
	conn    *connection
	inPlace bool // keys are made in the token, not copied into it: see generateKey

	mu      sync.RWMutex
	groups  map[string]hsm.SetKeys // for loading them again after a reconnect
	handles map[string]p11.ObjectHandle
}

func newKeyRing(c *connection) *keyRing {
	return &keyRing{conn: c, groups: map[string]hsm.SetKeys{}, handles: map[string]p11.ObjectHandle{}}
}

// handleOf returns the handle of a loaded key. The handle changes with a reconnect.
func (r *keyRing) handleOf(label string) (p11.ObjectHandle, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if h, ok := r.handles[label]; ok {
		return h, nil
	}
	return 0, core.Errorf(core.TokenUnavailable, "the key %q is not loaded from the HSM", label)
}

// makeKeys makes the keys that the token lacks. It returns the check values of all keys.
func (r *keyRing) makeKeys(s p11.SessionHandle, keys []hsm.SetKey) (checks [][]byte, err error) {
	c, err := newChecker(r.conn, s, r.inPlace, core.ObjectAlreadyExists)
	if err != nil {
		return nil, err
	}
	defer c.destroyKeys()
	all, err := r.conn.listWhole(s)
	if err != nil {
		return nil, err
	}
	index := r.conn.newLabelIndex(all)
	for i := range keys {
		h, err := r.makeKey(s, &keys[i], index)
		if err != nil {
			return nil, err
		}
		check, err := c.checkKey(h, &keys[i])
		if err != nil {
			return nil, err
		}
		checks = append(checks, check)
	}
	return checks, nil
}

// makeKey returns the key of a label, and makes it if the index lacks it.
func (r *keyRing) makeKey(s p11.SessionHandle, k *hsm.SetKey, index *labelIndex) (p11.ObjectHandle, error) {
	found := index.byLabel[k.Label]
	if len(found) == 0 {
		if err := r.generateKey(s, k); err != nil {
			return 0, err
		}
		var err error
		if found, err = r.conn.findLabel(s, k.Label, nil); err != nil {
			return 0, err
		}
	}
	if len(found) != 1 {
		return 0, core.Errorf(core.ObjectAlreadyExists, "token %q has %d objects with the label %s, not one", r.conn.cfg.Label, len(found), k.Label)
	}
	return found[0], nil
}

// generateKey makes a key in a session and copies it into the token. The copy is one
// write, so a crash leaves no incomplete key. SoftHSM2 makes a key directly in the token
// by two writes; a kill between them leaves a key without a value (1 of 955 in 40 kills,
// and 1 of 894 by C_UnwrapKey).
//
// A copy cannot have COPYABLE=0. SoftHSM2 does not need it: it copies a key that has
// MODIFIABLE=0 only without a change. If the self-test found that a token copies such a
// key with changes, the key is made in place, with COPYABLE=0. The checker then finds the
// incomplete key that a crash leaves.
func (r *keyRing) generateKey(s p11.SessionHandle, k *hsm.SetKey) error {
	id := make([]byte, 16)
	rand.Read(id)
	as := append(setKeyAttributes(k.Template), p11.NewAttribute(p11.CKA_ID, id), p11.NewAttribute(p11.CKA_LABEL, k.Label))
	if r.inPlace {
		_, err := generateSealed(r.conn, s, k.Template.Type, as, true)
		return err
	}
	h, err := r.conn.ctx.GenerateKey(s, generatorOf(k.Template.Type), as)
	if err != nil {
		return err
	}
	defer r.conn.ctx.DestroyObject(s, h)
	return r.conn.copyIntoToken(s, h)
}

// generateSealed makes a key that can neither be copied nor changed: in the token, or for
// the self-test in the session.
func generateSealed(c *connection, s p11.SessionHandle, t hsm.KeyType, as []*p11.Attribute, inToken bool) (p11.ObjectHandle, error) {
	as = append(withoutAttribute(as, p11.CKA_TOKEN), p11.NewAttribute(p11.CKA_TOKEN, inToken), p11.NewAttribute(p11.CKA_COPYABLE, false), unmodifiable())
	return c.ctx.GenerateKey(s, generatorOf(t), as)
}

// copyIntoToken copies a session object into the token, and reads the copy. The copy is
// one write, so a crash leaves no incomplete key. The copy is read because SoftHSM2 reports
// success even if nothing was written to the disk; the key would end with the process.
func (c *connection) copyIntoToken(s p11.SessionHandle, h p11.ObjectHandle) error {
	copied, err := c.ctx.CopyObject(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), unmodifiable()})
	if _, ours := errors.AsType[p11.Error](err); ours && !isAmbiguous(err) {
		return err
	}
	if err == nil {
		if _, err = c.readAttributes(s, copied, p11.CKA_ID); err == nil {
			return nil
		}
		c.ctx.DestroyObject(s, copied) // if that is possible
	}
	if !c.isPresent() {
		return p11.Error(p11.CKR_DEVICE_ERROR)
	}
	cause := errors.New(err.Error()) // its own code may look like that of a lost handle
	return core.Wrap(core.TokenUnavailable, cause, "the HSM did not store the key and seems to have no room; remove keys that are not needed, or check the disk of the token")
}

// loadGroup replaces the loaded keys of a group. It fails unless every key is as it was
// made. The caller has the turn to change objects.
func (r *keyRing) loadGroup(s p11.SessionHandle, g hsm.SetKeys, index *labelIndex) error {
	c, err := newChecker(r.conn, s, r.inPlace, core.TokenUnavailable)
	if err != nil {
		return err
	}
	defer c.destroyKeys()
	found := map[string]p11.ObjectHandle{}
	for i := range g.Keys {
		if found[g.Keys[i].Label], err = r.findKey(c, &g.Keys[i], index); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.groups[g.Name].Keys {
		delete(r.handles, k.Label)
	}
	r.groups[g.Name] = g
	for _, k := range g.Keys {
		r.handles[k.Label] = found[k.Label]
		if k.Probe {
			r.conn.probeKey.Store(uint64(found[k.Label]))
		}
	}
	return nil
}

// findKey returns the handle of a key, if it is as it was made.
func (r *keyRing) findKey(c *checker, k *hsm.SetKey, index *labelIndex) (p11.ObjectHandle, error) {
	found, err := r.conn.findLabel(c.s, k.Label, index)
	if err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, core.Errorf(core.TokenUnavailable, "token %q has %d objects with the label %s, not one; check that the token belongs to the database: see hsm.token and store.url", r.conn.cfg.Label, len(found), k.Label)
	}
	_, err = c.checkKey(found[0], k)
	return found[0], err
}

// reload loads all groups again after the handles were lost.
func (r *keyRing) reload() error {
	r.mu.RLock()
	groups := make([]hsm.SetKeys, 0, len(r.groups))
	for _, g := range r.groups {
		groups = append(groups, g)
	}
	r.mu.RUnlock()
	if len(groups) == 0 {
		return nil
	}
	if err := r.conn.turn.takeTurn(context.Background()); err != nil {
		return err
	}
	defer r.conn.turn.giveTurn()
	all, err := r.conn.listObjects(r.conn.keeper)
	if err != nil {
		return describe(err, "load the keys of tenants")
	}
	index := r.conn.newLabelIndex(all)
	for _, g := range groups {
		if err := r.loadGroup(r.conn.keeper, g, index); err != nil {
			return describe(err, "load a tenant's keys")
		}
	}
	return nil
}
