// Package pemfile reads PEM files completely, or fails.
//
// encoding/pem skips everything that it cannot read. A truncated list of authorities or
// of revoked certificates would silently become a shorter list. Here each line of a file
// must be part of a whole block, be empty, or begin with '#'. Otherwise the error names
// the file and the line.
// Start at [Read].
package pemfile

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"slices"
)

// Bounds of a file.
const (
	maxBytes  = 64 << 20
	maxBlocks = 10_000
)

// Block is one PEM block. Its Bytes are exactly one DER value.
type Block struct {
	Type  string
	Bytes []byte
	Line  int // of its BEGIN line, from 1
}

// Read returns the blocks of a file, at least one, all of the given types.
// The file must be a regular file of at most [maxBytes].
func Read(path string, types ...string) ([]Block, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(text) // it may be a private key
	blocks, err := Parse(text, types...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return blocks, nil
}

// One returns the only block of a file.
func One(path string, types ...string) (Block, error) {
	blocks, err := Read(path, types...)
	if err != nil {
		return Block{}, err
	}
	if len(blocks) > 1 {
		return Block{}, fmt.Errorf("%s: line %d: a second PEM block; the file may have only one", path, blocks[1].Line)
	}
	return blocks[0], nil
}

// Certificates returns the certificates of a file, at least one, without duplicates.
func Certificates(path string) ([]*x509.Certificate, error) {
	blocks, err := Read(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	all := make([]*x509.Certificate, 0, len(blocks))
	for _, b := range blocks {
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: the certificate cannot be read: %w", path, b.Line, err)
		}
		if !slices.ContainsFunc(all, c.Equal) {
			all = append(all, c)
		}
	}
	return all, nil
}

// readFile checks what the file is before it opens it: to open a pipe would block.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxBytes {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxBytes)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(text) > maxBytes {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxBytes)
	}
	return text, err
}

// Parse returns the blocks of a text, as [Read] does.
func Parse(text []byte, types ...string) ([]Block, error) {
	p := parser{rest: bytes.TrimPrefix(text, []byte("\ufeff"))}
	var blocks []Block
	for p.nextLine() {
		if len(p.text) == 0 || p.text[0] == '#' {
			continue
		}
		typ, ok := marker(p.text, "-----BEGIN ")
		if !ok {
			return nil, fmt.Errorf("line %d: text outside of a PEM block; only empty lines and lines that begin with '#' are allowed there", p.line)
		}
		if !slices.Contains(types, typ) {
			return nil, fmt.Errorf("line %d: a PEM block of type %q; this file may have only %q", p.line, shortened(typ), types)
		}
		if len(blocks) == maxBlocks {
			return nil, fmt.Errorf("line %d: more than %d PEM blocks", p.line, maxBlocks)
		}
		b, err := p.readBlock(typ)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("it has no PEM block; it must have %q", types)
	}
	return blocks, nil
}

// parser reads a text line by line.
type parser struct {
	rest []byte
	text []byte // the current line, without white space around it
	line int
}

func (p *parser) nextLine() bool {
	if len(p.rest) == 0 {
		return false
	}
	var line []byte
	line, p.rest, _ = bytes.Cut(p.rest, []byte("\n"))
	p.text = bytes.TrimSpace(line)
	p.line++
	return true
}

// readBlock reads the block of the current BEGIN line, up to its END line.
func (p *parser) readBlock(typ string) (Block, error) {
	b := Block{Type: typ, Line: p.line}
	var encoded []byte
	defer func() { clear(encoded) }()
	for p.nextLine() {
		end, isEnd := marker(p.text, "-----END ")
		switch {
		case isEnd && end == typ:
			return b, b.decode(encoded)
		case isEnd || bytes.HasPrefix(p.text, []byte("-----")):
			return b, fmt.Errorf("line %d: the PEM block that begins at line %d has no END line; the file is truncated or damaged", p.line, b.Line)
		case bytes.IndexByte(p.text, ':') >= 0:
			return b, fmt.Errorf("line %d: a PEM header; keys must not be encrypted, and other blocks have no headers", p.line)
		}
		if grown := len(encoded) + len(p.text); grown > cap(encoded) {
			larger := make([]byte, len(encoded), 2*grown)
			copy(larger, encoded)
			clear(encoded)
			encoded = larger
		}
		encoded = append(encoded, p.text...)
	}
	return b, fmt.Errorf("line %d: the PEM block that begins here has no END line; the file is truncated", b.Line)
}

func (b *Block) decode(encoded []byte) error {
	b.Bytes = make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := base64.StdEncoding.Strict().Decode(b.Bytes, encoded)
	if err != nil {
		return fmt.Errorf("line %d: the PEM block that begins here is damaged: %w", b.Line, err)
	}
	b.Bytes = b.Bytes[:n]
	var whole asn1.RawValue
	if rest, err := asn1.Unmarshal(b.Bytes, &whole); err != nil || len(rest) > 0 {
		return fmt.Errorf("line %d: the PEM block that begins here is not exactly one DER value", b.Line)
	}
	return nil
}

// marker returns the type that a BEGIN or END line names.
func marker(line []byte, begin string) (string, bool) {
	typ, ok := bytes.CutPrefix(line, []byte(begin))
	if !ok {
		return "", false
	}
	typ, ok = bytes.CutSuffix(typ, []byte("-----"))
	return string(typ), ok
}

// shortened returns the beginning of a text for an error.
func shortened(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
