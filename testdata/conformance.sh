#!/usr/bin/env bash
# Runs the OASIS cases against a fresh development server.
# usage: conformance.sh RUNNER_SOURCE CASES[,CASES...] [runner flags]
set -euo pipefail
source_dir=$1 cases=$2
shift 2
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
set +e
"$work/oasisrun" -addr "$address" -cert "$certs/dev.pem" -key "$certs/dev-key.pem" -cert2 "$certs/dev2.pem" -key2 "$certs/dev2-key.pem" \
  -ca "$certs/ca.pem" "$@" ${cases//,/ } >"$work/out"
status=$?
set -e
cat "$work/out"
exit $status
