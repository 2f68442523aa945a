# callspool: `make demo` shows it at work, `make test` proves it. Both install what they lack.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all run lint fmt bench screenshots image

# One build serves the demo and the tests: the feature compiles the failures on purpose in.
FEATURES := --features faults
RECORDINGS ?= 200
BUSINESSES ?= 8

# What .ci/setup.sh unpacked for somebody who may not install packages.
PRIVATE := $(CURDIR)/.callspool/debian
export PATH := $(PATH):$(subst $() ,:,$(wildcard $(PRIVATE)/usr/lib/postgresql/*/bin))
ifneq ($(wildcard $(PRIVATE)),)
export LD_LIBRARY_PATH := $(PRIVATE)/usr/lib/$(shell uname -m)-linux-gnu:$(PRIVATE)/lib/$(shell uname -m)-linux-gnu
endif

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: ## Install what is missing: PostgreSQL's server binaries, a linker
	@sh .ci/setup.sh

demo: setup ## 200 recordings of 8 businesses, from a signed webhook to verified files
	@$(MAKE) --no-print-directory demo-after-setup

.PHONY: demo-after-setup test-after-setup
# A make of its own: what setup unpacked is in its PATH.
# The first build takes minutes: it shows how far it is.
demo-after-setup:
	cargo build --locked $(FEATURES)
	@cargo run --quiet --locked $(FEATURES) -- demo --recordings $(RECORDINGS) --businesses $(BUSINESSES)

test: setup ## Lints and all tests that install in a minute or two
	@$(MAKE) --no-print-directory lint test-after-setup

test-after-setup:
	cargo test --locked $(FEATURES)

test-all: setup ## The heavier parts beside make test: other features, all of the model, PgBouncer, restarts, the release before, chaos, a browser, a fuzzed API, licences
	@$(MAKE) --no-print-directory test-all-after-setup

.PHONY: test-all-after-setup
test-all-after-setup:
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib
	@sh .ci/setup.sh heavy
	cargo test --locked $(FEATURES) --test heavy -- --skip upgrade::
	cargo test --locked $(FEATURES) --test model -- --ignored --nocapture --test-threads 1
	cargo test --locked $(FEATURES) --test chaos -- --seed 6 --seconds 75
	cargo build --locked $(FEATURES)
	cd tests/browser && npm test
	CALLSPOOL_BENCH_JOBS=2000 cargo test --locked $(FEATURES) --bench pure --bench start --bench lists -- --test
	cargo test --locked $(FEATURES) --bench soak --bench overload -- --test
	sh .ci/audit.sh
	@sh .ci/previous.sh
	cargo test --locked $(FEATURES) --test heavy -- upgrade::

run: setup ## Run the supervised process with an embedded PostgreSQL
	@$(MAKE) --no-print-directory run-after-setup

.PHONY: run-after-setup
run-after-setup:
	cargo build --locked
	@cargo run --quiet --locked -- run

lint: ## Format and lint
	cargo fmt --all --check
	cargo clippy --locked --all-targets $(FEATURES) -- -D warnings

fmt: ## Format
	cargo fmt --all

bench: setup ## Benchmarks: the pure parts, a cold start, lists beside a long backlog
	@$(MAKE) --no-print-directory bench-after-setup

.PHONY: bench-after-setup
bench-after-setup:
	cargo bench --locked --bench pure --bench start --bench lists

SOAK_MINUTES ?= 30
OVERLOAD_SECONDS ?= 60
MANY_BUSINESSES ?= 1000000
MANY_JOBS ?= 10000000

.PHONY: soak overload many soak-after-setup overload-after-setup many-after-setup
soak: setup ## SOAK_MINUTES at 80 % of the measured peak: does anything grow? (docs/load.md)
	@$(MAKE) --no-print-directory soak-after-setup

overload: setup ## Three times the peak at the door, OVERLOAD_SECONDS long: who is told to come again, and what goes on
	@$(MAKE) --no-print-directory overload-after-setup

many: setup ## MANY_BUSINESSES with a job each and one with MANY_JOBS: what the steps cost, and that none reads it all
	@$(MAKE) --no-print-directory many-after-setup

soak-after-setup:
	SOAK_MINUTES=$(SOAK_MINUTES) cargo bench --locked --bench soak

overload-after-setup:
	OVERLOAD_SECONDS=$(OVERLOAD_SECONDS) cargo bench --locked --bench overload

many-after-setup:
	MANY_BUSINESSES=$(MANY_BUSINESSES) MANY_JOBS=$(MANY_JOBS) cargo bench --locked --bench many

FUZZ_SECONDS ?= 60

.PHONY: fuzz
fuzz: ## Try what comes from outside with any bytes, FUZZ_SECONDS for each target, or only for TARGET (docs/fuzzing.md)
	@sh .ci/fuzz.sh $(FUZZ_SECONDS) $(TARGET)

CHAOS_SECONDS ?= 600

.PHONY: chaos chaos-after-setup
chaos: setup ## Attack a fleet for CHAOS_SECONDS, by the plan of SEED (drawn where it is missing), and check its promises
	@$(MAKE) --no-print-directory chaos-after-setup

chaos-after-setup:
	@sh .ci/setup.sh chaos
	cargo test --locked $(FEATURES) --test chaos -- --seconds $(CHAOS_SECONDS) $(if $(SEED),--seed $(SEED)) $(CHAOS_OPTIONS)

screenshots: setup ## Pictures of the dashboard for the README, of a real fleet
	@$(MAKE) --no-print-directory screenshots-after-setup

.PHONY: screenshots-after-setup
screenshots-after-setup:
	@sh .ci/setup.sh heavy
	cargo build --locked $(FEATURES)
	node tests/browser/screenshots.mjs

image: ## Build the container image
	docker build -t callspool .
