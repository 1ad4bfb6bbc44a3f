package client

import (
	"errors"

	"github.com/keyreeve/keyreeve/api"
)

type dataKeyCmd struct {
	door
	ID string `arg:"" name:"key" help:"Unique Identifier of the key that protects the data key." placeholder:"KEY"`
	aadFlag
	Length *int32 `help:"Length of the data key in bytes, 16 to 1024. Left out, it is 32." placeholder:"BYTES"`
	Out    string `help:"File for the envelope of the data key. Only its owner can read it." placeholder:"FILE"`
	Clear  string `help:"File or pipe for the data key in clear. Only its owner can read it. Left out, the server does not tell it." placeholder:"FILE"`
}

// Run makes the data key.
func (c *dataKeyCmd) Run() error {
	if (c.Out == "" || c.Out == "-") && c.Clear == "-" {
		return errors.New("the envelope and the data key in clear cannot both go to standard output; see --out")
	}
	aad, err := c.aadFlag.read()
	if err != nil {
		return err
	}
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	in := api.DataKeyRequest{KeyID: c.ID, Length: c.Length, AAD: aad, Context: c.Context}
	if c.Clear != "" {
		if s.form != "table" {
			return errors.New("--clear writes bytes, not " + s.form + "; say -o table")
		}
		yes := true
		in.Plaintext = &yes
	}
	var out api.DataKeyAnswer
	answer, err := s.ask(ctx, compute("/v1/data-keys", in), &out)
	defer clear(answer)
	defer func() { clear(out.Plaintext) }()
	if err != nil {
		return err
	}
	// The envelope comes first: what is encrypted under a data key without an envelope is lost.
	if err := (&result{bytesFlags{"raw"}, c.Out}).write(s, answer, out.Ciphertext); err != nil || c.Clear == "" {
		return err
	}
	return write(c.Clear, out.Plaintext)
}
