#!/usr/bin/env bash
# Runs PyKMIP's own integration tests, with the client that Debian ships, against
# a fresh development server.
# usage: pykmip.sh KNOWN
# They come with PyKMIP's source package, not with Debian's; pip fetches it and
# checks its sum. A failure that KNOWN lists, with its reason, does not fail the
# run; one that it does not list does, and so does a listed test that passes.
set -euo pipefail
known=$1
python=/usr/bin/python3
for m in kmip pytest testtools pip; do
  "$python" -c "import $m" 2>/dev/null || { echo "python's $m is missing (Debian: apt-get install python3-pykmip python3-pytest python3-testtools python3-pip)" >&2; exit 1; }
done
. "$(dirname "$0")/devserver.sh"

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

start_server
mkdir -p "$work/home/.pykmip"
cat >"$work/home/.pykmip/pykmip.conf" <<C
[client]
host=${address%:*}
port=${address##*:}
certfile=$certs/dev.pem
keyfile=$certs/dev-key.pem
ca_certs=$certs/ca.pem
cert_reqs=CERT_REQUIRED
ssl_version=PROTOCOL_TLSv1_2
C
HOME=$work/home PYTHONPATH=$work timeout 300 "$python" -m pytest -q -rA -p apart -p no:cacheprovider -W ignore --rootdir="$work" \
  -m 'not ignore' --tb=line "$work/integration" >"$work/out" 2>&1 || true
names() { sed -nE "s/^($1) .*::(Test[A-Za-z]*::test_[a-z0-9_]*).*/\2/p" "$work/out" | sort -u; }
names 'FAILED|ERROR' >"$work/failed"
names PASSED >"$work/passed"
[ -s "$work/passed" ] || { cat "$work/out"; exit 1; }
status=0
compare_known "$known" tail -60 "$work/out" || status=$?
tail -1 "$work/out"
exit "$status"
