package kmipd

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// Four messages whose bytes fill the memory of a principal are all answered. None waits
// for memory while it holds what the others wait for.
func TestMessagesThatFitAreAnswered(t *testing.T) {
	w := messagetest.New(t, messagetest.SameStore, audit.New("n"))
	srv := newServer(w)
	srv.Memory = bounds.NewMemory(64<<20, 1<<20)
	addr, client := listen(t, srv)
	var items []kmip.ClientItem
	for range 60 {
		items = append(items, kmiptest.Item(&kmip.Hash, &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: make([]byte, 4100)}))
	}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, items...)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	begun := make(chan struct{})
	for i := range 4 {
		c, err := tls.Dial("tcp", addr, client)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write(msg[:1000]) // its memory is reserved from here on
		all.Go(func() {
			<-begun
			c.Write(msg[1000:])
			var header [8]byte
			if _, err := io.ReadFull(c, header[:]); err != nil {
				t.Error(err)
				return
			}
			out := make([]byte, binary.BigEndian.Uint32(header[4:]))
			io.ReadFull(c, out)
			r, err := kmip.ParseResponse(append(header[:], out...))
			if err != nil {
				t.Error(err)
				return
			}
			if len(r.Items) != 60 || r.Items[0].Status != core.StatusSuccess {
				t.Errorf("message %d was not answered", i)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	close(begun)
	all.Wait()
}
