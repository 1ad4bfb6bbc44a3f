package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/client/filestream"
)

// fileMark is a name in the context of the data keys of files. No envelope of encrypt has it, so
// nobody can take bytes that are known from such an envelope for a data key, and make a file.
const fileMark = "keyreeve-file"

// contextOfFile returns the context of the data key of a file.
func (f *aadFlag) contextOfFile() map[string]string {
	pairs := map[string]string{fileMark: "1"}
	maps.Copy(pairs, f.Context)
	return pairs
}

// encryptFile encrypts an input of any size under a data key. Its first bytes were read already.
func (c *encryptCmd) encryptFile(begin []byte, rest *os.File) error {
	defer clear(begin)
	aad, err := c.aadFlag.read()
	if err != nil {
		return err
	}
	var made api.DataKeyAnswer
	defer func() { clear(made.Plaintext) }()
	length, clearToo := int32(filestream.KeyBytes), true
	if err := c.askForFile(c.Out, compute("/v1/data-keys", api.DataKeyRequest{KeyID: c.ID, Length: &length, Plaintext: &clearToo, AAD: aad, Context: c.contextOfFile()}), &made); err != nil {
		return err
	}
	header, err := filestream.Header(made.Ciphertext)
	if err != nil {
		return err
	}
	return stream(c.Out, io.MultiReader(bytes.NewReader(begin), rest), sizeOf(rest), func(w io.Writer, r io.Reader) error {
		return filestream.Encrypt(w, r, made.Plaintext, header)
	})
}

// decryptFile decrypts what encryptFile has made. It is read from r, which reads f.
func (c *decryptCmd) decryptFile(r io.Reader, f *os.File) error {
	if c.Text {
		return errors.New("--text is for envelopes; this is a larger file: write it into a file with --out, or into a pipe")
	}
	header, envelope, err := filestream.ReadHeader(r)
	if err != nil {
		return err
	}
	aad, err := c.aadFlag.read()
	if err != nil {
		return err
	}
	var opened api.DecryptAnswer
	if err := c.askForFile(c.Out, compute("/v1/decrypt", api.DecryptRequest{KeyID: &c.ID, Ciphertext: envelope, AAD: aad, Context: c.contextOfFile()}), &opened); err != nil {
		return err
	}
	key, ok := opened.Plaintext.Decode(nil)
	defer clear(key)
	if !ok {
		return errors.New("the answer of the server cannot be read: the data key is not base64")
	}
	return stream(c.Out, r, sizeOf(f), func(w io.Writer, r io.Reader) error {
		return filestream.Decrypt(w, r, key, header)
	})
}

// askForFile asks for the data key of a file, if the file can be written to out.
func (d *door) askForFile(out string, q request, answer any) error {
	s, ctx, end, err := d.connect()
	if err != nil {
		return err
	}
	defer end()
	if s.form != "table" {
		return fmt.Errorf("more than %d bytes are encrypted and decrypted as bytes, not as %s; say -o table", maxInEnvelope, s.form)
	}
	if toTerminal(out) {
		return errUnprintable
	}
	text, err := s.ask(ctx, q, answer)
	clear(text)
	return err
}

// toTerminal reports whether a result is for a terminal.
func toTerminal(out string) bool {
	return (out == "" || out == "-") && term.IsTerminal(int(os.Stdout.Fd()))
}

// sizeOf returns the size of a file, 0 if it is none that has one.
func sizeOf(f *os.File) int64 {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

// errInterrupted is why a file is not finished.
var errInterrupted = errors.New("interrupted; the result is not whole")

// stream does work that reads one file and writes another, and shows how far it is. The result
// gets its name when all of it was written. A signal ends the work, also if a pipe does not move.
func stream(out string, src io.Reader, size int64, work func(io.Writer, io.Reader) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), endingSignals()...)
	defer stop()
	shown := showProgress(os.Stderr, src, size)
	defer shown.end()
	write := func(w io.Writer) error {
		done := make(chan error, 1)
		go func() { done <- work(w, shown) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return errInterrupted
		}
	}
	if out == "" || out == "-" {
		return write(os.Stdout)
	}
	return writeFile(out, write)
}

// endingSignals are the signals that end a command.
func endingSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}
