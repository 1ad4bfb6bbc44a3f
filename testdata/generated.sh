#!/usr/bin/env bash
# The generated files are what the tables and the specification make of them.
set -euo pipefail
sums() { cat core/*_gen.go api/*_gen.go api/reference.html docs/REST.md | sha256sum; }
before=$(sums)
go generate ./core ./api
[ "$before" = "$(sums)" ] || { echo "generated files are not what core/tables and api/openapi.yaml make: run go generate ./core ./api"; exit 1; }
