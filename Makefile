# What can be made. Targets write to bin/ and .soak/ only, engines and ring to docs/, proto to api/.

MODULES := . e2e bench
SEED    ?= 1
# One simulator seed, or what a failing test printed: make sim SEED=7 ARGS='--nodes 5'
ARGS    ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the binary, as bin/quorate
	go build -o bin/quorate ./cmd/quorate

.PHONY: test
test: ## all tests of the module
	go test ./...

.PHONY: race
race: ## the same under the race detector, without the simulator
	bash .ci/run race

.PHONY: lint
lint: bin/golangci-lint ## everything .golangci.yml asks for, in all modules
	@for m in $(MODULES); do (cd $$m && $(CURDIR)/bin/golangci-lint run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

bin/golangci-lint: tools/golangci/go.mod tools/golangci/go.sum
	cd tools/golangci && go build -o ../../bin/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: fmt
fmt: ## format the code
	gofmt -s -w api client cmd consensus examples internal ring e2e bench

.PHONY: sim
sim: ## one simulated run: make sim SEED=7 ARGS=--trace
	go run ./cmd/quorate sim --seed $(SEED) $(ARGS)

.PHONY: mutants
mutants: ## every seeded bug must be caught
	bash .ci/run mutants

.PHONY: e2e
e2e: ## real processes beside etcd, with kills and bad input
	bash .ci/run build e2e

.PHONY: bench
bench: ## three of ours and three etcd members in turns; about 20 minutes
	cd bench && go run .

.PHONY: bench-engines
bench-engines: bin/benchstat ## the consensus engines beside etcd's raft, in one process; a minute
	go test ./consensus -run '^$$' -bench Replicate -count 6 >bin/engines.bench
	bin/benchstat -col '/engine@(etcd raft paxos)' -filter '.unit:(entries/s OR allocs/op)' bin/engines.bench | tee bin/engines.speed

bin/benchstat: tools/go.mod tools/go.sum
	cd tools && go build -o ../bin/ golang.org/x/perf/cmd/benchstat

.PHONY: engines
engines: $(if $(BENCH),bench-engines) ## tables and pictures of docs/engines.md; the speed, too: make engines BENCH=1
	go test ./consensus/scenarios -count=1 -run TestDocument -scenarios.write $(if $(BENCH),-scenarios.speed=$(CURDIR)/bin/engines.speed)

.PHONY: ring
ring: ## tables and pictures of docs/ring.md, times measured anew; the libraries come from the network
	go test ./ring/internal/contest -count=1 -run TestDocument -ring.write -test.benchtime 50ms
	cd ring/compare && go test -count=1 -run TestDocument -ring.write -test.benchtime 50ms

.PHONY: proto
proto: ## the Go files of api/, from its .proto files; no protoc needed
	cd tools && go run ./protogen ../api

.PHONY: ci
ci: ## all checks of a commit; at most 15 minutes on two cores
	bash .ci/run

.PHONY: soak
soak: ## the full counts, resumable in pieces; results in docs/soak.md
	bash scripts/soak

.PHONY: clean
clean: ## remove what make made, but not what a soak has passed
	rm -rf bin coverage.out
