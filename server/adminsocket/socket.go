// Package adminsocket is the ground of the door for commands of the same machine: HTTP and JSON
// over a Unix socket that only the server's own user can open, and the client of it.
//
// A [Route] says where the policy is asked and what leaves a record. Like the other doors, this
// one decides nothing. Start at [Handler], or at [Ask] for the commands.
package adminsocket

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
)

// Route is one question or order that a door D takes.
type Route[D any] struct {
	Pattern string
	Action  core.Action
	Checked Check
	Answer  func(d D, ctx context.Context, c *core.Caller, q *Question) (any, error)
}

// NewRoute returns a row of the table of a door.
func NewRoute[D any](pattern string, action core.Action, checked Check, answer func(D, context.Context, *core.Caller, *Question) (any, error)) Route[D] {
	return Route[D]{Pattern: pattern, Action: action, Checked: checked, Answer: answer}
}

// Check says where the policy is asked for a route, and what leaves a record.
type Check uint8

const (
	Asked            Check = iota // by the handler; a refusal leaves a record
	AskedAndRecorded              // by the handler; an answer leaves a record too, before it is given
	AskedByEngine                 // by the engine, which leaves the record
)

// Policy is asked for routes that the engine does not decide itself.
type Policy interface {
	MayInspect(ctx context.Context, c *core.Caller, action core.Action) error
	Administer(ctx context.Context, c *core.Caller, action core.Action, detail string, do func() error) error
}

// maxBody bounds a body, in bytes: a key policy, or a user.
const maxBody = core.MaxDirectoryBody

// Times of one request. The token may have many objects.
const (
	readTime  = 10 * time.Second
	workTime  = 50 * time.Second
	writeTime = time.Minute
)

// Listen makes the socket. A file that is left over from another run is replaced.
func Listen(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("another server answers at %s; stop it, or take another dir", path)
	}
	os.Remove(path)
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("the admin socket cannot be made; see dir (--dir): %w", err)
	}
	return l, nil
}

// Server returns an HTTP server with the bounds of the socket.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: readTime, ReadTimeout: readTime, WriteTimeout: writeTime, ConnContext: peerOf}
}

// Handler answers the routes of a door. statusOf gives the HTTP status of an error.
func Handler[D any](d D, routes []Route[D], policy Policy, statusOf func(error) int) http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), workTime)
			defer cancel()
			q := &Question{Values: r.URL.Query()}
			var out any
			var err error
			if q.Body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
				err = core.Wrap(core.InvalidField, err, "the body cannot be read, or has more than %d bytes", maxBody)
			} else {
				out, err = route.decide(ctx, d, policy, q)
			}
			clear(q.Body)
			writeAnswer(w, out, err, statusOf)
		})
	}
	return ownUser(mux)
}

// decide asks the policy where the route says so, and answers.
func (route *Route[D]) decide(ctx context.Context, d D, policy Policy, q *Question) (out any, err error) {
	c := callerOf(ctx)
	switch route.Checked {
	case AskedAndRecorded:
		err = policy.Administer(ctx, c, route.Action, question(route.Pattern, q.Values)+AskedBy(ctx), func() (err error) {
			out, err = route.Answer(d, ctx, c, q)
			return err
		})
		return out, err
	case AskedByEngine:
	default:
		if err := policy.MayInspect(ctx, c, route.Action); err != nil {
			return nil, err
		}
	}
	return route.Answer(d, ctx, c, q)
}

// maxQuestion bounds what a record tells of a question, in bytes.
const maxQuestion = 400

// question returns the pattern of a route with what is asked for, for a record.
func question(pattern string, q url.Values) string {
	for name, values := range q {
		if len(values) == 1 && values[0] == "" {
			delete(q, name) // the command line sends the filters that are not set too
		}
	}
	return core.Printable(strings.TrimSuffix(pattern+"?"+q.Encode(), "?"), maxQuestion)
}

// Principal is the principal of requests over the socket. No certificate can name it, because
// its method is another.
var Principal = &core.Principal{Tenant: core.SystemTenant, ID: "socket", Roles: []string{core.SystemRole}, Method: core.MethodSystem, Strength: core.StrengthSystem}

// callerOf is a request over the socket, as the policy sees it.
func callerOf(ctx context.Context) *core.Caller {
	return &core.Caller{Principal: Principal, Door: core.DoorAdmin, ClientRef: strings.TrimPrefix(AskedBy(ctx), ", ")}
}

type peerKey struct{}

// AskedBy tells who asked over the socket, for the end of a record's detail; a signal tells
// nothing.
func AskedBy(ctx context.Context) string {
	if uid, ok := ctx.Value(peerKey{}).(int); ok {
		return fmt.Sprintf(", asked by user %d", uid)
	}
	return ""
}

// peerOf asks the kernel who opened the connection.
func peerOf(ctx context.Context, c net.Conn) context.Context {
	uid := -1
	if u, ok := c.(*net.UnixConn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) {
				if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					uid = int(cred.Uid)
				}
			})
		}
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// ownUser lets in the server's own user alone, and root.
func ownUser(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if uid, ok := r.Context().Value(peerKey{}).(int); !ok || (uid != os.Getuid() && uid != 0) {
			http.Error(w, `{"error":"only the server's own user may do this"}`, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// writeAnswer writes an answer, or an error with all its causes: anyone who can ask here
// can read the log too.
func writeAnswer(w http.ResponseWriter, v any, err error, statusOf func(error) int) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(statusOf(err))
		v = map[string]string{"error": err.Error()}
	}
	json.NewEncoder(w).Encode(v)
}
