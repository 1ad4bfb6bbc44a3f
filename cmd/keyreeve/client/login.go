package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/client/profile"
)

type loginCmd struct {
	Profile string `help:"Profile to make or to change. What no flag names stays as it is." default:"default" placeholder:"NAME"`

	Dir string `help:"Folder of a development server on this machine: its authority, the certificate of --as, and its usual address." type:"path" xor:"ca"`
	As  string `help:"With --dir, the certificate of this name." default:"dev"`

	URL       string `name:"url" help:"https://HOST:PORT of the server."`
	CA        string `name:"ca" help:"PEM file with the authority of the server. Without it, the authorities of this machine count." type:"path" xor:"ca"`
	Cert      string `help:"PEM file with a client certificate." type:"path"`
	Key       string `help:"PEM file with its key." type:"path"`
	TokenFile string `help:"File with an access token. Only its owner may read it." type:"path" xor:"token"`
	NoToken   bool   `help:"Use the token of the profile no more. The certificate counts from then on." xor:"token"`

	User     string        `help:"Buy an access token with the password of this user. It is asked for, or read from standard input." xor:"token"`
	Tenant   string        `help:"Tenant of the user. Left out, it is that of the certificate."`
	Code     bool          `help:"The user needs a one-time code too. It is asked for, or read from the second line."`
	Lifetime string        `help:"How long the token shall live, such as 15m or 12h."`
	Output   string        `short:"o" help:"How commands with this profile print their results: table, json or yaml." enum:"table,json,yaml," default:"" placeholder:"FORM"`
	Timeout  time.Duration `help:"How long to try." default:"30s"`
}

// devURL is the address of a development server that was told no other.
const devURL = "https://127.0.0.1:8443"

// Run makes the profile, asks the server with it, and saves it if the server accepts it.
func (c *loginCmd) Run() error {
	path, err := profile.Path()
	if err != nil {
		return err
	}
	all, err := profile.Load(path)
	if err != nil {
		return err
	}
	p := all[c.Profile]
	before := p
	c.change(&p)
	if err := errors.Join(profile.CheckName(c.Profile), p.Check()); err != nil {
		return err
	}
	ctx, end := (&door{Timeout: c.Timeout}).deadline()
	defer end()
	token, err := c.token(ctx, p)
	if err != nil {
		return err
	}
	if err := try(ctx, profile.Connection{Profile: p, Token: token}); err != nil {
		return err
	}
	if c.User != "" {
		if p.TokenFile, err = profile.SaveToken(path, c.Profile, p.URL, token); err != nil {
			return err
		}
	}
	if err := profile.Save(path, c.Profile, p); err != nil {
		return err
	}
	if before.TokenFile != p.TokenFile && before.TokenFile == profile.TokenPath(path, c.Profile, before.URL) {
		if err := os.Remove(before.TokenFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fmt.Printf("%s answers and accepts you; profile %s is saved in %s\n", p.URL, c.Profile, path)
	return nil
}

// change gives a profile what the flags say.
func (c *loginCmd) change(p *profile.Profile) {
	old := p.URL
	if c.Dir != "" {
		file := func(name string) string { return filepath.Join(c.Dir, "certs", name) }
		p.URL, p.CA, p.Certificate, p.Key = devURL, file("ca.pem"), file(c.As+".pem"), file(c.As+"-key.pem")
	}
	for _, member := range []struct {
		to   *string
		flag string
	}{{&p.URL, c.URL}, {&p.CA, c.CA}, {&p.Certificate, c.Cert}, {&p.Key, c.Key}, {&p.Output, c.Output}} {
		if member.flag != "" {
			*member.to = member.flag
		}
	}
	if p.URL != old || c.NoToken {
		p.TokenFile = "" // a token is sent to no other server than before
	}
	if c.TokenFile != "" {
		p.TokenFile = c.TokenFile
	}
}

// token returns the token for the profile: a new one for a password, or the one that it has.
func (c *loginCmd) token(ctx context.Context, p profile.Profile) (string, error) {
	if c.User == "" {
		if p.TokenFile == "" {
			return "", nil
		}
		return profile.ReadToken(p.TokenFile)
	}
	ask := newAsker()
	password, err := ask.secret("Password of " + c.User + ": ")
	if err != nil {
		return "", err
	}
	want := api.TokenRequest{GrantType: "password", User: &c.User, Password: &password, Tenant: given(c.Tenant), Lifetime: given(c.Lifetime)}
	if c.Code {
		code, err := ask.secret("One-time code: ")
		if err != nil {
			return "", err
		}
		want.Code = &code
	}
	s, err := connectTo(profile.Connection{Profile: p}) // without the token that the profile has
	if err != nil {
		return "", err
	}
	var bought api.TokenAnswer
	if _, err := s.ask(ctx, post("/v1/auth/token", want), &bought); err != nil {
		return "", err
	}
	return bought.AccessToken, nil
}

// given returns a member of a body, nil if there is none.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// try asks whether the server is alive, and then something that it answers to nobody whom it
// does not know. That the policy denies the answer proves as much.
func try(ctx context.Context, c profile.Connection) error {
	s, err := connectAs(c)
	if err != nil {
		return err
	}
	var live api.Live
	if _, err := s.ask(ctx, get("/v1/health/live"), &live); err != nil {
		return err
	}
	var tokens api.TokenPage
	_, err = s.ask(ctx, get("/v1/auth/tokens?limit=1"), &tokens)
	if statusOf(err) == exitDenied {
		return nil
	}
	return err
}

// asker reads secrets, from a terminal without an echo or from lines of standard input.
type asker struct{ lines *bufio.Reader }

// maxSecret bounds what is read as a password or a code, in bytes.
const maxSecret = 1024

func newAsker() *asker { return &asker{bufio.NewReader(io.LimitReader(os.Stdin, 2*(maxSecret+2)))} }

// secret asks for one secret.
func (a *asker) secret(prompt string) (string, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		fmt.Fprint(os.Stderr, prompt)
		b, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(os.Stderr)
		return string(b), err
	}
	line, err := a.lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", fmt.Errorf("standard input ends, and %q has no answer", strings.TrimSuffix(prompt, ": "))
	}
	return line, nil
}
