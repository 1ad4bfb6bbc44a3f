package client

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/keyreeve/keyreeve/api"
)

type importJobCmd struct {
	Create importJobCreateCmd `cmd:"" help:"Make a transport key in the HSM, under which one key can be imported within a day."`
	Show   importJobShowCmd   `cmd:"" help:"Show an import job of your own."`
	Delete importJobDeleteCmd `cmd:"" help:"End an import job of your own."`
}

// jobPath returns the path of an import job.
func jobPath(id string) string { return "/v1/import-jobs/" + url.PathEscape(id) }

// jobFlags are those of commands whose answer is an import job.
type jobFlags struct {
	door
	Quiet bool   `short:"q" help:"Print the identifier of the job alone."`
	Out   string `help:"File for the transport key, as PEM. Only its owner can read it." placeholder:"FILE"`
}

// onJob sends a request whose answer is an import job, and prints it.
func (f *jobFlags) onJob(q request) error {
	s, ctx, end, err := f.connect()
	if err != nil {
		return err
	}
	defer end()
	var job api.ImportJob
	answer, err := s.ask(ctx, q, &job)
	if err != nil {
		return err
	}
	if f.Out != "" {
		if err := write(f.Out, []byte(job.PublicKey)); err != nil {
			return err
		}
	}
	if f.Quiet {
		return printIDs(job.JobID)
	}
	return s.show(answer, func() (string, error) {
		return table([][]string{{"jobId", job.JobID}, {"algorithm", job.Algorithm}, {"length", strconv.Itoa(int(job.Length))}, {"expiresAt", job.ExpiresAt}}), nil
	})
}

type importJobCreateCmd struct {
	jobFlags
	Algorithm string `help:"How the key will be wrapped: rsa-oaep-sha256 or -sha1 (a symmetric key, directly), rsa-aes-kwp-sha256 or -sha1 (any key, under an AES key that is wrapped)." enum:"rsa-oaep-sha256,rsa-oaep-sha1,rsa-aes-kwp-sha256,rsa-aes-kwp-sha1" default:"rsa-aes-kwp-sha256" placeholder:"NAME"`
	Length    *int32 `help:"Length of the transport key in bits, 3072 or 4096. Left out, it is 3072." placeholder:"BITS"`
}

// Run makes the job.
func (c *importJobCreateCmd) Run() error {
	return c.onJob(post("/v1/import-jobs", api.NewImportJob{Algorithm: c.Algorithm, Length: c.Length}))
}

type importJobShowCmd struct {
	jobFlags
	ID string `arg:"" name:"job" help:"Identifier of the job." placeholder:"JOB"`
}

// Run shows the job.
func (c *importJobShowCmd) Run() error { return c.onJob(get(jobPath(c.ID))) }

type importJobDeleteCmd struct {
	door
	ID string `arg:"" name:"job" help:"Identifier of the job." placeholder:"JOB"`
}

// Run ends the job.
func (c *importJobDeleteCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	_, err = s.ask(ctx, request{"DELETE", jobPath(c.ID), nil, false}, nil)
	return err
}

type keyImportCmd struct {
	door
	idFlag
	File      string `arg:"" optional:"" default:"-" help:"File with the bytes of the key, wrapped or in clear; - is standard input. A private key in clear is PKCS#8 and a public key SubjectPublicKeyInfo, as DER or PEM." placeholder:"FILE"`
	Type      string `help:"symmetric, private or public (one half of a pair), or secret (bytes that are no key)." enum:"symmetric,private,public,secret" default:"symmetric"`
	Job       string `help:"Import job under whose transport key the key is wrapped." placeholder:"JOB"`
	WrappedBy string `help:"Key of the server under which the key is wrapped; of a pair, either half." placeholder:"KEY"`
	Wrapping  string `help:"How it is wrapped by that key: aes-kw, aes-kwp, rsa-oaep-sha256 or rsa-oaep-sha1. Left out, it is as that key says, or aes-kw." enum:"aes-kw,aes-kwp,rsa-oaep-sha256,rsa-oaep-sha1," default:"" placeholder:"NAME"`
	keyFlags
}

// Run imports the key. Without a job and a wrapping key, it is sent in clear.
func (c *keyImportCmd) Run() error {
	b, err := readFile(c.File)
	defer clear(b)
	if err != nil {
		return err
	}
	n := c.newKey(c.Type)
	in := api.ImportedKey{Type: n.Type, Algorithm: n.Algorithm, Length: n.Length, Curve: n.Curve, Usage: n.Usage, Name: n.Name, Group: n.Group, Tags: n.Tags, Description: n.Description, Attributes: n.Attributes,
		ObjectGroups: n.ObjectGroups, ExpiresAt: n.ExpiresAt, Custody: n.Custody, Sensitive: n.Sensitive, Extractable: n.Extractable, Activate: n.Activate, JobID: given(c.Job), WrappingKeyID: given(c.WrappedBy), Wrapping: given(c.Wrapping)}
	if c.Job != "" || c.WrappedBy != "" {
		in.WrappedKey = b
	} else if in.KeyMaterial, err = derOf(c.Type, b); err != nil {
		return err
	}
	defer clear(in.KeyMaterial)
	return c.onKey(post("/v1/keys/import", in), c.Quiet)
}

// derOf returns the bytes of a key in clear: those in a PEM block, if it is one half of a pair.
func derOf(kind string, b []byte) ([]byte, error) {
	want := map[string]string{"private": "PRIVATE KEY", "public": "PUBLIC KEY"}[kind]
	if want == "" || !bytes.HasPrefix(b, []byte("-----BEGIN ")) {
		return b, nil
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != want || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("the PEM file must have one block %q, and nothing else", want)
	}
	return block.Bytes, nil
}

type keyExportCmd struct {
	oneKey
	With     string `help:"Key of the server that wraps the key; of a pair, either half. Left out, only a public key is written, in clear." placeholder:"KEY"`
	Wrapping string `help:"How it is wrapped: aes-kw, aes-kwp, rsa-oaep-sha256 or rsa-oaep-sha1. Left out, it is as the wrapping key says, or aes-kw." enum:"aes-kw,aes-kwp,rsa-oaep-sha256,rsa-oaep-sha1," default:"" placeholder:"NAME"`
	JWK      bool   `name:"jwk" help:"Write a public key as a JSON Web Key instead of PEM."`
	Out      string `help:"File for the key. Only its owner can read it." placeholder:"FILE"`
}

// Run writes the wrapped bytes, or a public key.
func (c *keyExportCmd) Run() error {
	if c.JWK && c.With != "" {
		return errors.New("--jwk is for public keys in clear; leave it or --with out")
	}
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	q := url.Values{}
	for name, value := range map[string]string{"wrapWith": c.With, "wrapping": c.Wrapping} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if c.JWK {
		q.Set("format", "jwk")
	}
	path := keyPath(c.ID, "/export")
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	var key api.ExportedKey
	answer, err := s.ask(ctx, get(path), &key)
	if err != nil {
		return err
	}
	out := key.WrappedKey
	switch {
	case c.JWK:
		if out, err = json.Marshal(key.JWK); err != nil {
			return err
		}
		out = append(out, '\n')
	case c.With == "":
		out = []byte(key.PublicKey)
	}
	return (&result{bytesFlags{"raw"}, c.Out}).write(s, answer, out)
}

// Help shows how to make a transport key.
func (importJobCreateCmd) Help() string {
	return `Examples:

    $ JOB=$(keyreeve import-job create -q --out transport.pem)
    $ keyreeve import-job create --algorithm rsa-oaep-sha256 --length 4096`
}

// Help shows how to read an import job.
func (importJobShowCmd) Help() string {
	return `Examples:

    $ keyreeve import-job show $JOB --out transport.pem`
}

// Help shows how to end an import job.
func (importJobDeleteCmd) Help() string {
	return `Examples:

    $ keyreeve import-job delete $JOB`
}

// Help shows how to import keys.
func (keyImportCmd) Help() string {
	return `Examples:

    $ keyreeve key import wrapped.bin --job $JOB --length 256 --usage encrypt,decrypt
    $ keyreeve key import wrapped.bin --job $JOB --type private --algorithm EC --curve P-256 --usage sign
    $ keyreeve key import wrapped.bin --wrapped-by $KEK --wrapping aes-kwp --length 256 --usage encrypt,decrypt
    $ keyreeve key import signer.pem --type public --usage verify`
}

// Help shows how to export keys.
func (keyExportCmd) Help() string {
	return `Examples:

    $ keyreeve key export $KEY --with $KEK --wrapping aes-kwp --out wrapped.bin
    $ keyreeve key export $PUBLIC > signer.pem`
}
