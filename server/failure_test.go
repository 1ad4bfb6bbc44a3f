package server_test

import (
	"encoding/json"
	"fmt"
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

// patients are keys that need the token in different ways.
type patients struct{ copied, resident, pair string }

func admitted(t *testing.T, s *servertest.Server) patients {
	t.Helper()
	c := dial(t, s, "dev", core.V1_4)
	pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &core.CreateKeyPairInput{
		Common:  core.Attributes{activeNow, {Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmECDSA)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}, sensitive, locked},
		Public:  core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		t.Fatal(err)
	}
	return patients{aesKey(t, c, activeNow), aesKey(t, c, activeNow, resident, locked), pair.PrivateID}
}

// treatments are operations that every part is needed for, at the KMIP door.
func treatments(c *kmiptest.Client, p patients) map[string]func() error {
	return map[string]func() error{
		"Create": func() error {
			_, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
			return err
		},
		"Create resident": func() error {
			_, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, resident))
			return err
		},
		"Get": func() error {
			_, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(p.copied)})
			return err
		},
		"Encrypt resident": func() error {
			_, err := kmiptest.Do(c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(p.resident), Parameters: &gcmMode, Data: []byte("x")})
			return err
		},
		"Sign": func() error {
			_, err := kmiptest.Do(c, &kmip.Sign, &core.SignInput{ID: core.ID(p.pair), Parameters: &ecdsa256, Data: []byte("x")})
			return err
		},
	}
}

// sick demands that operations fail as they should in both version families: with
// General Failure and a sentence that names what to fix; and at the REST door.
// Health says it too, in words of its own.
func sick(t *testing.T, s *servertest.Server, p patients, says string, names ...string) {
	t.Helper()
	clean := func(who, text string) {
		for _, n := range names {
			if !strings.Contains(text, n) {
				t.Errorf("%s: %s; the sentence must name %q", who, text, n)
			}
		}
		for _, secret := range []string{"sqlite", "postgres:", "SQLSTATE", "127.0.0.1", s.Dir, "CKR_"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %s; a client need not know %q", who, text, secret)
			}
		}
	}
	for _, v := range []core.Version{core.V1_2, core.V2_1} {
		c := dial(t, s, "dev", v)
		for what, try := range treatments(c, p) {
			if v == core.V1_2 && what == "Encrypt resident" {
				continue // no AEAD before 1.4
			}
			err := try()
			for i := 0; err == nil && i < 1000; i++ { // a full disk takes small records for a while
				err = try()
			}
			if kmiptest.Reason(err) != core.ReasonGeneralFailure {
				t.Errorf("KMIP %v, %s: %v; want General Failure", v, what, err)
				continue
			}
			clean(fmt.Sprintf("KMIP %v, %s", v, what), err.Error())
		}
	}
	for what, body := range map[string]string{"/v1/keys": `{"type":"symmetric","algorithm":"AES","usage":["encrypt"]}`, "/v1/encrypt": fmt.Sprintf(`{"key_id":%q,"plaintext":"eA=="}`, p.resident)} {
		status, text := post(t, s, what, body)
		if status != http.StatusServiceUnavailable {
			t.Errorf("REST %s: %d %s; want 503", what, status, text)
		}
		clean("REST "+what, text)
	}
	if ready, text := health(t, s); ready || !strings.Contains(text, says) {
		t.Errorf("health says %s", text)
	}
}

// post sends one request to the REST door.
func post(t *testing.T, s *servertest.Server, path, body string) (int, string) {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 30 * time.Second}
	res, err := rest.Post("https://"+s.HTTPS+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// well waits until the server, without a restart, does everything again.
func well(t *testing.T, s *servertest.Server, p patients) {
	t.Helper()
	var err error
	for range 100 {
		c := dial(t, s, "dev", core.V1_4)
		err = nil
		for what, try := range treatments(c, p) {
			if e := try(); e != nil {
				err = fmt.Errorf("%s: %w", what, e)
			}
		}
		c.Close()
		if err == nil {
			break
		}
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
					l.work(t, s, 3*w+round) // ends with the first error
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
	p := admitted(t, s)
	filler := filepath.Join(disk, "filler")
	l := newLedger()
	loaded(t, s, l, func() {
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
		sick(t, s, p, "full", "full")
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		well(t, s, p)
	})
	l.check(t, s, "afterwards", true)
	tokenAgrees(t, s, "sqlite:"+filepath.Join(disk, "keyreeve.db"))
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
	p := admitted(t, s)
	l := newLedger()
	loaded(t, s, l, func() {
		for _, rule := range []string{"* 0x30 0", "* 0x32 0", "C_WrapKey 0x30 0", "* 0x190 0"} {
			faults.Rule(rule)
			if rule[0] == '*' {
				sick(t, s, p, "HSM", "HSM")
			}
			if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(p.copied)}); err != nil {
				t.Errorf("attributes need no token, and under %s: %v", rule, err)
			}
			faults.Rule()
			well(t, s, p)
		}
	})
	l.check(t, s, "afterwards", true)
	tokenAgrees(t, s, "")
}

// PostgreSQL goes away under load and comes back.
func TestDatabaseGone(t *testing.T) {
	pg := storetest.StartPostgres(t)
	s := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
	p := admitted(t, s)
	l := newLedger()
	loaded(t, s, l, func() {
		pg.Crash()
		sick(t, s, p, "database", "database")
		pg.Start()
		well(t, s, p)
	})
	l.check(t, s, "afterwards", true)
	tokenAgrees(t, s, pg.URL)
}
