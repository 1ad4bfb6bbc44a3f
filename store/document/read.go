package document

import (
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Read reads what Append wrote, and nothing else: a document
// that is not in that form was not written by keyreeve.
// The strings of the result share s.
func Read(s string) (core.Attributes, error) {
	r := reader{s: s}
	r.expect("[")
	as := make(core.Attributes, 0, min(len(s)/48+1, 64))
	for more := !r.skip("]"); more && r.err == nil; more = r.more() {
		as = append(as, r.attribute())
	}
	if r.err == nil && r.at != len(s) {
		r.fail("the end")
	}
	return as, r.err
}

// reader walks over a document; after the first error it stands still.
type reader struct {
	s   string
	at  int
	err error
}

func (r *reader) fail(want string) {
	if r.err == nil {
		r.err = core.Errorf(core.Internal, "the document of an object has something else than %s at byte %d: the database was changed by another program; restore it from a backup", want, r.at)
	}
}

// skip steps over lit if it comes next.
func (r *reader) skip(lit string) bool {
	if r.err != nil || !strings.HasPrefix(r.s[r.at:], lit) {
		return false
	}
	r.at += len(lit)
	return true
}

func (r *reader) expect(lit string) {
	if !r.skip(lit) {
		r.fail(lit)
	}
}

// more stands behind a member of a list: true when another follows.
func (r *reader) more() bool {
	if r.skip(",") {
		return true
	}
	r.expect("]")
	return false
}

func (r *reader) attribute() (a core.Attribute) {
	r.expect(`{"`)
	switch {
	case r.skip(`t":"`):
		a.Tag = r.tag()
	case r.skip(`n":[`):
		a.Vendor, a.Name = r.pair(r.text)
	case r.skip(`m":[`):
		a.Vendor, a.Name = r.pair(r.raw)
	default:
		r.fail("a name")
	}
	if r.skip(`,"i":`) {
		a.Index = int(r.number())
	}
	a.Value = r.value(0)
	r.expect("}")
	return a
}

func (r *reader) pair(read func() string) (string, string) {
	first := read()
	r.expect(",")
	second := read()
	r.expect("]")
	return first, second
}

// tag reads six hexadecimal digits and the quote behind them.
func (r *reader) tag() (t core.Tag) {
	for range 6 {
		if r.at >= len(r.s) {
			r.fail("a tag")
			return 0
		}
		d := strings.IndexByte(hexDigits, r.s[r.at])
		if d < 0 {
			r.fail("a tag")
			return 0
		}
		t = t<<4 | core.Tag(d)
		r.at++
	}
	r.expect(`"`)
	return t
}

func (r *reader) value(depth int) (v core.Value) {
	r.expect(`,"`)
	if r.err != nil || r.at >= len(r.s) || depth > maxDepth {
		r.fail("a value")
		return v
	}
	letter := r.s[r.at]
	v.Kind = kindOfLetter[letter]
	if v.Kind == core.KindAny && letter != 'A' {
		r.fail("a type")
		return v
	}
	r.at++
	r.expect(`":`)
	switch {
	case letter == rawText:
		v.Text = r.raw()
	case v.Kind == core.KindTextString:
		v.Text = r.text()
	case v.Kind == core.KindStructure:
		v.Fields = r.fields(depth)
	case v.Kind == core.KindByteString, v.Kind == core.KindBigInteger:
		v.Bytes = r.bytes()
	default:
		v.Num = r.number()
	}
	return v
}

func (r *reader) fields(depth int) (out []core.Field) {
	r.expect("[")
	for more := !r.skip("]"); more && r.err == nil; more = r.more() {
		r.expect(`{"t":"`)
		f := core.Field{Tag: r.tag()}
		f.Value = r.value(depth + 1)
		r.expect("}")
		out = append(out, f)
	}
	return out
}

func (r *reader) number() int64 {
	end := r.at
	for end < len(r.s) && (r.s[end] == '-' || (r.s[end] >= '0' && r.s[end] <= '9')) {
		end++
	}
	n, err := strconv.ParseInt(r.s[r.at:end], 10, 64)
	if err != nil {
		r.fail("a number")
		return 0
	}
	r.at = end
	return n
}

func (r *reader) raw() string { return string(r.bytes()) }

func (r *reader) bytes() []byte {
	r.expect(`"`)
	n := strings.IndexByte(r.s[r.at:], '"')
	if r.err != nil || n < 0 {
		r.fail("base64")
		return nil
	}
	b, err := documentBase64.DecodeString(r.s[r.at : r.at+n])
	if err != nil {
		r.fail("base64")
		return nil
	}
	r.at += n + 1
	return b
}

// text reads a JSON string; one without escapes is not copied.
func (r *reader) text() string {
	r.expect(`"`)
	from := r.at
	for r.err == nil && r.at < len(r.s) {
		switch c := r.s[r.at]; {
		case c == '"':
			r.at++
			return r.s[from : r.at-1]
		case c == '\\':
			return r.escaped(from)
		case c < 0x20:
			r.fail("text")
		default:
			r.at++
		}
	}
	r.fail("text")
	return ""
}

// escaped goes on where text met its first escape.
func (r *reader) escaped(from int) string {
	out := []byte(r.s[from:r.at])
	for r.err == nil && r.at < len(r.s) {
		c := r.s[r.at]
		switch {
		case c == '"':
			r.at++
			return string(out)
		case c == '\\':
			out = append(out, r.escape())
			continue
		case c < 0x20:
			r.fail("text")
		}
		out = append(out, c)
		r.at++
	}
	r.fail("text")
	return ""
}

// escape reads one of the three forms that appendText writes.
func (r *reader) escape() byte {
	switch {
	case r.skip(`\"`):
		return '"'
	case r.skip(`\\`):
		return '\\'
	case r.skip(`\u00`) && r.at+2 <= len(r.s):
		n, err := strconv.ParseUint(r.s[r.at:r.at+2], 16, 8)
		if err == nil && n < 0x20 {
			r.at += 2
			return byte(n)
		}
	}
	r.fail("an escape")
	return 0
}
