package engine

import (
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/ratewindow"
)

// A statement with a total permits so many uses of one object in all, of all principals and on
// all nodes. The count is an attribute of the object: sealed, and stored before the use, in a
// change of which two fail if they start from one version.

// maxTotals bounds the counts of one object. If they are full, a statement without a count
// permits nothing.
const maxTotals = 64

// useCount is one count: of a statement of a version of a policy.
type useCount struct {
	statement, policy string
	version, used     int64
}

// readUseCount reads "POLICY@VERSION/SID=COUNT".
func readUseCount(text string) (c useCount, err error) {
	at := max(0, strings.LastIndexByte(text, '='))
	if c, err = countOf(text[:at]); err == nil {
		var used uint64
		used, err = strconv.ParseUint(strings.TrimPrefix(text[at:], "="), 10, 63)
		c.used = int64(used)
	}
	return c, err
}

// countOf returns the count of a statement before its first use.
func countOf(statement string) (useCount, error) {
	policy, rest, _ := strings.Cut(statement, "@")
	number, _, _ := strings.Cut(rest, "/")
	version, err := strconv.ParseInt(number, 10, 64)
	return useCount{statement: statement, policy: policy, version: version}, err
}

// findUseCount returns the count of a statement on an object, and its position among the
// attributes, -1 if there is none yet. It fails if a count cannot be read, if there is no room for
// another one, or if a newer version of the policy has a count: it has replaced this version.
func findUseCount(o *core.ManagedObject, statement string) (found useCount, at int, err error) {
	if found, err = countOf(statement); err != nil {
		return found, -1, core.Errorf(core.Internal, "%q is no statement", core.ClientText(statement))
	}
	at, counts := -1, 0
	for i := range o.Attributes {
		a := &o.Attributes[i]
		if !core.UsesAttribute.Names(a) {
			continue
		}
		counts++
		switch c, err := readUseCount(a.Value.Text); {
		case err != nil:
			return found, -1, core.Wrap(core.Tampered, err, "the uses of object %s by statements of key policies cannot be read", o.ID)
		case c.policy == found.policy && c.version > found.version:
			return found, -1, core.Errorf(core.UsageLimitExceeded, "a newer version of the key policy counts the uses of object %s; send the request again", o.ID)
		case c.policy == found.policy && c.version < found.version:
			counts-- // the first use of this version drops it
		case c.statement == statement:
			found, at = c, i
		}
	}
	if at < 0 && counts >= maxTotals {
		return found, -1, core.Errorf(core.UsageLimitExceeded, "%d statements count the uses of object %s; no more can", counts, o.ID)
	}
	return found, at, nil
}

// requireUsesLeft fails with UsageLimitExceeded if the total of a gate is used up, so that the gate
// is not opened. A use that the operation has counted is its own. It stores nothing.
func requireUsesLeft(k *Call, g *core.Gate) error {
	switch o := k.access.Object; {
	case g.TotalUse == 0:
		return nil
	case o == nil:
		return core.Errorf(core.PermissionDenied, "the statement %s counts the uses of an object, and there is none", g.Statement)
	case slices.Contains(k.totalled, totalKey(o, g)):
		return nil
	default:
		_, err := withUse(o, g)
		return err
	}
}

// totalKey is how an operation remembers that it has counted a use.
func totalKey(o *core.ManagedObject, g *core.Gate) ratewindow.Key {
	return ratewindow.Key{Statement: g.Statement, Object: o.ID}
}

// withUse returns the successor of an object with one more use by a gate. It drops the counts of
// older versions of the policy.
func withUse(o *core.ManagedObject, g *core.Gate) (*core.ManagedObject, error) {
	count, at, err := findUseCount(o, g.Statement)
	if err == nil && count.used >= g.TotalUse {
		err = core.Errorf(core.UsageLimitExceeded, "the statement %s permits %d uses of object %s in all, and they are used up", g.Statement, g.TotalUse, o.ID)
	}
	if err != nil {
		return nil, err
	}
	next, value := o.Successor(), core.Text(g.Statement+"="+strconv.FormatInt(count.used+1, 10))
	if at >= 0 {
		next.Attributes = o.Attributes.Replace(at, value)
		return next, nil
	}
	kept := slices.DeleteFunc(slices.Clone(o.Attributes), func(a core.Attribute) bool {
		older, err := readUseCount(a.Value.Text)
		return core.UsesAttribute.Names(&a) && err == nil && older.policy == count.policy && older.version < count.version
	})
	next.Attributes = kept.Add(core.Attribute{Vendor: core.UsesAttribute.Vendor, Name: core.UsesAttribute.Name, Value: value})
	return next, nil
}

// countTotals counts a use of the object in k.access for each gate that has a total: durably,
// before the use, and once in an operation, also if it is decided again. k.access then has the
// object as it is stored.
func countTotals(k *Call, opened []*core.Gate) error {
	object := k.access.Object
	uncounted := slices.DeleteFunc(slices.Clone(opened), func(g *core.Gate) bool {
		return g.TotalUse == 0 || slices.Contains(k.totalled, totalKey(object, g))
	})
	if len(uncounted) == 0 {
		return nil
	}
	next, err := CountUse(k, object.ID, func(now *core.ManagedObject) (next *core.ManagedObject, err error) {
		next = now
		for _, g := range uncounted {
			if next, err = withUse(next, g); err != nil {
				return nil, err
			}
		}
		return next, nil
	})
	if err != nil {
		return err
	}
	for _, g := range uncounted {
		k.totalled = append(k.totalled, totalKey(object, g))
	}
	k.access.Object = next
	return nil
}
