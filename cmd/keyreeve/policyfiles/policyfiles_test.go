package policyfiles_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/cmd/keyreeve/policyfiles"
	"github.com/keyreeve/keyreeve/core"
)

func parsed(t *testing.T, text string) *format.Document {
	t.Helper()
	d, err := format.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newChecker(t *testing.T) *policyfiles.Checker {
	t.Helper()
	c, err := policyfiles.NewChecker(authz.RegionSources{Regions: map[string][]string{"office": {"10.0.0.0/8"}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const payroll = `{"role": ["ops", "night"], "statements": [
	{"sid": "b", "principal": "user:alice", "actions": ["encrypt"], "effect": "allow", "conditions": {"region": "office"}},
	{"sid": "a", "principal": "*", "actions": ["Get"], "effect": "deny"}]}`

func wholeTenant(t *testing.T) *policyfiles.Tenant {
	t.Helper()
	all := policyfiles.NewTenant()
	all.Policies["payroll"] = policyfiles.Policy{Document: parsed(t, payroll), Attached: &policyfiles.Targets{Holders: []string{"keyGroup:pay roll", "role:night", "role:ops"}, Objects: []string{"3f5f"}}}
	all.Policies["0.odd-one_"] = policyfiles.Policy{Document: parsed(t, `{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny"}]}`), Attached: &policyfiles.Targets{}}
	all.Roles["clerk"] = core.Role{Description: "<night> shift", Actions: []string{"encrypt", "Get Attributes"}}
	all.Users["alice"] = core.User{Tenant: "acme", Name: "alice", Version: 1, Groups: []string{"tapes"}, Attributes: map[string]string{"site": "north"}, Disabled: true, Expires: 5}
	all.Users["bob"] = core.User{Tenant: "acme", Name: "bob", Version: 1}
	return all
}

// What is written is read again as it was, nothing differs from it, and no file has a
// password.
func TestFolderIsReadAsWritten(t *testing.T) {
	folder, all := filepath.Join(t.TempDir(), "acme"), wholeTenant(t)
	secret := all.Users["alice"]
	secret.Password = "$argon2id$hash"
	all.Users["alice"] = secret
	if err := policyfiles.Write(folder, all); err != nil {
		t.Fatal(err)
	}
	again, faults := policyfiles.Read(folder, "acme", newChecker(t))
	if faults != nil {
		t.Fatal(faults)
	}
	if want := wholeTenant(t); !reflect.DeepEqual(again.Users, want.Users) || !reflect.DeepEqual(again.Roles, want.Roles) {
		t.Errorf("users and roles are read as %+v", again)
	}
	if steps, err := policyfiles.Steps(again, wholeTenant(t)); err != nil || len(steps) != 0 {
		t.Errorf("what was written differs from itself: %+v, %v", steps, err)
	}
	if stale, err := policyfiles.Stale(folder, policyfiles.NewTenant()); err != nil || len(stale) != 7 {
		t.Errorf("all files are stale for a tenant that has nothing: %q, %v", stale, err)
	}
	if stale, err := policyfiles.Stale(folder, all); err != nil || len(stale) != 0 {
		t.Errorf("files of what the tenant has are stale: %q, %v", stale, err)
	}
}

// Every faulty file is named, with the path in it, and nothing is read then.
func TestFaultyFilesAreAllNamed(t *testing.T) {
	deny := `{"statements": [{"principal": "*", "actions": ["*"], "effect": "deny"}]}`
	files := map[string]struct{ text, says string }{
		"policies/broken.json":    {`{"statements": [}`, ""},
		"policies/failing.json":   {strings.TrimSuffix(deny, "}") + `, "tests": [{"principal": "user:a", "action": "encrypt", "expect": "allow"}]}`, "tests[0]"},
		"policies/mars.json":      {strings.Replace(deny, `"deny"`, `"deny", "conditions": {"region": "mars"}`, 1), "statements[0].conditions.region"},
		"policies/other.json":     {strings.Replace(deny, "{", `{"name": "another", `, 1), "another"},
		"policies/a b.json":       {deny, "name"},
		"policies/large.json":     {strings.Repeat(" ", core.MaxDirectoryBody) + deny, "more than 1048576 bytes"},
		"attachments/nobody.json": {`{"holders": ["role:ops"]}`, "there is no policies/nobody.json"},
		"attachments/good.json":   {`{"holders": ["robot:r2"]}`, "robot:r2"},
		"roles/admin.json":        {`{"actions": ["encrypt"]}`, "built in"},
		"roles/empty.json":        {`{}`, "actions"},
		"roles/typo.json":         {`{"action": ["encrypt"]}`, "action"},
		"users/eve.json":          {`{"password": "$argon2id$hash"}`, "files have no passwords"},
		"users/otto.json":         {`{"codeKey": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="}`, "files have nothing of how users log in"},
		"users/two.json":          {`{} {}`, "behind the JSON object"},
		"users/e ve.json":         {`{}`, "cannot be a user"},
		"users/twice.json":        {`{"roles": ["a", "a"]}`, "is there twice"},
	}
	folder := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("policies/good.json", deny)
	for name, f := range files {
		put(name, f.text)
	}
	outside := filepath.Join(t.TempDir(), "outside.json")
	if err := errors.Join(os.WriteFile(outside, []byte(`{}`), 0o600), os.Symlink(outside, filepath.Join(folder, "users/linked.json"))); err != nil {
		t.Fatal(err)
	}
	all, faults := policyfiles.Read(folder, "acme", newChecker(t))
	if all != nil || len(faults) != len(files)+1 {
		t.Errorf("%d faults, want %d: %v", len(faults), len(files)+1, faults)
	}
	for name, f := range files {
		if !slices.ContainsFunc(faults, func(err error) bool {
			return strings.HasPrefix(err.Error(), name+": ") && strings.Contains(err.Error(), f.says)
		}) {
			t.Errorf("no fault names %s with %q: %v", name, f.says, faults)
		}
	}
	if _, faults := policyfiles.Read(t.TempDir(), "acme", newChecker(t)); len(faults) != 1 || !strings.Contains(faults[0].Error(), "policies/NAME.json") {
		t.Errorf("a folder without files: %v", faults)
	}
	if _, faults := policyfiles.Read(filepath.Join(folder, "missing"), "acme", newChecker(t)); len(faults) != 1 {
		t.Errorf("a folder that is not there: %v", faults)
	}
}

func TestDifferencesAreByStatement(t *testing.T) {
	for what, c := range map[string]struct {
		next string
		want []string
	}{
		"the same":      {payroll, nil},
		"another order": {`{"role": ["ops", "night"], "statements": [{"sid": "a", "principal": "*", "actions": ["Get"], "effect": "deny"}, {"sid": "b", "principal": "user:alice", "actions": ["encrypt"], "effect": "allow", "conditions": {"region": "office"}}]}`, nil},
		"a condition less": {`{"role": ["ops", "night"], "statements": [{"sid": "a", "principal": "*", "actions": ["Get"], "effect": "deny"}, {"sid": "b", "principal": "user:alice", "actions": ["encrypt"], "effect": "allow"}]}`,
			[]string{`~ statement b: conditions {"region":"office"} -> (nothing)`}},
		"all others": {`{"exclusive": true, "statements": [{"sid": "c", "principal": "*", "actions": ["*"], "effect": "deny"}], "tests": [{"principal": "user:a", "action": "encrypt", "expect": "deny"}]}`, []string{
			`~ policy: exclusive (nothing) -> true`, `~ policy: role ["ops","night"] -> (nothing)`,
			`- statement a: {"actions":["Get"],"effect":"deny","principal":"*","sid":"a"}`,
			`- statement b: {"actions":["encrypt"],"conditions":{"region":"office"},"effect":"allow","principal":"user:alice","sid":"b"}`,
			`+ statement c: {"actions":["*"],"effect":"deny","principal":"*","sid":"c"}`,
			`+ test number 1: {"action":"encrypt","expect":"deny","principal":"user:a"}`}},
	} {
		if got, err := policyfiles.Differences(parsed(t, payroll), parsed(t, c.next)); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v\nwant %q", what, got, err, c.want)
		}
	}
	if got, err := policyfiles.Differences(nil, parsed(t, payroll)); err != nil || len(got) != 3 || !strings.HasPrefix(got[0], "+ policy: ") {
		t.Errorf("a new policy: %q, %v; want the policy and its two statements", got, err)
	}
}

// Each change of the files is one step, and what has no file stays. A policy is never
// detached from an object, nor from holders that its document names.
func TestStepsAreWhatDiffers(t *testing.T) {
	for what, c := range map[string]struct {
		change func(files, server *policyfiles.Tenant)
		want   []string
	}{
		"an empty server": {func(_, server *policyfiles.Tenant) { *server = *policyfiles.NewTenant() }, []string{"role clerk", "user alice (new", "user bob (new", "policy 0.odd-one_ (new)", "policy payroll (new)", "policy payroll: attach keyGroup:pay roll", "policy payroll: attach 3f5f"}},
		"more on the server": {func(files, _ *policyfiles.Tenant) {
			delete(files.Policies, "payroll")
			delete(files.Users, "bob")
			delete(files.Roles, "clerk")
		}, nil},
		"a disabled user": {func(files, _ *policyfiles.Tenant) { files.Users["bob"] = core.User{Disabled: true} }, []string{"user bob"}},
		"groups less":     {func(files, _ *policyfiles.Tenant) { files.Users["alice"] = core.User{Disabled: true, Expires: 5} }, []string{"user alice"}},
		"a role":          {func(files, _ *policyfiles.Tenant) { files.Roles["clerk"] = core.Role{Actions: []string{"sign"}} }, []string{"role clerk"}},
		"no attachments": {func(files, _ *policyfiles.Tenant) {
			files.Policies["payroll"] = policyfiles.Policy{Document: parsed(t, payroll), Attached: &policyfiles.Targets{}}
		}, []string{"policy payroll: detach keyGroup:pay roll"}},
		"no file of attachments": {func(files, _ *policyfiles.Tenant) {
			files.Policies["payroll"] = policyfiles.Policy{Document: parsed(t, payroll)}
		}, nil},
		"a holder of the document is detached": {func(_, server *policyfiles.Tenant) {
			server.Policies["payroll"] = policyfiles.Policy{Document: parsed(t, payroll), Version: 1, Attached: &policyfiles.Targets{Holders: []string{"keyGroup:pay roll", "role:night"}, Objects: []string{"3f5f"}}}
		}, []string{"policy payroll: attach role:ops"}},
		"a statement": {func(_, server *policyfiles.Tenant) {
			server.Policies["0.odd-one_"] = policyfiles.Policy{Document: parsed(t, `{"statements": [{"principal": "*", "actions": ["Get"], "effect": "deny"}]}`), Version: 7}
		}, []string{"policy 0.odd-one_ (replaces version 7)"}},
	} {
		files, server := wholeTenant(t), wholeTenant(t)
		c.change(files, server)
		steps, err := policyfiles.Steps(files, server)
		var titles []string
		for _, s := range steps {
			titles = append(titles, s.Title)
		}
		if err != nil || !slices.EqualFunc(titles, c.want, strings.HasPrefix) {
			t.Errorf("%s: %q, %v\nwant %q", what, titles, err, c.want)
		}
		for _, s := range steps {
			if strings.Contains(string(s.Body), "null") {
				t.Errorf("%s: the body of %s leaves something as it is: %s", what, s.Title, s.Body)
			}
			if s.Path == "/policies/one" && s.Parameters["expected"] != fmt.Sprint(server.Policies[s.Parameters["name"]].Version) {
				t.Errorf("%s: %s replaces version %q", what, s.Title, s.Parameters["expected"])
			}
		}
	}
}
