# Chinwag's images. Targets: `cpu` (the default one, small), `full` (every extra: 99 languages, PostgreSQL) and `cuda` (that on NVIDIA's
# GPUs). docs/docker.md tells how they are used; scripts/check_docker.py runs every step of it without Docker.
ARG DEBIAN=trixie-slim

FROM debian:${DEBIAN} AS base
# Debian keeps only the newest build of a package: a pinned one would soon be gone
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/chinwag/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# --- made here, then copied: nothing of it but /opt/chinwag goes into an image ---

FROM base AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/chinwag
WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement constraints.txt

FROM packages AS packages-full
COPY constraints-full.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement constraints-full.txt

FROM packages-full AS packages-cuda
COPY constraints-cuda.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement constraints-cuda.txt

FROM packages AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

# --- what all images share ---

FROM base AS runtime
# what llama.cpp runs its threads with; its wheel does not bring it
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# a named volume takes owner and rights from the image's folder
RUN useradd --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin chinwag \
    && install --directory --owner=chinwag --group=chinwag --mode=0700 /data /cache
# conversations and the login code go to /data, weights to /cache. Clients come through the published port: with a key, all from
# one address as Docker passes them on, and over plain HTTP unless a proxy is in front
ENV XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/cache \
    CHINWAG_SERVER__HOST=0.0.0.0 \
    CHINWAG_SERVER__PORT=8000 \
    CHINWAG_SERVER__AUTH=code \
    CHINWAG_SERVER__HTTPS=off \
    CHINWAG_SERVER__MAX_SESSIONS_PER_ADDRESS=0
# chinwag.toml is read from here, where there is one
WORKDIR /data
VOLUME ["/data", "/cache"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['CHINWAG_SERVER__PORT']), timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["chinwag"]
CMD ["serve"]

# --- the images: packages first, as they change seldom, then Chinwag itself ---

FROM runtime AS full
COPY --from=packages-full /opt/chinwag /opt/chinwag
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 10001:10001

FROM runtime AS cuda
COPY --from=packages-cuda /opt/chinwag /opt/chinwag
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
ENV CHINWAG_PRESET=gpu \
    LD_LIBRARY_PATH=/opt/chinwag/lib/python3.13/site-packages/nvidia/cublas/lib \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all
USER 10001:10001

FROM runtime AS cpu
COPY --from=packages /opt/chinwag /opt/chinwag
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps --no-index /wheels/*.whl
USER 10001:10001
