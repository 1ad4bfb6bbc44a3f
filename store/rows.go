package store

import (
	"github.com/keyreeve/keyreeve/core"
)

// Bounds on what one Commit may hold. The doors bound requests long before; a
// breach here is a fault of a caller inside.
const (
	maxNameBytes     = 512      // tenant, Unique Identifier, owner, group, id of an intent
	maxDocumentBytes = 32 << 20 // all attributes of one object
	maxBlobBytes     = 64 << 20 // sealed material of one object, each of its blobs
	maxTokenBytes    = 255      // a CKA_ID
	maxEntryBytes    = 1 << 20  // body of one audit entry
	maxChangeItems   = 100_000  // objects, keys, intents and entries of one Change, each
)

// dateColumns are the dates that have a column of their own, in its order. All
// but the last have an index: the last changes with every change of the object.
var dateColumns = []struct {
	tag    core.Tag
	column string
}{
	{core.TagInitialDate, "initial_date"},
	{core.TagActivationDate, "activation_date"},
	{core.TagProcessStartDate, "process_start_date"},
	{core.TagProtectStopDate, "protect_stop_date"},
	{core.TagDeactivationDate, "deactivation_date"},
	{core.TagDestroyDate, "destroy_date"},
	{core.TagCompromiseDate, "compromise_date"},
	{core.TagLastChangeDate, "last_change_date"},
}

// objectColumns are the columns of object that an insert gives; identity stands
// first, and an update sets all from type on.
const (
	identityColumns = "tenant, id"
	objectColumns   = "type, owner, grp, version, algorithm, length, mask, state, " +
		"initial_date, activation_date, process_start_date, protect_stop_date, deactivation_date, destroy_date, compromise_date, last_change_date, " +
		"terms, document, mode, class, epoch, wrap, kind, format, material_length, token, blob, ttlv, mac"
	numObjectColumns = 31 // with identity
)

// snapshotColumns are what an object is read back from; with material for
// Object, without for Candidates.
const (
	snapshotColumns = "o.seq, o.id, o.type, o.owner, o.grp, o.version, o.document"
	materialColumns = ", o.mode, o.class, o.epoch, o.wrap, o.kind, o.format, o.material_length, o.token, o.blob, o.ttlv, o.mac"
)

// row is an object made ready for either database: by the caller, before it
// waits for its turn, so that callers encode at the same time.
type row struct {
	tenant, id string
	version    int64
	values     []any // numObjectColumns values in column order: string, int64, []byte or nil
	terms      []term
	digest     int64
}

// key names a row that must be at a version.
type key struct {
	tenant, id string
	version    int64
}

// prepared is a core.Change made ready.
type prepared struct {
	insert, update []row
	remove         []key
	keys           []core.TenantKey
	begin          []core.Intent
	finish         []string
	entries        []core.Entry
	seqs           []int64 // of insert, filled in by the database
}

// plain reports whether p only adds audit entries.
func (p *prepared) plain() bool {
	return len(p.insert)+len(p.update)+len(p.remove)+len(p.keys)+len(p.begin)+len(p.finish) == 0
}

// prepare checks a change and encodes it. It reads c and keeps no reference to
// its objects but to bytes that never change.
func prepare(c *core.Change) (*prepared, error) {
	p := &prepared{keys: c.TenantKeys, begin: c.Begin, finish: c.Finish, entries: c.Entries}
	for what, n := range map[string]int{"objects": len(c.Insert) + len(c.Update) + len(c.Delete), "tenant keys": len(c.TenantKeys),
		"intents": len(c.Begin) + len(c.Finish), "entries": len(c.Entries)} {
		if n > maxChangeItems {
			return nil, core.Errorf(core.InvalidField, "one change holds %d %s; at most %d fit", n, what, maxChangeItems)
		}
	}
	var err error
	if p.insert, err = prepareRows(c.Insert, true); err != nil {
		return nil, err
	}
	if p.update, err = prepareRows(c.Update, false); err != nil {
		return nil, err
	}
	for _, o := range c.Delete {
		p.remove = append(p.remove, key{o.Tenant, o.ID, o.Version})
	}
	return p, p.check()
}

func prepareRows(objects []*core.ManagedObject, birth bool) ([]row, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	rows := make([]row, len(objects))
	for i, o := range objects {
		if birth != (o.Version == 1) || o.Version < 1 {
			return nil, core.Errorf(core.Internal, "object %s is to be stored in version %d; an insert has version 1, an update a later one", o.ID, o.Version)
		}
		if err := rows[i].fill(o); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (r *row) fill(o *core.ManagedObject) error {
	r.tenant, r.id, r.version = o.Tenant, o.ID, o.Version
	for what, s := range map[string]string{"tenant": o.Tenant, "Unique Identifier": o.ID, "owner": o.Owner, "group": o.Group} {
		if err := checkName(what, s, what == "owner" || what == "group"); err != nil {
			return err
		}
	}
	doc, err := appendDocument(make([]byte, 0, 64*len(o.Attributes)+2), o.Attributes)
	if err != nil {
		return err
	}
	m := &o.Material
	if len(doc) > maxDocumentBytes || len(m.Blob) > maxBlobBytes || len(m.TTLV) > maxBlobBytes || len(m.Token) > maxTokenBytes || len(m.MAC) > maxTokenBytes {
		return core.Errorf(core.InvalidField, "object %s is too large: attributes take %d bytes of at most %d, material %d and %d of at most %d, CKA_ID %d of at most %d",
			o.ID, len(doc), maxDocumentBytes, len(m.Blob), len(m.TTLV), maxBlobBytes, len(m.Token), maxTokenBytes)
	}
	r.terms = termsOf(o.Attributes)
	r.digest = digestTerms(r.terms)
	r.values = make([]any, 0, numObjectColumns)
	r.values = append(r.values, o.Tenant, o.ID, int64(o.Type), o.Owner, o.Group, o.Version)
	for _, t := range []core.Tag{core.TagCryptographicAlgorithm, core.TagCryptographicLength, core.TagCryptographicUsageMask, core.TagState} {
		r.values = append(r.values, numberOf(o.Attributes, t))
	}
	for _, d := range dateColumns {
		r.values = append(r.values, numberOf(o.Attributes, d.tag))
	}
	r.values = append(r.values, r.digest, string(doc), string(m.Mode), string(m.Class), int64(m.Epoch), m.Wrap, string(m.Kind),
		int64(m.Format), int64(m.Length), blobOf(m.Token), blobOf(m.Blob), blobOf(m.TTLV), blobOf(m.MAC))
	return nil
}

// numberOf is a column's value: NULL where the object lacks the attribute, so
// that no comparison finds it.
func numberOf(as core.Attributes, t core.Tag) any {
	v, ok := as.Get(t)
	if !ok {
		return nil
	}
	if t == core.TagCryptographicUsageMask || v.Kind == core.KindEnumeration {
		return int64(v.Uint())
	}
	return v.Num
}

// blobOf keeps nil apart from empty.
func blobOf(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// check looks at the parts of a change that are stored as they are.
func (p *prepared) check() error {
	for i := range p.keys {
		k := &p.keys[i]
		if err := checkName("tenant", k.Tenant, false); err != nil {
			return err
		}
		if keyRank(k.State) == 0 || len(k.Token) == 0 || len(k.Token) > maxTokenBytes || !clean(k.Purpose) || len(k.Purpose) > maxNameBytes {
			return core.Errorf(core.Internal, "tenant key %s %d of tenant %s is in state %q with a CKA_ID of %d bytes; states are pending, active and retired, a CKA_ID has 1 to %d bytes",
				k.Purpose, k.Epoch, k.Tenant, k.State, len(k.Token), maxTokenBytes)
		}
	}
	for i := range p.begin {
		in := &p.begin[i]
		for what, s := range map[string]string{"id of an intent": in.ID, "kind of an intent": in.Kind, "tenant": in.Tenant, "object": in.Object} {
			if err := checkName(what, s, what == "object" || what == "tenant"); err != nil {
				return err
			}
		}
		if len(in.Token) > maxTokenBytes {
			return core.Errorf(core.Internal, "intent %s names a CKA_ID of %d bytes; at most %d are allowed", in.ID, len(in.Token), maxTokenBytes)
		}
	}
	for i := range p.entries {
		e := &p.entries[i]
		if err := checkName("tenant", e.Tenant, true); err != nil {
			return err
		}
		if len(e.Body) == 0 || len(e.Body) > maxEntryBytes {
			return core.Errorf(core.Internal, "an audit entry has %d bytes; it must have 1 to %d", len(e.Body), maxEntryBytes)
		}
	}
	return nil
}

// checkName refuses what one of the databases could not keep as text or index.
func checkName(what, s string, emptyAllowed bool) error {
	switch {
	case s == "" && !emptyAllowed:
		return core.Errorf(core.InvalidField, "the %s is empty", what)
	case len(s) > maxNameBytes:
		return core.Errorf(core.InvalidField, "the %s has %d bytes; at most %d are allowed", what, len(s), maxNameBytes)
	case !clean(s):
		return core.Errorf(core.InvalidField, "the %s is not UTF-8 text without NUL", what)
	}
	return nil
}

// storable reports whether a row could have s as tenant or identifier at all,
// so that a hostile name is Item Not Found and not an error of the database.
func storable(s string) bool { return len(s) <= maxNameBytes && clean(s) }

// keyRank orders the states of a tenant key, which only move forward; 0 for a
// word that is none.
func keyRank(state string) int {
	switch state {
	case "pending":
		return 1
	case "active":
		return 2
	case "retired":
		return 3
	}
	return 0
}

// snapshot is an object as it is scanned.
type snapshot struct {
	o        core.ManagedObject
	typ      int64
	document string
	epoch    int64
	format   int64
	length   int64
	mode     string
	class    string
	kind     string
}

// targets are where snapshotColumns, and with material materialColumns, go.
func (s *snapshot) targets(material bool) []any {
	to := []any{&s.o.Seq, &s.o.ID, &s.typ, &s.o.Owner, &s.o.Group, &s.o.Version, &s.document}
	if material {
		m := &s.o.Material
		to = append(to, &s.mode, &s.class, &s.epoch, &m.Wrap, &s.kind, &s.format, &s.length, &m.Token, &m.Blob, &m.TTLV, &m.MAC)
	}
	return to
}

// object finishes what was scanned.
func (s *snapshot) object(tenant string) (*core.ManagedObject, error) {
	o := &s.o
	as, err := readDocument(s.document)
	if err != nil {
		return nil, core.Wrap(core.Internal, err, "object %s cannot be read", o.ID)
	}
	o.Tenant, o.Type, o.Attributes = tenant, core.ObjectType(s.typ), as
	m := &o.Material
	m.Mode, m.Class, m.Kind = core.Mode(s.mode), core.Class(s.class), core.KeyKind(s.kind)
	m.Epoch, m.Format, m.Length = int(s.epoch), core.KeyFormatType(s.format), int(s.length)
	return o, nil
}
