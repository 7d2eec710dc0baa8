# fourhorn on a CPU:  docker build -t fourhorn .
# on an NVIDIA GPU:   docker build -t fourhorn --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# Debian and Ubuntu images that bring no Python get one; gcc is for torch.compile.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ libc6-dev make \
    && (command -v python3 && python3 -m venv --help >/dev/null \
        || apt-get install --yes --no-install-recommends python3 python3-venv python3-dev) \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /srv/fourhorn
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY fourhorn ./fourhorn
RUN python3 -m venv /srv/venv \
    && /srv/venv/bin/pip install --no-cache-dir torch==2.13.0 \
    && /srv/venv/bin/pip install --no-cache-dir --constraint constraints.txt ".[all]"

RUN useradd --create-home --uid 10001 fourhorn
USER 10001
WORKDIR /home/fourhorn
ENV PATH=/srv/venv/bin:$PATH
EXPOSE 8000
ENTRYPOINT ["fourhorn"]
CMD ["--help"]
