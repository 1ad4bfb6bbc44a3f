package door

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

// Bounds of a query and of a list.
const (
	DefaultPage   = 50 // items in a list
	MaxPage       = 200
	MaxParameters = 32 // of a query, empty ones counted
)

// SingleValues reads a query whose parameters are each given once.
func SingleValues(raw string) (map[string]string, error) {
	if strings.Count(raw, "&") >= MaxParameters {
		return nil, core.Errorf(core.InvalidField, "the query has more than %d parameters", MaxParameters)
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, core.Errorf(core.InvalidField, "the query cannot be read; ';' and '%%' are written %%3B and %%25")
	}
	out := make(map[string]string, len(q))
	for name, values := range q {
		if len(values) != 1 {
			return nil, core.Errorf(core.InvalidField, "%q is given more than once", Quotable(name))
		}
		out[name] = values[0]
	}
	return out, nil
}

// ReadQuery reads a query that has only the parameters of a list of names, none empty.
func ReadQuery(r *http.Request, names ...string) (map[string]string, error) {
	q, err := SingleValues(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	for name, v := range q {
		switch {
		case !slices.Contains(names, name):
			return nil, core.Errorf(core.InvalidField, "%q is no parameter here; %s can be given", Quotable(name), strings.Join(names, ", "))
		case v == "":
			return nil, core.Errorf(core.InvalidField, "%q is empty; leave it out", name)
		}
	}
	return q, nil
}

// QueryFor is readQuery for an action. A query that is refused leaves a record.
func (d *Door) QueryFor(c *core.Caller, r *http.Request, action core.Action, names ...string) (map[string]string, error) {
	q, err := ReadQuery(r, names...)
	if err != nil {
		return nil, d.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return q, nil
}

// Page says which part of a list is asked for.
type Page struct {
	Limit int
	After string // the last name of the page before; "": from the beginning
}

// PageFor reads ?limit= and ?pageToken=. A query that is refused leaves a record.
func (d *Door) PageFor(c *core.Caller, r *http.Request, action core.Action, most int) (Page, error) {
	p, err := ReadPage(r, most)
	if err != nil {
		return Page{}, d.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return p, nil
}

func ReadPage(r *http.Request, most int) (Page, error) {
	q, err := ReadQuery(r, "limit", "pageToken")
	if err != nil {
		return Page{}, err
	}
	return PageIn(q, most)
}

// PageIn reads limit and pageToken of a query.
func PageIn(q map[string]string, most int) (Page, error) {
	p := Page{Limit: min(DefaultPage, most)}
	if text, given := q["limit"]; given {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n < 1 || n > uint64(most) {
			return Page{}, core.Errorf(core.InvalidField, `"limit" must be a number from 1 to %d`, most)
		}
		p.Limit = int(n)
	}
	if token, given := q["pageToken"]; given {
		after, err := base64.RawURLEncoding.Strict().DecodeString(token)
		if err != nil || len(after) > core.MaxDirectoryID {
			return Page{}, core.Errorf(core.InvalidField, `"pageToken" is none that a list has answered`)
		}
		p.After = string(after)
	}
	return p, nil
}

// CutPage returns the items of a page, for which one more than its limit was read, and the
// token of the next page; "" if there are no more.
func CutPage[T any](all []T, p Page, name func(*T) string) ([]T, string) {
	if len(all) <= p.Limit {
		return all, ""
	}
	return all[:p.Limit], base64.RawURLEncoding.EncodeToString([]byte(name(&all[p.Limit-1])))
}

// PageOf reads the page of a list that a request asks for. It returns the token of the next
// page, "" if there are no more.
func PageOf[From, To any](d *Door, c *core.Caller, r *http.Request, action core.Action, list func(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]From, error),
	name func(*From) string, show func(*From) To) ([]To, string, error) {
	p, err := d.PageFor(c, r, action, MaxPage)
	if err != nil {
		return nil, "", err
	}
	all, err := list(r.Context(), c, "", p.After, p.Limit+1)
	if err != nil {
		return nil, "", err
	}
	all, next := CutPage(all, p, name)
	return Translate(all, show), next, nil
}

// Translate returns a list in another form. It is never nil, so that JSON has [].
func Translate[From, To any](all []From, to func(*From) To) []To {
	out := make([]To, len(all))
	for i := range all {
		out[i] = to(&all[i])
	}
	return out
}

// Nothing is the answer of a route that answers 204.
type Nothing struct{}
