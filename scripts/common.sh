# What the scripts here share; sourced from the folder of the project, never run.
#
# Sets `bookd` to the binary: the one in BOOKD, or else a release build of this folder. `begin NAME FOLDER` makes the
# folder `work`; when the script ends, however it ends, the process in `server` is ended with `signal`, and `work` removed.

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
