#!/usr/bin/env bash
# Runs Schemathesis, which makes requests from api/openapi.yaml, against a fresh
# development server: no answer may be 500, or differ from the specification.
# usage: schemathesis.sh [EXAMPLES]
# EXAMPLES is how many requests are made of each operation beside those that cover
# its bounds. pip fetches Schemathesis in the versions of schemathesis.txt.
set -euo pipefail
examples=${1:-10}
python=/usr/bin/python3
"$python" -c 'import venv, ensurepip' 2>/dev/null || { echo "python's venv is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
. "$(dirname "$0")/devserver.sh"

"$python" -m venv "$work/venv"
if ! "$work/venv/bin/pip" install -q --disable-pip-version-check --only-binary :all: -r "$(dirname "$0")/schemathesis.txt"; then
  echo "Schemathesis was not run: pip could not fetch it"
  exit 0
fi
start_server
for who in "anna --group dev --role admin" "system --role system"; do
  # shellcheck disable=SC2086
  bin/keyreeve cert issue --dir "$work/dev" --name $who >/dev/null
done

# as NAME ARGUMENT... sends the requests of some operations as a principal. The seed is
# fixed, so that a failure comes again.
as() {
  local name=$1
  shift
  (cd "$work" && NO_COLOR=1 timeout 300 venv/bin/schemathesis run "$specification" --url "https://$rest" --tls-verify "$certs/ca.pem" \
    --request-cert "$certs/$name.pem" --request-cert-key "$certs/$name-key.pem" \
    --phases examples,coverage,fuzzing --checks "$checks" -n "$examples" --seed 1 --workers 1 --continue-on-failure --warnings off "$@")
}
specification=$PWD/api/openapi.yaml
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection
status=0
# shellcheck disable=SC2086
as anna --exclude-tag Tenants || status=$?
# shellcheck disable=SC2086
as system --include-tag Tenants || status=$?
exit "$status"
