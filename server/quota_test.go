package server_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A tenant's quota holds at both doors and after a kill, and each says so in its
// own words; keys that are there are still used and destroyed.
func TestQuotasHold(t *testing.T) {
	dir, fresh := installed(t)
	conf := fresh(t)
	conf["quotas"] = map[string]any{"objects": 3}
	s := servertest.StartConfig(t, write(t, filepath.Join(dir, "config.yaml"), wholeConfig(t, conf)), dir, filepath.Join(dir, "certs"), "SOFTHSM2_CONF="+filepath.Join(dir, "softhsm2.conf"))
	c := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, c)
	for range 2 {
		aesKey(t, c)
	}
	for round := range 2 {
		for v, want := range map[core.Version]core.ResultReason{core.V1_4: core.ReasonGeneralFailure, core.V2_1: core.ReasonServerLimitExceeded} {
			_, err := kmiptest.Do(dial(t, s, "dev", v), &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
			if kmiptest.Reason(err) != want || !strings.Contains(err.Error(), "quota of 3") {
				t.Errorf("round %d, KMIP %v: %v", round, v, err)
			}
		}
		if status, body := post(t, s, "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"]}`); status != 403 || !strings.Contains(body, "QuotaExceeded") {
			t.Errorf("round %d, REST: %d %s", round, status, body)
		}
		if round == 0 {
			s.Kill()
			s.Run()
		}
	}
	c = dial(t, s, "dev", core.V1_4)
	if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err != nil {
		t.Errorf("a key of a tenant at its quota: %v", err)
	}
	if _, err := kmiptest.Do(c, &kmip.Destroy, &core.DestroyInput{ID: core.ID(id)}); err != nil {
		t.Errorf("destroying at the quota: %v", err)
	}
}
