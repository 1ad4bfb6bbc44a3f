// Package kmiptest is a small KMIP client for tests, the load generator and
// tools: one connection, one request at a time, any version. It relies on
// core and kmip. Start at [Dial].
package kmiptest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

// Client is one connection. Not safe for concurrent use.
type Client struct {
	Conn    net.Conn
	Version core.Version
	Options kmip.RequestOptions
	buf     []byte
}

// Failure is an answer without success.
type Failure struct {
	Operation core.Operation
	Status    core.ResultStatus
	Reason    core.ResultReason
	Message   string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%v: %v, %v: %s", f.Operation, f.Status, f.Reason, f.Message)
}

// Reason returns the Result Reason of a [Failure], 0 for anything else.
func Reason(err error) core.ResultReason {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Reason
	}
	return 0
}

// Config makes a TLS configuration from a folder with ca.pem, NAME.pem and
// NAME-key.pem.
func Config(certs, name string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, name+".pem"), filepath.Join(certs, name+"-key.pem"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(certs, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.pem holds no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "localhost"}, nil
}

// Dial connects and shakes hands.
func Dial(addr string, c *tls.Config, v core.Version) (*Client, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, c)
	if err != nil {
		return nil, err
	}
	return &Client{Conn: conn, Version: v}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.Conn.Close() }

// Send writes a message unchanged and returns the bytes of the answer, which are
// valid until the next call.
func (c *Client) Send(msg []byte) ([]byte, error) {
	if _, err := c.Conn.Write(msg); err != nil {
		return nil, err
	}
	return c.Receive()
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 16 << 20

// Receive reads one message.
func (c *Client) Receive() ([]byte, error) {
	var header [8]byte
	if _, err := io.ReadFull(c.Conn, header[:]); err != nil {
		return nil, err
	}
	n, err := kmip.FrameLength(header[:], maxAnswer)
	if err != nil {
		return nil, err
	}
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	c.buf = c.buf[:n]
	copy(c.buf, header[:])
	_, err = io.ReadFull(c.Conn, c.buf[len(header):])
	return c.buf, err
}

// Item makes a batch item of an operation.
func Item[I, O any](op *kmip.Operation[I, O], in *I) kmip.ClientItem {
	return kmip.ClientItem{Operation: op.Code, Payload: func(dst []byte, v core.Version) ([]byte, error) { return op.AppendRequest(dst, v, in) }}
}

// Batch sends items and returns the answers; failures are in them.
func (c *Client) Batch(items ...kmip.ClientItem) (kmip.ClientResponse, error) {
	msg, err := kmip.AppendRequest(nil, c.Version, c.Options, items...)
	if err != nil {
		return kmip.ClientResponse{}, err
	}
	answer, err := c.Send(msg)
	if err != nil {
		return kmip.ClientResponse{}, err
	}
	return kmip.ParseResponse(answer)
}

// Do sends one operation. Byte strings of the answer are valid until the next call.
func Do[I, O any](c *Client, op *kmip.Operation[I, O], in *I) (out O, err error) {
	r, err := c.Batch(Item(op, in))
	if err != nil {
		return out, err
	}
	if len(r.Items) != 1 {
		return out, fmt.Errorf("%d answers to one item", len(r.Items))
	}
	i := r.Items[0]
	if i.Status != core.StatusSuccess {
		return out, &Failure{i.Operation, i.Status, i.Reason, i.Message}
	}
	return out, op.DecodeResponse(i.Payload, c.Version, &out)
}

// AESKey returns the input of a Create of an AES key.
func AESKey(bits int32, mask core.UsageMask, more ...core.Attribute) *operation.CreateInput {
	as := core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}, {Tag: core.TagCryptographicLength, Value: core.Int(bits)},
		{Tag: core.TagCryptographicUsageMask, Value: core.Mask(mask)}}
	return &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: append(as, more...)}
}

// Name returns the attribute Name.
func Name(s string) core.Attribute {
	return core.Attribute{Tag: core.TagName, Value: core.PlainName(s).Value()}
}
