#!/bin/sh
# Stands before rustc (RUSTC_WRAPPER) where the fuzz targets are built: counts coverage in the program and in what tries it,
# and leaves the dependencies as `make test` builds them, so that they are built once. No flag of Cargo's does that with the
# stable compiler.
set -eu

case ${CARGO_PKG_NAME:-}:$* in
callspool-fuzz:* | callspool:*--crate-name\ callspool\ *)
    level=-Cllvm-args=-sanitizer-coverage
    exec "$@" -Ccodegen-units=1 -Cpasses=sancov-module $level-level=4 $level-inline-8bit-counters $level-pc-table \
        $level-trace-compares
    ;;
*) exec "$@" ;;
esac
