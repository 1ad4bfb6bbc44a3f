#!/usr/bin/env bash
# Serves in development mode and, once it is ready, prints what to try.
set -euo pipefail
mkdir -p "$1"
dir=$(cd "$1" && pwd)
show() {
  while IFS= read -r line; do
    echo "$line"
    case $line in
      "ready "*)
        cat <<EOF

Three commands to paste into another terminal, in this folder:

  curl --cacert $1/certs/ca.pem --cert $1/certs/dev.pem --key $1/certs/dev-key.pem -H 'Content-Type: application/json' -d '{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt","decrypt"],"name":"first"}' https://127.0.0.1:8443/v1/keys

  /usr/bin/python3 -c 'from kmip.pie.client import ProxyKmipClient as C; from kmip.core.enums import CryptographicAlgorithm as A; c = C("127.0.0.1", 5696, "$1/certs/dev.pem", "$1/certs/dev-key.pem", "$1/certs/ca.pem", "PROTOCOL_SSLv23"); c.open(); print(c.create(A.AES, 256, name="second"))'

  bin/keyreeve audit list --dir $1 --limit 5

EOF
        ;;
    esac
  done
}

# A signal that stops this script stops the server, and the script ends after it.
bin/keyreeve serve --dev --dir "$dir" > >(show "$1") &
server=$!
trap 'kill -TERM "$server" 2>/dev/null' INT TERM HUP
status=0
wait "$server" || status=$?
while kill -0 "$server" 2>/dev/null; do
  status=0
  wait "$server" || status=$?
done
exit "$status"
