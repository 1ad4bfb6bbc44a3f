package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// restFlood is 200 clients of one tenant that send large bodies to the REST door.
type restFlood struct {
	with     *tls.Config
	addr     string
	stop     chan bool
	refused  atomic.Int64 // answers 503 that say when to try again
	puzzling atomic.Value // another answer
}

// slowBody sends all of the largest body but its end, and reads the answer, if any
// comes.
func (f *restFlood) slowBody(host byte) {
	c, err := unread(f.with, f.addr, host)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(7 * time.Second))
	fmt.Fprintf(c, "POST /v1/encrypt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 1<<20)
	go c.Write(bytes.Repeat([]byte(" "), 1<<20-1))
	answer := make([]byte, 4096)
	n, _ := c.Read(answer)
	switch text := string(answer[:n]); {
	case strings.HasPrefix(text, "HTTP/1.1 503") && strings.Contains(text, "Retry-After:"):
		f.refused.Add(1)
	case n > 0:
		f.puzzling.Store(text)
	}
}

// unreadAnswer asks for a large answer and reads none of it.
func (f *restFlood) unreadAnswer(host byte, body string) {
	c, err := unread(f.with, f.addr, host)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	fmt.Fprintf(c, "POST /v1/encrypt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	select {
	case <-f.stop:
	case <-time.After(3 * time.Second):
	}
}

func (f *restFlood) run(wg *sync.WaitGroup, body string) {
	for i := range 200 {
		wg.Go(func() {
			for {
				select {
				case <-f.stop:
					return
				default:
				}
				if i%4 == 0 {
					f.unreadAnswer(byte(1+i), body)
				} else {
					f.slowBody(byte(1 + i))
				}
			}
		})
	}
}

// Clients of one tenant send large bodies slowly to the REST door and read no
// answers. Memory stays bounded, what does not fit is refused with a time to try
// again, and another tenant is served at both doors.
func TestMemoryOfSlowBodies(t *testing.T) {
	s := servertest.Start(t)
	s.Issue(certs.Request{Name: "hostile", Tenant: "hostile", Groups: []string{"h"}})
	hostile := dial(t, s, "hostile", core.V1_4)
	theirs := aesKey(t, hostile, activeNow)
	victim := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, victim, activeNow)
	with, err := kmiptest.Config(s.Certs, "hostile")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: ours}, Timeout: 20 * time.Second}
	flood := &restFlood{with: with, addr: s.HTTPS, stop: make(chan bool)}
	var wg sync.WaitGroup
	flood.run(&wg, fmt.Sprintf(`{"key_id":%q,"plaintext":%q}`, theirs, strings.Repeat("AAAA", 170_000)))

	most, served, slowest := 0, 0, time.Duration(0)
	for end := time.Now().Add(lasting(8 * time.Second)); time.Now().Before(end) && !t.Failed(); time.Sleep(20 * time.Millisecond) {
		began := time.Now()
		if _, err := kmiptest.Do(victim, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err != nil {
			t.Errorf("the other tenant's Get: %v", err)
		}
		res, err := rest.Post("https://"+s.HTTPS+"/v1/encrypt", "application/json", strings.NewReader(fmt.Sprintf(`{"key_id":%q,"plaintext":"AAAA"}`, id)))
		if err != nil {
			t.Fatalf("the other tenant's encrypt: %v", err)
		}
		if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			t.Errorf("the other tenant's encrypt: %s %s", res.Status, text)
		}
		res.Body.Close()
		served++
		slowest = max(slowest, time.Since(began))
		most = max(most, s.Resident(t))
	}
	close(flood.stop)
	wg.Wait()
	t.Logf("%d MiB of memory at most; another tenant was served %d times, slowest %v; %d bodies were refused", most>>10, served, slowest, flood.refused.Load())
	if most > 512<<10 {
		t.Errorf("the server has taken %d MiB of memory; 512 is the bound", most>>10)
	}
	if flood.refused.Load() == 0 {
		t.Errorf("no body was refused with 503 and a time to try again; another answer: %v", flood.puzzling.Load())
	}
	still(t, s)
}
