#!/bin/sh
# Builds the release before this one into $CARGO_TARGET_DIR/previous (target/previous) for tests/heavy/upgrade.rs: the last
# tag behind HEAD, or the commit that .ci/previous-release names. Nothing is done where it is there.
set -eu
cd "$(dirname "$0")/.."
# Also where the clone is somebody else's.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'

say() {
    echo "previous release: $*" >&2
}

# The tag of HEAD itself is this release, not the one before.
wanted() {
    git describe --tags --abbrev=0 HEAD^ 2>/dev/null || grep -v '^#' .ci/previous-release
}

# The commit that a tag or a hash stands for, where this clone has it.
commit_of() {
    git rev-parse --quiet --verify "$1^{commit}" 2>/dev/null
}

# A shallow clone lacks it, and its tags too.
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    git fetch --quiet --unshallow --tags || say "this clone is shallow, and its history cannot be fetched"
fi
name=$(wanted)
commit=$(commit_of "$name") || { git fetch --quiet --depth 1 origin "$name" && commit=$(commit_of FETCH_HEAD); } || {
    say "$name is not in this clone and cannot be fetched; make a clone with its history (git fetch --unshallow)"
    exit 1
}

target=${CARGO_TARGET_DIR:-$PWD/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
previous=$target/previous
[ "$(cat "$previous/commit" 2>/dev/null)" = "$commit" ] && [ -x "$previous/callspool" ] && exit 0

say "building $commit"
rm -rf "$previous"
mkdir -p "$previous/src"
git archive "$commit" | tar -x -C "$previous/src"
# In the same target folder, where its dependencies are built already: by itself it would build them all.
(cd "$previous/src" && CARGO_TARGET_DIR="$target" cargo build --quiet --locked --features faults)
# Moved away: the name in there is this release's, and its next build puts it back.
mv "$target/debug/callspool" "$previous/callspool"
echo "$commit" >"$previous/commit"
