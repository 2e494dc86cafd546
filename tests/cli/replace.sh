#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What --force replaces, what it leaves alone, and what two runs on one folder do to each other.
# shellcheck disable=SC2086,SC2094 # $few and $score are lists of words
. "$(dirname "$0")/lib.sh"
pin_kernels

# unchanged FOLDER: as it was when it was kept.
keep() {
    contents "$1" >"$work/kept"
}
unchanged() {
    contents "$1" | cmp -s - "$work/kept"
}

# --- the marker ---

test_case "every command that writes a result marks it, in the same words each time"
run rtn --model "$demo" --out r -q
expect_code 0
cp r/llmq.json stdout
expect_json command rtn
expect_json_paths llmq command options files
run rtn --model "$demo" --out again -q --threads 1
lasting r/llmq.json >once
lasting again/llmq.json >twice
expect "the same but for the run itself" cmp once twice
expect "which is told" sh -c 'grep -q "\"seconds\"" r/llmq.json && ! grep -q "\"seconds\"" once'
windows 4 64 >few.json
run gptq --model "$demo" --calib few.json --samples 4 --out g \
    --format compressed-tensors -q
expect_code 0
cp g/llmq.json stdout
expect_json command gptq
for format in bf16 onnx gguf; do
    run convert --model r --format "$format" --out "c-$format" -q
    expect_code 0
    cp "c-$format/llmq.json" stdout
    expect_json command convert
    (cd "c-$format" && find . -type f ! -name llmq.json | sed 's/^..//') | LC_ALL=C sort >files
    sed -n '/^  "files": \[/,/^  \]/s/.*"name":"\([^"]*\)".*/\1/p' stdout >listed
    expect "the marker lists every file" cmp files listed
    expect "nothing of the run is left in it" test ! -e "c-$format/llmq.lock"
done
run verify r -q
expect_code 0

test_case "an input's marker does not travel"
cp r/llmq.json marked
run convert --model r --format gptq_v2 --out v2 -q
expect_code 0
cp v2/llmq.json stdout
expect_json command convert

# --- --force ---

test_case "a result is replaced, and nothing beside it is touched"
mkdir r.replaced
echo mine >r.replaced/file
run rtn --model "$demo" --bits 8 --out r --force -q
expect_code 0
expect "another name than the result's is left alone" grep -q mine r.replaced/file
expect "no partial folder" test ! -e r.partial
run inspect r --json
expect_json bits 8
rm -r r.replaced

test_case "a result with a file that is not the result's is refused, by its name"
echo 'my notes' >r/notes.txt
keep r
run rtn --model "$demo" --out r --force -q
expect_code 2
expect_stderr "r is not replaced: it holds 'notes.txt', which is not of the result"
expect "unchanged" unchanged r
rm r/notes.txt
mkdir -p r/chat_templates
echo mine >r/chat_templates/mine.jinja
run rtn --model "$demo" --out r --force -q
expect_code 2
expect_stderr "'chat_templates/mine.jinja'"
rm -r r/chat_templates
ln -s /etc r/link
run convert --model g --format bf16 --out r --force -q
expect_code 2
expect_stderr "'link'"
rm r/link

test_case "a result without its marker is refused, and so is a marker that is none"
mv r/llmq.json marker
keep r
run rtn --model "$demo" --out r --force -q
expect_code 2
expect_stderr "no llmq.json marks it"
expect_stderr "'config.json'"
expect "unchanged" unchanged r
for text in '' '{' '{}' '[]' '{"llmq": "0.1.0"}' '{"llmq": 1, "files": []}'; do
    printf '%s' "$text" >r/llmq.json
    run rtn --model "$demo" --out r --force -q
    expect_code 2
done
ln -sf ../marker r/llmq.json
run rtn --model "$demo" --out r --force -q
expect_code 2
rm r/llmq.json
mv marker r/llmq.json
run rtn --model "$demo" --out r --force -q
expect_code 0

test_case "an empty folder is taken, and folders above are made"
mkdir empty
run rtn --model "$demo" --out empty -q
expect_code 0
expect "a result" test -f empty/llmq.json
run convert --model r --format bf16 --out new/deep/q -q
expect_code 0
expect "a result" test -f new/deep/q/llmq.json

test_case "a folder with anything in it is not taken without --force"
mkdir filled
echo mine >filled/file
keep filled
for command in "rtn --model $demo" "convert --model r --format bf16"; do
    run $command --out filled -q
    expect_code 2
    expect_stderr "filled exists"
    run $command --out filled --force -q
    expect_code 2
    expect_stderr "it holds 'file'"
    expect "unchanged" unchanged filled
    expect "no partial folder" test ! -e filled.partial
done

test_case "a dry run is not refused because a result exists, and says what a run would need"
keep r
run rtn --model "$demo" --out r --dry-run
expect_code 0
expect_stderr "a run would be refused: r exists"
expect_stderr "--force"
run rtn --model "$demo" --out r --force --dry-run
expect_code 0
expect "no such word with --force" sh -c '! grep -q refused stderr'
expect "unchanged" unchanged r
run rtn --model "$demo" --out filled --force --dry-run
expect_code 2

test_case "convert onto its own source is refused"
for out in g ./g "$PWD/g/." g/in/side; do
    keep g
    run convert --model g --format gptq --out "$out" --force -q
    expect_code 2
    expect_stderr "the model's folder"
    expect "unchanged" unchanged g
done

# --- runs that are alive, and runs that were killed ---

few="--calib few.json --samples 4 --quality fast"

# Start a run and stop it while it works in its second block; it holds live.partial then.
start() {
    rm -f pipe
    mkfifo pipe
    "$llmq" gptq --model "$demo" $few --out live "$@" >live.stdout 2>pipe &
    pid=$!
    exec 7<pipe
    while read -r line <&7; do
        printf '%s\n' "$line" >>live.stderr
        case $line in
        'block 2/'*)
            kill -STOP "$pid"
            break
            ;;
        esac
    done
}

# Let it go on to its end.
go_on() {
    kill -CONT "$pid"
    cat <&7 >>live.stderr
    exec 7<&-
    code=0
    wait "$pid" || code=$?
    ran='llmq gptq ... --out live'
    cp live.stdout stdout
    cp live.stderr stderr
}

test_case "the folder of a run that is alive is safe from every other, --force or not"
start
keep live.partial
for how in '' --force --resume; do
    run gptq --model "$demo" $few --out live -q $how
    expect_code 4
    expect_stderr "live.partial: another process is writing here"
done
run convert --model r --format bf16 --out live --force -q
expect_code 4
expect_stderr "another process is writing here"
expect "unchanged" unchanged live.partial
run rtn --model "$demo" --out live --dry-run
expect_code 0
expect_stderr "a run would be refused: live.partial: another process"

test_case "a folder that appears during the run is not replaced; --resume keeps the work"
mkdir live
echo mine >live/file
go_on
expect_code 4
expect_stderr "live appeared while the result was being made"
expect_stderr "--resume"
expect "the folder is as it was" grep -q mine live/file
run gptq --model "$demo" $few --out live --resume --force -q
expect_code 2
mv live elsewhere
run gptq --model "$demo" $few --out live --resume -q
expect_code 0
run gptq --model "$demo" $few --out undisturbed -q
expect_code 0
contents undisturbed >kept
expect "the same bytes as undisturbed" unchanged live
rm -r live elsewhere

test_case "an empty one is not either: it is somebody's"
start
mkdir live
go_on
expect_code 4
rmdir live
run gptq --model "$demo" $few --out live --resume -q
expect_code 0

test_case "with --force a result that appears is replaced, other things are not"
rm -r live
start --force
cp -r undisturbed live
go_on
expect_code 0
expect "the same bytes as undisturbed" unchanged live
expect "no partial folder" test ! -e live.partial
rm -r live
start --force
mkdir live
echo mine >live/file
go_on
expect_code 4
expect_stderr "live is not replaced"
expect "the folder is as it was" grep -q mine live/file
rm -r live live.partial

test_case "what is put into the folder of a run is not the result's"
start
echo mine >live.partial/notes
go_on
expect_code 0
run gptq --model "$demo" $few --out live --force -q
expect_code 2
expect_stderr "it holds 'notes', which is not of the result"
expect "it is there" grep -q mine live/notes
rm -r live

test_case "an interrupted run whose files are damaged: how to start over"
start
kill -TERM "$pid"
go_on
expect_code 130
: >live.partial/model.safetensors
run gptq --model "$demo" $few --out live --resume -q
expect_code 3
expect_stderr "hint: the interrupted run's files are damaged; start over with --force"
rm -r live.partial

test_case "a run killed at any moment leaves a folder that --force and --resume know"
for delay in 0 0.05 0.1 0.2 0.4 0.8; do
    rm -rf kill kill.partial
    "$llmq" gptq --model "$demo" $few --out kill -q >stdout 2>stderr &
    pid=$!
    sleep "$delay"
    kill -9 "$pid"
    wait "$pid" 2>stderr
    [ -e kill.partial ] || continue
    run rtn --model "$demo" --out kill -q
    expect_code 2
    expect_stderr "kill.partial holds an interrupted run"
    run rtn --model "$demo" --out kill -q --force
    expect_code 0
    expect "no partial folder" test ! -e kill.partial
done

test_case "a result that is left in the middle of being replaced is known too"
rm -rf kill kill.partial
mkdir kill.partial
: >kill.partial/llmq.lock
cp r/config.json kill.partial
run rtn --model "$demo" --out kill -q
expect_code 2
run rtn --model "$demo" --out kill --force -q
expect_code 0
expect "nothing of it is left" test ! -e kill.partial

test_case "a finished result under the name of the partial folder is not removed"
cp -r r z.partial
keep z.partial
run rtn --model "$demo" --out z --force -q
expect_code 2
expect_stderr "z.partial is not replaced: it is a finished result"
expect "unchanged" unchanged z.partial

test_case "a run that was killed before it recorded anything is started over"
mkdir none.partial
: >none.partial/llmq.lock
run rtn --model "$demo" --out none -q
expect_code 2
expect_stderr "hint: give --resume or --force to start over: it had not done anything yet"
run rtn --model "$demo" --out none --resume -q
expect_code 0
expect "nothing else is left" test ! -e none.partial

# --- from every state to the same end ---

test_case "nothing was begun: --resume begins; all is done: it says so"
run rtn --model "$demo" --out state --resume -q
expect_code 0
contents state >kept
run rtn --model "$demo" --out state --resume
expect_code 0
expect_stdout "state is finished: an interrupted run had made it, nothing was left to do"
run rtn --model "$demo" --out state --resume --json
expect_code 0
expect_json found_finished true
expect "unchanged" unchanged state

test_case "what is finished of another run is told from this one's"
run rtn --model "$demo" --out state --bits 8 --resume -q
expect_code 2
expect_stderr "state exists, and is the result of another run: --bits was 4, is 8"
expect_stderr "hint: give --force, too"
run convert --model g --format bf16 --out state --resume -q
expect_code 2
expect_stderr "the command was rtn, is convert"
expect "unchanged" unchanged state
cp -r "$demo" copied
run rtn --model copied --out of-copied -q
expect_code 0
sleep 0.1 # longer than a tick of the clock that times of files are taken from
touch copied/model.safetensors
run rtn --model copied --out of-copied --resume -q
expect_code 2
expect_stderr "of another run: model.safetensors was changed, replaced or copied since"
rm -r copied of-copied
run rtn --model "$demo" --out state --bits 8 --resume --force -q
expect_code 0
run rtn --model "$demo" --out state --force -q
expect_code 0
expect "the first again" unchanged state

test_case "killed with everything done but the name"
mv state state.partial
: >state.partial/llmq.lock
keep state.partial
run rtn --model "$demo" --out state -q
expect_code 2
expect_stderr "state.partial holds the complete result of an interrupted run"
expect_stderr "hint: give --resume to give it its name, or --force to start over"
run rtn --model "$demo" --out state --bits 8 --resume -q
expect_code 3
expect_stderr "state.partial holds the complete result of another run: --bits was 4, is 8"
expect "unchanged" unchanged state.partial
run rtn --model "$demo" --out state --resume -q
expect_code 0
expect "named" test -e state/llmq.json -a ! -e state/llmq.lock -a ! -e state.partial

test_case "killed behind the name: the lock, and what was replaced, are left"
: >state/llmq.lock
cp -r r state.partial
: >state.partial/llmq.lock
run rtn --model "$demo" --out state -q
expect_code 2
expect_stderr "hint: a run was interrupted here: give --resume to bring it to its end"
run rtn --model "$demo" --out state --resume -q
expect_code 0
expect "tidy" test ! -e state/llmq.lock -a ! -e state.partial

test_case "folders that change places in steps: killed between them"
mv state state.partial
printf 'replaces\n' >state.partial/llmq.lock
cp -r r state.replaced
: >state.replaced/llmq.lock
run rtn --model "$demo" --out state --resume -q
expect_code 0
expect "the new one, and nothing else" test -e state -a ! -e state.partial -a ! -e state.replaced
run inspect state --json
expect_json bits 4
cp -r r state.replaced
: >state.replaced/llmq.lock
run rtn --model "$demo" --out state --resume -q
expect_code 0
expect "nothing else" test ! -e state.partial -a ! -e state.replaced

test_case "what a write that was killed leaves is not the result's, what somebody put there stays"
start
kill -KILL "$pid"
go_on
: >live.partial/activations.tmp
: >live.partial/config.json.tmp
: >live.partial/mine.tmp
run gptq --model "$demo" $few --out live --resume -q
expect_code 0
expect "ours is gone" test ! -e live/activations.tmp -a ! -e live/config.json.tmp
expect "theirs is there" test -e live/mine.tmp
rm -r live

test_case "a conversion that was killed is repeated, and not taken for a run of quantization"
mkdir c.partial
: >c.partial/llmq.lock
cp r/config.json c.partial
run convert --model r --format bf16 --out c --resume -q
expect_code 0
contents c-bf16 >kept
expect "the same bytes" unchanged c
run convert --model r --format bf16 --out c --resume
expect_code 0
expect_stdout "c is finished"
start
kill -KILL "$pid"
go_on
run convert --model r --format bf16 --out live --resume -q
expect_code 3
expect_stderr "live.partial holds an interrupted run of another command"
rm -r live.partial

test_case "many runs at once on one folder: each succeeds or is refused, and the result is whole"
contents none >kept
for i in 1 2 3 4 5 6; do
    (
        code=0
        "$llmq" rtn --model "$demo" --out none --force -q >out.$i 2>err.$i || code=$?
        echo "$code" >code.$i
    ) &
done
wait
cat err.? >stderr
expect "success, or exit code 4" sh -c '! grep -qv "^[04]$" code.?'
expect "one succeeds at least" grep -q 0 code.1 code.2 code.3 code.4 code.5 code.6
expect "the result is whole" unchanged none
expect "no partial folder" test ! -e none.partial

test_case "a result in the lower layer of an overlay, which cannot be renamed, is replaced"
if unshare -rm true 2>stderr; then
    mkdir -p lower upper merged
    cp -r r lower/q
    cat >in-overlay <<END
#!/bin/sh
exec unshare -rm sh -c '
    mount -t tmpfs none upper && mkdir upper/new upper/work &&
        mount -t overlay -o lowerdir=lower,upperdir=upper/new,workdir=upper/work,userxattr none merged ||
        exit 77
    "\$0" rtn --model "$demo" --bits 8 --out merged/q --force -q && ls -A merged >names &&
        "\$0" inspect merged/q' "$llmq"
END
    code=0
    sh ./in-overlay >stdout 2>stderr || code=$?
    ran='llmq rtn --out merged/q --force'
    if [ "$code" -eq 77 ]; then
        echo "SKIP: no overlays here"
    else
        expect_code 0
        expect_stdout "8"
        expect "nothing else is there" test "$(cat names)" = q
    fi
else
    echo "SKIP: no namespaces for mounts here"
fi

# --- streams ---

test_case "messages never go into the result when streams are closed"
run rtn --model "$demo" --out open -q
code=0
"$llmq" rtn --model "$demo" --out closed <&- >&- 2>&- || code=$?
ran='llmq rtn ... <&- >&- 2>&-'
expect_code 0
contents open >kept
expect "the same bytes" unchanged closed
"$llmq" gptq --model "$demo" $few --out closed-gptq <&- 2>&- >stdout || code=$?
expect_code 0
contents undisturbed >kept
expect "the same bytes" unchanged closed-gptq

finish
