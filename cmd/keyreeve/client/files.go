package client

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/client/profile"
)

// maxInput bounds what is sent, in bytes: in base64, with the members around it, it must fit
// into the largest body.
const maxInput = (api.MaxBody - 16<<10) / 4 * 3

// input is where a command gets its bytes from.
type input struct {
	File string  `arg:"" optional:"" default:"-" help:"File; - is standard input." placeholder:"FILE"`
	Text *string `help:"This text instead of a file. Other users of the machine can see it while the command runs." placeholder:"TEXT"`
}

// read returns the bytes.
func (i *input) read() ([]byte, error) {
	if i.Text == nil {
		return readFile(i.File)
	}
	if i.File != "-" {
		return nil, errors.New("give a file or --text, not both")
	}
	return []byte(*i.Text), nil
}

// readFile reads a file that is not too large for a request; "-" is standard input.
func readFile(path string) ([]byte, error) { return readUpTo(path, maxInput) }

// openFile opens a file; "-" is standard input.
func openFile(path string) (*os.File, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	return os.Open(path)
}

// readUpTo reads a file that has at most some bytes.
func readUpTo(path string, most int) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%s has more than %d bytes, which is the most that one request takes", f.Name(), most)
	}
	return b, err
}

// writeFile writes a file that only its owner can read, whole or not at all, with what a
// function writes. It writes into a device or a pipe that is there.
func writeFile(path string, write func(io.Writer) error) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().IsRegular() {
		return profile.WritePrivateBy(path, write)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// bytesFlags say how bytes that are a result, or come beside one, are written.
type bytesFlags struct {
	As string `help:"How bytes are written: base64, hex or raw." enum:"base64,hex,raw" default:"${bytes}" placeholder:"FORM"`
}

// encode returns bytes as they are written.
func (f *bytesFlags) encode(b []byte) []byte {
	switch f.As {
	case "hex":
		return append(hex.AppendEncode(nil, b), '\n')
	case "base64":
		return append(base64.StdEncoding.AppendEncode(nil, b), '\n')
	}
	return b
}

// decode reads what encode has written.
func (f *bytesFlags) decode(path string) (out []byte, err error) {
	text, err := readFile(path)
	if err != nil || f.As == "raw" {
		return text, err
	}
	text = bytes.TrimSpace(text)
	if f.As == "hex" {
		out, err = hex.DecodeString(string(text))
	} else {
		out, err = base64.StdEncoding.Strict().DecodeString(string(text))
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not %s, or more than that; see --as", path, f.As)
	}
	return out, nil
}

// result is where a command writes bytes.
type result struct {
	bytesFlags
	Out string `help:"File for the result. Only its owner can read it." placeholder:"FILE"`
}

// write writes bytes, or the whole answer if it shall be JSON or YAML.
func (r *result) write(s *server, answer, b []byte) error {
	text, err := s.document(answer)
	if err != nil {
		return err
	}
	if text != "" {
		return write(r.Out, []byte(text))
	}
	return write(r.Out, r.encode(b))
}
