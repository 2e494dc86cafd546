#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Put the libraries that llmq needs, for musl, into a folder: cJSON, PCRE2, utf8proc, zlib and Check,
# compiled from Debian's sources, and stand-ins (stand_ins.c) for OpenBLAS, LAPACKE and libgomp, which
# Debian does not have for musl and which take Fortran and a compiler of its own to make.
#
#     apt-get install musl-tools dpkg-dev
#     tools/cross/musl/libraries.sh build/sysroot-musl
#     meson setup build/musl --native-file build/sysroot-musl/musl.ini -Dkernel_levels=avx2
#     meson test -C build/musl --suite unit
#
# Needs what tools/install_deps.sh build installs, for headers. Writes FOLDER/musl.ini last; does
# nothing where it is.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: libraries.sh FOLDER}
mkdir -p "$folder"
cd "$folder"
folder=$(pwd)
[ ! -f musl.ini ] || exit 0
mkdir -p include/cjson lib sources apt/parts apt/lists/partial apt/archives/partial

# The sources of what this machine has the packages of.
: >apt/list
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$file" ] || sed -n 's/^deb /deb-src /p' "$file" >>apt/list
done
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"apt/parts/${file##*/}"
done
cat >apt/apt.conf <<END
APT::Sandbox::User "";
Dir::Etc::sourcelist "$folder/apt/list";
Dir::Etc::sourceparts "$folder/apt/parts";
Dir::State::lists "$folder/apt/lists";
Dir::Cache "$folder/apt";
END
APT_CONFIG=$folder/apt/apt.conf
export APT_CONFIG
apt-get update -q || echo 'not every list of packages could be had' >&2
cd sources
# shellcheck disable=SC1091 # of the system
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
for name in check cjson pcre2 utf8proc zlib; do
    apt-get source -q --download-only "$name/$release"
    rm -rf "$name"
    dpkg-source --no-check -x "$name"_*.dsc "$name"
done

# archive NAME FOLDER FLAGS FILE...: a static library of what lies below sources.
archive() {
    name=$1 place=$2 flags=$3
    shift 3
    rm -rf objects
    mkdir objects
    for file in "$@"; do
        # shellcheck disable=SC2086 # a list of options
        musl-gcc -O2 -fPIC -w -I"$folder/include" -I"$place" $flags -c "$place/$file" \
            -o "objects/$(basename "$file").o"
    done
    rm -f "$folder/lib/$name"
    ar rcs "$folder/lib/$name" objects/*.o
}

cp cjson/cJSON.h "$folder/include/cjson/"
archive libcjson.a cjson '' cJSON.c

cp utf8proc/utf8proc.h "$folder/include/"
archive libutf8proc.a utf8proc -DUTF8PROC_STATIC utf8proc.c

cp zlib/zlib.h zlib/zconf.h "$folder/include/"
archive libz.a zlib -DHAVE_UNISTD_H adler32.c compress.c crc32.c deflate.c gzclose.c gzlib.c gzread.c \
    gzwrite.c infback.c inffast.c inflate.c inftrees.c trees.c uncompr.c zutil.c

# As PCRE2's NON-AUTOTOOLS-BUILD says.
cp pcre2/src/pcre2.h.generic "$folder/include/pcre2.h"
cp pcre2/src/config.h.generic pcre2/src/config.h
cp pcre2/src/pcre2_chartables.c.dist pcre2/src/pcre2_chartables.c
# shellcheck disable=SC2046 # a list of files
archive libpcre2-8.a pcre2/src \
    '-DHAVE_CONFIG_H -DPCRE2_CODE_UNIT_WIDTH=8 -DSUPPORT_UNICODE -DHAVE_MEMMOVE -DHAVE_STRERROR' \
    $(cd pcre2/src && find . -name 'pcre2_*.c' ! -name '*_dftables.c' ! -name '*_fuzzsupport.c' \
        ! -name '*_jit_[mt]*.c' ! -name '*_printint.c' ! -name '*_ucptables.c')

cp /usr/include/check.h /usr/include/check_stdint.h "$folder/include/"
cat >check/config.h <<'END'
#define HAVE_FORK 1
#define HAVE_SYS_TIME_H 1
#define HAVE_UNISTD_H 1
#define HAVE_STDINT_H 1
#define HAVE_INTTYPES_H 1
#define HAVE_SIGACTION 1
#define HAVE_DECL_ALARM 1
#define HAVE_DECL_CLOCK_GETTIME 1
#define HAVE_DECL_FILENO 1
#define HAVE_DECL_GETLINE 1
#define HAVE_DECL_GETTIMEOFDAY 1
#define HAVE_DECL_LOCALTIME_R 1
#define HAVE_DECL_PIPE 1
#define HAVE_DECL_PUTENV 1
#define HAVE_DECL_SETENV 1
#define HAVE_DECL_SLEEP 1
#define HAVE_DECL_STRDUP 1
#define HAVE_DECL_STRSIGNAL 1
#define HAVE_DECL_UNSETENV 1
#define HAVE_GETPID 1
#define HAVE_MKSTEMP 1
#define HAVE_LIBRT 1
#define HAVE_ALARM 1
#define HAVE_CLOCK_GETTIME 1
#define HAVE_GETLINE 1
#define HAVE_GETTIMEOFDAY 1
#define HAVE_LOCALTIME_R 1
#define HAVE_MALLOC 1
#define HAVE_REALLOC 1
#define HAVE_SETENV 1
#define HAVE_STRDUP 1
#define HAVE_STRSIGNAL 1
#define HAVE_UNSETENV 1
#define HAVE_SNPRINTF 1
#define HAVE_VSNPRINTF 1
#define HAVE_REGEX_H 1
#define HAVE_REGCOMP 1
#define HAVE_REGEXEC 1
#define HAVE_ITIMERSPEC_SIGEV 1
#define HAVE_STRUCT_TIMESPEC_TV_SEC 1
#define HAVE_STRUCT_TIMESPEC_TV_NSEC 1
#define STDC_HEADERS 1
#define _GNU_SOURCE
END
# shellcheck disable=SC2046 # a list of files
archive libcheck.a check/src '-DHAVE_CONFIG_H -include ../sources/check/config.h -I../sources/check -I../sources/check/lib' \
    $(cd check/src && find . -name 'check*.c')

blas=$(pkg-config --variable=includedir openblas)
cp "$blas/cblas.h" "$blas/openblas_config.h" /usr/include/lapack.h /usr/include/lapacke*.h "$folder/include/"
archive libopenblas.a "$here" '' stand_ins.c
cp "$folder/lib/libopenblas.a" "$folder/lib/liblapacke.a"
cp "$folder/lib/libopenblas.a" "$folder/lib/libgomp.a"

mkdir -p "$folder/lib/pkgconfig"
for name in check libcjson:cjson libpcre2-8:pcre2-8 libutf8proc:utf8proc openblas zlib:z; do
    printf 'Name: %s\nDescription: for musl\nVersion: 0\nLibs: -L%s -l%s\nCflags: -I%s\n' "${name%:*}" \
        "$folder/lib" "${name#*:}" "$folder/include" >"$folder/lib/pkgconfig/${name%:*}.pc"
done

cd "$folder"
rm -r apt sources
cat >musl.ini <<END
[binaries]
c = 'musl-gcc'
pkgconfig = 'pkg-config'

[properties]
pkg_config_libdir = '$folder/lib/pkgconfig'

[built-in options]
c_args = ['-I$folder/include']
c_link_args = ['-L$folder/lib']
END
