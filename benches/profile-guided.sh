#!/usr/bin/env bash
# Builds kvnode by a profile of its own work: an instrumented build serves a load, as three nodes on
# loopback, and the compiler lays out the program by what it has counted. Prints where it is. Measure it
# by KVNODE=<path> cargo run --release -p kvnode-benches --bin replication.
#
# Needs redis-benchmark, and an llvm-profdata of rustc's LLVM or a later one: `rustup component add
# llvm-tools`, or LLVM_PROFDATA=<path>. Some fifteen minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-40} # of load, of each of two clusters
port=${PORT:-7600}
host=$(rustc -vV | sed -n 's/^host: //p')
target=$(realpath -m "${CARGO_TARGET_DIR:-target}/profile-guided")
profile=$target/profile
profdata=${LLVM_PROFDATA:-$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata}
[ -x "$profdata" ] || { echo "no $profdata: rustup component add llvm-tools" >&2; exit 1; }

# build <flags>: only the program itself is compiled so, not what helps to build it.
build() {
    RUSTFLAGS="--cfg madsim $*" cargo build --locked --release -p kvnode --bin kvnode \
        --target "$host" --target-dir "$target"
}
kvnode=$target/$host/release/kvnode

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
rm -rf "$profile" && mkdir -p "$profile"
build -Cprofile-generate="$profile"

# With one partition all is done by one leader; with more, nodes ask each other.
for partitions in 1 12; do
    "$kvnode" demo --nodes 3 --partitions "$partitions" --port "$port" --load 0 \
        --script "wait whole; wait $seconds; quit" >/dev/null &
    sleep 5
    until=$((SECONDS + seconds - 10))
    while ((SECONDS < until)); do
        for node in 0 1 2; do
            ((SECONDS < until)) || break
            load() { redis-benchmark -p $((port + node)) -d 100 -r 100000 -q -c 50 "$@" >/dev/null; }
            load -t set,get -P 16 -n 60000
            load -t set,get -P 1 -n 15000
            load -t incr -P 1 -n 3000
        done
    done
    wait $!
done

"$profdata" merge -o "$profile.profdata" "$profile"
build -Cprofile-use="$profile.profdata"
echo "$kvnode"
