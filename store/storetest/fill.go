package storetest

import (
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Fill stores n objects of a tenant, in large commits. Each object has a unique Name, one
// of 1,000 x-ResourceIDs, one of 7 x-SystemIDs, and an Initial Date one second after the
// last. One object in 1,000 is Compromised.
func Fill(t testing.TB, s core.Store, tenant string, n int) {
	t.Helper()
	const atOnce = 200 // so that one transaction ends in time on a busy machine
	for from := 0; from < n; from += atOnce {
		var c core.Change
		for i := from; i < min(from+atOnce, n); i++ {
			c.Add(core.InsertObject{Object: numbered(tenant, i)})
		}
		if err := s.Commit(ctx, &c); err != nil {
			t.Fatal(err)
		}
	}
}

// FillBegan is the Initial Date of the first object of Fill.
const FillBegan = 1_700_000_000

func numbered(tenant string, i int) *core.ManagedObject {
	id, state := fmt.Sprintf("id-%07d", i), core.Active
	if i%1000 == 7 {
		state = core.Compromised
	}
	return &core.ManagedObject{Tenant: tenant, ID: id, Type: core.ObjectTypeSymmetricKey, Owner: fmt.Sprint("owner", i%1000), Group: fmt.Sprint("group", i%500), Version: 1,
		Attributes: core.Attributes{
			{Tag: core.TagUniqueIdentifier, Value: core.Text(id)}, {Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeSymmetricKey)},
			{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)},
			{Tag: core.TagState, Value: core.Enum(state)}, {Tag: core.TagInitialDate, Value: core.Date(FillBegan + int64(i))},
			{Tag: core.TagName, Value: core.PlainName(fmt.Sprintf("key-%07d", i)).Value()},
			{Vendor: "x", Name: "ResourceID", Value: core.Text(fmt.Sprint("res", i%1000))}, {Vendor: "x", Name: "SystemID", Value: core.Text(fmt.Sprint("sys", i%7))},
		}}
}
