package rules

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Attributes of an object that was deleted softly, beside [core.PurgeAtAttribute]. Only the server sets them. Such an object
// has State Destroyed or Destroyed Compromised, but still has its key material.
var (
	DeletedAtAttribute   = core.AttributeName{Vendor: "x", Name: "keyreeve-deleted-at"}   // stays after the purge
	StateBeforeAttribute = core.AttributeName{Vendor: "x", Name: "keyreeve-state-before"} // that Restore brings back
)

// reservedNames are the names, as KMIP 1.x writes them, of custom attributes that clients
// cannot set. Vendor "x-keyreeve" with name "disabled" is written like vendor "x" with name
// "keyreeve-disabled", so the whole name counts.
var reservedNames = []string{core.DisabledAttribute.String(), DeletedAtAttribute.String(), core.PurgeAtAttribute.String(), StateBeforeAttribute.String()}

// isOfLife reports whether an attribute describes the life of an object. Names that read alike in
// another case, or with another vendor, count too.
func isOfLife(n core.AttributeName) bool {
	n.Index, n.Indexed = 0, false
	return n.Tag == 0 && slices.ContainsFunc(reservedNames, func(own string) bool { return strings.EqualFold(n.String(), own) })
}

// DateOf returns the date in a custom attribute, and whether there is one.
func DateOf(o *core.ManagedObject, n core.AttributeName) (unix int64, ok bool) {
	at := o.Attributes.Find(n)
	if at < 0 {
		return 0, false
	}
	return o.Attributes[at].Value.Num, true
}

// IsRestorable reports whether an object was deleted softly and not purged yet.
func IsRestorable(o *core.ManagedObject) bool { return o.Attributes.Find(core.PurgeAtAttribute) >= 0 }

// WithDeletion returns the attributes of an object in state before that is deleted softly.
func WithDeletion(as core.Attributes, before core.State, now, purgeAt int64) core.Attributes {
	gone := core.Destroyed
	if before == core.Compromised {
		gone = core.DestroyedCompromised
	}
	for _, a := range []struct {
		name  core.AttributeName
		value core.Value
	}{{DeletedAtAttribute, core.Date(now)}, {core.PurgeAtAttribute, core.Date(purgeAt)}, {StateBeforeAttribute, core.Enum(before)}} {
		as = as.Without(a.name).Add(core.Attribute{Vendor: a.name.Vendor, Name: a.name.Name, Value: a.value})
	}
	return as.Set(core.TagState, core.Enum(gone))
}

// WithoutDeletion returns the attributes of an object that is restored. If it was revoked for a
// compromise while it was deleted, it is Compromised.
func WithoutDeletion(as core.Attributes) core.Attributes {
	state := core.Compromised
	if at := as.Find(StateBeforeAttribute); at >= 0 && core.State(as.Num(core.TagState)) == core.Destroyed {
		state = core.State(as[at].Value.Num)
	}
	return as.Without(DeletedAtAttribute).Without(core.PurgeAtAttribute).Without(StateBeforeAttribute).Set(core.TagState, core.Enum(state))
}
