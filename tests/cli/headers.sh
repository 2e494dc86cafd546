#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone, as C11 and as C++, and includes nothing but its own kind and
# the C library.
. "$(dirname "$0")/lib.sh"

warnings='-Wall -Wextra -Wpedantic -Werror -fsyntax-only'
ran='compiler'
: >stdout

for header in "$root"/include/llmq/*.h; do
    file=${header##*/}
    test_case "llmq/$file compiles alone"
    printf '#include "llmq/%s"\n#include "llmq/%s"\nint unused_%s;\n' \
        "$file" "$file" "${file%.h}" >alone.c
    # shellcheck disable=SC2086 # a list of options
    ${CC:-cc} -std=c11 $warnings -I"$root/include" alone.c 2>stderr
    code=$?
    expect "C11" test $code -eq 0
    if command -v "${CXX:-c++}" >/dev/null; then
        # shellcheck disable=SC2086
        ${CXX:-c++} -x c++ -std=c++11 $warnings -I"$root/include" alone.c 2>stderr
        code=$?
        expect "C++11" test $code -eq 0
    fi
done

test_case "public headers show no SIMD, BLAS or cJSON"
grep -nE 'immintrin|cblas|lapacke|cJSON|omp\.h' "$root"/include/llmq/*.h >stdout
expect "none of them" test ! -s stdout

finish
