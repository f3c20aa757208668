#!/usr/bin/env bash
# Checks the tests by bugs on purpose: each bug must be caught by the test that its patch names.
#
#   scripts/bugs.sh [NAME…]      all bugs of tests/bugs, or the named ones
#
# Each patch of tests/bugs adds one bug behind a switch, and names the test that must fail when it is on. All patches
# are applied to a copy of the tree below target/, which is built once; the product itself has no such switch. A patch
# that no longer applies fails the script.
set -euo pipefail
cd "$(dirname "$0")/.."

# The time limit of a test, which no bug may exceed.
limit_seconds=900

copy="$PWD/target/bugs/tree"
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard \
    | while IFS= read -r -d '' file; do if [ -f "$file" ]; then printf '%s\0' "$file"; fi; done \
    | tar --create --null --files-from=- \
    | tar --extract --touch --directory="$copy"

# Builds of other packages are shared with the tree, but not the binaries of the copy.
CARGO_BUILD_BUILD_DIR="$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")"
export CARGO_BUILD_BUILD_DIR
export CARGO_TARGET_DIR="$PWD/target/bugs/target"
# Cargo distinguishes the packages of the copy from those of the tree by their profile alone: with the
# same profile it would take the test binaries of one for those of the other. Dependencies have no
# debug information in either, so they are shared all the same.
export CARGO_PROFILE_DEV_DEBUG=none CARGO_PROFILE_TEST_DEBUG=none
# Otherwise git would resolve the paths of a patch against the tree around the copy.
GIT_CEILING_DIRECTORIES="$(dirname "$copy")"
export GIT_CEILING_DIRECTORIES
export RUST_BACKTRACE=0

cd "$copy"
cp tests/bugs/switch.rs crates/core/src/bugs.rs
printf 'pub mod bugs;\n' >> crates/core/src/lib.rs
for patch in tests/bugs/*.patch; do
    git apply "$patch" || { echo "$patch no longer applies"; exit 1; }
done
cargo test --quiet --locked --no-run --test core --test sim

[ $# -gt 0 ] || set -- $(basename --suffix=.patch tests/bugs/*.patch)
missed=0
for bug in "$@"; do
    read -r binary test < <(sed -n 's/^Caught by: //p' "tests/bugs/$bug.patch")
    started=$SECONDS
    has_failed=0
    BOOKD_BUG="$bug" timeout "$limit_seconds" \
        cargo test --quiet --locked --test "$binary" -- --exact "$test" > "$copy/said" 2>&1 || has_failed=1
    if ! grep -q '^running 1 test$' "$copy/said"; then
        tail -n 20 "$copy/said"
        echo "$bug: there is no test $test in $binary"
        missed=1
    elif [ "$has_failed" = 0 ] || ! grep -q '^test result: FAILED' "$copy/said"; then
        tail -n 20 "$copy/said"
        echo "$bug: is not caught by $binary: $test"
        missed=1
    else
        echo "$bug: caught by $binary: $test, in $((SECONDS - started)) s"
    fi
done
exit "$missed"
