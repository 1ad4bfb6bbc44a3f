package storetest

import (
	"fmt"
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
)

// Postgres starts a real PostgreSQL in a folder of its own, on a free port of
// the loopback, as an unprivileged user, and stops it with the test. It returns
// the URL of an empty database. KEYREEVE_TEST_POSTGRES may name one instead.
func Postgres(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("KEYREEVE_TEST_POSTGRES"); url != "" {
		return url
	}
	bin := postgresBin()
	if bin == "" {
		t.Skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
	}
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = os.TempDir()
	}
	dir, err := os.MkdirTemp(base, "keyreeve-pg-")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := unprivileged(dir)
	if err != nil {
		t.Skipf("PostgreSQL does not run as root, and no other user is there: %v", err)
	}
	p := &postgres{t: t, bin: bin, dir: dir, cred: cred}
	t.Cleanup(p.stop)
	p.start()
	return p.url
}

type postgres struct {
	t        testing.TB
	bin, dir string
	cred     *syscall.Credential
	server   *exec.Cmd
	url      string
}

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

// unprivileged gives dir to the user postgres, or nobody, when we are root.
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

func (p *postgres) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(p.bin, name), args...)
	c.Dir = p.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred, Pdeathsig: syscall.SIGKILL}
	return c
}

func (p *postgres) start() {
	p.t.Helper()
	data := filepath.Join(p.dir, "data")
	if out, err := p.command("initdb", "-D", data, "-U", "keyreeve", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C").CombinedOutput(); err != nil {
		p.t.Fatalf("initdb: %v\n%s", err, out)
	}
	port := freePort(p.t)
	p.server = p.command("postgres", "-D", data, "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", p.dir, "-c", "max_connections=200")
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.server.Stdout, p.server.Stderr = log, log
	if err := p.server.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.url = fmt.Sprintf("postgres://keyreeve@127.0.0.1:%d/postgres?sslmode=disable", port)
	for range 200 {
		if p.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(port)).Run() == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	out, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	p.t.Fatalf("PostgreSQL does not answer:\n%s", out)
}

// stop ends the server by its own id and removes its folder.
func (p *postgres) stop() {
	if p.server != nil && p.server.Process != nil {
		p.server.Process.Signal(syscall.SIGINT)
		p.server.Wait()
	}
	os.RemoveAll(p.dir)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
