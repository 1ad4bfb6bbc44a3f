package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
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
	coretest.AtOnce(6, func(int) {
		s, err := store.Create(ctx, url, new(storetest.Sealer))
		if err != nil {
			t.Error(err)
			return
		}
		s.Close()
	})
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
		commit := func(w, i int) {
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
		coretest.Meanwhile(8, commit, func() {
			time.Sleep(150 * time.Millisecond)
			server.Crash()
			if err := s.Health(ctx); core.CodeOf(err) != core.StoreUnavailable {
				t.Errorf("health without a server: %v", err)
			}
			if _, err := s.Object(ctx, "t", "any"); core.CodeOf(err) != core.StoreUnavailable {
				t.Errorf("a read without a server: %v", err)
			}
		})
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

// Close closes all connections. The last one copies the WAL into the database and removes
// it, so that a copy of the file is complete.
func TestCloseLeavesNoWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := withOneObject(t, "sqlite:"+path).Close(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + end); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there after Close: %v", end, err)
		}
	}
}

// way is an address that leads to one server after another, like a virtual address that
// follows the primary.
type way struct {
	mu     sync.Mutex
	target string
	conns  []net.Conn
	hung   chan struct{} // closed: what is open hands nothing on any more
}

// overWay opens a way to a database, and the store over it.
func overWay(t *testing.T, database string) (*way, core.Store) {
	t.Helper()
	w := &way{hung: make(chan struct{})}
	w.lead(t, database)
	t.Cleanup(w.cut)
	s := created(t, storetest.Redirect(t, database, w.join))
	t.Cleanup(func() { s.Close() })
	return w, s
}

func (w *way) join(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, err := net.Dial("tcp", w.target)
	if err != nil {
		c.Close()
		return
	}
	w.conns = append(w.conns, c, s)
	for _, p := range [][2]net.Conn{{c, s}, {s, c}} {
		go func(hung chan struct{}) {
			b := make([]byte, 64<<10)
			for {
				n, err := p[0].Read(b)
				select {
				case <-hung:
					io.Copy(io.Discard, p[0])
					return
				default:
				}
				if err != nil {
					p[1].Close()
					return
				}
				p[1].Write(b[:n])
			}
		}(w.hung)
	}
}

// lead sends new connections to another server.
func (w *way) lead(t *testing.T, database string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = storetest.Address(t, database)
}

// cut closes the open connections.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// hang makes the open connections forward nothing. New connections work.
func (w *way) hang() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.hung)
	w.hung = make(chan struct{})
}

func entry() *core.Change {
	return core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "t", Time: 1, Body: []byte("x")}})
}

// comesBack waits until a commit works again.
func comesBack(t *testing.T, s core.Store) {
	t.Helper()
	var err error
	for range 200 {
		if err = s.Commit(ctx, entry()); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the store does not come back: %v; health %v", err, s.Health(ctx))
}

// An address leads to a standby for some time, then to the primary again. Health names
// the state, and the store works again without a restart.
func TestStandbyIsLeft(t *testing.T) {
	t.Parallel()
	primary := storetest.StartPostgres(t)
	w, s := overWay(t, primary.URL)
	if err := s.Commit(ctx, entry()); err != nil {
		t.Fatal(err)
	}
	standby := primary.Standby()
	w.lead(t, standby.URL)
	w.cut()
	var err error
	for range 3 { // the first may meet the connection that was cut
		err = s.Health(ctx)
	}
	if core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(err.Error(), "25006") {
		t.Errorf("health at a standby: %v; want SQLSTATE 25006", err)
	}
	if err := s.Commit(ctx, entry()); core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("a commit at a standby: %v", err)
	}
	w.lead(t, primary.URL)
	comesBack(t, s)
	if err := s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: storetest.Object("t", "after")})); err != nil {
		t.Errorf("a birth afterwards: %v", err)
	}
}

// If a server stops accepting writes while its connections stay open, the store connects
// to the server that accepts them.
func TestReadOnlyServerIsLeft(t *testing.T) {
	t.Parallel()
	first := storetest.StartPostgres(t)
	w, s := overWay(t, first.URL)
	second := storetest.StartPostgres(t)
	created(t, second.URL).Close() // with its schema
	first.Run("ALTER SYSTEM SET default_transaction_read_only = on")
	first.Run("SELECT pg_reload_conf()")
	var err error
	for range 100 {
		if err = s.Commit(ctx, entry()); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err == nil || !strings.Contains(err.Error(), "25006") {
		t.Fatalf("a commit on a server that takes no writes: %v", err)
	}
	w.lead(t, second.URL) // connections to the first stay open
	comesBack(t, s)
}

// Connections to a database that hangs leave the pool when the time of a query is over. A
// new connection works at once.
func TestHungConnectionsLeaveThePool(t *testing.T) {
	t.Parallel()
	w, s := overWay(t, storetest.StartPostgres(t).URL+"&pool_max_conns=4")
	all := func() (errs []error) {
		errs = make([]error, 4)
		coretest.AtOnce(len(errs), func(i int) { _, errs[i] = s.KeySets(ctx, "") })
		return errs
	}
	all() // four connections
	w.hang()
	for _, err := range all() {
		if err == nil {
			t.Log("a question found a connection made meanwhile")
		}
	}
	for _, err := range all() {
		if err != nil {
			t.Errorf("afterwards: %v; the hung connections hold their connections", err)
		}
	}
}

// Behind PgBouncer in transaction mode, statements cannot be prepared. The error at the
// start says what to add to the URL; with that, the store keeps the whole contract.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	address := storetest.StartPostgres(t).Pooler()
	if s, err := store.Create(ctx, address, new(storetest.Sealer)); core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(err.Error(), "default_query_exec_mode=exec") {
		t.Errorf("without the setting: %v, %v; want a refusal that names it", s, err)
	}
	storetest.Run(t, func(t *testing.T) core.Store {
		return created(t, address+"&default_query_exec_mode=exec")
	})
}

// An error of PostgreSQL is reported with its SQLSTATE and what to do.
func TestErrorsNameTheirState(t *testing.T) {
	t.Parallel()
	p := storetest.StartPostgres(t)
	s := created(t, p.URL)
	defer s.Close()
	p.Run("ALTER TABLE audit_entry RENAME TO elsewhere")
	if err := s.Commit(ctx, entry()); core.CodeOf(err) != core.StoreUnavailable || !strings.Contains(err.Error(), "SQLSTATE 42P01") {
		t.Errorf("without a table: %v", err)
	}
	if err := s.Health(ctx); err == nil || !strings.Contains(err.Error(), "42P01") {
		t.Errorf("health after it: %v", err)
	}
	for _, u := range []string{strings.Replace(p.URL, "/postgres?", "/nowhere?", 1)} {
		if _, err := store.Create(ctx, u, new(storetest.Sealer)); err == nil || !strings.Contains(err.Error(), "3D000") {
			t.Errorf("a database that is not there: %v", err)
		}
	}
}
