# Thin names for cargo commands and scripts: `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup run demo test bench man lint fmt sqlx-prepare

# What scripts/setup installs comes first.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
# Queries are checked against .sqlx, unless a target below says otherwise.
export SQLX_OFFLINE := true
# Build with the toolchain that is there, or fail: never fetch one.
export RUSTUP_AUTO_INSTALL := 0

help: ## List the targets
	@awk -F ': .*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install into .tools/ what building and testing needs
	scripts/setup

run: ## Start everything in one process, data in ./data
	scripts/setup run
	cargo build --workspace
	$(or $(CARGO_TARGET_DIR),target)/debug/rootstock standalone --data-dir data

demo: ## Mirror a small image server and export an image from it (ONCE=1: then end)
	scripts/setup run
	scripts/demo $(if $(ONCE),--once)

# The build comes first: tests start the executable, and `cargo test` does not build it. All targets,
# because tests want more features of dependencies, which would be built once without them and once
# with them.
test: ## Run every test, those with real servers and clients included
	scripts/setup test
	cargo build --workspace --all-targets
	cargo test --workspace --no-fail-fast

# PARTS="reading watching" measures these alone.
bench: ## Measure mirroring, polling and reading beside curl, sstream-mirror and pgbench
	scripts/setup bench
	cargo build --workspace --release
	$(or $(CARGO_TARGET_DIR),target)/release/bench $(PARTS)

man: ## Write the manual pages to target/man
	cargo build --workspace
	$(or $(CARGO_TARGET_DIR),target)/debug/rootstock man $(or $(CARGO_TARGET_DIR),target)/man

lint: ## Check format, clippy, contracts and prepared queries
	scripts/setup lint
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	scripts/lint-proto
	scripts/prepare-queries --check

fmt: ## Format Rust and protobuf
	scripts/setup lint
	cargo fmt --all
	buf format -w proto

sqlx-prepare: ## Write .sqlx anew, after a query or a migration has changed
	scripts/setup lint
	scripts/prepare-queries
