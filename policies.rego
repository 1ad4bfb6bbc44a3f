# The default policy of keyreeve: who may do what. Deny is the default.
#
# The question is data.keyreeve.authz.decision; its answer has
#   allow    true or false
#   reasons  the rules that said so, for the audit record
#   scope    how far Locate may look: "tenant", or "own" (own objects and those
#            of one's groups)
#
# The input is closed and complete: every field is always there.
#   input.operation             the standard's name: "Create", "Get Attributes", ...
#   input.now, input.address    seconds since 1970; address of the peer
#   input.door                  "kmip", "rest" or "clock"
#   input.principal             {tenant, id, groups: {name: true}, roles: {name: true}, method}
#   input.object                {present, tenant, id, owner, group, type, state, algorithm}
#
# An error, a timeout or an answer of another form is a deny.
package keyreeve.authz

import rego.v2

default allow := false

decision := {"allow": allow, "reasons": reasons, "scope": scope}

# What asks nothing of an existing object: open to every principal of a tenant,
# for its own tenant.
open_operations := {
	"Create", "Create Key Pair", "Register", "Locate", "Query", "Discover Versions",
	"Hash", "RNG Retrieve", "RNG Seed",
}

# What an administrator may do to every object of the tenant: the life of keys,
# not their use. Who administers keys does not thereby read or use them.
admin_operations := {
	"Locate", "Get Attributes", "Get Attribute List", "Add Attribute", "Modify Attribute",
	"Set Attribute", "Delete Attribute", "Activate", "Revoke", "Destroy", "Check", "Re-key",
}

# What an auditor may do to every object of the tenant: read attributes.
auditor_operations := {"Locate", "Get Attributes", "Get Attribute List"}

allow if {
	count(denials) == 0
	count(permits) > 0
}

reasons := denials if count(denials) > 0

else := permits if count(permits) > 0

else := {"no rule allows it"}

# Denials win over permits.

denials contains "another tenant's object" if {
	input.object.present
	input.object.tenant != input.principal.tenant
}

denials contains "an auditor only reads attributes" if {
	input.principal.roles.auditor
	not input.operation in auditor_operations
	not input.operation in {"Query", "Discover Versions"}
}

permits contains "open to the tenant" if {
	not input.object.present
	input.operation in open_operations
}

permits contains "owner" if {
	input.object.present
	input.object.owner == input.principal.id
}

permits contains "member of the object's group" if {
	input.object.present
	input.object.group != ""
	input.principal.groups[input.object.group]
}

permits contains "administrator of the tenant" if {
	input.object.present
	input.principal.roles.admin
	input.operation in admin_operations
}

permits contains "auditor of the tenant" if {
	input.object.present
	input.principal.roles.auditor
	input.operation in auditor_operations
}

scope := "tenant" if input.principal.roles.admin

else := "tenant" if input.principal.roles.auditor

else := "own"
