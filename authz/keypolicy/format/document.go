// Package format reads key policies: JSON documents that say who may do what with a key.
//
// [Parse] accepts a closed schema and reports the first fault with its path in the
// document. [Normalize] turns a document into the form that the matcher evaluates: words
// became actions, times became seconds, regions became ranges of addresses. The package
// evaluates nothing and does not know OPA. Start at [Document] and [Parse].
package format

import (
	"net/netip"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of a document.
const (
	MaxBytes      = 1 << 20
	MaxStatements = 1000
	MaxTests      = 200
	MaxSize       = 20_000 // principals, values and ranges of all statements, regions included

	maxTargets    = 256  // objects or people that a document names itself
	maxConditions = 32   // of one statement; OPA unrolls loops up to this length
	maxNameBytes  = 256  // of a principal, key, tag and the like
	maxTextBytes  = 4096 // of a description
)

// Document is a key policy as it was written.
type Document struct {
	Name        string // "": the store names it
	Description string
	Exclusive   bool // an action needs an allow of this policy; others do not count
	Targets     Targets
	Statements  []Statement
	Tests       []Test
}

// Targets say to which objects or people a policy is attached. Without Kind, it is
// attached later.
type Targets struct {
	Kind  TargetKind
	Names []string
}

// TargetKind is the kind of all targets of a policy. It is also the name of their member
// in the document.
type TargetKind string

// The kinds of targets. A key group is a value of KMIP's Object Group.
const (
	KeyTarget      TargetKind = "keyId"
	KeyGroupTarget TargetKind = "keyGroup"
	UserTarget     TargetKind = "user"
	RoleTarget     TargetKind = "role"
	GroupTarget    TargetKind = "group"
)

var targetKinds = []TargetKind{KeyTarget, KeyGroupTarget, UserTarget, RoleTarget, GroupTarget}

// Effect says whether a statement allows or denies. A denial overrides each allow.
type Effect string

// The effects.
const (
	Allow Effect = "allow"
	Deny  Effect = "deny"
)

// Statement applies if its actions, its principals and all its conditions match.
type Statement struct {
	SID        string   // unique in the document; by default the position, from "1"
	Principals []string // "user:alice", "role:admin", "*"
	Actions    []string // words and names of core.ActionsNamed
	Effect     Effect
	Conditions Conditions
	Gate       *core.GateTerms // nil: none
}

// Conditions must all hold. A nil field is no condition. The values of one field are
// alternatives.
type Conditions struct {
	Facts
	IPAddress []netip.Prefix
	Time      Time
	Region    []string
}

// Facts are values by their names: those that a condition demands, or those that the
// request of a test has.
type Facts struct {
	Door       []string
	Strength   core.Strength // in a condition: at least; StrengthNone: no condition
	Tags       map[string][]string
	Object     map[string][]string // by the names in objectFields
	Principal  map[string][]string // attributes of the principal
	Parameters map[string][]string // by the names in parameterFields
}

// Time bounds the time of the request. All parts must hold.
type Time struct {
	NotBefore, NotAfter *int64 // Unix seconds, both inclusive
	Daily               *Daily
}

// Daily is a window of each day, by the clock of a zone.
type Daily struct {
	From, To int      // seconds after midnight; To is exclusive; a window with From > To ends on the next day
	Zone     string   // of the IANA database
	Weekdays []string // on which the window begins, "monday"; nil: all
}

// Test is a request with the answer that the policy alone must give. What is not given is
// empty: no address, no object.
type Test struct {
	Name       string
	Principals []string // all names of the principal, such as "user:alice" and "role:ops"
	Action     string   // a name of an action, or a word, whose actions all have the outcome
	Facts      Facts
	Address    netip.Addr
	At         int64 // Unix seconds
	Granted    bool  // all gates are open
	Expect     Outcome
}

// Outcome is the answer of a policy: one matching deny outweighs each allow.
type Outcome string

// The outcomes.
const (
	Allows  Outcome = "allow"
	Denies  Outcome = "deny"
	Nothing Outcome = "nothing" // no statement matches
)

// Warning is something in a document that is probably a mistake.
type Warning struct{ Path, Text string }
