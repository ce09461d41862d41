# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/cryptostream
ENV PATH=/opt/cryptostream/bin:$PATH
COPY pyproject.toml README.md LICENSE ./
COPY cryptostream ./cryptostream
RUN pip install --no-cache-dir --disable-pip-version-check '.[fast,postgres,dashboard]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin cryptostream \
    && install -d -o 10001 -g 10001 -m 0700 /data \
    && install -d -o 10001 -g 10001 -m 0755 /tokens
COPY --from=build /opt/cryptostream /opt/cryptostream
ENV PATH=/opt/cryptostream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CRYPTOSTREAM_DATA_DIR=/data
USER 10001:10001
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 \
    CMD ["cryptostream", "health"]
ENTRYPOINT ["cryptostream"]
CMD ["ingest", "--symbols", "BTCUSDT,ETHUSDT"]
