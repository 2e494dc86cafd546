#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Limits that the system sets a process: address space, threads. No command hangs or crashes under
# one, and none calls it something else: exit code 5 and which limit it was.
# shellcheck disable=SC3045 # every shell that Linux systems use for sh has ulimit -v
. "$(dirname "$0")/lib.sh"

# limited KIB ARGUMENTS...: llmq with so much address space; a hang ends as exit code 124.
limited() {
    kib=$1
    shift
    code=0
    (
        ulimit -v "$kib"
        exec timeout 120 "$llmq" "$@"
    ) </dev/null >stdout 2>stderr || code=$?
    ran="ulimit -v $kib; llmq $*"
}

gib=$((1024 * 1024))
limited $((4 * gib)) --version
if [ "$code" -ne 0 ] || ! (ulimit -v $gib) 2>/dev/null; then
    echo "SKIP: the program does not start in 4 GiB of address space here"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi

memory_or_success() {
    expect "exit code 0 or 5" test "$code" -eq 0 -o "$code" -eq 5
    if [ "$code" -eq 5 ]; then
        # Before the program has begun there are no options.
        if grep -q 'llmq: BLAS cannot map' stderr || [ "${ran#* --json}" = "$ran" ]; then
            expect_no_stdout
        else
            expect_json error.exit_code 5
        fi
        expect_stderr "llmq: "
    fi
}

printf 'some words' >words.txt
for mib in 130 170 210 250 290 330 370 410 450 500 600 800 1200 2000; do
    test_case "no command hangs in $mib MiB of address space"
    limited $((mib * 1024)) --version
    [ "$code" -eq 127 ] && continue # the dynamic linker had no room for the program
    memory_or_success
    started=$code
    limited $((mib * 1024)) tokenize --model "$demo" --text words.txt
    expect "tokenize needs no more than --version" test "$code" -eq "$started"
    limited $((mib * 1024)) inspect "$demo"
    expect "nor does inspect" test "$code" -eq "$started"
    limited $((mib * 1024)) score --model "$demo" --ids 1,2,3 -q
    memory_or_success
    limited $((mib * 1024)) eval --model "$demo" --ctx 64 --max-tokens 128 --json -q
    memory_or_success
    limited $((mib * 1024)) compare --model "$demo" --reference "$demo" --ctx 64 --max-tokens 128 -q
    memory_or_success
    limited $((mib * 1024)) rtn --model "$demo" --dry-run -q
    memory_or_success
    limited $((mib * 1024)) verify "$demo"
    memory_or_success
done

test_case "too little for BLAS to start: the limit and what is needed are named"
limited $((170 * 1024)) --version
if [ "$code" -eq 5 ]; then
    expect_stderr "llmq: BLAS cannot map the 128 MiB that it starts with: the limit is $((170 * 1024)) KiB"
    expect_stderr "hint: raise it, as with 'ulimit -v unlimited'"
fi

test_case "threads that cannot be made: exit code 5, and a number that works"
limited $((3 * gib)) eval --model "$demo" --ctx 64 --max-tokens 128 --json -q --threads 4000
expect_code 5
expect_json error.exit_code 5
expect_stderr "llmq: cannot start 4000 threads"
threads=$(sed -n 's/^hint: give --threads \([0-9]*\),.*/\1/p' stderr)
expect "a number of threads" test "${threads:-0}" -gt 0
limited $((3 * gib)) eval --model "$demo" --ctx 64 --max-tokens 128 --json -q \
    --threads "${threads:-0}"
expect_code 0

test_case "BLAS' memory for each thread: a number of threads that it is enough for"
limited $((gib * 6 / 10)) score --model "$demo" --ids 1,2,3 -q --threads 6
if [ "$code" -eq 5 ]; then
    threads=$(sed -n 's/^hint: give --threads \([0-9]*\), or raise the limit$/\1/p' stderr)
    expect "a number of threads" test "${threads:-0}" -gt 0
    limited $((gib * 6 / 10)) score --model "$demo" --ids 1,2,3 -q --threads "${threads:-0}"
    expect_code 0
fi

loader=$(sed -n 's|.* \(/[^ ]*/ld-[^ /]*\)$|\1|p' /proc/self/maps 2>/dev/null | head -n 1)
if [ -x "$loader" ]; then
    test_case "a program that is given to the dynamic linker does not start the linker again"
    code=0
    env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT "$loader" "$llmq" --version >stdout 2>stderr || code=$?
    ran="$loader llmq --version"
    expect_code 0
    expect_stdout "llmq "
fi

# The environment that the program runs in, read while it waits for text.
mkfifo text
environment() {
    env "$@" "$llmq" tokenize --model "$demo" --text text >/dev/null 2>&1 &
    exec 3>text # returns once the program opened the other end
    tr '\0' '\n' <"/proc/$!/environ" >environment
    cat "/proc/$!/comm" >name
    exec 3>&-
    wait $!
}

if [ -r /proc/self/environ ] && [ "$(uname -s)" = Linux ]; then
    test_case "waiting threads sleep, and the program keeps its name"
    environment -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT
    expect "a short spin" grep -qx 'GOMP_SPINCOUNT=[0-9]\{1,4\}' environment
    expect "its name" grep -qx llmq name

    test_case "how threads wait is left to the user who says so"
    environment -u GOMP_SPINCOUNT OMP_WAIT_POLICY=active
    expect "nothing added" sh -c '! grep -q GOMP_SPINCOUNT environment'
    environment -u OMP_WAIT_POLICY GOMP_SPINCOUNT=77
    expect "kept" grep -qx GOMP_SPINCOUNT=77 environment
fi

# Sanitizers keep memory of their own.
if [ "${LLMQ_FAMILIES:-all}" != few ]; then
    test_case "a run takes the memory that is planned, within 15 %, and not half of it"
    run gptq --model "$demo" --quality fast --samples 2 --seqlen 256 --threads 1 --out planned \
        --json -q
    expect_code 0
    planned=$("$json_get" plan_ram_bytes <stdout)
    peak=$("$json_get" peak_rss_bytes <stdout)
    expect "$peak bytes, not more than the ${planned:=0} planned" \
        test $((100 * peak)) -le $((115 * planned))
    expect "$peak bytes, at least half of these" test $((2 * peak)) -ge "$planned"
fi

finish
