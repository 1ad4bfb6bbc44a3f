#!/usr/bin/env bash
# Runs Schemathesis, which makes requests from api/openapi.yaml, against a fresh
# development server: no answer may be 500, or differ from the specification.
# usage: schemathesis.sh [EXAMPLES]
# EXAMPLES is how many requests are made of each operation beside those that cover
# its bounds. pip fetches Schemathesis in the versions of schemathesis.txt, and takes only
# files with the hashes there. The exit status is 75 if the machine is offline.
set -euo pipefail
examples=${1:-10}
python=/usr/bin/python3
"$python" -c 'import venv, ensurepip' 2>/dev/null || { echo "python's venv is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }
. "$(dirname "$0")/devserver.sh"

"$python" -m venv "$work/venv"
if ! "$work/venv/bin/pip" install -q --disable-pip-version-check --retries 2 --only-binary :all: --require-hashes -r "$(dirname "$0")/schemathesis.txt" >"$work/pip" 2>&1; then
  cat "$work/pip"
  if grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeoutError' "$work/pip"; then
    echo "Schemathesis was not run: this machine is offline, so pip cannot fetch it"
    exit 75
  fi
  echo "Schemathesis was not run: pip does not install what schemathesis.txt lists"
  exit 1
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
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection

# new_key BODY makes a key and prints its identifier.
new_key() {
  curl -sS --fail-with-body --cacert "$certs/ca.pem" --cert "$certs/anna.pem" --key "$certs/anna-key.pem" \
    -H 'Content-Type: application/json' -d "$1" "https://$rest/v1/keys" | sed -n 's/.*"keyId":"\([^"]*\)".*/\1/p'
}
# Uses of keys are tried with keys that are there, and one that is not.
keys="$(new_key '{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt","macGenerate","macVerify"]}')"
keys+=", $(new_key '{"type":"symmetric","algorithm":"HMAC-SHA256","length":256,"usage":["macGenerate","macVerify"]}')"
keys+=", $(new_key '{"type":"pair","algorithm":"EC","curve":"P-256","usage":["sign","verify"]}')"
keys+=", $(new_key '{"type":"pair","algorithm":"RSA","length":2048,"usage":["sign","verify","encrypt","decrypt"]}')"

# Without what it says of proofs, which Schemathesis would make up: all would be 401.
specification=$work/openapi.yaml
sed -e '/^security:/,/^tags:/{/^tags:/!d}' -e '/^ *security:/d' -e '/^    bearer:/d' api/openapi.yaml >"$specification"
sed "/^    KeyReference:/a\      enum: [$keys, none]" "$specification" >"$work/keys.yaml"

# 501 says that the HSM lacks a mechanism, and SoftHSM2 lacks some. Other answers of 500 and more are faults.
cat >"$work/schemathesis.toml" <<'END'
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
END

status=0
specification=$work/keys.yaml as anna --include-tag Cryptography -n $((4 * examples)) || status=$?
as anna --exclude-tag Tenants --exclude-tag Cryptography || status=$?
as system --include-tag Tenants || status=$?
exit "$status"
