#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Several models at once, the reference kept in a file, and what is printed of both.
# shellcheck disable=SC2086 # $read is a list of words
. "$(dirname "$0")/lib.sh"
pin_kernels

read="--text $demo/eval.txt --ctx 64 --max-tokens 256"
run rtn --model "$demo" --out w4 -q
run rtn --model "$demo" --out w8 --bits 8 -q

test_case "several models, bare or with --model, are a line each; the reference runs once"
run compare w4 w8 --model "$demo" --reference "$demo" $read --no-progress
expect_code 0
expect "a line of each" test "$(grep -c 'w4$\|w8$\|demo$' stdout)" -eq 4
expect_stdout "models/demo"
run compare w4 w8 --reference "$demo" $read
expect "its blocks once" test "$(grep -c 'reference: block 1/' stderr)" -eq 1
expect_stderr "w8: block 1/"

test_case "as JSON they are an array of what each is alone"
run compare w4 w8 --reference "$demo" $read --json -q --save-reference kept
expect_code 0
first=$("$json_get" 0.kl_mean <stdout)
second=$("$json_get" 1.kl_mean <stdout)
expect_json_paths 0.model 0.bytes 0.reference_bytes 0.kl_p90 0.kl_p999 0.kl_max 0.kl_reverse_mean \
    0.delta_nll_p_value 0.delta_p.p01 0.delta_p.median 0.delta_p.rms 0.histogram.15 \
    0.positions.0.kl 0.by_window.3.kl 0.by_window.3.delta_nll 1.kl_beside_first_stderr \
    1.worst.0.text 1.worst.0.model.4.p 1.worst.0.reference.0.text
run compare w8 --reference "$demo" $read --json -q
expect_json kl_mean "$second"
run compare w4 --reference "$demo" $read --json -q
expect_json kl_mean "$first"
expect_json reference_kept false

test_case "the worst tokens are shown in their text, with -v what was expected there"
run compare w4 --reference "$demo" $read -q
expect_stdout "nats    text"
expect_stdout "["
run compare w4 --reference "$demo" $read -v --no-progress
expect "what both expected" test "$(grep -c '^ *reference ..' stdout)" -ge 5

test_case "a kept reference stands for the model, without a text"
run compare w4 --reference kept --json -q
expect_code 0
expect_json reference_kept true
kept=$("$json_get" kl_mean <stdout)
expect "$kept is near $first" awk "BEGIN { exit !(($kept - $first) ^ 2 < 4e-8) }"
expect_json kl_reverse_mean null
expect_json blocks 0
run compare w4 w8 --reference kept $read --no-progress
expect_code 0
run compare --reference "$demo" $read --save-reference again -q
expect_code 0
expect "the same bytes whoever is compared" cmp -s kept again

test_case "what does not go with it is refused"
run compare w4 --reference kept --text "$demo/calibration.txt" --ctx 64 --max-tokens 256 -q
expect_code 2
expect_stderr "another text"
run compare w4 --reference kept --ctx 32 -q
expect_code 2
expect_stderr "holds the windows"
run compare w4 --reference kept --save-reference more -q
expect_code 2
expect_stderr "kept reference already"
run compare w4 --reference "$demo" $read --save-reference w4/kept --force
expect_code 2
head -c 5000 kept >cut
run compare w4 --reference cut -q
expect_code 3
expect_stderr "cut: "
expect_stderr "cut short"
run compare --reference "$demo"
expect_code 2
expect_stderr "compare needs --model M"

test_case "a limit is about each of them, by name"
run compare w8 w4 --reference kept --max-kl "$second" -q
expect_code 1
expect_stderr "w4: mean KL divergence"

test_case "report writes a page, of a kept reference too, and prints its numbers"
run report w4 w8 --reference kept -q
expect_code 0
expect_stdout "wrote report.html ("
expect "it ends" grep -q '</html>' report.html
expect "both are there" test "$(grep -c '<section id="result' report.html)" -eq 2
expect "nothing from elsewhere" test "$(grep -c 'src=\|<script\|@import' report.html)" -eq 0
run report w4 --reference "$demo" $read --json -q
expect_code 0
expect_json results.0.kl_mean "$first"
expect_json_paths results.0.modules.0.rtn_error results.0.run.seconds results.0.worst.0.text
run report w4 --reference kept --csv -q
expect_code 0
expect_stdout '"w4",modules,"model.layers.0.self_attn.q_proj",bits,4'
expect_stdout ',figures,"",kl_reverse_mean,'

test_case "its picture alone, and places that are refused"
run report w4 --reference kept -o errors.svg -q
expect_code 0
expect "a picture" grep -q '^<svg xmlns=' errors.svg
run report w4 --reference kept -o w4/report.html -q
expect_code 2
expect_stderr "lies in the model's folder"
run report w4 --reference kept -o kept -q
expect_code 2
expect "the reference is as it was" cmp -s kept again
run report "$demo" --reference kept -o errors.svg -q
expect_code 3
expect_stderr "no llmq.json that lists modules"
run report --reference kept
expect_code 2

finish
