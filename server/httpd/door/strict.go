package door

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
)

const (
	maxBody   = api.MaxBody
	firstBody = 4 << 10 // bytes; most bodies are smaller
)

// Specified is a body that the specification describes.
type Specified interface{ Schema() *api.Schema }

// Decode reads exactly one JSON object into v, if it is as the specification says: see
// [api.Check].
func Decode(r io.Reader, v Specified) error {
	b, err := readBody(r)
	defer retireBody(b)
	if err != nil {
		return err
	}
	return DecodeBytes(b, v)
}

// bodyBuffers are buffers of firstBody bytes, zeroed.
var bodyBuffers = sync.Pool{New: func() any { return new([firstBody]byte) }}

// retireBody zeroes a body, which may hold plaintext. Its buffer is used again if it is of the
// usual size.
func retireBody(b []byte) {
	if core.Retire(b[:cap(b)]) && cap(b) == firstBody {
		bodyBuffers.Put((*[firstBody]byte)(b[:firstBody]))
	}
}

// readBody reads a body up to its bound. It returns what it has read with an error too,
// so that the caller can retire it. It zeroes each buffer that became too small.
func readBody(r io.Reader) ([]byte, error) {
	b := bodyBuffers.Get().(*[firstBody]byte)[:0]
	for {
		n, err := io.ReadFull(r, b[len(b):min(cap(b), maxBody+1)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return b, nil
		case err != nil:
			if bound, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return b, core.Wrap(core.InvalidMessage, errTooLarge, "the body is larger than %d bytes", bound.Limit)
			}
			return b, core.Wrap(core.InvalidMessage, err, "the body cannot be read")
		case len(b) > maxBody:
			return b, errTooLarge
		}
		larger := append(make([]byte, 0, 2*cap(b)), b...)
		retireBody(b)
		b = larger
	}
}

// DecodeBytes is Decode for a body that has been read.
func DecodeBytes(b []byte, v Specified) error { return DecodeBytesAs(b, v, v.Schema()) }

// DecodeBytesAs is DecodeBytes with another schema than that of v. Members that v lacks are
// checked and not read.
func DecodeBytesAs(b []byte, v any, s *api.Schema) error {
	if err := api.Check(b, s); err != nil {
		return faultError(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return core.Wrap(core.InvalidMessage, err, "the body is no JSON of the form asked for")
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

// Quotable returns what an error quotes of a text that a client sent.
func Quotable(s string) string {
	const most = 40 // bytes
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
