#!/bin/sh
# Exit codes of what is neither wrong usage nor a wrong model: 4 reading or writing, 5 memory.
. "$(dirname "$0")/lib.sh"

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

finish
