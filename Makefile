# Weir. `make help` lists what there is. Everything that CI does is a target here.

export ROCKSDB_LIB_DIR := $(shell tools/deps.sh --print)
export ROCKSDB_STATIC := 1

SEED ?=
SEEDS ?= 5000
SECONDS_PER_TARGET ?= 60
ROUNDS ?= 2

.PHONY: help run build deps test-deps test verify fix sim faults frameworks differential differential-random fuzz scale bench clean-data

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: build ## build, then start a node on 127.0.0.1:9092 with its data in ./weir-data
	exec target/release/weir server

build: deps ## leaves target/release/weir
	cargo build --release --locked -p tools

deps: ## what the build lacks: system packages, and the RocksDB library once per machine
	@tools/deps.sh

test-deps: deps ## what the tests with other people's programs lack: kcat, Kafka's own tools, clients of five languages
	@tests/runtimes.sh install

test: build ## every test; those whose runtime is missing are skipped with a word, or fail with CI=true
	cargo test --release --locked --workspace --no-fail-fast

verify: deps ## read-only: format, clippy with warnings as errors, docs, tidy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::invalid_rust_codeblocks" cargo doc --locked --workspace --no-deps --document-private-items --quiet
	cargo test --release --locked -p tests --test tidy

fix: ## rewrite the format and what clippy can mend by itself
	cargo fmt --all
	cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets

sim: deps ## the simulations: SEED=n replays one seed, otherwise SEEDS=5000 of them
	WEIR_SIM_SEED=$(SEED) WEIR_SIM_SEEDS=$(SEEDS) cargo test --release --locked -p storage -p controller -p tests sim -- --nocapture

faults: build test-deps ## 60 faults on three controllers and three brokers under load, FAULTS=n SEED=n (root: namespaces, loop mounts)
	FAULTS=$(or $(FAULTS),60) FAULTS_SEED=$(or $(SEED),$(shell date +%s)) cargo test --release --locked -p tests --test faults -- --nocapture

frameworks: build test-deps ## Kafka's Streams, Connect and MirrorMaker on one node, the long form
	FRAMEWORKS=long cargo test --release --locked -p tests --test frameworks

differential: build test-deps ## ask a real Kafka 4.3.1 the requests of tests/differential and record its answers
	DIFFERENTIAL=record cargo test --release --locked -p tests --test differential

differential-random: build test-deps ## 20,000 random requests to both, REQUESTS=n SEED=n
	DIFFERENTIAL=kafka DIFFERENTIAL_REQUESTS=$(or $(REQUESTS),20000) DIFFERENTIAL_SEED=$(or $(SEED),1) cargo test --release --locked -p tests --test differential

fuzz: ## cargo-fuzz on every decoder, SECONDS_PER_TARGET=60 each (needs a nightly toolchain and cargo-fuzz)
	cd protocol && for t in $$(cargo +nightly fuzz list); do cargo +nightly fuzz run $$t -- -max_total_time=$(SECONDS_PER_TARGET) || exit 1; done

scale: build test-deps ## 10,000 partitions on three nodes, beside a real Kafka; 100 simulated brokers with 100,000 on a real quorum
	SCALE=full KAFKA_NODE_HEAP="-Xms1g -Xmx1g" JVM_TUNING= cargo test --release --locked -p tests --test scale -- --nocapture --test-threads 1

bench: build ## the speed of one node on this machine, as CPU seconds
	tests/bench.sh $(ROUNDS)

clean-data: ## throw away what `make run` stored
	rm -rf weir-data
