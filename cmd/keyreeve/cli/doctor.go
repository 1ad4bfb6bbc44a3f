package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyreeve/keyreeve/server"
)

type doctorCmd struct{ where }

// Run prints a line for each part, and exits with 1 when one has a problem.
func (c *doctorCmd) Run() error {
	cfg, err := c.settings()
	if err != nil {
		return err
	}
	bad := 0
	for _, f := range server.Doctor(context.Background(), cfg) {
		state := "ok     "
		if f.Problem != "" {
			state, bad = "PROBLEM", bad+1
		}
		fmt.Printf("%s %-12s %s\n", state, f.Part, oneLine(f.Problem+f.Note))
	}
	if bad > 0 {
		return fmt.Errorf("%d of the parts have a problem", bad)
	}
	return nil
}

func (c *doctorCmd) settings() (server.Config, error) {
	if c.Dir != "" {
		_, err := os.Stat(filepath.Join(c.Dir, "pin")) // the last thing that is made: see member.DevToken
		if errors.Is(err, fs.ErrPermission) {
			return server.Config{}, fmt.Errorf("%s cannot be read by this user; run keyreeve as the user whose server it is: %w", c.Dir, err)
		}
		if err != nil {
			return server.Config{}, fmt.Errorf("%s is no folder of a development server; keyreeve serve --dev --dir %s makes one", c.Dir, c.Dir)
		}
		return server.FindDev(c.Dir, "127.0.0.1:0", "127.0.0.1:0")
	}
	return c.loadSettings()
}
