package server

import (
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/engine"
)

// A switch that a tenant sets is the tenant's, one that it leaves out is the
// server's: every combination.
func TestTenantSwitches(t *testing.T) {
	for n := range 4 * 9 {
		var c Config
		c.Keys.DeactivatedMayProcess, c.Keys.CompromisedMayProcess = n&1 == 0, n&2 == 0
		own := map[string]bool{}
		want := engine.RevokedKeys{DeactivatedRefused: n&1 != 0, CompromisedRefused: n&2 != 0}
		if of := n / 4 % 3; of > 0 {
			own["deactivated_may_process"], want.DeactivatedRefused = of == 1, of != 1
		}
		if of := n / 12; of > 0 {
			own["compromised_may_process"], want.CompromisedRefused = of == 1, of != 1
		}
		c.Keys.Tenants = map[string]map[string]bool{"t": own}
		if got := c.defaults().RevokedKeysOf; len(got) != 1 || got["t"] != want {
			t.Errorf("server %v, tenant %s: %+v, want %+v", c.Keys, fmt.Sprint(own), got, want)
		}
	}
}
