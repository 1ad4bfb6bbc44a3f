package custody

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/hsm"
)

var _ core.HSM = (*Custody)(nil)

// Open tests an HSM and returns the custody over it. If the HSM does not enforce the
// templates of classes N and X, such keys are refused in mode wrapped; Health says why.
// Close closes the member too. If Open fails, the caller closes the member.
func Open(ctx context.Context, member hsm.Member, o Options) (*Custody, error) {
	o = o.withDefaults()
	breaches, err := member.SelfTest(ctx, SetTemplate(purposeData), []hsm.KeyTemplate{SetTemplate("N"), SetTemplate("X")})
	if err != nil {
		return nil, err
	}
	keys := &Installation{member: member, tenants: map[string]*tenantKeys{}, sets: map[string][]core.KeySet{}}
	base := &keyBase{Installation: keys, clearText: &clearText{keys: keys, member: member}, options: o, member: member}
	c := &Custody{keyBase: base, keyMaker: &keyMaker{keyBase: base}, keyUser: &keyUser{keyBase: base}}
	c.ivs.random = member.Random
	for _, b := range breaches {
		c.refusals = append(c.refusals, notEnforced+b)
	}
	if c.copies, err = newClearCopies(o.Copies, o.CopyTTL); err != nil {
		c.refusals = append(c.refusals, "no copies of class C keys are kept in memory: "+err.Error())
	}
	running, stop := context.WithCancel(context.Background())
	c.stop = stop
	go core.Every(running, cache.ExpireInterval, func() { c.copies.expire(time.Now()) })
	return c, nil
}
