#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# llmq sensitivity on the demo model: from the table to a recipe, and from there to a checkpoint.
. "$(dirname "$0")/lib.sh"
pin_kernels

quick="--model $demo --method rtn --samples 4 --seqlen 64 --windows 1 --estimate hessian"

test_case "a plan says what there is, and what it takes"
run sensitivity --model "$demo" --samples 4 --seqlen 64 --windows 1 --estimate kl --dry-run
expect_code 0
expect_stdout "parts        20, 3932160 weights"
expect_stdout "passes       49.0 through the model"

test_case "costs and a recipe"
# shellcheck disable=SC2086
run sensitivity $quick --candidates 4:64,8:128 --target-bits 6 -o recipe.json --json
expect_code 0
expect_json estimate hessian
expect_json windows 1
expect_json parts.0.settings.1.bits 8
cp "$work/stdout" table.json

test_case "the recipe makes a checkpoint of that size"
run rtn --model "$demo" --recipe recipe.json --out mixed --json
expect_code 0
run inspect mixed
expect_code 0
expect_stdout "5.9"

test_case "another size of the same table"
run sensitivity --table table.json --target-size 5M
expect_code 0
expect_stdout "chosen (*)"
expect_stdout '"rules": ['
run sensitivity --table table.json --target-bits 3
expect_code 2
expect_stderr "3 bits per weight: the smallest settings take 4."

test_case "where a recipe cannot be is told before anything is measured"
for place in /no/such/folder/r.json . "$demo/r.json"; do
    # shellcheck disable=SC2086
    run sensitivity $quick --target-bits 6 -o "$place" -v
    expect "it is refused" [ "$code" -eq 2 -o "$code" -eq 4 ]
    expect "nothing is measured" [ "$(grep -c block "$work/stderr")" -eq 0 ]
    expect_stderr "$place"
done
expect "the model stays as it is" [ ! -e "$demo/r.json" ]

test_case "a file that is no table"
echo '{"model": "m"}' >other.json
run sensitivity --table other.json
expect_code 3
expect_stderr "other.json: format: expected what llmq sensitivity --json prints"

finish
