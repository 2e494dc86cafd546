# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
# Assertions for the command-line tests; sourced by each *.sh beside it.
#
# A test is a name, one run of llmq, and what is promised about its exit code and its two streams:
#
#     test_case "an unknown command names the near miss"
#     run gptw
#     expect_code 2
#     expect_stderr "did you mean llmq gptq?"
#
# Meson gives the program as $1 and json_get as $2. A failure prints what was seen; the summary line
# has the form of Check's, so that one tool adds them all up.

llmq=$(realpath "$1")
json_get=$(realpath "$2")
root=$(cd "$(dirname "$0")/../.." && pwd)
demo=$root/models/demo
shared=${LLMQ_SHARED:-$root/../shared}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

checks=0
failures=0
name='(no name)'
unset NO_COLOR LLMQ_MODELS
unset MALLOC_PERTURB_ # fills what would never be touched, and takes longer than many a run

test_case() {
    name=$1
}

# Run llmq with these arguments and nothing on standard input.
run() {
    run_on /dev/null "$@"
}

# run_on FILE ARGUMENTS...: the same with FILE on standard input.
run_on() {
    from=$1
    shift
    code=0
    "$llmq" "$@" <"$from" >"$work/stdout" 2>"$work/stderr" || code=$?
    ran="llmq $*"
}

# Let every run that follows use the same BLAS kernels: which are the fastest, and so what is
# rounded how, depends on what else runs; and finding out takes longer than many runs do.
pin_kernels() {
    OPENBLAS_CORETYPE=$("$llmq" score --model "$demo" --ids 1,2 -v 2>&1 |
        sed -n 's/.*starting again with OPENBLAS_CORETYPE=//p')
    [ -z "$OPENBLAS_CORETYPE" ] || export OPENBLAS_CORETYPE
}

# windows COUNT LENGTH: so many windows of the demo's calibration text as token ids. Of a text, 4096
# tokens more would be held back, on which a run of few tokens spends most of its time.
windows() {
    "$llmq" tokenize --model "$demo" --text "$demo/calibration.txt" | tr -cs '0-9' '\n' | grep . |
        awk -v count="$1" -v length_="$2" 'NR > count * length_ { exit }
            { printf "%s%s", NR == 1 ? "[[" : NR % length_ == 1 ? "],[" : ",", $1 }
            END { print "]]" }'
}

# What of a result's llmq.json is the same for the same run: all but "run", and its own sum.
lasting() {
    sed -e '/^  "run": {/,/^  }/d' -e '/^  "sha256": /d' "$1"
}

# contents FOLDER: everything in a folder, for comparing.
contents() {
    (
        cd "$1" && find . | sort && find . -type f ! -name llmq.json | sort | xargs sha256sum
        [ ! -f llmq.json ] || lasting llmq.json
    )
}

report() {
    checks=$((checks + 1))
    if [ "$1" -ne 0 ]; then
        failures=$((failures + 1))
        printf 'FAILED: %s\n  ran:      %s\n  expected: %s\n  code:     %s\n' \
            "$name" "$ran" "$2" "$code"
        sed 's/^/  stdout:   /' "$work/stdout" | head -n 20
        sed 's/^/  stderr:   /' "$work/stderr" | head -n 20
    fi
}

expect_code() {
    [ "$code" -eq "$1" ]
    report $? "exit code $1"
}

# The text occurs in a line of the stream.
expect_stdout() {
    grep -qF -- "$1" "$work/stdout"
    report $? "stdout contains '$1'"
}

expect_stderr() {
    grep -qF -- "$1" "$work/stderr"
    report $? "stderr contains '$1'"
}

expect_stdout_exactly() {
    [ "$(cat "$work/stdout")" = "$1" ]
    report $? "stdout is '$1'"
}

expect_no_stdout() {
    [ ! -s "$work/stdout" ]
    report $? "nothing on stdout"
}

expect_no_stderr() {
    [ ! -s "$work/stderr" ]
    report $? "nothing on stderr"
}

# stdout is strict JSON, and the value at the path reads so.
expect_json() {
    [ "$("$json_get" "$1" <"$work/stdout" 2>&1)" = "$2" ]
    report $? "JSON at '$1' is '$2', not '$("$json_get" "$1" <"$work/stdout" 2>&1)'"
}

# stdout is strict JSON that has each of these paths.
expect_json_paths() {
    for path in "$@"; do
        "$json_get" "$path" <"$work/stdout" >/dev/null 2>&1
        report $? "JSON has '$path'"
    done
}

# A condition of the script's own: expect "what holds" COMMAND...
expect() {
    what=$1
    shift
    "$@"
    report $? "$what"
}

finish() {
    if [ "$checks" -eq 0 ]; then
        echo 'no checks ran'
        exit 1
    fi
    printf '%d%%: Checks: %d, Failures: %d, Errors: 0\n' \
        $((100 * (checks - failures) / checks)) "$checks" "$failures"
    [ "$failures" -eq 0 ]
}
