# keyreeve: everything needs Go, a C compiler and make; `make run` and `make test`
# say what else, and on Debian as root install it.

DIR     ?= ./dev
CASES   ?=
BENCH   ?= 5s
OBJECTS ?= 1000,100000
SOAK    ?= 10m
SHARED  ?= $(or $(KEYREEVE_SHARED),../shared)

.PHONY: help build run test lent check bench conformance soak need

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build bin/keyreeve
	go build -trimpath -o bin/keyreeve ./cmd/keyreeve

need:
	@testdata/need.sh softhsm2

run: need build ## everything for a first run, then serve (DIR=./dev)
	@testdata/first-run.sh $(DIR)

# Tests that keep up a fault or a load for as long as KEYREEVE_SOAK says.
SOAKED = ^(TestKilledUnderLoad(SQLite|Postgres)|TestFlood|TestMemoryOf(UnreadAnswers|SlowBodies)|TestTokenFolderGone|TestBackendsTerminated|TestStopAnswersWhatItRead|TestReferenceAgrees)$$
# Those of them that compare times, so that each runs alone.
SOAKED_ALONE = ^(TestFairness|TestDecisionsStayFlat)$$

test: ## everything that must pass (SOAK_LATER=1: except what make soak tries for longer)
	@testdata/need.sh softhsm2 postgresql pgbouncer slapd python3-pykmip pkg-config libp11-kit-dev || true
	go test -timeout 30m $(if $(SOAK_LATER),-skip '$(SOAKED)|$(SOAKED_ALONE)') ./...
	@$(MAKE) --no-print-directory lent

# The packages that have such tests: with the tag everything is compiled and linked again.
LENT = $(shell grep -rlE '^func Test\w*Lent' --include='*_test.go' . | xargs -n1 dirname | sort -u)

lent: ## search the server for references to the memory of requests that are over
	@test -n "$(LENT)" || { echo "no test has Lent in its name"; exit 1; }
	go test -vet=off -count=1 -tags poison -run Lent $(LENT)

check: ## formatting, vet, layers, generated files, modules, short fuzz
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go vet -tags poison ./...
	go test -count=1 .
	go mod verify
	@testdata/generated.sh
	@testdata/fuzz.sh 2s

bench: build ## the ratios of docs/DESIGN.md, measured in one run (BENCH=5s each, OBJECTS=1000,100000)
	bin/keyreeve bench --self --duration $(BENCH) --objects $(OBJECTS)

conformance: build ## the OASIS cases against a fresh server: CASES=dir[,dir]
	@test -n "$(CASES)" || { echo "say which: make conformance CASES=dir[,dir]"; exit 1; }
	testdata/conformance.sh $(SHARED)/oasis/runner $(CASES) docs/known-failures.txt

soak: build ## faults kept up under load, 50 kills or more on each database (SOAK=10m), a million key policy questions
	KEYREEVE_SOAK=$(SOAK) go test -count=1 -timeout 90m -p 1 -run '$(SOAKED_ALONE)' -v ./server ./authz
	KEYREEVE_SOAK=$(SOAK) go test -count=1 -timeout 90m -run '$(SOAKED)' -v ./server ./authz/keypolicy
