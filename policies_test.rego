# The tests of policies.rego. They run at every load, and a policy that fails
# them is not activated: change a rule there, and say here what it should do.
#
# A denial is always tested as "allow == false", never as "not allow": the
# latter would also hold if the policy had no answer at all.
package keyreeve.authz_test

import rego.v2

import data.keyreeve.authz

# Who asks.

principal(tenant, id, groups, roles) := {
	"tenant": tenant, "id": id, "method": "mtls", "strength": "certificate", "attributes": {},
	"certificate": {"present": true, "tenant": tenant, "id": id},
	"token": {"present": false, "id": ""},
	"rights": {},
	"groups": {g: true | some g in groups},
	"roles": {r: true | some r in roles},
}

alice := principal("t", "alice", {"g"}, set())

bob := principal("t", "bob", {"g", "h"}, set())

eve := principal("t", "eve", {"h"}, set())

lone := principal("t", "lone", set(), set())

admin := principal("t", "root", set(), {"admin"})

auditor := principal("t", "ann", {"g"}, {"auditor"})

twin := principal("u", "alice", {"g"}, {"admin"})

# What is asked for: alice's key in group g, one in no group, and nothing.

key(tenant, owner, group) := {
	"present": true, "tenant": tenant, "id": "o", "owner": owner, "group": group,
	"type": "Symmetric Key", "state": "Active", "algorithm": "AES",
}

shared := key("t", "alice", "g")

private := key("t", "alice", "")

none := {
	"present": false, "tenant": "", "id": "", "owner": "", "group": "",
	"type": "", "state": "", "algorithm": "",
}

ask(operation, who, object) := {
	"operation": operation, "now": 1700000000, "address": "127.0.0.1", "door": "kmip",
	"kind": kind(operation), "principal": who, "object": object, "statements": unmatched,
}

kind(operation) := "read" if operation in {"Get Attributes", "Get Attribute List", "Locate", "Check", "Query", "Discover Versions", "Read Import Job"}

else := "use" if operation in {"Get", "Encrypt", "Decrypt", "Decrypt Unnamed", "Sign"}

else := "administer" if operation in {"Reload", "Create Tenant", "Save Tenant", "Delete Tenant"}

else := "manage"

unmatched := {"allow": {}, "deny": {}, "exclusive": false}

yes(operation, who, object) if {
	d := authz.decision with input as ask(operation, who, object)
	d.allow == true
	d.reasons != set()
}

no(operation, who, object) if {
	d := authz.decision with input as ask(operation, who, object)
	d.allow == false
	d.reasons != set()
}

# The operations, in parts that share no member.

make_operations := {"Create", "Create Key Pair", "Register", "Create Import Job", "Read Import Job", "Delete Import Job", "Hash", "RNG Retrieve", "RNG Seed"}

ask_operations := {"Query", "Discover Versions"}

read_operations := {"Get Attributes", "Get Attribute List", "Locate"}

manage_operations := {
	"Check", "Add Attribute", "Modify Attribute", "Set Attribute", "Delete Attribute",
	"Activate", "Revoke", "Destroy", "Re-key", "Re-key Key Pair",
	"Disable", "Enable", "Soft Delete", "Restore", "Purge", "Archive", "Recover", "Set Rotation",
}

key_operations := {
	"Get", "Encrypt", "Decrypt", "Sign", "Signature Verify", "MAC", "MAC Verify", "Derive Key",
	"Reencrypt From", "Reencrypt To", "Generate Data Key",
	"Export Clear",
}

on_objects := (read_operations | manage_operations) | key_operations

# Owner and group.

test_owner_uses_what_is_shared if every op in on_objects { yes(op, alice, shared) }

test_owner_uses_what_is_private if every op in on_objects { yes(op, alice, private) }

test_group_member_uses if every op in on_objects { yes(op, bob, shared) }

test_group_member_does_not_use_what_is_private if every op in on_objects { no(op, bob, private) }

test_stranger_is_denied if every op in on_objects { no(op, eve, shared) }

test_who_has_no_group_is_denied if every op in on_objects { no(op, lone, shared) }

# Decrypt Unnamed is off, and a statement turns it on.
test_decrypt_unnamed_is_off if {
	every who in {alice, bob, eve, admin, operator} { no("Decrypt Unnamed", who, shared) }
	d := matched_decision("Decrypt Unnamed", bob, shared, {"allow": {"p@1/1": true}})
	d.allow == true
}

# So is Import Clear.
test_import_clear_is_off if {
	every who in {alice, bob, eve, admin, operator} { no("Import Clear", who, none) }
	d := matched_decision("Import Clear", bob, none, {"allow": {"p@1/1": true}})
	d.allow == true
}

test_no_group_is_not_a_common_group if {
	nobodys := principal("t", "eve", {""}, set())
	every op in on_objects { no(op, nobodys, private) }
	every op in on_objects { no(op, lone, private) }
}

# A group or role that is there but not true is none.
test_membership_must_be_true if {
	half := object.union(eve, {"groups": {"g": false}, "roles": {"admin": false}})
	every op in on_objects { no(op, half, shared) }
}

# Without an object.

test_everybody_of_a_tenant_makes if every op in make_operations { yes(op, lone, none) }

test_everybody_of_a_tenant_asks if every op in ask_operations | {"Locate"} { yes(op, lone, none) }

test_nothing_else_without_object if every op in on_objects - {"Locate"} { no(op, alice, none) }

test_making_is_no_right_to_an_object if {
	every op in make_operations | ask_operations {
		every who in {alice, bob, eve, admin, auditor} { no(op, who, shared) }
	}
}

# Roles.

test_admin_reads_attributes if every op in read_operations { yes(op, admin, private) }

test_admin_manages if every op in manage_operations { yes(op, admin, private) }

test_admin_does_not_touch_keys if every op in key_operations { no(op, admin, private) }

test_admin_uses_its_own_keys if {
	own := key("t", "root", "")
	every op in key_operations { yes(op, admin, own) }
}

test_auditor_reads_attributes if every op in read_operations { yes(op, auditor, private) }

test_auditor_asks if every op in ask_operations | {"Locate"} { yes(op, auditor, none) }

test_auditor_only_reads if every op in manage_operations | key_operations { no(op, auditor, shared) }

test_auditor_makes_nothing if every op in make_operations { no(op, auditor, none) }

test_auditor_only_reads_even_own_keys if {
	own := key("t", "ann", "g")
	every op in manage_operations | key_operations { no(op, auditor, own) }
}

test_auditor_who_is_admin_only_reads if {
	both := principal("t", "root", set(), {"admin", "auditor"})
	every op in manage_operations | key_operations { no(op, both, shared) }
	every op in read_operations { yes(op, both, shared) }
}

test_other_roles_are_none if {
	other := principal("t", "otto", set(), {"Operator", "Admin", "administrator"})
	every op in on_objects { no(op, other, shared) }
}

operator := principal("t", "otto", set(), {"operator"})

viewer := principal("t", "vera", set(), {"viewer"})

test_operator_runs_the_life_of_keys if {
	every op in {"Get Attributes", "Locate", "Activate", "Re-key", "Re-key Key Pair", "Modify Attribute", "Disable", "Enable", "Archive", "Recover"} { yes(op, operator, shared) }
	every op in {"Get", "Encrypt", "Decrypt", "Sign", "Revoke", "Destroy", "Soft Delete", "Restore", "Purge"} { no(op, operator, shared) }
}

test_viewer_reads_attributes if {
	every op in {"Get Attributes", "Get Attribute List", "Locate"} { yes(op, viewer, shared) }
	every op in on_objects - {"Get Attributes", "Get Attribute List", "Locate"} { no(op, viewer, shared) }
}

# Key policies and roles of the tenant.

matched_decision(operation, who, key, statements) := d if {
	question := object.union(ask(operation, who, key), {"statements": object.union(unmatched, statements)})
	d := authz.decision with input as question
}

test_a_statement_permits if {
	d := matched_decision("Get", eve, private, {"allow": {"payroll@1/1": true}})
	d.allow == true
	d.reasons == {"statement payroll@1/1"}
}

test_a_statement_denies_the_owner if {
	d := matched_decision("Get", alice, private, {"allow": {"a@1/1": true}, "deny": {"payroll@1/2": true}})
	d.allow == false
	d.reasons == {"statement payroll@1/2 denies it"}
}

test_a_statement_reaches_no_other_tenant if {
	d := matched_decision("Get", twin, private, {"allow": {"payroll@1/1": true}})
	d.allow == false
}

test_a_statement_does_not_administer_the_server if {
	every op in {"Reload", "Create Tenant", "Save Tenant", "Delete Tenant"} {
		d := matched_decision(op, alice, none, {"allow": {"payroll@1/1": true}})
		d.allow == false
	}
}

test_an_exclusive_policy_excludes_the_owner if {
	d := matched_decision("Get", alice, private, {"exclusive": true})
	d.allow == false
	d.reasons == {"an exclusive key policy does not permit it"}
	e := matched_decision("Get", alice, private, {"exclusive": true, "allow": {"payroll@1/1": true}})
	e.allow == true
}

test_an_exclusive_policy_excludes_the_admin if {
	d := matched_decision("Destroy", admin, private, {"exclusive": true})
	d.allow == false
}

test_a_role_of_the_tenant_permits if {
	clerk := object.union(principal("t", "carl", set(), {"clerk"}), {"rights": {"clerk": true}})
	yes("Get", clerk, private)
	no("Get", clerk, key("u", "alice", "g"))
	no("Reload", clerk, none)
}

test_wide_searches if {
	every who in {admin, auditor, operator, viewer} {
		d := authz.decision with input as ask("Locate", who, none)
		d.scope == "tenant"
	}
	d := matched_decision("Locate", eve, none, {"allow": {"payroll@1/1": true}})
	d.scope == "tenant"
	e := authz.decision with input as ask("Locate", eve, none)
	e.scope == "own"
}

# Tenants.

test_other_tenant_is_denied if every op in on_objects { no(op, twin, shared) }

test_denial_outweighs_ownership if {
	d := authz.decision with input as ask("Get", twin, shared)
	d.reasons == {"another tenant's object"}
}

# What the policy does not know.

test_unknown_operation_is_denied if every op in {"", "Frobnicate", "get", "Export", "Certify"} {
	no(op, alice, shared)
	no(op, admin, shared)
	no(op, lone, none)
}

# Answers.

test_reason_names_the_rule if {
	owner := authz.decision with input as ask("Get", alice, private)
	owner.reasons == {"owner"}
	member := authz.decision with input as ask("Get", bob, shared)
	member.reasons == {"member of the object's group"}
	stranger := authz.decision with input as ask("Get", eve, shared)
	stranger.reasons == {"no rule allows it"}
}

test_scope_is_own if every who in {alice, bob, eve, lone} {
	d := authz.decision with input as ask("Locate", who, none)
	d.scope == "own"
}

test_scope_is_the_tenant if every who in {admin, auditor} {
	d := authz.decision with input as ask("Locate", who, none)
	d.scope == "tenant"
}

# A user beside a certificate.

with_certificate(who, tenant) := object.union(who, {"method": "password", "strength": "password", "certificate": {"present": true, "tenant": tenant, "id": "array7"}})

test_a_user_has_the_rights_of_an_owner if every op in on_objects { yes(op, with_certificate(alice, "t"), shared) }

test_a_certificate_of_another_tenant_speaks_for_no_user if {
	every op in on_objects { no(op, with_certificate(alice, "u"), shared) }
	every op in authz.open_operations { no(op, with_certificate(alice, "u"), none) }
	d := authz.decision with input as ask("Get", with_certificate(alice, "u"), shared)
	d.reasons["certificate of another tenant speaks for a user"]
}

# Approvals.

test_everybody_may_approve_and_an_auditor_reads if {
	every op in authz.approval_operations {
		yes(op, alice, none)
		yes(op, admin, none)
	}
	yes("Read Approvals", auditor, none)
	no("Approve Request", auditor, none)
	no("Deny Request", auditor, none)
}

# Access tokens.

with_token(who) := object.union(who, {"method": "token", "strength": "token", "certificate": {"present": false, "tenant": "", "id": ""}, "token": {"present": true, "id": "k1"}})

test_everybody_has_tokens_of_its_own if {
	every op in authz.token_operations {
		every who in {alice, lone, admin, auditor, with_certificate(alice, "t")} { yes(op, who, none) }
		no(op, alice, shared)
		no(op, with_certificate(alice, "u"), none)
	}
}

test_the_socket_has_tokens_of_users if every op in authz.token_operations {
	d := authz.decision with input as object.union(server_question(op, {"system"}), {"door": "admin", "principal": {"method": "system"}})
	d.allow == true
	elsewhere := authz.decision with input as object.union(server_question(op, {"system"}), {"principal": {"method": "system"}})
	elsewhere.allow == false
}

test_a_token_buys_no_token if {
	every who in {alice, admin, auditor} {
		no("Issue Token", with_token(who), none)
		yes("Read Tokens", with_token(who), none)
		yes("Revoke Token", with_token(who), none)
	}
	d := authz.decision with input as ask("Issue Token", with_token(admin), none)
	d.reasons["a token buys no token"]
}

test_a_token_renews_no_certificate if every who in {alice, admin, auditor} {
	no("Renew Client", with_token(who), none)
	d := authz.decision with input as ask("Renew Client", with_token(who), none)
	d.reasons["a token renews no certificate"]
}

test_a_token_has_the_rights_of_its_owner if every op in on_objects {
	yes(op, with_token(alice), shared)
	no(op, with_token(eve), shared)
}

# The clock.

by_the_clock := {"door": "clock", "principal": {"id": "keyreeve", "method": "system", "groups": {}, "roles": {}}}

test_the_clock_acts_on_what_is_due if {
	every op in on_objects {
		asked := object.union(ask(op, lone, shared), by_the_clock)
		of_clock := authz.decision with input as asked
		of_clock.allow == (op in authz.clock_operations)
		every part in [{"door": "rest"}, {"door": "kmip"}, {"door": "admin"}, {"principal": {"method": "mtls"}}, {"object": {"tenant": "u"}}, {"statements": {"deny": {"p@1/1": true}}}] {
			d := authz.decision with input as object.union(asked, part)
			d.allow == false
		}
	}
}

# The server itself.

test_who_reads_health if {
	every operation in {"Read Health", "Read Metrics"} {
		every role in {"monitor", "admin", "auditor"} {
			about_server(operation, {role}).allow == true
		}
		about_server(operation, set()).allow == false
		about_server(operation, {"operator"}).allow == false
	}
}

# What only the admin socket may do.
on_the_machine := {"Read Records", "Reload", "List Token Objects", "Purge Token Object", "Create Tenant", "List Tenants", "Save Tenant", "Delete Tenant", "Create Authority", "Read Revocations", "Read Jobs", "Change Job"}

test_the_socket_reads_health if {
	d := authz.decision with input as object.union(server_question("Read Health", {"system"}), {"door": "admin", "principal": {"method": "system"}})
	d.allow == true
}

test_who_acts_on_the_token if {
	every operation in on_the_machine {
		question := server_question(operation, {"system"})
		socket := object.union(question, {"door": "admin", "principal": {"method": "system"}})
		of_socket := authz.decision with input as socket
		of_socket.allow == true
		every part in [{"door": "rest"}, {"door": "kmip"}, {"door": "clock"}, {"principal": {"method": "mtls"}}, {"principal": {"roles": {"system": false}}}] {
			d := authz.decision with input as object.union(socket, part)
			d.allow == false
		}
		every role in {"monitor", "admin", "auditor"} {
			about_server(operation, {role}).allow == false
		}
		about_server(operation, {"system"}).allow == (operation in authz.tenant_operations)
	}
}

test_an_administrator_of_the_server_looks_after_tenants_alone if {
	every operation in authz.tenant_operations {
		asked := server_question(operation, {"system"})
		about_server(operation, {"system"}).reasons["administrator of the server"]
		every part in [{"door": "kmip"}, {"door": "clock"}, {"door": "admin"}, {"principal": {"method": "token"}}, {"principal": {"method": "password"}}, {"principal": {"method": "ldap"}}, {"object": shared}] {
			d := authz.decision with input as object.union(asked, part)
			d.allow == false
		}
	}
	every operation in (authz.open_operations - authz.server_operations) | authz.token_operations {
		about_server(operation, {"system"}).allow == false
		about_server(operation, {"system", "admin"}).allow == false
	}
	every operation in on_objects {
		d := authz.decision with input as object.union(server_question(operation, {"system", "admin", "operator"}), {"object": shared})
		d.allow == false
	}
}

# What administrators of a tenant may do too, at any door.
on_people := {"Save Canary", "Delete Canary", "Save Policy", "Attach Policy", "Save User", "Save Role", "Read Users", "Simulate Policy", "Read Tenant"}

test_who_administers_people if {
	every operation in on_people | {"Save Client", "Revoke Client", "Read Clients", "Diagnose Client"} {
		about_server(operation, {"admin"}).allow == true
		every role in {"monitor", "operator", "viewer", "auditor", "user"} {
			about_server(operation, {role}).allow == false
		}
		about_server(operation, {"system"}).allow == (operation == "Read Tenant")
		socket := object.union(server_question(operation, {"system"}), {"door": "admin", "principal": {"method": "system"}})
		d := authz.decision with input as socket
		d.allow == true
	}
}

test_who_reviews_requests if {
	every role in {"admin", "auditor"} { about_server("Replay Policy", {role}).allow == true }
	every role in {"monitor", "operator", "viewer", "system", "user"} { about_server("Replay Policy", {role}).allow == false }
	about_server("Replay Policy", set()).allow == false
	socket := object.union(server_question("Replay Policy", {"system"}), {"door": "admin", "principal": {"method": "system"}})
	d := authz.decision with input as socket
	d.allow == true
}

test_the_socket_touches_no_object if {
	every operation in on_objects | on_the_machine {
		socket := object.union(server_question(operation, {"system"}), {"door": "admin", "principal": {"method": "system"}, "object": shared})
		d := authz.decision with input as socket
		d.allow == false
	}
}

test_a_monitor_touches_no_object if {
	every operation in {"Get", "Get Attributes", "Destroy", "Read Health"} {
		d := authz.decision with input as object.union(
			server_question(operation, {"monitor"}),
			{"object": {"present": true, "tenant": "t", "id": "o", "owner": "x", "type": "Symmetric Key", "state": "Active", "algorithm": "AES"}},
		)
		d.allow == false
	}
}

about_server(operation, roles) := d if {
	d := authz.decision with input as server_question(operation, roles)
}

server_question(operation, roles) := {
	"operation": operation, "now": 1, "address": "127.0.0.1", "door": "rest",
	"principal": principal("t", "p", set(), roles),
	"object": {"present": false, "tenant": "", "id": "", "owner": "", "group": "", "type": "", "state": "", "algorithm": ""},
}
