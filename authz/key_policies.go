package authz

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/authz/keypolicy"
	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/core/rules"
)

// Bounds of what is kept. A compiled policy takes some 18 KB, the largest ones 10 MB.
const (
	keptPolicies    = 1024
	keptSize        = 131_072 // of all kept policies, see [keypolicy.Policy.Size]
	keptFor         = time.Hour
	maxGatesKept    = 64 // of one remembered match; requests with more are refused
	maxMatchesNamed = 16 // statements of each effect that policies.rego and the record see
)

// KeyPolicies are the key policies that people write as JSON. It finds the statements that
// match a request, for the decision by policies.rego. Safe for concurrent use.
type KeyPolicies struct {
	matcher *keypolicy.Matcher
	read    func(core.DirectoryVersion) (*core.DirectoryEntry, error)

	memo    *keypolicy.Memo
	changes atomic.Uint64 // of the regions

	reloading sync.Mutex // held while the regions are read and replaced

	mu       sync.RWMutex
	regions  *regionTable
	compiled *cache.Bounded[keptPolicy]
	sizes    map[string]int // of the compiled policies of each tenant
}

// keptPolicy is a compiled policy of a tenant.
type keptPolicy struct {
	*keypolicy.Policy
	tenant string
}

var _ core.KeyPolicies = (*KeyPolicies)(nil)

// NewKeyPolicies returns key policies. sources are for the condition region. read returns a
// version of a policy that is in force. It fails with InvalidField if a region is malformed, or
// the MaxMind DB file cannot be used.
func NewKeyPolicies(sources RegionSources, read func(core.DirectoryVersion) (*core.DirectoryEntry, error)) (*KeyPolicies, error) {
	table, err := readRegions(sources)
	if err != nil {
		return nil, err
	}
	return newKeyPolicies(table, keypolicy.MatcherOptions{}, read)
}

func newKeyPolicies(regions *regionTable, o keypolicy.MatcherOptions, read func(core.DirectoryVersion) (*core.DirectoryEntry, error)) (*KeyPolicies, error) {
	m, err := keypolicy.NewMatcher(o)
	if err != nil {
		return nil, err
	}
	k := &KeyPolicies{matcher: m, read: read, memo: keypolicy.NewMemo(), regions: regions, sizes: map[string]int{}}
	k.compiled = cache.New(keptPolicies, keptFor, k.release)
	return k, nil
}

// Propose implements [core.KeyPolicies]. What it returns keeps its own compiled policies and
// matches, so that a proposal drives out nothing that decides requests.
func (k *KeyPolicies) Propose(v core.DirectoryVersion, document []byte) (core.KeyPolicies, error) {
	proposed := &core.DirectoryEntry{Tenant: v.Name.Tenant, Kind: v.Name.Kind, ID: v.Name.ID, Version: v.Version, Body: document}
	next, err := newKeyPolicies(k.regionsNow(), keypolicy.MatcherOptions{InterpretOnly: true}, func(asked core.DirectoryVersion) (*core.DirectoryEntry, error) {
		if asked == v {
			return proposed, nil
		}
		return k.read(asked)
	})
	if err != nil {
		return nil, err
	}
	_, err = next.compile(v)
	return next, err
}

// FindStatements implements [core.KeyPolicies].
func (k *KeyPolicies) FindStatements(ctx context.Context, r *core.AccessRequest) error {
	r.Statements = core.MatchedStatements{}
	if err := checkComplete(r); err != nil {
		return err
	}
	_, err := k.match(ctx, r)
	return err
}

// Reads implements [core.KeyPolicies].
func (k *KeyPolicies) Reads(r *core.AccessRequest) (names []string, err error) {
	policies, err := k.compileAll(nil, r.Policies)
	for _, p := range policies {
		names = append(names, p.Reads(r.Action.String())...)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// release is called with each policy that is kept no longer.
func (k *KeyPolicies) release(p keptPolicy) {
	if k.sizes[p.tenant] -= p.Size(); k.sizes[p.tenant] <= 0 {
		delete(k.sizes, p.tenant)
	}
}

// match adds the statements that match a request to it. What it returns was found now, or is
// remembered.
func (k *KeyPolicies) match(ctx context.Context, r *core.AccessRequest) (*keypolicy.KnownMatch, error) {
	if len(r.Policies) == 0 {
		return &keypolicy.KnownMatch{}, nil
	}
	var room [256]byte // so that a usual request allocates nothing
	key := k.memo.AppendKey(room[:0], r, k.changes.Load())
	if known := k.memo.Recall(r.Principal.Tenant, key, r.Now); known != nil {
		r.Statements = known.Statements
		return known, nil
	}
	var policyRoom [4]*keypolicy.Policy
	policies, err := k.compileAll(policyRoom[:0], r.Policies)
	if err != nil {
		return nil, err
	}
	m, err := k.matcher.Match(ctx, requestOf(r), policies)
	if err != nil {
		return nil, err
	}
	r.Statements = core.MatchedStatements{Allow: firstNames(m.Allow), Deny: firstNames(m.Deny), Exclusive: m.Exclusive, Gates: m.Gates}
	known := &keypolicy.KnownMatch{Statements: r.Statements, Span: m.Span}
	if !m.ReadsParameters && len(m.Gates) <= maxGatesKept && isWhatWasAsked(r, policies) {
		k.memo.Remember(r.Principal.Tenant, key, known)
	}
	return known, nil
}

// isWhatWasAsked reports whether policies have the versions of a request, and its object a
// version. A policy can have been replaced since the request asked which version is in force.
func isWhatWasAsked(r *core.AccessRequest, policies []*keypolicy.Policy) bool {
	for i, p := range policies {
		if p.Version() != r.Policies[i].Version {
			return false
		}
	}
	return r.Object == nil || r.Object.Version > 0
}

// firstNames returns a copy of the first maxMatchesNamed names. One name decides as much as a
// thousand, and remembered answers hold them all.
func firstNames(names []string) []string {
	return slices.Clone(names[:min(len(names), maxMatchesNamed)])
}

// requestOf returns a request as the matcher takes it. Parameters that the request leaves
// open are those of the object, or the defaults.
func requestOf(r *core.AccessRequest) *keypolicy.Request {
	out := &keypolicy.Request{AccessRequest: r, Token: r.Principal.TokenID, Wrapped: r.Asked.Wrapped}
	switch {
	case r.Action.MakesKey():
		describeNewKey(out, r)
	case r.Object != nil:
		out.Parameters = rules.EffectiveParameters(r.Action, r.Asked.Parameters, r.Object)
	case r.Asked.Parameters != nil:
		out.Parameters = *r.Asked.Parameters
	}
	return out
}

// describeNewKey sets what the request says about the key that it makes. A replacement has
// what the request leaves open from the key that it replaces. A derived key has nothing from
// its base.
func describeNewKey(out *keypolicy.Request, r *core.AccessRequest) {
	out.Length, out.Usage = r.Asked.Length, r.Asked.UsageMask
	if p := r.Asked.Parameters; p != nil {
		out.Parameters.CryptographicAlgorithm = p.CryptographicAlgorithm
	}
	if o := r.Object; o != nil && r.Action != core.ActionDeriveKey {
		out.Parameters.CryptographicAlgorithm = cmp.Or(out.Parameters.CryptographicAlgorithm, o.Algorithm())
		out.Length = cmp.Or(out.Length, int32(o.Attributes.Num(core.TagCryptographicLength)))
		out.Usage = cmp.Or(out.Usage, o.Mask())
	}
}

// compileAll appends the policies of versions.
func (k *KeyPolicies) compileAll(out []*keypolicy.Policy, versions []core.DirectoryVersion) ([]*keypolicy.Policy, error) {
	for _, v := range versions {
		p, err := k.compile(v)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// compile returns a version of a policy, which is kept for the next request.
func (k *KeyPolicies) compile(v core.DirectoryVersion) (*keypolicy.Policy, error) {
	k.mu.RLock()
	regions := k.regions
	kept, ok := k.compiled.Get(v.Name.Tenant, v.Name.ID)
	k.mu.RUnlock()
	if ok && kept.Version() == v.Version {
		return kept.Policy, nil
	}
	e, err := k.read(v)
	if err != nil {
		return nil, err
	}
	p, _, err := keypolicy.Compile(e.Body, keypolicy.Options{Name: e.ID, Version: e.Version, Regions: regions.ranges, Locate: regions.locateFunc()})
	if err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "the key policy %s cannot be read", core.ClientText(v.Name.ID))
	}
	k.keep(v.Name, p, regions)
	return p, nil
}

// keep keeps a compiled policy. If all kept ones would be too large, those of the tenant
// that has most are dropped, so that a tenant with many policies drives out its own. A
// policy that was compiled with regions that have changed since is not kept.
func (k *KeyPolicies) keep(name core.DirectoryName, p *keypolicy.Policy, regions *regionTable) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.regions != regions {
		return
	}
	k.compiled.Drop(name.Tenant, name.ID)
	for k.compiled.Len() > 0 && k.keptSizeLocked()+p.Size() > keptSize {
		k.compiled.DropTenant(k.largestTenantLocked())
	}
	k.sizes[name.Tenant] += p.Size()
	k.compiled.Put(name.Tenant, name.ID, keptPolicy{p, name.Tenant})
}

// keptSizeLocked returns the size of all kept policies. The caller holds k.mu.
func (k *KeyPolicies) keptSizeLocked() (size int) {
	for _, of := range k.sizes {
		size += of
	}
	return size
}

// largestTenantLocked returns the tenant whose kept policies are the largest. The caller
// holds k.mu.
func (k *KeyPolicies) largestTenantLocked() (largest string) {
	for tenant, size := range k.sizes {
		if size > k.sizes[largest] {
			largest = tenant
		}
	}
	return largest
}

// Explain implements [core.KeyPolicies].
func (k *KeyPolicies) Explain(ctx context.Context, r *core.AccessRequest) ([]core.StatementVerdict, error) {
	policies, err := k.compileAll(nil, r.Policies)
	if err != nil || len(policies) == 0 {
		return nil, err
	}
	verdicts, err := k.matcher.Explain(ctx, requestOf(r), policies)
	if err != nil {
		return nil, err
	}
	out := make([]core.StatementVerdict, len(verdicts))
	for i, v := range verdicts {
		out[i] = core.StatementVerdict{Statement: v.Statement, Effect: string(v.Effect), Matched: v.Matched, Counts: v.Counts, Unmet: v.Unmet}
	}
	return out, nil
}

// LabelsOf returns the labels of objects that the conditions of a document name. It fails with
// InvalidField if the document cannot be read.
func (k *KeyPolicies) LabelsOf(document []byte) ([]core.PolicyLabel, error) {
	d, err := format.Parse(document)
	if err != nil {
		return nil, err
	}
	return d.Labels(), nil
}

// GatesOf returns the gates with approvals that a version of a key policy has. It fails with
// PolicyUnavailable if the document cannot be read.
func (k *KeyPolicies) GatesOf(e *core.DirectoryEntry) (gates []core.Gate, err error) {
	regions := k.regionsNow()
	p, _, err := keypolicy.Compile(e.Body, keypolicy.Options{Name: e.ID, Version: e.Version, Regions: regions.ranges, Locate: regions.locateFunc()})
	if err != nil {
		return nil, core.Wrap(core.PolicyUnavailable, err, "the key policy %s cannot be read", core.ClientText(e.ID))
	}
	for i, s := range p.Statements() {
		if s.Gate != nil && s.Gate.Approvals != nil {
			gates = append(gates, core.Gate{Statement: p.Labels()[i], Denies: true, GateTerms: core.GateTerms{Approvals: s.Gate.Approvals}})
		}
	}
	return gates, nil
}

// CheckKeyPolicy implements [core.KeyPolicies].
func (k *KeyPolicies) CheckKeyPolicy(ctx context.Context, name string, document []byte, exists func(string) bool) (core.KeyPolicyFacts, error) {
	regions := k.regionsNow()
	p, warnings, err := keypolicy.Compile(document, keypolicy.Options{Name: name, Version: 1, Regions: regions.ranges, Locate: regions.locateFunc(), Exists: exists})
	if err == nil {
		err = k.matcher.RunTests(ctx, p)
	}
	if err != nil {
		return core.KeyPolicyFacts{}, err
	}
	facts := core.KeyPolicyFacts{Hash: p.Hash(), Statements: len(p.Statements()), Exclusive: p.Exclusive()}
	for _, w := range warnings {
		facts.Warnings = append(facts.Warnings, w.Path+": "+w.Text)
	}
	if !p.Tested() {
		facts.Warnings = append(facts.Warnings, "tests: the document has no tests; nothing shows that it does what you want")
	}
	targets := p.Targets()
	for _, name := range targets.Names {
		if targets.Kind == format.KeyTarget {
			facts.Keys = append(facts.Keys, name)
		} else {
			facts.Holders = append(facts.Holders, string(targets.Kind)+":"+name)
		}
	}
	return facts, nil
}
