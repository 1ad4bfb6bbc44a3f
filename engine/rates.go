package engine

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/ratewindow"
)

// takeUse counts a use on this node: a new version of a policy counts from 0. It fails with
// TooManyRequests if the rate is exceeded, or if there is no room to count.
func takeUse(k *Call, key ratewindow.Key, terms *core.RateTerms) error {
	switch verdict, wait := k.Engine.rates.Take(k.Caller.Principal.Tenant, key, terms.Uses, terms.Per, k.Now); verdict {
	case ratewindow.Exceeded:
		e := core.Errorf(core.TooManyRequests, "the statement %s permits %d uses in %d s; try again in %d s", key.Statement, terms.Uses, terms.Per, max(1, wait))
		e.RetryAfter = max(1, wait)
		return e
	case ratewindow.NoRoom:
		return core.Errorf(core.TooManyRequests, "this node counts the rates of too many keys and principals of the tenant; try again later")
	}
	return nil
}

// countRate counts a use of the object in k.access for a gate with a rate: once in an
// operation, also if it is decided again.
func countRate(k *Call, g *core.Gate) error {
	if g.Rate == nil {
		return nil
	}
	key := ratewindow.Key{Statement: g.Statement, Principal: k.Caller.Principal.ID}
	if o := k.access.Object; o != nil {
		key.Object = o.ID
	}
	if slices.ContainsFunc(k.counted, func(use countedUse) bool { return use.key == key }) {
		return nil
	}
	if err := takeUse(k, key, g.Rate); err != nil {
		return err
	}
	k.counted = append(k.counted, countedUse{key, k.Now})
	return nil
}

// countedUse is a use that an operation has counted for a rate.
type countedUse struct {
	key ratewindow.Key
	at  int64 // Unix seconds
}

// giveBackRates takes back the uses that a failed operation has counted. If the HSM has used
// the key and refused the data, the use counts: such answers help to guess.
func giveBackRates(k *Call, err error) {
	if err == nil || core.CodeOf(err) == core.CryptographicFailure {
		return
	}
	for _, use := range k.counted {
		k.Engine.rates.GiveBack(k.Caller.Principal.Tenant, use.key, use.at)
	}
}
