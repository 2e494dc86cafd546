#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Put the libraries that llmq needs, of another of Debian's architectures, into a folder: for a build
# by the files beside this one. They are unpacked there and not installed, so that the machine
# does not become one of two architectures. Needs apt, no root.
#
#     tools/cross/sysroot.sh FOLDER [ARCHITECTURE]    arm64 (the default) or i386
#
# Writes FOLDER/constants.ini, which names the folder to meson, last; does nothing where it is.
set -eu

folder=${1:?usage: sysroot.sh FOLDER [ARCHITECTURE]}
architecture=${2:-arm64}
packages='check libsubunit-dev libopenblas-openmp-dev libopenblas0-openmp libgfortran5 liblapacke-dev
liblapacke libtmglib3 libcjson-dev libcjson1 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2
zlib1g-dev zlib1g'

mkdir -p "$folder"
cd "$folder"
folder=$(pwd)
[ ! -f constants.ini ] || exit 0

# Package lists of that one alone, beside those of this machine.
mkdir -p apt/lists/partial apt/archives/partial debs
cat >apt/apt.conf <<END
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "";
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt";
END
APT_CONFIG=$folder/apt/apt.conf
export APT_CONFIG

apt-get update -q || echo 'not every list of packages could be had' >&2
cd debs
# shellcheck disable=SC2086 # a list of packages
apt-get download -q $packages
for deb in *.deb; do
    dpkg-deb --extract "$deb" ..
done
cd ..
rm -r apt debs
printf '[constants]\nsysroot = %s\n' "'$folder'" >constants.ini
