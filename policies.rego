# The default policy of keyreeve: who may do what. Deny is the default.
#
# The server asks for data.keyreeve.authz.decision. The answer has exactly
#   allow    true or false
#   reasons  the rules that said so, at least one, for the audit record
#   scope    how far Locate may look: "tenant", or "own" (one's own objects and
#            those of one's groups)
# An error, too much work, no answer or an answer of another form is a deny. The
# client then gets an error that says "try again", not Permission Denied.
#
# The input is closed and complete: every field is there in every question. A
# policy that names another field, or compares a field with a value that it
# never has, is refused when it is loaded. So is one that permits nothing, and
# one whose use of the input cannot be followed: write field names out, and keep
# "with" to the tests.
#   input.operation  the standard's name: "Create", "Get Attributes", ...; or a name
#                    of keyreeve's own for what KMIP has no operation for: "Read Health"
#   input.kind       of the operation: "use" (works with the value of a key, or gives
#                    it away), "manage" (makes, changes or ends an object), "read"
#                    (only tells) or "administer" (changes the server or its tenants,
#                    or tells what belongs to all tenants)
#   input.now        seconds since 1970, by the server's clock
#   input.address    of the peer, without port; "" where there is none (the clock)
#   input.door       "kmip", "rest", "clock" or "admin" (the admin socket)
#   input.principal  {tenant, id, groups: {name: true}, roles: {name: true}, method,
#                    strength, attributes: {name: text}, certificate, token,
#                    rights: {name: true}};
#                    method is "mtls" (a client certificate), "password" (a user beside
#                    a certificate), "hashed-password" (the same, with a hash),
#                    "device" (the same, with identifiers of the device),
#                    "code" (the same, with a one-time code too), "ldap" (the same as
#                    "password", of an LDAP directory), "token" or
#                    "system" (the admin socket); strength is how hard its proof is to
#                    steal: "none", "password", "token", "code", "certificate" or "system";
#                    attributes are those of a user, and may lack a name: write
#                    "not input.principal.attributes.x == ...", or object.get with a
#                    default
#   input.principal.certificate  {present, tenant, id}: who the certificate of the
#                    connection names, the principal itself if it named nobody else;
#                    present is false, and the rest "", where there is none
#   input.principal.token  {present, id}: the access token that proved the identity;
#                    present is false, and id "", where there is none. What a token is
#                    narrowed to is denied beside this policy
#   input.principal.rights  the roles that the tenant has declared and that permit the
#                    operation
#   input.object     {present, tenant, id, owner, group, type, state, algorithm};
#                    present is false, and the rest "", where no object is touched
#   input.statements {allow: {name: true}, deny: {name: true}, exclusive}: the statements
#                    of key policies that match the request, such as "payroll@3/1".
#                    Whatever this policy says, one in deny denies; and if exclusive
#                    is true, nothing but one in allow permits
#
# The rules of the house: deny overrides allow; tenants never meet; who
# administers keys does not thereby read or use them; who audits reads
# attributes alone.
#
# A policy that reads input.now or input.address is evaluated for each request,
# which costs some 20 microseconds; the answers of one that reads neither are
# remembered.
package keyreeve.authz

import rego.v2

# What touches no object, and is open to every principal of a tenant.
open_operations := {
	"Create", "Create Key Pair", "Register",
	"Create Import Job", "Read Import Job", "Delete Import Job",
	"Locate", "Query", "Discover Versions",
	"Hash", "RNG Retrieve", "RNG Seed",
}

# What the owner of an object may do, and a member of its group. Each is named,
# so that an operation which the server learns later is denied until somebody
# has decided who may.
use_operations := {
	"Get", "Get Attributes", "Get Attribute List", "Locate", "Check",
	"Add Attribute", "Modify Attribute", "Set Attribute", "Delete Attribute",
	"Activate", "Revoke", "Destroy", "Re-key", "Re-key Key Pair",
	"Disable", "Enable", "Soft Delete", "Restore", "Purge", "Archive", "Recover", "Set Rotation",
	"Encrypt", "Decrypt", "Sign", "Signature Verify", "MAC", "MAC Verify",
	"Derive Key",
	"Reencrypt From", "Reencrypt To", "Generate Data Key",
	"Export Clear",
}

# What nobody may do by this policy, not even the owner: key policies and roles of the
# tenant can permit it. A client that decrypts whatever key an envelope names can be
# handed one that was made with a key of somebody else. A key that is imported in clear
# over REST ("Import Clear", which is asked for beside "Register") has been in the memory
# of whatever ends TLS before the server.
off_operations := {"Decrypt Unnamed", "Import Clear"}

# What role "admin" may do to every object of its tenant: see to a key's life.
# Not Get nor any use of it. Re-key and Re-key Key Pair are no way to one: the
# replacement belongs to whom the old key belonged.
admin_operations := {
	"Get Attributes", "Get Attribute List", "Locate", "Check",
	"Add Attribute", "Modify Attribute", "Set Attribute", "Delete Attribute",
	"Activate", "Revoke", "Destroy", "Re-key", "Re-key Key Pair",
	"Disable", "Enable", "Soft Delete", "Restore", "Purge", "Archive", "Recover", "Set Rotation",
}

# What role "auditor" may do to every object of its tenant: read attributes.
auditor_operations := {"Get Attributes", "Get Attribute List", "Locate"}

# What an auditor may do besides, like everybody: ask about the server itself.
server_operations := {"Query", "Discover Versions"}

# What the roles "monitor", "admin" and "auditor" may do over REST: read the state
# of the server's parts (GET /v1/health) and its figures (GET /metrics). They tell
# of all tenants together. A permit is not recorded.
monitor_operations := {"Read Health", "Read Metrics"}

# What a command on the server's own machine may do over the admin socket, besides
# what is open to everybody who can open it: read the state of the server and the
# records, ask what this policy would say, have files read again, look at the objects
# in the HSM that no living object needs and at the sets of keys, destroy such
# objects, look after the tenants (declare, list, change, disable and delete them), run and
# pause the jobs of the clock, and read and replace this policy.
socket_operations := {
	"Read Health", "Read Records", "Simulate Policy", "Replay Policy", "Reload",
	"List Token Objects", "Purge Token Object",
	"Create Tenant", "List Tenants", "Read Tenant", "Save Tenant", "Delete Tenant",
	"Save Policy", "Delete Policy", "Read Policies", "Attach Policy", "Detach Policy",
	"Save Canary", "Delete Canary",
	"Save User", "Delete User", "Read Users", "Save Role", "Delete Role", "Read Roles",
	"Save Client", "Revoke Client", "Read Clients", "Diagnose Client",
	"Create Authority", "Read Revocations",
	"Save Server Policy", "Read Server Policy",
	"Read Jobs", "Change Job",
}

# What a certificate with the role "system" may do over REST: look after the tenants and the jobs
# of the clock. It may do nothing else, not even make keys of its own. An authority can give this
# role only if its entry in tls.authorities names it: "*" does not.
tenant_operations := {"Create Tenant", "List Tenants", "Read Tenant", "Save Tenant", "Delete Tenant", "Read Jobs", "Change Job"}

# What everybody may do with access tokens of its own, and the socket with those of
# users. For those of others the server asks besides for "Save User" or "Read Users". An
# invitation is a token too: it enrolls the client that it names, and does nothing else. An
# enrolled client renews its own certificate; the server asks for that certificate.
token_operations := {"Issue Token", "Revoke Token", "Read Tokens", "Enroll Client", "Renew Client"}

# What everybody may do with requests that wait for approvals. The server looks besides at
# who may approve which request, and shows others only what concerns them.
approval_operations := {"Approve Request", "Deny Request", "Read Approvals"}

# What role "admin" may do to the policies and people of its own tenant, whose settings it
# reads and does not change. The verbs take
# another tenant from nobody but the administrator on the server's machine.
people_operations := {
	"Save Policy", "Delete Policy", "Read Policies", "Attach Policy", "Detach Policy",
	"Save Canary", "Delete Canary",
	"Save User", "Delete User", "Read Users", "Save Role", "Delete Role", "Read Roles",
	"Save Client", "Revoke Client", "Read Clients", "Diagnose Client",
	"Simulate Policy", "Read Tenant",
}

# What the roles "admin" and "auditor" may do to the records of their own tenant: ask what a
# version of a key policy would change in the requests that are recorded.
review_operations := {"Replay Policy"}

monitor_roles := {"monitor", "admin", "auditor"}

# What role "operator" may do to every object of its tenant: run a key's life, but not
# end it. Role "viewer" reads attributes, as an auditor does, and may own keys besides.
operator_operations := {
	"Get Attributes", "Get Attribute List", "Locate", "Check",
	"Add Attribute", "Modify Attribute", "Set Attribute", "Delete Attribute",
	"Activate", "Re-key", "Re-key Key Pair", "Disable", "Enable", "Archive", "Recover", "Set Rotation",
}

# What the clock of the server does by itself to every object whose date has come. Key policies
# can deny it; then the object stays as it is.
clock_operations := {"Purge", "Re-key", "Re-key Key Pair"}

# The kinds of operations that a key policy or a role of the tenant can permit: nothing
# that concerns the server itself.
permittable_kinds := {"use", "manage", "read"}

# The decision is the first of these that holds: one denial outweighs every permit.

decision := {"allow": false, "reasons": denials, "scope": scope} if denials != set()

else := {"allow": true, "reasons": permits, "scope": scope} if permits != set()

else := {"allow": false, "reasons": {"no rule allows it"}, "scope": scope}

# Denials.

denials contains "another tenant's object" if {
	input.object.present
	input.object.tenant != input.principal.tenant
}

denials contains "certificate of another tenant speaks for a user" if {
	input.principal.certificate.present
	input.principal.certificate.tenant != input.principal.tenant
}

denials contains "an auditor only reads attributes" if {
	input.principal.roles.auditor
	not input.operation in (((auditor_operations | server_operations) | monitor_operations) | token_operations) | review_operations
	input.operation != "Read Approvals"
}

denials contains "an administrator of the server only looks after tenants" if {
	input.principal.roles.system
	input.principal.method != "system"
	not input.operation in (tenant_operations | server_operations) | monitor_operations
}

denials contains "an administrator of the server touches no object" if {
	input.principal.roles.system
	input.object.present
}

denials contains "a token buys no token" if {
	input.operation == "Issue Token"
	input.principal.token.present
}

denials contains "a token renews no certificate" if {
	input.operation == "Renew Client"
	input.principal.token.present
}

denials contains concat("", ["statement ", name, " denies it"]) if {
	some name, _ in input.statements.deny
}

denials contains "an exclusive key policy does not permit it" if {
	input.statements.exclusive
	input.statements.allow == {}
}

# Permits.

permits contains "open to the tenant" if {
	not input.object.present
	input.operation in open_operations
}

permits contains "monitors the server" if {
	not input.object.present
	input.operation in monitor_operations
	some role in monitor_roles
	input.principal.roles[role]
}

permits contains "administrator on the server's machine" if {
	not input.object.present
	input.operation in socket_operations | token_operations
	input.door == "admin"
	input.principal.method == "system"
	input.principal.roles.system
}

permits contains "administrator of the server" if {
	not input.object.present
	input.operation in tenant_operations
	input.door == "rest"
	input.principal.method == "mtls"
	input.principal.roles.system
}

permits contains "its own tokens" if {
	not input.object.present
	input.operation in token_operations
	input.principal.method != "system"
}

permits contains "requests that wait for approvals" if {
	not input.object.present
	input.operation in approval_operations
}

permits contains "administers the tenant's policies and people" if {
	not input.object.present
	input.principal.roles.admin
	input.operation in people_operations
}

permits contains "reviews the tenant's requests" if {
	not input.object.present
	some role in {"admin", "auditor"}
	input.principal.roles[role]
	input.operation in review_operations
}

permits contains "owner" if {
	input.object.present
	input.object.owner == input.principal.id
	input.operation in use_operations
}

permits contains "member of the object's group" if {
	input.object.present
	input.object.group != ""
	input.principal.groups[input.object.group]
	input.operation in use_operations
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

permits contains "operator of the tenant" if {
	input.object.present
	input.principal.roles.operator
	input.operation in operator_operations
}

permits contains "viewer of the tenant" if {
	input.object.present
	input.principal.roles.viewer
	input.operation in auditor_operations
}

permits contains "the clock" if {
	input.object.present
	input.operation in clock_operations
	input.door == "clock"
	input.principal.method == "system"
}

permits contains concat("", ["role ", name]) if {
	input.kind in permittable_kinds
	some name, _ in input.principal.rights
}

permits contains concat("", ["statement ", name]) if {
	input.kind in permittable_kinds
	some name, _ in input.statements.allow
}

# How far Locate looks.

wide_roles := {"admin", "operator", "auditor", "viewer"}

scope := "tenant" if {
	some role in wide_roles
	input.principal.roles[role]
}

else := "tenant" if input.principal.rights != {}

else := "tenant" if input.statements.allow != {}

else := "own"
