package kmip_test

import (
	"reflect"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// One Time Password and Hashed Password are read as they were written since KMIP 2.0. Before, they
// are fields without a meaning, and one without a field that must be there is no message.
func TestCredentialsAreRead(t *testing.T) {
	whole := map[string]proof.Credential{
		"a code":              {Type: core.CredentialTypeOneTimePassword, Username: "alice", Password: []byte("secret"), OneTimePassword: []byte("123456")},
		"a code alone":        {Type: core.CredentialTypeOneTimePassword, Username: "alice", OneTimePassword: []byte("123456")},
		"a hash":              {Type: core.CredentialTypeHashedPassword, Username: "alice", Hashed: &proof.HashedPassword{Timestamp: 1_700_000_000_123_456, Algorithm: core.HashSHA512, Hash: []byte("hash")}},
		"a hash by default":   {Type: core.CredentialTypeHashedPassword, Username: "alice", Hashed: &proof.HashedPassword{Timestamp: -1, Hash: []byte("hash")}},
		"a device":            {Type: core.CredentialTypeDevice, Password: []byte("secret"), Device: &proof.Device{SerialNumber: "s", Identifier: "i", Network: "n", Machine: "m", Media: "d"}},
		"a part of a device":  {Type: core.CredentialTypeDevice, Device: &proof.Device{Network: "n"}},
		"a name and password": {Type: core.CredentialTypeUsernameAndPassword, Username: "alice", Password: []byte("secret")},
	}
	read := func(v core.Version, given proof.Credential) (proof.Credential, error) {
		msg, err := kmip.AppendRequest(nil, v, kmip.RequestOptions{Credentials: []proof.Credential{given}}, kmiptest.Item(&kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}))
		if err != nil {
			t.Fatal(err)
		}
		var r kmip.Request
		if err := r.Parse(msg); err != nil || len(r.Header.Credentials) != 1 {
			return proof.Credential{}, err
		}
		return r.Header.Credentials[0], nil
	}
	for what, given := range whole {
		if got, err := read(core.V2_1, given); err != nil || !reflect.DeepEqual(got, given) {
			t.Errorf("%s is read as %+v, %v; want %+v", what, got, err, given)
		}
		got, err := read(core.V1_4, given)
		if old := given.Type == core.CredentialTypeUsernameAndPassword || given.Device != nil; err != nil || old != reflect.DeepEqual(got, given) || old == (len(got.Value) > 0) {
			t.Errorf("%s before 2.0 is read as %+v, %v", what, got, err)
		}
	}
	for what, lacking := range map[string]proof.Credential{
		"no code": {Type: core.CredentialTypeOneTimePassword, Username: "alice", Password: []byte("secret")},
		"no user": {Type: core.CredentialTypeOneTimePassword, OneTimePassword: []byte("123456")},
		"no hash": {Type: core.CredentialTypeHashedPassword, Username: "alice"},
	} {
		if got, err := read(core.V2_1, lacking); core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("%s: %+v, %v; want InvalidMessage", what, got, err)
		}
	}
	var r kmip.Response
	r.BeginProved(nil, core.V2_1, 1_700_000_000, "correlation", []byte("proof"))
	if got, err := kmip.ParseResponse(r.End()); err != nil || string(got.ServerHash) != "proof" || got.ServerCorrelation != "correlation" {
		t.Errorf("the answer to a hash is read as %+v, %v", got, err)
	}
}
