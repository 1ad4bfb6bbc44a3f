package authz

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/core"
)

// complete refuses a question that lacks what no rule may have to do without:
// two empty tenants would be equal.
func complete(r *core.AccessRequest) error {
	p := r.Principal
	switch {
	case p == nil || p.Tenant == "" || p.ID == "":
		return core.Errorf(core.PermissionDenied, "nobody is asking: the principal has no tenant or no id")
	case r.Door != core.DoorKMIP && r.Door != core.DoorREST && r.Door != core.DoorClock:
		return core.Errorf(core.PermissionDenied, "the request came through no door that is known")
	case core.TagOperation.Info().Enum.Lookup(uint32(r.Operation)) == nil:
		return core.Errorf(core.PermissionDenied, "the operation is none that is known")
	case r.Object != nil && (r.Object.Tenant == "" || r.Object.ID == "" || r.Object.Owner == ""):
		return core.Errorf(core.PermissionDenied, "the object has no tenant, id or owner")
	}
	return nil
}

func text(s string) *ast.Term { return ast.StringTerm(s) }

// The names of the input's fields, made once.
var (
	nOperation, nNow, nAddress, nDoor, nPrincipal, nObject = text("operation"), text("now"), text("address"), text("door"), text("principal"), text("object")
	nTenant, nID, nGroups, nRoles, nMethod                 = text("tenant"), text("id"), text("groups"), text("roles"), text("method")
	nPresent, nOwner, nGroup, nType, nState, nAlgorithm    = text("present"), text("owner"), text("group"), text("type"), text("state"), text("algorithm")
	absent                                                 = objectTerm(&core.AccessRequest{})
)

// input makes the policy's input: the one place where it is made, and every
// field is always there.
func input(r *core.AccessRequest) ast.Value {
	object := absent
	if r.Object != nil {
		object = objectTerm(r)
	}
	p := r.Principal
	return ast.NewObject(
		ast.Item(nOperation, text(r.Operation.String())),
		ast.Item(nNow, ast.IntNumberTerm(int(r.Now))),
		ast.Item(nAddress, text(r.Address)),
		ast.Item(nDoor, text(string(r.Door))),
		ast.Item(nPrincipal, ast.ObjectTerm(ast.Item(nTenant, text(p.Tenant)), ast.Item(nID, text(p.ID)),
			ast.Item(nGroups, setOf(p.Groups)), ast.Item(nRoles, setOf(p.Roles)), ast.Item(nMethod, text(p.Method)))),
		ast.Item(nObject, object))
}

// setOf is {"a": true, "b": true}: membership by look-up.
func setOf(names []string) *ast.Term {
	items := make([][2]*ast.Term, len(names))
	for i, n := range names {
		items[i] = ast.Item(text(n), ast.BooleanTerm(true))
	}
	return ast.ObjectTerm(items...)
}

func objectTerm(r *core.AccessRequest) *ast.Term {
	o := r.Object
	if o == nil {
		e := text("")
		return ast.ObjectTerm(ast.Item(nPresent, ast.BooleanTerm(false)), ast.Item(nTenant, e), ast.Item(nID, e), ast.Item(nOwner, e),
			ast.Item(nGroup, e), ast.Item(nType, e), ast.Item(nState, e), ast.Item(nAlgorithm, e))
	}
	state, algorithm := "", ""
	if r.State != 0 {
		state = r.State.String()
	}
	if a := o.Algorithm(); a != 0 {
		algorithm = a.String()
	}
	return ast.ObjectTerm(ast.Item(nPresent, ast.BooleanTerm(true)), ast.Item(nTenant, text(o.Tenant)), ast.Item(nID, text(o.ID)),
		ast.Item(nOwner, text(o.Owner)), ast.Item(nGroup, text(o.Group)), ast.Item(nType, text(o.Type.String())),
		ast.Item(nState, text(state)), ast.Item(nAlgorithm, text(algorithm)))
}
