# Stela. `make help` lists what there is; `make test` is what must pass, everywhere.
#
# Everything sets itself up: Go's own tools come through `go tool` from the module
# internal/tools, so that go.mod lists only what the product needs; the clients of
# other languages are installed by their smoke tests.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO        ?= go
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64

LINT := $(GO) tool -modfile=internal/tools/go.mod golangci-lint

# How long each fuzz target runs, and how many run at once.
FUZZTIME ?= 20s
FUZZJOBS ?= 3

# The simulation: for how long it draws new seeds, or which seeds it runs ("7", "1-100").
SIMTIME ?= 2m
SEEDS   ?=

# What the race detector watches: all but what has a step of its own.
RACE = $(shell $(GO) list ./... | grep -v -e /internal/simtest -e /internal/tidy -e /cmd/)

# The steps of `make test`, in order. The cheap ones come first.
STEPS := vet tidy module lint cross race simulation fuzzing process smoke

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/stela and bin/shop
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

.PHONY: test
test: ## all checks and tests, under 15 minutes on two cores
	@MAKE='$(MAKE)' .ci/steps $(STEPS)

.PHONY: check
check: ## the quick part: vet, style, module, lint, and tests without the race detector
	@MAKE='$(MAKE)' .ci/steps vet tidy module lint quick

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...
	$(GO) -C internal/clients vet ./...
	$(GO) -C bench/peers vet ./...

.PHONY: tidy
tidy: ## the house rules: layers, sizes, wording, docs
	$(GO) test -count=1 ./internal/tidy

.PHONY: module
module: ## go.mod and go.sum say what is used, and no more
	$(GO) mod tidy -diff
	$(GO) -C internal/clients mod tidy -diff
	$(GO) -C bench/peers mod tidy -diff
	$(GO) -C internal/tools mod tidy -diff
	$(GO) mod verify

.PHONY: lint
lint: ## golangci-lint, built from internal/tools
	$(LINT) run --allow-serial-runners ./...
	cd internal/clients && $(GO) tool -modfile=../tools/go.mod golangci-lint run --allow-serial-runners --config ../../.golangci.yml ./...
	cd bench/peers && $(GO) tool -modfile=../../internal/tools/go.mod golangci-lint run --allow-serial-runners --config ../../.golangci.yml ./...

.PHONY: fmt
fmt: ## format all code, and write it in the newest dialect, as lint wants it
	$(LINT) run --allow-serial-runners --fix --enable-only modernize,gci,gofumpt,misspell ./... || true
	$(LINT) fmt ./...
	cd internal/clients && $(GO) tool -modfile=../tools/go.mod golangci-lint fmt --config ../../.golangci.yml ./...
	cd bench/peers && $(GO) tool -modfile=../../internal/tools/go.mod golangci-lint fmt --config ../../.golangci.yml ./...

.PHONY: cross
cross: ## compile for every platform
	@for platform in $(PLATFORMS); do \
		echo "$$platform"; \
		CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build ./...; \
	done

.PHONY: quick
quick:
	$(GO) test -timeout 5m $(RACE)
	$(GO) -C bench/peers test -timeout 5m ./...

.PHONY: race
race: ## unit tests under the race detector
	$(GO) test -race -timeout 8m $(RACE)
	$(GO) -C bench/peers test -race -timeout 5m ./...

.PHONY: simulation
simulation:
	STELA_SIM_TIME=$(SIMTIME) STELA_SIM_SEEDS='$(SEEDS)' $(GO) test -count=1 -timeout 10m -v -run 'TestSim$$' ./internal/simtest | grep -v -e '^=== RUN' -e '--- PASS: TestSim/'
	$(GO) test -timeout 5m -skip 'TestSim$$' ./internal/simtest

.PHONY: sim
sim: ## more of the simulation: make sim SEEDS=1-500, or SIMTIME=30m
	STELA_SIM_TIME=$(SIMTIME) STELA_SIM_SEEDS='$(SEEDS)' $(GO) test -count=1 -timeout 0 -v -run 'TestSim$$' ./internal/simtest | grep -v -e '^=== RUN' -e '--- PASS: TestSim/'
	$(GO) test -count=1 -timeout 0 -v -run TestPowerCut ./replication -cuts | grep -v -e '^=== RUN'

.PHONY: fuzzing
fuzzing:
	@FUZZTIME=$(FUZZTIME) FUZZJOBS=$(FUZZJOBS) GO='$(GO)' .ci/fuzz

.PHONY: fuzz
fuzz: ## fuzz every target: make fuzz FUZZTIME=10m
	@FUZZTIME=$(FUZZTIME) FUZZJOBS=$(FUZZJOBS) GO='$(GO)' .ci/fuzz

.PHONY: process
process: ## tests with real processes: the command line, kill -9, the services
	$(GO) test -count=1 -timeout 10m ./cmd/...

.PHONY: smoke
smoke: ## kcat, kafkajs, librdkafka, franz-go and sarama against three processes
	$(GO) -C internal/clients test -count=1 -timeout 10m -v ./...

.PHONY: bench
bench: ## the benchmarks of all packages, six times each, for benchstat
	$(GO) test -run '^$$' -bench . -benchmem -count 6 $$($(GO) list ./... | grep -v -e /cmd/ -e /internal/simtest)

.PHONY: bench-peers
bench-peers: ## install what Stela is benchmarked beside: Kafka, NATS, PostgreSQL
	@GO='$(GO)' bench/peers/install

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
