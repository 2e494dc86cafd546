#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# --max-mem is a promise: with the least that a command says it takes, it runs, gives what it gives
# without a limit, and never has more memory than that. tools/memory_table.sh is the long form.
peak=$(realpath "$3")
. "$(dirname "$0")/lib.sh"

# Sanitizers keep memory of their own, and so does what fills memory with a pattern.
if [ "${LLMQ_FAMILIES:-all}" = few ]; then
    echo "SKIP: not under sanitizers"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi

# within BYTES ARGUMENTS...: the command runs and stays below.
within() {
    most=$1
    shift
    code=0
    "$peak" "$work/peak" "$llmq" "$@" </dev/null >"$work/stdout" 2>"$work/stderr" || code=$?
    ran="llmq $*"
    expect_code 0
    taken=$(cat "$work/peak")
    expect "$taken bytes, at most $most" test "$taken" -le "$most"
}

# least ARGUMENTS...: the size that the command names, in MiB.
least() {
    run "$@" --max-mem 1
    expect_code 5
    mib=$(sed -n 's/^hint: give at least --max-mem \([0-9]*\)M.*/\1/p' "$work/stderr")
    expect "a size that is enough" test "${mib:-0}" -gt 0
}

# holds ARGUMENTS...: what is promised, with two threads; the result is left in stdout.
holds() {
    test_case "$1 stays within --max-mem"
    least "$@" --model "$demo" --threads 2 -q
    within $((mib * 1024 * 1024)) "$@" --model "$demo" --threads 2 -q --max-mem "${mib}M"
}

pin_kernels
few='--ctx 128 --max-tokens 5000'
# shellcheck disable=SC2086
holds eval $few --json
grep -v '"seconds"\|peak_rss' stdout >limited
# shellcheck disable=SC2086
run eval --model "$demo" $few --json --threads 2 -q
grep -v '"seconds"\|peak_rss' stdout >free
test_case "files of activations change nothing"
expect "the same result" cmp -s limited free

# shellcheck disable=SC2086
holds compare --reference "$demo" --ctx 64 --max-tokens 4500

ids=$(awk 'BEGIN { for (i = 0; i < 500; i++) printf "%d,", i; print 1 }')
holds score --ids "$ids" --logits limited.st
run score --model "$demo" --ids "$ids" --logits free.st --threads 2 -q
test_case "nor do they change logits"
expect "the same file" cmp -s limited.st free.st

# quantizes ARGUMENTS...: the same of a command that writes a result.
quantizes() {
    holds "$@" --group 32 --out limited.out
    rm -rf limited.out
}
quantizes rtn --format gguf
for format in gptq gguf; do
    quantizes gptq --samples 8 --seqlen 128 --quality fast --format $format
done

quantizes gptq --samples 4 --seqlen 64 --curvature on
quantizes gptq --samples 4 --seqlen 64 --quality max --restarts 1 --tune-windows 8

# A run's first windows are short, and those that only tuning reads are long.
awk 'BEGIN {
    for (w = 0; w < 16; w++) {
        printf "%s[", w ? ",\n" : "["
        for (i = 0; i < (w < 4 ? 32 : 800); i++)
            printf "%s%d", i ? "," : "", (w * 31 + i * 7) % 500 + 2
        printf "]"
    }
    print "]"
}' >uneven.json
quantizes rtn --calib uneven.json --samples 4 --tune scales --tune-windows 8

run rtn --model "$demo" --group 32 --out packed -q
holds compare --model packed --reference "$demo" --ctx 64 --max-tokens 3000 --save-reference kept
holds compare --model packed --reference kept
holds report packed --reference kept --out page.html
holds generate --prompt 'My fellow citizens' --max-tokens 8

i=0
while [ $i -lt 12 ]; do
    cat "$demo/eval.txt"
    i=$((i + 1))
done >large.txt

test_case "a long text is read in parts, and only its chosen windows are kept"
windows="--model $demo --calib large.txt --samples 8 --seqlen 128 --show-calib 8 --json"
# shellcheck disable=SC2086
within $((16 * 1024 * 1024)) gptq $windows --max-mem 16M
mv stdout limited
# shellcheck disable=SC2086
run gptq $windows
expect "the same windows" cmp -s limited stdout

# What a program has that does nothing differs by the libraries that it is linked with.
test_case "where all of its tokens are needed, it is told how much that takes"
"$peak" "$work/peak" "$llmq" --version >stdout
most=$(($(cat peak) + 5 * 1024 * 1024))
code=0
"$peak" "$work/peak" "$llmq" eval --model "$demo" --text large.txt --max-mem "$most" -q \
    </dev/null >stdout 2>stderr || code=$?
ran="llmq eval --text large.txt --max-mem $most"
expect_code 5
expect_stderr "--max-mem $most bytes: reading large.txt takes about"
expect "$(cat peak) bytes, at most $most" test "$(cat peak)" -le "$most"
mib=$(sed -n 's/^hint: give at least --max-mem \([0-9]*\)M.*/\1/p' stderr)
expect "more is enough" test $((${mib:-0} * 1024 * 1024)) -gt "$most"

finish
