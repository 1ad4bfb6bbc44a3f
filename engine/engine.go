// Package engine holds keyreeve's verbs: what can be done to a Managed Object,
// each written once for every door.
//
// An operation decides, does and records, in that order, and all of them pass
// [run]: clock, audit record, policy, timing. A verb asks the ports of package
// core for effects and never touches a wire, a database or a token itself. No
// operation returns success before its record is durable; state changes carry
// their record in the same transaction.
//
// The policy is asked before the object's state is looked at, so that who may
// not use an object learns nothing of it but that it may not; an object of
// another tenant is Item Not Found. Start at [Engine.Create] or call.go.
package engine

import (
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Ports are what an engine has its effects done by. Those without a remark are
// required.
type Ports struct {
	Store   core.Store
	HSM     core.HSM
	Policy  core.Policy
	Journal core.Journal
	Formats core.Formats
	Clock   core.Clock                             // nil: the system's
	Log     *slog.Logger                           // nil: slog.Default
	Observe func(Observation)                      // nil: nobody watches
	Account func(tenant, principal string) Account // of what streams hold; nil: only their own bounds
}

// Settings are what an operator chooses. Zero values are safe.
type Settings struct {
	Defaults   Defaults
	Server     ServerInfo
	MaxTenants int // sets of keys that the token may hold; 0: 1,000

	Quota      core.Quota    // of each tenant; zero: no bounds
	SearchTime time.Duration // of one Locate, after which it ends with an error; 0: 10 s
}

// Defaults are the answers where a client leaves a choice to the server.
type Defaults struct {
	Sensitive      bool // new objects are Sensitive unless asked otherwise
	NotExtractable bool // new objects are not Extractable unless asked otherwise
	ForbidClasses  []core.Class
	UniqueNames    bool // refuse a Name that another object of the tenant has; two nodes at the same moment can still give one

	RevokedKeys                          // of every tenant but those in RevokedKeysOf
	RevokedKeysOf map[string]RevokedKeys // by tenant
}

// RevokedKeys says which revoked keys no longer decrypt, verify or unwrap.
type RevokedKeys struct {
	DeactivatedRefused bool
	CompromisedRefused bool
}

// ServerInfo is what Query tells of the server.
type ServerInfo struct{ Vendor, Product, Version string }

// Observation is one finished operation, for metrics.
type Observation struct {
	Action   core.Action
	Door     core.Door
	Outcome  core.Outcome
	Code     core.Code
	Duration time.Duration
}

// Engine is safe for concurrent use.
type Engine struct {
	Tenants *Tenants

	Ports    Ports
	Settings Settings

	objects  *cache
	naming   naming
	quotas   *quotas
	streams  *streams
	logins   logins
	Intents  *OwnIntents
	tampered tamperedRows

	processes func(o *core.ManagedObject, now int64) error // mayProcess, bound once: a use allocates nothing
}

// New makes an engine. A tenant must be declared before it can be served; its first
// operation loads its keys.
func New(p Ports, s Settings) *Engine {
	if p.Clock == nil {
		p.Clock = systemClock{}
	}
	if p.Log == nil {
		p.Log = slog.Default()
	}
	if p.Observe == nil {
		p.Observe = func(Observation) {}
	}
	if s.SearchTime <= 0 {
		s.SearchTime = 10 * time.Second
	}
	lease := int64(0)
	if p.Store.Shared() {
		lease = core.SnapshotLeaseMS * 1000
	}
	e := &Engine{Ports: p, Settings: s, objects: newCache(lease), streams: newStreams(p.Account), naming: newNaming(), quotas: newQuotas(s.Quota), Intents: newOwnIntents()}
	e.Tenants = newTenants(&e.Ports, s.MaxTenants, &e.tampered)
	e.processes = e.mayProcess
	return e
}

type systemClock struct{}

var started = time.Now()

func (systemClock) Now() int64 { return time.Now().Unix() }

func (systemClock) NowMicro() int64 { return time.Now().UnixMicro() }

func (systemClock) Mono() int64 { return time.Since(started).Microseconds() }
