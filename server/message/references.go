package message

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// references tells which operation's answer a Unique Identifier enumeration means,
// and which of its identifiers.
var references = func() map[core.UniqueIdentifierEnum]reference {
	all := map[core.UniqueIdentifierEnum]reference{}
	for _, row := range kmip.Operations() {
		for _, r := range row.References {
			all[r.Enum] = reference{row.Code, r.Which}
		}
	}
	return all
}()

type reference struct {
	operation core.Operation
	which     int // as in [kmip.Reference]
}

// resolveIdentifier turns a reference into the batch into a Unique Identifier.
func (b *batch) resolveIdentifier(id *core.Identifier) (err error) {
	switch {
	case id.Text != "":
	case id.Nth != nil:
		id.Text, err = b.nthIdentifier(int(*id.Nth))
	case id.Enum != 0 && id.Enum != core.UniqueIDPlaceholder:
		id.Text, err = b.lastAnswerOf(id.Enum)
	default:
		id.Text = b.placeholder
	}
	return err
}

// resolveSources turns references into the batch into Unique Identifiers, in place. None of
// them may be the ID Placeholder (KMIP 1.4 §4.6, 2.1 §6.1.14).
func (b *batch) resolveSources(op core.Operation, ids []core.Identifier) error {
	for i := range ids {
		id := &ids[i]
		if id.Text == "" && id.Nth == nil && (id.Enum == 0 || id.Enum == core.UniqueIDPlaceholder) {
			return core.Errorf(core.InvalidField, "%v does not take the ID Placeholder; name each object", op)
		}
		if err := b.resolveIdentifier(id); err != nil {
			return err
		}
	}
	return nil
}

// nthIdentifier returns the nth Unique Identifier of the answer so far, from 0 on.
// Negative numbers count backwards from this item (KMIP 2.1 §4.58).
func (b *batch) nthIdentifier(n int) (string, error) {
	at := n
	if n < 0 {
		at = len(b.answeredIDs) + n
	}
	if at < 0 || at >= len(b.answeredIDs) {
		return "", core.Errorf(core.InvalidField, "Unique Identifier %d refers into the answer, which has %d identifiers so far", n, len(b.answeredIDs))
	}
	return b.answeredIDs[at], nil
}

// lastAnswerOf returns the identifier that the last item of an operation answered.
// The enumeration names the operation. The standard repeats an operation for each
// of several identifiers; the server supports one.
func (b *batch) lastAnswerOf(e core.UniqueIdentifierEnum) (string, error) {
	want, ok := references[e]
	for i := len(b.answeredEnds) - 1; ok && i >= 0; i-- {
		start := 0
		if i > 0 {
			start = b.answeredEnds[i-1]
		}
		ids := b.answeredIDs[start:b.answeredEnds[i]]
		switch {
		case b.request.Items[i].Operation != want.operation || len(ids) == 0:
		case want.which != kmip.EveryID:
			return ids[want.which-1], nil
		case len(ids) > 1:
			return "", core.Errorf(core.FeatureNotSupported, "%v refers to %d objects, and the server does not repeat an operation; name each object", e, len(ids))
		default:
			return ids[0], nil
		}
	}
	return "", core.Errorf(core.InvalidField, "%v refers to no earlier item of the batch", e)
}

// resolveLinks replaces references in Linked Object Identifiers by Unique
// Identifiers (KMIP 2.1 §4.31). It changes the decoded values in place.
func (b *batch) resolveLinks(attributes core.Attributes) error {
	for _, a := range attributes {
		if a.Tag != core.TagLink {
			continue
		}
		for i := range a.Value.Fields {
			if f := &a.Value.Fields[i]; f.Tag == core.TagLinkedObjectIdentifier && f.Value.Kind != core.KindTextString {
				if err := b.resolveLink(&f.Value); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *batch) resolveLink(v *core.Value) error {
	id, n := core.Identifier{Enum: core.UniqueIdentifierEnum(v.Uint())}, int32(v.Num)
	if v.Kind == core.KindInteger {
		id = core.Identifier{Nth: &n}
	}
	if err := b.resolveIdentifier(&id); err != nil {
		return err
	}
	if id.Text == "" {
		return core.Errorf(core.InvalidField, "a Linked Object Identifier refers to the ID Placeholder, which is empty")
	}
	*v = core.Text(id.Text)
	return nil
}
