package document

import (
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Read reads a document that [Append] wrote. It refuses any other form: keyreeve did
// not write it. The strings of the result share memory with s.
func Read(s string) (core.Attributes, error) {
	r := documentReader{text: s}
	r.expectLiteral("[")
	as := make(core.Attributes, 0, min(len(s)/48+1, 64))
	for more := !r.skipLiteral("]"); more && r.err == nil; more = r.hasMore() {
		as = append(as, r.readAttribute())
	}
	if r.err == nil && r.offset != len(s) {
		r.failExpecting("the end")
	}
	return as, r.err
}

// documentReader reads a document from the beginning to the end. After the first error,
// it does not move.
type documentReader struct {
	text   string
	offset int
	err    error
}

func (r *documentReader) failExpecting(want string) {
	if r.err == nil {
		r.err = core.Errorf(core.Internal, "the document of an object does not have %s at byte %d: the database was changed outside keyreeve; restore it from a backup", want, r.offset)
	}
}

// skipLiteral steps over lit and returns true, if lit comes next.
func (r *documentReader) skipLiteral(lit string) bool {
	if r.err != nil || !strings.HasPrefix(r.text[r.offset:], lit) {
		return false
	}
	r.offset += len(lit)
	return true
}

func (r *documentReader) expectLiteral(lit string) {
	if !r.skipLiteral(lit) {
		r.failExpecting(lit)
	}
}

// hasMore reads the end of an item of a list. It reports whether another one follows.
func (r *documentReader) hasMore() bool {
	if r.skipLiteral(",") {
		return true
	}
	r.expectLiteral("]")
	return false
}

func (r *documentReader) readAttribute() (a core.Attribute) {
	r.expectLiteral(`{"`)
	switch {
	case r.skipLiteral(`t":"`):
		a.Tag = r.readTag()
	case r.skipLiteral(`n":[`):
		a.Vendor, a.Name = r.readPair(r.readText)
	case r.skipLiteral(`m":[`):
		a.Vendor, a.Name = r.readPair(r.readBase64Text)
	default:
		r.failExpecting("a name")
	}
	if r.skipLiteral(`,"i":`) {
		a.Index = int(r.readNumber())
	}
	a.Value = r.readValue(0)
	r.expectLiteral("}")
	return a
}

func (r *documentReader) readPair(read func() string) (string, string) {
	first := read()
	r.expectLiteral(",")
	second := read()
	r.expectLiteral("]")
	return first, second
}

// readTag reads six hexadecimal digits and the quote after them.
func (r *documentReader) readTag() (t core.Tag) {
	for range 6 {
		if r.offset >= len(r.text) {
			r.failExpecting("a tag")
			return 0
		}
		d := strings.IndexByte(hexDigits, r.text[r.offset])
		if d < 0 {
			r.failExpecting("a tag")
			return 0
		}
		t = t<<4 | core.Tag(d)
		r.offset++
	}
	r.expectLiteral(`"`)
	return t
}

func (r *documentReader) readValue(depth int) (v core.Value) {
	r.expectLiteral(`,"`)
	if r.err != nil || r.offset >= len(r.text) || depth > maxDepth {
		r.failExpecting("a value")
		return v
	}
	letter := r.text[r.offset]
	v.Kind = kindByLetter[letter]
	if v.Kind == core.KindAny && letter != 'A' {
		r.failExpecting("a type")
		return v
	}
	r.offset++
	r.expectLiteral(`":`)
	switch {
	case letter == base64TextLetter:
		v.Text = r.readBase64Text()
	case v.Kind == core.KindTextString:
		v.Text = r.readText()
	case v.Kind == core.KindStructure:
		v.Fields = r.readFields(depth)
	case v.Kind == core.KindByteString, v.Kind == core.KindBigInteger:
		v.Bytes = r.readBytes()
	default:
		v.Num = r.readNumber()
	}
	return v
}

func (r *documentReader) readFields(depth int) (out []core.Field) {
	r.expectLiteral("[")
	for more := !r.skipLiteral("]"); more && r.err == nil; more = r.hasMore() {
		r.expectLiteral(`{"t":"`)
		f := core.Field{Tag: r.readTag()}
		f.Value = r.readValue(depth + 1)
		r.expectLiteral("}")
		out = append(out, f)
	}
	return out
}

func (r *documentReader) readNumber() int64 {
	end := r.offset
	for end < len(r.text) && (r.text[end] == '-' || (r.text[end] >= '0' && r.text[end] <= '9')) {
		end++
	}
	n, err := strconv.ParseInt(r.text[r.offset:end], 10, 64)
	if err != nil {
		r.failExpecting("a number")
		return 0
	}
	r.offset = end
	return n
}

func (r *documentReader) readBase64Text() string { return string(r.readBytes()) }

func (r *documentReader) readBytes() []byte {
	r.expectLiteral(`"`)
	n := strings.IndexByte(r.text[r.offset:], '"')
	if r.err != nil || n < 0 {
		r.failExpecting("base64")
		return nil
	}
	b, err := documentBase64.DecodeString(r.text[r.offset : r.offset+n])
	if err != nil {
		r.failExpecting("base64")
		return nil
	}
	r.offset += n + 1
	return b
}

// readText reads a JSON string. A string without escapes is not copied.
func (r *documentReader) readText() string {
	r.expectLiteral(`"`)
	from := r.offset
	for r.err == nil && r.offset < len(r.text) {
		switch c := r.text[r.offset]; {
		case c == '"':
			r.offset++
			return r.text[from : r.offset-1]
		case c == '\\':
			return r.readEscapedText(from)
		case c < 0x20:
			r.failExpecting("text")
		default:
			r.offset++
		}
	}
	r.failExpecting("text")
	return ""
}

// readEscapedText reads the rest of a string, from its first escape on.
func (r *documentReader) readEscapedText(from int) string {
	out := []byte(r.text[from:r.offset])
	for r.err == nil && r.offset < len(r.text) {
		c := r.text[r.offset]
		switch {
		case c == '"':
			r.offset++
			return string(out)
		case c == '\\':
			out = append(out, r.readEscape())
			continue
		case c < 0x20:
			r.failExpecting("text")
		}
		out = append(out, c)
		r.offset++
	}
	r.failExpecting("text")
	return ""
}

// readEscape reads one of the three escapes that appendText writes.
func (r *documentReader) readEscape() byte {
	switch {
	case r.skipLiteral(`\"`):
		return '"'
	case r.skipLiteral(`\\`):
		return '\\'
	case r.skipLiteral(`\u00`) && r.offset+2 <= len(r.text):
		n, err := strconv.ParseUint(r.text[r.offset:r.offset+2], 16, 8)
		if err == nil && n < 0x20 {
			r.offset += 2
			return byte(n)
		}
	}
	r.failExpecting("an escape")
	return 0
}
