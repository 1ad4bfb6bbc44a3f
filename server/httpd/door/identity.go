package door

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/server/bounds"
)

type connectionKey struct{}

// Connection is what the requests of one connection share. It has one request
// at a time.
type Connection struct {
	net.Conn
	byCertificate func() (*core.Principal, error) // nil before the first request
	byToken       []proof.IdentifyBearer          // one for each of Options.Bearers; nil before the first token
	counted       *core.Principal                 // the one that the connection counts for
}

// withConnection lets a handler look at its connection.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &Connection{Conn: c})
}

func connectionOf(r *http.Request) *Connection {
	if c, ok := r.Context().Value(connectionKey{}).(*Connection); ok {
		return c
	}
	return &Connection{}
}

// identify names the caller, at each request of a connection again: certificates and tokens
// expire, and a reload can change who they name. If it is another principal than before, the
// Connection counts for that one from now on. The request that it returns has the order for a
// token, if it is one.
func (d *Door) identify(w http.ResponseWriter, r *http.Request) (*core.Principal, *http.Request, error) {
	if r.TLS == nil {
		return nil, r, core.Errorf(core.AuthenticationNotSuccessful, "this door needs TLS")
	}
	var p *core.Principal
	var err error
	c := connectionOf(r)
	switch token, given, malformed := bearerToken(r); {
	case malformed != nil:
		return nil, r, malformed
	case given:
		p, err = d.identifyByToken(c, r, token)
	default:
		if identify := d.identifyOf(r); identify != nil {
			hashBody(r)
			p, r, err = identify(c, w, r)
			break
		}
		p, err = d.identifyByCertificate(c, r)
	}
	if err == nil {
		err = c.countFor(p)
	}
	if err != nil {
		return nil, r, err
	}
	return p, r, nil
}

// bearerToken returns the token in the header Authorization. given is false if there is no such
// header. Another one than a bearer token is an error: a client that sends one relies on it.
func bearerToken(r *http.Request) (token string, given bool, err error) {
	all := r.Header.Values("Authorization")
	if len(all) == 0 {
		return "", false, nil
	}
	scheme, token, ok := strings.Cut(all[0], " ")
	if len(all) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", true, core.Errorf(core.AuthenticationNotSuccessful, `the header Authorization must be "Bearer" and one access token`)
	}
	return token, true, nil
}

// identifyByCertificate returns the principal that the certificate of a connection proves.
func (d *Door) identifyByCertificate(c *Connection, r *http.Request) (*core.Principal, error) {
	if c.byCertificate == nil {
		c.byCertificate = d.Auth.Identify(proof.Evidence{Certificates: r.TLS.PeerCertificates})
	}
	return c.byCertificate()
}

// CertificateBeside returns the principal of the certificate that came beside something else;
// nil if none came. A certificate that is not good is refused all the same.
func (d *Door) CertificateBeside(c *Connection, r *http.Request) (*core.Principal, error) {
	if len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	return d.identifyByCertificate(c, r)
}

// identifyByToken returns the principal of a bearer token. A token that is not right is never
// an answer for the certificate beside it.
func (d *Door) identifyByToken(c *Connection, r *http.Request, token string) (*core.Principal, error) {
	certificate, err := d.CertificateBeside(c, r)
	if err != nil {
		return nil, err
	}
	identify, err := d.BearerOf(c, AddressOf(r), token)
	if err != nil {
		return nil, err
	}
	return identify(r.Context(), certificate, token)
}

// BearerOf returns the function of the issuer of a token. The first issuer refuses what no
// issuer recognizes. A wrong token counts as a failed login from address.
func (d *Door) BearerOf(c *Connection, address, token string) (proof.IdentifyBearer, error) {
	if len(d.Bearers) == 0 {
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "this server takes no bearer tokens")
	}
	if c.byToken == nil {
		c.byToken = make([]proof.IdentifyBearer, len(d.Bearers))
	}
	issuer := 0
	for i, b := range d.Bearers {
		if b.Recognizes(token) {
			issuer = i
			break
		}
	}
	if c.byToken[issuer] == nil {
		c.byToken[issuer] = d.Bearers[issuer].ForConnection(address)
	}
	return c.byToken[issuer], nil
}

// AddressOf returns the address of the peer, without port.
func AddressOf(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// countFor has the connection count for a principal. Until then it counts for its address, as
// one that waits.
func (c *Connection) countFor(p *core.Principal) error {
	if p == c.counted {
		return nil
	}
	if slot := bounds.SlotOf(c.Conn); slot != nil {
		if full := slot.Pass(p.Tenant, p.ID); full != "" {
			return bounds.FullError(full)
		}
	}
	c.counted = p
	return nil
}

// challengeTo returns the header WWW-Authenticate for a request that was refused (RFC 6750 §3).
func challengeTo(r *http.Request) string {
	if len(r.Header.Values("Authorization")) > 0 {
		return `Bearer realm="keyreeve", error="invalid_token"`
	}
	return `Bearer realm="keyreeve"`
}

// identifyOf returns how the sender of a request is identified in place of its certificate; nil
// for most routes. [http.ServeMux] also finds a row for a path such as //v1/auth/token, and then
// redirects: no handler would record how the sender was identified.
func (d *Door) identifyOf(r *http.Request) Identify {
	_, pattern := d.mux.Handler(r)
	if row := d.rows[pattern]; row.Path == r.URL.Path {
		return row.identify
	}
	return nil
}
