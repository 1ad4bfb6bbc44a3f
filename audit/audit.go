// Package audit turns the record of an operation into the bytes that are stored,
// and reads them back.
//
// An entry is one line of JSON: a version, then its fields in fixed order. The
// row of the entry also has the node that made it and the count that the store
// gave it. The Merkle log will hash all of these; it will be part of this package.
// The package stores nothing: see core.Store. It never sees a key byte, plaintext
// or PIN. Start at [Journal.Seal] and [Decode].
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

// version is the version of the form of entries.
const version = 1

// Journal implements [core.Journal]. Safe for concurrent use.
type Journal struct{ node string }

// New returns the journal of a node.
func New(node string) *Journal { return &Journal{node: node} }

// Seal returns the entry of a record.
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
	b = appendText(b, "named_by", r.NamedBy)
	b = appendProof(b, r.Method, r.Strength)
	b = appendText(b, "token", r.Token)
	b = appendText(b, "address", r.Address)
	b = appendText(b, "door", string(r.Door))
	b = appendText(b, "request", r.RequestID)
	b = appendText(b, "client_ref", r.ClientRef)
	b = appendText(b, "operation", r.Action.String())
	b = appendText(b, "object", r.Object)
	b = appendList(b, "involved", r.Involved, appendInvolved)
	b = appendText(b, "outcome", string(r.Outcome))
	if r.Outcome != core.Allowed {
		b = appendText(b, "code", r.Code.String())
	}
	b = appendList(b, "reasons", r.Reasons, appendReason)
	b = appendText(b, "policy", r.PolicyHash)
	b = appendText(b, "where", r.ExecutedIn)
	b = strconv.AppendInt(append(b, `,"us":`...), r.DurationUS, 10)
	b = appendText(b, "detail", r.Detail)
	b = appendList(b, "changes", r.Changes, appendChange)
	b = append(b, '}')
	body := append(make([]byte, 0, len(b)), b...)
	if *buf = b; core.Retire(b) {
		buffers.Put(buf)
	}
	return core.Entry{Node: j.node, Tenant: r.Tenant, Time: r.Time, Body: body}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// appendProof appends how the principal proved itself. Both texts are names of this program,
// so nothing in them is escaped. Policies ask for the strength by its name.
func appendProof(b []byte, method string, strength core.Strength) []byte {
	if method != "" {
		b = append(append(append(b, `,"method":"`...), method...), '"')
	}
	if strength != core.StrengthNone {
		b = append(append(append(b, `,"strength":"`...), strength.String()...), '"')
	}
	return b
}

// appendObject begins an object of a list with the Unique Identifier that it names.
func appendObject(b []byte, id string) []byte {
	return appendQuoted(append(b, `{"object":`...), id)
}

func appendReason(b []byte, reason *string) []byte { return appendQuoted(b, *reason) }

func appendInvolved(b []byte, o *core.InvolvedObject) []byte {
	b = appendQuoted(append(appendObject(b, o.ID), `,"role":`...), string(o.Role))
	return append(b, '}')
}

func appendChange(b []byte, c *core.RowChange) []byte {
	b = strconv.AppendInt(append(appendObject(b, c.Object), `,"version":`...), c.Version, 10)
	if c.Hash != nil {
		b = append(hex.AppendEncode(append(b, `,"sha256":"`...), c.Hash), '"')
	}
	return append(b, '}')
}

// ID returns the name by which a record is found: its Time in Unix microseconds, 16 hex digits,
// and the ID of its request. It tells nothing of the records of others. With the time, a record is
// found without an index of its own.
func ID(at int64, request string) string { return fmt.Sprintf("%016x%s", uint64(at), request) }

// ParseID reads what ID returns. It reports false if it can be none.
func ParseID(id string) (at int64, request string, ok bool) {
	if len(id) <= 16 {
		return 0, "", false
	}
	at, err := strconv.ParseInt(id[:16], 16, 64)
	request = id[16:]
	return at, request, err == nil && at > 0 && ID(at, request) == id
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

// appendList appends a member whose value is a list; an empty list is left out.
func appendList[T any](b []byte, name string, list []T, appendItem func(b []byte, item *T) []byte) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":[`...)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendItem(b, &list[i])
	}
	return append(b, ']')
}

// appendQuoted appends a JSON string of at most maxText bytes of s. DEL is
// escaped, because a terminal that shows the entry could act on it.
func appendQuoted(b []byte, s string) []byte {
	return jsontext.AppendString(b, s[:min(len(s), maxText)], jsontext.EscapeDEL)
}

// Entry is an entry that was read back, for people and tools.
type Entry struct {
	Version     int        `json:"v"`
	Node        string     `json:"node"`
	Writer      int64      `json:"writer"`
	Count       int64      `json:"count"`
	Time        string     `json:"time"`
	Tenant      string     `json:"tenant"`
	Principal   string     `json:"principal"`
	Fingerprint string     `json:"fingerprint"`
	NamedBy     string     `json:"named_by,omitempty"`
	Method      string     `json:"method,omitempty"`   // how the principal proved itself, one of core.Methods
	Strength    string     `json:"strength,omitempty"` // of that proof, the name of a core.Strength
	Token       string     `json:"token"`
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
	ExecutedIn  string     `json:"where"`
	DurationUS  int64      `json:"us"`
	Detail      string     `json:"detail"`
	Changes     []Change   `json:"changes"`
}

// Change is a version of an object's row. SHA256 is empty if the row was deleted.
type Change struct {
	Object  string `json:"object"`
	Version int64  `json:"version"`
	SHA256  string `json:"sha256"`
}

// Involved is an object other than the target, and its role in the action.
type Involved struct {
	Object string `json:"object"`
	Role   string `json:"role"`
}

// ReadRecord reads back what decides about a request from an entry: everything up to its
// reasons and the hash of the policy, without the involved objects.
func ReadRecord(row core.StoredEntry) (core.Record, error) {
	e, err := Decode(row)
	if err != nil {
		return core.Record{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, e.Time)
	if err != nil {
		return core.Record{}, fmt.Errorf("the time of an audit entry cannot be read: %w", err)
	}
	action, _ := core.ActionByName(e.Operation)
	code, known := core.CodeByName(e.Code)
	if !known {
		return core.Record{}, fmt.Errorf("an audit entry has the code %q; this keyreeve does not know it", e.Code)
	}
	return core.Record{Time: at.UnixMicro(), Tenant: e.Tenant, Principal: e.Principal, Fingerprint: e.Fingerprint, Method: e.Method, Strength: core.StrengthNamed(e.Strength), Token: e.Token, Address: e.Address, Door: core.Door(e.Door),
		RequestID: e.Request, ClientRef: e.ClientRef, Action: action, Object: e.Object, Outcome: core.Outcome(e.Outcome), Code: code, Reasons: e.Reasons, PolicyHash: e.Policy}, nil
}

// Names reports whether an entry names an object, as its target or as an involved one.
func (e *Entry) Names(object string) bool {
	return strings.EqualFold(e.Object, object) || slices.ContainsFunc(e.Involved, func(i Involved) bool { return i.Object == object })
}

// Decode reads an entry back. It takes Node, Writer and Count from the row, even if
// the body has members of these names.
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
