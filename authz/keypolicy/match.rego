# Which statements of key policies match a request. The server evaluates this module
# first; policies.rego then sees the names of the matched statements and decides.
#
# The input, which is always complete:
#   input.policies   the attached policies in their normal form
#   input.action     "Encrypt"
#   input.now        seconds since 1970
#   input.address    of the peer; "" if it is unknown
#   input.networks   {network: true}: the networks that contain the address, for each
#                    length of a range that a condition names; with its country and
#                    continent, "country:DE" and "continent:EU", if a condition names one
#   input.principal  {names: {"user:alice": true, "*": true}, strength: 0 to 4}
#   input.facts      {field: {value: true}}, for each field that a condition names
#
# A statement matches if it names the action and the principal, and if all its
# conditions hold. A condition that cannot be judged holds in a denial, and not in a
# permission.
#
# Conditions with one value or range have rules of their own: partial evaluation turns
# them into look-ups by which OPA finds rules. The others are one call each, so that the
# ways in which a statement can match do not multiply.
package keyreeve.keypolicy

import rego.v2

# [position of the policy, position of the statement]
matched contains [p, s] if {
	some p, policy in input.policies
	some effect in ["allow", "deny"]
	some key in [input.action, "*"]
	some s in policy[effect][key]
	statement := policy.statements[s]
	names_principal(statement)
	every condition in statement.conditions {
		holds(condition, statement.effect)
	}
}

# What each statement lacks to match: [policy, statement, path of the member].

unmet contains [p, s, "actions"] if {
	some p, policy in input.policies
	some s, statement in policy.statements
	not names_action(policy, statement.effect, s)
}

unmet contains [p, s, "principal"] if {
	some p, policy in input.policies
	some s, statement in policy.statements
	not names_principal(statement)
}

unmet contains [p, s, condition.path] if {
	some p, policy in input.policies
	some s, statement in policy.statements
	some condition in statement.conditions
	not holds(condition, statement.effect)
}

names_action(policy, effect, s) if {
	some key in [input.action, "*"]
	s in policy[effect][key]
}

names_principal(statement) if {
	some name, _ in statement.principals
	input.principal.names[name] == true
}

# The conditions, by kind.

holds(condition, _) if {
	condition.kind == "values"
	count(condition.values) == 1
	input.facts[condition.field][condition.values[0]] == true
}

holds(condition, _) if {
	condition.kind == "values"
	count(condition.values) > 1
	some value, _ in input.facts[condition.field]
	value in condition.values
}

holds(condition, _) if {
	condition.kind == "address"
	count(condition.ranges) == 1
	input.networks[condition.ranges[0]] == true
}

holds(condition, _) if {
	condition.kind == "address"
	count(condition.ranges) > 1
	some network, _ in input.networks
	network in condition.ranges
}

holds(condition, "deny") if {
	condition.kind == "address"
	input.address == ""
}

holds(condition, "deny") if {
	condition.kind == "address"
	some range in condition.ranges
	not startswith(range, "country:")
	not startswith(range, "continent:")
	not net.cidr_is_valid(range)
}

holds(condition, _) if {
	condition.kind == "notBefore"
	input.now >= condition.at
}

holds(condition, _) if {
	condition.kind == "notAfter"
	input.now <= condition.at
}

holds(condition, _) if {
	condition.kind == "daily"
	instant := [input.now * 1000000000, condition.zone]
	[hours, minutes, seconds] := time.clock(instant)
	second_of_day := ((hours * 3600) + (minutes * 60)) + seconds
	some window in condition.windows
	second_of_day >= window.from
	second_of_day < window.to
	time.weekday(instant) in window.days
}

# The uses of a new key: a permission names all that the key may have, a denial any of them.

holds(condition, "allow") if {
	condition.kind == "usages"
	input.facts[condition.field] != {}
	object.subset(condition.members, input.facts[condition.field])
}

holds(condition, "deny") if {
	condition.kind == "usages"
	some value, _ in input.facts[condition.field]
	value in condition.values
}

holds(condition, _) if {
	condition.kind == "strength"
	input.principal.strength >= condition.least
}

# A kind that this module does not know cannot be judged.
holds(condition, "deny") if {
	not condition.kind in {"values", "address", "notBefore", "notAfter", "daily", "strength", "usages"}
}
