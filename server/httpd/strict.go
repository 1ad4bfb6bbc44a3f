package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds on a request's body.
const (
	maxBody    = 1 << 20 // bytes
	maxDepth   = 8
	maxMembers = 64 // of one object, or elements of one array
)

// decode reads exactly one JSON object into v: no unknown or doubled member, no
// other case of a name, nothing behind it. A proxy, a policy check and this
// server must not read different values from one body.
func decode(r io.Reader, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	defer core.Retire(b) // it may hold plaintext
	if err != nil {
		return core.Wrap(core.InvalidMessage, err, "the body cannot be read")
	}
	if len(b) > maxBody {
		return errTooLarge
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := checkNames(d, reflect.TypeOf(v).Elem(), 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return core.Errorf(core.InvalidMessage, "the body goes on after its JSON object")
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

var errTooLarge = core.Errorf(core.InvalidMessage, "the body is larger than %d bytes", maxBody)

// checkNames checks the names of one value's members against a type.
func checkNames(d *json.Decoder, t reflect.Type, depth int) error {
	tok, err := d.Token()
	if err != nil {
		return core.Wrap(core.InvalidMessage, err, "the body is no JSON")
	}
	delim, ok := tok.(json.Delim)
	if depth == 0 && (!ok || delim != '{') {
		return core.Errorf(core.InvalidMessage, "the body is no JSON object")
	}
	if !ok {
		return checkText(tok)
	}
	if depth >= maxDepth {
		return core.Errorf(core.InvalidMessage, "the body is nested more than %d deep", maxDepth)
	}
	for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice) {
		t = t.Elem()
	}
	seen := map[string]bool{}
	for n := 1; d.More(); n++ {
		if n > maxMembers {
			return core.Errorf(core.InvalidMessage, "the body has more than %d members in one object or array", maxMembers)
		}
		var inner reflect.Type
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return core.Wrap(core.InvalidMessage, err, "the body is no JSON")
			}
			if err := checkText(key); err != nil {
				return err
			}
			name := key.(string)
			if seen[name] {
				return core.Errorf(core.InvalidMessage, "%q stands twice", quotable(name))
			}
			seen[name] = true
			if inner, ok = memberType(t, name); !ok {
				return core.Errorf(core.InvalidField, "%q is no member that is known here", quotable(name))
			}
		} else {
			inner = t
		}
		if err := checkNames(d, inner, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	if err != nil {
		return core.Wrap(core.InvalidMessage, err, "the body is no JSON")
	}
	return nil
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

// quotable returns what an error quotes of a text that a client sent.
func quotable(s string) string {
	const most = 40 // bytes
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
