# phiwatch in a small image: built with everything linked in but the C library and zlib, which every Debian
# has; run as a user without rights.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# The dependencies first, in a layer of their own: it is built again only when Cargo.lock changes.
RUN mkdir src benches && echo 'fn main() {}' > src/main.rs && touch src/lib.rs benches/main.rs \
    && cargo build --release --locked && rm -rf src benches
COPY . .
RUN touch src/main.rs src/lib.rs && cargo build --release --locked && strip target/release/phiwatch

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/phiwatch --create-home phiwatch \
    && mkdir -p /etc/phiwatch/rosters && chmod 0700 /var/lib/phiwatch
COPY --from=build /src/target/release/phiwatch /usr/local/bin/phiwatch
USER 10001
WORKDIR /var/lib/phiwatch
VOLUME /var/lib/phiwatch
ENTRYPOINT ["phiwatch"]
CMD ["--help"]
