package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/importjobs"
)

// importSite is a node with import jobs.
type importSite struct {
	node
	jobs      *importjobs.Verbs
	directory *directory.Directory
	prune     *admin.TokenVerbs
}

// newImportSite starts a node on the store of a world.
func newImportSite(t *testing.T, w *world, policy core.Policy) *importSite {
	t.Helper()
	d := directory.New(directory.Ports{Store: w.store, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
	e := engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: policy, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{})
	jobs := importjobs.New(e, d)
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	n := newNode(e)
	n.UseImportJobs(jobs)
	return &importSite{n, jobs, d, admin.NewTokenVerbs(admin.New(e, admin.Ports{Directory: d, ImportJobs: jobs.Jobs()}), admin.TokenSettings{})}
}

// create makes a job.
func (s *importSite) create(t *testing.T, c *core.Caller) string {
	t.Helper()
	job, err := s.jobs.Create(ctx, c, &operation.CreateImportJobInput{Algorithm: "rsa-aes-kwp-sha1"})
	if err != nil {
		t.Fatal(err)
	}
	return job.ID
}

// importing is an AES key that comes under a job.
func importing(job string) *operation.RegisterInput {
	return &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, ImportJob: job, Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicLength, core.Int(256),
		core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)), Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Wrapped: []byte("wrapped under the transport key")}}}
}

// A job takes one key of its maker, on any node, and then exists no more.
func TestImportJobTakesOneKey(t *testing.T) {
	w := newWorld(t)
	one, two := newImportSite(t, w, tenantPolicy{}), newImportSite(t, w, tenantPolicy{})
	made, err := one.jobs.Create(ctx, w.alice, &operation.CreateImportJobInput{Algorithm: "rsa-oaep-sha256", Bits: 4096})
	if err != nil || made.Bits != 4096 || made.Expires != w.clock.Now()+24*3600 || string(made.PublicKey) != "public" {
		t.Fatalf("the job is %+v, %v", made, err)
	}
	job := made.ID
	if err := two.directory.Open(ctx); err != nil { // as a node that starts later
		t.Fatal(err)
	}
	if got, err := two.jobs.Read(ctx, w.alice, &operation.ImportJobInput{ID: job}); err != nil || got.Algorithm != "rsa-oaep-sha256" || string(got.PublicKey) != "public" {
		t.Errorf("the other node reads %+v, %v", got, err)
	}
	for who, c := range map[string]*core.Caller{"a member of the group": w.bob, "a stranger": w.eve, "another tenant": w.out} {
		_, err := two.jobs.Read(ctx, c, &operation.ImportJobInput{ID: job})
		_, deleted := two.jobs.Delete(ctx, c, &operation.ImportJobInput{ID: job})
		_, taken := two.Register(ctx, c, importing(job))
		if core.CodeOf(err) != core.ItemNotFound || core.CodeOf(deleted) != core.ItemNotFound || core.CodeOf(taken) != core.ItemNotFound {
			t.Errorf("%s: read %v, delete %v, import %v; want ItemNotFound", who, err, deleted, taken)
		}
	}
	out, err := two.Register(ctx, w.alice, importing(job))
	if err != nil || out.Made == nil {
		t.Fatalf("import: %v", err)
	}
	as := out.Made.Attributes
	if as.Bool(core.TagAlwaysSensitive) || as.Bool(core.TagNeverExtractable) || string(out.Made.Material.Blob) != "wrapped under the transport key" {
		t.Errorf("the imported key is %+v with %v", out.Made.Material, as)
	}
	if _, err := two.Register(ctx, w.alice, importing(job)); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("a second key: %v; want ItemNotFound", err)
	}
	if _, err := one.Register(ctx, w.alice, importing(job)); core.CodeOf(err) != core.Conflict { // it has not read yet that the job was used
		t.Errorf("a second key on the other node: %v; want Conflict", err)
	}
	for _, id := range []string{"", "no such job", strings.Repeat("x", 300)} {
		in := importing(id)
		if id == "" {
			in.ImportJob = "\x00"
		}
		if _, err := two.Register(ctx, w.alice, in); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("job %q: %v; want ItemNotFound", id, err)
		}
	}
}

// Of many imports under one job at once, one succeeds, and the others leave nothing.
func TestImportJobIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	s := newImportSite(t, w, tenantPolicy{})
	job := s.create(t, w.alice)
	var wg sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		wg.Go(func() { _, results[i] = s.Register(ctx, w.alice, importing(job)) })
	}
	wg.Wait()
	taken := 0
	for _, err := range results {
		switch core.CodeOf(err) {
		case core.ItemNotFound, core.Conflict:
		default:
			if err != nil {
				t.Error(err)
			}
			taken++
		}
	}
	found, err := s.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1})
	if taken != 1 || err != nil || len(found.IDs) != 1 {
		t.Errorf("%d imports succeeded and left %d objects, %v; want one", taken, len(found.IDs), err)
	}
}

// An import that fails leaves the job as it was.
func TestFailedImportLeavesTheJob(t *testing.T) {
	w := newWorld(t)
	s := newImportSite(t, w, tenantPolicy{})
	job := s.create(t, w.alice)
	for what, spoil := range map[string]func(*operation.RegisterInput){
		"no usage": func(in *operation.RegisterInput) {
			in.Attributes = in.Attributes.Without(core.AttributeName{Tag: core.TagCryptographicUsageMask})
		},
		"no length": func(in *operation.RegisterInput) {
			in.Attributes = in.Attributes.Without(core.AttributeName{Tag: core.TagCryptographicLength})
		},
		"a length that AES lacks": func(in *operation.RegisterInput) {
			in.Attributes = in.Attributes.Set(core.TagCryptographicLength, core.Int(200))
		},
		"a public key": func(in *operation.RegisterInput) {
			in.ObjectType, in.Object.Type = core.ObjectTypePublicKey, core.ObjectTypePublicKey
		},
		"a certificate": func(in *operation.RegisterInput) {
			in.ObjectType, in.Object.Type = core.ObjectTypeCertificate, core.ObjectTypeCertificate
		},
		"an algorithm that is no one's": func(in *operation.RegisterInput) {
			in.Attributes = in.Attributes.Set(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA))
		},
	} {
		in := importing(job)
		spoil(in)
		if _, err := s.Register(ctx, w.alice, in); err == nil || core.CodeOf(err) == core.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Register(ctx, w.alice, importing(job)); err != nil {
		t.Errorf("the job is gone after failures: %v", err)
	}
}

// A job ends after a day, or when its maker deletes it, and its entry is pruned then.
func TestImportJobEnds(t *testing.T) {
	w := newWorld(t)
	s := newImportSite(t, w, tenantPolicy{})
	old, deleted := s.create(t, w.alice), s.create(t, w.alice)
	if _, err := s.jobs.Delete(ctx, w.alice, &operation.ImportJobInput{ID: deleted}); err != nil {
		t.Fatal(err)
	}
	gone := func(what, id string) {
		t.Helper()
		_, read := s.jobs.Read(ctx, w.alice, &operation.ImportJobInput{ID: id})
		_, taken := s.Register(ctx, w.alice, importing(id))
		if core.CodeOf(read) != core.ItemNotFound || core.CodeOf(taken) != core.ItemNotFound {
			t.Errorf("%s: read %v, import %v; want ItemNotFound", what, read, taken)
		}
	}
	gone("deleted", deleted)
	w.clock.now += 24*3600 - 1
	if _, err := s.jobs.Read(ctx, w.alice, &operation.ImportJobInput{ID: old}); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	if err := s.prune.Prune(ctx); err != nil || s.directory.NextVersion(core.EntryImportJob, "default", deleted) != 3 {
		t.Errorf("a deleted job is pruned before it would have ended, %v", err)
	}
	w.clock.now++
	gone("expired", old)
	if err := s.prune.Prune(ctx); err != nil || s.directory.NextVersion(core.EntryImportJob, "default", old) != 1 || s.directory.NextVersion(core.EntryImportJob, "default", deleted) != 1 {
		t.Errorf("jobs that ended are not pruned, %v", err)
	}
	gone("pruned", old)
}

// A principal and a tenant have bounded numbers of jobs, and cannot fill the directory with jobs
// that they delete.
func TestImportJobsAreBounded(t *testing.T) {
	w := newWorld(t)
	s := newImportSite(t, w, tenantPolicy{})
	create := func(c *core.Caller) error {
		_, err := s.jobs.Create(ctx, c, &operation.CreateImportJobInput{Algorithm: "rsa-oaep-sha1"})
		return err
	}
	var last string
	for range 20 {
		last = s.create(t, w.alice)
	}
	if err := create(w.alice); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("job 21: %v; want QuotaExceeded", err)
	}
	if _, err := s.jobs.Delete(ctx, w.alice, &operation.ImportJobInput{ID: last}); err != nil || create(w.alice) != nil {
		t.Errorf("no job after one was deleted: %v", err)
	}
	for i := range 9 {
		p := &core.Principal{Tenant: "default", ID: fmt.Sprint("worker-", i)}
		for range 20 {
			s.create(t, &core.Caller{Principal: p, Door: core.DoorREST, Version: core.V2_1})
		}
	}
	if err := create(w.bob); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("job 201 of the tenant: %v; want QuotaExceeded", err)
	}
	if err := create(w.out); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	for range 199 {
		id := s.create(t, w.out)
		if _, err := s.jobs.Delete(ctx, w.out, &operation.ImportJobInput{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(w.out); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("after 200 jobs within a day: %v; want QuotaExceeded", err)
	}
	w.clock.now += 24 * 3600
	if err := create(w.out); err != nil {
		t.Errorf("a day later: %v", err)
	}
	for _, bad := range []operation.CreateImportJobInput{{}, {Algorithm: "rsa"}, {Algorithm: "rsa-oaep-sha1", Bits: 2048}, {Algorithm: "rsa-oaep-sha1", Bits: 3073}} {
		if _, err := s.jobs.Create(ctx, w.out, &bad); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%+v: %v; want InvalidField", bad, err)
		}
	}
}

// An HSM that cannot make the transport key leaves no job.
func TestFailedTransportKeyLeavesNoJob(t *testing.T) {
	w := newWorld(t)
	s := newImportSite(t, w, tenantPolicy{})
	w.hsm.fail = core.Errorf(core.UnsupportedByHSM, "no such hash")
	if _, err := s.jobs.Create(ctx, w.alice, &operation.CreateImportJobInput{Algorithm: "rsa-oaep-sha256"}); core.CodeOf(err) != core.UnsupportedByHSM {
		t.Errorf("Create: %v; want UnsupportedByHSM", err)
	}
	if own, _ := s.jobs.Jobs().Count("default", "alice", w.clock.Now()); own.Kept != 0 {
		t.Errorf("%d jobs are left", own.Kept)
	}
}

// A key that comes in clear over REST needs Import Clear and Register, both for the key that it is.
func TestImportClearIsAskedForBesideRegister(t *testing.T) {
	w := newWorld(t)
	in := func(clear bool) *operation.RegisterInput {
		return &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, ImportClear: clear, Attributes: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt)),
			Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Material: make([]byte, 32)}}}
	}
	for _, refused := range []core.Action{core.ActionImportClear, core.ActionRegister, 0} {
		s := newImportSite(t, w, refusing{action: refused})
		for _, clear := range []bool{true, false} {
			_, err := s.Register(ctx, w.alice, in(clear))
			want := refused == core.ActionRegister || (clear && refused == core.ActionImportClear)
			if (core.CodeOf(err) == core.PermissionDenied) != want || (err != nil && !want) {
				t.Errorf("%v is refused, Import Clear is asked for %v: %v", refused, clear, err)
			}
		}
	}
	long := newImportSite(t, w, refusingLong{})
	if _, err := long.Register(ctx, w.alice, in(true)); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("the policy is not asked about the length that the key has: %v", err)
	}
}

// refusingLong permits Import Clear for keys whose length is not known yet.
type refusingLong struct{}

func (refusingLong) Decide(_ context.Context, a *core.AccessRequest) (core.Decision, error) {
	return core.Decision{Allow: a.Action != core.ActionImportClear || a.Asked.Length == 0, Scope: "own", Reasons: []string{"test"}}, nil
}
func (refusingLong) Health(context.Context) error { return nil }
