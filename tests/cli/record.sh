#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a result says of itself: llmq.json and README.md; and that verify holds it to the one.
. "$(dirname "$0")/lib.sh"
pin_kernels

run rtn --model "$demo" --out r -q
expect_code 0

# flip FILE OFFSET: turn a bit of a byte around.
flip() {
    byte=$(od -An -tu1 -j"$2" -N1 "$1" | tr -d ' ')
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$(printf %o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

test_case "one flipped bit is found in every file of a result"
(cd r && find . -type f | sed 's/^..//' | LC_ALL=C sort) >files
expect "there are many" test "$(wc -l <files)" -ge 10
while read -r file; do
    size=$(wc -c <"r/$file")
    for at in 0 $((size / 2)) $((size - 1)); do
        cp "r/$file" saved
        flip "r/$file" "$at"
        run verify r
        expect_code 1
        expect_stdout ": $file: "
        mv saved "r/$file"
    done
done <files
run verify r
expect_code 0
expect_stdout "0 violations, 0 warnings"

test_case "files that are gone or were added are named"
mv r/tokenizer.json .
echo mine >r/mine.txt
run verify r
expect_code 1
expect_stdout "file-missing: tokenizer.json"
expect_stdout "file-added: mine.txt"
mv tokenizer.json r/
rm r/mine.txt

test_case "without its record a result is checked as any checkpoint is"
mv r/llmq.json record
flip r/README.md 0
run verify r
expect_code 0
flip r/README.md 0
mv record r/llmq.json

test_case "the sums are those of sha256sum"
sed -n '/^  "files": \[/,/^  \]/s/.*"name":"\([^"]*\)".*"sha256":"\([^"]*\)".*/\2  \1/p' \
    r/llmq.json >sums
expect "all files but the record" test "$(wc -l <sums)" -eq $(($(wc -l <files) - 1))
expect "they hold" sh -c 'cd r && sha256sum --quiet -c ../sums'

test_case "neither of them names a place of this machine"
expect "no path" sh -c "! grep -F -e '$work' -e '$demo' r/llmq.json r/README.md"
cp r/llmq.json stdout
expect_json made_from.model.name demo

test_case "the card begins with front matter and ends with the model's own card"
expect "front matter" sh -c 'head -n 2 r/README.md | tr "\n" " " | grep -qx -e "--- base_model: demo "'
expect "the license" grep -qx 'license: cc0-1.0' r/README.md
sed '1,/^---$/d' "$demo/README.md" | sed '1,/^---$/d' >own
tail -c "$(wc -c <own)" r/README.md >end
expect "the own card" cmp own end

test_case "a run ends with commands that a shell takes as they are"
run rtn --model "$demo" --out "it's"
expect_code 0
expect_stdout "vllm serve 'it'\\''s'"
cp stdout said
for command in compare generate verify; do
    grep "^  [^ ].* $command " said >next
    expect "one of $command" test "$(wc -l <next)" -eq 1
done
grep "^  [^ ].* verify " said >next
code=0
sh ./next >stdout 2>stderr || code=$?
expect_code 0
expect_stdout "it's: "
expect_stdout "unpacked"
for quiet in -q --json; do
    run rtn --model "$demo" --out r --force $quiet
    expect "none when it is to be quiet" sh -c '! grep -q "next steps" stdout'
done
run convert --model r --format awq --out c
expect_code 0
expect_stdout "vllm serve c"

finish
