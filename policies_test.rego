package keyreeve.authz_test

import rego.v2

import data.keyreeve.authz

object := {
	"present": true, "tenant": "t", "id": "o", "owner": "alice", "group": "g",
	"type": "Symmetric Key", "state": "Active", "algorithm": "AES",
}

none := {
	"present": false, "tenant": "", "id": "", "owner": "", "group": "",
	"type": "", "state": "", "algorithm": "",
}

principal(id, groups, roles) := {"tenant": "t", "id": id, "groups": groups, "roles": roles, "method": "mtls"}

ask(operation, p, o) := {
	"operation": operation, "now": 1700000000, "address": "127.0.0.1", "door": "kmip",
	"principal": p, "object": o,
}

alice := principal("alice", {}, {})

bob := principal("bob", {"g": true}, {})

eve := principal("eve", {"h": true}, {})

admin := principal("root", {}, {"admin": true})

auditor := principal("ann", {"g": true}, {"auditor": true})

test_owner_uses if authz.allow with input as ask("Get", alice, object)

test_group_uses if authz.allow with input as ask("Decrypt", bob, object)

test_stranger_is_denied if not authz.allow with input as ask("Get", eve, object)

test_everybody_creates if authz.allow with input as ask("Create", eve, none)

test_nobody_gets_without_object if not authz.allow with input as ask("Get", alice, none)

test_admin_destroys if authz.allow with input as ask("Destroy", admin, object)

test_admin_does_not_read if not authz.allow with input as ask("Get", admin, object)

test_admin_does_not_decrypt if not authz.allow with input as ask("Decrypt", admin, object)

test_auditor_reads_attributes if authz.allow with input as ask("Get Attributes", auditor, object)

test_auditor_never_gets if not authz.allow with input as ask("Get", auditor, object)

test_auditor_does_not_create if not authz.allow with input as ask("Create", auditor, none)

test_other_tenant_is_denied if {
	not authz.allow with input as ask("Get", {"tenant": "u", "id": "alice", "groups": {"g": true}, "roles": {"admin": true}, "method": "mtls"}, object)
}

test_owner_of_the_same_name_elsewhere if {
	not authz.allow with input as ask("Get", alice, object_of("u"))
}

object_of(tenant) := {
	"present": true, "tenant": tenant, "id": "o", "owner": "alice", "group": "g",
	"type": "Symmetric Key", "state": "Active", "algorithm": "AES",
}

test_empty_group_is_no_group if {
	not authz.allow with input as ask("Get", principal("eve", {"": true}, {}), ungrouped)
}

ungrouped := {
	"present": true, "tenant": "t", "id": "o", "owner": "alice", "group": "",
	"type": "Symmetric Key", "state": "Active", "algorithm": "AES",
}

test_scope_is_own if authz.scope == "own" with input as ask("Locate", bob, none)

test_scope_of_admin if authz.scope == "tenant" with input as ask("Locate", admin, none)

test_reasons_name_the_rule if "owner" in authz.reasons with input as ask("Get", alice, object)

test_unknown_operation if not authz.allow with input as ask("Frobnicate", eve, object)
