package store_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

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
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 4 {
			wg.Go(func() {
				_, err := s.KeySets(ctx, "")
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		wg.Wait()
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
