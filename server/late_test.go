package server_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// Clients whose call hangs in the HSM are told so, at both doors, while it
// hangs; others are served meanwhile, there is a record of it, and when the calls
// come back the server is as it was.
func TestHangingCallsAreAnswered(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	dir, fresh := installed(t)
	cfg := fresh(t)
	cfg.set("hsm", "module", faults.Module)
	cfg["limits"] = map[string]any{"operation": "700ms"}
	s := servertest.StartConfig(t, write(t, filepath.Join(dir, "late.yaml"), wholeConfig(t, cfg)), dir, filepath.Join(dir, "certs"), "SOFTHSM2_CONF="+filepath.Join(dir, "softhsm2.conf"))
	active := core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}
	kept := core.Attribute{Tag: core.TagExtractable, Value: core.Bool(false)}
	c := dial(t, s, "dev", core.V1_4)
	inToken, inMemory := aesKey(t, c, active, kept), aesKey(t, c, active)
	encrypt := func(c *kmiptest.Client, id string) error {
		_, err := kmiptest.Do(c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(id), Data: []byte("x"), Parameters: &gcmMode})
		return err
	}
	for _, id := range []string{inToken, inMemory} {
		if err := encrypt(c, id); err != nil {
			t.Fatal(err)
		}
	}

	const hang = 8 * time.Second
	faults.Rule(fmt.Sprintf("C_Encrypt 0x0 %d", hang.Milliseconds()))
	began := time.Now()
	for _, v := range []core.Version{core.V1_2, core.V2_1} {
		c := dial(t, s, "dev", v)
		err := encrypt(c, inToken)
		if kmiptest.Reason(err) != core.ReasonGeneralFailure || !strings.Contains(err.Error(), "is not known") {
			t.Errorf("a call that hangs is answered in %v with %v", v, err)
		}
		if _, err := c.Receive(); err == nil {
			t.Error("another answer came on that connection")
		}
	}
	status, body := post(t, s, "/v1/encrypt", fmt.Sprintf(`{"key_id":%q,"plaintext":%q}`, inToken, base64.StdEncoding.EncodeToString([]byte("x"))))
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "is not known") {
		t.Errorf("REST answers a call that hangs with %d %s", status, body)
	}
	// One principal's calls that hang have all its places at the HSM, from which even
	// a key in memory needs an IV; another's are served.
	other := dial(t, s, "dev2", core.V1_4)
	if err := encrypt(other, inMemory); err != nil {
		t.Errorf("beside the calls that hang: %v", err)
	}
	if out, err := s.Command("audit", "list", "--dir", dir, "--operation", "Encrypt", "--outcome", "failed"); err != nil || strings.Count(out, "left behind") != 3 {
		t.Errorf("the records of those left behind: %v\n%s", err, out)
	}
	if time.Since(began) > hang-time.Second {
		t.Skip("this machine is too slow to tell answers in time from answers at the end")
	}

	faults.Rule()
	// They may fail at their end: their contexts ended with their connections.
	records := ""
	const all = 1 + 3 // with the one before
	for end := time.Now().Add(2 * hang); strings.Count(records, inToken) < all && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		records, _ = s.Command("audit", "list", "--dir", dir, "--operation", "Encrypt")
	}
	if strings.Count(records, inToken) != all {
		t.Errorf("the calls that came back have not all left a record:\n%s", records)
	}
	for range 20 {
		if err := encrypt(c, inToken); err != nil {
			t.Fatalf("after the calls came back: %v", err)
		}
	}
	s.Signal(syscall.SIGTERM)
	if err := s.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}
