#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what llmq needs from Debian 12's own archive, and only what is missing.
#
#     tools/install_deps.sh build    compiler, build system, libraries
#     tools/install_deps.sh test     also what tools/test.sh needs
#     tools/install_deps.sh release  also what tools/release.sh needs
#
# Runs as root, or through sudo. Prints nothing when there is nothing to do.
set -eu

build_packages='gcc libc6-dev meson ninja-build pkg-config libopenblas-openmp-dev liblapacke-dev
libcjson-dev libpcre2-dev libutf8proc-dev zlib1g-dev check'
test_packages='g++ clang clang-format-14 libomp-dev libopenmpi-dev openmpi-bin'
# To build for aarch64 and run what was built, see tools/cross.
[ "$(uname -m)" != x86_64 ] ||
    test_packages="$test_packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

case ${1:-} in
build) packages=$build_packages ;;
test) packages="$build_packages $test_packages" ;;
release) packages="$build_packages gfortran git" ;;
*)
    echo "usage: $0 build|test|release" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian system: make sure that its equivalents of these are there:" >&2
    echo "$packages" >&2
    exit 0
fi

missing=
for package in $packages; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "missing:$missing" >&2
        echo "hint: run 'apt-get install$missing' as root" >&2
        exit 1
    fi
}

install_missing() {
    # shellcheck disable=SC2086 # a list of packages
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        $missing
}

echo "installing:$missing"
# Package lists may be absent (a fresh container) or stale: fetch them when installing fails.
install_missing || {
    as_root apt-get update -q
    install_missing
}
