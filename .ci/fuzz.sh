#!/bin/sh
# Runs the fuzz targets, each for so many seconds; what is named after them, or all. Gently: one at a time, and niced.
set -eu

seconds=$1
shift
wrapper=$PWD/.ci/fuzz-rustc.sh
# A folder of its own, since what is in it counts coverage. The dependencies that `make test` has built are taken over.
built=${CARGO_TARGET_DIR:-target}/debug
if [ ! -d fuzz/target/debug ] && [ -d "$built/deps" ]; then
    mkdir -p fuzz/target/debug
    for part in .fingerprint build deps; do cp -a "$built/$part" fuzz/target/debug/; done
    # The program's own are not instrumented.
    rm -rf fuzz/target/debug/.fingerprint/callspool-* fuzz/target/debug/deps/*callspool*
fi
CARGO_TARGET_DIR=fuzz/target RUSTC_WRAPPER=$wrapper nice -n 10 \
    cargo build --quiet --locked --manifest-path fuzz/Cargo.toml --bins

for target in ${*:-$(cd fuzz/fuzz_targets && ls | sed 's/\.rs$//')}; do
    # Found inputs go aside, so that the kept ones stay few: see docs/fuzzing.md.
    found=fuzz/target/found/$target
    mkdir -p "$found" "fuzz/artifacts/$target"
    echo "fuzz: $target, $seconds s"
    nice -n 10 "fuzz/target/debug/$target" "$found" "fuzz/corpus/$target" "-artifact_prefix=fuzz/artifacts/$target/" \
        -max_total_time="$seconds" -rss_limit_mb=512 -timeout=10 -max_len=20000 -print_final_stats=1
done
