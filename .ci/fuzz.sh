#!/bin/sh
# Runs the fuzz targets, each for so many seconds; what is named after them, or all. Gently: one at a time, and niced.
set -eu

seconds=$1
shift
tools=${CARGO_TARGET_DIR:-target}/tools
fuzz=$tools/bin/cargo-fuzz
[ -x "$fuzz" ] || cargo install --quiet --locked --root "$tools" cargo-fuzz

# Coverage is a flag that only a nightly compiler would take; the stable one does not differ in it. The program has no
# unsafe code of its own, so it is assertions that find, and no sanitizer.
export RUSTC_BOOTSTRAP=1
for target in ${*:-$(cd fuzz/fuzz_targets && ls | sed 's/\.rs$//')}; do
    # Found inputs go aside, so that the kept ones stay few: see docs/fuzzing.md.
    found=fuzz/target/found/$target
    mkdir -p "$found"
    echo "fuzz: $target, $seconds s"
    nice -n 10 "$fuzz" run --dev --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=512 -timeout=10 -max_len=200000 -print_final_stats=1
done
