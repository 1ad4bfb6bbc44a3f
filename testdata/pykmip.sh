#!/usr/bin/env bash
# Runs PyKMIP's own integration tests, with the client that Debian ships, against
# a fresh development server.
# usage: pykmip.sh KNOWN
# They come with PyKMIP's source package, not with Debian's; pip fetches it and
# checks its sum. A failure that KNOWN lists, with its reason, does not fail the
# run; one that it does not list does, and so does a listed test that passes.
set -euo pipefail
known=$(readlink -f "$1")
python=/usr/bin/python3
for m in kmip pytest testtools pip; do
  "$python" -c "import $m" 2>/dev/null || { echo "python's $m is missing (Debian: apt-get install python3-pykmip python3-pytest python3-testtools python3-pip)" >&2; exit 1; }
done
base=/dev/shm
[ -d "$base" ] || base=${TMPDIR:-/tmp}
work=$(mktemp -d "$base/keyreeve-pykmip-XXXXXX")
server=
finish() {
  [ -z "$server" ] || { kill -TERM "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; }
  rm -rf "$work"
}
trap finish EXIT

echo 'PyKMIP==0.10.0 --hash=sha256:bb6ff310bba8b1130ffe675347f668f7234d022ba3d51edea5ea7e2ea9523897' >"$work/want"
if ! "$python" -m pip download -q --no-deps --no-binary :all: --require-hashes -d "$work" -r "$work/want"; then
  echo "PyKMIP's own tests were not run: pip could not fetch its source package, or it is another one"
  exit 0
fi
tar xzf "$work"/PyKMIP-0.10.0.tar.gz -C "$work" --strip-components=3 PyKMIP-0.10.0/kmip/tests/integration
find "$work/integration" -name __init__.py -delete # Debian's client is tried, not the one beside the tests

# Each test starts without what an earlier one left behind: the suite's own
# clearing up stops at the first object that is still Active.
cat >"$work/apart.py" <<'P'
import pytest
from kmip.core import enums
from kmip.pie import client


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    with client.ProxyKmipClient(config=item.config.getoption("--config")) as c:
        for uid in c.locate():
            try:
                c.destroy(uid)
            except Exception:
                c.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, uid)
                c.destroy(uid)
P

bin/keyreeve serve --dev --dir "$work/dev" --kmip 127.0.0.1:0 --http 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
server=$!
for _ in $(seq 100); do
  grep -q '^ready ' "$work/ready" && break
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
port=$(sed -n 's/^ready kmip=127.0.0.1:\([0-9]*\).*/\1/p' "$work/ready")
mkdir -p "$work/home/.pykmip"
cat >"$work/home/.pykmip/pykmip.conf" <<C
[client]
host=127.0.0.1
port=$port
certfile=$work/dev/certs/dev.pem
keyfile=$work/dev/certs/dev-key.pem
ca_certs=$work/dev/certs/ca.pem
cert_reqs=CERT_REQUIRED
ssl_version=PROTOCOL_TLSv1_2
C
HOME=$work/home PYTHONPATH=$work timeout 300 "$python" -m pytest -q -rA -p apart -p no:cacheprovider -W ignore --rootdir="$work" \
  -m 'not ignore' --tb=line "$work/integration" >"$work/out" 2>&1 || true
names() { sed -nE "s/^($1) .*::(Test[A-Za-z]*::test_[a-z0-9_]*).*/\2/p" "$work/out" | sort -u; }
names 'FAILED|ERROR' >"$work/failed"
names PASSED >"$work/passed"
sed 's/[[:space:]].*//; /^#/d; /^$/d' "$known" | sort >"$work/known"
new=$(comm -23 "$work/failed" "$work/known")
mended=$(comm -12 "$work/passed" "$work/known")
[ -z "$new" ] || { tail -60 "$work/out"; printf 'failed and not listed in %s:\n%s\n' "$1" "$new"; }
[ -z "$mended" ] || printf 'listed in %s and passing:\n%s\n' "$1" "$mended"
[ -s "$work/passed" ] || { cat "$work/out"; exit 1; }
tail -1 "$work/out"
[ -z "$new$mended" ]
