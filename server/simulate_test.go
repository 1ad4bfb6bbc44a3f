package server_test

import (
	"strings"
	"testing"
)

// groups and roles. They count in place of those that it knows.
func TestAccessWithGroupsAndRoles(t *testing.T) {
	t.Parallel()
	_, admin, key := startPeople(t)
	path := "/v1/keys/" + key + "/access?principal=stranger"
	may := func(query, action string) bool {
		t.Helper()
		for _, a := range allowedActions(admin.must(200, "GET", path+query, "")) {
			if a == action {
				return true
			}
		}
		return false
	}
	if may("", "Destroy") || may("", "Encrypt") {
		t.Error("a stranger may use the key")
	}
	if !may("&roles=viewer,admin", "Destroy") {
		t.Error("the role admin does not count")
	}
	if !may("&groups=any,dev", "Encrypt") {
		t.Error("the group of the key does not count")
	}
	admin.must(400, "GET", path+"&groups=a/b", "")
	admin.must(400, "GET", path+"&roles=", "")
	admin.must(400, "GET", path+"&group=dev", "")
	admin.must(400, "GET", "/v1/keys/"+key+"/access?principal=*&roles=admin", "", "one principal")
}

// and decides as the request itself.
func TestSimulateANewKey(t *testing.T) {
	t.Parallel()
	s, admin, _ := startPeople(t)
	admin.must(201, "POST", "/v1/policies", `{"name":"sizes","document":{"role":"maker","statements":[
		{"sid":"rsa","principal":"*","actions":["create","register"],"effect":"deny","conditions":{"parameters":{"algorithm":"RSA"}}},
		{"sid":"short","principal":"*","actions":["create"],"effect":"deny","conditions":{"parameters":{"algorithm":"AES","length":[128,192]}}},
		{"sid":"wraps","principal":"*","actions":["create"],"effect":"deny","conditions":{"parameters":{"usage":["Wrap Key"]}}}]}}`)
	for _, c := range []struct{ algorithm, length, usage, denied string }{
		{"", "", "", ""}, {"AES", "256", "Encrypt", ""}, {"AES", "", "", ""}, {"AES", "128", "", "sizes@1/short"}, {"RSA", "3072", "", "sizes@1/rsa"}, {"AES", "256", "Wrap Key", "sizes@1/wraps"},
	} {
		args := []string{"policy", "simulate", "--as", "m", "--role", "maker", "--do", "Create", "--dir", s.Dir}
		body := `{"principal":"m","roles":["maker"],"action":"Create"`
		if c.algorithm != "" {
			args, body = append(args, "--algorithm", c.algorithm), body+`,"algorithm":"`+c.algorithm+`"`
		}
		if c.length != "" {
			args, body = append(args, "--length", c.length), body+`,"length":`+c.length
		}
		if c.usage != "" {
			args, body = append(args, "--usage", c.usage, "--usage", "Decrypt"), body+`,"usage":["`+c.usage+`","Decrypt"]`
		}
		out, _ := s.Command(args...)
		verdict := map[bool]string{true: "allow", false: "deny"}[c.denied == ""]
		if !strings.HasPrefix(out, verdict+"\n") || !strings.Contains(out, "statement "+c.denied) && c.denied != "" {
			t.Errorf("%+v: %q", c, out)
		}
		admin.must(200, "POST", "/v1/simulate", body+"}", `"decision":"`+verdict+`"`, c.denied)
	}
	for members, says := range map[string]string{
		`"action":"Create","algorithm":"DOS"`: `\"DOS\" is none`, `"action":"Create","length":-1`: "1 to", `"action":"Create","usage":["fly"]`: `\"fly\" is none`, `"action":"encrypt","length":256`: "those of a new key",
	} {
		admin.must(400, "POST", "/v1/simulate", `{"principal":"m",`+members+`}`, says)
	}
	if out := policyCommand(t, s, true, "policy", "simulate", "--as", "m", "--do", "Create", "--length", "long"); !strings.Contains(out, "length must be a number") {
		t.Error(out)
	}
}
