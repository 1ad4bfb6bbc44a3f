package client_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/server/servertest"
)

// onTTY runs a command whose input and outputs are one terminal, types a text, and returns what
// the terminal shows.
func (p *terminal) onTTY(typed string, args ...string) string {
	p.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		p.t.Skip("there are no pseudo-terminals")
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(servertest.Binary(p.t), args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.dir, tty, tty, tty
	cmd.Env = append(append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME=", "KEYREEVE_PROFILES=", "TERM=xterm"), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	tty.Close()
	shown := make(chan string, 1)
	go func() {
		var all strings.Builder
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			all.Write(b[:n])
			if typed != "" && strings.Contains(all.String(), ": ") { // the question
				for range 1000 { // until the terminal shows no more what is typed
					if mode, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS); err != nil || mode.Lflag&unix.ECHO == 0 {
						break
					}
					time.Sleep(5 * time.Millisecond)
				}
				io.WriteString(master, typed)
				typed = ""
			}
			if err != nil { // EIO after the end of the command
				shown <- all.String()
				return
			}
		}
	}()
	cmd.Wait()
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}

// A terminal shows no password, and gets no bytes that it could act on.
func TestOnATerminal(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt", "--name", "first")
	if got := p.onTTY("", "key", "list"); !strings.HasPrefix(got, "\x1b[1mKEY ") || !strings.Contains(got, "NAME\x1b[0m\n") {
		t.Errorf("the first line of a list is not bold: %q", got)
	}
	p.env = []string{"NO_COLOR=1"}
	if got := p.onTTY("", "key", "list"); !strings.HasPrefix(got, "KEY ") {
		t.Errorf("with NO_COLOR the list is %q", got)
	}
	p.file("binary.json", p.must(0, "\x1b[2J", "encrypt", key))
	if got := p.onTTY("", "decrypt", key, "binary.json"); strings.Contains(got, "\x1b") || !strings.Contains(got, "--out") {
		t.Errorf("bytes reach the terminal: %q", got)
	}
	p.file("text.json", p.must(0, "häuser\n", "encrypt", key))
	if got := p.onTTY("", "decrypt", key, "text.json"); got != "häuser\n" {
		t.Errorf("a text is shown as %q", got)
	}
	const password = "correct horse battery"
	p.must(0, password+"\n", "user", "add", "alice", "--dir", p.server.Dir, "--tenant", "default")
	got := p.onTTY(password+"\n", "login", "--profile", "alice", "--dir", p.server.Dir, "--url", p.url(), "--user", "alice", "--tenant", "default")
	if !strings.HasPrefix(got, "Password of alice: \n") || !strings.Contains(got, "profile alice is saved") || strings.Contains(got, password) {
		t.Errorf("login shows %q", got)
	}
}
