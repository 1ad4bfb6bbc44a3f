package httpd

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// What is no order for a token buys none, with a certificate and without.
func TestBadOrdersBuyNoToken(t *testing.T) {
	o := &tokenOrder{}
	for _, bad := range []string{``, `[]`, `{}`, `{"grantType": "jwt"}`, `{"grantType": "certificate", "user": "a"}`, `{"grantType": "certificate", "password": "p"}`, `{"grantType": "certificate", "pass\u0077ord": "p"}`,
		`{"grantType": "password"}`, `{"grantType": "password", "user": "a"}`, `{"grantType": "password", "user": "a", "password": ""}`, `{"grantType": "password", "user": "a", "password": 7}`, `{"grantType": "password", "user": "a", "pass\u0077ord": "p"}`,
		`{"grantType": "certificate", "actions": null}`, `{"grantType": "certificate", "Actions": ["encrypt"]}`, `{"grantType": "certificate", "actions": "encrypt"}`, `{"grantType": "certificate", "keys": [7]}`, `{"grantType": "certificate", "bind": "yes"}`,
		`{"grantType": "certificate", "grantType": "password"}`, `{"grantType": "certificate"} {}`, `{"grantType": "certificate", "reason": "` + strings.Repeat("x", maxTokenBody) + `"}`} {
		r := httptest.NewRequest("POST", "https://x"+tokenPath, strings.NewReader(bad))
		r.Header.Set("Content-Type", "application/json")
		*o = tokenOrder{}
		if err := o.readBody(httptest.NewRecorder(), r); err == nil {
			t.Errorf("%.80s is taken as %+v", bad, o.body)
		}
	}
	r := httptest.NewRequest("POST", "https://x"+tokenPath, strings.NewReader(`{"grantType": "password", "user": "a", "password": "secret"}`))
	r.Header.Set("Content-Type", "application/json")
	if err := o.readBody(httptest.NewRecorder(), r); err != nil || string(o.password) != "secret" || strings.Contains(o.body.Password, "secret") {
		t.Errorf("a good order: %v, password %q, and %q where it must be hidden", err, o.password, o.body.Password)
	}
}
