package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/keyreeve/keyreeve/server"
)

type initCmd struct {
	Config string `help:"Configuration file of the server." type:"path" required:""`
}

// Run prints the id of the installation that it made.
func (c *initCmd) Run() error {
	cfg, err := server.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	id, err := server.Init(context.Background(), cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	fmt.Println("installation", id)
	return nil
}
