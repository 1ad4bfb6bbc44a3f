// Package serverpolicy keeps policies.rego, which decides every request, in the directory:
// each text is a version of one entry, and every node puts the newest one in force.
//
// The database decides. The file of a node only gives a text that was never in force before;
// see judgeOffer. A node never decides by an older version for longer than activateWithin
// after it has read a newer one: until that one can be used, the node denies everything. A
// version whose row was tampered with is not read, so the last good one stays in force.
//
// It relies on packages engine and engine/directory. Start at [Keeper.Start].
package serverpolicy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// Ports are what a keeper needs. All are required.
type Ports struct {
	Engine    *engine.Engine
	Directory *directory.Directory
	Policy    core.ServerPolicy
	Log       *slog.Logger

	// ReadFile returns the policy that the settings of this node name. It fails with
	// PolicyUnavailable.
	ReadFile func() (Offer, error)
	// Default is the default policy of this release.
	Default core.PolicySource
	// CheckCanaries looks for canaries that hold now and would not hold with another policy.
	// It fails with Conflict if one of them is the operator's. warnings name the others.
	CheckCanaries func(ctx context.Context, next core.Policy) (warnings []string, err error)
}

// Keeper puts versions of the policy in force. Safe for concurrent use.
type Keeper struct {
	ports Ports
	news  chan struct{} // another version was read; holds one signal

	changing sync.Mutex // one version at a time is prepared

	switching sync.Mutex // guards the policy in force together with inForce
	inForce   int64      // the version in force on this node, 0: none
	least     int64      // no older version may decide any more

	fileNote atomic.Pointer[string] // why the file of this node is not in force; "": it is, or none is set
}

// entryName names the only entry. It is one of the whole server, like the rows of tenants.
var entryName = core.DirectoryName{Kind: core.EntryServerPolicy, ID: "policies.rego"}

// activateWithin is how long the version before may decide after a newer one was read.
const activateWithin = 700 * time.Millisecond

// retryEvery is how often a version is tried again that could not be put in force.
const retryEvery = 30 * time.Second

// New returns a keeper that has put nothing in force yet. It must be called before the
// directory is opened.
func New(p Ports) *Keeper {
	k := &Keeper{ports: p, news: make(chan struct{}, 1)}
	k.fileNote.Store(new(string))
	p.Directory.Watch(core.EntryServerPolicy, k.noteVersion)
	return k
}

// noteVersion is called with each version that this node reads.
func (k *Keeper) noteVersion(e *core.DirectoryEntry) {
	select {
	case k.news <- struct{}{}:
	default:
	}
	time.AfterFunc(activateWithin, func() {
		k.suspendBefore(e.Version, core.Errorf(core.PolicyUnavailable, "version %d of the server's policy is not in force on this node yet, and an older one decides nothing any more; try again", e.Version))
	})
}

// suspendBefore takes the policy out of force if it is older than a version.
func (k *Keeper) suspendBefore(version int64, why error) {
	k.switching.Lock()
	defer k.switching.Unlock()
	k.least = max(k.least, version)
	if k.inForce < version {
		k.ports.Policy.Suspend(why)
	}
}

// activate puts a version in force, unless a newer one is or must be. It reports whether it did.
func (k *Keeper) activate(version int64, p core.PreparedPolicy) bool {
	k.switching.Lock()
	defer k.switching.Unlock()
	if version <= k.inForce || version < k.least {
		return false
	}
	p.Activate()
	k.inForce = version
	return true
}

// stored is a version as the directory has it.
type stored struct {
	entry *core.DirectoryEntry
	body  Body
}

// newestVersion returns the newest version, nil if there is none.
func (k *Keeper) newestVersion() (*stored, error) {
	e, err := k.ports.Directory.Get(entryName.Kind, entryName.Tenant, entryName.ID)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readStored(e)
}

func readStored(e *core.DirectoryEntry) (*stored, error) {
	s := &stored{entry: e}
	if err := core.DecodeBody(e.Body, &s.body); err != nil {
		return nil, core.Wrap(core.Tampered, err, "version %d of the server's policy cannot be read", e.Version)
	}
	return s, nil
}

// Start puts the newest version in force, or the file of this node if there is none or if its
// text was never in force. It fails if no policy is in force then, and if the file cannot be
// read, or has a new text that cannot be used. A canary does not keep a server from starting.
func (k *Keeper) Start(ctx context.Context) error {
	var loadErr, fileErr error
	for range startTries {
		loadErr, fileErr = k.catchUp(ctx, "at start"), k.TakeFile(ctx, "at start")
		if core.CodeOf(fileErr) != core.Conflict {
			break
		}
	}
	refusedByCanary := core.CodeOf(fileErr) == core.Conflict
	if k.ports.Policy.Hash() == "" || fileErr != nil && !refusedByCanary {
		return errors.Join(fileErr, loadErr)
	}
	if refusedByCanary {
		k.ports.Log.Error("policy.file is not taken; the version in the database is in force", "error", fileErr)
	}
	return nil
}

// startTries is how often a start tries to store the file of this node, while other nodes that
// start at the same time store theirs.
const startTries = 3

// Follow puts versions in force that other nodes have stored, until ctx ends.
func (k *Keeper) Follow(ctx context.Context) {
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for said := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-k.news:
		case <-retry.C:
		}
		err := k.catchUp(ctx, "stored by another node")
		if err == nil {
			said = ""
		} else if text := err.Error(); text != said && ctx.Err() == nil {
			k.ports.Log.Error("the server's policy", "error", err)
			said = text
		}
	}
}

// catchUp puts the newest version in force if it is not. A version that this node cannot use
// leaves none in force. If the entry cannot be read, what is in force stays.
func (k *Keeper) catchUp(ctx context.Context, why string) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	now, err := k.newestVersion()
	if err != nil || now == nil || now.entry.Version == k.VersionInForce() {
		return err
	}
	next, err := k.ports.Policy.Prepare(ctx, now.body.source())
	if err != nil {
		err = core.Wrap(core.PolicyUnavailable, err, "version %d of the server's policy cannot be used on this node, so nothing is decided here; give this node the release of the others, or apply another version on one of them", now.entry.Version)
		k.suspendBefore(now.entry.Version, err)
		return err
	}
	if !k.activate(now.entry.Version, next) {
		return nil // the news of the newer version wait
	}
	return k.ports.Engine.RecordEvent(ctx, loadRecord(next.Hash(), fmt.Sprintf("version %d, %s", now.entry.Version, why)))
}

// loadRecord says that a policy is in force.
func loadRecord(hash, detail string) core.Record {
	return core.Record{Action: core.ActionLoadPolicy, Outcome: core.Allowed, PolicyHash: hash, Detail: detail}
}

// VersionInForce returns the version that decides on this node, 0 if none was put in force.
func (k *Keeper) VersionInForce() int64 {
	k.switching.Lock()
	defer k.switching.Unlock()
	return k.inForce
}

// FileNote says why the file of this node is not in force, "" if that needs no attention.
func (k *Keeper) FileNote() string { return *k.fileNote.Load() }

// TakeFile stores the policy of this node's file as the next version and puts it in force, if
// its text was never in force. It leaves a record in each case, unless it fails.
func (k *Keeper) TakeFile(ctx context.Context, why string) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	offer, err := k.ports.ReadFile()
	if err != nil {
		return err
	}
	now, err := k.newestVersion()
	if err != nil {
		return err
	}
	var before *Body
	if now != nil {
		before = &now.body
	}
	take, note := judgeOffer(before, &offer, k.ports.Engine.Ports.Store.Shared())
	k.fileNote.Store(&note)
	if !take {
		return k.keepVersion(ctx, note, why)
	}
	next, warnings, err := k.prepareChecked(ctx, offer.PolicySource)
	if err != nil {
		return err
	}
	v := nextVersion{before: now, source: &offer.PolicySource, origin: offer.origin(), author: core.SystemTenant + "/keyreeve", reason: why, policy: next}
	return k.storeVersion(&v, func(e *core.DirectoryEntry) error {
		r := loadRecord(next.Hash(), v.detail(e, warnings)+", "+why)
		return k.ports.Directory.Save(ctx, e, k.ports.Engine.EventWrite(r))
	})
}

// keepVersion records that the file changes nothing. note says why, "" if it is in force.
func (k *Keeper) keepVersion(ctx context.Context, note, why string) error {
	detail := "the same as before, " + why
	if note != "" {
		k.ports.Log.Warn("policy.file", "note", note)
		detail = note + ", " + why
	}
	if why == "at start" && note == "" {
		return nil // the version that was put in force has left its record
	}
	return k.ports.Engine.RecordEvent(ctx, loadRecord(k.ports.Policy.Hash(), detail))
}

// prepareChecked prepares a policy and asks the canaries of all tenants.
func (k *Keeper) prepareChecked(ctx context.Context, s core.PolicySource) (core.PreparedPolicy, []string, error) {
	next, err := k.ports.Policy.Prepare(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	warnings, err := k.ports.CheckCanaries(ctx, next)
	if err != nil {
		err = core.Wrap(core.CodeOf(err), err, "the policy is not activated")
	}
	return next, warnings, err
}

// nextVersion is a version that is not stored yet.
type nextVersion struct {
	before *stored // nil: it is the first
	source *core.PolicySource
	origin Origin
	author string
	reason string
	policy core.PreparedPolicy
}

// detail is the text for the record.
func (v *nextVersion) detail(e *core.DirectoryEntry, warnings []string) string {
	text := fmt.Sprintf("version %d, from the %s", e.Version, v.origin)
	if v.before != nil {
		text += fmt.Sprintf(", in place of version %d", v.before.entry.Version)
	}
	for _, w := range warnings {
		text += "; " + w
	}
	return text
}

// storeVersion commits a version by a function, which also shows it to the directory, and
// puts it in force.
func (k *Keeper) storeVersion(v *nextVersion, commit func(*core.DirectoryEntry) error) error {
	e := &core.DirectoryEntry{Kind: entryName.Kind, ID: entryName.ID, Version: 1, At: k.ports.Engine.Ports.Clock.Now(), Author: v.author, Reason: v.reason}
	var before *Body
	if v.before != nil {
		e.Version, before = v.before.entry.Version+1, &v.before.body
	}
	var err error
	if e.Body, err = core.EncodeBody(bodyAfter(before, v.source, v.origin)); err != nil {
		return err
	}
	if len(e.Body) > core.MaxDirectoryBody {
		return core.Errorf(core.InvalidField, "the policy and its tests have %d bytes as they are stored; at most %d are possible", len(e.Body), core.MaxDirectoryBody)
	}
	if err := commit(e); err != nil {
		return err
	}
	k.activate(e.Version, v.policy)
	return nil
}
