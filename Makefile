# `make check` is what continuous integration runs. The others go on for as long as they are asked to.
SEEDS ?= 2000
FIRST ?= 1
CUTS ?= 2500
KILLS ?= 300
TRIALS ?= 1000
SEED ?= 7
MINUTES ?= 30
TARGET ?= requests
CALLS ?= 100000
SECONDS ?= 1800
TRIPLE ?= x86_64-unknown-linux-musl
TOOLS ?= $(or $(BOOKD_TOOLS),$(or $(TMPDIR),/tmp)/bookd-tools)
FUZZ_VERSION := 0.13.2
SBOM_VERSION := 0.5.9

.PHONY: check bugs sim tenants power kills damage soak fuzz instructions sbom

check:
	.ci/run

# Every bug on purpose, one after the other in a copy of the tree: the test that is there for it must fail.
bugs:
	scripts/bugs.sh

# The simulation under so many seeds, from FIRST on.
sim:
	BOOKD_SIM_FIRST=$(FIRST) BOOKD_SIM_SEEDS=$(SEEDS) cargo test --locked --test sim seeds::under -- --nocapture

# So many power cuts, every single I/O error of a longer story, and each access of an upgrade in three ways.
power:
	BOOKD_CUTS=$(CUTS) BOOKD_IO_ROUNDS=10 BOOKD_UPGRADE_KINDS=3 cargo test --locked --test sim -- --nocapture power:: io_errors:: upgrade::

# So many deaths of the binary.
kills:
	BOOKD_KILLS=$(KILLS) cargo test --locked --test it kill_points -- --nocapture

# So many times one byte of a database, a WAL and its index is changed: each answer is right or an error, and check finds it.
damage:
	BOOKD_DAMAGES=$(TRIALS) BOOKD_DAMAGE_SEED=$(SEED) cargo test --locked --test it one_byte:: -- --nocapture

# A release binary under mixed load for so long, killed again and again; what it holds must stay flat.
soak:
	BOOKD_SOAK_MINUTES=$(MINUTES) cargo test --release --locked --test it soak:: -- --nocapture

# So many random calls of a tenant to a server with another tenant and to one without: the answers are the same.
tenants:
	TENANT_CALLS=$(CALLS) TENANT_SEED=$(SEED) cargo test --locked --test sim tenants:: -- --nocapture

# One of fuzz/targets for so long. Needs a C++ compiler; installs cargo-fuzz beside the other tools.
fuzz:
	[ -x $(TOOLS)/bin/cargo-fuzz ] || cargo install --locked --version $(FUZZ_VERSION) --root $(TOOLS) cargo-fuzz
	BOOKD_FUZZ_CORPUS=$(CURDIR)/fuzz/corpus cargo test --quiet --locked --test it fuzzed::what
	mkdir -p fuzz/corpus/$(TARGET)
	PATH="$(TOOLS)/bin:$$PATH" RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz $(TARGET) fuzz/corpus/$(TARGET) fuzz/kept/$(TARGET) \
	    -- -max_total_time=$(SECONDS) -timeout=60 -rss_limit_mb=4096 -max_len=8192 -print_final_stats=1 -close_fd_mask=3 -detect_leaks=0

# What each task of the core costs, in instructions, beside benches/instructions.txt; WRITE=1 rewrites that file.
instructions:
	cargo bench --locked -p bookd-core --bench instructions -- $(if $(WRITE),--write)

# What the binary for TRIPLE is made of, as CycloneDX in target/bookd.cdx.json: crates with versions, licences and sums.
sbom:
	[ -x $(TOOLS)/bin/cargo-cyclonedx ] || CARGO_TARGET_DIR=$(TOOLS)/build cargo install --locked --version $(SBOM_VERSION) --root $(TOOLS) cargo-cyclonedx
	PATH="$(TOOLS)/bin:$$PATH" cargo cyclonedx --format json --spec-version 1.5 --target $(TRIPLE) --describe binaries
	mkdir -p target && sed 's|file://$(CURDIR)|file://|g' bookd_bin.cdx.json >target/bookd.cdx.json && rm bookd_bin.cdx.json
