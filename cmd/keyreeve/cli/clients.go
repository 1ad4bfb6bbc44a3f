package cli

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/server"
)

// namedClient is a command that works on one enrolled client.
type namedClient struct {
	withReason
	Name string `arg:"" help:"Name of the client."`
}

// save sends a change of the client. mode is "new", "existing" or "any".
func (c *namedClient) save(change server.ClientChange, mode string) (out server.SavedClient, err error) {
	body, err := json.Marshal(change)
	if err != nil {
		return out, err
	}
	err = c.askServerWith("PUT", "/clients/one", c.query("name", c.Name, "reason", c.Reason, mode, "yes"), body, &out)
	warnOfEach(out.Warnings)
	return out, err
}

// clientFields are the fields of an enrolled client that flags set.
type clientFields struct {
	Group []string `help:"A group of the client; repeat it for more."`
	Role  []string `help:"A role of the client; repeat it for more."`

	KeyGroup *string `help:"The one of its groups that owns its new keys too. Empty: its new keys belong to it alone."`
}

func (f *clientFields) change() (c server.ClientChange) {
	if f.Group != nil {
		c.Groups = &f.Group
	}
	if f.Role != nil {
		c.Roles = &f.Role
	}
	c.KeyGroup = f.KeyGroup
	return c
}

type clientAddCmd struct {
	namedClient
	clientFields
	clientFiles
}

// Run prints the certificate, or makes the files of a product.
func (c *clientAddCmd) Run() error { return c.issue(&c.namedClient, c.change(), "new") }

type clientRenewCmd struct {
	namedClient
	clientFiles
}

// Run prints the certificate, or makes the files of a product.
func (c *clientRenewCmd) Run() error {
	return c.issue(&c.namedClient, server.ClientChange{}, "existing")
}

type clientChangeCmd struct {
	namedClient
	clientFields
}

// Run changes the fields that are given.
func (c *clientChangeCmd) Run() error {
	out, err := c.save(c.change(), "existing")
	if err != nil {
		return err
	}
	fmt.Println("client", out.Name, "is changed")
	return nil
}

type clientInviteCmd struct {
	namedClient
	clientFields
}

// Run prints the invitation.
func (c *clientInviteCmd) Run() error {
	change := c.change()
	change.Invite = true
	out, err := c.save(change, "any")
	if err != nil {
		return err
	}
	fmt.Println(out.Invitation)
	return nil
}

// clientCareCmd are the other commands.
type clientCareCmd struct {
	Change clientChangeCmd `cmd:"" help:"Change groups or roles of a client, also for open connections."`
	Revoke clientRevokeCmd `cmd:"" help:"End the certificates of a client on every node, also for open connections."`
	List   clientListCmd   `cmd:"" help:"List the clients."`
	CRL    clientCRLCmd    `cmd:"" name:"crl" help:"Print a revocation list of the authority for clients (PEM), for other servers."`
}

type clientListCmd struct{ tenantListing }

// Run lists the clients.
func (c *clientListCmd) Run() error {
	return printPages(&c.tenantListing, "/clients", func(one server.EnrolledClient) string { return one.Name }, clientLine)
}

type clientShowCmd struct {
	ofTenant
	Name string `arg:"" help:"Name of the client."`
}

// Run prints the client as JSON.
func (c *clientShowCmd) Run() error {
	var out server.EnrolledClient
	if err := c.askServer("GET", "/clients/one", c.query("name", c.Name), &out); err != nil {
		return err
	}
	return printJSON(out)
}

type clientRevokeCmd struct {
	namedClient
	Serial string `help:"Only the certificate with this serial number (hex). Default: all, and the invitation."`
}

// Run revokes the certificates.
func (c *clientRevokeCmd) Run() error {
	if err := c.askServer("POST", "/clients/revoke", c.query("name", c.Name, "serial", c.Serial, "reason", c.Reason), nil); err != nil {
		return err
	}
	fmt.Println("client", c.Name, "is revoked")
	return nil
}

// clientIssueCmd are the commands that lead to a certificate.
type clientIssueCmd struct {
	Add    clientAddCmd    `cmd:"" help:"Make a client, and its files in the form of a product (--for), or print a certificate for the key of a certificate request (--csr)."`
	Invite clientInviteCmd `cmd:"" help:"Print an invitation, with which the client gets one certificate over REST (POST /v1/clients). Makes the client if it is new."`
	Renew  clientRenewCmd  `cmd:"" help:"Make other files (--for), or print another certificate (--csr), of a client. The old certificates stay valid."`

	Products clientProductsCmd `cmd:"" help:"List the products that client add --for knows."`
}

type clientAuthorityCmd struct {
	where
	Folder string `arg:"" help:"Folder for the files." type:"path"`
	HSM    bool   `name:"hsm" help:"Make the key in the HSM of the running server. It never leaves it."`
}

// Run makes the authority and prints the settings that it needs.
func (c *clientAuthorityCmd) Run() error {
	key, err := filepath.Join(c.Folder, certs.EnrollmentKey), error(nil)
	if c.HSM {
		key, err = c.makeInHSM()
	} else {
		err = certs.MakeAuthority(c.Folder)
	}
	if err != nil {
		return err
	}
	fmt.Printf("enrollment:\n  certificate: %s\n  key: %s\n", filepath.Join(c.Folder, certs.EnrollmentCertificate), key)
	return nil
}

// makeInHSM has the server make the key and the certificate, and returns the name of the key.
func (c *clientAuthorityCmd) makeInHSM() (key string, err error) {
	var made server.NewAuthority
	path := filepath.Join(c.Folder, certs.EnrollmentCertificate)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) { // asked first: a key that nothing uses would stay in the HSM
		return "", fmt.Errorf("%s exists already, or cannot be looked for (%v); name another folder", path, err)
	}
	if err := c.askServer("POST", "/clients/authority", nil, &made); err != nil {
		return "", err
	}
	return made.Key, certs.WriteAuthorityCertificate(c.Folder, []byte(made.Certificate))
}

type clientCRLCmd struct{ where }

// Run prints the revocation list in PEM.
func (c *clientCRLCmd) Run() error {
	var out server.RevocationList
	if err := c.askServer("GET", "/clients/crl", nil, &out); err != nil {
		return err
	}
	return pem.Encode(os.Stdout, &pem.Block{Type: "X509 CRL", Bytes: out.CRL})
}

// clientLine shows one to people.
func clientLine(c server.EnrolledClient) string {
	valid, last := 0, ""
	for _, one := range c.Certificates {
		if one.RevokedAt == nil && time.Now().Before(one.ExpiresAt) {
			valid, last = valid+1, ", the last until "+one.ExpiresAt.Format(time.RFC3339)
		}
	}
	return oneLine(fmt.Sprintf("%s | groups %s | roles %s | valid certificates %d%s", c.Name, strings.Join(c.Groups, ","), strings.Join(c.Roles, ","), valid, last))
}
