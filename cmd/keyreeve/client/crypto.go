package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/client/filestream"
)

// aadFlag names what is authenticated with the data and not in the envelope.
type aadFlag struct {
	Context map[string]string `help:"Name and value that are authenticated and not encrypted; repeat it for several. decrypt needs the same." placeholder:"NAME=VALUE" mapsep:"none"`
	AAD     string            `name:"aad" help:"File with additional data that is authenticated and not encrypted. decrypt needs the same." placeholder:"FILE"`
}

func (f *aadFlag) read() ([]byte, error) {
	if _, used := f.Context[fileMark]; used {
		return nil, fmt.Errorf("--context %s is set by encrypt itself, for the data keys of files", fileMark)
	}
	if f.AAD == "" {
		return nil, nil
	}
	return readFile(f.AAD)
}

// utf8 is the encoding of a text that is sent or answered as it is.
func utf8(text bool) *string {
	if !text {
		return nil
	}
	return given(api.EncodingUTF8)
}

// encoded returns bytes as a member of a body.
func encoded(b []byte) api.Encoded {
	out, _ := api.Encode(b, nil)
	return out
}

type encryptCmd struct {
	door
	ID string `arg:"" name:"key" help:"Unique Identifier of the key." placeholder:"KEY"`
	input
	aadFlag
	Out string `help:"File for the envelope. Only its owner can read it." placeholder:"FILE"`
}

// maxInEnvelope is up to how many bytes become an envelope. More becomes a file.
const maxInEnvelope = 64 << 10

// Run encrypts. It reads before it connects, so that a slow input does not use up the time for
// the requests.
func (c *encryptCmd) Run() error {
	var plaintext []byte
	if c.Text != nil {
		text, err := c.input.read()
		if err != nil {
			return err
		}
		plaintext = text
	} else {
		f, err := openFile(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		if plaintext, err = io.ReadAll(io.LimitReader(f, maxInEnvelope+1)); err != nil {
			return err
		}
		if len(plaintext) > maxInEnvelope {
			return c.encryptFile(plaintext, f)
		}
	}
	defer clear(plaintext)
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	aad, err := c.aadFlag.read()
	if err != nil {
		return err
	}
	in := api.EncryptRequest{KeyID: c.ID, Plaintext: encoded(plaintext), AAD: aad, Context: c.Context}
	defer clear(in.Plaintext)
	var out api.EncryptAnswer
	answer, err := s.ask(ctx, compute("/v1/encrypt", in), &out)
	if err != nil {
		return err
	}
	return (&result{bytesFlags{"raw"}, c.Out}).write(s, answer, out.Ciphertext)
}

type decryptCmd struct {
	door
	ID   string `arg:"" name:"key" help:"Unique Identifier of the key. It is named here, so that nobody can pass off an envelope under a key of their own." placeholder:"KEY"`
	File string `arg:"" optional:"" default:"-" help:"Envelope; - is standard input." placeholder:"FILE"`
	aadFlag
	Text bool   `help:"The plaintext is a text: fail if it is not UTF-8, and end it with a line break."`
	Out  string `help:"File for the plaintext. Only its owner can read it." placeholder:"FILE"`
}

// Run decrypts.
func (c *decryptCmd) Run() error {
	f, err := openFile(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if begin, _ := in.Peek(filestream.MagicBytes); filestream.IsFile(begin) {
		return c.decryptFile(in, f)
	}
	envelope, err := io.ReadAll(io.LimitReader(in, maxEnvelope+1))
	if err != nil {
		return err
	}
	if len(envelope) > maxEnvelope {
		return fmt.Errorf("%s is no file that keyreeve has encrypted, and too large for an envelope", f.Name())
	}
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	aad, err := c.aadFlag.read()
	if err != nil {
		return err
	}
	var out api.DecryptAnswer
	answer, err := s.ask(ctx, compute("/v1/decrypt", api.DecryptRequest{KeyID: &c.ID, Ciphertext: envelope, AAD: aad, Context: c.Context, Encoding: utf8(c.Text)}), &out)
	defer clear(answer)
	if err != nil {
		return err
	}
	plaintext, ok := out.Plaintext.Decode(utf8(c.Text))
	defer clear(plaintext)
	if !ok {
		return errors.New("the answer of the server cannot be read: the plaintext is not base64")
	}
	if c.Text && !bytes.HasSuffix(plaintext, []byte("\n")) {
		plaintext = append(plaintext, '\n')
	}
	return (&result{bytesFlags{"raw"}, c.Out}).write(s, answer, plaintext)
}

// maxEnvelope bounds an envelope, in bytes: the server takes no more.
const maxEnvelope = api.MaxBody

// signed is a message that is signed, or whose signature is verified.
type signed struct {
	door
	ID string `arg:"" name:"key" help:"Unique Identifier of the key." placeholder:"KEY"`
	input
	Digest    bool   `help:"The file is not the message, but the bytes of its digest. That is the way for messages that are too large for one request."`
	Algorithm string `help:"Such as RSA-PSS-SHA-256, RSA-PKCS1-SHA-256, ECDSA-SHA-256 or Ed25519. Left out, it is that of the key." placeholder:"NAME"`
}

// message returns the members of a body: a message or a digest. An empty message is a message.
func (c *signed) message() (message *api.Encoded, digest []byte, err error) {
	b, err := c.input.read()
	if err != nil || c.Digest {
		return nil, b, err
	}
	text := encoded(b)
	return &text, nil, nil
}

type signCmd struct {
	signed
	result
}

// Run signs.
func (c *signCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	message, digest, err := c.message()
	if err != nil {
		return err
	}
	in := struct {
		api.SignRequest
		Message *api.Encoded `json:"message,omitempty"` // that of SignRequest cannot be empty
	}{api.SignRequest{KeyID: c.ID, Digest: digest, Algorithm: given(c.Algorithm)}, message}
	var out api.SignAnswer
	answer, err := s.ask(ctx, compute("/v1/sign", in), &out)
	if err != nil {
		return err
	}
	return c.result.write(s, answer, out.Signature)
}

type verifyCmd struct {
	signed
	bytesFlags
	Signature string `help:"File with the signature." required:"" placeholder:"FILE"`
}

// Run verifies.
func (c *verifyCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	signature, err := c.decode(c.Signature)
	if err != nil {
		return err
	}
	message, digest, err := c.message()
	if err != nil {
		return err
	}
	return s.verify(ctx, compute("/v1/verify", struct {
		api.VerifyRequest
		Message *api.Encoded `json:"message,omitempty"`
	}{api.VerifyRequest{KeyID: c.ID, Digest: digest, Signature: signature, Algorithm: given(c.Algorithm)}, message}), "signature")
}

// verify asks whether something is valid, and prints the answer.
func (s *server) verify(ctx context.Context, q request, what string) error {
	var out api.VerifyAnswer
	answer, err := s.ask(ctx, q, &out)
	if err != nil {
		return err
	}
	if err := s.show(answer, func() (string, error) { return map[bool]string{true: "valid\n", false: "invalid\n"}[out.Valid], nil }); err != nil {
		return err
	}
	if !out.Valid {
		return notValid(what)
	}
	return nil
}

type macCmd struct {
	door
	ID string `arg:"" name:"key" help:"Unique Identifier of the key." placeholder:"KEY"`
	input
	result
	Algorithm string `help:"Such as HMAC-SHA256 or CMAC. Left out, it is that of the key." placeholder:"NAME"`
	Verify    string `help:"File with the MAC to verify. Exits with 0 if it is valid, and with 2 if it is not." placeholder:"FILE"`
}

// Run makes the MAC, or verifies it.
func (c *macCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	data, err := c.input.read()
	if err != nil {
		return err
	}
	if c.Verify != "" {
		mac, err := c.decode(c.Verify)
		if err != nil {
			return err
		}
		return s.verify(ctx, compute("/v1/mac/verify", api.MACVerifyRequest{KeyID: c.ID, Data: encoded(data), MAC: mac, Algorithm: given(c.Algorithm)}), "MAC")
	}
	var out api.MACAnswer
	answer, err := s.ask(ctx, compute("/v1/mac", api.MACRequest{KeyID: c.ID, Data: encoded(data), Algorithm: given(c.Algorithm)}), &out)
	if err != nil {
		return err
	}
	return c.result.write(s, answer, out.MAC)
}

type hashCmd struct {
	door
	input
	result
	Algorithm string `help:"Such as SHA-256, SHA-512 or SHA3-256." default:"SHA-256" placeholder:"NAME"`
}

// Run hashes.
func (c *hashCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	data, err := c.input.read()
	if err != nil {
		return err
	}
	var out api.HashAnswer
	answer, err := s.ask(ctx, compute("/v1/hash", api.HashRequest{Algorithm: c.Algorithm, Data: encoded(data)}), &out)
	if err != nil {
		return err
	}
	return c.result.write(s, answer, out.Digest)
}

type randomCmd struct {
	door
	result
	Bytes int `arg:"" help:"How many bytes, from 1 to 65536." placeholder:"BYTES"`
}

// Run gets the bytes.
func (c *randomCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	var out api.RandomAnswer
	answer, err := s.ask(ctx, get("/v1/random?"+url.Values{"bytes": {strconv.Itoa(c.Bytes)}}.Encode()), &out)
	if err != nil {
		return err
	}
	return c.result.write(s, answer, out.Random)
}
