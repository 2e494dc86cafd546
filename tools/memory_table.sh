#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The table of memory: what commands say they take, and what they took.
#
#     tools/memory_table.sh LLMQ PEAK [MODEL...]
#
# PEAK is tests/cli/peak of a build; models are folders, models/demo unless some are named. Each row
# is a command under the least limit that it names itself ("planned") or twice that, with one thread
# and with four, or without a limit with four: the most that it had at once ("measured") has to be
# within the limit. Exits with 1 where it is not.
set -u
cd "$(dirname "$0")/.." || exit 2
[ $# -ge 2 ] || {
    sed -n '3,13s/^# \{0,1\}//p' "$0"
    exit 2
}
llmq=$(realpath "$1")
peak=$(realpath "$2")
shift 2
[ $# -gt 0 ] || set -- models/demo
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
over=0

# row COMMAND-LINE THREADS LIMIT-IN-MIB: 0 is no limit.
row() {
    rm -rf "$work/out" "$work/out.partial"
    limit=
    [ "$3" -eq 0 ] || limit="--max-mem ${3}M"
    # shellcheck disable=SC2086 # a list of words
    if "$peak" "$work/peak" "$llmq" $1 --threads "$2" $limit -q >/dev/null 2>"$work/err"; then
        took=$(($(cat "$work/peak") >> 10))
        verdict=ok
        [ "$3" -gt 0 ] && [ "$took" -gt $(($3 << 10)) ] && verdict=OVER && over=1
        printf '| %s | %s | %s | %s MiB | %s MiB | %s |\n' "$1" "$2" \
            "$([ "$3" -eq 0 ] && echo none || echo "$3 MiB")" "$planned" "$((took >> 10))" "$verdict"
    else
        printf '| %s | %s | %s MiB | %s | failed | %s |\n' "$1" "$2" "$3" "$planned" \
            "$(head -n 1 "$work/err")"
        over=1
    fi
}

# rows COMMAND-LINE: with the least that it says is enough.
rows() {
    for threads in 1 4; do
        rm -rf "$work/out" "$work/out.partial"
        # shellcheck disable=SC2086
        "$llmq" $1 --threads $threads --max-mem 1 -q >/dev/null 2>"$work/err"
        planned=$(sed -n 's/^hint: give at least --max-mem \([0-9]*\)M.*/\1/p' "$work/err")
        [ -n "$planned" ] || {
            echo "llmq $1: names no limit that is enough: $(head -n 1 "$work/err")"
            over=1
            continue
        }
        row "$1" $threads "$planned"
        row "$1" $threads $((2 * planned))
    done
    row "$1" 4 0
}

echo '| command | threads | limit | planned | measured | |'
echo '| --- | --- | --- | --- | --- | --- |'
for model in "$@"; do
    few="--samples 24 --seqlen 256 --group 32 --out $work/out"
    for quality in fast balanced best; do
        rows "gptq --model $model $few --quality $quality"
    done
    rows "awq --model $model $few"
    rows "gptq --awq --model $model $few"
    rows "gptq --model $model $few --format gguf"
    rows "gptq --model $model $few --curvature on"
    rows "gptq --model $model $few --quality max --restarts 1 --tune-windows 32"
    rows "rtn --model $model $few --calib models/demo/calibration.txt --tune scales --tune-windows 32"
    rows "rtn --model $model --group 32 --out $work/out"
    "$llmq" rtn --model "$model" --group 32 --out "$work/packed" -q >/dev/null
    against="--reference $model --ctx 256 --max-tokens 9000"
    rows "compare --model $work/packed --model $model $against"
    rows "compare --model $work/packed $against --save-reference $work/kept"
    rows "compare --model $work/packed --reference $work/kept"
    rows "report $work/packed --reference $work/kept --out $work/page.html"
    rows "generate --model $model --prompt Once --max-tokens 32"
    rm -rf "$work/packed"
    rows "eval --model $model --ctx 256 --max-tokens 12000"
    rows "compare --model $model --reference $model --ctx 256 --max-tokens 9000"
    rows "score --model $model --ids $(awk 'BEGIN { for (i = 0; i < 250; i++) printf "%d,", i; print 1 }')"
done
exit $over
