#!/usr/bin/env bash
# Runs the OASIS cases against a fresh development server.
# usage: conformance.sh RUNNER_SOURCE CASES[,CASES...] KNOWN [runner flags]
# A failure that KNOWN lists, with its reason, does not fail the run; one that it
# does not list does, and so does a listed case that passes.
set -euo pipefail
source_dir=$1 cases=$2 known=$3
shift 3
. "$(dirname "$0")/devserver.sh"

# The runner is built outside its own folder, which may be read-only, and outside
# $work, from which programs may not be allowed to run.
build=$(mktemp -d)
trap 'rm -rf "$build"; stop_server' EXIT
cp "$source_dir"/*.go "$source_dir"/go.mod "$source_dir"/table.json "$build"/
(cd "$build" && rm -f ./*_test.go && go build -o oasisrun .)

start_server
"$build/oasisrun" -addr "$address" -cert "$certs/dev.pem" -key "$certs/dev-key.pem" -cert2 "$certs/dev2.pem" -key2 "$certs/dev2-key.pem" \
  -ca "$certs/ca.pem" "$@" ${cases//,/ } >"$work/out" || true
grep -v '[0-9] passed, ' "$work/out" || true
awk '/^FAIL/{sub(/:$/, "", $2); print $2}' "$work/out" | sort >"$work/failed"
awk '/^PASS/{print $2}' "$work/out" | sort >"$work/passed"
status=0
compare_known "$known" || status=$?
grep '[0-9] passed, ' "$work/out"
exit "$status"
