#!/usr/bin/env bash
# The generated files are what the tables make of them.
set -euo pipefail
before=$(cat core/*_gen.go | sha256sum)
go generate ./core
[ "$before" = "$(cat core/*_gen.go | sha256sum)" ] || { echo "core/*_gen.go are not what core/tables make: run go generate ./core"; exit 1; }
