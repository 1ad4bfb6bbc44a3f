package storetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core/coretest"
)

// Postgres starts a real PostgreSQL in a new folder, on a free port of the loopback
// address, as an unprivileged user. It stops the server with the test. It returns the
// URL of an empty database, or the one in KEYREEVE_TEST_POSTGRES if that is set.
func Postgres(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("KEYREEVE_TEST_POSTGRES"); url != "" {
		return url
	}
	return StartPostgres(t).URL
}

// StartPostgres starts a server as [Postgres] does, for tests that stop or crash it.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	bin := postgresBin()
	if bin == "" {
		t.Skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
	}
	dir := coretest.MemoryDir(t)
	cred, err := unprivileged(dir)
	if err != nil {
		t.Skipf("PostgreSQL does not run as root, and there is no other user: %v", err)
	}
	p := &Server{t: t, bin: bin, dir: dir, cred: cred, port: freePort(t)}
	p.URL = fmt.Sprintf("postgres://keyreeve@127.0.0.1:%d/postgres?sslmode=disable", p.port)
	t.Cleanup(p.stop)
	if out, err := p.command("initdb", "-D", p.data(), "-U", "keyreeve", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.Start()
	return p
}

// Server is the PostgreSQL of one test.
type Server struct {
	URL      string
	t        testing.TB
	bin, dir string
	port     int
	cred     *syscall.Credential
	server   *exec.Cmd
}

func (p *Server) data() string { return filepath.Join(p.dir, "data") }

func postgresBin() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	slices.SortFunc(found, func(a, b string) int { return versionOf(a) - versionOf(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(p)
	}
	return ""
}

func versionOf(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4])
	return n
}

// unprivileged makes the user postgres, or else nobody, the owner of dir if we are root.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, uid, gid)
}

func (p *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(p.bin, name), args...)
	c.Dir = p.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Pdeathsig: syscall.SIGKILL}
	return c
}

// Start starts the server and waits until it answers.
func (p *Server) Start() {
	p.t.Helper()
	// Its shared memory is in its folder, so that nothing is left elsewhere if it is killed.
	p.server = p.command("postgres", "-D", p.data(), "-p", strconv.Itoa(p.port), "-h", "127.0.0.1", "-k", p.dir, "-c", "max_connections=200", "-c", "dynamic_shared_memory_type=mmap")
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.server.Stdout, p.server.Stderr = log, log
	if err := p.server.Start(); err != nil {
		p.t.Fatal(err)
	}
	for range 200 {
		if p.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port)).Run() == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	p.t.Fatalf("PostgreSQL does not answer:\n%s", out)
}

// Standby starts a hot standby of the server.
func (p *Server) Standby() *Server {
	p.t.Helper()
	dir := coretest.MemoryDir(p.t)
	s := &Server{t: p.t, bin: p.bin, dir: dir, cred: p.cred, port: freePort(p.t)}
	p.t.Cleanup(s.stop)
	if p.cred != nil {
		if err := os.Chown(dir, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
			p.t.Fatal(err)
		}
	}
	s.URL = fmt.Sprintf("postgres://keyreeve@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	if out, err := p.command("pg_basebackup", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "keyreeve", "-D", s.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync").CombinedOutput(); err != nil {
		p.t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	s.Start()
	return s
}

// Run executes one statement, as the owner of the database.
func (p *Server) Run(statement string) {
	p.t.Helper()
	if out, err := p.command("psql", "-X", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "keyreeve", "-d", "postgres", "-c", statement).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", statement, err, out)
	}
}

// Pooler starts a PgBouncer in transaction mode in front of the server, and
// returns the URL of the database behind it.
func (p *Server) Pooler() string {
	p.t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		p.t.Skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
	}
	port := freePort(p.t)
	settings := fmt.Sprintf("[databases]\npostgres = host=127.0.0.1 port=%d user=keyreeve\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = 200\n", p.port, port)
	file := filepath.Join(p.dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(settings), 0o644); err != nil {
		p.t.Fatal(err)
	}
	c := exec.Command(program, file)
	c.Dir = p.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(p.dir, "pgbouncer.log"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	for range 200 {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			conn.Close()
			return fmt.Sprintf("postgres://keyreeve@127.0.0.1:%d/postgres?sslmode=disable", port)
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, _ := os.ReadFile(log.Name())
	p.t.Fatalf("PgBouncer does not answer:\n%s", out)
	return ""
}

// Crash stops the server at once. Clients lose their connections, and the next start
// recovers from the log.
func (p *Server) Crash() {
	p.server.Process.Signal(syscall.SIGQUIT)
	p.server.Wait()
	p.server = nil
}

// Pause suspends all processes of the server, as if its machine hung. Resume continues
// them.
func (p *Server) Pause()  { p.signalAll(syscall.SIGSTOP) }
func (p *Server) Resume() { p.signalAll(syscall.SIGCONT) }

// signalAll sends a signal to the server and its children, each by its id.
func (p *Server) signalAll(sig syscall.Signal) {
	p.t.Helper()
	own := p.server.Process.Pid
	syscall.Kill(own, sig) // first, so that it starts no more children
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(all) == 0 {
		p.t.Skip("this test needs /proc, which only Linux has")
	}
	for _, path := range all {
		b, _ := os.ReadFile(path)
		_, after, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(after); len(f) > 1 && f[1] == strconv.Itoa(own) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			syscall.Kill(pid, sig)
		}
	}
}

// stop stops the server by its id.
func (p *Server) stop() {
	if p.server != nil && p.server.Process != nil {
		p.Resume()
		p.server.Process.Signal(syscall.SIGINT)
		p.server.Wait()
	}
}

// freePort returns a port of the loopback that no server uses. It lies below the ports that the
// system gives to clients, so that no connection takes it until the server listens.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("the loopback has no free port between 10000 and 30000")
	return 0
}
