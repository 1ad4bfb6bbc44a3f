package kmipd

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/origin"
)

// reader is a connection that remembers the buffers that TLS reads into, reads a
// few bytes at a time, and counts how often, when it is asked for more, one of the
// buffers still has what was sent.
type reader struct {
	net.Conn
	most func() int
	tls  *tls.Conn
	seen [][]byte
	kept int
}

// sent is what every request consists of.
var sent = []byte("a secret")

func (r *reader) Read(p []byte) (int, error) {
	r.look()
	return r.Conn.Read(p[:min(len(p), r.most())])
}

// look searches the buffer that TLS has now, from its first byte to its last, and
// those that it had.
func (r *reader) look() {
	raw := reflect.ValueOf(r.tls).Elem().FieldByName("rawInput").FieldByName("buf") // as of Go 1.26; for this test alone
	if b := unsafe.Slice((*byte)(raw.UnsafePointer()), raw.Cap()); len(r.seen) == 0 || &r.seen[len(r.seen)-1][0] != &b[0] {
		r.seen = append(r.seen, b)
	}
	for _, b := range r.seen {
		if bytes.Contains(b, sent) {
			r.kept++
		}
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Whenever TLS waits for more, nothing that it has decrypted is left in any
// memory that it read into: with records of every size, cut anywhere, with
// requests one behind the other; and what is read is what was sent. Without wire
// it is left there: this is how a release of Go that does without, or does
// otherwise, is noticed.
func TestWireForgets(t *testing.T) {
	cert := selfSigned(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, most := range []int{1 << 20, 3000, 100, 7} { // bytes that arrive at once
			t.Run(fmt.Sprintf("%s, %d at once", tls.VersionName(version), most), func(t *testing.T) {
				cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version, InsecureSkipVerify: true, DynamicRecordSizingDisabled: most > 1000}
				if kept := receive(t, cfg, most, true); kept > 0 {
					t.Errorf("%d times something was left", kept)
				}
				if kept := receive(t, cfg, most, false); kept == 0 {
					t.Error("without wire nothing is left either: it can go, or this test finds nothing")
				}
			})
		}
	}
}

// receive sends messages of many sizes and tells how often something was left.
func receive(t *testing.T, cfg *tls.Config, most int, wired bool) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rnd := mrand.New(mrand.NewPCG(1, uint64(most)))
	var sizes []int
	total := 0
	for range 60 {
		sizes = append(sizes, len(sent)*(1+rnd.IntN(1<<rnd.IntN(13)))) // most of them small, up to two records
		total += sizes[len(sizes)-1]
	}
	go func() {
		c, err := tls.Dial("tcp", l.Addr().String(), cfg)
		if err != nil {
			return
		}
		defer c.Close()
		for i, n := range sizes {
			c.Write(bytes.Repeat(sent, n/len(sent)))
			if i%8 == 7 {
				time.Sleep(time.Millisecond) // else they come one behind the other
			}
		}
	}()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{Conn: nc, most: func() int { return 1 + rnd.IntN(most) }}
	var under net.Conn = r
	w := &wire{Conn: r}
	if wired {
		under = w
	}
	c := tls.Server(under, cfg)
	r.tls = c
	defer c.Close()
	got, err := io.ReadAll(c) // with buffers of other sizes than the records'
	if err != nil || !bytes.Equal(got, bytes.Repeat(sent, total/len(sent))) {
		t.Fatalf("%d bytes came of %d, or others: %v", len(got), total, err)
	}
	return r.kept
}

// A connection that ends with a request that nobody has read to its end leaves
// nothing of that either, however large it is.
func TestEndedConnectionForgets(t *testing.T) {
	cfg := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}, InsecureSkipVerify: true, DynamicRecordSizingDisabled: true}
	for _, size := range []int{100, 5000, 16000, 40000} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		arrived := make(chan bool)
		go func() {
			c, err := tls.Dial("tcp", l.Addr().String(), cfg)
			if err != nil {
				return
			}
			defer c.Close()
			c.Write(bytes.Repeat(sent, size/len(sent)))
			<-arrived
		}()
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{Conn: nc, most: func() int { return 1 << 20 }}
		w := &wire{Conn: r}
		c := &conn{wire: w, tls: tls.Server(w, cfg), origin: origin.Origin{Principal: &core.Principal{}}}
		r.tls = c.tls
		if _, err := io.ReadFull(c.tls, make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		c.close()
		close(arrived)
		if r.look(); r.kept > 0 {
			t.Errorf("%d bytes: something was left", size)
		}
	}
}

// Whatever comes, framed or not, is passed on as it is.
func FuzzWire(f *testing.F) {
	f.Add([]byte{22, 3, 3, 0, 2, 1, 2, 23, 3, 3, 0, 0, 23, 3, 3, 0xff, 0xff, 1}, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		here, there := net.Pipe()
		defer here.Close()
		go func() { there.Write(b); there.Close() }()
		w := &wire{Conn: here}
		var got []byte
		for buf := make([]byte, 1+int(step)); ; {
			n, err := w.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, b) {
			t.Errorf("%x came as %x", b, got)
		}
	})
}
