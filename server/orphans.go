package server

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// maxPurge bounds the token objects of one command.
const maxPurge = 1000

// listOrphans lists what the command hsm orphans list shows.
func (d *adminDoor) listOrphans(ctx context.Context, _ *core.Caller, _ *adminsocket.Question) (any, error) {
	return d.upkeep.Orphans(ctx)
}

// listKeySets lists what the command hsm keys shows.
func (d *adminDoor) listKeySets(ctx context.Context, _ *core.Caller, _ *adminsocket.Question) (any, error) {
	return d.upkeep.KeySets(ctx)
}

// Purged is the answer of the command hsm orphans purge.
type Purged struct {
	Purged  []upkeep.Orphan `json:"purged"`
	Problem string          `json:"problem,omitempty"` // why the others are still there
}

// purgeOrphans destroys the token objects that are named by their CKA_IDs.
func (d *adminDoor) purgeOrphans(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	ids := q.Values["id"]
	if len(ids) == 0 || len(ids) > maxPurge {
		return nil, core.Errorf(core.InvalidField, "name 1 to %d token objects by their CKA_IDs, as hsm orphans list shows them", maxPurge)
	}
	var out Purged
	var err error
	if out.Purged, err = d.upkeep.Purge(ctx, c, ids, c.ClientRef); err != nil {
		out.Problem = core.DetailOf(err)
		d.log.Error("purge orphans", "error", err)
	}
	return out, nil
}
