package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
)

// maxPurge bounds the token objects of one command.
const maxPurge = 1000

// purgeWait bounds one request about orphans: the token may have many objects.
const purgeWait = 50 * time.Second

// adminOrphans lists what the command hsm orphans list shows.
func (s *Server) adminOrphans(w http.ResponseWriter, r *http.Request) {
	listToken(s, w, r, s.engine.Orphans)
}

// adminKeySets lists what the command hsm keys shows.
func (s *Server) adminKeySets(w http.ResponseWriter, r *http.Request) {
	listToken(s, w, r, s.engine.KeySets)
}

// listToken answers a question about the objects in the token if the policy allows
// it.
func listToken[T any](s *Server, w http.ResponseWriter, r *http.Request, list func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), purgeWait)
	defer cancel()
	if err := s.engine.MayInspect(ctx, socketCaller(ctx), core.ActionListTokenObjects); err != nil {
		reply(w, nil, err)
		return
	}
	all, err := list(ctx)
	reply(w, all, err)
}

// Purged is the answer of the command hsm orphans purge.
type Purged struct {
	Purged  []engine.Orphan `json:"purged"`
	Problem string          `json:"problem,omitempty"` // why the others are still there
}

// adminPurge destroys the token objects that are named. It takes none but by its
// CKA_ID.
func (s *Server) adminPurge(w http.ResponseWriter, r *http.Request) {
	ids := r.URL.Query()["id"]
	if len(ids) == 0 || len(ids) > maxPurge {
		reply(w, nil, fmt.Errorf("name 1 to %d token objects by their CKA_IDs, as hsm orphans list shows them", maxPurge))
		return
	}
	var out Purged
	var err error
	by := strings.TrimPrefix(askedBy(r.Context()), ", ")
	if out.Purged, err = s.engine.Purge(r.Context(), socketCaller(r.Context()), ids, by); err != nil {
		out.Problem = detail(err)
		s.log.Error("purge orphans", "error", err)
	}
	reply(w, out, nil)
}
