# callspool: `make demo` shows it at work, `make test` proves it. Both install what they lack.
.DEFAULT_GOAL := help
.PHONY: help demo test test-all run lint fmt bench setup image

# One build serves the demo and the tests: the feature compiles the failures on purpose in.
FEATURES := --features faults
RECORDINGS ?= 200
BUSINESSES ?= 8

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## Install what is missing: PostgreSQL's server binaries, a linker
	@sh scripts/setup.sh

demo: setup ## 200 recordings of 8 businesses, from a signed webhook to verified files
	cargo run --quiet --locked $(FEATURES) -- demo --recordings $(RECORDINGS) --businesses $(BUSINESSES)

test: setup ## Lints and all tests that install in a minute or two
	cargo fmt --check
	cargo clippy --locked --all-targets $(FEATURES) -- -D warnings
	cargo test --locked $(FEATURES)

test-all: test ## Everything that make test runs, and the heavier parts
	cargo build --locked --bins
	cargo bench --locked --bench pure -- --test
	sh scripts/audit.sh

run: setup ## Run the supervised process with an embedded PostgreSQL
	cargo run --quiet --locked -- run

lint: ## Format and lint
	cargo fmt --check
	cargo clippy --locked --all-targets $(FEATURES) -- -D warnings

fmt: ## Format
	cargo fmt

bench: ## Benchmarks of the pure parts
	cargo bench --locked --bench pure

image: ## Build the container image
	docker build -t callspool .
