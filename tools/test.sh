#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that must hold before a change is taken:
#
#     1  scripts: layers, formatting
#     2  gcc, warnings as errors: every suite, then for every lower instruction set those that it
#        shows in (whole runs only in plain C), and the documentation agrees with the program
#     3  gcc with ASan and UBSan: every suite
#     4  clang, warnings as errors: builds
#     5  gcc with MPI: the suites of several processes
#     6  gcc for aarch64, warnings as errors: the program, and the suites that its kernels show in,
#        under an emulator (from x86-64 only)
#
# Each step runs even when an earlier one failed. The last line is "N passed, N failed": checks of
# all suites, a step that is not a suite counting as one. Exits with 1 when anything failed.
#
#     tools/test.sh            all
#     tools/test.sh quick      for daily work: step 1, and of step 2 the suites of the library at
#                              this machine's level
#     BUILD=/tmp/b tools/test.sh    with the builds elsewhere than in build/test
set -u
cd "$(dirname "$0")/.." || exit 1

build=${BUILD:-build/test}
jobs=$(nproc)
passed=0
failed=0

# Suites run side by side: threads that wait must not burn the cores others need.
export OMP_WAIT_POLICY=passive

# Results are made durable as they are written, thousands of them: in memory that costs nothing.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
    [ "$(df -Pk /dev/shm | awk 'END { print $4 }')" -gt $((2 << 20)) ]; then
    export TMPDIR=/dev/shm
fi

began=$(date +%s)

heading() {
    printf '\n=== %s (after %s s)\n' "$1" "$(($(date +%s) - began))"
}

# step NAME COMMAND...: one check; succeeds when it does.
step() {
    heading "$1"
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $*"
        return 1
    fi
}

# compile FOLDER COMPILER MESON-OPTIONS...: build $targets, by default everything.
compile() {
    folder=$build/$1
    compiler=$2
    shift 2
    if [ ! -f "$folder/build.ninja" ]; then
        CC=$compiler meson setup "$folder" -Dwerror=true "$@" >"$folder.log" 2>&1 || {
            cat "$folder.log"
            return 1
        }
    fi
    # shellcheck disable=SC2086 # a list of targets
    ninja -C "$folder" -j "$jobs" -k 0 --quiet ${targets:-all}
}

# Add up the summary lines of a test log ("100%: Checks: 12, Failures: 0, Errors: 0"). A suite that
# failed without one (a crash, a timeout) counts as one failure.
count() {
    # shellcheck disable=SC2046 # three numbers
    set -- $(awk '
        /[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/ {
            sub(/.*Checks: /, "")
            split($0, n, /[^0-9]+/)
            checks += n[1]
            bad += n[2] + n[3]
            told += n[2] + n[3] > 0
        }
        /^(Fail|Timeout|Unexpected Pass): / { suites += $NF }
        END { print checks + 0, bad + 0, (suites > told ? suites - told : 0) }' "$1")
    passed=$((passed + $1 - $2))
    failed=$((failed + $2 + $3))
    printf '%s checks, %s failed, %s suites without a summary\n' "$1" "$2" "$3"
}

# suites FOLDER [SETUP [MESON-OPTIONS...]]: run every suite, or those chosen, and count its checks.
suites() {
    folder=$build/$1
    setup=${2:-}
    log=$folder/meson-logs/testlog${setup:+-$setup}.txt
    heading "suites: $1${setup:+, LLMQ_CPU=$setup}"
    shift $(($# > 1 ? 2 : 1))
    rm -f "$log"
    before=$failed
    meson test -C "$folder" --no-rebuild --num-processes "$jobs" --print-errorlogs \
        ${setup:+--setup "$setup"} "$@"
    code=$?
    [ -f "$log" ] && count "$log"
    if [ "$code" -ne 0 ] && [ "$failed" -eq "$before" ]; then
        failed=$((failed + 1))
        echo "FAILED: meson test in $folder: exit code $code"
    fi
}

# Levels of LLMQ_CPU below the one this machine runs at; each has a meson test setup.
lower_levels() {
    if grep -qw avx512_bf16 /proc/cpuinfo; then
        echo ref avx2 avx512 avx512vnni
    elif grep -qw avx512_vnni /proc/cpuinfo; then
        echo ref avx2 avx512
    elif grep -qw avx512bw /proc/cpuinfo; then
        echo ref avx2
    elif grep -qw asimddp /proc/cpuinfo; then
        echo ref neon
    elif grep -qwE 'avx2|asimd' /proc/cpuinfo; then
        echo ref
    fi
}

# Kernels against plain C, and whole forward passes with them.
aarch64_suites='kernels kernels_select qmat qmat_int8 golden'

aarch64_possible() {
    [ "$(uname -m)" = x86_64 ] || {
        echo 'SKIP: only from x86-64; on aarch64 itself the other steps check its kernels'
        return 1
    }
    for tool in aarch64-linux-gnu-gcc qemu-aarch64 apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || {
            echo "SKIP: there is no $tool"
            return 1
        }
    done
    tools/cross/sysroot.sh "$build/sysroot" >"$build/sysroot.log" 2>&1 || {
        tail -n 5 "$build/sysroot.log"
        echo 'SKIP: the libraries of aarch64 could not be fetched'
        return 1
    }
}

compile_aarch64() {
    targets=src/cli/llmq
    for suite in $aarch64_suites; do
        targets="$targets tests/test_$suite"
    done
    compile aarch64 aarch64-linux-gnu-gcc --cross-file "$build/sysroot/constants.ini" \
        --cross-file tools/cross/aarch64-linux-gnu.ini
}

formatted() {
    find include src formats models tests examples \( -name '*.[ch]' -o -name '*.inc' \) \
        -exec clang-format-14 --dry-run -Werror {} +
}

# Every source names its licence (https://spdx.dev).
licensed() {
    find include src formats models tests tools examples \( -name '*.[ch]' -o -name '*.inc' -o \
        -name '*.sh' -o -name '*.py' -o -name '*.mjs' -o -name meson.build \) \
        -exec grep -L 'SPDX-License-Identifier: Apache-2.0' {} + >"$build/unlicensed"
    cat "$build/unlicensed"
    [ ! -s "$build/unlicensed" ]
}

finish() {
    printf '\n%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ]
    exit
}

case ${1:-all} in
all | quick) tier=${1:-all} ;;
*)
    echo "usage: tools/test.sh [all|quick]" >&2
    exit 2
    ;;
esac

tools/install_deps.sh test || exit 1
mkdir -p "$build"

step 'layers' tools/check_layers.sh
step 'layer check catches violations' tools/check_layers.sh --self-test
step 'formatting' formatted
step 'licences' licensed

if [ "$tier" = quick ]; then
    step 'build: gcc' compile gcc gcc && suites gcc '' --suite unit
    finish
fi

if step 'build: gcc' compile gcc gcc; then
    suites gcc
    for level in $(lower_levels); do
        # shellcheck disable=SC2046 # an option, or none
        suites gcc "$level" --suite unit --no-suite exact \
            $([ "$level" = ref ] || echo --no-suite whole)
    done
    step 'documentation' tools/check_docs.sh "$build/gcc/src/cli/llmq"
fi

if step 'build: gcc, ASan, UBSan' compile sanitized gcc --buildtype=debugoptimized \
    -Db_sanitize=address,undefined -Db_lundef=false; then
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 suites sanitized
fi

# For its warnings, which are the same whatever it optimizes.
step 'build: clang' compile clang clang -Doptimization=0

targets='src/cli/llmq tests/test_ranks tests/cli/json_get'
if step 'build: gcc with MPI' compile mpi gcc -Dmpi=enabled; then
    suites mpi '' --suite mpi
fi
targets=

heading 'aarch64'
if aarch64_possible && step 'build: gcc for aarch64' compile_aarch64; then
    # shellcheck disable=SC2086 # a list of suites
    suites aarch64 '' $aarch64_suites
fi

finish
