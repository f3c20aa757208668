# Builds bookd and runs it, for this machine alone:
#   docker build -t bookd . && docker run -p 127.0.0.1:50051:50051 -v bookd:/var/lib/bookd -e BOOKD_INSECURE=true bookd
# docs/OPERATIONS.md says how it asks clients for certificates and tokens.
#
# The binary is static (musl), and the image has nothing else but data: no shell, no libraries.
FROM rust:1.95.0-alpine AS build
# hadolint ignore=DL3018
RUN apk add --no-cache build-base ca-certificates cmake linux-headers tzdata
WORKDIR /bookd
COPY Cargo.toml Cargo.lock rust-toolchain.toml build.rs ./
COPY .cargo .cargo
COPY proto proto
COPY src src
COPY crates crates
# Cargo wants to see every target that Cargo.toml names.
COPY tests tests
COPY benches benches
SHELL ["/bin/ash", "-o", "pipefail", "-c"]
# A binary that wants a library would not start beside nothing.
RUN cargo build --release --locked --bin bookd && ! readelf -d target/release/bookd | grep NEEDED && mkdir /empty

FROM scratch
# The system's time zones are used where they are newer than the bundled ones; its authorities vouch
# for the servers of issuers (`jwks_url`).
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /bookd/target/release/bookd /usr/local/bin/bookd
COPY --from=build --chown=10001:10001 /empty /var/lib/bookd
COPY --from=build --chown=10001:10001 /empty /tmp
COPY deploy/docker/bookd.toml /etc/bookd/bookd.toml
USER 10001:10001
VOLUME /var/lib/bookd
WORKDIR /var/lib/bookd
# Only where the configuration is: a variable for a setting would outrank a file that is mounted.
ENV BOOKD_CONFIG=/etc/bookd/bookd.toml
EXPOSE 50051
# By BOOKD_SERVER, which is 127.0.0.1:50051 unless told otherwise, and the other variables of clients.
HEALTHCHECK --start-period=60s --interval=10s --timeout=3s CMD ["/usr/local/bin/bookd", "health"]
ENTRYPOINT ["/usr/local/bin/bookd"]
CMD ["serve"]
