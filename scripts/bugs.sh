#!/usr/bin/env bash
# Proves that the proofs see: every bug on purpose must be caught by the test that is named for it.
#
#   scripts/bugs.sh [NAME…]      all of tests/bugs, or these
#
# Each patch of tests/bugs puts one bug behind a switch, and names the test that must fail when it is on. All of them
# are applied to a copy of the tree below target/, which is built once; the product itself has no such switch. A patch
# that no longer applies fails.
set -euo pipefail
cd "$(dirname "$0")/.."

# No test takes longer, whatever bug it meets.
limit_seconds=900

copy="$PWD/target/bugs/tree"
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard \
    | while IFS= read -r -d '' file; do if [ -f "$file" ]; then printf '%s\0' "$file"; fi; done \
    | tar --create --null --files-from=- \
    | tar --extract --touch --directory="$copy"

# What is built of other packages is shared with the tree; the copy's own binaries are not.
CARGO_BUILD_BUILD_DIR="$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")"
export CARGO_BUILD_BUILD_DIR
export CARGO_TARGET_DIR="$PWD/target/bugs/target"
# Otherwise git takes the paths of a patch for paths of the tree that the copy lies in.
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
