package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Operation is a method of a path.
type Operation struct {
	Method, Path string
	Action       string // of the policy; "" if the route is open to everybody
	InPath       []Parameter
	Query        []Parameter
	Body         *Schema // nil: the route takes no body
	MaxBody      int     // bytes; 0: MaxBody
	Status       int     // of a success
	Problems     []int   // the statuses of refusals
	Answer       *Schema // of a success; nil: it is no JSON, or there is none
	HonorsOnce   bool    // the route makes something, and so honors Idempotency-Key
	HonorsMatch  bool    // the route replaces a version, and so honors If-Match
}

// Pattern returns the operation as [net/http.ServeMux] takes it.
func (o *Operation) Pattern() string { return o.Method + " " + o.Path }

// OperationOf returns the operation with a pattern, nil if there is none.
func OperationOf(pattern string) *Operation {
	for i := range Operations {
		if Operations[i].Pattern() == pattern {
			return &Operations[i]
		}
	}
	return nil
}

// Parameter is a parameter of a path or a query.
type Parameter struct {
	Name     string
	Required bool
	Schema   *Schema
}

// Schema says what a JSON value must be.
type Schema struct {
	Kind     Kind
	Nullable bool
	Closed   bool           // an Object has no other members
	Members  []Member       // of an Object
	Element  *Schema        // of an Array or a Map
	Least    int64          // characters, elements or members; of an Integer its value
	Most     int64          // the same; 0: no bound
	Enum     []string       // the values of a Text; nil: all
	Pattern  *regexp.Regexp // of a Text, or of the names in a Map
	AnyOf    []string       // at least one of these members must be given
	Choices  []*Schema      // of an answer that is one of several things
	OneOf    []string       // exactly one of these members must be given
}

// Member is a member of an object.
type Member struct {
	Name     string
	Required bool
	Schema   *Schema
}

// Kind is the kind of a JSON value.
type Kind uint8

// The kinds.
const (
	Anything Kind = iota // somebody else reads it
	Object
	Map // an object whose names are data
	Array
	Text
	Base64
	Time // RFC 3339, after 1970 began
	Integer
	Boolean
)

var kindNames = [...]string{"a value", "an object", "an object", "an array", "a text", "a text", "a text", "an integer", "a boolean"}

// Bounds of a body.
const (
	MaxBody    = 1 << 20 // bytes
	MaxDepth   = 8
	MaxMembers = 64 // of one object, or elements of one array, unless its schema has a bound
)

// Fault is what is wrong with a body.
type Fault struct {
	Path string // of the member, such as "usage[1]"; "" for the body itself
	Text string // a sentence for people
	// Malformed says that the body is no JSON that every reader reads alike. Otherwise it
	// was read, and a value is not acceptable.
	Malformed bool
}

func (f *Fault) Error() string { return f.Text }

func malformed(text string, args ...any) error {
	return &Fault{Text: fmt.Sprintf(text, args...), Malformed: true}
}

func refused(path, text string, args ...any) error {
	of := "the body"
	if path != "" {
		of = strconv.Quote(path)
	}
	return &Fault{Path: path, Text: of + " " + fmt.Sprintf(text, args...)}
}

// Check returns a [*Fault] unless a body is exactly one JSON object as a schema describes it.
// Unknown and doubled members, another case of a name, null where it is not allowed, and
// anything behind the object are faults: a proxy, a policy check and the server must not
// read different values from one body.
func Check(body []byte, s *Schema) error {
	w := &walker{body: body}
	switch {
	case w.next() != '{':
		return malformed("the body is no JSON object")
	case !json.Valid(body):
		return errNoJSON
	}
	return check(w, s, "", 0)
}

var errNoJSON = malformed("the body is no JSON, or it goes on after its JSON object")

// check checks the next value.
func check(w *walker, s *Schema, path string, depth int) error {
	if s.Kind == Anything {
		w.skip()
		return nil
	}
	if depth >= MaxDepth {
		return malformed("the body is nested more than %d deep", MaxDepth)
	}
	ok, err := true, error(nil)
	switch first := w.next(); first {
	case '{':
		if ok = s.Kind == Object || s.Kind == Map; ok {
			err = checkMembers(w, s, path, depth)
		}
	case '[':
		if ok = s.Kind == Array; ok {
			err = checkElements(w, s, path, depth)
		}
	case '"':
		text, copied, err := w.text()
		if copied {
			defer clear(text)
		}
		if err != nil || !isUnicode(text) {
			return errNoUnicode
		}
		if ok = s.Kind == Text || s.Kind == Base64 || s.Kind == Time; ok {
			return s.checkText(path, text)
		}
	default:
		value := w.scalar()
		switch first {
		case 'n':
			if !s.Nullable {
				return refused(path, "is null; leave it out")
			}
		case 't', 'f':
			ok = s.Kind == Boolean
		default:
			if ok = s.Kind == Integer; ok {
				err = s.checkInteger(path, string(value))
			}
		}
	}
	if !ok {
		return refused(path, "must be %s", kindNames[s.Kind])
	}
	return err
}

var errNoUnicode = malformed("the body has text that is no valid Unicode")

// isUnicode refuses U+FFFD too: encoding/json puts it for what is no Unicode, so that two names
// would become one.
func isUnicode(text []byte) bool {
	return utf8.Valid(text) && !bytes.ContainsRune(text, utf8.RuneError)
}

// checkMembers checks the members of an object up to its end.
func checkMembers(w *walker, s *Schema, path string, depth int) error {
	given := map[string]bool{}
	for w.at++; !w.endsWith('}'); {
		if len(given) >= s.bound() {
			return s.tooMany(path, "members")
		}
		text, _, err := w.text()
		if err != nil || !isUnicode(text) {
			return errNoUnicode
		}
		m := s.member(text)
		inside := m.Name
		if path != "" || !m.isKnown() {
			inside = strings.TrimPrefix(path+"."+quotable(m.Name), ".")
		}
		switch {
		case given[m.Name]:
			return malformed("%q stands twice", inside)
		case !m.isKnown():
			return refused(inside, "is no member that is known here")
		case s.Kind == Map && s.Pattern != nil && !s.Pattern.MatchString(m.Name):
			return refused(inside, "is no name that is allowed here; it must match %s", s.Pattern)
		}
		given[m.Name] = true
		if err := check(w, m.Schema, inside, depth+1); err != nil {
			return err
		}
	}
	for _, m := range s.Members {
		if m.Required && !given[m.Name] {
			return refused(strings.TrimPrefix(path+"."+m.Name, "."), "must be given")
		}
	}
	count := func(names []string) (n int) {
		for _, name := range names {
			if given[name] {
				n++
			}
		}
		return n
	}
	if s.AnyOf != nil && count(s.AnyOf) == 0 {
		return &Fault{Path: path, Text: "one of " + quoted(s.AnyOf) + " must be given"}
	}
	if s.OneOf != nil && count(s.OneOf) != 1 {
		return &Fault{Path: path, Text: "exactly one of " + quoted(s.OneOf) + " must be given"}
	}
	return s.checkCount(path, len(given), "members")
}

// checkElements checks the elements of an array up to its end.
func checkElements(w *walker, s *Schema, path string, depth int) error {
	n := 0
	for w.at++; !w.endsWith(']'); n++ {
		if n >= s.bound() {
			return s.tooMany(path, "elements")
		}
		if err := check(w, s.Element, fmt.Sprintf("%s[%d]", path, n), depth+1); err != nil {
			return err
		}
	}
	return s.checkCount(path, n, "elements")
}

// bound returns how many members or elements there may be.
func (s *Schema) bound() int {
	if s.Most > 0 {
		return int(s.Most)
	}
	return MaxMembers
}

func (s *Schema) tooMany(path, of string) error {
	return refused(path, "has more than %d %s", s.bound(), of)
}

// member returns the member with a name. It has no schema if an object must not have it.
func (s *Schema) member(name []byte) Member {
	if s.Kind == Map {
		return Member{Name: string(name), Schema: s.Element}
	}
	for i := range s.Members {
		if s.Members[i].Name == string(name) {
			return s.Members[i]
		}
	}
	return Member{Name: string(name)}
}

func (m *Member) isKnown() bool { return m.Schema != nil }

// checkCount checks the number of characters, elements or members.
func (s *Schema) checkCount(path string, n int, of string) error {
	switch {
	case int64(n) < s.Least && n == 0 && of == "characters":
		return refused(path, "is empty; leave it out")
	case int64(n) < s.Least:
		return refused(path, "has %d %s and must have at least %d", n, of, s.Least)
	case s.Most > 0 && int64(n) > s.Most:
		return refused(path, "has more than %d %s", s.Most, of)
	}
	return nil
}

func (s *Schema) checkInteger(path, number string) error {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < s.Least || (s.Most != 0 && n > s.Most) {
		if s.Most != 0 {
			return refused(path, "must be an integer from %d to %d", s.Least, s.Most)
		}
		return refused(path, "must be an integer of at least %d", s.Least)
	}
	return nil
}

// checkText checks the characters of a text.
func (s *Schema) checkText(path string, text []byte) error {
	if err := s.checkCount(path, utf8.RuneCount(text), "characters"); err != nil {
		return err
	}
	switch {
	case s.Enum != nil && !slices.ContainsFunc(s.Enum, func(value string) bool { return value == string(text) }):
		return refused(path, "must be one of %s, not %q", quoted(s.Enum), quotable(string(text)))
	case s.Pattern != nil && !s.Pattern.Match(text):
		return refused(path, "must match %s, and %q does not", s.Pattern, quotable(string(text)))
	case s.Kind == Base64 && !isBase64(text):
		return refused(path, "must be base64 (RFC 4648 section 4)")
	case s.Kind == Time:
		if t, err := time.Parse(time.RFC3339, string(text)); err != nil || t.Unix() <= 0 {
			return refused(path, "must be a time such as 2026-01-31T12:00:00Z")
		}
	}
	return nil
}

// Check returns a [*Fault] unless the parameter may have a value.
func (p *Parameter) Check(value string) error {
	switch {
	case value == "":
		return refused(p.Name, "is empty; leave it out")
	case p.Schema.Kind == Integer:
		return p.Schema.checkInteger(p.Name, value)
	}
	return p.Schema.checkText(p.Name, []byte(value))
}

// CheckQuery returns a [*Fault] unless a query has only parameters that an operation has, with
// values that they may have, and all that are required.
func CheckQuery(given map[string]string, parameters []Parameter) error {
	known := 0
	for _, p := range parameters {
		value, ok := given[p.Name]
		if !ok {
			if p.Required {
				return refused(p.Name, "must be given")
			}
			continue
		}
		known++
		if err := p.Check(value); err != nil {
			return err
		}
	}
	if known == len(given) {
		return nil
	}
	var names []string
	for _, p := range parameters {
		names = append(names, p.Name)
	}
	for name := range given {
		if !slices.Contains(names, name) {
			return refused(quotable(name), "is no parameter here; %s can be given", strings.Join(names, ", "))
		}
	}
	return nil
}

// isBase64 reports whether a text is base64 in its one form: padded, without line breaks,
// and with no bits behind its last byte. It makes no copy, because the bytes may be secret.
func isBase64(text []byte) bool {
	if len(text)%4 != 0 {
		return false
	}
	bare := len(text)
	for bare > 0 && text[bare-1] == '=' && len(text)-bare < 2 {
		bare--
	}
	last := byte(0)
	for _, c := range text[:bare] {
		if last = base64Values[c]; last > 63 {
			return false
		}
	}
	unused := [...]byte{0, 1<<2 - 1, 1<<4 - 1}[len(text)-bare] // bits of the last character
	return last&unused == 0
}

// base64Values are the six bits that a character stands for, 255 for all other characters.
var base64Values = func() (values [256]byte) {
	for c := range values {
		values[c] = 255
	}
	for bits, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		values[c] = byte(bits)
	}
	return values
}()

// quoted returns names as an error lists them.
func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

// quotable returns what an error quotes of a text that a client sent.
func quotable(s string) string {
	const most = 40 // bytes
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// ProblemSchema returns what the body of a refusal is.
func ProblemSchema() *Schema { return schemaOfProblem }
