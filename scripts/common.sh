# Functions that the scripts share; sourced from the folder of the project, never run.
#
# Sets `bookd` to the binary: the one in BOOKD, otherwise a release build of this folder. `begin NAME FOLDER` makes the
# folder `work`. However the script ends, the process in `server` is then ended with `signal`, and `work` is removed.

bookd="${BOOKD:-${CARGO_TARGET_DIR:-target}/release/bookd}"
[ -n "${BOOKD:-}" ] || cargo build --release --locked --quiet

work="" server="" signal=TERM
finish() {
    if [ -n "$server" ]; then
        kill -"$signal" "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}

begin() {
    work=$(mktemp -d "$2/bookd-$1.XXXXXX")
    trap finish EXIT
}
