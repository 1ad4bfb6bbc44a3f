package authz

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/core"
)

// question is everything that the input is made of but time and address, so
// that it is the memo's key as well: what the policy can see is in the key by
// construction.
type question struct {
	principal *core.Principal // nil in a key: there who stands for it
	who       uint64          // see memo.identity
	operation core.Operation
	door      core.Door
	present   bool // there is an object
	tenant    string
	object    string // Unique Identifier
	owner     string
	group     string
	kind      core.ObjectType
	state     core.State // at the time of asking
	algorithm core.CryptographicAlgorithm
}

// complete refuses a question that lacks what no rule may have to do without:
// two empty tenants would be equal.
func complete(r *core.AccessRequest) error {
	p, o := r.Principal, r.Object
	switch {
	case p == nil || p.Tenant == "" || p.ID == "":
		return core.Errorf(core.PermissionDenied, "nobody is asking: the principal has no tenant or no id")
	case r.Door != core.DoorKMIP && r.Door != core.DoorREST && r.Door != core.DoorClock:
		return core.Errorf(core.PermissionDenied, "the request came through no door that is known")
	case core.TagOperation.Info().Enum.Lookup(uint32(r.Operation)) == nil:
		return core.Errorf(core.PermissionDenied, "the operation is none that is known")
	case o != nil && (o.Tenant == "" || o.ID == "" || o.Owner == ""):
		return core.Errorf(core.PermissionDenied, "the object has no tenant, id or owner")
	}
	return nil
}

// questionOf takes from a complete request what the policy may see.
func questionOf(r *core.AccessRequest) question {
	q := question{principal: r.Principal, operation: r.Operation, door: r.Door}
	if o := r.Object; o != nil {
		q.present, q.tenant, q.object, q.owner, q.group = true, o.Tenant, o.ID, o.Owner, o.Group
		q.kind, q.state, q.algorithm = o.Type, r.State, o.Algorithm()
	}
	return q
}

// The names of the input's fields, made once.
var (
	nOperation, nNow, nAddress, nDoor, nPrincipal, nObject = text("operation"), text("now"), text("address"), text("door"), text("principal"), text("object")
	nTenant, nID, nGroups, nRoles, nMethod                 = text("tenant"), text("id"), text("groups"), text("roles"), text("method")
	nPresent, nOwner, nGroup, nType, nState, nAlgorithm    = text("present"), text("owner"), text("group"), text("type"), text("state"), text("algorithm")
	yes                                                    = ast.BooleanTerm(true)
	noObject                                               = objectTerm(&question{})
)

// input makes the policy's input: the one place where it is made, and every
// field is always there. policies.rego describes it.
func input(q *question, now int64, address string) ast.Value {
	p, object := q.principal, noObject
	if q.present {
		object = objectTerm(q)
	}
	return ast.NewObject(
		ast.Item(nOperation, text(q.operation.String())),
		ast.Item(nNow, ast.IntNumberTerm(int(now))),
		ast.Item(nAddress, text(address)),
		ast.Item(nDoor, text(string(q.door))),
		ast.Item(nPrincipal, ast.ObjectTerm(ast.Item(nTenant, text(p.Tenant)), ast.Item(nID, text(p.ID)),
			ast.Item(nGroups, setOf(p.Groups)), ast.Item(nRoles, setOf(p.Roles)), ast.Item(nMethod, text(p.Method)))),
		ast.Item(nObject, object))
}

func text(s string) *ast.Term { return ast.StringTerm(s) }

// setOf is {"a": true, "b": true}: membership by look-up. The empty name is
// nobody's group and nobody's role.
func setOf(names []string) *ast.Term {
	items := make([][2]*ast.Term, 0, len(names))
	for _, n := range names {
		if n != "" {
			items = append(items, ast.Item(text(n), yes))
		}
	}
	return ast.ObjectTerm(items...)
}

func objectTerm(q *question) *ast.Term {
	kind, state, algorithm := "", "", ""
	if q.kind != 0 {
		kind = q.kind.String()
	}
	if q.state != 0 {
		state = q.state.String()
	}
	if q.algorithm != 0 {
		algorithm = q.algorithm.String()
	}
	return ast.ObjectTerm(ast.Item(nPresent, ast.BooleanTerm(q.present)), ast.Item(nTenant, text(q.tenant)), ast.Item(nID, text(q.object)),
		ast.Item(nOwner, text(q.owner)), ast.Item(nGroup, text(q.group)), ast.Item(nType, text(kind)),
		ast.Item(nState, text(state)), ast.Item(nAlgorithm, text(algorithm)))
}
