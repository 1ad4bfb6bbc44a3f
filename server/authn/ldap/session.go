package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// Bounds of what a directory may send.
const (
	maxAnswerBytes = 512 << 10 // for one login
	maxPacketDepth = 16        // of nested elements; an entry has 6
)

// The library has this bound for the whole process. Only this package uses it. Lengths need no
// bound here: the library reserves memory for what has arrived alone.
func init() { ber.MaxNestingDepth = maxPacketDepth }

// maxIdle is how long a session that nobody uses stays open.
const maxIdle = time.Minute

// session is one connection to the directory. It is used by one goroutine at a time.
type session struct {
	*ldap.Conn
	wire      *boundedConn
	idleSince time.Time
}

var errOversized = errors.New("the answer of the LDAP directory is too large")

// boundedConn ends with an error once more bytes were read than are left.
type boundedConn struct {
	net.Conn
	left atomic.Int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left.Add(-int64(n)) < 0 {
		return 0, errOversized
	}
	return n, err
}

// noAttributes asks for entries without attributes (RFC 4511 §4.5.1.8).
const noAttributes = "1.1"

// search returns at most limit entries, without following aliases and referrals.
func (s *session) search(base string, scope, limit int, filter string, attributes []string) ([]*ldap.Entry, error) {
	request := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, limit, 0, false, filter, attributes, nil)
	request.EnforceSizeLimit = true
	found, err := s.Search(request)
	if errors.Is(err, ldap.ErrSizeLimitExceeded) {
		err = ldap.NewError(ldap.LDAPResultSizeLimitExceeded, err)
	}
	if err != nil {
		return nil, err
	}
	return found.Entries, nil
}

// sessionPool keeps sessions that are not used. Its callers bound how many are. Safe for
// concurrent use.
type sessionPool struct {
	address string
	ldaps   bool
	tls     *tls.Config
	keep    int

	mu   sync.Mutex
	idle []*session // the last used one last
}

func newSessionPool(s *Settings) (*sessionPool, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	p := &sessionPool{ldaps: u.Scheme == "ldaps", keep: s.Connections, tls: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}
	port := u.Port()
	switch {
	case port == "" && p.ldaps:
		port = ldap.DefaultLdapsPort
	case port == "":
		port = ldap.DefaultLdapPort
	}
	p.address = net.JoinHostPort(u.Hostname(), port)
	if s.CA == "" {
		return p, nil
	}
	authorities, err := pemfile.Certificates(s.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	p.tls.RootCAs = x509.NewCertPool()
	for _, c := range authorities {
		p.tls.RootCAs.AddCert(c)
	}
	return p, nil
}

// use runs f with a session until ctx ends. A session that was idle may have been closed by
// the directory: then f runs again with a new one.
func (p *sessionPool) use(ctx context.Context, f func(*session) error) error {
	if s := p.take(); s != nil {
		if err := p.run(ctx, s, f); !isBroken(err) || ctx.Err() != nil {
			return err
		}
	}
	s, err := p.open(ctx)
	if err != nil {
		return err
	}
	return p.run(ctx, s, f)
}

// run runs f with a session, and keeps the session if it can be used again.
func (p *sessionPool) run(ctx context.Context, s *session, f func(*session) error) error {
	s.wire.left.Store(maxAnswerBytes)
	defer interruptAtEnd(ctx, s.wire)()
	err := f(s)
	if s.wire.left.Load() < 0 {
		err = refuseLogin(errOversized.Error())
	}
	p.putBack(s, ctx.Err() == nil && s.wire.left.Load() >= 0 && !s.IsClosing())
	return err
}

// interruptAtEnd ends reads and writes when ctx ends. The function that it returns lets them
// wait again.
func interruptAtEnd(ctx context.Context, c net.Conn) func() {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

func (p *sessionPool) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	s := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return s
}

func (p *sessionPool) putBack(s *session, usable bool) {
	p.mu.Lock()
	if usable = usable && len(p.idle) < p.keep; usable {
		s.idleSince = time.Now()
		p.idle = append(p.idle, s)
	}
	p.mu.Unlock()
	if !usable {
		s.end()
	}
}

// closeIdle closes the sessions that were used last before a time.
func (p *sessionPool) closeIdle(before time.Time) {
	p.mu.Lock()
	var old []*session
	for len(p.idle) > 0 && p.idle[0].idleSince.Before(before) {
		old, p.idle = append(old, p.idle[0]), p.idle[1:]
	}
	p.mu.Unlock()
	for _, s := range old {
		s.end()
	}
}

// end closes the connection first, so that nothing waits for the directory.
func (s *session) end() {
	s.wire.Close()
	s.Close()
}

// open connects, and returns a session in which nobody is logged in.
func (p *sessionPool) open(ctx context.Context) (*session, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	s := &session{wire: &boundedConn{Conn: raw}}
	s.wire.left.Store(maxAnswerBytes)
	defer interruptAtEnd(ctx, s.wire)()
	if err := p.secure(ctx, s); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS to the LDAP directory: %v", err)
	}
	return s, nil
}

// secure begins TLS: at once, or by StartTLS (RFC 4511 §4.14).
func (p *sessionPool) secure(ctx context.Context, s *session) error {
	if p.ldaps {
		c := tls.Client(s.wire, p.tls)
		s.Conn = ldap.NewConn(c, true)
		if err := c.HandshakeContext(ctx); err != nil {
			return err
		}
		s.Start()
		return nil
	}
	s.Conn = ldap.NewConn(s.wire, false)
	s.Start()
	if err := s.StartTLS(p.tls); err != nil {
		s.end()
		return err
	}
	if _, ok := s.TLSConnectionState(); !ok {
		s.end()
		return errors.New("the directory has answered StartTLS, but the connection is in clear")
	}
	return nil
}
