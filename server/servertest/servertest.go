// Package servertest starts the real program for tests: built once, with a
// folder, token and free ports of its own, and stopped by its own id.
package servertest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core/coretest"
)

// Server is a running keyreeve.
type Server struct {
	KMIP, HTTPS string // host:port
	Dir, Certs  string
	Log         string // file with its standard error

	t    testing.TB
	cmd  *exec.Cmd
	env  []string
	args []string
}

var (
	build  sync.Once
	binary string
	failed error
)

// RemoveBinary removes the program that Binary built, if it did. A package that
// uses Binary calls it in its TestMain.
func RemoveBinary() {
	if binary != "" {
		os.RemoveAll(filepath.Dir(binary))
	}
}

// Root is the folder of the module.
func Root() string { return coretest.Root() }

// Binary builds the program once a test process.
func Binary(t testing.TB) string {
	t.Helper()
	build.Do(func() {
		dir, err := os.MkdirTemp("", "keyreeve-bin-")
		if err != nil {
			failed = err
			return
		}
		binary = filepath.Join(dir, "keyreeve")
		cmd := exec.Command("go", "build", "-o", binary, "./cmd/keyreeve")
		cmd.Dir = Root()
		if out, err := cmd.CombinedOutput(); err != nil {
			failed = fmt.Errorf("%v\n%s", err, out)
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	return binary
}

// Start starts a fresh development server, and skips the test when there is no
// SoftHSM2. env are additional NAME=VALUE settings.
func Start(t testing.TB, env ...string) *Server {
	t.Helper()
	NeedToken(t)
	dir := coretest.MemoryDir(t)
	s := &Server{t: t, Dir: dir, Certs: filepath.Join(dir, "certs"), Log: filepath.Join(dir, "log"), env: env}
	s.args = devArgs(dir)
	t.Cleanup(s.Kill)
	s.Run()
	return s
}

// NeedToken skips the test when there is no SoftHSM2.
func NeedToken(t testing.TB) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib*/softhsm/libsofthsm2.so")
	more, _ := filepath.Glob("/usr/lib/*/softhsm/libsofthsm2.so")
	if len(found)+len(more) == 0 {
		t.Skip("SoftHSM2 is not installed (Debian: apt-get install softhsm2)")
	}
}

// StartConfig starts a server by a configuration file, which names dir as its
// folder and lets it choose its ports; certs is where clients find theirs.
func StartConfig(t testing.TB, file, dir, certs string, env ...string) *Server {
	t.Helper()
	s := &Server{t: t, Dir: dir, Certs: certs, Log: filepath.Join(dir, "log"), env: env, args: []string{"serve", "--config", file}}
	t.Cleanup(s.Kill)
	s.Run()
	return s
}

func devArgs(dir string) []string {
	return []string{"serve", "--dev", "--dir", dir, "--kmip", "127.0.0.1:0", "--http", "127.0.0.1:0", "--verbose"}
}

// Move has the next Run serve another folder.
func (s *Server) Move(dir string) {
	s.Dir, s.Certs, s.args = dir, filepath.Join(dir, "certs"), devArgs(dir)
}

var ready = regexp.MustCompile(`^ready kmip=(\S+) https=(\S+) dir=(\S+)$`)

// Run starts the program on the folder, again after it was stopped.
func (s *Server) Run() {
	s.t.Helper()
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(Binary(s.t), s.args...)
	s.cmd.Dir, s.cmd.Env = s.Dir, append(os.Environ(), s.env...)
	s.cmd.Stderr = log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		m := ready.FindStringSubmatch(text)
		if m == nil {
			b, _ := os.ReadFile(s.Log)
			s.t.Fatalf("the server said %q, not that it is ready:\n%s", text, b)
		}
		s.KMIP, s.HTTPS = m[1], m[2]
	case <-time.After(30 * time.Second):
		s.t.Fatal("the server did not become ready in 30 s")
	}
}

// Kill ends it at once, as a power cut would.
func (s *Server) Kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Signal sends it a signal.
func (s *Server) Signal(sig os.Signal) { s.cmd.Process.Signal(sig) }

// Stop ends it as an operator does, and returns its exit status.
func (s *Server) Stop() error {
	s.Signal(syscall.SIGTERM)
	return s.Wait()
}

// Wait returns its exit status.
func (s *Server) Wait() error {
	err := s.cmd.Wait()
	s.cmd = nil
	return err
}

// PID is the process's id, for tests that look at it from outside.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Command runs another command of the program and returns what it printed.
func (s *Server) Command(args ...string) (string, error) {
	cmd := exec.Command(Binary(s.t), args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Certify makes a client certificate in the folder of the server. It does not declare
// the tenant.
func (s *Server) Certify(r certs.Request) {
	s.t.Helper()
	if err := certs.Issue(s.Dir, r); err != nil {
		s.t.Fatal(err)
	}
}

// Issue makes a client certificate in the folder of a running development server, as
// the command cert issue does, and declares its tenant.
func (s *Server) Issue(name, tenant string, groups ...string) {
	s.t.Helper()
	s.Certify(certs.Request{Name: name, Tenant: tenant, Groups: groups})
	s.DeclareTenant(tenant)
}

// DeclareTenant declares a tenant on the running server.
func (s *Server) DeclareTenant(name string) {
	s.t.Helper()
	if out, err := s.Command("tenant", "create", name, "--dir", s.Dir); err != nil {
		s.t.Fatalf("tenant %s: %v\n%s", name, err, out)
	}
}

// Resident is the server's resident memory in KiB.
func (s *Server) Resident(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Skip("memory is read from /proc, on Linux alone")
	}
	var kib int
	for _, line := range strings.Split(string(b), "\n") {
		fmt.Sscanf(line, "VmRSS: %d kB", &kib)
	}
	return kib
}

// Files is how many files and connections the server has open.
func (s *Server) Files(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Skip("open files are counted in /proc, on Linux alone")
	}
	return len(all)
}
