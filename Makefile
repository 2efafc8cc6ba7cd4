# The commands for developers. Every target works on a fresh clone; only parts of `bench` need root.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CARGO ?= cargo
BUILD := target/release/kubedos-build
SPEC ?= examples/lab.yaml
OUT ?= out

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: build
build: ## Build kubedos-build
	$(CARGO) build --release --locked --workspace --bin kubedos-build

.PHONY: image
image: build ## Build the image of $(SPEC) and one seed per node in $(OUT)/
	$(BUILD) image --spec $(SPEC) --out $(OUT) --explain
	$(BUILD) seed --spec $(SPEC) --out $(OUT) --all --quiet

.PHONY: lab
lab: build ## Run the nodes of $(SPEC) as virtual machines until `kubedos-build lab down`; LAB="--help" lists the options
	$(BUILD) lab up --spec $(SPEC) $(LAB)

.PHONY: test
test: build ## Run all tests and print one summary at the end
	@mkdir -p target
	set -o pipefail; $(CARGO) test --release --locked --workspace --no-fail-fast 2>&1 | tee target/test.log; result=$$?; \
	awk '/^test result:/ { passed += $$4; failed += $$6 } END { printf "\n%d passed, %d failed\n", passed, failed }' target/test.log; \
	exit $$result

.PHONY: quick
quick: ## Run the fast tests: unit tests, parsers, the spec corpus, and the Disks stage on disks in memory
	$(CARGO) test --quiet --profile quick --locked --workspace --lib --bins --test disks --test parsers --test recipe --test suite

.PHONY: drill
drill: build previous-disk ## Run the long tests: larger models of the protocol, many more boots and power cuts, and a disk of the previous release
	$(CARGO) test --release --locked --workspace --test genesis --test roster -- --ignored --nocapture
	$(CARGO) test --release --locked --workspace --test vm -- --ignored --nocapture

.PHONY: previous-disk
previous-disk: build ## Build a node's disk with the previous release in target/previous/
	$(CARGO) build --release --locked --workspace --bin kubedos-previous
	target/release/kubedos-previous

.PHONY: bench
bench: ## Run the benchmarks, also of mkosi (needs root), and compare with docs/benchmarks.md; BENCH="--help" lists the options
	$(CARGO) build --release --locked --workspace --bin kubedos-build --bin kubedos-bench
	target/release/kubedos-bench $(BENCH)

# Fuzzing writes only to this folder; the committed corpus is in fuzz/corpus.
FUZZ := target/fuzz
TARGET ?= $(sort $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))
SECONDS ?= 60

.PHONY: fuzz
fuzz: target/tools/bin/cargo-fuzz ## Run each fuzz target, or TARGET=…, for SECONDS=60; needs a nightly toolchain
	@export PATH="$$PWD/target/tools/bin:$$PATH"; \
	$(CARGO) +nightly fuzz build --target-dir $(FUZZ)/build || exit; \
	failed=; for target in $(TARGET); do \
	  mkdir -p $(FUZZ)/corpus/$$target $(FUZZ)/findings; \
	  $(CARGO) +nightly fuzz run --target-dir $(FUZZ)/build $$target $(FUZZ)/corpus/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$(SECONDS) -timeout=10 -malloc_limit_mb=1024 -print_final_stats=1 -artifact_prefix=$(FUZZ)/findings/$$target- \
	    || failed="$$failed $$target"; \
	done; \
	[ -z "$$failed" ] || { echo "findings of$$failed are in $(FUZZ)/findings"; exit 1; }

.PHONY: fuzz-seeds
fuzz-seeds: ## Generate the seed inputs of every fuzz target with the current writers
	$(CARGO) build --release --locked --workspace --bin kubedos-properties
	target/release/kubedos-properties

.PHONY: fmt
fmt: ## Format the sources
	$(CARGO) fmt --all

.PHONY: lint
lint: target/tools/bin/cargo-deny ## Check the format, structure, clippy lints, licences and crate sources
	$(CARGO) fmt --all --check
	$(CARGO) build --quiet --release --locked --workspace --bin kubedos-lint
	target/release/kubedos-lint
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	target/tools/bin/cargo-deny --offline --log-level error check licenses bans sources

.PHONY: audit
audit: target/tools/bin/cargo-deny ## Check the crates for known vulnerabilities (downloads the advisory database)
	target/tools/bin/cargo-deny check advisories

target/tools/bin/cargo-deny:
	$(CARGO) install --quiet --locked --root target/tools --target-dir target/tools/build cargo-deny@0.20.2

target/tools/bin/cargo-fuzz:
	$(CARGO) install --quiet --locked --root target/tools --target-dir target/tools/build cargo-fuzz@0.13.2
