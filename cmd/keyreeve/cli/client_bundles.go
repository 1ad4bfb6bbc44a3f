package cli

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/bundle"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// clientFiles are flags that say for which key a certificate is, and what is made of it.
type clientFiles struct {
	CSR  string `name:"csr" help:"File with a certificate request (PEM), as openssl req -new makes it. Its names are ignored. Without it, --for makes the key." type:"path"`
	For  string `name:"for" help:"The product whose files are made; see client products."`
	Out  string `help:"The new folder for the files. Default: the name of the client." type:"path"`
	Form string `help:"Another form than the product's: pem, pem-traditional (PKCS #1 or SEC 1), combined or pkcs12." enum:",pem,pem-traditional,combined,pkcs12" default:""`
	Key  string `help:"Another type of key than the product's: p256, p384, rsa2048 or rsa4096." enum:",p256,p384,rsa2048,rsa4096" default:""`

	Server   string `help:"HOST or HOST:PORT by which the client reaches KMIP. Default: a name of the server's certificate, and its port."`
	ServerCA string `name:"server-ca" help:"File with the authority of the server's certificate (PEM), if the settings do not lead to it." type:"existingfile"`
}

// Help shows what can be made.
func (c *clientAddCmd) Help() string {
	return `Examples:

    $ keyreeve client add rgw1 --for ceph --group storage --key-group storage --dir dev
    $ keyreeve client add array7 --for generic-pkcs12 --out /root/array7 --server kms.example.com --config keyreeve.yaml
    $ keyreeve client add vcenter1 --for vcenter --csr vcenter1.csr --config keyreeve.yaml
    $ keyreeve client add app7 --csr app7.csr --config keyreeve.yaml > app7.pem`
}

// Help shows how to replace files.
func (c *clientRenewCmd) Help() string {
	return `Examples:

    $ keyreeve client renew rgw1 --for ceph --out rgw1-new --dir dev
    $ keyreeve client renew app7 --csr app7.csr --config keyreeve.yaml > app7.pem`
}

// issue makes the files of a product, or prints the certificate for a request.
func (f *clientFiles) issue(c *namedClient, change server.ClientChange, mode string) (err error) {
	if f.CSR != "" {
		if change.Request, err = os.ReadFile(f.CSR); err != nil {
			return err
		}
	}
	if f.For != "" {
		return f.makeBundle(c, change, mode)
	}
	switch {
	case f.CSR == "":
		return errors.New("give --for with a product, whose files are then made, or --csr with a certificate request; see keyreeve client products")
	case f.Out != "" || f.Form != "" || f.Key != "" || f.Server != "" || f.ServerCA != "":
		return errors.New("--out, --form, --key, --server and --server-ca belong to --for")
	}
	out, err := c.save(change, mode)
	if err != nil {
		return err
	}
	fmt.Print(out.Certificate)
	return nil
}

// makeBundle makes the files of a product for a client. If it fails, the files are removed and
// the certificate is revoked.
func (f *clientFiles) makeBundle(c *namedClient, change server.ClientChange, mode string) (err error) {
	product, ok := bundle.ByName(f.For)
	if !ok {
		return fmt.Errorf("there is no product %q; known are %s", f.For, bundle.Names())
	}
	if f.CSR != "" && (f.Form != "" || f.Key != "") {
		return errors.New("--form and --key choose files for a key that is made here; leave them out with --csr")
	}
	at, authority, err := f.findServer(&c.where)
	if err != nil {
		return err
	}
	if f.Out == "" {
		f.Out = c.Name
	}
	if filepath.Base(c.Name) != c.Name || c.Name == "." || c.Name == ".." {
		return fmt.Errorf("%q cannot be the name of a client", c.Name)
	}
	b, err := bundle.New(f.Out, c.Name, product, bundle.Choice{Form: bundle.Form(f.Form), Key: bundle.KeyType(f.Key)}, f.CSR != "")
	if err != nil {
		return err
	}
	serial := ""
	defer func() {
		if err != nil {
			err = withSentences(err, b.Remove(), c.revokeUnused(serial, product.Name))
		}
	}()
	if f.CSR == "" {
		if change.Request, err = b.Request(); err != nil {
			return err
		}
	}
	out, err := c.save(change, mode)
	if errors.Is(err, adminsocket.ErrNoAnswer) {
		return fmt.Errorf("%w; see keyreeve client show %s, and revoke the certificate if one was issued", err, c.Name)
	}
	if err != nil {
		return err
	}
	serial = serialOf(out.Certificate)
	if err := b.Finish([]byte(out.Certificate), authority); err != nil {
		return err
	}
	fmt.Print(b.Listing() + "\n" + b.Steps(at))
	return nil
}

// withSentences appends what followed from an error to it. nil: nothing did.
func withSentences(err error, more ...error) error {
	for _, e := range more {
		if e != nil {
			err = fmt.Errorf("%w; %w", err, e)
		}
	}
	return err
}

// serialOf returns the serial number of a certificate (PEM) that was just issued, as the server
// lists it. "": it cannot be read. The list of the client is not asked: another command may have
// renewed the client at the same time.
func serialOf(certificate string) string {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return ""
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	return c.SerialNumber.Text(16)
}

// revokeUnused revokes a certificate whose files could not be made; "": there is none.
func (c *namedClient) revokeUnused(serial, product string) error {
	if serial == "" {
		return nil
	}
	err := c.askServer("POST", "/clients/revoke", c.query("name", c.Name, "serial", serial, "reason", "its files could not be made"), nil)
	if err != nil {
		return fmt.Errorf("the certificate %s could not be revoked: %w", serial, err)
	}
	return fmt.Errorf("the certificate was revoked and its files were removed; try keyreeve client renew %s --for %s", c.Name, product)
}

// findServer returns how clients reach the server, and the authority of its certificate. It
// warns if the certificate does not have the name.
func (f *clientFiles) findServer(w *where) (at bundle.Place, authority []*x509.Certificate, err error) {
	certificate, clientCA := filepath.Join(w.Dir, "certs", "server.pem"), filepath.Join(w.Dir, "certs", "ca.pem")
	if w.Dir == "" {
		cfg, err := w.loadSettings()
		if err != nil {
			return at, nil, err
		}
		certificate, clientCA = cfg.TLS.Certificate, cfg.TLS.ClientCA
	}
	chain, err := pemfile.Certificates(certificate)
	if err != nil {
		return at, nil, fmt.Errorf("the server's certificate cannot be read: %w", err)
	}
	if authority, err = f.findAuthority(chain, clientCA); err != nil {
		return at, nil, err
	}
	var doors map[string]string
	if err := w.askServer("GET", "/doors", nil, &doors); err != nil {
		return at, nil, err
	}
	_, at.Port, _ = net.SplitHostPort(doors["kmip"])
	switch host, port, err := net.SplitHostPort(f.Server); {
	case err == nil:
		at = bundle.Place{Host: host, Port: port}
	case f.Server != "":
		at.Host = strings.Trim(f.Server, "[]")
	default:
		at.Host = nameOf(chain[0])
	}
	if at.Host == "" {
		return at, nil, errors.New("the server's certificate has no name; give --server with the one by which the client reaches it")
	}
	if err := chain[0].VerifyHostname(at.Host); err != nil {
		warnOf(fmt.Sprintf("clients that compare names will refuse the server: %v", err))
	}
	return at, authority, nil
}

// nameOf returns a name of the server's certificate: a DNS name without a wildcard, or an address.
func nameOf(c *x509.Certificate) string {
	for _, name := range c.DNSNames {
		if !strings.Contains(name, "*") {
			return name
		}
	}
	if len(c.IPAddresses) > 0 {
		return c.IPAddresses[0].String()
	}
	return ""
}

// findAuthority returns the authority that the server's chain leads to: of the file that a flag
// names, or of the chain itself, or of the authorities for clients.
func (f *clientFiles) findAuthority(chain []*x509.Certificate, clientCA string) ([]*x509.Certificate, error) {
	candidates := chain[1:]
	if f.ServerCA != "" {
		var err error
		if candidates, err = pemfile.Certificates(f.ServerCA); err != nil {
			return nil, err
		}
	} else if more, err := pemfile.Certificates(clientCA); err == nil {
		candidates = slices.Concat(candidates, more)
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, c := range candidates {
		roots := x509.NewCertPool()
		roots.AddCert(c)
		if c.IsCA && (f.ServerCA != "" || c.CheckSignatureFrom(c) == nil) {
			if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
				return []*x509.Certificate{c}, nil
			}
		}
	}
	if f.ServerCA != "" {
		return nil, fmt.Errorf("%s has no authority of the server's certificate", f.ServerCA)
	}
	return nil, errors.New("the settings do not lead to the authority of the server's certificate; name its file with --server-ca")
}

type clientProductsCmd struct{}

// Run lists the products.
func (clientProductsCmd) Run() error {
	for _, p := range bundle.Products() {
		fmt.Printf("%-15s %s\n", p.Name, p.Title)
	}
	return nil
}
