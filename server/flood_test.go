package server_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// floods are what one address does to a door until stop is closed. Each returns
// after at most a second, and is then done again.
var floods = map[string]func(d *net.Dialer, addr string, with *tls.Config, stop <-chan bool){
	"handshakes without a certificate": func(d *net.Dialer, addr string, with *tls.Config, _ <-chan bool) {
		bare := with.Clone()
		bare.Certificates = nil
		if c, err := tls.DialWithDialer(d, "tcp", addr, bare); err == nil {
			c.SetDeadline(time.Now().Add(time.Second))
			c.Read(make([]byte, 1))
			c.Close()
		}
	},
	"handshakes": func(d *net.Dialer, addr string, with *tls.Config, _ <-chan bool) {
		if c, err := tls.DialWithDialer(d, "tcp", addr, with); err == nil {
			c.Close()
		}
	},
	"silence": func(d *net.Dialer, addr string, _ *tls.Config, stop <-chan bool) {
		held(d, addr, nil, func(net.Conn) {}, stop)
	},
	"a handshake byte by byte": func(d *net.Dialer, addr string, _ *tls.Config, stop <-chan bool) {
		hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
		held(d, addr, nil, func(c net.Conn) { c.Write(hello[:1]); hello = append(hello[1:], hello[0]) }, stop)
	},
	"a message byte by byte": func(d *net.Dialer, addr string, with *tls.Config, stop <-chan bool) {
		held(d, addr, with, func(c net.Conn) { c.Write([]byte{0x42}) }, stop)
	},
}

// held opens a connection and does something on it ten times a second, until it
// is closed.
func held(d *net.Dialer, addr string, with *tls.Config, do func(net.Conn), stop <-chan bool) {
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	if with != nil {
		t := tls.Client(c, with)
		t.SetDeadline(time.Now().Add(5 * time.Second))
		if t.Handshake() != nil {
			return
		}
		t.SetDeadline(time.Time{})
		c = t
	}
	gone := make(chan bool)
	go func() { defer close(gone); c.Read(make([]byte, 1)) }()
	for {
		select {
		case <-gone:
			return
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
			do(c)
		}
	}
}

// One address floods both doors with handshakes, silence and slow senders. A
// client that works goes on working, over its connection and over new ones; one
// address gets no more connections than it may have, memory stays bounded, and
// afterwards everything is given back.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, c)
	with, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	hostile := with.Clone()
	from := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	if l, err := from.Dial("tcp", s.KMIP); err != nil {
		t.Skipf("the loopback has one address alone: %v", err)
	} else {
		l.Close()
	}
	memory, files := s.Resident(t), s.Files(t)
	stop := make(chan bool)
	var wg sync.WaitGroup
	for what, flood := range floods {
		n := 6
		if what != "handshakes" && what != "handshakes without a certificate" {
			n = 150 // of each kind, more than one address may have in all
		}
		for i := range n {
			wg.Go(func() {
				addr := []string{s.KMIP, s.HTTPS}[i%2]
				for {
					select {
					case <-stop:
						return
					default:
						flood(from, addr, hostile, stop)
						time.Sleep(20 * time.Millisecond) // refused ones come again soon
					}
				}
			})
		}
	}
	time.Sleep(500 * time.Millisecond)
	var took, fresh []time.Duration
	most, end := 0, time.Now().Add(lasting(4*time.Second))
	for time.Now().Before(end) || len(fresh) == 0 {
		began := time.Now()
		if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err != nil {
			t.Fatalf("the client that works: %v", err)
		}
		took = append(took, time.Since(began))
		if len(took)%20 == 0 {
			began = time.Now()
			again, err := kmiptest.Dial(s.KMIP, with, core.V1_4)
			if err != nil {
				t.Fatalf("a new connection of the client that works: %v", err)
			}
			if _, err := kmiptest.Do(again, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err != nil {
				t.Errorf("a new connection of the client that works: %v", err)
			}
			again.Close()
			fresh = append(fresh, time.Since(began))
			if ready, text := health(t, s); !ready {
				t.Errorf("health says %s", text)
			}
			most = max(most, s.Files(t))
		}
		time.Sleep(5 * time.Millisecond)
	}
	grown := s.Resident(t) - memory
	close(stop)
	wg.Wait()
	slices.Sort(took)
	slices.Sort(fresh)
	t.Logf("under the flood %d Gets, p50 %v, p99 %v; %d new connections, slowest %v; %d files at most, %d before; %d KiB of memory more", len(took), took[len(took)/2], took[len(took)*99/100],
		len(fresh), fresh[len(fresh)-1], most, files, grown)
	const perPeer = 256 // of each door
	if most > files+2*perPeer+40 {
		t.Errorf("%d files are open, %d before: one address may have %d connections of each door", most, files, perPeer)
	}
	if most < files+perPeer {
		t.Errorf("%d files were open at most: that was no flood", most)
	}
	if grown > 96<<10 {
		t.Errorf("memory has grown by %d KiB", grown)
	}
	if p99 := took[len(took)*99/100]; p99 > 2*time.Second || fresh[len(fresh)-1] > 5*time.Second {
		t.Errorf("the client that works waits %v, for a new connection %v", p99, fresh[len(fresh)-1])
	}
	for range 200 {
		if s.Files(t) <= files+8 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("20 s later %d files are open, %d before", s.Files(t), files)
}

// The bounds of all connections together hold too, whatever address they come from.
func TestConnectionBounds(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	conf := fresh(t)
	conf["limits"] = map[string]any{"connections": 30, "per_peer": 20, "waiting": 40, "waiting_per_net": 30}
	s := servertest.StartConfig(t, write(t, filepath.Join(dir, "config.yaml"), wholeConfig(t, conf)), dir, filepath.Join(dir, "certs"), "SOFTHSM2_CONF="+filepath.Join(dir, "softhsm2.conf"))
	works := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, works)
	with, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]int{}
	for _, host := range []byte{71, 72, 73} {
		from := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}}
		for range 25 {
			c, err := tls.DialWithDialer(from, "tcp", s.KMIP, with)
			if err != nil {
				continue
			}
			t.Cleanup(func() { c.Close() })
			k := &kmiptest.Client{Conn: c, Version: core.V1_4}
			if _, err := kmiptest.Do(k, &kmip.DiscoverVersions, &core.DiscoverVersionsInput{}); err == nil {
				in[fmt.Sprint(host)]++
			}
		}
	}
	// An eighth is left for other tenants: 27 of 30, and one is there.
	if in["71"] != 20 || in["72"] != 6 || in["73"] != 0 {
		t.Errorf("taken are %v of 25 each; want 20, 6 and none: 20 of one address, 27 of one tenant, and one is there", in)
	}
	if err := certs.Issue(dir, certs.Request{Name: "other", Tenant: "elsewhere"}); err != nil {
		t.Fatal(err)
	}
	s.DeclareTenant("elsewhere")
	other := dial(t, s, "other", core.V1_4)
	if _, err := kmiptest.Do(other, &kmip.DiscoverVersions, &core.DiscoverVersionsInput{}); err != nil {
		t.Errorf("a client of another tenant finds no slot: %v", err)
	}
	if _, err := kmiptest.Do(works, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err != nil {
		t.Errorf("the client that was there first: %v", err)
	}
}

// Silent connections from many addresses take the slots of nobody: new clients get
// in at both doors, though there are more silent ones than slots before and after
// authentication together, and one that is connected goes on.
func TestSilentConnectionsFromManyAddresses(t *testing.T) {
	dir, fresh := installed(t)
	conf := fresh(t)
	conf["limits"] = map[string]any{"connections": 60, "per_peer": 20, "waiting": 100, "waiting_per_net": 40, "handshake": "30s"}
	s := servertest.StartConfig(t, write(t, filepath.Join(dir, "config.yaml"), wholeConfig(t, conf)), dir, filepath.Join(dir, "certs"), "SOFTHSM2_CONF="+filepath.Join(dir, "softhsm2.conf"))
	works := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, works)
	get := func(c *kmiptest.Client) error {
		_, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
		return err
	}
	before := s.Files(t)
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			c.Close()
		}
	}()
	hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
	for i := range 300 {
		from := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%20), byte(1+i/20))}}
		for _, addr := range []string{s.KMIP, s.HTTPS} {
			c, err := from.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			c.Write(hello[:i%len(hello)])
			silent = append(silent, c)
		}
		if i%50 != 0 {
			continue
		}
		c := dial(t, s, "dev", core.V1_4)
		if err := get(c); err != nil {
			t.Errorf("a new client beside %d silent connections: %v", len(silent), err)
		}
		c.Close()
		if ready, text := health(t, s); !ready {
			t.Errorf("REST beside %d silent connections: %s", len(silent), text)
		}
	}
	if err := get(works); err != nil {
		t.Errorf("the client that was there first: %v", err)
	}
	if n := s.Files(t) - before; n > 2*100+20 {
		t.Errorf("%d files more are open; 100 connections of each door may wait", n)
	}
}
