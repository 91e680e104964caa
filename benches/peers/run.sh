#!/usr/bin/env bash
# podwire beside its peers: prints one table. `make peers` runs it.
#
#     run.sh [SIZE]
#
# SIZE is the most rules or Services that a set may have, 1,000,000 unless told otherwise; then some 14 GB of
# memory are needed and some ten minutes. Rule sets, packets and programs go to target/peers.
#
# What is timed, and what is not, is said by those that time: `rte.c` (DPDK), `kernel.sh` and `flows.c` (Linux),
# `../examples/peer_podwire.rs` (podwire, the floor, and the table). The kernel is measured first, alone: its
# columns and the others are of one run of this script, but not of the same moments.
#
# As root on Debian missing packages are installed. Without root the kernel is not asked, and without
# libdpdk-dev DPDK is not; the table says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

size=${1:-1000000}
programs=target/peers
files=$programs/files
packages=(libdpdk-dev gcc make pkg-config iptables nftables iproute2 conntrack)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

rm -rf "$programs"
mkdir -p "$files"
flags=(-std=gnu11 -O3 -march=native -Wall -Wextra -Werror)
if command -v gcc >/dev/null; then
    gcc "${flags[@]}" -o "$programs/flows" benches/peers/flows.c
    if pkg-config --exists libdpdk 2>/dev/null; then
        read -ra dpdk_flags <<<"$(pkg-config --cflags libdpdk)"
        read -ra dpdk_libraries <<<"$(pkg-config --libs libdpdk)"
        gcc "${flags[@]}" "${dpdk_flags[@]}" -o "$programs/rte" benches/peers/rte.c "${dpdk_libraries[@]}"
    fi
fi

export CARGO_TARGET_DIR=target
cargo build --release --locked --quiet -p podwire-bench --example peer_files --example peer_podwire
target/release/examples/peer_files "$files" "$size"
if [ -x "$programs/flows" ]; then
    sizes=()
    for rules in "$files"/services-*.rules; do
        sizes+=("$(basename "$rules" .rules | cut -d- -f2)")
    done
    benches/peers/kernel.sh "$files" "$programs" "${sizes[@]}" >"$programs/kernel"
else
    echo '# not installed: gcc' >"$programs/kernel"
fi
target/release/examples/peer_podwire "$files" "$programs" "$programs/kernel"
