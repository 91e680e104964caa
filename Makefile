# Verbs that cargo does not have.

# The most rules or Services of a set: `make peers SIZE=10000` is short.
SIZE ?= 1000000

.PHONY: peers gate gate-baseline
peers: ## podwire beside DPDK and the Linux kernel, one table
	@benches/peers/run.sh $(SIZE)

gate: ## instructions and allocations of a lookup, a compilation and a change, against benches/baseline.json
	@cargo run --release --locked --quiet -p podwire-bench --example gate

gate-baseline: ## writes benches/baseline.json
	@cargo run --release --locked --quiet -p podwire-bench --example gate -- --write
