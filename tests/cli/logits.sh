#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Where score --logits may write: a file is replaced as a whole, a pipe or device is written to, and
# nothing else that is there is touched.
# shellcheck disable=SC2086,SC2094 # $few and $score are lists of words
. "$(dirname "$0")/lib.sh"
pin_kernels

cp -r "$demo" model
shard=$(basename "$(find model -name '*.safetensors' | head -n 1)")
sha256sum model/* >sums
score='score --model model --ids 1,2,3 -q'

listing() {
    find . -mindepth 1 ! -name stdout ! -name stderr ! -name before -printf '%p %i %m %s %T@\n' |
        sort
}

# refused CODE TEXT FILE: with this code and message, and the folder is as it was.
refused() {
    listing >before
    run $score --logits "$3"
    expect_code "$1"
    expect_no_stdout
    expect_stderr "$2"
    expect "every input as it was" sha256sum -c --quiet sums
    listing >"$work/stdout"
    expect "nothing came or went" cmp -s before "$work/stdout"
}

run $score --logits good
expect_code 0

test_case "a file is replaced as a whole, with its permissions, and folders beside it are left alone"
mkdir old.partial
echo mine >old.partial/file
: >old
chmod 640 old
run $score --logits old
expect_code 0
expect "the same bytes" cmp good old
expect "its permissions" test "$(stat -c %a old)" = 640
expect "the folder beside it" grep -q mine old.partial/file
expect "no temporary file" test -z "$(find . -name '.llmq*')"

test_case "a link to a file stays, and the file it leads to is replaced"
: >target
ln -s target link
run $score --logits link
expect_code 0
expect "still a link" test -L link
expect "the same bytes" cmp good target

test_case "pipes and devices are written to, also through links"
mkfifo pipe
cat pipe >from-pipe &
run $score --logits pipe
expect_code 0
wait
expect "still a pipe" test -p pipe
expect "the same bytes" cmp good from-pipe
ln -s /dev/null null
run $score --logits null
expect_code 0
expect "still a link to a device" test -L null -a -c /dev/null
"$llmq" score --model model --ids 1,2,3 -q --logits /dev/stderr 2>&1 >/dev/null | cat >from-pipe
expect "the same bytes" cmp good from-pipe
if [ -w /dev/full ]; then
    run $score --logits /dev/full
    expect_code 4
fi

test_case "what is no file is refused before anything is computed"
mkdir folder
ln -s nowhere dangling
refused 4 "is a folder" folder
refused 4 "is a folder" folder/
refused 4 "is a folder" .
refused 4 "dangling is a link that leads nowhere" dangling
refused 4 "its folder does not exist" absent/deep/file
refused 4 "is the name of a folder" new/
refused 4 "Not a directory" good/file
refused 4 "cannot write there" /proc/file
refused 4 "" "folder/$(printf '%0300d' 0)"
refused 2 "empty" ''

test_case "nor is what is read, or the folder it lies in, under any name"
ln "model/$shard" hard
ln -s model/config.json soft
ln -s model same
for file in "model/$shard" "./model/../model/$shard" hard; do
    refused 2 "the model" "$file"
done
refused 2 "lies in the model's folder" soft
refused 2 "lies in the model's folder" same/new.safetensors
refused 2 "lies in the folder of llmq's own texts" "$demo/new"

test_case "the file that the shell has opened for what is printed is refused"
code=0
"$llmq" $score --logits both >both 2>stderr || code=$?
expect_code 2
expect_stderr "already goes into this file"

test_case "what a killed run left beside the file goes, what another run writes or somebody made stays"
: >.llmq-999999-0
: >.llmq-999999-1
: >.llmq-notes
mkdir .llmq-999999-2
if command -v flock >/dev/null; then
    exec 9>.llmq-999999-1
    flock 9
    run $score --logits good
    expect_code 0
    expect "the other's is there" [ -e .llmq-999999-1 ]
    exec 9>&-
fi
run $score --logits good
expect_code 0
expect "only what is no such file" [ "$(echo .llmq-*)" = ".llmq-999999-2 .llmq-notes" ]

finish
