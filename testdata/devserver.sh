# Sourced by conformance.sh, pykmip.sh and schemathesis.sh: a development server for
# one run, and the comparison of its results with a list of known failures. Makes the folder
# $work, in memory if possible; it and the server go away at the end.
base=/dev/shm
[ -d "$base" ] || base=${TMPDIR:-/tmp}
work=$(mktemp -d "$base/keyreeve-$(basename "$0" .sh)-XXXXXX")
certs=$work/dev/certs
server=
stop_server() {
  [ -z "$server" ] || { kill -TERM "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  rm -rf "$work"
}
trap stop_server EXIT

# start_server sets $address to HOST:PORT of the KMIP door, and $rest to that of the REST door.
start_server() {
  bin/keyreeve serve --dev --dir "$work/dev" --kmip 127.0.0.1:0 --http 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
  server=$!
  for _ in $(seq 100); do
    grep -q '^ready ' "$work/ready" && break
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
  done
  address=$(sed -n 's/^ready kmip=\([^ ]*\).*/\1/p' "$work/ready")
  rest=$(sed -n 's/^ready .*https=\([^ ]*\).*/\1/p' "$work/ready")
}

# compare_known KNOWN [COMMAND...] compares the sorted names in $work/failed and
# $work/passed with the file KNOWN. It fails, after COMMAND, if a failure is not
# listed there or a listed case passes.
compare_known() {
  local known=$1 unlisted fixed
  shift
  sed 's/[[:space:]].*//; /^#/d; /^$/d' "$known" | sort >"$work/known" || return 1
  unlisted=$(comm -23 "$work/failed" "$work/known") || return 1
  fixed=$(comm -12 "$work/passed" "$work/known") || return 1
  [ -z "$unlisted" ] || { "$@"; printf 'failed and not listed in %s:\n%s\n' "$known" "$unlisted"; }
  [ -z "$fixed" ] || printf 'listed in %s and passing:\n%s\n' "$known" "$fixed"
  [ -z "$unlisted$fixed" ]
}
