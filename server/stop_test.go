package server_test

import (
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// SIGTERM comes while clients have many requests on the way. What was done was
// answered, the answers arrive though the clients go on sending, no connection is
// reset, and the exit status is 0; a second SIGTERM changes nothing.
func TestStopAnswersWhatItRead(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(lasting(0))
	for round := 0; round < 3 || time.Now().Before(end); round++ {
		s := servertest.Start(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		answered := map[string]bool{}
		for w := range 6 {
			c := narrow(t, s)
			sent := make(chan bool)
			go func() { // sends as long as it can, whole batches of requests at once
				defer close(sent)
				for i := 0; i < 200; i++ {
					var all []byte
					for j := range 10 {
						msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.Create, kmiptest.AESKey(128, usesOfAES, kmiptest.Name(fmt.Sprintf("%d.%d.%d", w, i, j)))))
						if err != nil {
							t.Error(err)
							return
						}
						all = append(all, msg...)
					}
					if _, err := c.Conn.Write(all); err != nil {
						return
					}
				}
			}()
			wg.Go(func() {
				if w%2 == 1 {
					time.Sleep(500 * time.Millisecond) // and reads late
				}
				for {
					raw, err := c.Receive()
					if err != nil {
						if !errors.Is(err, io.EOF) {
							t.Errorf("round %d: the connection ends with %v", round, err)
						}
						break
					}
					r, err := kmip.ParseResponse(raw)
					if err != nil || len(r.Items) != 1 || r.Items[0].Status != core.StatusSuccess {
						t.Errorf("round %d: %+v, %v", round, r, err)
						break
					}
					var out core.CreateOutput
					if err := kmip.Create.DecodeResponse(r.Items[0].Payload, core.V1_4, &out); err != nil {
						t.Error(err)
					}
					mu.Lock()
					answered[out.ID] = true
					mu.Unlock()
				}
				<-sent
			})
		}
		time.Sleep(time.Duration(50+50*(round%5)) * time.Millisecond)
		s.Signal(syscall.SIGTERM)
		if round%2 == 1 {
			s.Signal(syscall.SIGTERM)
		}
		if err := s.Wait(); err != nil {
			log, _ := os.ReadFile(s.Log)
			t.Errorf("round %d: after SIGTERM: %v\n%s", round, err, log)
		}
		wg.Wait()
		made := idsIn(t, filepath.Join(s.Dir, "keyreeve.db"))
		lost := 0
		for _, id := range made {
			if !answered[id] {
				lost++
			}
		}
		if lost > 0 || len(made) != len(answered) || len(made) == 0 {
			t.Errorf("round %d: %d were made, %d answered; %d were made without an answer", round, len(made), len(answered), lost)
		}
	}
}

// narrow is a client that has little room for answers, so that the server keeps
// what is not read.
func narrow(t *testing.T, s *servertest.Server) *kmiptest.Client {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	raw, err := d.Dial("tcp", s.KMIP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return &kmiptest.Client{Conn: tls.Client(raw, cfg), Version: core.V1_4}
}

func idsIn(t *testing.T, file string) (ids []string) {
	t.Helper()
	db, err := sql.Open("sqlite3", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT id FROM object")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// SIGTERM while the database is away, and while it stands still: requests are
// answered, and the server ends with status 0 within its time.
func TestStopWithoutDatabase(t *testing.T) {
	t.Parallel()
	for what, away := range map[string]func(*storetest.Server){"gone": (*storetest.Server).Crash, "standing still": (*storetest.Server).Pause} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pg := storetest.StartPostgres(t)
			s := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
			c := dial(t, s, "dev", core.V1_4)
			id := aesKey(t, c)
			away(pg)
			told := make(chan error, 1)
			go func() {
				_, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
				told <- err
			}()
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			s.Signal(syscall.SIGTERM)
			err := s.Wait()
			log, _ := os.ReadFile(s.Log)
			if took := time.Since(began); err != nil || took > 25*time.Second || strings.Contains(string(log), "panic") {
				t.Errorf("after SIGTERM: %v in %v\n%s", err, took, log)
			}
			if err := <-told; kmiptest.Reason(err) != core.ReasonGeneralFailure {
				t.Errorf("what was under way is answered %v", err)
			}
		})
	}
}
