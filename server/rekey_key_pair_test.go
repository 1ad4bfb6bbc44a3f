package server_test

import (
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// Re-key Key Pair over the wire: with keys of the HSM, in the versions that have it, with the
// ID Placeholder, with the references of 2.x, and with the reasons of each version.
func TestReKeyKeyPair(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_1, core.V1_2, core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		in := curvePair()
		in.Private = in.Private.Add(kmiptest.Name("private " + v.String()))
		old, err := kmiptest.Do(c, &kmip.CreateKeyPair, in)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := kmiptest.Do(c, &kmip.ReKeyKeyPair, &operation.RekeyKeyPairInput{ID: core.ID(old.PrivateID)})
		if err != nil || fresh.PrivateID == old.PrivateID || fresh.PublicID == old.PublicID {
			t.Errorf("%v: %v, %v", v, fresh, err)
			continue
		}
		found, err := kmiptest.Do(c, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{kmiptest.Name("private " + v.String())}})
		if err != nil || !slices.Equal(found.IDs, []string{fresh.PrivateID}) {
			t.Errorf("%v: the name belongs to %v, %v; want the new private key", v, found.IDs, err)
		}
		if v >= core.V1_2 {
			signs(t, c, fresh)
		}
		for id, head := range map[string]string{fresh.PrivateID: old.PrivateID, fresh.PublicID: old.PublicID} {
			if as := attributesOf(t, c, id, core.FamilyAttribute, core.VersionAttribute); len(as) != 2 || as[0].Value.Text != head || as[1].Value.Num != 2 {
				t.Errorf("%v: the family of the new half is %v; want version 2 of %s", v, as, head)
			}
		}
		alias := core.AliasAttribute.With(core.Text("mine"))
		_, err = kmiptest.Do(c, &kmip.AddAttribute, &operation.AddAttributeInput{ID: core.ID(fresh.PrivateID), Attribute: alias})
		if want := map[bool]core.ResultReason{true: core.ReasonPermissionDenied, false: core.ReasonReadOnlyAttribute}[v < core.V2_0]; kmiptest.Reason(err) != want {
			t.Errorf("%v: a client sets an alias: %v; want %v", v, err, want)
		}
		for what, id := range map[string]string{"a public key": fresh.PublicID, "nothing": "nobody"} {
			_, err := kmiptest.Do(c, &kmip.ReKeyKeyPair, &operation.RekeyKeyPairInput{ID: core.ID(id)})
			want := core.ReasonPermissionDenied
			switch {
			case id == "nobody" && v < core.V2_0:
				want = core.ReasonItemNotFound
			case id == "nobody":
				want = core.ReasonObjectNotFound
			case v >= core.V2_0:
				want = core.ReasonInvalidObjectType
			}
			if kmiptest.Reason(err) != want {
				t.Errorf("%v: of %s: %v; want %v", v, what, err, want)
			}
		}
		operations, err := kmiptest.Do(c, &kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		if err != nil || !slices.Contains(operations.Operations, core.OperationReKeyKeyPair) {
			t.Errorf("%v: Query lists %v, %v", v, operations.Operations, err)
		}
		r, err := c.Batch(kmiptest.Item(&kmip.ReKeyKeyPair, &operation.RekeyKeyPairInput{ID: core.ID(fresh.PrivateID)}),
			kmiptest.Item(&kmip.GetAttributeList, &operation.GetAttributeListInput{}), kmiptest.Item(&kmip.ReKeyKeyPair, &operation.RekeyKeyPairInput{}))
		var listed operation.GetAttributeListOutput
		var again operation.CreateKeyPairOutput
		if err == nil {
			err = kmip.GetAttributeList.DecodeResponse(r.Items[1].Payload, v, &listed)
		}
		if err == nil {
			err = kmip.ReKeyKeyPair.DecodeResponse(r.Items[0].Payload, v, &again)
		}
		if err != nil || listed.ID != again.PrivateID || len(r.Items) != 3 || r.Items[2].Status != core.StatusSuccess {
			t.Errorf("%v: the ID Placeholder is %s; want the private key %s (%v)", v, listed.ID, again.PrivateID, err)
		}
	}
	if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_0), &kmip.ReKeyKeyPair, &operation.RekeyKeyPairInput{ID: core.ID("a")}); kmiptest.Reason(err) != core.ReasonOperationNotSupported {
		t.Errorf("in 1.0: %v", err)
	}
	public := core.Identifier{Enum: core.UniqueReKeyKeyPairPublicKey}
	c := dial(t, s, "dev", core.V2_1)
	r, err := c.Batch(kmiptest.Item(&kmip.CreateKeyPair, curvePair()), kmiptest.Item(&kmip.ReKeyKeyPair, &operation.RekeyKeyPairInput{ID: core.Identifier{Enum: core.UniqueCreateKeyPairPrivateKey}}),
		kmiptest.Item(&kmip.GetAttributes, &operation.GetAttributesInput{ID: public, Names: []core.AttributeName{tag(core.TagObjectType)}}))
	if err != nil || len(r.Items) != 3 || r.Items[2].Status != core.StatusSuccess {
		t.Errorf("a reference to the new public key: %v, %v", r, err)
	}
}

// curvePair asks for a pair on P-256 that is Active, whose private key never leaves the HSM.
func curvePair() *operation.CreateKeyPairInput {
	return &operation.CreateKeyPairInput{
		Common:  core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}, activeNow},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}, locked},
		Public:  core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}}
}

// signs checks that the private half of a new pair signs what the public half verifies.
func signs(t *testing.T, c *kmiptest.Client, pair operation.CreateKeyPairOutput) {
	t.Helper()
	p := &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}
	signed, err := kmiptest.Do(c, &kmip.Sign, &operation.SignInput{ID: core.ID(pair.PrivateID), Parameters: p, Data: []byte("text")})
	if err != nil {
		t.Error(err)
		return
	}
	checked, err := kmiptest.Do(c, &kmip.SignatureVerify, &operation.SignatureVerifyInput{ID: core.ID(pair.PublicID), Parameters: p, Data: []byte("text"), Signature: signed.Signature})
	if err != nil || checked.Validity != core.ValidityIndicatorValid {
		t.Errorf("the signature by the new private key: %v, %v", checked.Validity, err)
	}
}
