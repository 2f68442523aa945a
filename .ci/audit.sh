#!/bin/sh
# Licences, sources and duplicates of all dependencies; and known vulnerabilities, where their database can be had.
set -eu

tools=${CARGO_TARGET_DIR:-target}/tools
deny=$tools/bin/cargo-deny
[ -x "$deny" ] || cargo install --quiet --locked --root "$tools" cargo-deny

"$deny" --all-features --config .ci/deny.toml check bans licenses sources
if "$deny" --all-features --config .ci/deny.toml fetch db >/dev/null 2>&1; then
    "$deny" --all-features --config .ci/deny.toml check advisories
else
    echo "audit: the database of known vulnerabilities cannot be reached from here; it was not asked" >&2
fi
