#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone, as C99 and as C++, and includes nothing but its own kind and
# the C library.
. "$(dirname "$0")/lib.sh"

warnings='-Wall -Wextra -pedantic-errors -Werror -fsyntax-only'
ran='compiler'
: >stdout

for header in "$root"/include/llmq/*.h; do
    file=${header##*/}
    test_case "llmq/$file compiles alone"
    printf '#include "llmq/%s"\n#include "llmq/%s"\nint unused_%s;\n' \
        "$file" "$file" "${file%.h}" >alone.c
    # shellcheck disable=SC2086 # a list of options
    ${CC:-cc} -std=c99 $warnings -I"$root/include" alone.c 2>stderr
    code=$?
    expect "C99" test $code -eq 0
    command -v "${CXX:-c++}" >/dev/null || continue
    for standard in c++11 c++17; do
        # shellcheck disable=SC2086
        ${CXX:-c++} -x c++ -std=$standard $warnings -I"$root/include" alone.c 2>stderr
        code=$?
        expect "$standard" test $code -eq 0
    done
done

test_case "public headers show no SIMD, BLAS or cJSON"
grep -nE 'immintrin|cblas|lapacke|cJSON|omp\.h' "$root"/include/llmq/*.h >stdout
expect "none of them" test ! -s stdout

finish
