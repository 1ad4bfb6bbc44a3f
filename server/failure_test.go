package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// health asks the REST door and returns the whole answer.
func health(t *testing.T, s *servertest.Server) (ready bool, text string) {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := rest.Get("https://" + s.HTTPS + "/v1/health")
	if err != nil {
		t.Fatalf("the REST door does not answer: %v", err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	var h struct{ Ready bool }
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatalf("health answers %s", b)
	}
	return h.Ready, string(b)
}

// sick demands that Create and Get fail as they should in both version
// families: with General Failure and a sentence that names what to mend.
func sick(t *testing.T, s *servertest.Server, id string, names ...string) {
	t.Helper()
	for _, v := range []core.Version{core.V1_2, core.V2_1} {
		c := dial(t, s, "dev", v)
		for what, try := range map[string]func() error{
			"Create": func() error {
				_, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
				return err
			},
			"Get": func() error { _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)}); return err },
		} {
			err := try()
			for i := 0; err == nil && i < 1000; i++ { // a full disk takes small records for a while
				err = try()
			}
			if kmiptest.Reason(err) != core.ReasonGeneralFailure {
				t.Errorf("KMIP %v, %s: %v; want General Failure", v, what, err)
				continue
			}
			for _, n := range names {
				if !strings.Contains(err.Error(), n) {
					t.Errorf("KMIP %v, %s: %v; the sentence must name %q", v, what, err, n)
				}
			}
			for _, secret := range []string{"sqlite", "postgres:", "SQLSTATE", "127.0.0.1", s.Dir} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("KMIP %v, %s: %v; a client need not know %q", v, what, err, secret)
				}
			}
		}
	}
	if ready, text := health(t, s); ready || !strings.Contains(text, names[0]) {
		t.Errorf("health says %s", text)
	}
}

// well waits until the server, without a restart, makes and gives keys again.
func well(t *testing.T, s *servertest.Server) {
	t.Helper()
	var err error
	for range 100 {
		c := dial(t, s, "dev", core.V1_4)
		var made core.CreateOutput
		if made, err = kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)); err == nil {
			if _, err = kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(made.ID)}); err == nil {
				break
			}
		}
		c.Close()
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("the server does not recover: %v", err)
	}
	for range 100 {
		if ready, _ := health(t, s); ready {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	_, text := health(t, s)
	t.Errorf("the server works and says that it is not ready: %s", text)
}

// loaded runs workers that make and destroy objects while f does its harm, and
// returns what they were told is there.
func loaded(t *testing.T, s *servertest.Server, l *ledger, f func()) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
					l.work(t, s, w, round) // ends with the first error
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	f()
	close(stop)
	// work goes on as long as all is well, so the workers' connections are cut.
	s.Signal(syscall.SIGTERM)
	wg.Wait()
	s.Wait()
	s.Run()
}

// The disk that the database lies on is full: nothing is acknowledged that is
// not stored, everything says why, and with room there again all goes on.
func TestDiskFull(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("a small disk cannot be mounted (%v): run the tests as root", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	s := servertest.Start(t, "KEYREEVE_DEV_STORE=sqlite:"+filepath.Join(disk, "keyreeve.db"))
	id := aesKey(t, dial(t, s, "dev", core.V1_4))
	filler := filepath.Join(disk, "filler")
	var l ledger
	loaded(t, s, &l, func() {
		fill(t, filler)
		full := false
		c := dial(t, s, "dev", core.V1_4)
		for range 4000 { // what room is left in the files of the database goes first
			if _, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)); err != nil {
				full = true
				break
			}
		}
		if !full {
			t.Fatal("the disk is full, and the server goes on making keys")
		}
		sick(t, s, id, "full")
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		well(t, s)
	})
	l.check(t, s, 0)
	if log, _ := os.ReadFile(s.Log); strings.Contains(string(log), "token object that no row names") || bytes.Contains(log, []byte("panic")) {
		t.Errorf("afterwards:\n%s", log)
	}
}

// fill takes all the room that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
}

// The token goes away under load, in the middle of calls, and comes back: what
// needs it says so, what does not goes on, nothing is lost or half made.
func TestTokenGone(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	s := servertest.Start(t, "KEYREEVE_DEV_MODULE="+faults.Module, "KEYREEVE_DEV_COPIES=none")
	id := aesKey(t, dial(t, s, "dev", core.V1_4))
	var l ledger
	loaded(t, s, &l, func() {
		for _, rule := range []string{"* 0x30 0", "* 0x32 0", "C_WrapKey 0x30 0", "* 0x190 0"} {
			faults.Rule(rule)
			if rule[0] == '*' {
				sick(t, s, id, "HSM")
			}
			if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(id)}); err != nil {
				t.Errorf("attributes need no token, and under %s: %v", rule, err)
			}
			faults.Rule()
			well(t, s)
		}
	})
	l.check(t, s, 0)
	if log, _ := os.ReadFile(s.Log); strings.Contains(string(log), "token object that no row names") || bytes.Contains(log, []byte("panic")) {
		t.Errorf("afterwards:\n%s", log)
	}
}

// PostgreSQL goes away under load and comes back.
func TestDatabaseGone(t *testing.T) {
	p := storetest.StartPostgres(t)
	s := servertest.Start(t, "KEYREEVE_DEV_STORE="+p.URL)
	id := aesKey(t, dial(t, s, "dev", core.V1_4))
	var l ledger
	loaded(t, s, &l, func() {
		p.Crash()
		sick(t, s, id, "database")
		p.Start()
		well(t, s)
	})
	l.check(t, s, 0)
	if log, _ := os.ReadFile(s.Log); strings.Contains(string(log), "token object that no row names") || bytes.Contains(log, []byte("panic")) {
		t.Errorf("afterwards:\n%s", log)
	}
}
