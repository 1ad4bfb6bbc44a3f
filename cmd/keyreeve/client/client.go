// Package client is the part of the command line that works over REST: with keys of a server
// that may be far away, as any other application.
//
// A [profile] says which server, and who asks. No command takes a password or a token as an
// argument, and none prints one. Requests that change nothing are repeated for a while if the
// server is busy. Start at [Commands]; requests are sent in request.go.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/client/profile"
)

// Commands are the commands and their help texts.
type Commands struct {
	Login   loginCmd   `cmd:"" group:"Keys and cryptography over REST" help:"Make or change a profile, and test it: the address of a server, and what proves who asks."`
	Key     keyCmd     `cmd:"" group:"Keys and cryptography over REST" help:"Make, list and look after keys."`
	Encrypt encryptCmd `cmd:"" group:"Keys and cryptography over REST" help:"Encrypt a file. Writes a JSON document, which decrypt reads."`
	Decrypt decryptCmd `cmd:"" group:"Keys and cryptography over REST" help:"Decrypt a document that encrypt has written."`
	Sign    signCmd    `cmd:"" set:"bytes=base64" group:"Keys and cryptography over REST" help:"Sign a file."`
	Verify  verifyCmd  `cmd:"" set:"bytes=base64" group:"Keys and cryptography over REST" help:"Verify a signature. Exits with 0 if it is valid, and with 2 if it is not."`
	MAC     macCmd     `cmd:"" set:"bytes=base64" name:"mac" group:"Keys and cryptography over REST" help:"Make the message authentication code of a file, or verify one."`
	Hash    hashCmd    `cmd:"" set:"bytes=hex" group:"Keys and cryptography over REST" help:"Hash a file in the HSM."`
	Random  randomCmd  `cmd:"" set:"bytes=base64" group:"Keys and cryptography over REST" help:"Get random bytes of the HSM."`
}

// door is what every command needs to reach a server.
type door struct {
	Profile string        `help:"Profile that keyreeve login has made. Left out, the variable KEYREEVE_URL and those beside it count, and without it the profile default." placeholder:"NAME"`
	Output  string        `short:"o" help:"How to print the result: table, json or yaml. json has the members that the server answers. Left out, it is that of the profile, or table." enum:"table,json,yaml," default:"" placeholder:"FORM"`
	Timeout time.Duration `help:"How long to try, repetitions included." default:"30s"`
}

// server is a server that can be asked.
type server struct {
	http  *http.Client
	url   string
	token string
	form  string // of results: one of profile.Outputs
	pause func(context.Context, time.Duration) error
}

// connect returns the server of the profile, and a context that ends with the time for the
// command or by Ctrl-C.
func (d *door) connect() (*server, context.Context, func(), error) {
	c, err := profile.Choose(d.Profile)
	if err != nil {
		return nil, nil, nil, &failure{exitNotAccepted, err}
	}
	if d.Output != "" {
		c.Output = d.Output
	}
	s, err := connectAs(c)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, end := d.deadline()
	return s, ctx, end, nil
}

// deadline returns a context that ends with the time for the command or by a signal.
func (d *door) deadline() (context.Context, func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	return ctx, func() { cancel(); stop() }
}

// connectAs is connectTo for requests that need a certificate or a token.
func connectAs(c profile.Connection) (*server, error) {
	if c.Certificate == "" && c.Token == "" {
		return nil, &failure{exitNotAccepted, errors.New("there is neither a certificate nor a token to show to the server; see keyreeve login --help")}
	}
	return connectTo(c)
}

// connectTo reads the files that a profile names. It sends nothing.
func connectTo(c profile.Connection) (*server, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		authorities, err := pemfile.Certificates(c.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		for _, a := range authorities {
			cfg.RootCAs.AddCert(a)
		}
	}
	if c.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, &failure{exitNotAccepted, fmt.Errorf("certificate and key: %w", err)}
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	form := c.Output
	if form == "" {
		form = profile.Outputs[0]
	}
	return &server{
		url: strings.TrimRight(c.URL, "/"), token: c.Token, form: form, pause: pauseFor,
		http: &http.Client{
			Transport:     &http.Transport{TLSClientConfig: cfg, Proxy: http.ProxyFromEnvironment},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // what is sent is for this server alone
		},
	}, nil
}

// Variable is a variable of the environment that the commands read.
type Variable struct{ Name, Meaning string }

// Variables are those of the commands over REST.
var Variables = []Variable{
	{"KEYREEVE_PROFILES", "The file of profiles. Left out, it is keyreeve/profiles.yaml in the folder for settings, such as ~/.config."},
	{"KEYREEVE_URL", "https://HOST:PORT of the server. If it is set and no --profile is given, the connection is that of these variables alone, and no profile is read."},
	{"KEYREEVE_CA", "PEM file with the authority of the server. Without it, the authorities of this machine count."},
	{"KEYREEVE_CERT", "PEM file with a client certificate."},
	{"KEYREEVE_KEY", "PEM file with its key."},
	{"KEYREEVE_TOKEN", "An access token."},
	{"HTTPS_PROXY", "http://HOST:PORT of a proxy. It sees the name of the server and TLS, and neither requests nor tokens. Servers on this machine are reached without it."},
	{"NO_PROXY", "Names of servers that are reached without the proxy, with commas between them."},
	{"NO_COLOR", "If it is set, nothing is printed in bold or in color."},
}
