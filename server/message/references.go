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

// resolve turns a reference into the batch into a Unique Identifier.
func (b *batch) resolve(id *core.Identifier) (err error) {
	switch {
	case id.Text != "":
	case id.Nth != nil:
		id.Text, err = b.nth(int(*id.Nth))
	case id.Enum != 0 && id.Enum != core.UniqueIDPlaceholder:
		id.Text, err = b.byOperation(id.Enum)
	default:
		id.Text = b.placeholder
	}
	return err
}

// nth finds the nth Unique Identifier of the answer so far, from 0 on; negative
// ones count backwards from this item (KMIP 2.1 §4.58).
func (b *batch) nth(n int) (string, error) {
	at := n
	if n < 0 {
		at = len(b.answeredIDs) + n
	}
	if at < 0 || at >= len(b.answeredIDs) {
		return "", core.Errorf(core.InvalidField, "Unique Identifier %d refers into the answer, which has %d identifiers so far", n, len(b.answeredIDs))
	}
	return b.answeredIDs[at], nil
}

// byOperation finds what the last item of the operation that an enumeration
// names has answered. The standard repeats an operation for each of several
// identifiers; here there must be one.
func (b *batch) byOperation(e core.UniqueIdentifierEnum) (string, error) {
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
			return "", core.Errorf(core.FeatureNotSupported, "%v stands for %d objects here; an operation is not repeated for several, so name each", e, len(ids))
		default:
			return ids[0], nil
		}
	}
	return "", core.Errorf(core.InvalidField, "no earlier item of the batch is %v", e)
}

// resolveLinks makes Linked Object Identifiers, which may be references likewise
// (KMIP 2.1 §4.31), Unique Identifiers. The values are the decoder's own, which
// nobody else has yet.
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
	if err := b.resolve(&id); err != nil {
		return err
	}
	if id.Text == "" {
		return core.Errorf(core.InvalidField, "a Linked Object Identifier is the ID Placeholder, which is empty")
	}
	*v = core.Text(id.Text)
	return nil
}
