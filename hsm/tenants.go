package hsm

import (
	"context"
	"encoding/binary"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// Mechanisms and attributes that the binding has no names for.
const (
	ckmAESKeyWrap    = 0x2109 // RFC 3394
	ckmAESKeyWrapPad = 0x210A // RFC 5649 on SoftHSM2
	ckmEdDSA         = 0x1057
	ckmEdwardsGen    = 0x1055
)

// tenant is what the token holds for one tenant: handles of its keys by
// purpose and epoch, and the keys of its MACs, which are derived in the token.
type tenant struct {
	keys    map[string]map[int]p11.ObjectHandle // purpose -> epoch -> handle
	newest  map[string]int
	rowKeys map[int]rowKeys // by epoch of R
}

// template is written in full for every object: tokens' defaults allow all.
func template(class, keyType uint, sensitive, extractable bool, flags map[uint]bool, more ...*p11.Attribute) []*p11.Attribute {
	as := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, class), p11.NewAttribute(p11.CKA_KEY_TYPE, keyType),
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, sensitive), p11.NewAttribute(p11.CKA_EXTRACTABLE, extractable),
	}
	uses := secretUses
	if class == p11.CKO_PRIVATE_KEY {
		uses = privateUses
	}
	for _, u := range uses {
		as = append(as, p11.NewAttribute(u, flags[u]))
	}
	return append(as, more...)
}

var (
	secretUses = []uint{p11.CKA_ENCRYPT, p11.CKA_DECRYPT, p11.CKA_SIGN, p11.CKA_VERIFY, p11.CKA_WRAP, p11.CKA_UNWRAP, p11.CKA_DERIVE}
	// A private key's uses; SIGN_RECOVER stays off.
	privateUses = []uint{p11.CKA_DECRYPT, p11.CKA_SIGN, p11.CKA_SIGN_RECOVER, p11.CKA_UNWRAP, p11.CKA_DERIVE}
)

// unmodifiable must come last: the token applies attributes in order.
func unmodifiable() *p11.Attribute { return p11.NewAttribute(p11.CKA_MODIFIABLE, false) }

func mechanismList(ms ...uint64) *p11.Attribute {
	var b []byte
	for _, m := range ms {
		b = binary.NativeEndian.AppendUint64(b, m)
	}
	return p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, b)
}

const (
	ckaAllowedMechanisms = p11.CKA_ALLOWED_MECHANISMS
	ckaWrapTemplate      = p11.CKA_WRAP_TEMPLATE
	ckaUnwrapTemplate    = p11.CKA_UNWRAP_TEMPLATE
)

// tenantTemplate is the template of a tenant's key by purpose. What class N
// and X promise is enforced here, by the token: see selftest.go.
func tenantTemplate(purpose string) (uint, []*p11.Attribute, error) {
	wrapping := map[uint]bool{p11.CKA_WRAP: true, p11.CKA_UNWRAP: true}
	size := p11.NewAttribute(p11.CKA_VALUE_LEN, 32)
	sensitive := p11.NewAttribute(ckaWrapTemplate, nestedTemplate(p11.CKA_SENSITIVE, true))
	switch purpose {
	case "N":
		return p11.CKM_AES_KEY_GEN, template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, wrapping, size, mechanismList(ckmAESKeyWrap), sensitive,
			p11.NewAttribute(ckaUnwrapTemplate, nestedTemplate(p11.CKA_PRIVATE, true, p11.CKA_SENSITIVE, true, p11.CKA_EXTRACTABLE, false))), nil
	case "X":
		return p11.CKM_AES_KEY_GEN, template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, wrapping, size, mechanismList(ckmAESKeyWrap), sensitive,
			p11.NewAttribute(ckaUnwrapTemplate, nestedTemplate(p11.CKA_PRIVATE, true, p11.CKA_SENSITIVE, true))), nil
	case "C":
		return p11.CKM_AES_KEY_GEN, template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, wrapping, size, mechanismList(ckmAESKeyWrap)), nil
	case "D":
		return p11.CKM_AES_KEY_GEN, template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false,
			map[uint]bool{p11.CKA_ENCRYPT: true, p11.CKA_DECRYPT: true}, size, mechanismList(p11.CKM_AES_GCM)), nil
	case "R":
		return p11.CKM_GENERIC_SECRET_KEY_GEN, template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, false,
			map[uint]bool{p11.CKA_SIGN: true}, size, mechanismList(p11.CKM_SHA256_HMAC)), nil
	}
	return 0, nil, fmt.Errorf("no tenant key has the purpose %q", purpose)
}

// MakeTenantKey makes a tenant's key in a session and copies it into the token:
// one write, so that a crash leaves no half-made key.
func (t *Token) MakeTenantKey(ctx context.Context, k core.TenantKey) error {
	return t.do(ctx, "make a tenant key", func(s p11.SessionHandle) error {
		if err := t.admin.take(t.cfg.Wait); err != nil {
			return err
		}
		defer t.admin.give()
		if found, err := t.find(s, k.Token); err != nil || len(found) > 0 {
			if err == nil {
				err = core.Errorf(core.ObjectAlreadyExists, "the token has an object with this CKA_ID already")
			}
			return err
		}
		mech, tmpl, err := tenantTemplate(k.Purpose)
		if err != nil {
			return err
		}
		label := fmt.Sprintf("keyreeve/%s/%s/%d", k.Tenant, k.Purpose, k.Epoch)
		tmpl = append(tmpl, p11.NewAttribute(p11.CKA_ID, k.Token), p11.NewAttribute(p11.CKA_LABEL, label))
		h, err := t.lib.GenerateKey(s, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, tmpl)
		if err != nil {
			return err
		}
		defer t.lib.DestroyObject(s, h)
		return t.stay(s, h)
	})
}

// find lists the token objects with a CKA_ID. By CKA_ID, not label: two
// objects may share a label, and nothing says which comes first.
// That there is none is believed of a token that works, after a second look.
func (t *Token) find(s p11.SessionHandle, id []byte) ([]p11.ObjectHandle, error) {
	ours := []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_ID, id)}
	found, err := t.search(s, ours, 8)
	if err != nil || len(found) > 0 {
		return found, err
	}
	if t.works(s) != nil {
		return nil, p11.Error(p11.CKR_DEVICE_ERROR)
	}
	return t.search(s, ours, 8)
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

// LoadTenantKeys finds a tenant's active keys and derives its row MAC keys.
func (t *Token) LoadTenantKeys(ctx context.Context, keys []core.TenantKey) error {
	if len(keys) == 0 {
		return nil
	}
	return t.do(ctx, "load a tenant's keys", func(s p11.SessionHandle) error {
		if err := t.loadTenant(s, keys); err != nil {
			return err
		}
		t.tenantsMu.Lock()
		defer t.tenantsMu.Unlock()
		t.known[keys[0].Tenant] = keys
		return nil
	})
}

// reloadTenants loads all again after the handles were lost.
func (t *Token) reloadTenants() error {
	t.tenantsMu.RLock()
	known := make([][]core.TenantKey, 0, len(t.known))
	for _, keys := range t.known {
		known = append(known, keys)
	}
	t.tenantsMu.RUnlock()
	for _, keys := range known {
		if err := t.loadTenant(t.keeper, keys); err != nil {
			return coded(err, "load a tenant's keys")
		}
	}
	return nil
}

func (t *Token) loadTenant(s p11.SessionHandle, keys []core.TenantKey) error {
	n := &tenant{keys: map[string]map[int]p11.ObjectHandle{}, newest: map[string]int{}, rowKeys: map[int]rowKeys{}}
	if err := t.admin.take(t.cfg.Wait); err != nil {
		return err
	}
	defer t.admin.give()
	for _, k := range keys {
		h, err := t.genuine(s, k)
		if err != nil {
			return err
		}
		if n.keys[k.Purpose] == nil {
			n.keys[k.Purpose] = map[int]p11.ObjectHandle{}
		}
		n.keys[k.Purpose][k.Epoch] = h
		n.newest[k.Purpose] = max(n.newest[k.Purpose], k.Epoch)
		if k.Purpose == "R" {
			if n.rowKeys[k.Epoch], err = t.deriveRowKeys(s, h); err != nil {
				return err
			}
			t.root.Store(uint64(h))
		}
	}
	t.tenantsMu.Lock()
	t.tenants[keys[0].Tenant] = n
	t.tenantsMu.Unlock()
	return nil
}

// genuine finds a tenant key and refuses a planted one: there must be exactly
// one object with the CKA_ID, born in the token and never extractable.
func (t *Token) genuine(s p11.SessionHandle, k core.TenantKey) (p11.ObjectHandle, error) {
	found, err := t.find(s, k.Token)
	if err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, core.Errorf(core.TokenUnavailable, "token %q has %d objects for key %s/%s/%d, not one; is this the token that belongs to the database? See hsm.token and store.url", t.cfg.Label, len(found), k.Tenant, k.Purpose, k.Epoch)
	}
	want := []uint{p11.CKA_NEVER_EXTRACTABLE, p11.CKA_LOCAL, p11.CKA_SENSITIVE, p11.CKA_ALWAYS_SENSITIVE}
	var ask []*p11.Attribute
	for _, a := range append(want, p11.CKA_MODIFIABLE, p11.CKA_EXTRACTABLE) {
		ask = append(ask, p11.NewAttribute(a, nil))
	}
	got, err := t.lib.GetAttributeValue(s, found[0], ask)
	if err != nil {
		return 0, err
	}
	for i, a := range got {
		if isTrue := len(a.Value) == 1 && a.Value[0] == 1; isTrue != (i < len(want)) {
			return 0, core.Errorf(core.TokenUnavailable, "key %s/%s/%d in token %q was not made by keyreeve: attribute %#x is %v", k.Tenant, k.Purpose, k.Epoch, t.cfg.Label, a.Type, isTrue)
		}
	}
	return found[0], nil
}

// deriveRowKeys has the token derive the keys of MACs by HMAC of fixed texts.
func (t *Token) deriveRowKeys(s p11.SessionHandle, root p11.ObjectHandle) (k rowKeys, err error) {
	for _, d := range []struct {
		text string
		key  *macKey
	}{{materialMACText, &k.material}, {rowSealText, &k.row}} {
		if err := t.lib.SignInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA256_HMAC, nil)}, root); err != nil {
			return k, err
		}
		b, err := t.lib.Sign(s, []byte(d.text))
		if err != nil {
			return k, err
		}
		*d.key = newMACKey(b)
	}
	return k, nil
}

// of returns the tenant's keys, or TokenUnavailable when they are not loaded.
func (t *Token) of(name string) (*tenant, error) {
	t.tenantsMu.RLock()
	defer t.tenantsMu.RUnlock()
	if n := t.tenants[name]; n != nil {
		return n, nil
	}
	return nil, core.Errorf(core.TokenUnavailable, "the keys of tenant %s are not loaded from the token", name)
}

func (n *tenant) key(purpose string, epoch int) (p11.ObjectHandle, error) {
	if h, ok := n.keys[purpose][epoch]; ok {
		return h, nil
	}
	return 0, core.Errorf(core.TokenUnavailable, "the token has no key %s of epoch %d for this tenant", purpose, epoch)
}

// DestroyObject removes a token object; one that is not there is no error.
func (t *Token) DestroyObject(ctx context.Context, id []byte) error {
	return t.do(ctx, "destroy a token object", func(s p11.SessionHandle) error {
		if err := t.admin.take(t.cfg.Wait); err != nil {
			return err
		}
		defer t.admin.give()
		found, err := t.find(s, id)
		for _, h := range found {
			// A handle that is gone can be one of a token that is away: do looks again.
			if derr := t.lib.DestroyObject(s, h); derr != nil {
				err = derr
			}
		}
		return err
	})
}

// maxListed bounds the token objects that Objects lists.
const maxListed = 1_000_000

// Objects lists the CKA_IDs of the token objects that bear our label.
func (t *Token) Objects(ctx context.Context) (ids [][]byte, err error) {
	err = t.do(ctx, "list the token's objects", func(s p11.SessionHandle) error {
		ids = nil
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
			if len(as[1].Value) > 9 && string(as[1].Value[:9]) == "keyreeve/" {
				ids = append(ids, as[0].Value)
			}
		}
		return nil
	})
	return ids, err
}
