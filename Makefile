# `make check` is what continuous integration runs.
.PHONY: check
check:
	.ci/run

# `make soak MINUTES=n` puts a release binary under load for so long, kills it again and again, and looks whether what
# it holds stays flat.
MINUTES ?= 10
.PHONY: soak
soak:
	BOOKD_SOAK_MINUTES=$(MINUTES) cargo test --release --locked --test it soak:: -- --nocapture
