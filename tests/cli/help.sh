#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Help texts, the man page and the completions: complete, and where they belong.
. "$(dirname "$0")/lib.sh"

commands='gptq awq rtn eval compare report score generate tokenize inspect convert verify bench'

# The long options that a command's help lists, one a line.
listed_options() {
    "$llmq" "$1" --help | sed -n 's/^  \(-., \)\{0,1\}\(--[a-z-]*\).*/\2/p'
}

test_case "llmq alone prints concise help as a usage error"
run
expect_code 2
expect_no_stdout
expect_stderr "usage: llmq COMMAND [options]"
expect_stderr "llmq gptq --model"

for option in --help -h help; do
    test_case "llmq $option prints the commands and exit codes on stdout"
    run $option
    expect_code 0
    expect_no_stderr
    expect_stdout "130  interrupted"
    for command in $commands; do
        expect_stdout "  $command "
    done
done

test_case "--version prints one line with the version"
run --version
expect_code 0
expect_no_stderr
expect_stdout "llmq $(sed -n 's/^#define LLMQ_VERSION  *"\(.*\)"/\1/p' "$root/include/llmq/version.h")"
expect "one line" test "$(wc -l <"$work/stdout")" -eq 1

for command in $commands; do
    test_case "llmq $command alone prints concise help with two examples as a usage error"
    run "$command"
    expect_code 2
    expect_no_stdout
    expect_stderr "usage: llmq $command"
    expect "two examples" test "$(grep -c "^  .*llmq $command" "$work/stderr")" -eq 2

    test_case "llmq $command --help explains the command on stdout"
    run "$command" --help
    expect_code 0
    expect_no_stderr
    expect_stdout "usage: llmq $command"
    expect_stdout "--json"
    expect "lines of at most 100 columns" \
        test "$(awk 'length > 100' "$work/stdout" | wc -l)" -eq 0

    cp "$work/stdout" "$work/explained"
    run help "$command"
    expect_code 0
    expect "llmq help $command says the same" cmp -s "$work/stdout" "$work/explained"

    test_case "--help wins over what is missing"
    run "$command" --no-color --help
    expect_code 0
done

test_case "a long paragraph is printed to its end"
run bench --help
expect_stdout "square."

test_case "help shows the defaults the program uses"
run gptq --help
expect_stdout "bits per weight (default: 4)"
expect_stdout "calibration windows (default: 128;"
expect_stdout "5000000000)"
expect_stdout "(required)"

test_case "the man pages have every option of every command"
run --generate man
expect_code 0
cp "$work/stdout" "$work/llmq.1"
for command in $commands; do
    expect "llmq(1) names llmq-$command" grep -q "^\.BR llmq.-$command (1)$" "$work/llmq.1"
    run --generate "man-$command"
    expect_code 0
    cp "$work/stdout" "$work/llmq-$command.1"
    cat "$work/llmq.1" "$work/llmq-$command.1" |
        sed 's/\\fB//g; s/\\fR//g; s/\\fI//g; s/\\-/-/g' >"$work/man.txt"
    for option in $(listed_options "$command"); do
        expect "$command $option in the man pages" grep -q -- "$option" "$work/man.txt"
    done
done
for page in "$work"/llmq*.1; do
    if command -v man >/dev/null; then
        test_case "$(basename "$page") is sound roff"
        man --warnings -E UTF-8 -l "$page" >/dev/null 2>"$work/roff"
        expect "no warnings: $(head -n 3 "$work/roff")" test ! -s "$work/roff"
    fi
    if command -v mandoc >/dev/null; then
        mandoc -T lint "$page" >"$work/roff" 2>&1
        expect "mandoc finds nothing: $(head -n 3 "$work/roff")" test ! -s "$work/roff"
    fi
done

for shell in bash zsh fish; do
    test_case "the $shell completion has every option of every command"
    run --generate $shell
    expect_code 0
    expect_no_stderr
    for command in $commands; do
        for option in $(listed_options "$command"); do
            expect "$command $option" grep -q -- "${option#--}" "$work/stdout"
        done
    done
    if command -v $shell >/dev/null; then
        expect "$shell accepts its syntax" $shell -n "$work/stdout"
    fi
done

test_case "bash completes commands, options and values"
"$llmq" --generate bash >"$work/completion.bash"
# complete_words WORD...: what the completion offers for the last word.
complete_words() {
    bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _llmq; echo "${COMPREPLY[*]}"' \
        "$work/completion.bash" "$@"
}
if command -v bash >/dev/null; then
    expect "commands" test "$(complete_words llmq in)" = inspect
    expect "options" test "$(complete_words llmq gptq --act)" = --act-order
    expect "values" test "$(complete_words llmq gptq --act-order g)" = group-aware
    mkdir -p "$work/named/org/tiny one" "$work/named/none" "$work/models/tiny" "$work/hub/models--org--big"
    touch "$work/named/org/tiny one/config.json" "$work/models/tiny/config.json"
    LLMQ_MODELS=$work/named
    HF_HUB_CACHE=$work/hub
    export LLMQ_MODELS HF_HUB_CACHE
    expect "a model of an organization" test "$(complete_words "$llmq" gptq -m org/t)" = 'org/tiny one'
    expect "a model of the cache" test "$(complete_words "$llmq" eval org/b)" = org/big
    expect "a model beside" test "$(complete_words "$llmq" compare --reference ti)" = tiny
    unset LLMQ_MODELS HF_HUB_CACHE
fi

finish
