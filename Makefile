# Verbs that cargo does not have.

# The most rules or Services of a set: `make peers SIZE=10000` is short.
SIZE ?= 1000000

.PHONY: peers
peers: ## podwire beside DPDK and the Linux kernel, one table
	@benches/peers/run.sh $(SIZE)
