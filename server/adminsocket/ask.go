package adminsocket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ErrNoServer is why a question did not reach a server.
var ErrNoServer = errors.New("no server answers")

// ErrNoAnswer is why the outcome of a question is not known: it was sent, and no whole answer came.
var ErrNoAnswer = errors.New("the server gave no whole answer, so it is not known whether it did what was asked")

// Ask puts a question to the server that answers at an admin socket.
func Ask(socket, method, path string, q url.Values, out any) error {
	return AskWith(socket, method, path, q, nil, out)
}

// AskWith is Ask with a body. out may be nil.
func AskWith(socket, method, path string, q url.Values, body []byte, out any) error {
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequest(method, "http://admin"+path+"?"+q.Encode(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		return fmt.Errorf("%w at %s; is it running, and is this its user?", ErrNoServer, socket)
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrNoAnswer, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var e struct{ Error string }
		json.NewDecoder(res.Body).Decode(&e)
		return errors.New(e.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("%w: %v", ErrNoAnswer, err)
	}
	return nil
}
