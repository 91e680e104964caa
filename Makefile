# Verbs that cargo does not have.

# The most rules or Services of a set: `make peers SIZE=10000` is short.
SIZE ?= 1000000
# How many rule sets the matcher and the reference evaluator are compared on, and how many packets each.
CASES ?= 12000
PACKETS ?= 1000

.PHONY: peers gate gate-baseline agreement packets
peers: ## podwire beside DPDK and the Linux kernel, one table
	@benches/peers/run.sh $(SIZE)

gate: ## instructions and allocations of a lookup, a compilation and a change, against benches/baseline.json
	@cargo run --release --locked --quiet -p podwire-bench --example gate

gate-baseline: ## writes benches/baseline.json
	@cargo run --release --locked --quiet -p podwire-bench --example gate -- --write

agreement: ## the matcher beside the reference evaluator, rule sets and packets at random
	@PODWIRE_AGREEMENT_CASES=$(CASES) PODWIRE_AGREEMENT_PACKETS=$(PACKETS) cargo test --release \
		--package podwire-matcher --test agrees_with_interp -- --exact \
		many::on_many_rule_sets_of_every_kind --nocapture

packets: ## a million damaged DNS messages to a server
	@PODWIRE_DNS_PACKETS=1000000 cargo test --release --package podwire-dns --test dns -- --exact \
		wire::no_bytes_make_a_server_panic_or_answer_at_length
