# The dependencies are built in a layer of their own, which a change of ours leaves as it is.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY tests/model/protocol tests/model/protocol
RUN mkdir -p src benches \
    && echo 'fn main() {}' | tee src/main.rs benches/pure.rs benches/start.rs >/dev/null && touch src/lib.rs \
    && cargo build --release --locked --bin callspool
COPY config config
COPY migrations migrations
COPY src src
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin callspool

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/callspool --create-home callspool \
    && install -d -m 0750 -o callspool -g callspool /var/lib/callspool/recordings /var/log/callspool
COPY --from=build /build/target/release/callspool /usr/local/bin/callspool
COPY config /etc/callspool
USER callspool
WORKDIR /var/lib/callspool
ENV CALLSPOOL_ENV=production \
    CALLSPOOL_HTTP_BIND=0.0.0.0:8080 \
    CALLSPOOL_STORAGE_URL=file:/var/lib/callspool/recordings \
    CALLSPOOL_LOG_DIR=/var/log/callspool
EXPOSE 8080
# Alive, not ready: a process that waits for its database or its schema is not to be restarted. The image has no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
# Nothing below the root is written but the two folders above, so it may be mounted read-only: see docker-compose.yml.
# SIGTERM drains; give it longer than shutdown.grace_seconds before SIGKILL.
STOPSIGNAL SIGTERM
ENTRYPOINT ["callspool", "--config", "/etc/callspool"]
CMD ["run"]
