package store_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

var ctx = context.Background()

func TestSQLite(t *testing.T) {
	dir := t.TempDir()
	storetest.Run(t, func(t *testing.T) core.Store {
		s, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())+".db"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestPostgres(t *testing.T) {
	url := storetest.Postgres(t)
	storetest.Run(t, func(t *testing.T) core.Store {
		s, err := store.Open(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// A child commits in a loop and is killed in the middle; what it said it had
// committed is there, and the file is whole.
func TestKilledWriterLosesNothing(t *testing.T) {
	if path := os.Getenv("KEYREEVE_STORE_CHILD"); path != "" {
		writeForever(path)
	}
	for round := range 10 {
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
		time.Sleep(time.Duration(100+30*round) * time.Millisecond)
		child.Process.Kill()
		ids := <-acknowledged
		child.Wait()
		if len(ids) > 0 && len(ids[len(ids)-1]) < 5 {
			ids = ids[:len(ids)-1] // a torn line says nothing
		}
		s, err := store.Open(ctx, "sqlite:"+path)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if _, err := s.Object(ctx, "t", id); err != nil {
				t.Fatalf("round %d: %s was acknowledged and is gone: %v", round, id, err)
			}
		}
		records, err := s.Records(ctx, core.RecordQuery{Tenant: "t"})
		if err != nil || len(records) < min(len(ids), 1000) {
			t.Errorf("round %d: %d objects and %d records, %v", round, len(ids), len(records), err)
		}
		s.Close()
	}
}

func writeForever(path string) {
	s, err := store.Open(ctx, "sqlite:"+path)
	if err != nil {
		panic(err)
	}
	for w := range 4 {
		go func() {
			for i := range 100000 {
				id := fmt.Sprintf("o%d-%05d", w, i)
				if err := s.Commit(ctx, &core.Change{Insert: []*core.ManagedObject{storetest.Object("t", id)}, Entries: []core.Entry{{Tenant: "t", Time: 1, Body: []byte(id)}}}); err != nil {
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
	for url, want := range map[string]string{"mysql://x": "store.url", "sqlite:/nowhere/at/all.db": "store.url", "postgres://127.0.0.1:1/none?connect_timeout=1": "reached"} {
		if _, err := store.Open(ctx, url); err == nil || core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want a sentence with %q", url, err, want)
		}
	}
}

func BenchmarkEntries(b *testing.B) {
	s, err := store.Open(ctx, "sqlite:"+filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := make([]byte, 230)
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetParallelism(n)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := s.Commit(ctx, &core.Change{Entries: []core.Entry{{Tenant: "t", Time: 1, Body: body}}}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
