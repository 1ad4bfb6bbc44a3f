// Package handshake shakes hands so that a refused client learns the reason. Both
// doors share it.
//
// TCP resets a connection that is closed with unread data, and a reset destroys
// what was sent before: a TLS alert or a refusal would get lost. So connections
// are half-closed first, and what the client still sends is read within a bound.
// It decides nothing about who may enter. Start at [Do].
package handshake

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// Bounds of a connection's end.
const (
	quietTime = time.Second     // without a byte from the client, when it has received all
	hearTime  = 5 * time.Second // in all
	hearBytes = 2 << 20         // that it may still be sending
)

// Do shakes hands within a time. If that fails, the client has heard the alert
// before Do returns, and the caller closes the connection.
func Do(ctx context.Context, c *tls.Conn, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := c.HandshakeContext(ctx)
	if err != nil {
		HearOut(c.NetConn())
	}
	return err
}

// HearOut closes the sending side and reads, within bounds, whatever the client still
// sends. c may be wrapped; wrappers have a method NetConn.
func HearOut(c net.Conn) {
	for c != nil {
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			if half.CloseWrite() == nil {
				discardRest(c)
			}
			return
		}
		wrapper, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		c = wrapper.NetConn()
	}
}

// discardRest reads until the client closes its side, or is quiet and has received all
// that was sent. A busy client can need seconds for that.
func discardRest(c net.Conn) {
	rest := make([]byte, 4096)
	end := time.Now().Add(hearTime)
	for heard := 0; heard < hearBytes && time.Now().Before(end); {
		c.SetReadDeadline(time.Now().Add(quietTime))
		n, err := c.Read(rest)
		heard += n
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && bounds.HasUnsent(c)) {
			return
		}
	}
}

// Failed returns the record of a handshake that failed, with the certificate that the
// client sent, if it sent one.
func Failed(door core.Door, address string, err error) core.Record {
	return Refused(door, address, Sent(err), "TLS: "+err.Error())
}

// Sent returns the certificates of a client whose handshake failed because of them; nil: it
// failed for another reason, or before they came.
func Sent(err error) []*x509.Certificate {
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return unverified.UnverifiedCertificates
	}
	return nil
}

// Refused returns the record of a client that was refused: the reason, and subject,
// serial number and fingerprint of its certificate.
func Refused(door core.Door, address string, sent []*x509.Certificate, why string) core.Record {
	r := core.Record{Door: door, Address: address, Detail: core.Printable(why, maxWhy)}
	if len(sent) > 0 {
		sum := sha256.Sum256(sent[0].Raw)
		subject := core.Printable(identity.NameText(sent[0].RawSubject), maxSubject)
		r.Fingerprint, r.ClientRef = hex.EncodeToString(sum[:]), subject
		r.Detail += fmt.Sprintf(" (certificate: subject %s, serial %s, issuer %s, sha256 %s)", subject, core.Printable(sent[0].SerialNumber.Text(16), maxSerial), core.Printable(identity.NameText(sent[0].RawIssuer), maxSubject), r.Fingerprint)
	}
	return r
}

// Bounds of the parts of a record, in bytes. What is in a certificate comes from
// the client.
const (
	maxWhy     = 400
	maxSubject = 200
	maxSerial  = 64
)
