package profile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes the file of profiles of a test.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KEYREEVE_PROFILES", path)
	for _, v := range append([]string{"KEYREEVE_URL"}, variables...) {
		t.Setenv(v, "")
	}
	return path
}

// What is not written as it must be is refused, with the file and a sentence that quotes no
// password.
func TestProfilesAreReadStrictly(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"profiles: {a: {url: https://h:1}}":    "",
		"profiles: {a: {url: 'https://h:1/'}}": "",
		"profiles: {a: {url: https://h:1, pin: x}}": "pin",
		"profile: {}": "profile",
		"profiles: {a: {url: https://h:1}, a: {url: https://h:2}}":               "a",
		"profiles: {a: {URL: https://h:1}}":                                      "URL",
		"profiles: {../a: {url: https://h:1}}":                                   "name of a profile",
		"profiles: {a: {url: http://h:1}}":                                       "https://HOST:PORT",
		"profiles: {a: {url: 'https://u:s3cret@h:1'}}":                           "https://HOST:PORT",
		"profiles: {a: {url: 'https://h:1/v1'}}":                                 "https://HOST:PORT",
		"profiles: {a: {url: 'https://h:1?x=s3cret'}}":                           "https://HOST:PORT",
		"profiles: {a: {}}":                                                      "https://HOST:PORT",
		"profiles: {a: {url: https://h:1, ca: ca.pem}}":                          "absolute",
		"profiles: {a: {url: https://h:1, certificate: /c.pem}}":                 "go together",
		"profiles: {a: {url: https://h:1, output: xml}}":                         "table, json, yaml",
		"profiles: {a: {url: https://h:1}}\n---\nprofiles: {}":                   "document",
		"profiles: {a: {url: https://h:1, certificate: /c.pem, key: /k.pem}}\n#": "",
	} {
		path := write(t, text)
		_, err := Load(path)
		if (err == nil) != (want == "") {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
		if err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%q: %q; want the file and %q, and no password", text, err, want)
		}
	}
}

// A file that others can read or change is refused, that of a token too.
func TestFilesOfOthersAreRefused(t *testing.T) {
	for mode, allowed := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false, 0o666: false} {
		path := write(t, "profiles: {default: {url: https://h:1}}")
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); (err == nil) != allowed || err != nil && !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("profiles of mode %04o: %v; want allowed %v", mode, err, allowed)
		}
		if _, err := ReadToken(path); (err == nil) != allowed {
			t.Errorf("a token of mode %04o: %v; want allowed %v", mode, err, allowed)
		}
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: %v", err)
	}
}

// No two profiles share the file of a token: not those of another file of profiles in the same
// folder, not those of another server, and not names that look alike when they are joined.
func TestTokensHaveFilesOfTheirOwn(t *testing.T) {
	dir, seen := t.TempDir(), map[string]string{}
	for _, p := range [][3]string{
		{"profiles.yaml", "a", "https://h:1"}, {"other.yaml", "a", "https://h:1"}, {"profiles.yaml", "b", "https://h:1"}, {"profiles.yaml", "a", "https://h:2"},
		{"x", "y-z", "https://h:1"}, {"x-y", "z", "https://h:1"},
	} {
		path, err := SaveToken(filepath.Join(dir, p[0]), p[1], p[2], "kr1_"+strings.Join(p[:], "_"))
		if err != nil || filepath.Dir(path) != dir || seen[path] != "" {
			t.Errorf("%v: %s, %v; that of %s", p, path, err, seen[path])
		}
		seen[path] = strings.Join(p[:], "_")
	}
	for path, want := range seen {
		if got, err := ReadToken(path); err != nil || got != "kr1_"+want {
			t.Errorf("%s has %q, %v; want that of %s", path, got, err, want)
		}
	}
	if a, b := TokenPath("/p", "a", "https://h:1"), TokenPath("/p", "a", "https://h:1/"); a != b {
		t.Errorf("one server has %s and %s", a, b)
	}
}

// What is read is what was checked, also if somebody exchanges the file meanwhile.
func TestTokenIsReadFromWhatWasChecked(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "token")
	for name, mode := range map[string]os.FileMode{"private": 0o600, "open": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	stop, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			next := filepath.Join(dir, "next")
			os.Symlink([]string{"private", "open"}[i%2], next)
			os.Rename(next, link)
		}
	}()
	for range 20_000 {
		if got, err := ReadToken(link); err == nil && got != "private" {
			t.Errorf("a file that others can change gives the token %q", got)
			break
		}
	}
	close(stop)
	<-over
}

// What is saved is read again, the other profiles stay, and the file is for its owner alone.
func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "profiles.yaml")
	first, second := Profile{URL: "https://h:1", CA: "/ca.pem", Certificate: "/c.pem", Key: "/k.pem", TokenFile: "/t", Output: "json"}, Profile{URL: "https://h:2"}
	for name, p := range map[string]Profile{"one": first, "two": second} {
		if err := Save(path, name, p); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Load(path)
	if err != nil || len(all) != 2 || all["one"] != first || all["two"] != second {
		t.Errorf("read %v, %v", all, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	if err := Save(path, "three", Profile{URL: "http://h"}); err == nil {
		t.Error("a profile that cannot be read again was saved")
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("the folder has %v", left)
	}
}

// The profile and the environment are never mixed.
func TestChoose(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("kr1_profile\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		want string // URL and token, or what the error says
	}{
		{"", nil, "https://default:1 kr1_profile"},
		{"other", nil, "https://other:1 "},
		{"none", nil, "keyreeve login --profile none"},
		{"", map[string]string{"KEYREEVE_URL": "https://env:1", "KEYREEVE_TOKEN": "kr1_env"}, "https://env:1 kr1_env"},
		{"", map[string]string{"KEYREEVE_URL": "https://env:1"}, "https://env:1 "},
		{"other", map[string]string{"KEYREEVE_URL": "https://env:1", "KEYREEVE_TOKEN": "kr1_env"}, "https://other:1 "},
		{"", map[string]string{"KEYREEVE_TOKEN": "kr1_env"}, "KEYREEVE_TOKEN is set without KEYREEVE_URL"},
		{"", map[string]string{"KEYREEVE_URL": "https://env:1", "KEYREEVE_CERT": "/c.pem"}, "go together"},
		{"", map[string]string{"KEYREEVE_URL": "http://env:1"}, "https://HOST:PORT"},
	} {
		write(t, fmt.Sprintf("profiles: {default: {url: 'https://default:1', token_file: %s}, other: {url: 'https://other:1'}}", token))
		for name, value := range c.env {
			t.Setenv(name, value)
		}
		got, err := Choose(c.name)
		text := got.URL + " " + got.Token
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, c.want) || strings.Contains(text, "kr1_") && err != nil {
			t.Errorf("profile %q, environment %v: %q; want %q", c.name, c.env, text, c.want)
		}
	}
}
