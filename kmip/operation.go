package kmip

import (
	"cmp"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Operation holds everything that the protocol says about one operation: its row, its
// two payloads, and where the identifiers are in them. Each operation has its own
// file. A test demands every field; if an operation has none, the field has a value
// whose name begins with "no".
type Operation[I, O any] struct {
	Row
	Identifiers[I, O]

	request  func(*coder, *I)
	response func(*coder, *O)
}

// Identifiers says where the identifiers are in the payloads of an operation.
type Identifiers[I, O any] struct {
	// Target returns where the request names its object, nil if it names none.
	Target func(*I) *core.Identifier
	// Sources returns the objects that the request names beside its target, which never
	// stand for the ID Placeholder.
	Sources func(*I) []core.Identifier
	// Links returns the attributes of the request. Since 2.0 their Links may refer
	// to identifiers of the same batch (2.1 §4.31).
	Links func(*I) core.Attributes
	// AnsweredIDs appends to list the Unique Identifiers that the answer holds, in
	// its order. Later items of a batch may refer to them (2.1 §4.58, §11.58).
	AnsweredIDs func(list []string, in *I, out *O) []string
	// NextPlaceholder returns the ID Placeholder after a success. It is called only
	// if the row says that the operation sets it.
	NextPlaceholder func(*O) string
}

// Row holds the facts about an operation that do not depend on its payloads.
type Row struct {
	Code        core.Operation
	Since       core.Version // [define] takes it and Until from core's table
	Until       core.Version
	Change      Change
	Stream      Stream
	Placeholder Placeholder
	References  []Reference
	Reasons     Reasons
}

// Change says whether an operation changes objects, and so how large its answer can
// be: nothing is changed if the answer would not fit (2.1 §9.12).
type Change uint8

// The kinds of change. The attribute operations of 1.x answer with the attribute.
const (
	_                 Change = iota
	ChangesNothing           // at most a use is counted
	ChangesAndNames          // the answer holds only identifiers
	ChangesAndRepeats        // in 1.x the answer repeats the attribute of the request
	ChangesAndShows          // in 1.x the answer shows an attribute that the request does not hold
)

// Stream says whether data may come in parts, since 1.3.
type Stream uint8

// The kinds of stream.
const (
	_ Stream = iota
	OnePart
	ManyParts
)

// Placeholder says what an operation does to the ID Placeholder (1.4 §4, 2.1 §6).
type Placeholder uint8

// The kinds of effect. After a failure a later item must not reach an older
// object, so the operations that set it empty it if they fail.
const (
	_ Placeholder = iota
	KeepsPlaceholder
	SetsPlaceholder
	EmptiesPlaceholderOnFailure // and keeps it otherwise
)

// Reference ties a Unique Identifier enumeration to the answer of an operation
// (2.1 §11.58).
type Reference struct {
	Enum  core.UniqueIdentifierEnum
	Which int // EveryID, or the position of one identifier in the answer, starting at 1
}

// EveryID is a Reference to all identifiers of an answer.
const EveryID = 0

// Values for operations that have none.
var (
	noReferences     = []Reference{}
	noReasons        = []core.ResultReason{}
	noSpecialReasons = []SpecialReason{}
)

// keyUseRow returns the row of an operation that uses one key on data, which may come in
// parts. It may answer the reasons of both lists.
func keyUseRow(code core.Operation, shared []core.ResultReason, own ...core.ResultReason) Row {
	return Row{
		Code:        code,
		Change:      ChangesNothing,
		Stream:      ManyParts,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     onlyListed(append(own, shared...)...).withSpecial(useSpecials...),
	}
}

// defineKeyUse adds an operation whose request names its key by target.
func defineKeyUse[I, O any](row Row, target func(*I) *core.Identifier, request func(*coder, *I), response func(*coder, *O)) Operation[I, O] {
	return define(Operation[I, O]{Row: row, Identifiers: repeatsTarget[O](target), request: request, response: response})
}

// attributeChangeRow returns the row of an operation that changes one attribute.
func attributeChangeRow(code core.Operation, change Change, listed []core.ResultReason, special ...SpecialReason) Row {
	return Row{
		Code:        code,
		Change:      change,
		Stream:      OnePart,
		Placeholder: KeepsPlaceholder,
		References:  noReferences,
		Reasons:     Reasons{Listed: listed, Since21: stateForbidsChange, Unlisted: unlistedReasons, Special: append(noSpecialReasons, special...)},
	}
}

// defineAttributeChange adds an operation that changes one attribute of the object that
// target names. links returns the attributes of the request.
func defineAttributeChange[I any](row Row, target func(*I) *core.Identifier, links func(*I) core.Attributes, request func(*coder, *I)) Operation[I, operation.AttributeOutput] {
	return define(Operation[I, operation.AttributeOutput]{Row: row, Identifiers: repeatsTarget[operation.AttributeOutput](target).withLinks(links),
		request: request, response: attributeResponse})
}

func noTarget[I any](*I) *core.Identifier                        { return nil }
func noSources[I any](*I) []core.Identifier                      { return nil }
func noLinks[I any](*I) core.Attributes                          { return nil }
func noAnsweredIDs[I, O any](list []string, _ *I, _ *O) []string { return list }
func noPlaceholder[O any](*O) string                             { return "" }

func noIdentifiers[I, O any]() Identifiers[I, O] {
	return Identifiers[I, O]{noTarget[I], noSources[I], noLinks[I], noAnsweredIDs[I, O], noPlaceholder[O]}
}

// repeatsTarget returns the Identifiers of an operation that names one object and
// answers with its identifier.
func repeatsTarget[O, I any](target func(*I) *core.Identifier) Identifiers[I, O] {
	answered := func(list []string, in *I, _ *O) []string { return append(list, target(in).Text) }
	return Identifiers[I, O]{target, noSources[I], noLinks[I], answered, noPlaceholder[O]}
}

func (ids Identifiers[I, O]) withLinks(links func(*I) core.Attributes) Identifiers[I, O] {
	ids.Links = links
	return ids
}

// makesObject returns the Identifiers of an operation that answers with a new object.
func makesObject[I, O any](target func(*I) *core.Identifier, links func(*I) core.Attributes, made func(*O) string) Identifiers[I, O] {
	answered := func(list []string, _ *I, out *O) []string { return append(list, made(out)) }
	return Identifiers[I, O]{target, noSources[I], links, answered, made}
}

func (ids Identifiers[I, O]) withSources(sources func(*I) []core.Identifier) Identifiers[I, O] {
	ids.Sources = sources
	return ids
}

// definition is an Operation without the types of its payloads.
type definition interface{ row() *Row }

func (op *Operation[I, O]) row() *Row { return &op.Row }

var definitions = map[core.Operation]definition{}

// define adds an operation to the registry, with the versions that have it.
func define[I, O any](op Operation[I, O]) Operation[I, O] {
	if known := core.TagOperation.Info().Enum.Lookup(uint32(op.Code)); known != nil {
		op.Since, op.Until = known.Since, known.Until
	}
	definitions[op.Code] = &op
	return op
}

// Operations returns the rows of all operations, ordered by their codes.
func Operations() []*Row {
	rows := make([]*Row, 0, len(definitions))
	for _, d := range definitions {
		rows = append(rows, d.row())
	}
	slices.SortFunc(rows, func(a, b *Row) int { return cmp.Compare(a.Code, b.Code) })
	return rows
}

// RowOf returns the row of an operation, nil if there is none.
func RowOf(code core.Operation) *Row {
	if d, ok := definitions[code]; ok {
		return d.row()
	}
	return nil
}

// In reports whether version v has the operation.
func (r *Row) In(v core.Version) bool { return v.Within(r.Since, r.Until) }

// DecodeRequest reads a request payload: the item as the batch item holds it,
// nil if there is none. Byte strings of in alias it.
func (op *Operation[I, O]) DecodeRequest(payload []byte, v core.Version, lenient bool, in *I) error {
	return decode(payload, core.TagRequestPayload, coder{version: v, lenient: lenient}, op.request, in)
}

// DecodeResponse is for clients.
func (op *Operation[I, O]) DecodeResponse(payload []byte, v core.Version, out *O) error {
	return decode(payload, core.TagResponsePayload, coder{version: v, lenient: true, client: true}, op.response, out)
}

// AppendRequest is for clients.
func (op *Operation[I, O]) AppendRequest(dst []byte, v core.Version, in *I) ([]byte, error) {
	c := coder{version: v, out: dst}
	c.structure(core.TagRequestPayload, true, func() { op.request(&c, in) })
	return c.out, c.err
}

// AppendResponse appends the payload item.
func (op *Operation[I, O]) AppendResponse(dst []byte, v core.Version, out *O) ([]byte, error) {
	c := borrow(v)
	defer c.giveBack()
	c.answer = true
	var at int
	c.out, at = openStructure(dst, core.TagResponsePayload)
	op.response(c, out)
	closeStructure(c.out, at)
	return c.out, c.err
}

// decode reads a validated payload item; a missing one has no fields.
func decode[P any](payload []byte, t core.Tag, how coder, fields func(*coder, *P), p *P) error {
	it := item{tag: t, kind: core.KindStructure}
	if len(payload) > 0 {
		it, _ = nextItem(payload)
	}
	if it.tag != t || it.kind != core.KindStructure {
		return core.Errorf(core.InvalidMessage, "the batch item holds %v where its payload should be", it.tag)
	}
	c := borrow(how.version)
	defer c.giveBack()
	c.lenient, c.client, c.reading = how.lenient, how.client, true
	c.enterStructure(it)
	fields(c, p)
	c.refuseLeftovers(func() { fields(c, p) })
	return c.err
}
