// Package filestream encrypts and decrypts files of any size under a data key.
//
// A file is a header, which has the data key in an envelope of the server, and a stream: that of
// Tink's AES256_GCM_HKDF_1MB, with the header as associated data. docs/files.md describes every
// byte. The package holds a few segments in memory, whatever the size of the file. It releases a
// segment only after its tag was verified. It asks no server: the caller gets the data key and
// the envelope. Start at [Encrypt] and [Decrypt].
package filestream

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// KeyBytes is the size of a data key.
const KeyBytes = 32

// MaxEnvelopeBytes bounds the envelope of the data key. Those of the server have at most 198 bytes.
const MaxEnvelopeBytes = 1024

// Sizes of the parts of a stream, in bytes.
const (
	saltBytes    = 32
	prefixBytes  = 7 // of a nonce; the number of the segment and the mark of the last one follow
	startBytes   = 1 + saltBytes + prefixBytes
	tagBytes     = 16
	segmentBytes = 1 << 20 // of a segment with its tag; the start of the stream counts to the first one
)

// magic begins every file: three letters and the number of the format.
const magic = "krf\x01"

// MagicBytes is how many bytes [IsFile] needs.
const MagicBytes = len(magic)

// IsFile reports whether something that begins with some bytes is a file of this package, of any
// format.
func IsFile(begin []byte) bool { return bytes.HasPrefix(begin, []byte(magic[:3])) }

// ErrCutOff is why a file is not decrypted whose end is missing.
var ErrCutOff = errors.New("the file is cut off: its last segment is missing")

// errEnvelopeSize is why a header is neither written nor read.
var errEnvelopeSize = fmt.Errorf("the envelope of the data key must have 1 to %d bytes", MaxEnvelopeBytes)

// Header returns the header of a file whose data key is in an envelope.
func Header(envelope []byte) ([]byte, error) {
	if len(envelope) == 0 || len(envelope) > MaxEnvelopeBytes {
		return nil, errEnvelopeSize
	}
	return append(binary.BigEndian.AppendUint16([]byte(magic), uint16(len(envelope))), envelope...), nil
}

// ReadHeader reads the header of a file, and returns it with the envelope in it.
func ReadHeader(src io.Reader) (header, envelope []byte, err error) {
	header = make([]byte, len(magic)+2, len(magic)+2+MaxEnvelopeBytes)
	if _, err := io.ReadFull(src, header); err != nil {
		return nil, nil, cutOff(err)
	}
	if !IsFile(header) {
		return nil, nil, errors.New("this is not a file that keyreeve has encrypted")
	}
	if header[3] != magic[3] {
		return nil, nil, fmt.Errorf("the file has format %d; this program knows format %d alone", header[3], magic[3])
	}
	n := int(binary.BigEndian.Uint16(header[len(magic):]))
	if n == 0 || n > MaxEnvelopeBytes {
		return nil, nil, errEnvelopeSize
	}
	header = header[:len(header)+n]
	envelope = header[len(magic)+2:]
	if _, err := io.ReadFull(src, envelope); err != nil {
		return nil, nil, cutOff(err)
	}
	return header, envelope, nil
}

// cutOff returns the error for bytes that are missing.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCutOff
	}
	return err
}

// Encrypt writes a file to dst: the header, then the bytes of src encrypted under the data key.
// If it fails, a read of src can still be under way.
func Encrypt(dst io.Writer, src io.Reader, key, header []byte) error {
	start := make([]byte, startBytes)
	start[0] = startBytes
	if _, err := rand.Read(start[1:]); err != nil {
		return err
	}
	return encrypt(dst, src, key, header, start, segmentBytes)
}

// encrypt is Encrypt with what is random given, and with segments of any size.
func encrypt(dst io.Writer, src io.Reader, key, header, start []byte, segmentBytes int) error {
	s, err := newStream(key, header, start, segmentBytes)
	if err != nil {
		return err
	}
	if _, err := dst.Write(append(bytes.Clone(header), start...)); err != nil {
		return err
	}
	return s.run(dst, src, segmentBytes-tagBytes, func(g *segment) error {
		g.bytes = s.aead.Seal(g.bytes[:0], s.nonce(g.number, g.last), g.bytes, nil)
		return nil
	})
}

// Decrypt writes the bytes of a file to dst, each segment after its tag was verified. src is the
// file behind its header. Nobody may rely on what was written unless Decrypt returns nil: only
// then it was the whole file. If it fails, a read of src can still be under way.
func Decrypt(dst io.Writer, src io.Reader, key, header []byte) error {
	return decrypt(dst, src, key, header, segmentBytes)
}

// decrypt is Decrypt with segments of any size.
func decrypt(dst io.Writer, src io.Reader, key, header []byte, segmentBytes int) error {
	start := make([]byte, startBytes)
	if _, err := io.ReadFull(src, start); err != nil {
		return cutOff(err)
	}
	s, err := newStream(key, header, start, segmentBytes)
	if err != nil {
		return err
	}
	return s.run(dst, src, segmentBytes, func(g *segment) (err error) {
		var sealed []byte // Open clears the segment if it fails
		if g.last {
			sealed = bytes.Clone(g.bytes)
		}
		if g.bytes, err = s.aead.Open(g.bytes[:0], s.nonce(g.number, g.last), g.bytes, nil); err == nil {
			return nil
		}
		if !g.last {
			return fmt.Errorf("segment %d of the file was changed, or the file ended there and bytes follow", g.number)
		}
		if _, err := s.aead.Open(sealed[:0], s.nonce(g.number, false), sealed, nil); err == nil || len(sealed) < tagBytes {
			return ErrCutOff
		}
		return fmt.Errorf("segment %d of the file was changed, or its end is missing", g.number)
	})
}

// stream is what encrypts or decrypts the segments of one file.
type stream struct {
	aead   cipher.AEAD
	prefix []byte // of nonces
}

// newStream returns the stream with a start: the length of the start, salt, prefix of nonces.
func newStream(key, header, start []byte, segmentBytes int) (*stream, error) {
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("a data key of a file has %d bytes, not %d", KeyBytes, len(key))
	}
	if start[0] != startBytes {
		return nil, fmt.Errorf("the stream of the file begins with %d and not with %d: it was changed", start[0], startBytes)
	}
	derived, err := hkdf.Key(sha256.New, key, start[1:1+saltBytes], string(header), KeyBytes)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &stream{aead, start[1+saltBytes:]}, err
}

// nonce returns the nonce of a segment.
func (s *stream) nonce(number uint32, last bool) []byte {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, 12), s.prefix...), number)
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

// segment is a part of a file.
type segment struct {
	bytes  []byte // before its work is done those that were read, then those to write
	number uint32
	last   bool
	done   chan error // has the result of the work
}

// held is how many segments are in memory: one is read, one is written, and each of two
// processors works on one.
const held = 4

// run cuts src into segments of some bytes, does the work on each, and writes them to dst in
// order. The first segment is shorter: the start of the stream stands in its place. Segments are
// read, worked on and written at the same time.
func (s *stream) run(dst io.Writer, src io.Reader, size int, work func(*segment) error) error {
	free, begun := make(chan *segment, held), make(chan *segment, held)
	for range held {
		free <- &segment{bytes: make([]byte, size+tagBytes+1), done: make(chan error, 1)}
	}
	var readErr error // set before begun is closed
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(begun)
		readErr = cut(src, size, free, stop, func(g *segment) {
			begun <- g
			go func() { g.done <- work(g) }()
		})
	}()
	for g := range begun {
		if err := <-g.done; err != nil {
			return err
		}
		if _, err := dst.Write(g.bytes); err != nil {
			return err
		}
		clear(g.bytes)
		free <- g
	}
	return readErr
}

// errTooLarge is why a file is not read further.
var errTooLarge = errors.New("the file has more than 2^32 - 1 segments of 1 MiB")

// cut reads src and calls begin for each segment. A segment is the last one if nothing follows
// it, so the first byte of the next one is read with it.
func cut(src io.Reader, size int, free <-chan *segment, stop <-chan struct{}, begin func(*segment)) error {
	next := make([]byte, 0, 1) // the first byte of the next segment
	want := size - startBytes
	for number := uint32(0); number < math.MaxUint32; number++ {
		var g *segment
		select {
		case g = <-free:
		case <-stop:
			return nil
		}
		g.bytes = append(g.bytes[:0], next...)
		n, err := io.ReadFull(src, g.bytes[len(next):want+1])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		g.bytes, g.number, g.last = g.bytes[:len(next)+n], number, err != nil
		if g.last {
			begin(g)
			return nil
		}
		next = append(next[:0], g.bytes[want])
		g.bytes = g.bytes[:want]
		begin(g)
		want = size
	}
	return errTooLarge
}
