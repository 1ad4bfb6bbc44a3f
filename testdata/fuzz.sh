#!/usr/bin/env bash
# Runs every fuzz target for a short time.
set -euo pipefail
grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while IFS= read -r file; do
  sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' "$file" | while IFS= read -r target; do
    echo "fuzz $target in $(dirname "$file")"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$(dirname "$file")" >/tmp/keyreeve-fuzz.$$ || { cat /tmp/keyreeve-fuzz.$$; exit 1; }
    rm -f /tmp/keyreeve-fuzz.$$
  done
done
