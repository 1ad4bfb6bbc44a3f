// Package audit makes of each operation's record the bytes that are kept, and
// reads them back.
//
// An entry is one line of JSON with a version and its fields in fixed order. Its
// node, and the count that the store gives it when it is committed, stand beside
// it in the row. The Merkle log that will make the entries impossible to change
// quietly will hash all of these; it will stand in this package. Nothing here
// stores: see core.Store. It never sees a key byte, plaintext or PIN.
package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/jsontext"
)

// version is that of the entry's form.
const version = 1

// Journal is core.Journal. Safe for concurrent use.
type Journal struct{ node string }

// New makes the journal of a node.
func New(node string) *Journal { return &Journal{node: node} }

// Seal writes a record as an entry.
func (j *Journal) Seal(r *core.Record) core.Entry {
	buf := buffers.Get().(*[]byte)
	b := (*buf)[:0]
	b = strconv.AppendInt(append(b, `{"v":`...), version, 10)
	b = append(b, `,"time":"`...)
	b = time.UnixMicro(r.Time).UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, '"')
	b = appendText(b, "tenant", r.Tenant)
	b = appendText(b, "principal", r.Principal)
	b = appendText(b, "fingerprint", r.Fingerprint)
	b = appendText(b, "address", r.Address)
	b = appendText(b, "door", string(r.Door))
	b = appendText(b, "request", r.RequestID)
	b = appendText(b, "client_ref", r.ClientRef)
	b = appendText(b, "operation", r.Action.String())
	b = appendText(b, "object", r.Object)
	b = appendInvolved(b, r.Involved)
	b = appendText(b, "outcome", string(r.Outcome))
	if r.Outcome != core.Allowed {
		b = appendText(b, "code", r.Code.String())
	}
	b = appendList(b, "reasons", r.Reasons)
	b = appendText(b, "policy", r.PolicyHash)
	b = appendText(b, "where", r.Where)
	b = strconv.AppendInt(append(b, `,"us":`...), r.DurationUS, 10)
	b = appendText(b, "detail", r.Detail)
	b = appendChanges(b, r.Changes)
	b = append(b, '}')
	body := append(make([]byte, 0, len(b)), b...)
	if *buf = b; core.Retire(b) {
		buffers.Put(buf)
	}
	return core.Entry{Node: j.node, Tenant: r.Tenant, Time: r.Time, Body: body}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// appendInvolved appends the objects of a record beside its target.
func appendInvolved(b []byte, objects []core.InvolvedObject) []byte {
	if len(objects) == 0 {
		return b
	}
	b = append(b, `,"involved":[`...)
	for i := range objects {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(append(b, `{"object":`...), objects[i].ID)
		b = appendQuoted(append(b, `,"role":`...), string(objects[i].Role))
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendChanges appends the versions of rows that a record was stored with.
func appendChanges(b []byte, changes []core.RowChange) []byte {
	if len(changes) == 0 {
		return b
	}
	b = append(b, `,"changes":[`...)
	for i := range changes {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(append(b, `{"object":`...), changes[i].Object)
		b = strconv.AppendInt(append(b, `,"version":`...), changes[i].Version, 10)
		if h := changes[i].Hash; h != nil {
			b = append(hex.AppendEncode(append(b, `,"sha256":"`...), h), '"')
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// maxText bounds one text in an entry, in bytes.
const maxText = 512

// appendText appends a member; an empty text is left out.
func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendQuoted(b, s)
}

// appendList appends a member; an empty list is left out.
func appendList(b []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":[`...)
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, s)
	}
	return append(b, ']')
}

// appendQuoted appends a JSON string of at most maxText bytes of s. DEL is
// escaped, because a terminal that shows the entry could act on it.
func appendQuoted(b []byte, s string) []byte {
	return jsontext.AppendString(b, s[:min(len(s), maxText)], jsontext.EscapeDEL)
}

// Entry is an entry read back, for people and tools.
type Entry struct {
	Version     int        `json:"v"`
	Node        string     `json:"node"`
	Writer      int64      `json:"writer"`
	Count       int64      `json:"count"`
	Time        string     `json:"time"`
	Tenant      string     `json:"tenant"`
	Principal   string     `json:"principal"`
	Fingerprint string     `json:"fingerprint"`
	Address     string     `json:"address"`
	Door        string     `json:"door"`
	Request     string     `json:"request"`
	ClientRef   string     `json:"client_ref"`
	Operation   string     `json:"operation"`
	Object      string     `json:"object"`
	Involved    []Involved `json:"involved,omitempty"`
	Outcome     string     `json:"outcome"`
	Code        string     `json:"code"`
	Reasons     []string   `json:"reasons"`
	Policy      string     `json:"policy"`
	Where       string     `json:"where"`
	DurationUS  int64      `json:"us"`
	Detail      string     `json:"detail"`
	Changes     []Change   `json:"changes"`
}

// Change is a version of an object's row. Without SHA256 the row was deleted.
type Change struct {
	Object  string `json:"object"`
	Version int64  `json:"version"`
	SHA256  string `json:"sha256"`
}

// Involved is an object beside the target, and what it was to the action.
type Involved struct {
	Object string `json:"object"`
	Role   string `json:"role"`
}

// Names reports whether an entry is about an object, as its target or beside it.
func (e *Entry) Names(object string) bool {
	return strings.EqualFold(e.Object, object) || slices.ContainsFunc(e.Involved, func(i Involved) bool { return i.Object == object })
}

// Decode reads an entry back. Node, Writer and Count are the row's, whatever the
// body says.
func Decode(row core.StoredEntry) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(row.Body, &e); err != nil {
		return e, fmt.Errorf("an audit entry cannot be read: %w", err)
	}
	e.Node, e.Writer, e.Count = row.Node, row.Writer, row.Count
	if e.Version != version {
		return e, fmt.Errorf("an audit entry has form %d; this keyreeve reads %d", e.Version, version)
	}
	return e, nil
}
