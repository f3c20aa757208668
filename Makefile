# `make check` is what continuous integration runs.
.PHONY: check
check:
	.ci/run
