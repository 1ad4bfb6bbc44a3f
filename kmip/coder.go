package kmip

import (
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// coder reads or writes one payload. Its methods read or write one field of a kind.
// Functions that take a coder describe the structures of the standard, each once for
// reading and writing. When it reads, fields may come in any order, each
// once. When it writes, absent fields (zero, nil) are left out unless they are
// required. The first error stays and stops the rest. One goroutine at a time.
type coder struct {
	version core.Version
	lenient bool // ignore unknown fields when reading
	exact   bool // refuse vendor fields when reading, where they could be a filter
	reading bool
	answer  bool // the server writes
	client  bool // a client reads: lists are as long as the server made them
	err     error

	frame frame       // reading: the structure whose fields are read
	many  []core.Tag  // reading: the fields that may be repeated
	asked *[]core.Tag // reading again, to name an unknown field: the known fields
	out   []byte      // writing: appended to
}

var coders = sync.Pool{New: func() any { return new(coder) }}

// borrow lends a coder until giveBack. A new one would cost an allocation each time,
// because the operations' functions are called by way of a table.
func borrow(v core.Version) *coder {
	c := coders.Get().(*coder)
	*c = coder{version: v, many: c.many[:0]}
	return c
}

func (c *coder) giveBack() {
	*c = coder{many: c.many[:0]}
	coders.Put(c)
}

// frame is a structure that is being read: a cursor for fields in order, and the
// number of fields taken, which shows at the end whether there are others.
type frame struct {
	tag   core.Tag
	body  []byte
	rest  []byte // from the cursor on
	taken int
	many  int // where its fields begin in coder.many
}

func (c *coder) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// takeFirst takes the first field with a tag.
func (f *frame) takeFirst(t core.Tag) (item, bool) {
	if len(f.rest) > 0 && leadingTag(f.rest) == t {
		var it item
		it, f.rest = nextItem(f.rest)
		f.taken++
		return it, true
	}
	for b := f.body; len(b) > 0; {
		var it item
		if it, b = nextItem(b); it.tag == t {
			f.rest = b
			f.taken++
			return it, true
		}
	}
	return item{}, false
}

// takeField finds a field for reading and checks its kind. KindAny allows all.
func (c *coder) takeField(t core.Tag, k core.Kind, must bool) (item, bool) {
	if c.err != nil {
		return item{}, false
	}
	if c.asked != nil {
		*c.asked = append(*c.asked, t)
	}
	it, ok := c.frame.takeFirst(t)
	if !ok {
		if must {
			c.fail(core.Errorf(core.InvalidMessage, "%v lacks %v", c.frame.tag, t))
		}
		return it, false
	}
	return it, c.checkKind(it, k)
}

// checkKind refuses an item of another kind than k. KindAny allows all.
func (c *coder) checkKind(it item, k core.Kind) bool {
	if k != core.KindAny && it.kind != k {
		c.fail(wrongKind(it, k))
		return false
	}
	return true
}

func wrongKind(it item, want core.Kind) error {
	return core.Errorf(core.InvalidMessage, "%v has type %v, not %v", it.tag, it.kind, want)
}

// refuseLeftovers refuses fields that were not taken: a repeated field that may have
// one value only, or a field that the version does not have (KMIP 1.2 §11.1). To name
// such a field it calls again, which reads the structure once more.
func (c *coder) refuseLeftovers(again func()) {
	if c.err != nil {
		return
	}
	if countItems(c.frame.body) == c.frame.taken {
		return
	}
	seen := map[core.Tag]bool{}
	for b := c.frame.body; len(b) > 0; {
		var it item
		it, b = nextItem(b)
		if it.tag.IsVendor() {
			continue
		}
		if seen[it.tag] && !slices.Contains(c.many[c.frame.many:], it.tag) {
			c.fail(core.Errorf(core.InvalidMessage, "%v has %v twice", c.frame.tag, it.tag))
			return
		}
		seen[it.tag] = true
	}
	if !c.lenient {
		c.fail(core.Errorf(core.InvalidField, "%v has the field %v, which KMIP %v does not have there", c.frame.tag, c.unknownField(again), c.version))
	}
}

// unknownField returns the first field of the structure that again does not ask for
// when it reads the structure once more. The results of the first reading are dropped
// with the error.
func (c *coder) unknownField(again func()) core.Tag {
	var asked []core.Tag
	body := c.frame.body
	c.enterStructure(item{tag: c.frame.tag, kind: core.KindStructure, value: body})
	c.asked = &asked
	again()
	c.asked, c.err = nil, nil
	for len(body) > 0 {
		var f item
		if f, body = nextItem(body); !f.tag.IsVendor() && !slices.Contains(asked, f.tag) {
			return f.tag
		}
	}
	return 0
}

// structure reads or writes a structure, whose fields f reads or writes. If there is
// none to read, it does not call f and returns false. Vendor tags (54xxxx) are ignored.
func (c *coder) structure(t core.Tag, must bool, f func()) bool {
	if c.err != nil {
		return false
	}
	if !c.reading {
		var at int
		c.out, at = openStructure(c.out, t)
		f()
		closeStructure(c.out, at)
		return true
	}
	it, ok := c.takeField(t, core.KindStructure, must)
	if !ok {
		return false
	}
	c.readStructure(it, f)
	return true
}

// readStructure reads the fields of an item already found, which must be a structure.
func (c *coder) readStructure(it item, f func()) {
	if !c.checkKind(it, core.KindStructure) {
		return
	}
	outer, asked := c.frame, c.asked
	c.asked = nil // the fields of an inner structure are not the outer one's
	c.enterStructure(it)
	f()
	c.refuseLeftovers(f)
	c.many = c.many[:c.frame.many]
	c.frame, c.asked = outer, asked
}

// enterStructure makes an item the structure whose fields are read.
func (c *coder) enterStructure(it item) {
	c.frame = frame{tag: it.tag, body: it.value, rest: it.value, many: len(c.many)}
	c.skipExtensions()
}

// skipExtensions counts vendor fields as taken, so that they are ignored.
func (c *coder) skipExtensions() {
	for b := c.frame.body; len(b) > 0; {
		var it item
		if it, b = nextItem(b); it.tag.IsVendor() {
			c.frame.taken++
			if c.exact && c.err == nil {
				c.fail(core.Errorf(core.InvalidField, "%v has the vendor field %v, which is not a search filter; leave it out", c.frame.tag, it.tag))
			}
		}
	}
}

// eachField calls f for every field with a tag, when reading, and checks their kind.
// A request may have at most so many.
func (c *coder) eachField(t core.Tag, k core.Kind, most int, f func(item)) {
	if c.err != nil {
		return
	}
	if c.asked != nil {
		*c.asked = append(*c.asked, t)
	}
	c.many = append(c.many, t)
	n := 0
	for b := c.frame.body; len(b) > 0 && c.err == nil; {
		var it item
		if it, b = nextItem(b); it.tag == t {
			if n++; n > most && !c.client {
				c.fail(tooMany(t, most))
				return
			}
			c.frame.taken++
			c.frame.rest = b
			if c.checkKind(it, k) {
				f(it)
			}
		}
	}
}

// optionalStructure reads or writes a structure that may be absent (nil).
func optionalStructure[T any](c *coder, t core.Tag, p **T, fields func(*coder, *T)) {
	if !c.reading {
		if *p != nil {
			c.structure(t, false, func() { fields(c, *p) })
		}
		return
	}
	if it, ok := c.takeField(t, core.KindStructure, false); ok {
		*p = new(T)
		c.readStructure(it, func() { fields(c, *p) })
	}
}

// atLeast reports whether the version has a field that exists since a version.
// Other fields are neither written nor taken.
func (c *coder) atLeast(since core.Version) bool { return c.version >= since }

func (c *coder) textField(t core.Tag, p *string, must bool) {
	if c.reading {
		if it, ok := c.takeField(t, core.KindTextString, must); ok && c.checkLength(it, MaxTextBytes) {
			*p = string(it.value)
		}
	} else if must || *p != "" {
		c.out = appendPadded(c.out, t, core.KindTextString, *p)
	}
}

// checkLength refuses a text of a request that has more than most bytes.
func (c *coder) checkLength(it item, most int) bool {
	if len(it.value) > most && !c.client {
		c.fail(tooLong(it.tag, len(it.value), most))
		return false
	}
	return true
}

// bytesField aliases the message when reading. A byte string that is present but
// empty is not nil.
func (c *coder) bytesField(t core.Tag, p *[]byte, must bool) {
	if c.reading {
		if it, ok := c.takeField(t, core.KindByteString, must); ok {
			*p = it.value
		}
	} else if must || *p != nil {
		c.out = appendPadded(c.out, t, core.KindByteString, *p)
	}
}

func (c *coder) int32Field(t core.Tag, p *int32, must bool) {
	if c.reading {
		if it, ok := c.takeField(t, core.KindInteger, must); ok {
			*p = int32(it.number())
		}
	} else if must || *p != 0 {
		c.out = append4(c.out, t, core.KindInteger, uint32(*p))
	}
}

// numberField reads or writes an optional number of any numeric type.
func numberField[N ~int32 | ~int64 | ~uint32](c *coder, t core.Tag, k core.Kind, p **N) {
	if c.reading {
		if it, ok := c.takeField(t, k, false); ok {
			n := N(it.number())
			*p = &n
		}
	} else if *p != nil {
		c.out = appendValue(c.out, t, core.Value{Kind: k, Num: int64(**p)})
	}
}

func (c *coder) boolField(t core.Tag, p **bool) {
	if c.reading {
		if it, ok := c.takeField(t, core.KindBoolean, false); ok {
			b := it.number() != 0
			*p = &b
		}
	} else if *p != nil {
		c.out = appendValue(c.out, t, core.Bool(**p))
	}
}

// enumField reads or writes an enumeration; 0 stands for absent. A value that the
// standard does not list, and that is no extension (8xxxxxxx), is refused.
func enumField[E ~uint32](c *coder, t core.Tag, p *E, must bool) {
	if c.reading {
		if it, ok := c.takeField(t, core.KindEnumeration, must); ok {
			*p = E(c.knownEnum(it))
		}
	} else if must || *p != 0 {
		c.out = append4(c.out, t, core.KindEnumeration, uint32(*p))
	}
}

// knownEnum returns an enumeration's value, checked against the table of its tag.
func (c *coder) knownEnum(it item) uint32 {
	v := uint32(it.number())
	if err := checkEnum(it.tag, v); err != nil {
		c.fail(err)
	}
	return v
}

func checkEnum(t core.Tag, v uint32) error {
	info := t.Info()
	if info == nil || info.Enum == nil || info.Enum.Mask || v >= 0x8000_0000 || info.Enum.Lookup(v) != nil {
		return nil
	}
	return core.Errorf(core.InvalidField, "%v has no value 0x%08X", t, v)
}

// numberList is a repeated Integer or Enumeration.
func numberList[N ~int32 | ~uint32](c *coder, t core.Tag, k core.Kind, p *[]N) {
	if c.reading {
		c.eachField(t, k, MaxListed, func(it item) { *p = append(*p, N(c.knownEnum(it))) })
		return
	}
	for _, v := range *p {
		c.out = append4(c.out, t, k, uint32(v))
	}
}

// textList is a repeated text.
func (c *coder) textList(t core.Tag, most int, p *[]string) {
	if c.reading {
		c.eachField(t, core.KindTextString, most, func(it item) {
			if c.checkLength(it, MaxTextBytes) {
				*p = append(*p, string(it.value))
			}
		})
		return
	}
	for _, v := range *p {
		c.out = appendPadded(c.out, t, core.KindTextString, v)
	}
}

// structureList is a repeated structure, which is kept unchanged.
func (c *coder) structureList(t core.Tag, p *[]core.Field) {
	if c.reading {
		c.eachField(t, core.KindAny, MaxListed, func(it item) { *p = append(*p, core.Field{Tag: t, Value: it.valueOf()}) })
		return
	}
	for _, f := range *p {
		c.out = appendValue(c.out, t, c.ofVersion(t, f.Value))
	}
}

// identifier is the Unique Identifier of a request; see identifierField.
func (c *coder) identifier(p *core.Identifier) { identifierField(c, core.TagUniqueIdentifier, p) }

// identifierField is an identifier of a request: text, or in 2.x an enumeration or integer
// that refers into the batch (KMIP 2.1 §11.58).
func identifierField(c *coder, t core.Tag, p *core.Identifier) {
	if !c.reading {
		switch {
		case p.Text != "":
			c.out = appendPadded(c.out, t, core.KindTextString, p.Text)
		case p.Enum != 0:
			c.out = append4(c.out, t, core.KindEnumeration, uint32(p.Enum))
		case p.Nth != nil:
			c.out = append4(c.out, t, core.KindInteger, uint32(*p.Nth))
		}
		return
	}
	if it, ok := c.takeField(t, core.KindAny, false); ok {
		c.readIdentifier(it, p)
	}
}

// identifierList is a repeated Unique Identifier.
func (c *coder) identifierList(p *[]core.Identifier) {
	if c.reading {
		c.eachField(core.TagUniqueIdentifier, core.KindAny, MaxListed, func(it item) {
			var id core.Identifier
			c.readIdentifier(it, &id)
			*p = append(*p, id)
		})
		return
	}
	for i := range *p {
		c.identifier(&(*p)[i])
	}
}

func (c *coder) readIdentifier(it item, p *core.Identifier) {
	switch {
	case it.kind == core.KindTextString && !c.checkLength(it, MaxIdentifierBytes):
	case it.kind == core.KindTextString:
		p.Text = intern(it.value)
	case it.kind == core.KindEnumeration && c.version >= core.V2_0:
		p.Enum = core.UniqueIdentifierEnum(it.number())
	case it.kind == core.KindInteger && c.version >= core.V2_0:
		n := int32(it.number())
		p.Nth = &n
	default:
		c.fail(wrongKind(it, core.KindTextString))
	}
}

// checkTyped compares the types of an item and of all items within it with the table.
func checkTyped(it item) error {
	info := it.tag.Info()
	if info == nil {
		return nil
	}
	if info.Kind != core.KindAny && info.Kind != it.kind && !mayRefer(it) {
		return wrongKind(it, info.Kind)
	}
	if it.kind == core.KindEnumeration {
		return checkEnum(it.tag, uint32(it.number()))
	}
	if it.kind == core.KindStructure {
		for b := it.value; len(b) > 0; {
			var f item
			f, b = nextItem(b)
			if err := checkTyped(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayRefer reports whether an item is a reference into the batch, which KMIP 2.x
// allows instead of text.
func mayRefer(it item) bool {
	return (it.tag == core.TagLinkedObjectIdentifier || it.tag == core.TagUniqueIdentifier) && (it.kind == core.KindEnumeration || it.kind == core.KindInteger)
}
