# The image of SalesOS Webhooks: the program, its settings file and the certificates of public authorities; no shell, no
# package manager, no Redis. It runs as uid 65532 and writes nothing, so its root may be read-only.
#
#   docker build --build-arg REVISION=$(git rev-parse --short HEAD) -t REGISTRY/salesos-webhooks:0.1.0 .
#
# Nothing in it depends on the architecture: docker buildx build --platform linux/amd64,linux/arm64 builds both.

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm

FROM docker.io/library/rust:${RUST_VERSION}-${DEBIAN} AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
# Cargo.toml names the benchmarks, so they must be there; they are not built.
COPY benches benches
COPY config config
COPY src src
# Shown in build_info and by nothing else; after the sources are there, so that it alone makes no layer new.
ARG REVISION=unknown
ENV SALESOS_WEBHOOKS_REVISION=${REVISION}
RUN cargo build --release --locked --bin salesos-webhooks \
    && strip --strip-debug target/release/salesos-webhooks

# glibc, libgcc, the CA certificates and the user nonroot (65532), and nothing to run but what is copied into it.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG REVISION=unknown
LABEL org.opencontainers.image.title="SalesOS Webhooks" \
      org.opencontainers.image.description="Self-hosted webhook delivery: signed, at least once, in time, whatever dies on the way." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /source/target/release/salesos-webhooks /usr/local/bin/salesos-webhooks
# Listens on every network of the container; the chart and --config put another file in its place.
COPY config/container.toml /etc/salesos-webhooks/config.toml
USER 65532:65532
WORKDIR /
EXPOSE 8080 9464
ENTRYPOINT ["/usr/local/bin/salesos-webhooks"]
CMD ["serve", "--config", "/etc/salesos-webhooks/config.toml"]
