package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// unread is a connection of a client that sends and never reads.
func unread(with *tls.Config, addr string, host byte) (*tls.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 7, host)}, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	return tls.DialWithDialer(d, "tcp", addr, with)
}

func batchOf(t *testing.T, n int, item kmip.ClientItem) []byte {
	t.Helper()
	items := make([]kmip.ClientItem, n)
	for i := range items {
		items[i] = item
	}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{ErrorOption: core.BatchErrorContinuationOptionContinue}, items...)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// Clients of one principal ask for as much as they can and read none of it, or send
// the largest messages there are, slowly. Memory stays bounded, and another principal
// of the same tenant is served.
func TestMemoryOfUnreadAnswers(t *testing.T) {
	s := servertest.Start(t)
	dev := dial(t, s, "dev", core.V1_4)
	var large core.Attributes
	for i := range 15 {
		large = append(large, core.Attribute{Vendor: "x", Name: fmt.Sprint("large", i), Value: core.Text(strings.Repeat("a", 4<<10))})
	}
	rich := aesKey(t, dev, large...)
	opaque, err := kmiptest.Do(dev, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject,
		OpaqueDataType: 0x80000001, OpaqueData: make([]byte, 900<<10)}})
	if err != nil {
		t.Fatal(err)
	}
	with, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	hash := kmiptest.Item(&kmip.Hash, &core.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: make([]byte, 1<<20-4096)})
	floods := [][]byte{
		batchOf(t, 64, kmiptest.Item(&kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(rich)})),
		batchOf(t, 4, kmiptest.Item(&kmip.Get, &core.GetInput{ID: core.ID(opaque.ID)})),
		batchOf(t, 64, kmiptest.Item(&kmip.Locate, &core.LocateInput{MaximumItems: -1})),
		batchOf(t, 1, hash), // sent without its end
	}
	victim := dial(t, s, "dev2", core.V1_4)
	id := aesKey(t, victim)
	stop := make(chan bool)
	var wg sync.WaitGroup
	for i := range 240 {
		wg.Go(func() {
			for msg := floods[i%len(floods)]; ; {
				c, err := unread(with, s.KMIP, byte(1+i%200))
				if err == nil {
					if i%len(floods) == 3 {
						c.Write(msg[:len(msg)-100])
					} else {
						c.SetWriteDeadline(time.Now().Add(3 * time.Second))
						c.Write(bytes.Repeat(msg, 20))
					}
				}
				select {
				case <-stop:
				case <-time.After(3 * time.Second):
				}
				if c != nil {
					c.Close()
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	most, served, slowest := 0, 0, time.Duration(0)
	for end := time.Now().Add(lasting(12 * time.Second)); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		began := time.Now()
		if _, err := kmiptest.Do(victim, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err != nil {
			t.Errorf("the client that works: %v", err)
			break
		}
		served++
		slowest = max(slowest, time.Since(began))
		most = max(most, s.Resident(t))
	}
	close(stop)
	wg.Wait()
	t.Logf("%d MiB of memory at most; another client was served %d times, slowest %v", most>>10, served, slowest)
	if most > 512<<10 {
		t.Errorf("the server has taken %d MiB of memory; 512 is the bound", most>>10)
	}
	still(t, s)
}

// The Go runtime has a limit: the budget of the doors and a base, or what GOMEMLIMIT says.
func TestRuntimeMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"GOMEMLIMIT="}, "runtime_limit_mib=448 from=limits.memory_total_mib"},
		{[]string{"GOMEMLIMIT=600MiB"}, "runtime_limit_mib=600 from=GOMEMLIMIT"},
	} {
		s := servertest.Start(t, c.env...)
		if log, err := os.ReadFile(s.Log); err != nil || !bytes.Contains(log, []byte(c.want)) {
			t.Errorf("with %v the log does not have %q: %s %v", c.env, c.want, log, err)
		}
	}
}

// What a stream holds is in the figures of memory until it ends.
func TestHeldPartsAreInTheMemoryFigures(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	part := &core.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: make([]byte, 900<<10), Init: &truth}
	out, err := kmiptest.Do(c, &kmip.Hash, part)
	if err != nil {
		t.Fatal(err)
	}
	if n := figures(t, s)["keyreeve_memory_bytes"]; n < 900<<10 {
		t.Errorf("a stream that holds 900 KiB counts %v bytes", n)
	}
	part = &core.HashInput{Parameters: part.Parameters, Correlation: bytes.Clone(out.Correlation), Data: []byte("x"), Final: &truth}
	if _, err := kmiptest.Do(c, &kmip.Hash, part); err != nil {
		t.Fatal(err)
	}
	if n := figures(t, s)["keyreeve_memory_bytes"]; n > 64<<10 {
		t.Errorf("after its end %v bytes are counted", n)
	}
}
