package httpd

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// singleValues reads a query whose parameters are each given once.
func singleValues(raw string) (map[string]string, error) {
	if strings.Count(raw, "&") >= maxParameters {
		return nil, core.Errorf(core.InvalidField, "the query has more than %d parameters", maxParameters)
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, core.Errorf(core.InvalidField, "the query cannot be read; ';' and '%%' are written %%3B and %%25")
	}
	out := make(map[string]string, len(q))
	for name, values := range q {
		if len(values) != 1 {
			return nil, core.Errorf(core.InvalidField, "%q is given more than once", quotable(name))
		}
		out[name] = values[0]
	}
	return out, nil
}

// readQuery reads a query that has only the parameters of a list of names, none empty.
func readQuery(r *http.Request, names ...string) (map[string]string, error) {
	q, err := singleValues(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	for name, v := range q {
		switch {
		case !slices.Contains(names, name):
			return nil, core.Errorf(core.InvalidField, "%q is no parameter here; %s can be given", quotable(name), strings.Join(names, ", "))
		case v == "":
			return nil, core.Errorf(core.InvalidField, "%q is empty; leave it out", name)
		}
	}
	return q, nil
}

// queryFor is readQuery for an action. A query that is refused leaves a record.
func (s *service) queryFor(c *core.Caller, r *http.Request, action core.Action, names ...string) (map[string]string, error) {
	q, err := readQuery(r, names...)
	if err != nil {
		return nil, s.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return q, nil
}

// page says which part of a list is asked for.
type page struct {
	limit int
	after string // the last name of the page before; "": from the beginning
}

// pageFor reads ?limit= and ?pageToken=. A query that is refused leaves a record.
func (s *service) pageFor(c *core.Caller, r *http.Request, action core.Action, most int) (page, error) {
	p, err := readPage(r, most)
	if err != nil {
		return page{}, s.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return p, nil
}

func readPage(r *http.Request, most int) (page, error) {
	q, err := readQuery(r, "limit", "pageToken")
	if err != nil {
		return page{}, err
	}
	return pageIn(q, most)
}

// pageIn reads limit and pageToken of a query.
func pageIn(q map[string]string, most int) (page, error) {
	p := page{limit: min(defaultPage, most)}
	if text, given := q["limit"]; given {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n < 1 || n > uint64(most) {
			return page{}, core.Errorf(core.InvalidField, `"limit" must be a number from 1 to %d`, most)
		}
		p.limit = int(n)
	}
	if token, given := q["pageToken"]; given {
		after, err := base64.RawURLEncoding.Strict().DecodeString(token)
		if err != nil || len(after) > core.MaxDirectoryID {
			return page{}, core.Errorf(core.InvalidField, `"pageToken" is none that a list has answered`)
		}
		p.after = string(after)
	}
	return p, nil
}

// cutPage returns the items of a page, for which one more than its limit was read, and the
// token of the next page; "" if there are no more.
func cutPage[T any](all []T, p page, name func(*T) string) ([]T, string) {
	if len(all) <= p.limit {
		return all, ""
	}
	return all[:p.limit], base64.RawURLEncoding.EncodeToString([]byte(name(&all[p.limit-1])))
}

// pageOf reads the page of a list that a request asks for. It returns the token of the next
// page, "" if there are no more.
func pageOf[From, To any](s *service, c *core.Caller, r *http.Request, action core.Action, list func(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]From, error),
	name func(*From) string, show func(*From) To) ([]To, string, error) {
	p, err := s.pageFor(c, r, action, maxPage)
	if err != nil {
		return nil, "", err
	}
	all, err := list(r.Context(), c, "", p.after, p.limit+1)
	if err != nil {
		return nil, "", err
	}
	all, next := cutPage(all, p, name)
	return translate(all, show), next, nil
}

// translate returns a list in another form. It is never nil, so that JSON has [].
func translate[From, To any](all []From, to func(*From) To) []To {
	out := make([]To, len(all))
	for i := range all {
		out[i] = to(&all[i])
	}
	return out
}

// nothing is the answer of a route that answers 204.
type nothing struct{}
