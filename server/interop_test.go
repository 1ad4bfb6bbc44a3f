package server_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/keyreeve/keyreeve/server/servertest"
)

// Stock PyKMIP, as Debian ships it, works with the server in each version it speaks.
func TestPyKMIP(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import kmip").Run(); err != nil {
		t.Skip("PyKMIP is not installed (Debian: apt-get install python3-pykmip)")
	}
	s := servertest.Start(t)
	host, port, _ := net.SplitHostPort(s.KMIP)
	for _, v := range []string{"1.0", "1.1", "1.2", "1.3", "1.4", "2.0"} {
		t.Run(v, func(t *testing.T) {
			cmd := exec.Command(python, filepath.Join(servertest.Root(), "server/servertest/testdata/pykmip_client.py"), host, port, s.Certs, v)
			if out, err := cmd.CombinedOutput(); err != nil {
				log, _ := os.ReadFile(s.Log)
				t.Errorf("%v\n%s\nthe server's log:\n%s", err, out, log)
			}
		})
	}
}
