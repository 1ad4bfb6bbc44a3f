package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/boundedlog"
)

// stopWait is how long requests under way may take after SIGTERM.
const stopWait = 20 * time.Second

type serveCmd struct {
	Dev     bool   `help:"Make and use everything a first run needs, in --dir, on the loopback."`
	Dir     string `help:"Folder for --dev; left out: ./dev." type:"path"`
	KMIP    string `name:"kmip" help:"host:port of the KMIP door of --dev; port 0 picks a free one; left out: 127.0.0.1:5696."`
	HTTP    string `name:"http" help:"host:port of the REST door of --dev; port 0 picks a free one; left out: 127.0.0.1:8443."`
	Members int    `help:"Tokens of the HSM group; only 1 is supported so far." default:"1"`
	Config  string `help:"Configuration file, for production." type:"path"`
	Verbose bool   `short:"v" help:"Log more."`
}

func (c *serveCmd) Run() error {
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(boundedlog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	slog.SetDefault(log)
	cfg, err := c.config()
	if err != nil {
		return err
	}
	spareProcessors()
	defer runtime.KeepAlive(raiseHeap())
	limitedBy := limitMemory(cfg)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	s, err := server.Start(ctx, cfg, log)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped by a signal before it was ready") // err is only what the signal cut off
	}
	if err != nil {
		return err
	}
	log.Info("memory", "runtime_limit_mib", debug.SetMemoryLimit(-1)>>20, "from", limitedBy)
	fmt.Printf("ready kmip=%s https=%s dir=%s\n", s.KMIPAddr, s.HTTPSAddr, cfg.Dir)
	return serveUntilSignal(ctx, s)
}

// sparePerCore is how many goroutines may run at once for each processor.
const sparePerCore = 4

// spareProcessors lets more goroutines run at once than there are processors. The
// operating system then shares the processors out among them in turns of a few
// milliseconds, and prefers goroutines that have slept. With as many as processors, a
// request that needs 0.1 ms waits in Go's own queue behind every request that is
// there, each for up to 10 ms.
func spareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(sparePerCore * runtime.NumCPU())
	}
}

// heapFloor is how many bytes of the heap are never used.
const heapFloor = 16 << 20

// raiseHeap returns memory that nobody touches, so that the system does not provide it. Go collects
// garbage when the heap has doubled. That of a server with few keys is 5 MiB, and was collected
// 10 to 20 times a second.
func raiseHeap() []byte { return make([]byte, heapFloor) }

// limitMemory sets how much memory the Go runtime may take before it collects garbage
// more often, unless GOMEMLIMIT sets it. Without a limit, garbage may take as much again
// as the memory in use. It returns the name of the setting that sets the limit.
func limitMemory(cfg server.Config) (from string) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return "GOMEMLIMIT"
	}
	debug.SetMemoryLimit(cfg.RuntimeMemory())
	return "limits.memory_total_mib"
}

func (c *serveCmd) config() (server.Config, error) {
	if c.Members != 1 {
		return server.Config{}, fmt.Errorf("--members %d: groups of several tokens are not supported yet; leave it out", c.Members)
	}
	switch {
	case c.Dev && c.Config != "":
		return server.Config{}, fmt.Errorf("--dev and --config exclude each other")
	case c.Dev:
		return server.Dev(cmp.Or(c.Dir, "dev"), cmp.Or(c.KMIP, "127.0.0.1:5696"), cmp.Or(c.HTTP, "127.0.0.1:8443"))
	case c.Config != "" && c.Dir+c.KMIP+c.HTTP != "":
		return server.Config{}, fmt.Errorf("--dir, --kmip and --http are for --dev; in the file of --config they are dir, kmip and https")
	case c.Config != "":
		return server.LoadConfig(c.Config)
	}
	return server.Config{}, fmt.Errorf("serve needs --dev for a first try, or --config FILE")
}

// serveUntilSignal serves until SIGTERM; SIGHUP reloads.
func serveUntilSignal(ctx context.Context, s *server.Server) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var failed error
	for running := true; running; {
		select {
		case <-hup:
			s.Reload(ctx) // says in the log what it could not use
		case failed = <-s.Failed():
			running = false
		case <-ctx.Done():
			running = false
		}
	}
	stop, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	if err := s.Stop(stop); err != nil && failed == nil {
		failed = fmt.Errorf("not all requests were answered before the end: %w", err)
	}
	return failed
}
