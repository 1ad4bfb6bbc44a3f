package directory

import (
	"bytes"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// policyLabels knows which labels of objects the key policies name. A label takes 8 bytes, so
// that 100,000 policies can be held: it is kept as a hash with a secret seed. Two labels with
// one hash are refused too often, never too rarely. Safe for concurrent use.
type policyLabels struct {
	labelsOf func(document []byte) ([]core.PolicyLabel, error)
	seed     maphash.Seed

	mu    sync.RWMutex
	named map[string]map[string][]uint64 // by tenant and policy; nil hashes: it cannot be read
}

// WatchLabels must be called before the directory is opened. labelsOf returns the labels that a
// document names.
func (f *AccessFacts) WatchLabels(labelsOf func(document []byte) ([]core.PolicyLabel, error)) {
	f.labels = &policyLabels{labelsOf: labelsOf, seed: maphash.MakeSeed(), named: map[string]map[string][]uint64{}}
	f.directory.Watch(core.EntryPolicy, f.labels.notePolicy)
}

// notePolicy notes the labels of a new version of a policy, and of the version that is in force
// until then.
func (l *policyLabels) notePolicy(e *core.DirectoryEntry) {
	hashes, names := l.hashesOf(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !names {
		delete(l.named[e.Tenant], e.ID)
		return
	}
	if l.named[e.Tenant] == nil {
		l.named[e.Tenant] = map[string][]uint64{}
	}
	l.named[e.Tenant][e.ID] = hashes
}

// hashesOf returns the labels that an entry names. names is false if it names none.
func (l *policyLabels) hashesOf(e *core.DirectoryEntry) (hashes []uint64, names bool) {
	if e.Deleted || !mayNameLabels(e.Body) {
		return nil, false
	}
	body, err := DecodePolicyBody(e.Body)
	if err != nil {
		return nil, true
	}
	hashes = []uint64{}
	for _, document := range [][]byte{body.Document, body.Until} {
		if len(document) == 0 {
			continue
		}
		labels, err := l.labelsOf(document)
		if err != nil {
			return nil, true
		}
		for _, label := range labels {
			hashes = append(hashes, maphash.Comparable(l.seed, label))
		}
	}
	slices.Sort(hashes)
	return slices.Clip(slices.Compact(hashes)), len(hashes) > 0
}

// mayNameLabels reports whether a document can name labels. The words can be hidden by escapes
// alone, so a text with a backslash may too.
func mayNameLabels(text []byte) bool {
	return bytes.Contains(text, []byte(`"tags"`)) || bytes.Contains(text, []byte(`"object"`)) || bytes.IndexByte(text, '\\') >= 0
}

// policiesOf lists the policies of a tenant that name one of some labels or cannot be read.
func (l *policyLabels) policiesOf(tenant string, labels []core.PolicyLabel) (policies []string) {
	var wanted []uint64
	for _, label := range labels {
		wanted = append(wanted, maphash.Comparable(l.seed, label))
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for policy, hashes := range l.named[tenant] {
		names := func(label uint64) bool { _, found := slices.BinarySearch(hashes, label); return found }
		if hashes == nil || slices.ContainsFunc(wanted, names) {
			policies = append(policies, policy)
		}
	}
	slices.Sort(policies)
	return policies
}

// PoliciesNaming implements [core.AccessFacts].
func (f *AccessFacts) PoliciesNaming(o *core.ManagedObject, labels []core.PolicyLabel) ([]string, error) {
	if f.labels == nil {
		return nil, core.Errorf(core.PolicyUnavailable, "it is not known which labels the key policies name")
	}
	if err := f.directory.Fresh(); err != nil {
		return nil, err
	}
	if _, suspect := f.directory.suspects.Load(ownerOf{core.EntryPolicy, o.Tenant}); suspect && f.directory.refused.Load() > 0 {
		return nil, core.Errorf(core.Tampered, "a database row of a key policy was changed outside keyreeve, so it is not known which labels it names")
	}
	naming := f.labels.policiesOf(o.Tenant, labels)
	if len(naming) == 0 {
		return nil, nil
	}
	attached, err := f.attachedFor(o)
	return slices.DeleteFunc(naming, func(policy string) bool { return !slices.Contains(attached, policy) }), err
}

// attachedFor lists the policies that are attached to o, to its Object Groups, or to a user, role
// or group of its tenant.
func (f *AccessFacts) attachedFor(o *core.ManagedObject) ([]string, error) {
	attached := o.Policies()
	heads, err := f.directory.ListHeads(core.EntryAttachment, o.Tenant, "", math.MaxInt)
	if err != nil {
		return nil, err
	}
	for _, head := range heads {
		group, isGroup := strings.CutPrefix(head.ID, core.ObjectGroupHolder)
		if isGroup && !slices.ContainsFunc(o.Attributes.All(core.AttributeName{Tag: core.TagObjectGroup}), func(a core.Attribute) bool { return a.Value.Text == group }) {
			continue
		}
		one, err := f.attachments.Get(o.Tenant, head.ID)
		if core.CodeOf(err) == core.ItemNotFound {
			continue // detached meanwhile
		}
		if err != nil {
			return nil, err
		}
		attached = append(attached, one.Policies...)
	}
	slices.Sort(attached)
	return slices.Compact(attached), nil
}
