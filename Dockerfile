# SPDX-License-Identifier: Apache-2.0
# llmq in an image of its own, built from this folder:
#
#     docker build -t llmq .
#     docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" llmq gptq --model MODEL --out RESULT
#
# Models are looked up in /work/models, too, and in a cache that is mounted: -v
# "$HOME/.cache/huggingface:/cache:ro" -e HF_HOME=/cache.
FROM debian:12-slim AS build
COPY tools/install_deps.sh /source/tools/
RUN apt-get update && /source/tools/install_deps.sh build
COPY . /source
RUN meson setup /build /source --prefix=/usr -Dtests=disabled \
    && ninja -C /build \
    && DESTDIR=/staged meson install -C /build --no-rebuild --strip

FROM debian:12-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libcjson1 libgomp1 liblapacke \
        libopenblas0-openmp libpcre2-8-0 libutf8proc2 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /staged/usr/bin/llmq /usr/bin/llmq
COPY --from=build /staged/usr/share/llmq /usr/share/llmq
COPY --from=build /staged/usr/share/doc/llmq /usr/share/doc/llmq
WORKDIR /work
# Nobody: whoever mounts a folder gives --user, as above.
USER 65534:65534
ENTRYPOINT ["llmq"]
CMD ["--help"]
