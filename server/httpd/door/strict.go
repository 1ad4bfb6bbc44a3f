package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
)

// Bounds on a request's body.
const (
	maxBody    = 1 << 20 // bytes
	firstBody  = 4 << 10 // bytes; most bodies are smaller
	maxDepth   = 8
	maxMembers = 64 // of one object, or elements of one array
)

// Decode reads exactly one JSON object into v: no unknown or doubled member, no
// other case of a name, no null, nothing behind it. A proxy, a policy check and this
// server must not read different values from one body.
func Decode(r io.Reader, v any) error {
	b, err := readBody(r)
	defer core.Retire(b) // it may hold plaintext
	if err != nil {
		return err
	}
	return DecodeBytes(b, v)
}

// readBody reads a body up to its bound. It returns what it has read with an error too,
// so that the caller can zero it. It zeroes each buffer that became too small.
func readBody(r io.Reader) ([]byte, error) {
	b := make([]byte, 0, firstBody)
	for {
		n, err := io.ReadFull(r, b[len(b):min(cap(b), maxBody+1)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return b, nil
		case err != nil:
			return b, core.Wrap(core.InvalidMessage, err, "the body cannot be read")
		case len(b) > maxBody:
			return b, errTooLarge
		}
		larger := append(make([]byte, 0, 2*cap(b)), b...)
		core.Retire(b)
		b = larger
	}
}

// Specified is a body that the specification describes.
type Specified interface{ Schema() *api.Schema }

// DecodeBytes is Decode for a body that has been read.
func DecodeBytes(b []byte, v any) error {
	if err := checkBody(b, v); err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			return core.Errorf(core.InvalidField, "%q is a %s and should be a %s", typ.Field, typ.Value, typ.Type)
		}
		return core.Wrap(core.InvalidMessage, err, "the body is no JSON of the form asked for")
	}
	return nil
}

// checkBody checks a body by the specification, or by its type if it has none.
func checkBody(b []byte, v any) error {
	if s, ok := v.(Specified); ok {
		return faultError(api.Check(b, s.Schema()))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := checkNames(d, reflect.TypeOf(v).Elem(), "", 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return core.Errorf(core.InvalidMessage, "the body goes on after its JSON object")
	}
	return nil
}

// faultError gives a fault the code that it has at this door.
func faultError(err error) error {
	fault, ok := errors.AsType[*api.Fault](err)
	switch {
	case !ok:
		return err
	case fault.Malformed:
		return core.Errorf(core.InvalidMessage, "%s", fault.Text)
	}
	return core.Errorf(core.InvalidField, "%s", fault.Text)
}

var errTooLarge = core.Errorf(core.InvalidMessage, "the body is larger than %d bytes", maxBody)

// Types of members with rules of their own.
var (
	documentType = reflect.TypeFor[json.RawMessage]() // any JSON; the verb reads it
	nullableType = reflect.TypeFor[NullableText]()
)

// checkNames checks the names of one value's members against a type. path names the value
// in errors; that of the body itself is "".
func checkNames(d *json.Decoder, t reflect.Type, path string, depth int) error {
	if t == documentType {
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return core.Wrap(core.InvalidMessage, err, "the body is no JSON")
		}
		return nil
	}
	tok, err := d.Token()
	if err != nil {
		return core.Wrap(core.InvalidMessage, err, "the body is no JSON")
	}
	delim, ok := tok.(json.Delim)
	switch {
	case depth == 0 && (!ok || delim != '{'):
		return core.Errorf(core.InvalidMessage, "the body is no JSON object")
	case tok == nil && t != nullableType:
		return core.Errorf(core.InvalidField, "%q is null; leave it out", path)
	case !ok:
		return checkText(tok)
	case depth >= maxDepth:
		return core.Errorf(core.InvalidMessage, "the body is nested more than %d deep", maxDepth)
	}
	for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice) {
		t = t.Elem()
	}
	if delim == '{' {
		err = checkMembers(d, t, path, depth)
	} else {
		err = checkElements(d, t, path, depth)
	}
	if err != nil {
		return err
	}
	if _, err = d.Token(); err != nil {
		return core.Wrap(core.InvalidMessage, err, "the body is no JSON")
	}
	return nil
}

// checkMembers checks the members of an object up to its end.
func checkMembers(d *json.Decoder, t reflect.Type, path string, depth int) error {
	seen := map[string]bool{}
	for n := 1; d.More(); n++ {
		if n > maxMembers {
			return errTooMany
		}
		key, err := d.Token()
		if err != nil {
			return core.Wrap(core.InvalidMessage, err, "the body is no JSON")
		}
		if err := checkText(key); err != nil {
			return err
		}
		name := key.(string)
		inside := strings.TrimPrefix(path+"."+Quotable(name), ".")
		if seen[name] {
			return core.Errorf(core.InvalidMessage, "%q stands twice", inside)
		}
		seen[name] = true
		inner, ok := memberType(t, name)
		if !ok {
			return core.Errorf(core.InvalidField, "%q is no member that is known here", inside)
		}
		if err := checkNames(d, inner, inside, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// checkElements checks the elements of an array up to its end.
func checkElements(d *json.Decoder, t reflect.Type, path string, depth int) error {
	for n := 0; d.More(); n++ {
		if n >= maxMembers {
			return errTooMany
		}
		if err := checkNames(d, t, fmt.Sprintf("%s[%d]", path, n), depth+1); err != nil {
			return err
		}
	}
	return nil
}

var errTooMany = core.Errorf(core.InvalidMessage, "the body has more than %d members in one object or array", maxMembers)

// NullableText is a text that null removes.
type NullableText struct {
	Given bool
	Text  string // "" for null
}

// UnmarshalJSON reads a text or null.
func (n *NullableText) UnmarshalJSON(b []byte) error {
	n.Given = true
	return json.Unmarshal(b, &n.Text)
}

// checkText refuses a text that encoding/json could not read as it was sent: it
// puts U+FFFD for bytes that are no UTF-8 and for half a surrogate pair, so that
// two different names would become one. U+FFFD itself cannot be told from them.
func checkText(tok json.Token) error {
	if s, ok := tok.(string); ok && strings.ContainsRune(s, utf8.RuneError) {
		return core.Errorf(core.InvalidMessage, "the body has text that is no valid Unicode")
	}
	return nil
}

// memberType finds a member by its exact name.
func memberType(t reflect.Type, name string) (reflect.Type, bool) {
	if t == nil {
		return nil, false
	}
	if t.Kind() == reflect.Map {
		return t.Elem(), true
	}
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if tag == name {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// Quotable returns what an error quotes of a text that a client sent.
func Quotable(s string) string {
	const most = 40 // bytes
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
