#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command line on real models outside of the repository, when they are there.
. "$(dirname "$0")/lib.sh"
pin_kernels

stories=$shared/models/stories15M
if [ ! -d "$stories" ]; then
    echo "SKIP: no models in $shared"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
fi

test_case "a group that does not divide the columns is refused before work, with sizes that would do"
run rtn --model "$stories" --out never --group 128
expect "exit code 2 or 3" test "$code" -eq 2 -o "$code" -eq 3
expect_no_stdout
expect_stderr "288"
expect_stderr "self_attn.q_proj (288)"
expect_stderr "auto-fit"
expect "no folder" test ! -e never -a ! -e never.partial

test_case "auto-fit picks the largest divisor not above the wish for each module"
run rtn --model "$stories" --out never --group auto-fit --dry-run --json -q
expect_code 0
expect_json modules.0.group 96
expect "no folder" test ! -e never
run rtn --model "$stories" --out never --group auto-fit:64 --dry-run --json -q
expect_json modules.0.group 48

test_case "tokenize equals the reference ids of Llama 2"
printf 'Hello world' >words.txt
run tokenize --model "$stories" --text words.txt
expect_stdout_exactly "[1,15043,3186]"
run tokenize --model "$stories" --text words.txt --no-special
expect_stdout_exactly "[15043,3186]"

finish
