package message

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/authn/password/passwordtest"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

const secret = "correct horse"

// seenRecords is a journal whose records a test reads.
type seenRecords struct {
	core.Journal
	all *[]core.Record
}

func (s seenRecords) Seal(r *core.Record) core.Entry {
	copied := *r
	copied.RequestID, copied.Reasons = strings.Clone(r.RequestID), slices.Clone(r.Reasons)
	*s.all = append(*s.all, copied)
	return s.Journal.Seal(r)
}

// senders is a client beside the certificate of dev, and the users alice and bob. alice is a member
// of dev's group.
func senders(t *testing.T, wrapStore func(core.Store) core.Store) (c *client, people *passwordtest.People, records *[]core.Record) {
	t.Helper()
	records = new([]core.Record)
	d, _ := newDoor(t, wrapStore, seenRecords{audit.New("n"), records})
	hash, err := password.Hash([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	people = passwordtest.New()
	people.Put("default", "alice", func(u *core.User) bool { u.Password, u.Groups = hash, []string{"dev"}; return true })
	people.Put("default", "bob", func(u *core.User) bool { u.Password = hash; return true })
	d.origin.Identify = password.NewVerifier(people).ForConnection(d.origin.Address)
	*records = nil
	return &client{t: t, door: d, v: core.V1_4}, people, records
}

func as(name, password string) []proof.Credential {
	return []proof.Credential{{Type: core.CredentialTypeUsernameAndPassword, Username: name, Password: []byte(password)}}
}

// In each version, the caller of all items is the user whose password the header has: in the policy,
// as the owner of what it makes, and in the record. Without a password it is the certificate's
// principal again.
func TestSenderIsTheUser(t *testing.T) {
	c, _, records := senders(t, messagetest.SameStore)
	for _, v := range core.Versions {
		c.v, c.Credentials = v, as("bob", secret)
		_, items := c.send(kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)), kmiptest.Item(&kmip.Get, &operation.GetInput{}))
		if len(items) != 2 || items[0].Status != core.StatusSuccess || items[1].Status != core.StatusSuccess {
			t.Fatalf("%v: bob makes a key and gets it: %+v", v, items)
		}
		var made operation.CreateOutput
		if err := kmip.Create.DecodeResponse(items[0].Payload, c.v, &made); err != nil {
			t.Fatal(err)
		}
		for _, r := range (*records)[len(*records)-2:] {
			if r.Tenant != "default" || r.Principal != "bob" || r.Fingerprint != "f" || strings.Contains(r.ClientRef, "not verified") {
				t.Errorf("%v: the record is %+v; want bob's, with the certificate's fingerprint", v, r)
			}
		}
		for _, name := range []string{"", "alice"} {
			if c.Credentials = nil; name != "" {
				c.Credentials = as(name, secret)
			}
			if _, items := c.send(kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(made.ID)})); items[0].Reason != core.ReasonPermissionDenied {
				t.Errorf("%v: %q gets bob's key: %+v", v, name, items[0])
			}
		}
	}
}

// A credential that does not verify refuses the whole message, though the certificate's principal
// might do what it asks. The record is a failed Login and has no password.
func TestWrongCredentialRefusesTheMessage(t *testing.T) {
	c, _, records := senders(t, messagetest.SameStore)
	made := do(c, &kmip.Create, *kmiptest.AESKey(256, core.MaskEncrypt))
	device := []proof.Credential{{Type: core.CredentialTypeDevice, Value: []core.Field{{Tag: core.TagPassword, Value: core.Text("hunter22")}}}}
	for i, v := range core.Versions {
		for what, given := range map[string][]proof.Credential{"alice": as("alice", "hunter22"), "nobody": as("nobody", "hunter22"), "hunter22 ": as("hunter22 ", "alice"), "device": device,
			"two": append(as("alice", secret), as("bob", secret)...)} {
			*records = nil
			c.v, c.Credentials = v, given
			_, items := c.send(kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(made.ID)}), kmiptest.Item(&kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}}))
			if len(items) != 2 || items[0].Reason != core.ReasonAuthenticationNotSuccessful || items[1].Reason != core.ReasonAuthenticationNotSuccessful || items[0].Payload != nil || items[1].Payload != nil {
				t.Errorf("%v, %s: %+v; want both items refused", v, what, items)
			}
			if len(*records) == 0 && i > 0 {
				continue // an address has only so many records of its own in a period
			}
			if len(*records) != 1 {
				t.Fatalf("%v, %s: %d records, want 1", v, what, len(*records))
			}
			r := (*records)[0]
			if r.Action != core.ActionLogin || r.Outcome != core.Denied || r.Code != core.AuthenticationNotSuccessful || r.Principal != "dev" || r.RequestID == "" || r.Detail == "" {
				t.Errorf("%v, %s: the record is %+v; want a failed Login of dev's connection", v, what, r)
			}
			if text := r.ClientRef + r.Detail; strings.Contains(text, "hunter22") || what == "alice" && !strings.HasSuffix(r.ClientRef, " alice") {
				t.Errorf("%v, %s: the record says %q", v, what, text)
			}
		}
	}
	c.Credentials = nil
	if _, items := c.send(kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(made.ID)})); items[0].Status != core.StatusSuccess {
		t.Errorf("dev without credentials afterwards: %+v", items[0])
	}
}

// unwritable is a store that stores nothing more.
type unwritable struct {
	core.Store
	full *bool
}

func (u unwritable) Commit(ctx context.Context, c *core.Change) error {
	if *u.full {
		return errors.New("disk full")
	}
	return u.Store.Commit(ctx, c)
}

// If the failed login cannot be recorded, or users cannot be read, the message is refused too.
func TestLoginFailsClosed(t *testing.T) {
	full := false
	c, people, records := senders(t, func(s core.Store) core.Store { return unwritable{s, &full} })
	query := kmiptest.Item(&kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
	c.Credentials = as("alice", "wrong")
	full = true
	if _, items := c.send(query); items[0].Reason != core.ReasonGeneralFailure || !strings.Contains(items[0].Message, "record") {
		t.Errorf("a failed login without a record: %+v", items[0])
	}
	full = false
	people.Outage.Store(core.Errorf(core.StoreUnavailable, "the users cannot be read"))
	*records = nil
	c.Credentials = as("alice", secret)
	if _, items := c.send(query); items[0].Reason != core.ReasonGeneralFailure || !strings.Contains(items[0].Message, "users cannot be read") {
		t.Errorf("a login while users cannot be read: %+v", items[0])
	}
	if len(*records) != 1 || (*records)[0].Action != core.ActionMessage || (*records)[0].Code != core.StoreUnavailable {
		t.Errorf("the records are %+v; want a refused message, because nobody failed to log in", *records)
	}
}

// Credentials that are not verified change nothing and are noted, also where the server verifies
// none.
func TestCredentialsAreNoted(t *testing.T) {
	c, people, records := senders(t, messagetest.SameStore)
	verifying := c.door.origin.Identify
	people.Put("other", "carol", func(*core.User) bool { return true })
	elsewhere := passwordtest.New()
	for what, identify := range map[string]proof.IdentifySender{"no verifier": nil, "a tenant without users": password.NewVerifier(elsewhere).ForConnection("127.0.0.1")} {
		c.door.origin.Identify = identify
		*records = nil
		c.Credentials = as("somebody", secret)
		_, items := c.send(kmiptest.Item(&kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}}))
		if items[0].Status != core.StatusSuccess || len(*records) != 1 || (*records)[0].Principal != "dev" || !strings.HasSuffix((*records)[0].ClientRef, "not verified: Username and Password somebody") {
			t.Errorf("%s: %v, and the records %+v; want a success of dev, and the credential noted", what, items[0].Status, *records)
		}
	}
	*records = nil
	c.Credentials = as(secret, secret)
	if c.send(kmiptest.Item(&kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})); len(*records) != 1 || strings.Contains((*records)[0].ClientRef, secret) {
		t.Errorf("a password in the field of the name: the records are %+v; want one without it", *records)
	}
	c.door.origin.Identify = verifying
	*records = nil
	c.Credentials = as("", "")
	if _, items := c.send(kmiptest.Item(&kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})); items[0].Status != core.StatusSuccess || (*records)[0].ClientRef != "" {
		t.Errorf("an empty credential: %v, and the records %+v; want a success that notes nothing", items[0].Status, *records)
	}
}

// A message that is refused does not tell whether its Hashed Password was right: the answer, the record
// and the log have neither the Server Hashed Password nor the hash that was sent, although the
// verifier had found it right.
func TestRefusedMessageHasNoHash(t *testing.T) {
	c, _, records := senders(t, messagetest.SameStore)
	var log bytes.Buffer
	c.door.processor.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.v = core.V2_1
	const shown, sent = "what the server would answer", "what the client has sent"
	query := kmiptest.Item(&kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
	twin := query
	query.BatchID, twin.BatchID = []byte("1"), []byte("1")
	for what, x := range map[string]struct {
		refusal error
		items   []kmip.ClientItem
	}{
		"accepted":                       {nil, []kmip.ClientItem{query}},
		"the sender is refused after it": {core.Wrap(core.AuthenticationNotSuccessful, errors.New("may not speak"), "not right"), []kmip.ClientItem{query}},
		"it cannot be decided":           {core.Errorf(core.StoreUnavailable, "down"), []kmip.ClientItem{query}},
		"the message is wrong":           {nil, []kmip.ClientItem{query, twin}},
	} {
		c.door.origin.Identify = func(_ context.Context, p *core.Principal, given []proof.Credential) (*core.Principal, error) {
			given[0].Hashed.ServerHash = []byte(shown)
			if x.refusal != nil {
				return nil, x.refusal
			}
			return &core.Principal{Tenant: p.Tenant, ID: "alice", Method: core.MethodHashedPassword, Certificate: p}, nil
		}
		c.Credentials = []proof.Credential{{Type: core.CredentialTypeHashedPassword, Username: "alice", Hashed: &proof.HashedPassword{Timestamp: 1, Hash: []byte(sent)}}}
		answer, items := c.send(x.items...)
		if accepted := items[0].Reason == 0; accepted != (what == "accepted") || bytes.Contains(answer, []byte(shown)) != accepted {
			t.Errorf("%s: %v %q, and the answer has the Server Hashed Password: %v", what, items[0].Reason, items[0].Message, bytes.Contains(answer, []byte(shown)))
		}
		for where, text := range map[string]string{"the answer": string(answer), "the log": log.String(), "a record": fmt.Sprintf("%+v", *records)} {
			if strings.Contains(text, sent) || where != "the answer" && strings.Contains(text, shown) {
				t.Errorf("%s: %s has a hash: %s", what, where, text)
			}
		}
	}
}

// The password that a verifier gets lies in the message, so that it is retired with it.
func TestLentPasswordLiesInTheMessage(t *testing.T) {
	c, _, _ := senders(t, messagetest.SameStore)
	var kept []byte
	c.door.origin.Identify = func(_ context.Context, p *core.Principal, credentials []proof.Credential) (*core.Principal, error) {
		kept = credentials[0].Password
		return p, nil
	}
	msg, err := kmip.AppendRequest(nil, c.v, kmip.RequestOptions{Credentials: as("alice", secret)}, kmiptest.Item(&kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}))
	if err != nil {
		t.Fatal(err)
	}
	c.door.answer(context.Background(), msg, nil)
	if string(kept) != secret {
		t.Fatalf("the verifier got %q", kept)
	}
	core.Retire(msg)
	if bytes.Contains(kept, []byte("horse")) {
		t.Errorf("after the message was retired, the verifier's password is %q", kept)
	}
}

// withPassword returns the request of a Get with a password, and a door that verifies it.
func withPassword(t testing.TB, wrapStore func(core.Store) core.Store, j core.Journal) (*door, []byte) {
	w := messagetest.New(t, wrapStore, j)
	d := doorOf(w)
	hash, err := password.Hash([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	people := passwordtest.New()
	people.Put("default", "alice", func(u *core.User) bool { u.Password, u.Groups = hash, []string{"dev"}; return true })
	d.origin.Identify = password.NewVerifier(people).ForConnection(d.origin.Address)
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{Credentials: as("alice", secret)}, kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(w.Key)}))
	if err != nil {
		t.Fatal(err)
	}
	return d, msg
}
