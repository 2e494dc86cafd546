#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Exit codes of what is neither wrong usage nor a wrong model: 4 reading or writing, 5 memory, 130 a
# signal; and what is left behind then.
. "$(dirname "$0")/lib.sh"
pin_kernels

test_case "more ids than the model's context: refused as eval refuses such windows"
context=$("$json_get" max_position_embeddings <"$demo/config.json")
many=1$(printf ',1%.0s' $(seq "$context"))
run score --model "$demo" --ids "$many" -q
expect_code 2
expect_no_stdout
said="windows of $((context + 1)) tokens; the model was trained for $context"
expect_stderr "llmq: --ids: $said"
printf '[[%s]]' "$many" >windows.json
run eval --model "$demo" --text windows.json -q
expect_code 2
expect_stderr "$said"
run score --model "$demo" --ids "${many%,1}" -q
expect_code 0

test_case "no descriptor left: reading failed, the model is not called absent"
for most in 4 5 6; do
    code=0
    sh -c "ulimit -n $most; exec \"\$0\" rtn --model \"\$1\" --out few-\$2 -q" "$llmq" "$demo" "$most" \
        >stdout 2>stderr </dev/null || code=$?
    ran="ulimit -n $most; llmq rtn"
    expect_code 4
    expect_no_stdout
    expect_stderr "Too many open files"
    expect "no result" test ! -e "few-$most"
done

if [ "$(id -u)" -ne 0 ]; then
    test_case "a file that may not be read: exit code 4"
    cp -r "$demo" locked
    chmod 0 locked/config.json
    run inspect locked
    expect_code 4
    expect_stderr "Permission denied"
    chmod 644 locked/config.json

    test_case "a folder that may not be written: exit code 4"
    mkdir fixed
    chmod 555 fixed
    run rtn --model "$demo" --out fixed/result -q
    expect_code 4
    run score --model "$demo" --ids 1,2,3 --logits fixed/logits -q
    expect_code 4
    chmod 755 fixed
fi

test_case "a result that cannot be written: exit code 4, wherever it goes"
run score --model "$demo" --ids 1,2,3 --logits no/such/folder/logits -q
expect_code 4
if [ -w /dev/full ]; then
    for command in "tokenize --model $demo --text $demo/config.json" "score --model $demo --ids 1,2 -q" \
        "rtn --model $demo --dry-run -q" "verify $demo" "inspect $demo --json"; do
        # shellcheck disable=SC2086 # a list of words
        "$llmq" $command </dev/null >/dev/full 2>stderr
        code=$?
        ran="llmq $command >/dev/full"
        : >stdout
        expect_code 4
        expect_stderr "standard output"
    done
fi

# The shell is asked first: some count in blocks of other sizes.
small() {
    code=0
    (ulimit -f 100 && exec "$llmq" "$@" -q) </dev/null >stdout 2>stderr || code=$?
    ran="ulimit -f 100; llmq $*"
}

test_case "a file larger than the limit: exit code 4, and nothing is left"
run rtn --model "$demo" --out packed -q
expect_code 0
: >before
: >after
ls -A >before
for command in "rtn --model $demo --out limited" "rtn --model $demo --out limited --format gguf" \
    "convert --model packed --format f16 --out limited" \
    "score --model $demo --ids 1$(printf ',1%.0s' $(seq 100)) --logits limited"; do
    # shellcheck disable=SC2086 # a list of words
    small $command
    expect_code 4
    expect_no_stdout
    expect_stderr "File too large"
    ls -A >after
    expect "no new files" cmp -s before after
done

windows 4 64 >few.json

# hung_up HOW: a run whose session ends in its second block, started as HOW says.
hung_up() {
    rm -rf hung hung.partial pipe log
    mkfifo pipe
    "$@" "$llmq" gptq --model "$demo" --calib few.json --samples 4 --quality fast \
        --out hung >stdout 2>pipe &
    pid=$!
    while read -r line; do
        printf '%s\n' "$line" >>log
        case $line in
        'block 2/'*) kill -HUP "$pid" ;;
        esac
    done <pipe
    code=0
    wait "$pid" || code=$?
    ran="$* llmq gptq ... & kill -HUP"
    cp log stderr
}

test_case "the end of the session ends the run as Ctrl-C does; nohup keeps it running"
hung_up env --default-signal=HUP # whoever runs the suite may ignore it
expect_code 130
expect_stderr "hint: continue with: "
expect "no result" test ! -e hung
run gptq --model "$demo" --calib few.json --samples 4 --quality fast \
    --out hung --resume -q
expect_code 0
hung_up nohup
expect_code 0
expect "a result" test -e hung/config.json

finish
