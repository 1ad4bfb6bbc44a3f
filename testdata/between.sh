#!/usr/bin/env bash
# Runs the OASIS cases of 1.0, 1.2 and 2.1 said in 1.1, 1.3 and 2.0, for which
# there are none of their own. What each version lacks of its neighbour does not
# come up in them, so the same must pass and the same must fail.
# usage: between.sh RUNNER_SOURCE CASES_DIR KNOWN
set -euo pipefail
runner=$1 from=$2 known=$3
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
say() { # VERSION MINOR AS
  local file
  for file in "$from/$1"/*/*.xml; do
    mkdir -p "$said/$1/$(basename "$(dirname "$file")")"
    sed "s/\(<ProtocolVersionMinor type=\"Integer\" value=\"\)$2\"/\1$3\"/" "$file" >"$said/$1/$(basename "$(dirname "$file")")/$(basename "$file")"
  done
}
say 1.0 0 1
say 1.2 2 3
say 2.1 1 0
# KMIP 2.0 does not list Wrong Key Lifecycle State for Modify Attribute (2.0 §6.1.33).
sed -i '/"ModifyAttribute"/,/<ResultReason/s/"WrongKeyLifecycleState"/"PermissionDenied"/' "$said"/2.1/*/*.xml
# KMIP 1.1 has other attributes for certificates than those this case lists.
rm "$said"/1.0/testcases/TC_132_10*
testdata/conformance.sh "$runner" "$said/1.0,$said/1.2,$said/2.1" "$known"
