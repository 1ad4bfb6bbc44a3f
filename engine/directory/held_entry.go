package directory

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"
	"sync/atomic"
	"unique"
	"weak"

	"github.com/keyreeve/keyreeve/core"
)

// heldEntry is an entry in memory. Only swept is ever changed.
type heldEntry struct {
	entry   core.DirectoryEntry // without its body if packed is set
	packed  []byte              // the compressed body; nil: entry has the body
	length  int                 // of the body, in bytes
	refusal error               // why the entry is refused; nil: it is not
	waits   *policySwitch       // of a key policy that was stored before it is in force; nil: it is in force
	whole   atomic.Pointer[weak.Pointer[core.DirectoryEntry]]
	swept   uint32 // the last comparison with the table that found its row; guarded by Directory.writing
}

// packAbove is the length, in bytes, above which bodies are compressed in memory.
const packAbove = 256

// holdEntry prepares an entry for a long life: what many entries share is kept once, and
// large bodies are compressed.
func holdEntry(e *core.DirectoryEntry) *heldEntry {
	h := &heldEntry{entry: *e, length: len(e.Body), waits: switchOf(e)}
	for _, s := range []*string{&h.entry.Tenant, (*string)(&h.entry.Kind), &h.entry.Author, &h.entry.Reason} {
		*s = unique.Make(*s).Value()
	}
	if len(e.Body) > packAbove {
		h.packed, h.entry.Body = packBody(e.Body), nil
	}
	return h
}

// withRefusal returns the same entry with a refusal.
func (h *heldEntry) withRefusal(why error) *heldEntry {
	return &heldEntry{entry: h.entry, packed: h.packed, length: h.length, refusal: why, waits: h.waits, swept: h.swept}
}

// wholeEntry returns the entry with its body. A body that was unpacked stays as long as
// somebody uses it, and then until the next collection of garbage.
func (h *heldEntry) wholeEntry() (*core.DirectoryEntry, error) {
	if h.packed == nil {
		return &h.entry, nil
	}
	if w := h.whole.Load(); w != nil {
		if e := w.Value(); e != nil {
			return e, nil
		}
	}
	e := h.entry
	var err error
	if e.Body, err = unpackBody(h.packed, h.length); err != nil {
		return nil, err
	}
	h.whole.Store(new(weak.Make(&e)))
	return &e, nil
}

var packers = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(io.Discard, flate.BestSpeed) // fails only for levels that do not exist
	return w
}}

// packBody compresses a body: a policy of 700 bytes to a half.
func packBody(body []byte) []byte {
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	w.Write(body) // a buffer takes everything
	w.Close()
	return bytes.Clone(b.Bytes())
}

var unpackers = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}

// unpackBody returns the body, which has length bytes.
func unpackBody(packed []byte, length int) ([]byte, error) {
	r := unpackers.Get().(io.ReadCloser)
	defer unpackers.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(packed), nil); err != nil {
		return nil, core.Wrap(core.Internal, err, "a body of the directory cannot be unpacked")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, core.Wrap(core.Internal, err, "a body of the directory cannot be unpacked")
	}
	return body, nil
}
