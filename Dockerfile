# Builds bookd and runs it, for this machine alone:
#   docker build -t bookd . && docker run -p 127.0.0.1:50051:50051 -v bookd:/var/lib/bookd -e BOOKD_INSECURE=true bookd
# docs/OPERATIONS.md says how it asks clients for certificates.
FROM rust:1.95.0-bookworm AS build
WORKDIR /bookd
COPY Cargo.toml Cargo.lock rust-toolchain.toml build.rs ./
COPY .cargo .cargo
COPY proto proto
COPY src src
COPY crates crates
# Cargo wants to see every target that Cargo.toml names.
COPY tests tests
COPY benches benches
RUN cargo build --release --locked --bin bookd

FROM debian:bookworm-slim
# The system's time zones are used where they are newer than the bundled ones.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/bookd --create-home --shell /usr/sbin/nologin bookd
COPY --from=build /bookd/target/release/bookd /usr/local/bin/bookd
USER 10001
VOLUME /var/lib/bookd
WORKDIR /var/lib/bookd
ENV BOOKD_LISTEN=0.0.0.0:50051
ENV BOOKD_STORE=sqlite:/var/lib/bookd/bookd.db
EXPOSE 50051
# By BOOKD_SERVER, which is 127.0.0.1:50051 unless told otherwise, and the other variables of clients.
HEALTHCHECK --interval=10s --timeout=3s CMD ["bookd", "health"]
ENTRYPOINT ["bookd"]
CMD ["serve"]
