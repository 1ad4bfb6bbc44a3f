#!/usr/bin/env bash
# Runs the OASIS cases against a fresh development server.
# usage: conformance.sh RUNNER_SOURCE CASES[,CASES...] KNOWN [runner flags]
# A failure that KNOWN lists, with its reason, does not fail the run; one that it
# does not list does, and so does a listed case that passes.
set -euo pipefail
source_dir=$1 cases=$2 known=$3
shift 3
work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || { kill -TERM "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; }
  rm -rf "$work" "$token"
}
base=/dev/shm
[ -d "$base" ] || base=${TMPDIR:-/tmp}
token=$(mktemp -d "$base/keyreeve-conformance-XXXXXX")
trap finish EXIT

# The runner is built outside its own folder, which may be read-only.
cp "$source_dir"/*.go "$source_dir"/go.mod "$source_dir"/table.json "$work"/
(cd "$work" && rm -f ./*_test.go && go build -o oasisrun .)

bin/keyreeve serve --dev --dir "$token/dev" --kmip 127.0.0.1:0 --http 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
  grep -q '^ready ' "$work/ready" && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
address=$(sed -n 's/^ready kmip=\([^ ]*\).*/\1/p' "$work/ready")
certs=$token/dev/certs
"$work/oasisrun" -addr "$address" -cert "$certs/dev.pem" -key "$certs/dev-key.pem" -cert2 "$certs/dev2.pem" -key2 "$certs/dev2-key.pem" \
  -ca "$certs/ca.pem" "$@" ${cases//,/ } >"$work/out" || true
grep -v '[0-9] passed, ' "$work/out" || true
awk '/^FAIL/{sub(/:$/, "", $2); print $2}' "$work/out" | sort >"$work/failed"
awk '/^PASS/{print $2}' "$work/out" | sort >"$work/passed"
sed 's/[[:space:]].*//; /^#/d; /^$/d' "$known" | sort >"$work/known"
new=$(comm -23 "$work/failed" "$work/known")
mended=$(comm -12 "$work/passed" "$work/known")
[ -z "$new" ] || printf 'failed and not listed in %s:\n%s\n' "$known" "$new"
[ -z "$mended" ] || printf 'listed in %s and passing:\n%s\n' "$known" "$mended"
grep '[0-9] passed, ' "$work/out"
[ -z "$new$mended" ]
