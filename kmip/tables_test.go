package kmip_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gemalto/kmip-go/ttlv"

	"github.com/keyreeve/keyreeve/core"
)

// besideProject is the folder with the specifications' tables and OASIS' cases.
func besideProject() string {
	if shared := os.Getenv("KEYREEVE_SHARED"); shared != "" {
		return shared
	}
	return filepath.Join("..", "..", "shared")
}

type payloadField struct{ Name, Required string }

// A payload has the fields of its version's table alone, in the table's order,
// which is SHALL in responses (KMIP 1.4 §7, 2.1 §8).
func TestPayloadsFollowTheTables(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(besideProject(), "oasis", "facts", "operations.json"))
	if err != nil {
		t.Skip("the specifications' tables are not beside the project: ", err)
	}
	var tables map[string]map[string]struct{ Request, Response []payloadField }
	if err := json.Unmarshal(b, &tables); err != nil {
		t.Fatal(err)
	}
	eachVersion(t, func(t *testing.T, g *gen) {
		for _, p := range everyOperation {
			if p.since > g.v {
				continue
			}
			table, ok := tables[g.v.String()][operationTitle(p.op)]
			if !ok {
				t.Fatalf("KMIP %v has no table of %v", g.v, p.op)
			}
			req, res := p.make(t, g)
			inOrder(t, p.op, g.v, req, table.Request)
			inOrder(t, p.op, g.v, res, table.Response)
		}
	})
}

// operationTitle is the name of an operation's section, which differs from the
// enumeration's in some.
func operationTitle(op core.Operation) string {
	if op == core.OperationReKey {
		return "Re-key"
	}
	return op.String()
}

func inOrder(t *testing.T, op core.Operation, v core.Version, payload []byte, table []payloadField) {
	t.Helper()
	at := 0
	for it := ttlv.TTLV(payload).ValueStructure(); len(it) > 0; it = it.Next() {
		tag := core.Tag(it.Tag())
		for at < len(table) && !isField(table[at].Name, tag) {
			at++
		}
		if at == len(table) {
			t.Fatalf("%v %v: %v is not in the table, or stands too late\n%s", op, v, tag, tree(payload))
		}
	}
}

// isField reports whether a row of a table means a tag; one row stands for all objects.
func isField(row string, t core.Tag) bool {
	if strings.HasPrefix(row, "Certificate, ") || strings.HasPrefix(row, "Any Object") {
		return set(core.TagCertificate, core.TagSymmetricKey, core.TagPrivateKey, core.TagPublicKey, core.TagSplitKey, core.TagTemplate, core.TagSecretData,
			core.TagOpaqueObject, core.TagPGPKey)[t]
	}
	return squeeze(row) == squeeze(t.String())
}
