#!/usr/bin/env bash
# What a new flow to a Service costs in the Linux kernel: a peer of podwire.
#
#     kernel.sh FILES PROGRAMS [SERVICES...]
#
# FILES is the folder that `peer_files` wrote, PROGRAMS the one with `flows`. Needs root, and Debian's iptables,
# nftables, conntrack and iproute2. Prints lines of
#
#     NAME CASE COLUMN NANOSECONDS
#
# with columns legacy (iptables-legacy), nft (iptables-nft) and map (a verdict map of nftables). A figure is the
# median over rounds of the difference to `none` in the same round, a namespace whose only rule translates every
# datagram: so sending, conntrack and translation are not in it; finding the Service and choosing an endpoint are.
# Comments (#) name what was left out and why.
#
# Rules of legacy and nft are those of kube-proxy. Sources are pods, so nothing is masqueraded. In a round every
# namespace gets new flows in its turn, and each round begins with another; conntrack is flushed before, or else
# old flows would be found instead of rules. What is not above the noise may come out negative. The first round's translations are counted: all flows must be translated.
#
# Traffic stays in namespaces made here, on devices whose other ends nobody reads; they are deleted at the end.
set -euo pipefail

files=$1 programs=$2
shift 2
sizes=("$@")
[ ${#sizes[@]} -gt 0 ] || sizes=(1000 10000)
rounds=31
flows=512

if [ "$(id -u)" != 0 ]; then
    echo '# needs root'
    exit 0
fi
for program in iptables-legacy-restore iptables-nft-restore nft conntrack ip; do
    if ! command -v "$program" >/dev/null; then
        echo "# not installed: $program"
        exit 0
    fi
done

temporary=$(mktemp -d)
made=()
clean() {
    for namespace in "${made[@]}"; do ip netns del "$namespace" || true; done
    made=()
}
trap 'clean; rm -rf "$temporary"' EXIT

inside() { ip netns exec "podwire-peer-$$-$1" "${@:2}"; }

# make KIND: a namespace of a pod's address, with a route for pods and Services to a device.
make() {
    ip netns add "podwire-peer-$$-$1"
    made+=("podwire-peer-$$-$1")
    inside "$1" ip link set lo up
    # Without ARP a frame is for its sender's own address, so the other end drops it before any rule.
    inside "$1" ip link add sink type veth peer name end
    inside "$1" ip link set end up
    inside "$1" ip address add 10.255.0.1/32 dev sink
    inside "$1" ip link set sink up arp off
    inside "$1" ip route add 10.0.0.0/8 dev sink src 10.255.0.1
}

# load KIND NAME: its rules.
load() {
    case $1 in
        none) inside none iptables-legacy -t nat -A OUTPUT -p udp -j DNAT --to-destination 10.128.1.0:8080 ;;
        legacy) inside legacy iptables-legacy-restore <"$files/$2.rules" ;;
        nft) inside nft iptables-nft-restore <"$files/$2.rules" ;;
        map) inside map nft -f "$files/$2.nft" ;;
    esac
}

median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

for size in "${sizes[@]}"; do
    name=services-$size
    kinds=(none)
    for kind in none legacy nft map; do
        if ! make "$kind" 2>"$temporary/why" || ! load "$kind" "$name" 2>"$temporary/why"; then
            echo "# $name $kind: $(head -n 1 "$temporary/why")"
            [ "$kind" != none ] || continue 2
        elif [ "$kind" != none ]; then
            kinds+=("$kind")
        fi
    done
    for case in last random; do
        packets=$files/$name.$case.packets
        for kind in "${kinds[@]}"; do : >"$temporary/$kind"; done
        for ((round = 0; round < rounds; round++)); do
            for ((turn = 0; turn < ${#kinds[@]}; turn++)); do
                kind=${kinds[$(((turn + round) % ${#kinds[@]}))]}
                inside "$kind" conntrack -F 2>/dev/null
                inside "$kind" "$programs/flows" "$packets" $((round * flows)) $flows >>"$temporary/$kind"
                if [ "$round" = 0 ]; then
                    translated=$(inside "$kind" conntrack -L --dst-nat 2>/dev/null | grep -c '^udp' || true)
                    if [ "$translated" != $flows ]; then
                        echo "$0: $kind translated $translated of $flows flows to $name" >&2
                        exit 1
                    fi
                fi
            done
        done
        for kind in "${kinds[@]:1}"; do
            cost=$(paste "$temporary/none" "$temporary/$kind" | awk '{ print $2 - $1 }' | median)
            echo "$name $case $kind $cost"
        done
        echo "# $name $case: a datagram costs $(median <"$temporary/none") ns without the lookup"
    done
    clean
done
