#!/bin/sh
# Licences, sources and duplicates of all dependencies; and known vulnerabilities, where their database can be had: from
# GitHub, or from a copy of that repository on this machine that ADVISORY_DB names.
set -eu

tools=${CARGO_TARGET_DIR:-target}/tools
deny=$tools/bin/cargo-deny
[ -x "$deny" ] || cargo install --quiet --locked --root "$tools" cargo-deny

"$deny" --all-features --config .ci/deny.toml check bans licenses sources

if [ -n "${ADVISORY_DB:-}" ]; then
    export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0="url.file://$ADVISORY_DB.insteadOf" \
        GIT_CONFIG_VALUE_0=https://github.com/RustSec/advisory-db GIT_CONFIG_KEY_1=safe.directory GIT_CONFIG_VALUE_1='*'
fi
if "$deny" --all-features --config .ci/deny.toml fetch db >/dev/null 2>&1; then
    "$deny" --all-features --config .ci/deny.toml check advisories
    echo "audit: licences, sources and known vulnerabilities were checked" >&2
else
    echo "audit: licences and sources were checked; known vulnerabilities were NOT: their database cannot be reached from here" >&2
fi
