package client_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/server/servertest"
)

// plainFile writes a file of some bytes that do not repeat, and returns them.
func (p *terminal) plainFile(name string, n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	for i := 0; i < n; i += 32 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		copy(b[i:], sum[:])
	}
	p.file(name, string(b))
	return b
}

// left returns the files in the home that are not expected there.
func (p *terminal) left(expected ...string) (left []string) {
	all, _ := os.ReadDir(p.dir)
	for _, e := range all {
		if name := e.Name(); name != ".config" && !strings.Contains(" "+strings.Join(expected, " ")+" ", " "+name+" ") {
			left = append(left, name)
		}
	}
	return left
}

// Up to 64 KiB become an envelope, more becomes a file that is encrypted here. Both come back,
// from files and pipes, with their context alone.
func TestLargeFiles(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	for _, n := range []int{64 << 10, 64<<10 + 1, 3<<20 + 7} { // the last one is left for what follows
		magic := "krf\x01"
		if n <= 64<<10 {
			magic = "kre\x01"
		}
		plain := p.plainFile("plain", n)
		p.must(0, "", "encrypt", key, "plain", "--out", "sealed", "--context", "table=t", "--aad", p.file("aad", "row 1"))
		sealed, err := os.ReadFile(filepath.Join(p.dir, "sealed"))
		if err != nil || !strings.HasPrefix(string(sealed), magic) || bytes.Contains(sealed, plain[:16]) {
			t.Fatalf("%d bytes become %.8q, %v", n, sealed, err)
		}
		p.must(0, "", "decrypt", key, "sealed", "--out", "opened", "--context", "table=t", "--aad", "aad")
		opened, err := os.ReadFile(filepath.Join(p.dir, "opened"))
		if info, _ := os.Stat(filepath.Join(p.dir, "opened")); err != nil || !bytes.Equal(opened, plain) || info.Mode().Perm() != 0o600 {
			t.Errorf("%d bytes come back as %d, mode %v, %v", n, len(opened), info.Mode(), err)
		}
		if got := p.must(0, string(sealed), "decrypt", key, "--context", "table=t", "--aad", "aad"); got != string(plain) {
			t.Errorf("%d bytes come back as %d by a pipe", n, len(got))
		}
		for _, args := range [][]string{{}, {"--context", "table=t"}, {"--context", "table=u", "--aad", "aad"}} {
			if status, stdout, stderr := p.run(string(sealed), append([]string{"decrypt", key}, args...)...); status != 1 || stdout != "" {
				t.Errorf("%d bytes with %q: status %d, %d bytes, %s", n, args, status, len(stdout), stderr)
			}
		}
	}
	if left := p.left("plain", "aad", "sealed", "opened"); left != nil {
		t.Errorf("files are left: %v", left)
	}
	p.must(0, "", "key", "rotate", key, "-q")
	p.must(0, "", "decrypt", key, "sealed", "--out", "opened", "--context", "table=t", "--aad", "aad")
	other := p.key("--usage", "encrypt,decrypt")
	p.must(1, "", "decrypt", other, "sealed", "--context", "table=t", "--aad", "aad")
	for _, args := range [][]string{{"encrypt", key, "plain", "-o", "json"}, {"decrypt", key, "sealed", "-o", "json"}} {
		if got := p.must(1, "", args...); !strings.Contains(got, "say -o table") {
			t.Errorf("%q says %q", args, got)
		}
	}
	if got := p.must(1, "", "decrypt", key, "sealed", "--text"); !strings.Contains(got, "--text is for envelopes") {
		t.Errorf("--text says %q", got)
	}
}

// A file that is not whole has another status than 0 and a sentence, and gets no name. A pipe has
// got only what was verified.
func TestLargeFilesAreWholeOrNamed(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	plain := p.plainFile("plain", 3<<20)
	sealed := p.must(0, string(plain), "encrypt", key)
	header := 6 + int(binary.BigEndian.Uint16([]byte(sealed[4:])))
	changed := []byte(sealed)
	changed[header+1<<20+5] ^= 1
	for name, c := range map[string]struct {
		file, want string
		written    int
	}{
		"the last segments are missing": {sealed[:header+2<<20], "the file is cut off: its last segment is missing", 1<<20 - 56},
		"the end is missing":            {sealed[:len(sealed)-1], "segment 3 of the file was changed, or its end is missing", 3<<20 - 16*3 - 40},
		"the header is missing":         {sealed[:header-1], "the file is cut off", 0},
		"a segment was changed":         {string(changed), "segment 1 of the file was changed", 1<<20 - 56},
		"bytes follow":                  {sealed + "x", "segment 3 of the file was changed", 3<<20 - 16*3 - 40},
	} {
		status, stdout, stderr := p.run(c.file, "decrypt", key)
		if status != 1 || len(stdout) != c.written || !strings.HasPrefix(string(plain), stdout) || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: status %d, %d bytes, want %d; %s", name, status, len(stdout), c.written, stderr)
		}
		p.must(1, c.file, "decrypt", key, "--out", "opened")
		if left := p.left("plain"); left != nil {
			t.Errorf("%s: files are left: %v", name, left)
		}
	}
	p.must(0, sealed, "decrypt", key, "--out", "opened")
	p.must(1, sealed[:len(sealed)-1], "decrypt", key, "--out", "opened")
	if got, err := os.ReadFile(filepath.Join(p.dir, "opened")); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("a failure changes a file that was there: %d bytes, %v", len(got), err)
	}
}

// An envelope of encrypt, whose plaintext somebody may know, is no data key of a file.
func TestEnvelopeIsNoDataKeyOfAFile(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	known := strings.Repeat("k", 32)
	envelope := p.must(0, known, "encrypt", key)
	file := "krf\x01" + string(binary.BigEndian.AppendUint16(nil, uint16(len(envelope)))) + envelope + "\x28" + strings.Repeat("s", 39) + strings.Repeat("x", 16)
	if got := p.must(1, file, "decrypt", key); strings.Contains(got, "cut off") || strings.Contains(got, "segment") || !strings.Contains(got, "request ") {
		t.Errorf("the server opens the envelope: %q", got)
	}
	for _, command := range []string{"encrypt", "decrypt"} {
		if got := p.must(1, envelope, command, key, "--context", "keyreeve-file=1"); !strings.Contains(got, "is set by encrypt itself") {
			t.Errorf("%s with the context of a file: %q", command, got)
		}
	}
}

// Memory stays flat, whatever the size.
func TestMemoryOfLargeFiles(t *testing.T) {
	const most = 64 << 10 // KiB
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	for _, command := range []string{"encrypt", "decrypt"} {
		var in io.Reader = io.LimitReader(zeros{}, 256<<20)
		if command == "decrypt" {
			f, err := os.Open(filepath.Join(p.dir, "encrypted"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			in = f
		}
		stdout, err := os.Create(filepath.Join(p.dir, command+"ed"))
		if err != nil {
			t.Fatal(err)
		}
		defer stdout.Close()
		cmd := exec.Command(servertest.Binary(t), command, key)
		cmd.Dir, cmd.Env = p.dir, append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME=", "KEYREEVE_PROFILES=")
		var problems bytes.Buffer
		cmd.Stdout, cmd.Stderr = stdout, &problems
		pipe, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, copyErr := io.Copy(pipe, in)
		took := mostMemory(t, cmd.Process.Pid) // it waits for the end of its input
		pipe.Close()
		if err := cmd.Wait(); err != nil || copyErr != nil || problems.Len() > 0 {
			t.Fatalf("%s: %v, %v: %s", command, err, copyErr, &problems)
		}
		if took > most {
			t.Errorf("%s of 256 MiB takes %d KiB of memory, want at most %d", command, took, most)
		}
		t.Logf("%s of 256 MiB takes %d KiB of memory", command, took)
	}
	if info, err := os.Stat(filepath.Join(p.dir, "decrypted")); err != nil || info.Size() != 256<<20 {
		t.Errorf("%v, %v", info, err)
	}
}

// mostMemory returns the most memory that a process has had, in KiB. The resource usage of a
// process that has ended does not say that: it counts the memory of the test, which it was
// before it began another program.
func mostMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(text), "VmHWM:")
	var kib int
	if _, err := fmt.Sscanf(line, "%d kB", &kib); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return kib
}

// zeros is a source of zeros.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A signal ends a command that waits for a pipe, and no file is left.
func TestInterruptedFile(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	for _, out := range []string{"sealed", "-"} {
		cmd := exec.Command(servertest.Binary(t), "encrypt", key, "--out", out)
		cmd.Dir, cmd.Env = p.dir, append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME=", "KEYREEVE_PROFILES=")
		var problems bytes.Buffer
		cmd.Stderr = &problems
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe() // nobody reads it
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go in.Write(make([]byte, 3<<20))
		if out == "-" {
			io.ReadFull(stdout, make([]byte, 4))
		} else {
			for range 500 {
				if p.left() != nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			if p.left() == nil {
				t.Fatal("no file is begun")
			}
		}
		cmd.Process.Signal(syscall.SIGINT)
		done := make(chan struct{})
		go func() { io.Copy(io.Discard, stdout); cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			t.Fatal("the command does not end")
		}
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(problems.String(), "interrupted") {
			t.Errorf("--out %s: %v, %s", out, cmd.ProcessState, &problems)
		}
		if left := p.left(); left != nil {
			t.Errorf("--out %s: files are left: %v", out, left)
		}
	}
}

// Long work shows on a terminal how far it is, and takes the line away at its end. Without a
// terminal nothing is shown.
func TestProgress(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	fifo := filepath.Join(p.dir, "pipe")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	feed := func() {
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		f.Write(make([]byte, 5<<20))
		time.Sleep(1500 * time.Millisecond)
		f.Write(make([]byte, 1))
	}
	go feed()
	if got := p.onTTY("", "encrypt", key, "pipe", "--out", "sealed"); !strings.Contains(got, "\r5 MiB, ") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("the terminal shows %q", got)
	}
	go feed()
	if got := p.must(0, "", "encrypt", key, "pipe", "--out", "sealed"); got != "" {
		t.Errorf("without a terminal, it prints %q", got)
	}
	if got := p.onTTY("", "decrypt", key, "sealed"); strings.Contains(got, "\x00") || !strings.Contains(got, "--out") {
		t.Errorf("a large file reaches the terminal: %.200q", got)
	}
}
