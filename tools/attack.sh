#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Faults on purpose, in every place where one can happen, and what must hold afterwards. The library
# tests/attack/faults.c comes between llmq and the system; the machine stays as it is.
#
#     tools/attack.sh BUILD [TOPIC]...     BUILD: a build folder without sanitizers
#     POINTS=5 tools/attack.sh BUILD       a sample: at most 5 points of each kind of each command
#     STRIDE=40 tools/attack.sh BUILD      another: every 40th point
#     LAST=900 tools/attack.sh BUILD       only the last 900 points of each kind: what finishes a run
#     ONLY='gptq convert' tools/attack.sh BUILD kills
#
#     kills     SIGKILL at every call that changes a file or folder, with --force and without: a run
#               without options says what to do, --resume ends in the same bytes, nothing is left
#     files     the same for commands that write one file: it is whole, the one before, or none, and
#               the next run of the command ends in the same bytes, and nothing else is there
#     steps     the same with --force on a system that cannot exchange two folders
#     chains    KILLS (200) random kills of runs that are resumed until they end
#     failures  the n-th allocation, mapping, read, write, sync, rename, open, close or look at a
#               file fails: the right exit code, a message, no half result, nothing leaked, no hang
#     disk      a disk that is full from the n-th write on, and --resume when it has room again
#     signals   every second call is interrupted, reads and writes move a few bytes: the same bytes
#
# All of it takes hours; the suites run a sample. Exits with 1 when anything was found.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "${1:?tools/attack.sh BUILD [TOPIC]...}")
shift
llmq=$build/src/cli/llmq
faults=$build/tests/attack/libfaults.so
model=$root/tests/golden/llama-base
stride=${STRIDE:-1}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
checks=0
failures=0
turn=0
OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE:-$("$llmq" score --model "$model" --ids 1,2 -v 2>&1 |
    sed -n 's/.*starting again with OPENBLAS_CORETYPE=//p')}
[ -z "$OPENBLAS_CORETYPE" ] || export OPENBLAS_CORETYPE
export OMP_WAIT_POLICY=passive # makes llmq start once only

# --- the commands --------------------------------------------------------------------------------

# windows COUNT TOKENS: for --calib and --text.
windows() {
    awk -v count="$1" -v tokens="$2" 'BEGIN {
        srand(7)
        for (w = 0; w < count; w++) {
            printf "%s[", w ? ",\n " : "["
            for (i = 0; i < tokens; i++)
                printf "%s%d", i ? "," : "", int(rand() * 120) + 2
            printf "]"
        }
        print "]"
    }'
}

windows 6 24 >ids.json
windows 32 32 >some.json  # the least that tuning scales learns something from
windows 200 60 >many.json # of several batches: fewer take no less memory in a file
"$llmq" rtn --model "$model" --group 32 --out packed -q >/dev/null || exit 1
"$llmq" rtn --model "$model" --group 32 --bits 8 --out old -q >/dev/null || exit 1
"$llmq" compare --model packed --reference "$model" --text ids.json --save-reference kept \
    -q >/dev/null || exit 1

# planned ARGUMENTS...: bytes of memory when no activations are in a file.
planned() {
    "$llmq" "$@" --threads 1 --dry-run --json 2>/dev/null |
        sed -n 's/.*"plan_ram_bytes": *\([0-9]*\).*/\1/p'
}

many="--model $model --group 32 --calib many.json --samples 200"
spilled="gptq $many --quality fast"
tuned="gptq $many --bits 2 --asym --quality max --restarts 1 --tune-rate 0.02 --tune-windows 8"
# shellcheck disable=SC2086 # lists of words
plan=$(planned $spilled) tuned_plan=$(planned $tuned)

writers='gptq awq rtn-sharded rtn-gguf rtn-onnx spilled convert dequantize max max-spilled tuned'
makers='score keep report sensitivity'
readers="eval $makers tokenize inspect verify compare kept generate"

# The arguments of a command by its name here; those of writers want --out, those of makers write the
# file "made".
arguments() {
    case $1 in
    gptq) echo "gptq --model $model --group 32 --calib ids.json --threads 1" ;;
    awq) echo "awq --model $model --group 32 --calib ids.json --threads 1" ;;
    rtn-sharded) echo "rtn --model $model --group 32 --shard-size 40K --threads 1" ;;
    rtn-gguf) echo "rtn --model $model --group 32 --format gguf --threads 1" ;;
    rtn-onnx) echo "rtn --model $model --group 32 --format onnx --threads 1" ;;
    spilled) echo "$spilled --threads 1 --max-mem $((plan - 1))" ;;
    max)
        echo "gptq --model $model --bits 2 --asym --group 32 --calib some.json --samples 8" \
            "--quality max --restarts 1 --tune-rate 0.02 --threads 1"
        ;;
    max-spilled) echo "$tuned --threads 1 --max-mem $((tuned_plan - 1))" ;;
    tuned)
        echo "rtn --model $model --bits 2 --group 32 --calib some.json --samples 4" \
            "--tune scales --tune-rate 0.02 --threads 1"
        ;;
    convert) echo "convert --model packed --format compressed-tensors --threads 1" ;;
    dequantize) echo "convert --model packed --format bf16 --threads 1" ;;
    eval) echo "eval --model packed --text ids.json --threads 1 --json" ;;
    score) echo "score --model packed --ids 5,6,7,8 --logits made --threads 1 --json" ;;
    keep)
        echo "compare --model packed --reference $model --text ids.json --save-reference made" \
            "--threads 1 --json"
        ;;
    report) echo "report packed --reference kept --out made --threads 1 --quiet" ;;
    sensitivity)
        echo "sensitivity --model $model --calib ids.json --candidates 2:32,4:32" \
            "--target-bits 4 --out made --threads 1 --json"
        ;;
    tokenize) echo "tokenize --model $root/models/demo --text ids.json --json" ;;
    inspect) echo "inspect packed --json" ;;
    verify) echo "verify packed --against $model --json" ;;
    compare) echo "compare --model packed --reference $model --text ids.json --threads 1 --json" ;;
    kept) echo "compare --model packed --model old --reference kept --threads 1 --json" ;;
    generate)
        echo "generate --model $root/models/demo --prompt Once --max-tokens 3 --threads 1 --json"
        ;;
    esac
}

chosen() {
    for name in ${ONLY:-$1}; do
        case " $1 " in *" $name "*) echo "$name" ;; esac
    done
}

# --- running and judging -------------------------------------------------------------------------

# try FAULT ARGUMENTS...: run llmq with a fault, "" for none.
try() {
    fault=$1
    shift
    ran="${fault:+LLMQ_FAULT=$fault }llmq $*"
    code=0
    rm -f report
    timeout -s ABRT 120 env LLMQ_FAULT="$fault" LLMQ_FAULT_REPORT=report LD_PRELOAD="$faults" \
        "$llmq" "$@" >stdout 2>stderr </dev/null || code=$?
}

# A subshell that was killed is told of by the shell: keep its words out of ours.
killed() {
    { try "$@"; } 2>/dev/null
}

# expect WHAT COMMAND...
expect() {
    what=$1
    shift
    checks=$((checks + 1))
    "$@" && return
    failures=$((failures + 1))
    printf 'FAILED: %s: %s\n  code %s; there: %s\n' "$ran" "$what" "$code" "$(echo out* *made*)"
    sed 's/^/  /' stderr | head -n 3
}

said() {
    grep -qF -e "$1" stderr
}

from_report() {
    sed -n "s/^$1 //p" report
}

# Everything in a folder, but for the lock: empty text for a folder that is not there.
contents() {
    [ -d "$1" ] && (
        cd "$1" && find . -type f ! -name llmq.lock ! -name llmq.json | sort | xargs sha256sum
        # All of it that is the same for the same run.
        [ ! -f llmq.json ] ||
            sed -e '/^  "run": {/,/^  }/d' -e '/^  "sha256": /d' llmq.json | sha256sum
    )
}

same() {
    [ "$(contents "$1")" = "$(contents "$2")" ]
}

alone() {
    [ "$(echo out*)" = out ] && [ ! -e out/llmq.lock ] && [ ! -e out/llmq-journal.jsonl ]
}

# The points from 1 to $1 that are tried: all, or one of every so many, other ones each time.
points() {
    turn=$((turn + 1))
    before=$(($1 > ${LAST:-$1} ? $1 - LAST : 0))
    every=$stride
    [ -z "${POINTS:-}" ] || every=$((($1 - before + POINTS - 1) / POINTS))
    [ "$every" -gt 0 ] || every=1
    seq $((before + 1 + turn * 7 % every)) "$every" "$1"
}

make_want() {
    rm -rf want
    # shellcheck disable=SC2046 # a list of words
    "$llmq" $(arguments "$1") --out want -q >stdout 2>stderr || {
        cat stderr
        exit 1
    }
}

want_made() {
    rm -f made
    # shellcheck disable=SC2046
    "$llmq" $(arguments "$1") >stdout 2>stderr && mv made wanted && return
    cat stderr
    exit 1
}

# What a maker has been told to write is whole, or what was there before.
whole() {
    if [ -e made ]; then cmp -s made wanted || [ "$(cat made)" = before ]; fi
}

# Nothing is beside it.
alone_made() {
    [ "$(find . -maxdepth 1 -name '*made*' -o -maxdepth 1 -name '.llmq-*')" = ./made ]
}

begin() {
    rm -rf out out.* made* .llmq-*
    [ -z "$force" ] || cp -r old out
}

# --- kills ---------------------------------------------------------------------------------------

# After a kill: what each command does now. $words: the command's arguments.
judge_kill() {
    there=$(echo out*)
    if [ -n "$force" ] && [ -z "${LLMQ_FAULT_STEPS:-}" ]; then
        expect "a result at every moment" eval 'same out old || same out want'
    fi
    # shellcheck disable=SC2086
    try '' $words --out out -q
    if [ "$there" = 'out*' ]; then
        expect "nothing was begun: it runs" [ "$code" -eq 0 ]
    else
        expect "refused" [ "$code" -eq 2 ]
        expect "told what to do" eval 'said --resume || { said --force && [ "$there" = out ] &&
            { [ -n "$force" ] || same out want; }; }'
        if [ -n "$force" ] && [ $((n % 2)) -eq 0 ]; then
            # shellcheck disable=SC2086
            try '' $words --out out -q --resume
            expect "resumed, or told what is missing" \
                eval '[ "$code" -eq 0 ] || { [ "$code" -eq 2 ] && said --force && same out old; }'
        fi
    fi
    # shellcheck disable=SC2086
    try '' $words --out out -q --resume $force
    expect "resumed" [ "$code" -eq 0 ]
    expect "the same bytes" same out want
    expect "nothing is left" alone
}

kill_each() {
    # shellcheck disable=SC2046
    words=$(arguments "$1")
    force=$2
    make_want "$1"
    begin
    # shellcheck disable=SC2086
    try kill:0 $words --out out -q $force
    last=$(from_report changes)
    bad=$failures
    tried=0
    for n in $(points "$last"); do
        begin
        # shellcheck disable=SC2086
        killed "kill:$n" $words --out out -q $force
        expect "killed" [ "$code" -eq 137 ]
        judge_kill
        tried=$((tried + 1))
    done
    printf '%-12s %-8s %4d of %4d points, %d failed checks\n' "$1" "$force" "$tried" "$last" \
        $((failures - bad))
}

kills() {
    for name in $(chosen "$writers"); do
        kill_each "$name" ''
        kill_each "$name" --force
    done
}

steps() {
    LLMQ_FAULT_STEPS=1
    export LLMQ_FAULT_STEPS
    for name in $(chosen 'rtn-sharded convert'); do
        kill_each "$name" --force
    done
    unset LLMQ_FAULT_STEPS
}

# --- files ---------------------------------------------------------------------------------------

# kill_file NAME BEFORE: BEFORE is what the file holds, nothing for no file.
kill_file() {
    # shellcheck disable=SC2046
    words=$(arguments "$1")
    begin
    # shellcheck disable=SC2086
    try kill:0 $words
    last=$(from_report changes)
    bad=$failures
    tried=0
    for n in $(points "$last"); do
        begin
        [ -z "$2" ] || echo "$2" >made
        # shellcheck disable=SC2086
        killed "kill:$n" $words
        expect "killed" [ "$code" -eq 137 ]
        expect "no half file" whole
        # shellcheck disable=SC2086
        try '' $words
        expect "done" [ "$code" -eq 0 ]
        expect "the same bytes" cmp -s made wanted
        expect "nothing is left" alone_made
        tried=$((tried + 1))
    done
    printf '%-12s %-8s %4d of %4d points, %d failed checks\n' "$1" "$2" "$tried" "$last" \
        $((failures - bad))
}

files() {
    force=''
    for name in $(chosen "$makers"); do
        want_made "$name"
        kill_file "$name" ''
        kill_file "$name" before
    done
}

# --- chains --------------------------------------------------------------------------------------

chains() {
    force=''
    done_kills=0
    chain=0
    bad=$failures
    while [ "$done_kills" -lt "${KILLS:-200}" ]; do
        for name in $(chosen 'gptq rtn-sharded awq spilled convert max tuned'); do
            chain=$((chain + 1))
            words=$(arguments "$name")
            make_want "$name"
            begin
            [ $((chain % 2)) -eq 0 ] || force=--force
            [ -z "$force" ] || cp -r old out 2>/dev/null
            code=137
            tried=0
            while [ "$code" -eq 137 ] || [ "$code" -eq 124 ]; do # 124: just ended by itself
                # Longer each time: on a busy machine a block may take more than any fixed time.
                delay=$(awk -v s="$chain$done_kills" -v tried="$tried" 'BEGIN {
                    srand(s); printf "%.3f", 0.005 + rand() * 0.25 * (1 + tried / 8) }')
                tried=$((tried + 1))
                ran="llmq $words $force, killed after $delay s"
                code=0
                # shellcheck disable=SC2086
                timeout --foreground -s KILL "$delay" "$llmq" $words --out out -q --resume $force \
                    >stdout 2>stderr </dev/null || code=$?
                [ "$code" -ne 137 ] || done_kills=$((done_kills + 1))
            done
            expect "ended" [ "$code" -eq 0 ]
            expect "the same bytes" same out want
            expect "nothing is left" alone
            force=''
        done
    done
    printf 'chains       %d kills in %d chains, %d failed checks\n' "$done_kills" "$chain" \
        $((failures - bad))
}

# --- failures ------------------------------------------------------------------------------------

# The class of calls, what they fail with, and the exit codes that are right then: 0 when the run
# can do without.
classes='malloc:12:0:5 mmap:12:0:5 read:5:0:4 write:28:0:4 reserve:28:0:4 fsync:5:0:4 rename:5:0:4
    open:24:0:4 close:5:0:4 stat:5:0:4 mkdir:28:0:4 unlink:5:0:4 flock:37:0:4'

# What must hold after a run with a fault. $words; $writes: a result is expected; $makes: a file.
judge_failure() {
    case " $codes " in
    *" $code "*) right=yes ;;
    *) right= ;;
    esac
    expect "exit code $codes" [ -n "$right" ]
    expect "nothing leaked" [ "$(from_report live)" = "$live" ]
    expect "no file left open" [ "$(from_report descriptors)" = "$descriptors" ]
    if [ "$code" -ne 0 ]; then
        expect "a message" said 'llmq: '
        [ -z "$writes" ] || [ ! -e out ] ||
            expect "no half result" eval 'same out want && said "is complete, but"'
    elif [ -n "$writes" ]; then
        expect "the same bytes" same out want
    fi
    if [ -n "$makes" ]; then
        expect "no half file" whole
        [ "$code" -ne 0 ] || expect "the same bytes" cmp -s made wanted
    fi
    [ -n "$writes" ] || return
    # shellcheck disable=SC2086
    try '' $words --out out -q --resume
    expect "resumed" [ "$code" -eq 0 ]
    expect "the same bytes, resumed" same out want
    expect "nothing is left" alone
}

fail_each() {
    words=$(arguments "$1")
    force=''
    writes=$2
    out=${writes:+--out out -q}
    makes=
    case " $makers " in *" $1 "*) makes=yes ;; esac
    [ -z "$writes" ] || make_want "$1"
    [ -z "$makes" ] || want_made "$1"
    begin
    # shellcheck disable=SC2086
    try '' $words $out
    cp report clean
    live=$(from_report live)
    descriptors=$(from_report descriptors)
    for class in $classes; do
        name=${class%%:*}
        number=${class#*:}
        codes=$(echo "${number#*:}" | tr : ' ')
        number=${number%%:*}
        last=$(sed -n "s/^$name //p" clean)
        bad=$failures
        tried=0
        for n in $(points "$last"); do
            begin
            # shellcheck disable=SC2086
            try "fail:$name:$n:$number" $words $out
            judge_failure
            tried=$((tried + 1))
        done
        [ "$tried" -eq 0 ] || printf '%-12s %-8s %4d of %4d calls, %d failed checks\n' "$1" \
            "$name" "$tried" "$last" $((failures - bad))
    done
}

failures() {
    for command in $(chosen "$writers"); do
        fail_each "$command" yes
    done
    for command in $(chosen "$readers"); do
        fail_each "$command" ''
    done
}

# --- a full disk ---------------------------------------------------------------------------------

disk() {
    force=''
    for name in $(chosen "$writers"); do
        words=$(arguments "$name")
        make_want "$name"
        for class in write reserve; do
            begin
            # shellcheck disable=SC2086
            try '' $words --out out -q
            last=$(from_report $class)
            bad=$failures
            tried=0
            for n in $(points "$last"); do
                begin
                # shellcheck disable=SC2086
                try "from:$class:$n:28" $words --out out -q
                expect "exit code 4" [ "$code" -eq 4 ]
                expect "told" eval 'said "No space left on device" && said "make room there"'
                expect "no half result" [ ! -e out ]
                # shellcheck disable=SC2086
                try '' $words --out out -q --resume
                expect "resumed" [ "$code" -eq 0 ]
                expect "the same bytes" same out want
                expect "nothing is left" alone
                tried=$((tried + 1))
            done
            printf '%-12s %-8s %4d of %4d calls, %d failed checks\n' "$name" "$class" "$tried" \
                "$last" $((failures - bad))
        done
    done
}

# --- signals -------------------------------------------------------------------------------------

signals() {
    force=''
    for name in $(chosen "$writers $readers"); do
        words=$(arguments "$name")
        case " $writers " in *" $name "*) writes=yes ;; *) writes= ;; esac
        bad=$failures
        # shellcheck disable=SC2086
        if [ -n "$writes" ]; then
            make_want "$name"
        else
            "$llmq" $words >clean 2>/dev/null
        fi
        for fault in eintr:2 eintr:3 short:1000; do
            begin
            # shellcheck disable=SC2086
            try $fault $words ${writes:+--out out -q}
            expect "done" [ "$code" -eq 0 ]
            if [ -n "$writes" ]; then
                expect "the same bytes" same out want
            else
                expect "the same answer" eval 'grep -v "seconds\|peak_rss" stdout >answer
                    grep -v "seconds\|peak_rss" clean | cmp -s - answer'
            fi
        done
        printf '%-12s interrupted, %d failed checks\n' "$name" $((failures - bad))
    done
}

[ $# -gt 0 ] || set -- kills steps files chains failures disk signals
for topic; do
    echo "--- $topic"
    $topic
done
[ "$checks" -gt 0 ] || exit 1
printf '%d%%: Checks: %d, Failures: %d, Errors: 0\n' $((100 * (checks - failures) / checks)) \
    "$checks" "$failures"
[ "$failures" -eq 0 ]
