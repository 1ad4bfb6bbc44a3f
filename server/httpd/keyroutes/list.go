package keyroutes

import (
	"crypto/sha256"
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// listKeys is Locate: ?filter=, ?limit=, ?pageToken=.
func (s *service) listKeys(c *core.Caller, r *http.Request) (api.KeyPage, error) {
	in, err := locateInput(r)
	if err != nil {
		return api.KeyPage{}, s.Engine.RecordRefused(r.Context(), c, core.ActionLocate, err)
	}
	out, err := s.Attributes.Locate(r.Context(), c, in)
	if err != nil {
		return api.KeyPage{}, err
	}
	more := len(out.Shown) == int(in.MaximumItems)
	if more {
		out.Shown = out.Shown[:len(out.Shown)-1]
	}
	page := api.KeyPage{Keys: door.Translate(out.Shown, located)}
	if more {
		page.NextPageToken = pageToken(out.Shown[len(out.Shown)-1].ID, r.URL.Query().Get("filter"))
	}
	return page, nil
}

func located(o *operation.LocatedObject) api.Key {
	k := describe(o.ID, o.Attributes)
	k.Owner, k.Group = o.Owner, o.Group
	return k
}

// locateInput reads the query. It asks for one key more than a page has, to know if there is
// another page. Archived keys are in the list, and destroyed ones if the filter has a state.
func locateInput(r *http.Request) (*operation.LocateInput, error) {
	q, err := door.ReadQuery(r, "filter", "limit", "pageToken")
	if err != nil {
		return nil, err
	}
	in := &operation.LocateInput{MaximumItems: door.DefaultPage + 1, Show: true}
	if text, given := q["limit"]; given {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n < 1 || n > door.MaxPage {
			return nil, core.Errorf(core.InvalidField, `"limit" must be a number from 1 to %d`, door.MaxPage)
		}
		in.MaximumItems = int32(n) + 1
	}
	if token, given := q["pageToken"]; given {
		if in.After, err = readPageToken(token, q["filter"]); err != nil {
			return nil, err
		}
	}
	in.Attributes, err = readFilter(q["filter"])
	status := core.StorageStatusMaskOnLineStorage | core.StorageStatusMaskArchivalStorage
	if in.Attributes.Has(core.TagState) {
		status |= core.StorageStatusMaskDestroyedStorage
	}
	in.StorageStatus = uint32(status)
	return in, err
}

// filterMark is the length of what ties a page token to its filter, in bytes.
const filterMark = 8

// pageToken names the last key of a page, and the filter that the next page must have.
func pageToken(last, filter string) string {
	sum := sha256.Sum256([]byte(filter))
	return base64.RawURLEncoding.EncodeToString(append(sum[:filterMark:filterMark], last...))
}

// readPageToken returns the last key of the page before.
func readPageToken(token, filter string) (string, error) {
	sum := sha256.Sum256([]byte(filter))
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	switch {
	case err != nil || len(b) <= filterMark || len(b) > filterMark+core.MaxDirectoryID:
		return "", core.Errorf(core.InvalidField, `"pageToken" is none that a list has answered`)
	case string(b[:filterMark]) != string(sum[:filterMark]):
		return "", core.Errorf(core.InvalidField, `"pageToken" belongs to another "filter"; send the one of the page before`)
	}
	return string(b[filterMark:]), nil
}

// maxTerms bounds the terms of a filter.
const maxTerms = 16

// readFilter reads terms such as state:active tag.env:prod name:"my key", separated by spaces.
// A key must match all of them. A term that is not known is refused: if it were left out, more
// would be found than was asked for.
func readFilter(text string) (as core.Attributes, err error) {
	for n := 0; ; n++ {
		text = strings.TrimLeft(text, " ")
		if text == "" {
			return as, nil
		}
		if n == maxTerms {
			return nil, core.Errorf(core.InvalidField, `"filter" has more than %d terms`, maxTerms)
		}
		name, rest, ok := strings.Cut(text, ":")
		if !ok || name == "" || strings.Contains(name, " ") {
			return nil, core.Errorf(core.InvalidField, `"filter" must be terms such as state:active, separated by spaces; %q is none`, door.Quotable(text))
		}
		var value string
		if value, text, err = readFilterValue(name, rest); err != nil {
			return nil, err
		}
		more, err := readTerm(name, value)
		if err != nil {
			return nil, err
		}
		as = append(as, more...)
	}
}

// readFilterValue reads the value of a term, which can stand in quotation marks, and returns
// what follows it.
func readFilterValue(name, text string) (value, rest string, err error) {
	if quoted, ok := strings.CutPrefix(text, `"`); ok {
		value, rest, ok = strings.Cut(quoted, `"`)
		if !ok || (rest != "" && rest[0] != ' ') {
			return "", "", core.Errorf(core.InvalidField, `the value of %q in "filter" does not end with a quotation mark and a space`, door.Quotable(name))
		}
	} else {
		value, rest, _ = strings.Cut(text, " ")
	}
	if value == "" && !strings.HasPrefix(name, "tag.") {
		return "", "", core.Errorf(core.InvalidField, `%q in "filter" has no value`, door.Quotable(name))
	}
	return value, rest, nil
}

// readTerm returns the attributes that a term asks for.
func readTerm(name, value string) (core.Attributes, error) {
	one := func(t core.Tag, v core.Value) (core.Attributes, error) {
		return core.Attributes{{Tag: t, Value: v}}, nil
	}
	none := func() (core.Attributes, error) {
		return nil, core.Errorf(core.InvalidField, "%q in \"filter\" has no value %q", name, door.Quotable(value))
	}
	if tag, ok := strings.CutPrefix(name, "tag."); ok && tag != "" {
		return core.Attributes{customAttribute(tagPrefix+tag, value)}, nil
	}
	switch name {
	case "label": // a tag without a value
		return core.Attributes{customAttribute(tagPrefix+value, "")}, nil
	case "name":
		return one(core.TagName, core.Name{Text: value}.Value())
	case "objectGroup":
		return one(core.TagObjectGroup, core.Text(value))
	case "algorithm":
		n, ok := core.TagCryptographicAlgorithm.Info().Enum.ByName(value)
		if !ok {
			return none()
		}
		return one(core.TagCryptographicAlgorithm, core.Enum(n))
	case "state":
		n, ok := core.TagState.Info().Enum.ByName(value)
		if !ok {
			return none()
		}
		return one(core.TagState, core.Enum(n))
	case "type":
		for t, known := range objectTypes {
			if known == value {
				return one(core.TagObjectType, core.Enum(t))
			}
		}
		return none()
	case "createdAfter":
		return readDates(name, value, core.TagInitialDate, true)
	case "expiresBefore":
		return readDates(name, value, core.TagDeactivationDate, false)
	}
	return nil, core.Errorf(core.InvalidField, `%q is no term of "filter"; label, tag.NAME, name, state, algorithm, type, objectGroup, createdAfter and expiresBefore are`, door.Quotable(name))
}

// readDates returns a range of dates that begins or ends at a time.
func readDates(name, value string, t core.Tag, after bool) (core.Attributes, error) {
	at, err := door.ReadTime(name, value)
	if err != nil {
		return nil, err
	}
	other := int64(0)
	if after {
		other = math.MaxInt64
	}
	return core.Attributes{{Tag: t, Value: core.Date(at)}, {Tag: t, Value: core.Date(other)}}, nil
}

// keysOfTenant is GET /v1/keys for the caller's own tenant. Another tenant is not found,
// whether it exists or not.
func (s *service) keysOfTenant(c *core.Caller, r *http.Request) (api.KeyPage, error) {
	if name := r.PathValue("tenantId"); name != c.Principal.Tenant {
		return api.KeyPage{}, s.Engine.RecordRefused(r.Context(), c, core.ActionLocate, core.Errorf(core.ItemNotFound, "there is no tenant %q", door.Quotable(name)))
	}
	return s.listKeys(c, r)
}
