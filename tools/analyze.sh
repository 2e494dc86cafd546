#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Static analysis and a run under valgrind. Slower than the tests and not part of them; what is
# switched off is switched off in .clang-tidy or below, each with its reason.
#
#     tools/analyze.sh [cppcheck|gcc|clang-tidy|valgrind]...    default: all four
#     BUILD=/tmp/a tools/analyze.sh                             with the build elsewhere
#
# Needs cppcheck, clang-tidy and valgrind beside what tools/test.sh installs. Exits with 1 when
# anything was found.
set -u
cd "$(dirname "$0")/.." || exit 1

build=${BUILD:-build/analyze}
sources=$(find src formats models -name '*.c' | sort)
found=0

note() {
    echo "FOUND: $1"
    found=1
}

run_cppcheck() {
    # unreadVariable: it does not see variables that only an OpenMP clause reads
    cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
        --suppress=missingIncludeSystem --suppress=unreadVariable \
        -DLLMQ_VERSION='"0"' -DLLMQ_DATADIR='"/x"' -DLLMQ_SOURCE_DATADIR='"/x"' \
        -Iinclude -Isrc -I. --error-exitcode=1 src formats models || note cppcheck
}

# The analyzer of gcc 12 loses track of ownership through out parameters: leaks are what valgrind
# and the sanitizers are asked for.
run_gcc() {
    [ -f "$build/gcc/build.ninja" ] || CC=gcc meson setup "$build/gcc" --buildtype=debugoptimized \
        -Dc_args='-fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value' \
        >/dev/null || return
    if ninja -C "$build/gcc" libllmq_core.a src/cli/llmq 2>&1 | grep -A4 'Wanalyzer'; then
        note 'gcc -fanalyzer'
    fi
}

run_clang_tidy() {
    [ -f "$build/tidy/build.ninja" ] || CC=clang meson setup "$build/tidy" >/dev/null || return
    # shellcheck disable=SC2086 # a list of files
    if printf '%s\n' $sources | grep -v kernels_ | xargs -P "$(nproc)" -n 4 clang-tidy --quiet \
        -p "$build/tidy" 2>/dev/null | grep -E 'warning:|error:'; then
        note clang-tidy
    fi
}

# valgrind knows neither AVX-512 nor OpenBLAS' use of it.
run_valgrind() {
    [ -f "$build/debug/build.ninja" ] || CC=gcc meson setup "$build/debug" --buildtype=debugoptimized \
        >/dev/null || return
    ninja -C "$build/debug" --quiet src/cli/llmq || return
    llmq=$build/debug/src/cli/llmq
    model=tests/golden/llama-base
    out=$build/valgrind-out
    windows=$build/windows.json
    echo '[[5,17,3,99,42,7,64,23,8,90,11,31],[2,4,6,8,10,12,14,16,18,20,22,24]]' >"$windows"
    for arguments in \
        "gptq --model $model --group 32 --calib $windows --out $out --force --threads 1 -q" \
        "rtn --model $model --group 32 --asym --out $out-asym --force --threads 1 -q" \
        "eval --model $out --text $windows --threads 1 -q" \
        "compare --model $out-asym --reference $model --text $windows --threads 1 -q" \
        "score --model $out --ids 5,17,3,99 --threads 1 -q" \
        "inspect $out --tensors" \
        "tokenize --model models/demo --text models/demo/README.md"; do
        # shellcheck disable=SC2086 # words
        LLMQ_CPU=avx2 OPENBLAS_CORETYPE=Haswell OMP_NUM_THREADS=1 valgrind --quiet \
            --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect \
            --errors-for-leak-kinds=definite,indirect \
            "$llmq" $arguments >/dev/null || note "valgrind: llmq $arguments"
    done
}

[ $# -gt 0 ] || set -- cppcheck gcc clang-tidy valgrind
for tool; do
    echo "=== $tool"
    case $tool in
    cppcheck) run_cppcheck ;;
    gcc) run_gcc ;;
    clang-tidy) run_clang_tidy ;;
    valgrind) run_valgrind ;;
    *)
        echo "unknown: $tool"
        exit 2
        ;;
    esac
done
exit "$found"
