package server

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// The running server purges a deleted key by itself when its retention is over: the key is gone
// from the HSM's point of view, the record names the clock, and the job says so.
func TestServerPurgesByItself(t *testing.T) {
	w := newUsersWorld(t, func(c *Config) { c.Keys.Retention = time.Second })
	ctx := context.Background()
	made, err := kmiptest.Do(w.dial(core.V1_4), &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	if err != nil {
		t.Fatal(err)
	}
	dev := &core.Caller{Principal: &core.Principal{Tenant: "default", ID: "dev"}, Door: core.DoorREST}
	if _, err := w.server.verbs.Objects.SoftDelete(ctx, dev, &operation.SoftDeleteInput{ID: core.ID(made.ID)}); err != nil {
		t.Fatal(err)
	}
	var o *core.ManagedObject
	for range 200 {
		if o, err = w.server.store.Object(ctx, "default", made.ID); err != nil {
			t.Fatal(err)
		}
		if o.Material.Blob == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if o.Material.Blob != nil || o.Attributes.Find(core.PurgeAtAttribute) >= 0 {
		t.Fatalf("twenty seconds after its retention was over the key is %+v", o.Attributes)
	}
	records := strings.Join(w.records(10), "\n")
	if !strings.Contains(records, `"Purge"`) || !strings.Contains(records, `"keyreeve"`) || !strings.Contains(records, `"the clock"`) {
		t.Errorf("the records are %s", records)
	}
	for range 100 {
		all, err := w.server.jobs.All()
		if err != nil {
			t.Fatal(err)
		}
		if all[0].Ended != 0 {
			if all[0].Name != "purge" || all[0].Done != 1 || all[0].Problem != "" {
				t.Errorf("the job is %+v", all[0])
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the run of the job has not ended")
}
