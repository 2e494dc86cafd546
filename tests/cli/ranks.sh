#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One model over several processes: the same bytes for every number of them, and of threads in each;
# killed and resumed with another number; what one process does wrong ends all of them.
. "$(dirname "$0")/lib.sh"

skip() {
    echo "SKIP: $1"
    echo '100%: Checks: 0, Failures: 0, Errors: 0'
    exit 0
}
tiny=$shared/golden/llama-base
[ -d "$tiny" ] || skip "there is no $tiny"
command -v mpirun >/dev/null || skip 'there is no mpirun'

OPENBLAS_CORETYPE=Nehalem # the program would start itself anew to find out
OMPI_ALLOW_RUN_AS_ROOT=1
OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
OMPI_MCA_rmaps_base_oversubscribe=1
OMPI_MCA_plm_rsh_agent=sh # nothing is started elsewhere; it asks for ssh all the same
OMPI_MCA_hwloc_base_binding_policy=none # to the processor that another suite is on
OMPI_MCA_btl_vader_single_copy_mechanism=none # containers forbid it, with a warning
export OPENBLAS_CORETYPE OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
export OMPI_MCA_rmaps_base_oversubscribe OMPI_MCA_hwloc_base_binding_policy OMPI_MCA_plm_rsh_agent
export OMPI_MCA_btl_vader_single_copy_mechanism

mpirun -n 1 true 2>/dev/null || skip 'mpirun does not start a process'

# ranks N ARGUMENTS...: as run, with N processes.
ranks() {
    n=$1
    shift
    code=0
    mpirun -n "$n" "$llmq" "$@" </dev/null >"$work/stdout" 2>"$work/stderr" || code=$?
    ran="mpirun -n $n llmq $*"
}

sum() {
    cat "$1"/*.safetensors | sha256sum
}

same_sum() {
    [ "$(sum "$1")" = "$(sum "$2")" ]
}

same_record() {
    lasting "$1/llmq.json" >record.a
    lasting "$2/llmq.json" >record.b
    cmp record.a record.b
}

expect_same() {
    expect_code 0
    expect "the bytes of $2 are those of $1" same_sum "$1" "$2"
    expect "what $2 says of its modules is what $1 does" same_record "$1" "$2"
}

# stop FROM SIGNAL PATTERN N ARGUMENTS...: run with N processes and send the signal to one of them,
# the first or the last, when the pattern has come on stderr.
stop() {
    which=$1
    signal=$2
    pattern=$3
    n=$4
    shift 4
    code=0
    ran="mpirun -n $n llmq $*"
    : >"$work/stderr" # the pattern may be in what the run before wrote
    mpirun -n "$n" "$llmq" "$@" </dev/null >"$work/stdout" 2>"$work/stderr" &
    started=$!
    until grep -q "$pattern" "$work/stderr" || ! kill -0 $started 2>/dev/null; do
        sleep 0.02
    done
    # shellcheck disable=SC2046 # numbers
    kill -"$signal" $(ps -o pid= --ppid $started | sort -n | "$which" -n 1)
    wait $started || code=$?
}

# Three batches of at most 4096 tokens, of windows of different lengths.
awk 'BEGIN {
    state = 5
    printf "["
    for (w = 0; w < 130; w++) {
        printf "%s[", w ? "," : ""
        for (t = 0; t < 60 + w % 5; t++) {
            state = (state * 1103515245 + 12345) % 2147483648
            printf "%s%d", t ? "," : "", 3 + int(state / 65536) % 90
        }
        printf "]"
    }
    printf "]\n"
}' >ids.json
windows="--calib ids.json --samples 130 --group 32"

test_case 'the same bytes for 1, 2 and 4 processes, with 1 and 2 threads'
# shellcheck disable=SC2086 # two options
run gptq "$tiny" $windows --out one --threads 2
expect_code 0
for many in '2 1' '2 2' '4 1'; do
    rm -rf many
    # shellcheck disable=SC2086
    ranks "${many% *}" gptq "$tiny" $windows --out many --threads "${many#* }"
    expect_same one many
done

# By docs/RANKS.md, of rank 0 of 2, with one batch each, a tile being 64 x 64 numbers of 4 bytes. To
# the keeper of the other tiles go those of H, D of q, k, v; H, D, R of o; H, D of gate and up; of
# down 2 of H's 3 tiles and one of 2 of W D and of R: 11 tiles, in 10 messages; and of its own, one
# of each of these three at the end. Held back are 249 rows of its batch and
# 250 of the other's, in slices of as many, of 10 values that are 768 numbers each. Of 7 linears
# codes, scales and zeros of half the rows, 3 errors and 40 bytes for 16 rows of a target: 28,152
# bytes in 8 messages each; and, since tokens are many, targets of half of 36,864 weights, 4 bytes of
# each, in one more. Twice, for two blocks; and 196 bytes in 11 messages to agree on the run.
test_case 'what is sent is what is planned'
rm -rf many
# shellcheck disable=SC2086
ranks 2 gptq "$tiny" $windows --out many --threads 1 -v
expect_same one many
messages=$((2 * (10 + 3 + 10 + 7 * 9) + 11))
bytes=$((2 * (11 * 16384 + 3 * 16384 + 249 * 768 * 4 + 28152 + 2 * 36864) + 196))
expect_stderr "2 ranks: $messages messages of $bytes bytes sent by rank 0"

test_case 'only the first process speaks'
expect "one of them tells the result" [ "$(grep -c wrote "$work/stdout")" -eq 1 ]

# expect_planned N COMMAND...: by the plan N ranks send what rank 0 of them told that it sent.
expect_planned() {
    n=$1
    shift
    told=$(grep -o "$n ranks: .* sent by rank 0" stderr)
    run "$@" --dry-run --ranks "1,$n" --json -q
    expect_code 0
    planned="$("$json_get" ranks.1.messages <stdout) messages of"
    planned="$planned $("$json_get" ranks.1.bytes <stdout) bytes"
    expect "the plan's $planned are those of: $told" \
        test "$n ranks: $planned sent by rank 0" = "$told"
    expect_json ranks.0.messages 0
}

test_case 'a plan for several ranks counts what they send'
# shellcheck disable=SC2086
expect_planned 2 gptq "$tiny" $windows

# The demo has five blocks: time to be stopped in the middle.
if command -v ps >/dev/null; then
    test_case 'an interrupted run is resumed with another number of processes'
    fast="--calib ids.json --samples 130 --quality fast"
    rm -rf many one
    # shellcheck disable=SC2086
    run gptq "$demo" $fast --out one
    # shellcheck disable=SC2086
    stop head TERM 'block 2/5' 2 gptq "$demo" $fast --out many
    expect_code 130
    expect_stderr '--resume'
    expect 'blocks are recorded' grep -q '"block"' many.partial/llmq-journal.jsonl
    test_case 'a process that is killed ends all of them'
    # shellcheck disable=SC2086
    stop tail KILL 'block 3/5' 3 gptq "$demo" $fast --out many --resume
    expect 'it is no success' [ "$code" -ne 0 ]
    expect_stderr 'illed'
    expect 'there is no result' [ ! -e many ]
    # shellcheck disable=SC2086
    run gptq "$demo" $fast --out many --resume
    expect_same one many
fi

for method in 'gptq --descent 3 --rounds 2 --asym' 'gptq --quality best --asym' \
    'gptq --curvature on --curvature-tokens 64' 'gptq --token-weights 0.5' 'awq' 'rtn'; do
    test_case "the same bytes by $method"
    calib=$windows
    [ "$method" != rtn ] || calib="--group 32"
    rm -rf one many
    # shellcheck disable=SC2086
    run $method "$tiny" $calib --out one
    expect_code 0
    # shellcheck disable=SC2086
    ranks 3 $method "$tiny" $calib --out many -v
    expect_same one many
    # shellcheck disable=SC2086
    expect_planned 3 $method "$tiny" $calib
done

if command -v ps >/dev/null; then
    test_case 'gradients of a run with two processes are found by one with three'
    rm -rf one many
    best='--quality best --asym --threads 1'
    # shellcheck disable=SC2086
    run gptq "$tiny" $windows $best --out one
    # shellcheck disable=SC2086
    stop head TERM '^block 1/2' 2 gptq "$tiny" $windows $best --out many
    expect_code 130
    expect 'they are kept' test -d many.partial/curvature
    # shellcheck disable=SC2086
    ranks 3 gptq "$tiny" $windows $best --out many --resume
    expect_same one many
    expect 'and removed in the end' test ! -e many/curvature
fi

# Eight experts of a block: four whose damping is chosen, and four that are divided.
test_case 'experts are divided'
experts="$shared/golden/glm4-moe-lite --calib ids.json --samples 130 --group auto-fit:32"
experts="$experts --format compressed-tensors"
rm -rf one.experts many
# shellcheck disable=SC2086
run gptq $experts --out one.experts
expect_code 0
# shellcheck disable=SC2086
ranks 3 gptq $experts --out many --threads 1
expect_same one.experts many
rm -rf one many
# shellcheck disable=SC2086
run gptq $experts --quality best --out one
# shellcheck disable=SC2086
ranks 3 gptq $experts --quality best --out many --threads 1
expect_same one many
if command -v ps >/dev/null; then
    rm -rf many
    # shellcheck disable=SC2086
    stop head TERM 'block 2/2' 2 gptq $experts --out many --threads 1
    expect_code 130
    # shellcheck disable=SC2086
    ranks 4 gptq $experts --out many --threads 1 --resume
    expect_same one.experts many
fi
rm -rf many
# shellcheck disable=SC2086
ranks 2 gptq $experts --damp 0.02 --out many --threads 1
# shellcheck disable=SC2086
run gptq $experts --damp 0.02 --out one.damped
expect_same one.damped many
# shellcheck disable=SC2086
ranks 2 awq $experts --out refused
expect_code 3
expect_stderr "AWQ's scaling of a mixture of experts: not over several ranks yet"

rm -rf many
# shellcheck disable=SC2086
run rtn "$tiny" --group 32 --out many

# measured: what is printed, without what differs from run to run; nothing else may.
measured() {
    sed -E -e 's/"(seconds|peak_rss_bytes)": *[^,}]*,?//g' stdout >"$1"
}

# The last bits of products depend on how many rows they have: batches, and tiles of the head.
test_case 'an evaluation and a comparison print the same for every number of processes'
run eval "$tiny" --text ids.json --json -q
expect_code 0
measured evaluated
run compare many --reference "$tiny" --text ids.json --save-reference one.ref --json -q
expect_code 0
measured compared
for n in 2 4; do
    ranks $n eval "$tiny" --text ids.json --json -q --threads 1
    expect_code 0
    measured evaluated.$n
    expect "one prints what $n do" cmp evaluated evaluated.$n
done
ranks 3 compare many --reference "$tiny" --text ids.json --save-reference many.ref --json -q
expect_code 0
measured compared.3
expect 'one prints what 3 do' cmp compared compared.3
expect 'the reference is kept with the same bytes' cmp one.ref many.ref
run compare many --reference one.ref --json -q
measured kept
ranks 2 compare many --reference one.ref --max-mem 1M
least=$(sed -n "s/^hint: give at least --max-mem //p" stderr)
ranks 2 compare many --reference one.ref --json -q --max-mem "${least:?}"
expect_code 0
measured kept.2
expect 'one prints what 2 do with activations in files' cmp kept kept.2
ranks 2 eval "$tiny" --text ids.json --max-ppl 1
expect_code 1
expect_stderr 'above the limit'
expect 'by one process' [ "$(grep -c 'above the limit' "$work/stderr")" -eq 1 ]

test_case 'experts are divided there, too'
mixture="$shared/golden/glm4-moe-lite"
run compare one.experts --reference "$mixture" --text ids.json --json -q
expect_code 0
measured compared
for n in 2 3; do
    ranks $n compare one.experts --reference "$mixture" --text ids.json --json -q --threads 1
    expect_code 0
    measured compared.$n
    expect "one prints what $n do" cmp compared compared.$n
done
run eval "$mixture" --text ids.json --json -q
measured evaluated
ranks 3 eval "$mixture" --text ids.json --max-mem 1M
least=$(sed -n "s/^hint: give at least --max-mem //p" stderr)
ranks 3 eval "$mixture" --text ids.json --json -q --max-mem "${least:?}"
expect_code 0
measured evaluated.3
expect 'one prints what 3 do with activations in files' cmp evaluated evaluated.3

test_case 'what is wrong is told once'
ranks 3 rtn "$tiny" --group 32 --out many
expect_code 2
expect_stderr 'many exists'
expect 'by one process' [ "$(grep -c 'many exists' "$work/stderr")" -eq 1 ]
ranks 3 rtn "$tiny" --out other --no-such-option
expect_code 2
expect 'by one process' [ "$(grep -c 'no option' "$work/stderr")" -eq 1 ]

test_case 'what cannot be divided is refused before anything is written'
# shellcheck disable=SC2086
ranks 2 gptq "$tiny" $windows --quality max --out refused
expect_code 3
expect_stderr 'not over several ranks yet'
expect 'nothing is written' test ! -e refused -a ! -e refused.partial
ranks 2 verify "$tiny"
expect_code 2
expect_stderr 'run it without mpirun'

finish
