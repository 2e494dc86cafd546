#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fuzz the readers of files with libFuzzer, under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#     tools/fuzz.sh [SECONDS [TARGET...]]
#
# SECONDS for each target, 60 unless given; all targets of tests/fuzz/ unless some are named. Builds
# into $FUZZ_BUILD (build/fuzz) with clang ($CC, clang-14), plain kernels and libFuzzer: Debian has it in
# libclang-rt-14-dev, which tools/install_deps.sh leaves out. New inputs are collected beside the
# build; one that does harm is kept as <build>/found/<target>-*: mend what it shows, then add it to
# tests/fuzz/corpus/<target>/, which the suite fuzz_replay goes through. Prints executions, coverage
# and findings of each target; exit code 1 when there was a finding.
set -u
cd "$(dirname "$0")/.." || exit 2
seconds=${1:-60}
[ $# -gt 0 ] && shift
build=${FUZZ_BUILD:-build/fuzz}

if [ ! -d "$build" ]; then
    mkdir -p "$(dirname "$build")"
    CC=${CC:-clang-14} meson setup "$build" -Dfuzz=true -Dkernel_levels= -Doptimization=1 \
        -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined' >"$build.log" 2>&1 || {
        cat "$build.log"
        exit 2
    }
fi
[ $# -gt 0 ] || for corpus in tests/fuzz/corpus/*/; do
    set -- "$@" "$(basename "$corpus")"
done
programs=
for target in "$@"; do
    programs="$programs tests/fuzz/fuzz_$target"
done
# shellcheck disable=SC2086 # a list of words
ninja -C "$build" --quiet $programs || exit 2

# BLAS starts no threads, and a tree of half a gigabyte is a finding.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
mkdir -p "$build/found"
found=0
for target in "$@"; do
    mkdir -p "$build/inputs/$target"
    log=$build/fuzz-$target.log
    "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
        -max_len=65536 -print_final_stats=1 -artifact_prefix="$build/found/$target-" \
        "$build/inputs/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1
    code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-14s %10s executions in %s s, %s places reached, ' "$target" "${runs:-?}" "$seconds" \
        "${cover:-?}"
    if [ "$code" -eq 0 ]; then
        echo 'nothing found'
    else
        echo "FOUND: $log"
        grep -m 3 -E 'ERROR|runtime error|broken promise|SUMMARY' "$log"
        found=1
    fi
done
exit $found
