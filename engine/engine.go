// Package engine is the road that every operation of every door takes, whatever it
// does: clock, quota, policy, audit record and timing. The verbs are in its rooms:
// objects, uses, attributes, about, admin and upkeep.
//
// An operation decides, acts and records, in that order. No operation returns success
// before its record is durable. A change of objects carries its record in the same
// transaction. The policy is asked before the state of an object is looked at, so
// that a caller without permission learns only that permission was denied. An object
// of another tenant is answered with Item Not Found.
//
// The engine relies on the ports of package core for all effects. It never touches a
// wire, a database or a token itself. Start at [Run], then [Call].
package engine

import (
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/ratewindow"
)

// Ports are the interfaces through which an engine has all its effects. Those without
// a comment are required.
type Ports struct {
	Store   core.Store
	HSM     core.HSM
	Policy  core.Policy
	Journal core.Journal
	Facts   core.AccessFacts // nil: there are no key policies and no roles of tenants

	TenantRows core.TenantRows // nil: all tenants have the settings of the server

	Approvals core.ApprovalDesk // nil: a request that needs approvals is denied

	Formats core.Formats
	Clock   core.Clock                             // nil: the system's clock
	Log     *slog.Logger                           // nil: slog.Default
	Observe func(Observation)                      // called after each operation; nil: not called
	Account func(tenant, principal string) Account // returns the account that the memory of streams counts in; nil: only the bounds of streams apply

	FindVersion func(k *Call, tenant string, id core.Identifier, protects bool) (*core.ManagedObject, error) // of a key family, without asking the policy; nil: no door names families

	FailedLogin func(door core.Door, method string) // called for each authentication that failed; nil: not called
}

// Settings are the operator's choices. Zero values are safe.
type Settings struct {
	Defaults     Defaults
	Server       ServerInfo
	NamedTenants []string // tenants that the configuration names; commands may name them before they are declared
	MaxTenants   int      // key sets that the token may hold; 0: 1,000

	Quota            core.Quota    // of each tenant; zero: no bounds
	ApprovalLifetime time.Duration // how long a request waits for approvals; 0: a day

	SearchTime time.Duration // the most for one Locate, which then fails with Busy; 0: 10 s
}

// Defaults are the server's choices where a client makes none.
type Defaults struct {
	Sensitive      bool          // new objects are Sensitive unless the client says otherwise
	NotExtractable bool          // new objects are not Extractable unless the client says otherwise
	ForbidClasses  []core.Class  // no object of these classes is kept
	KeyGroup       string        // owns new keys too, unless the request, the client or the tenant names a group; only if the maker is a member
	Retention      time.Duration // how long a deleted object can be restored unless the request says otherwise; 0: DefaultRetention
	UniqueNames    bool          // refuse a Name that another object of the tenant has; two nodes can still give one Name at the same moment

	RevokedKeys                          // of all tenants that are not in RevokedKeysOf
	RevokedKeysOf map[string]RevokedKeys // by tenant
}

// Bounds and default of how long a deleted object can be restored.
const (
	MinRetention     = 24 * time.Hour
	MaxRetention     = 3650 * 24 * time.Hour
	DefaultRetention = 30 * 24 * time.Hour
)

// RevokedKeys says which revoked keys no longer decrypt, verify or unwrap.
type RevokedKeys struct {
	DeactivatedRefused bool
	CompromisedRefused bool
}

// ServerInfo is what Query answers about the server.
type ServerInfo struct{ Vendor, Product, Version string }

// Observation is one finished operation, for metrics.
type Observation struct {
	Action   core.Action
	Door     core.Door
	Outcome  core.Outcome
	Code     core.Code
	Duration time.Duration
}

// Engine runs the operations of all doors. It is safe for concurrent use.
type Engine struct {
	Tenants *Tenants

	Ports    Ports
	Settings Settings

	objects  *cache
	naming   naming
	quotas   *quotas
	rates    ratewindow.Table // of the uses that statements bound, on this node
	streams  *streams
	logins   logins
	Intents  *OwnIntents // of token objects; see [Engine.NewIntent]
	tampered tamperedRows

	processCheck func(o *core.ManagedObject, now int64) error // mayProcess, bound once so that a use allocates nothing
}

// New returns an engine. A tenant must be declared before its operations are served.
// Its first operation loads its keys.
func New(p Ports, s Settings) *Engine {
	if p.Clock == nil {
		p.Clock = SystemClock{}
	}
	if p.Log == nil {
		p.Log = slog.Default()
	}
	if p.Observe == nil {
		p.Observe = func(Observation) {}
	}
	if p.FailedLogin == nil {
		p.FailedLogin = func(core.Door, string) {}
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
	e.processCheck = e.mayProcess
	return e
}

// SystemClock is the clock of the machine.
type SystemClock struct{}

var started = time.Now()

func (SystemClock) Now() int64 { return time.Now().Unix() }

func (SystemClock) NowMicro() int64 { return time.Now().UnixMicro() }

func (SystemClock) Mono() int64 { return time.Since(started).Microseconds() }
