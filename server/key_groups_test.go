package server_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/server/servertest"
)

// A new key over REST can have an Object Group of any name besides the group that owns it too. An
// Object Group that is none of the caller's groups leaves the rule of the server: here, that the
// group dev owns each new key of its members.
func TestObjectGroupOfANewKeyOverREST(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, c := range []struct {
		members string
		want    []string // Object Groups
	}{
		{``, nil},
		{`,"group":"dev"`, []string{"dev"}},
		{`,"objectGroups":["payroll"]`, []string{"payroll"}},
		{`,"group":"dev","objectGroups":["payroll"]`, []string{"dev", "payroll"}},
		{`,"objectGroups":["dev"]`, []string{"dev"}},
		{`,"group":"dev","objectGroups":["dev"]`, []string{"dev"}},
	} {
		for _, kind := range []string{`"type":"symmetric","algorithm":"AES","usage":["encrypt"]`, `"type":"pair","algorithm":"EC","usage":["sign","verify"]`} {
			status, text := post(t, s, "/v1/keys", "{"+kind+c.members+"}")
			var made struct {
				ID       string `json:"keyId"`
				PublicID string `json:"publicKeyId"`
			}
			if err := json.Unmarshal([]byte(text), &made); err != nil || status != http.StatusCreated {
				t.Errorf("%s: %d %s", c.members, status, text)
				continue
			}
			for _, id := range []string{made.ID, made.PublicID} {
				if id == "" {
					continue
				}
				var shown struct {
					Group        string
					ObjectGroups []string
				}
				_, text := askREST(t, s, "dev", http.MethodGet, "/v1/keys/"+id, "")
				if err := json.Unmarshal([]byte(text), &shown); err != nil || shown.Group != "dev" || !slices.Equal(shown.ObjectGroups, c.want) {
					t.Errorf("%s: %s; want the group dev and the Object Groups %v", c.members, text, c.want)
				}
			}
		}
	}
	for _, bad := range []string{`"objectGroups":[""]`, `"objectGroups":"payroll"`} {
		if status, text := post(t, s, "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],`+bad+`}`); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s; want 400", bad, status, text)
		}
	}
}
