package httpd

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/handshake"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// noRows are the operations that the frame of the door answers.
var noRows = []string{"GET /v1/health/live", "GET /v1/health/ready", "GET /metrics", "GET /openapi.yaml", "GET /docs"}

// specified returns the operations that are rows, by their pattern.
func specified() map[string]*api.Operation {
	all := map[string]*api.Operation{}
	for i := range api.Operations {
		if o := &api.Operations[i]; !slices.Contains(noRows, o.Pattern()) {
			all[o.Pattern()] = o
		}
	}
	return all
}

// Each operation of the specification is a row, and the reverse. They say the same of the
// action, of what is taken and of the status of a success.
func TestRowsAreSpecified(t *testing.T) {
	operations := specified()
	for _, r := range allRoutes(nil, Options{}) {
		o := operations[r.Pattern()]
		if o == nil {
			t.Errorf("openapi.yaml lacks %s", r.Pattern())
			continue
		}
		if r.Action.Info() == nil {
			t.Errorf("%s has no action", r.Pattern())
		}
		delete(operations, r.Pattern())
		takes := door.TakesNothing
		switch {
		case o.Body != nil:
			takes = door.TakesBody
		case o.Query != nil:
			takes = door.TakesQuery
		}
		if r.Takes != takes || r.Status != o.Status || r.Action.String() != o.Action {
			t.Errorf("%s takes %d, answers %d and is the action %q; the specification says %d, %d and %q", r.Pattern(), r.Takes, r.Status, r.Action, takes, o.Status, o.Action)
		}
		if r.HonorsOnce() != o.HonorsOnce {
			t.Errorf("%s honours an Idempotency-Key: %v; the specification says %v", r.Pattern(), r.HonorsOnce(), o.HonorsOnce)
		}
	}
	for pattern := range operations {
		t.Errorf("openapi.yaml has %s, which is no route", pattern)
	}
	for _, pattern := range noRows {
		if api.OperationOf(pattern) == nil {
			t.Errorf("openapi.yaml lacks %s", pattern)
		}
	}
}

// specifiedBodies has each type of a body.
var specifiedBodies = []door.Specified{&newPolicy{}, &replacedPolicy{}, &rollback{}, &withdrawal{}, &ReplayQuestion{}, &target{}, &policyOfKey{}, &Canary{}, &simulation{}, &newUser{}, &userChange{}, &newRole{}, &roleChange{},
	&clientBody{}, &clientChange{}, &renewal{}, &newTenant{}, &tenantChange{}, &deletionConfirmed{}, &tenantRestored{}, &tokenBody{}, &revokeBody{}, &verifyBody{}, &approvalAnswer{},
	&api.NewKey{}, &api.ActivateRequest{}, &api.RevokeRequest{}, &api.RotateRequest{}, &api.RotationRequest{}, &api.EncryptRequest{}, &api.DecryptRequest{}, &api.SignRequest{}, &api.VerifyRequest{}, &api.MACRequest{}, &api.MACVerifyRequest{}, &api.HashRequest{}, &api.ReencryptRequest{}, &api.DataKeyRequest{}, &api.WrapRequest{}, &api.UnwrapRequest{}, &api.DeriveRequest{}, &api.BatchRequest{}, &api.AliasRequest{}, &api.ImportedKey{}, &api.NewImportJob{}}

// The types that handlers decode into have exactly the members of the specification.
func TestBodiesAreSpecified(t *testing.T) {
	byType := map[*api.Schema]door.Specified{}
	for _, body := range specifiedBodies {
		byType[body.Schema()] = body
		compareTypes(t, fmt.Sprintf("%T", body), reflect.TypeOf(body).Elem(), body.Schema(), false)
	}
	for pattern, o := range specified() {
		if o.Body != nil && byType[o.Body] == nil {
			t.Errorf("%s: no type is known for its body", pattern)
		}
	}
}

// The types of answers have exactly the members of the specification, and leave out only
// those that are optional there.
func TestAnswersAreSpecified(t *testing.T) {
	operations := specified()
	for _, r := range allRoutes(nil, Options{}) {
		o := operations[r.Pattern()]
		switch {
		case o == nil:
		case r.Answers == reflect.TypeFor[any](): // one of two types
			compareTypes(t, "Client", reflect.TypeFor[clientAnswer](), o.Answer.Choices[0], true)
			compareTypes(t, "IssuedCertificate", reflect.TypeFor[enrollAnswer](), o.Answer.Choices[1], true)
		case (o.Answer == nil) != (r.Answers == reflect.TypeFor[door.Nothing]() || r.Answers == reflect.TypeFor[door.Raw]()):
			t.Errorf("%s answers %v; the specification says otherwise", r.Pattern(), r.Answers)
		case o.Answer != nil:
			compareTypes(t, r.Pattern(), r.Answers, o.Answer, true)
		}
	}
	compareTypes(t, "Problem", reflect.TypeFor[api.Problem](), api.ProblemSchema(), true)
}

// compareTypes compares a Go type with a schema.
func compareTypes(t *testing.T, path string, typ reflect.Type, s *api.Schema, isAnswer bool) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	fits := false
	switch s.Kind {
	case api.Anything:
		fits = typ == reflect.TypeFor[json.RawMessage]()
	case api.Object:
		if fits = typ.Kind() == reflect.Struct; fits {
			compareMembers(t, path, typ, s, isAnswer)
		}
	case api.Map, api.Array:
		kind := map[api.Kind]reflect.Kind{api.Map: reflect.Map, api.Array: reflect.Slice}[s.Kind]
		if fits = typ.Kind() == kind; fits {
			compareTypes(t, path+"[]", typ.Elem(), s.Element, isAnswer)
		}
	case api.Text, api.Time:
		fits = typ.Kind() == reflect.String || typ == reflect.TypeFor[api.Encoded]() || typ == reflect.TypeFor[door.NullableText]() && s.Nullable
	case api.Base64:
		fits = typ == reflect.TypeFor[[]byte]()
	case api.Integer:
		fits = slices.Contains([]reflect.Kind{reflect.Int, reflect.Int32, reflect.Int64}, typ.Kind())
	case api.Boolean:
		fits = typ.Kind() == reflect.Bool
	}
	if !fits {
		t.Errorf("%s is a %v; the specification has another kind", path, typ)
	}
}

func compareMembers(t *testing.T, path string, typ reflect.Type, s *api.Schema, isAnswer bool) {
	t.Helper()
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = f
		}
	}
	for _, m := range s.Members {
		f, ok := fields[m.Name]
		if !ok {
			t.Errorf("%s has no member %q, which the specification has", path, m.Name)
			continue
		}
		delete(fields, m.Name)
		if always := !strings.Contains(f.Tag.Get("json"), ",omitempty"); isAnswer && always != m.Required && typ != reflect.TypeFor[enrollAnswer]() { // which has all of them, though one type with them is shared
			t.Errorf("%s.%s is always there: %v; the specification says %v", path, m.Name, always, m.Required)
		}
		compareTypes(t, path+"."+m.Name, f.Type, m.Schema, isAnswer)
	}
	for name := range fields {
		t.Errorf("%s has the member %q, which the specification lacks", path, name)
	}
}

// The bounds of the specification are those of the code that works with the values.
func TestBoundsAreSpecified(t *testing.T) {
	parameter := func(pattern, name string) *api.Schema {
		for _, p := range api.OperationOf(pattern).Query {
			if p.Name == name {
				return p.Schema
			}
		}
		return &api.Schema{}
	}
	member := func(body door.Specified, name string) *api.Schema {
		for _, m := range body.Schema().Members {
			if m.Name == name {
				return m.Schema
			}
		}
		return &api.Schema{}
	}
	for what, c := range map[string]struct {
		schema *api.Schema
		most   int
	}{
		"items of a page": {parameter("GET /v1/users", "limit"), door.MaxPage}, "versions of a page": {parameter("GET /v1/policies/{policyId}/versions", "limit"), maxVersions},
		"principals of a page": {parameter("GET /v1/keys/{keyId}/access", "limit"), admin.MaxAccessPage}, "records of a replay": {member(&ReplayQuestion{}, "limit"), admin.MaxReplayed},
		"a name": {member(&newUser{}, "name"), core.MaxNameBytes}, "groups": {member(&newUser{}, "groups"), core.MaxUserNames}, "attributes": {member(&newUser{}, "attributes"), core.MaxUserNames},
		"an attribute": {member(&newUser{}, "attributes").Element, core.MaxAttributeValueBytes}, "a reason": {member(&newUser{}, "reason"), core.MaxDirectoryReason},
		"a reason in a query": {parameter("DELETE /v1/users/{name}", "reason"), core.MaxDirectoryReason}, "keys of a token": {member(&tokenBody{}, "keys"), core.MaxTokenNames},
	} {
		if c.schema.Most != int64(c.most) {
			t.Errorf("%s: at most %d by the specification, and %d in the code", what, c.schema.Most, c.most)
		}
	}
}

// known is an authenticator that knows everybody.
type known struct{}

func (known) Identify(proof.Evidence) func() (*core.Principal, error) {
	p := &core.Principal{Tenant: "t", ID: "p", Method: core.MethodCertificate}
	return func() (*core.Principal, error) { return p, nil }
}

// hostileDoor returns the whole door without anything behind it: a request that is not refused
// before a verb runs is a panic, which is answered with 500.
func hostileDoor(t *testing.T) func(method, path, query, body string, header http.Header) *httptest.ResponseRecorder {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	d := door.New(door.Options{Auth: known{}, Refused: handshake.Refused, Operation: time.Minute,
		Engine: engine.New(engine.Ports{Store: &records{}, Journal: plainJournal{}, Log: slog.New(slog.DiscardHandler)}, engine.Settings{}), Ready: func(context.Context) bool { return true }})
	d.Add(allRoutes(d, Options{})...)
	h := d.Handler()
	return func(method, path, query, body string, header http.Header) *httptest.ResponseRecorder {
		target := "https://x" + pathMember.ReplaceAllString(path, "some-id")
		if query != "" {
			target += "?" + query
		}
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{Raw: []byte("certificate")}}}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		for name, values := range header {
			r.Header[name] = values
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
}

// Each request that the specification does not allow is refused with 400 or 413 by the handler
// itself, and with 404 if nothing can have the name in its path. The requests are made from the
// specification.
func TestWhatIsNotSpecifiedIsRefused(t *testing.T) {
	ask := hostileDoor(t)
	tried := 0
	for _, o := range specified() {
		refused := func(fault, query, body string, header http.Header) {
			tried++
			w := ask(o.Method, o.Path, query, body, header)
			if w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s with %s (?%s %.200s): %d %s; want 400 or 413", o.Pattern(), fault, query, body, w.Code, w.Body)
			}
		}
		for _, p := range o.InPath {
			for _, bad := range badValues(p.Schema) {
				if text, ok := bad.(string); ok && text != "" {
					tried++
					path := strings.Replace(o.Path, "{"+p.Name+"}", url.PathEscape(text), 1)
					if w := ask(o.Method, path, queryOf(o), bodyOf(o), nil); w.Code != http.StatusNotFound {
						t.Errorf("%s: %d %s; want 404", path, w.Code, w.Body)
					}
				}
			}
		}
		for fault, query := range badQueries(o) {
			refused(fault, query, bodyOf(o), nil)
		}
		if !o.HonorsMatch {
			refused("an If-Match", queryOf(o), bodyOf(o), http.Header{"If-Match": {`"1"`}})
		}
		for _, bad := range []string{`3`, `"0"`, `"x"`, `*`, `W/"3"`, ``, `"01"`} {
			refused("the If-Match "+bad, queryOf(o), bodyOf(o), http.Header{"If-Match": {bad}})
		}
		if !o.HonorsOnce {
			refused("an Idempotency-Key", queryOf(o), bodyOf(o), http.Header{"Idempotency-Key": {"a"}})
		}
		for what, bad := range map[string][]string{"empty": {""}, "long": {strings.Repeat("a", 256)}, "no ASCII": {"k\u00e9y"}, "a control character": {"a\tb"}, "two": {"a", "b"}} {
			refused("an Idempotency-Key that is "+what, queryOf(o), bodyOf(o), http.Header{"Idempotency-Key": bad})
		}
		if o.Body == nil {
			refused("a body", queryOf(o), "{}", nil)
			continue
		}
		for fault, body := range badBodies(o.Body) {
			refused(fault, "", body, nil)
		}
		limit := cmp.Or(o.MaxBody, api.MaxBody)
		tried++
		if w := ask(o.Method, o.Path, "", bodyOf(o)[:1]+strings.Repeat(" ", limit)+bodyOf(o)[1:], nil); w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), fmt.Sprint(limit)) {
			t.Errorf("%s with a body over the limit of %d bytes: %d %s; want 413", o.Pattern(), limit, w.Code, w.Body)
		}
		for _, media := range []string{"text/plain", "application/xml", "application/json; charset=latin1", ""} {
			refused("the media type "+media, "", bodyOf(o), http.Header{"Content-Type": {media}})
		}
		refused("a coding", "", bodyOf(o), http.Header{"Content-Encoding": {"gzip"}})
	}
	if tried < 1500 {
		t.Errorf("only %d requests were tried", tried)
	}
}

func queryOf(o *api.Operation) string {
	q := url.Values{}
	for _, p := range o.Query {
		if p.Required {
			q.Set(p.Name, fmt.Sprint(sample(p.Schema)))
		}
	}
	return q.Encode()
}

func bodyOf(o *api.Operation) string {
	if o.Body == nil {
		return ""
	}
	b, _ := json.Marshal(sample(o.Body))
	return string(b)
}

// sample returns a value that a schema allows, with as little in it as possible.
func sample(s *api.Schema) any {
	switch s.Kind {
	case api.Object:
		out := map[string]any{}
		for _, m := range s.Members {
			if m.Required || len(s.OneOf) > 0 && s.OneOf[0] == m.Name || len(s.AnyOf) > 0 && s.AnyOf[0] == m.Name {
				out[m.Name] = sample(m.Schema)
			}
		}
		return out
	case api.Map:
		return map[string]any{}
	case api.Array:
		out := []any{}
		for range s.Least {
			out = append(out, sample(s.Element))
		}
		return out
	case api.Anything:
		return map[string]any{}
	case api.Integer:
		return s.Least
	case api.Boolean:
		return false
	case api.Base64:
		return "YWFh"
	case api.Time:
		return "2026-01-31T12:00:00Z"
	}
	if s.Enum != nil {
		return s.Enum[0]
	}
	return strings.Repeat("a", max(int(s.Least), 1))
}

// badBodies returns bodies that a schema does not allow, each with one fault.
func badBodies(s *api.Schema) map[string]string {
	good := sample(s).(map[string]any)
	text := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	with := func(name string, value any) string {
		changed := map[string]any{name: value}
		for n, v := range good {
			if n != name {
				changed[n] = v
			}
		}
		return text(changed)
	}
	all := map[string]string{"an unknown member": with("unknown", 1), "something behind it": text(good) + " {}", "an array": "[]", "no JSON": "{", "null": "null", "a text": `"x"`}
	for _, m := range s.Members {
		value := text(sample(m.Schema))
		rest := strings.TrimPrefix(with(m.Name, json.RawMessage(value)), "{")
		all[m.Name+" twice"] = fmt.Sprintf(`{%q:%s,%s`, m.Name, value, rest)
		all["another case of "+m.Name] = with(strings.ToUpper(m.Name), json.RawMessage(value))
		if m.Required {
			missing := map[string]any{}
			for n, v := range good {
				if n != m.Name {
					missing[n] = v
				}
			}
			all["no "+m.Name] = text(missing)
		}
		if !m.Schema.Nullable && m.Schema.Kind != api.Anything {
			all["null for "+m.Name] = with(m.Name, nil)
		}
		for i, bad := range badValues(m.Schema) {
			all[fmt.Sprintf("bad value %d of %s", i, m.Name)] = with(m.Name, bad)
		}
	}
	return all
}

// badValues returns values that a schema does not allow.
func badValues(s *api.Schema) (all []any) {
	long := func() string { return strings.Repeat("a", int(s.Most)+1) }
	switch s.Kind {
	case api.Integer:
		all = []any{"1", s.Least - 1, 1.5, true}
		if s.Most != 0 {
			all = append(all, s.Most+1)
		}
	case api.Boolean:
		all = []any{"true", 1}
	case api.Array:
		all = []any{"x", map[string]any{}}
		if s.Most != 0 {
			all = append(all, slices.Repeat([]any{sample(s.Element)}, int(s.Most)+1))
		}
		for _, bad := range badValues(s.Element) {
			all = append(all, []any{bad})
		}
	case api.Map:
		all = []any{"x", []any{}}
		for _, bad := range badValues(s.Element) {
			all = append(all, map[string]any{"a": bad})
		}
	case api.Text, api.Base64, api.Time:
		all = []any{1, []any{}, map[string]any{}}
		if s.Enum != nil {
			all = append(all, "none", strings.ToUpper(s.Enum[0])+"x")
		}
		if s.Least > 0 {
			all = append(all, "")
		}
		if s.Most > 0 {
			all = append(all, long())
		}
		if s.Pattern != nil {
			all = append(all, "-a", "a b", "é")
		}
		if s.Kind == api.Base64 {
			all = append(all, "%%%%", "YQ", "YWE\n")
		}
		if s.Kind == api.Time {
			all = append(all, "today", "2026-01-31", "1969-01-31T12:00:00Z")
		}
	}
	return all
}

// badQueries returns queries that an operation does not allow, each with one fault.
func badQueries(o *api.Operation) map[string]string {
	all := map[string]string{"an unknown parameter": strings.TrimPrefix(queryOf(o)+"&unknown=1", "&")}
	for _, p := range o.Query {
		value := url.QueryEscape(fmt.Sprint(sample(p.Schema)))
		all[p.Name+" twice"] = p.Name + "=" + value + "&" + p.Name + "=" + value
		all["another case of "+p.Name] = strings.ToUpper(p.Name) + "=" + value
		all["an empty "+p.Name] = p.Name + "="
		if p.Required {
			all["no "+p.Name] = ""
		}
		for i, bad := range badValues(p.Schema) {
			if text, ok := bad.(string); ok && p.Schema.Kind != api.Integer {
				all[fmt.Sprintf("bad value %d of %s", i, p.Name)] = p.Name + "=" + url.QueryEscape(text)
			} else if p.Schema.Kind == api.Integer && !ok {
				all[fmt.Sprintf("bad value %d of %s", i, p.Name)] = p.Name + "=" + fmt.Sprint(bad)
			}
		}
	}
	return all
}
