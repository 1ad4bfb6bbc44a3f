package member

import (
	"log/slog"
	"time"
)

// DefaultSessions is the number of logged-in sessions if the configuration has none.
const DefaultSessions = 8

// Config names one token and says how to use it.
type Config struct {
	Module string // path of the PKCS#11 library
	Label  string // token label
	Serial string // token serial number; may be "" if only one token has the label
	PIN    func() (string, error)

	Sessions  int           // logged-in sessions in the pool; 0: DefaultSessions
	Wait      time.Duration // for a session, or for the turn to change objects; 0: 5 s
	Stuck     time.Duration // a longer call counts as hanging; 0: 10 s
	Handles   int           // unwrapped keys kept in the token; 0: 4096
	HandleTTL time.Duration // 0: 10 min
	Log       *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Sessions == 0 {
		c.Sessions = DefaultSessions
	}
	if c.Handles == 0 {
		c.Handles = 4096
	}
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{{&c.Wait, 5 * time.Second}, {&c.Stuck, 10 * time.Second}, {&c.HandleTTL, 10 * time.Minute}} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}
