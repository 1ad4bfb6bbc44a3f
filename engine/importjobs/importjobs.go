// Package importjobs has the operations on import jobs: transport keys of the HSM, under which
// somebody wraps a key that is then imported.
//
// A job belongs to the principal that made it, takes one key, and ends after a day. Its private
// key is of class N: the server never sees it, and nothing of it stays in the HSM. It relies on
// package engine for decisions and records, and on the directory, in which jobs are sealed
// entries that every node has. The key itself is imported by package objects, which calls
// [Verbs.Open]. Start at [Verbs.Create].
package importjobs

import (
	"cmp"
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// Bounds of the import jobs that a principal and its tenant have at once.
const (
	perPrincipal = 20
	perTenant    = 200
	keptJobs     = 10 // times that many, with those that were used or deleted, are kept until they expire
)

// usualBits is the length of a transport key if the client names none.
const usualBits = 3072

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct {
	engine    *engine.Engine
	directory *directory.Directory
	jobs      *directory.ImportJobs
}

// New returns the verbs. The directory must not be open yet.
func New(e *engine.Engine, d *directory.Directory) *Verbs {
	return &Verbs{e, d, directory.NewImportJobs(d)}
}

// Jobs returns the entries, to prune those that have ended.
func (v *Verbs) Jobs() *directory.Ending { return v.jobs.Ending }

// Create makes a transport key.
func (v *Verbs) Create(ctx context.Context, c *core.Caller, in *operation.CreateImportJobInput) (operation.ImportJob, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionCreateImportJob, in, v.create)
}

func (v *Verbs) create(k *engine.Call, in *operation.CreateImportJobInput) (out operation.ImportJob, err error) {
	p, id := k.Caller.Principal, engine.NewID()
	k.Record.Detail = "job " + id + ", " + core.ClientText(in.Algorithm)
	job := &directory.ImportJob{Principal: p.ID, Algorithm: in.Algorithm, Bits: cmp.Or(in.Bits, usualBits), Expires: k.Now + int64(directory.ImportJobLifetime.Seconds())}
	if err := job.Check(); err != nil {
		return out, err
	}
	if err := v.checkQuota(p, k.Now); err != nil {
		return out, err
	}
	if err := k.Engine.Tenants.Load(k.Ctx, p.Tenant); err != nil {
		return out, err
	}
	if job.Material, job.PublicKey, err = k.Ports.HSM.MakeTransportKey(k.Ctx, job.Key(p.Tenant, id), job.Transport()); err != nil {
		return out, err
	}
	k.Ports.HSM.Forget(p.Tenant, id) // the try has left a handle
	k.Record.ExecutedIn = "token"
	body, err := core.EncodeBody(job)
	if err != nil {
		return out, err
	}
	err = v.store(k, &core.DirectoryEntry{Kind: core.EntryImportJob, Tenant: p.Tenant, ID: id, Version: 1, At: k.Now, Author: authorOf(p), Body: body})
	return shown(id, job), err
}

// checkQuota fails if the caller or its tenant has too many jobs. Requests that run at once can
// exceed it by their number.
func (v *Verbs) checkQuota(p *core.Principal, now int64) error {
	own, all := v.jobs.Count(p.Tenant, p.ID, now)
	switch {
	case own.Living >= perPrincipal || all.Living >= perTenant:
		return core.Errorf(core.QuotaExceeded, "%s has %d import jobs and the tenant %d; at most %d and %d wait at once: use or delete some", core.ClientText(p.ID), own.Living, all.Living, perPrincipal, perTenant)
	case own.Kept >= keptJobs*perPrincipal || all.Kept >= keptJobs*perTenant:
		return core.Errorf(core.QuotaExceeded, "%s has made %d import jobs within a day and the tenant %d; at most %d and %d are made: wait until some expire", core.ClientText(p.ID), own.Kept, all.Kept, keptJobs*perPrincipal, keptJobs*perTenant)
	}
	return nil
}

// store commits a version of a job with the record of the operation.
func (v *Verbs) store(k *engine.Call, e *core.DirectoryEntry) error {
	ch := core.ChangeOf(core.SaveDirectoryEntry{Entry: e})
	if err := k.Commit(ch); err != nil {
		return err
	}
	v.directory.ShowStored(ch)
	return nil
}

func authorOf(p *core.Principal) string { return p.Tenant + "/" + p.ID }

func shown(id string, j *directory.ImportJob) operation.ImportJob {
	return operation.ImportJob{ID: id, Algorithm: j.Algorithm, Bits: j.Bits, PublicKey: j.PublicKey, Expires: j.Expires}
}

// Read returns a job of the caller.
func (v *Verbs) Read(ctx context.Context, c *core.Caller, in *operation.ImportJobInput) (operation.ImportJob, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionReadImportJob, in, func(k *engine.Call, in *operation.ImportJobInput) (operation.ImportJob, error) {
		k.Record.Detail = "job " + core.ClientText(in.ID)
		job, _, err := v.find(k, in.ID)
		if err != nil {
			return operation.ImportJob{}, err
		}
		return shown(in.ID, job), nil
	})
}

// Delete ends a job of the caller.
func (v *Verbs) Delete(ctx context.Context, c *core.Caller, in *operation.ImportJobInput) (struct{}, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionDeleteImportJob, in, func(k *engine.Call, in *operation.ImportJobInput) (struct{}, error) {
		k.Record.Detail = "job " + core.ClientText(in.ID)
		_, version, err := v.find(k, in.ID)
		if err != nil {
			return struct{}{}, err
		}
		err = v.store(k, endOf(k, in.ID, version))
		if err == nil {
			k.Ports.HSM.Forget(k.Caller.Principal.Tenant, in.ID)
		}
		return struct{}{}, err
	})
}

// find returns a job of the caller. That of somebody else is answered like one that does not exist.
func (v *Verbs) find(k *engine.Call, id string) (*directory.ImportJob, int64, error) {
	p := k.Caller.Principal
	job, version, err := v.jobs.Find(p.Tenant, id, k.Now)
	if core.CodeOf(err) == core.ItemNotFound || (err == nil && job.Principal != p.ID) {
		err = core.Errorf(core.ItemNotFound, "there is no import job %s of %s: it was used or deleted, has expired, or never was", core.ClientText(id), core.ClientText(p.ID))
	}
	if err != nil {
		return nil, 0, err
	}
	return job, version, nil
}

// endOf returns the version that ends a job.
func endOf(k *engine.Call, id string, version int64) *core.DirectoryEntry {
	p := k.Caller.Principal
	return &core.DirectoryEntry{Kind: core.EntryImportJob, Tenant: p.Tenant, ID: id, Version: version + 1, At: k.Now, Author: authorOf(p), Deleted: true}
}

// Open returns a job of the caller, for the one key that is imported under it.
func (v *Verbs) Open(k *engine.Call, id string) (operation.OpenedJob, error) {
	job, version, err := v.find(k, id)
	if err != nil {
		return operation.OpenedJob{}, err
	}
	p := k.Caller.Principal
	if err := k.Engine.Tenants.Load(k.Ctx, p.Tenant); err != nil {
		return operation.OpenedJob{}, err
	}
	return operation.OpenedJob{Key: job.Key(p.Tenant, id), Transport: job.Transport(), End: core.SaveDirectoryEntry{Entry: endOf(k, id, version)}}, nil
}

// ShowEnded lets this node know that a change has ended a job.
func (v *Verbs) ShowEnded(k *engine.Call, id string, ch *core.Change) {
	v.directory.ShowStored(ch)
	k.Ports.HSM.Forget(k.Caller.Principal.Tenant, id)
}
