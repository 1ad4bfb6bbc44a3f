package store_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

var ctx = context.Background()

// created returns the store of a new database.
func created(t testing.TB, url string) core.Store {
	t.Helper()
	s, err := store.Create(ctx, url, new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSQLite(t *testing.T) {
	dir := t.TempDir()
	storetest.Run(t, func(t *testing.T) core.Store {
		return created(t, "sqlite:"+filepath.Join(dir, strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())+".db"))
	})
}

func TestPostgres(t *testing.T) {
	url := storetest.Postgres(t)
	storetest.Run(t, func(t *testing.T) core.Store {
		return created(t, url)
	})
}

// A child process commits in a loop and is killed. Everything that it acknowledged is
// stored, and the file is intact.
func TestKilledWriterLosesNothing(t *testing.T) {
	if path := os.Getenv("KEYREEVE_STORE_CHILD"); path != "" {
		writeForever(path)
	}
	for round := range 20 {
		path := filepath.Join(t.TempDir(), "killed.db")
		child := exec.Command(os.Args[0], "-test.run=TestKilledWriterLosesNothing")
		child.Env = append(os.Environ(), "KEYREEVE_STORE_CHILD="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := make(chan []string)
		go func() {
			buf := make([]byte, 1<<20)
			n := 0
			for {
				m, err := out.Read(buf[n:])
				if n += m; err != nil {
					break
				}
			}
			acknowledged <- strings.Fields(string(buf[:n]))
		}()
		time.Sleep(time.Duration(60+10*round) * time.Millisecond)
		child.Process.Kill()
		ids := <-acknowledged
		child.Wait()
		if len(ids) > 0 && len(ids[len(ids)-1]) < 5 {
			ids = ids[:len(ids)-1] // a torn line says nothing
		}
		s := created(t, "sqlite:"+path)
		for _, id := range ids {
			if _, err := s.Object(ctx, "t", id); err != nil {
				t.Fatalf("round %d: %s was acknowledged and is gone: %v", round, id, err)
			}
		}
		records, err := s.Records(ctx, core.RecordQuery{Tenant: "t"})
		if err != nil || len(records) < min(len(ids), 1000) {
			t.Errorf("round %d: %d objects and %d records, %v", round, len(ids), len(records), err)
		}
		if err := s.Commit(ctx, entry()); err != nil {
			t.Fatal(err)
		}
		storetest.Counts(t, s)
		s.Close()
	}
}

func writeForever(path string) {
	s, err := store.Create(ctx, "sqlite:"+path, new(storetest.Sealer))
	if err != nil {
		panic(err)
	}
	for w := range 4 {
		go func() {
			for i := range 100000 {
				id := fmt.Sprintf("o%d-%05d", w, i)
				if err := s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: storetest.Object("t", id)}, core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: []byte(id)}})); err != nil {
					panic(err)
				}
				fmt.Println(id)
			}
		}()
	}
	time.Sleep(20 * time.Second)
	os.Exit(1)
}

func TestOpenSaysWhatToMend(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"text.db": strings.Repeat("this is no database\n", 500), "cut.db": "SQLite format 3\x00" + strings.Repeat("\xff", 5000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := created(t, "sqlite:"+dir+"/open ? 50% #1.db") // a name that must not end the URI
	defer open.Close()
	for url, want := range map[string]string{"mysql://x": "store.url", "sqlite:/nowhere/at/all.db": "store.url", "postgres://127.0.0.1:1/none?connect_timeout=1": "reached",
		"sqlite:" + dir: "store.url", "sqlite:" + dir + "/text.db": "backup", "sqlite:" + dir + "/cut.db": "backup", "sqlite:" + dir + "/open ? 50% #1.db": "another process"} {
		if _, err := store.Create(ctx, url, new(storetest.Sealer)); err == nil || core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want a sentence with %q", url, err, want)
		}
	}
}

// If the file of a running server is removed, the server must not acknowledge commits that
// are lost.
func TestRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone.db")
	s := created(t, "sqlite:"+path)
	defer s.Close()
	if err := s.Health(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func() error{"a record": func() error {
		return s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: []byte("x")}}))
	}, "a change": func() error {
		return s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: storetest.Object("t", "lost")}))
	}, "health": func() error { return s.Health(ctx) }} {
		if err := f(); core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(err.Error(), "removed or replaced") {
			t.Errorf("%s without the file: got %v", what, err)
		}
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := s.Health(ctx); core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("just after a commit that failed: %v; ill health must outlast the moment", err)
	}
	if err := s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: []byte("x")}})); err != nil {
		t.Errorf("with the file back: %v", err)
	}
	if err := s.Health(ctx); err != nil {
		t.Errorf("after a commit that worked: %v", err)
	}
}

// Nodes that start at the same time on an empty database all start.
func TestNodesStartTogether(t *testing.T) {
	url := storetest.Postgres(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := store.Create(ctx, url, new(storetest.Sealer))
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
}

// PostgreSQL crashes during commits and starts again, three times. What was acknowledged is
// stored, what was refused is not, and the store is not restarted.
func TestPostgresGoneAndBack(t *testing.T) {
	server := storetest.StartPostgres(t)
	s := created(t, server.URL)
	defer s.Close()
	fate := map[string]error{}
	var mu sync.Mutex
	for round := range 3 {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					id := fmt.Sprintf("r%d-w%d-%d", round, w, i)
					c := core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: id, Time: 1, Body: []byte("x")}})
					if w%2 == 0 {
						c.Add(core.InsertObject{Object: storetest.Object("t", id)})
					}
					err := s.Commit(ctx, c)
					mu.Lock()
					fate[id] = err
					mu.Unlock()
					if err != nil {
						time.Sleep(2 * time.Millisecond)
					}
				}
			})
		}
		time.Sleep(150 * time.Millisecond)
		server.Crash()
		if err := s.Health(ctx); core.CodeOf(err) != core.StoreUnavailable {
			t.Errorf("health without a server: %v", err)
		}
		if _, err := s.Object(ctx, "t", "any"); core.CodeOf(err) != core.StoreUnavailable {
			t.Errorf("a read without a server: %v", err)
		}
		close(stop)
		wg.Wait()
		server.Start()
		back := time.Now()
		for s.Health(ctx) != nil {
			if time.Since(back) > 5*time.Second {
				t.Fatal("the store does not find its server again")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	acknowledged, refused, open := 0, 0, 0
	for id, err := range fate {
		found, rerr := s.Records(ctx, core.RecordQuery{Tenant: id})
		if rerr != nil {
			t.Fatal(rerr)
		}
		switch {
		case err == nil:
			if acknowledged++; len(found) != 1 {
				t.Errorf("%s was acknowledged and has %d records", id, len(found))
			}
		case strings.Contains(err.Error(), "not known"):
			open++
		default:
			if refused++; len(found) != 0 || core.CodeOf(err) != core.StoreUnavailable {
				t.Errorf("%s was refused (%v) and has %d records", id, err, len(found))
			}
		}
	}
	storetest.Counts(t, s)
	t.Logf("%d acknowledged, %d refused, %d not known", acknowledged, refused, open)
	if acknowledged == 0 || refused == 0 {
		t.Error("the test saw no commits or no refusals, so it shows nothing")
	}
}

func BenchmarkEntries(b *testing.B) {
	s := created(b, "sqlite:"+filepath.Join(b.TempDir(), "bench.db"))
	defer s.Close()
	body := make([]byte, 230)
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetParallelism(n)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: body}})); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkBirths stores objects as Create does: row, search rows and record.
func BenchmarkBirths(b *testing.B) {
	var next atomic.Int64
	for _, url := range []string{"sqlite:" + filepath.Join(b.TempDir(), "bench.db"), storetest.Postgres(b)} {
		s := created(b, url)
		defer s.Close()
		name, _, _ := strings.Cut(url, ":")
		for _, n := range []int{1, 16, 64} {
			b.Run(fmt.Sprint(name, " ", n), func(b *testing.B) {
				b.SetParallelism(n)
				b.ReportAllocs()
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						o := storetest.Object("t", fmt.Sprint("born-", next.Add(1)))
						if err := s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: o}, core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: make([]byte, 230)}})); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
