package member

import (
	"context"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
)

// Module is one PKCS#11 module, logged in to one token. It implements [hsm.Member].
type Module struct {
	*caller
	reads  readQueue
	doubts doubtfulObjects
	stop   context.CancelFunc // ends the expiry of handles
	notes  []string           // about the platform, for the operator
}

var _ hsm.Member = (*Module)(nil)

// Forget implements [hsm.Member].
func (m *Module) Forget(tenant, id string) { m.handles.forget(tenant, id) }

// ForgetTenant implements [hsm.Member].
func (m *Module) ForgetTenant(tenant string) { m.handles.forgetTenant(tenant) }

// Has implements [hsm.Member].
func (m *Module) Has(mechanism hsm.MechanismType, use hsm.Uses) bool {
	return m.conn.hasMechanism(uint(mechanism), mechanismFlags[use])
}

// Read implements [hsm.Member].
func (m *Module) Read(ctx context.Context, k *hsm.Key, dst []byte) (n int, err error) {
	if k.Blob != nil {
		return m.reads.readWrapped(ctx, k, dst)
	}
	err = m.perform(ctx, call{doing: "read a key", key: k, run: func(s p11.SessionHandle, key p11.ObjectHandle) (err error) {
		n, err = m.conn.glue.readValue(s, key, dst)
		return err
	}})
	return n, err
}
