#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A hint leads out: the options that it names, in place of those that were refused, are accepted, at
# once and each of them.
. "$(dirname "$0")/lib.sh"
pin_kernels

# The options that the hint on stderr names, one set a line.
ways_out() {
    sed -n -e 's/^hint: give \(at least \)\{0,1\}\(--.*\)$/\2/p' \
        -e 's/^hint: group sizes that divide every module: \([-0-9, ]*\).*/\1/p' \
        "$work/stderr" | sed 's/^\([-0-9].*\)$/\1/; /^[0-9]/{s/,//g; s/\([0-9][0-9]*\) */--group \1\n/g}' |
        sed '/^ *$/d'
    grep -q '^hint: .*; or --group auto-fit$' "$work/stderr" && echo '--group auto-fit'
}

# Options $1 without those that $2 names or that say the opposite, and $2.
replaced() {
    rest=$1
    for word in $2; do
        case $word in
        --sym) rest=$(printf '%s' "$rest" | sed 's/--asym//') ;;
        --asym) rest=$(printf '%s' "$rest" | sed 's/--sym//') ;;
        --*) rest=$(printf '%s' "$rest" | sed "s/$word [^ ]*//") ;;
        esac
    done
    printf '%s %s' "$rest" "$2"
}

# leads_out CODE MODEL COMMAND OPTIONS: refused with CODE, then planned in every way the hint names.
leads_out() {
    test_case "the hint of llmq $3 $4"
    # shellcheck disable=SC2086 # a list of words
    run $3 --model "$2" $4 --dry-run -q
    expect_code "$1"
    expect_no_stdout
    ways_out >"$work/ways"
    expect "a hint with options" test -s "$work/ways"
    while read -r way; do
        # shellcheck disable=SC2086,SC2046
        run $3 --model "$2" $(replaced "$4" "$way") --dry-run -q
        expect_code 0
    done <"$work/ways"
}

# Grids and formats: sizes of the demo are 256 and 768.
leads_out 2 "$demo" rtn "--group 100"
leads_out 2 "$demo" rtn "--group 96"
leads_out 2 "$demo" rtn "--group 100 --format gguf"
leads_out 2 "$demo" rtn "--group 100 --format awq"
leads_out 2 "$demo" rtn "--group 100 --format onnx"
leads_out 2 "$demo" rtn "--group 2048"
leads_out 3 "$demo" rtn "--group 16 --format gguf"
leads_out 3 "$demo" rtn "--group 8 --format onnx"
leads_out 3 "$demo" rtn "--format awq --group auto-fit:512"
leads_out 3 "$demo" rtn "--format gguf --group auto-fit:20"
leads_out 3 "$demo" rtn "--format awq --bits 8"
leads_out 3 "$demo" rtn "--format awq --bits 3"
leads_out 3 "$demo" rtn "--format compressed-tensors --bits 3"
leads_out 3 "$demo" rtn "--format onnx --bits 3"
leads_out 3 "$demo" rtn "--format gguf --bits 2"
leads_out 3 "$demo" rtn "--format gguf --asym"
leads_out 3 "$demo" rtn "--format gguf --asym --bits 8"

test_case "fast kernels' sizes come first, and larger ones than asked for are named"
run rtn --model "$demo" --group 100 --dry-run -q
expect_stderr "hint: group sizes that divide every module: 128, 64, 32, 256, 16, 8; or --group auto-fit"

# Memory: the first figure is the one that is enough, for a dry run and for a run.
windows 4 64 >few.json
little='--calib few.json --samples 4'
for command in "gptq $little" "gptq --quality fast $little" "awq $little" "gptq --awq $little"; do
    for size in 1 1M 3M; do
        leads_out 5 "$demo" "$command" "--max-mem $size"
    done
done
leads_out 5 "$demo" rtn "--max-mem 1K"

test_case "a run within the memory that the hint names"
# shellcheck disable=SC2086
run gptq --model "$demo" $little --max-mem 1M --dry-run -q
enough=$(ways_out)
# shellcheck disable=SC2086
run gptq --model "$demo" $little $enough --out within -q
expect_code 0
expect "a result" test -f within/config.json

test_case "formats that convert names hold every module"
for options in "--bits 3" "--bits 8 --asym --group 64" "--asym --format gptq"; do
    for format in awq gguf onnx; do
        rm -rf packed "to-$format"
        # shellcheck disable=SC2086
        run rtn --model "$demo" $options --out packed -q
        expect_code 0
        run convert --model packed --format "$format" --out "to-$format" -q
        [ "$code" -eq 0 ] && continue
        expect_code 3
        expect_stderr "hint: "
        expect_stderr "--format bf16 dequantizes"
        for other in $(sed -n 's/^hint: can hold all modules: \([^;]*\);.*/\1/p' stderr | tr -d ,) bf16; do
            rm -rf other
            run convert --model packed --format "$other" --out other -q
            expect_code 0
        done
    done
done

test_case "levels of the processor that are offered can be had"
cap=${LLMQ_CPU-}
export LLMQ_CPU=none
run verify "$demo" -q
expect_code 2
levels=$(sed -n 's/^hint: use //p' stderr | sed 's/,//g; s/ or / /')
expect "levels" test -n "$levels"
for LLMQ_CPU in $levels; do
    run verify "$demo" -q
    expect_code 0
done
LLMQ_CPU=$cap

if [ -d "$shared/models/stories15M" ]; then
    stories=$shared/models/stories15M
    leads_out 2 "$stories" rtn ""
    leads_out 2 "$stories" rtn "--format awq"
    leads_out 2 "$stories" rtn "--format gguf"
    leads_out 3 "$stories" rtn "--format awq --group auto-fit"
    leads_out 3 "$stories" rtn "--format gguf --group auto-fit:40"
    leads_out 2 "$stories" rtn "--format awq --bits 8"
    leads_out 2 "$stories" awq "--format compressed-tensors --bits 3"
    test_case "sizes for 288 and 768 columns"
    run rtn --model "$stories" --dry-run -q
    expect_stderr "hint: group sizes that divide every module: 32, 96, 48, 24, 16, 12, 8; or"
    leads_out 5 "$stories" gptq "--max-mem 1M --group 32"
fi

finish
