package directory

import "github.com/keyreeve/keyreeve/core"

// policySwitch is when a version of a key policy comes into force.
type policySwitch struct {
	at     int64 // Unix seconds
	before int64 // the version that is in force until then; 0: none is
	err    error // the body cannot be read
}

// switchOf returns the switch of a version, nil if it is in force since it was stored.
func switchOf(e *core.DirectoryEntry) *policySwitch {
	if e.Kind != core.EntryPolicy || e.Deleted {
		return nil
	}
	body, err := DecodePolicyBody(e.Body)
	if err == nil && body.ActivateAt == 0 {
		return nil
	}
	return &policySwitch{at: body.ActivateAt, before: body.Before, err: err}
}

// versionAt returns the version of a key policy that is in force at a time, 0 if none is.
func (h *heldEntry) versionAt(at int64) (int64, error) {
	switch s := h.waits; {
	case s == nil:
		return h.entry.Version, nil
	case s.err != nil:
		return 0, s.err
	case at < s.at:
		return s.before, nil
	}
	return h.entry.Version, nil
}

// PolicyInForce returns the version of a key policy that is in force at a time, in Unix
// seconds. It is 0 if the first version still waits. Only the newest version and the one
// before it are known: for a time before both, the older one is returned. The codes are those
// of [Directory.Get]. It allocates nothing.
func (d *Directory) PolicyInForce(tenant, name string, at int64) (int64, error) {
	h, err := d.findSound(core.EntryPolicy, tenant, name)
	if err != nil {
		return 0, err
	}
	return h.versionAt(at)
}

// PolicyVersion returns a version of a key policy that [Directory.PolicyInForce] has
// returned. Its body is the document. If a newer version has replaced it since, PolicyVersion
// returns the version that is in force now. The codes are those of [Directory.Get].
func (d *Directory) PolicyVersion(v core.DirectoryVersion) (*core.DirectoryEntry, error) {
	h, err := d.findSound(core.EntryPolicy, v.Name.Tenant, v.Name.ID)
	if err != nil {
		return nil, err
	}
	whole, err := h.wholeEntry()
	if err != nil || h.waits == nil {
		return whole, err
	}
	version := v.Version
	if version != h.entry.Version && version != h.waits.before {
		if version, err = h.versionAt(d.ports.Clock.Now()); err != nil {
			return nil, err
		}
	}
	return documentOf(whole, version)
}

// documentOf returns a version as an entry whose body is its document. It is that of the
// newest version, or the one that is in force before it.
func documentOf(newest *core.DirectoryEntry, version int64) (*core.DirectoryEntry, error) {
	body, err := DecodePolicyBody(newest.Body)
	if err != nil {
		return nil, err
	}
	out := *newest
	out.Version, out.Body = version, body.Document
	if version != newest.Version {
		out.Body = body.Until
	}
	if version == 0 {
		return nil, errAbsent
	}
	return &out, nil
}

// PolicyStanding says which version of a key policy counts.
type PolicyStanding struct {
	Newest     int64
	InForce    int64 // by the clock of this node; 0: none
	ActivateAt int64 // Unix seconds: since when Newest is in force; 0: since it was stored
}

// StandingOfPolicy returns the standing of a key policy. One that was deleted has none in
// force. The codes are those of [Directory.Get].
func (d *Directory) StandingOfPolicy(tenant, name string) (PolicyStanding, error) {
	h, err := d.findSound(core.EntryPolicy, tenant, name)
	if core.CodeOf(err) == core.ItemNotFound {
		return PolicyStanding{}, nil
	}
	if err != nil {
		return PolicyStanding{}, err
	}
	s := PolicyStanding{Newest: h.entry.Version}
	if h.waits != nil {
		s.ActivateAt = h.waits.at
	}
	s.InForce, err = h.versionAt(d.ports.Clock.Now())
	return s, err
}

// Waits reports whether the newest version is not in force yet.
func (s *PolicyStanding) Waits() bool { return s.InForce != s.Newest }
