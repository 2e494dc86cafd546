#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Where results may go: nothing that is read, in use, or somebody else's is ever replaced or removed,
# and what makes a run's last step fail is found before its first.
. "$(dirname "$0")/lib.sh"
pin_kernels

cp -r "$demo" model
mkdir models notes
cp -r "$demo" models/a
echo 'ten years of work' >notes/thesis.txt
cp model/calibration.txt notes/cal.txt

# What must never change, whatever is asked for.
find model/ models/ notes/ -type f | sort >precious
xargs sha256sum <precious >sums
run --version # makes the files of its streams
: >before
: >after
unharmed() {
    find model/ models/ notes/ -type f | sort | cmp -s - precious && sha256sum -c --quiet sums
}

# refused CODE TEXT ARGUMENTS...: with this code and message, and nothing is touched.
refused() {
    wanted=$1
    text=$2
    shift 2
    ls -A >before
    run "$@" -q
    expect_code "$wanted"
    expect_no_stdout
    expect_stderr "$text"
    expect "every input as it was" unharmed
    ls -A >after
    expect "no new files" cmp -s before after
}

# --- folders that are not llmq's ---

ln -s model link
ln -s notes link-notes
ln -s nowhere dangling
ln -s "$PWD" self

test_case "--force never replaces what is read, what holds it, or what lies in it"
for out in model ./model model/ model/. model/../model models/../model link link/ self/model \
    "$PWD/model" "$PWD//model"; do
    refused 2 "is the model's folder" rtn --model model --out "$out" --force
done
refused 2 "holds the model's folder" rtn --model models/a --out models --force
refused 2 "holds the model's folder" rtn --model models/a --out self/models/ --force
refused 2 "lies in the model's folder" rtn --model model --out model/q --force
refused 2 "lies in the model's folder" rtn --model model --out link/deep/q --force
refused 2 "is the model's folder" rtn --model link --out model --force
refused 2 "lies in the model's folder" rtn --model model --out model/config.json --force
for method in gptq awq; do
    refused 2 "is the model's folder" $method --model model --out model --force
done

test_case "nor what holds the text that is read"
refused 2 "holds the text that is read" gptq --model model --calib notes/cal.txt --out notes --force
refused 2 "is the text that is read" gptq --model model --calib notes/cal.txt \
    --out notes/cal.txt --force

test_case "nor the current folder, the home folder, the root, or what comes with llmq"
refused 2 "is the current folder" rtn --model "$demo" --out . --force
refused 2 "holds the" rtn --model "$demo" --out .. --force # the current folder, and what lies beside
refused 2 "folder" rtn --model "$demo" --out / --force
refused 2 "the folder of llmq's own texts" rtn --model model --out "$demo/q" --force
HOME=$PWD/notes
export HOME
refused 2 "is the home folder" rtn --model model --out notes --force
unset HOME

test_case "nor the place of the model, where the result would grow"
mv model x.partial
ln -s x.partial model
refused 2 "x.partial is the model's folder" rtn --model x.partial --out x --force
rm model
mv x.partial model

test_case "files of a model that are links are guarded where they lie"
mkdir -p hub/blobs hub/snapshot
cp model/config.json hub/snapshot/config.json
for file in model/*.safetensors; do
    cp "$file" "hub/blobs/$(basename "$file")"
    ln -s "../blobs/$(basename "$file")" hub/snapshot/
done
refused 2 "holds part of the model" rtn --model hub/snapshot --out hub/blobs --force
rm -r hub

test_case "the folders of the case that lost them"
if [ -d "$shared/cases/force_deletes/models" ]; then
    cp -r "$shared/cases/force_deletes/models" case
    chmod -R u+w case
    find case -type f -exec sha256sum {} + >case-sums
    for out in case case/a case/b case/a/q case/b/thesis.txt case/../case/b; do
        for method in rtn gptq; do
            run $method --model case/a --group 32 --out $out --force -q
            expect "exit code 2 or 4" test "$code" -eq 2 -o "$code" -eq 4
            expect "as it was" sha256sum -c --quiet case-sums
        done
    done
    run rtn --model case/a --group 32 --out case/b -q
    expect_code 2
    expect "as it was" sha256sum -c --quiet case-sums
else
    echo "SKIP: no cases in $shared"
fi

test_case "a folder of somebody's files is not replaced, and what it holds is named"
refused 2 "it holds 'cal.txt', 'thesis.txt'" rtn --model model --out notes --force
expect_stderr "no llmq.json marks it"
refused 4 "link-notes is a link" rtn --model model --out link-notes --force
refused 2 "notes exists" rtn --model model --out notes
expect_stderr "--force would not help"

# --- places where the last step would fail ---

test_case "what has the name of the result and is no folder is told of before work"
: >file
mkfifo pipe
mkdir -p other/in
for dry in '' --dry-run; do
    for out in file pipe; do
        # shellcheck disable=SC2086 # $dry is one word or none
        refused 4 "$out exists and is not a folder" rtn --model model --out $out --force $dry
    done
    # shellcheck disable=SC2086
    refused 4 "dangling is a link that leads nowhere" rtn --model model --out dangling $dry
    # shellcheck disable=SC2086
    refused 4 "dangling is a link that leads nowhere" rtn --model model --out dangling/q $dry
    # shellcheck disable=SC2086
    refused 4 "file/q: Not a directory" rtn --model model --out file/q $dry
    # shellcheck disable=SC2086
    refused 4 "no folder can be made in /proc" rtn --model model --out /proc/q $dry
    # shellcheck disable=SC2086
    refused 4 "No such file or directory" rtn --model model --out absent/../q $dry
    # shellcheck disable=SC2086
    refused 2 "expected the name of a folder at the end" rtn --model model --out other/in/.. $dry
    # shellcheck disable=SC2086
    refused 2 "empty" rtn --model model --out '' $dry
done


test_case "the place where it grows is looked at in the same way"
ln -s notes y.partial
refused 4 "y.partial, where the result grows, is not a folder" rtn --model model --out y --force
rm y.partial
: >y.partial
refused 4 "y.partial, where the result grows, is not a folder" rtn --model model --out y --force
rm y.partial
cp -r notes y.partial
refused 2 "y.partial is not replaced" rtn --model model --out y --force
expect_stderr "'thesis.txt'"
expect "the folder is left alone" cmp notes/thesis.txt y.partial/thesis.txt
rm -r y.partial

test_case "names that are too long once .partial is added"
long=$(printf '%0250d' 0)
refused 4 "$long" rtn --model model --out "$long"
refused 4 "$long" rtn --model model --out "other/new/$long" --dry-run
refused 4 "$long$long" rtn --model model --out "$long$long/q"

test_case "a folder that may not be written, and one where only owners may rename"
if [ "$(id -u)" -eq 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$llmq"; then
    program=$llmq
    cat >as-nobody <<END
#!/bin/sh
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$program" "\$@"
END
    chmod 755 as-nobody "$work"
    chmod 777 "$work" # for the streams
    mkdir -m 555 closed
    mkdir -m 1777 sticky
    mkdir sticky/q
    llmq=$work/as-nobody
    refused 4 "no folder can be made in $work/closed" rtn --model model --out closed/q
    refused 4 "no folder can be made in $work/closed" rtn --model model --out closed/new/q --dry-run
    refused 4 "belongs to somebody else" rtn --model model --out sticky/q
    llmq=$program
else
    echo "SKIP: not root, or no setpriv"
fi

test_case "a folder that is marked immutable"
mkdir fixed
if chattr +i fixed 2>chattr-says; then
    refused 4 "fixed: it is marked immutable" rtn --model model --out fixed
    refused 4 "no folder can be made" rtn --model model --out fixed/q --dry-run
    chattr -i fixed
else
    echo "SKIP: no chattr here"
fi

test_case "mount points, seen from their device or not, and models that are mounted twice"
if unshare -rm true 2>unshare-says; then
    mkdir mounted bound again part models/a/sub
    cat >in-namespace <<END
#!/bin/sh
exec unshare -rm sh -c '
    mount -t tmpfs none mounted && mount --bind other bound && mount --bind models again &&
        mount --bind models/a/sub part &&
        exec "\$0" "\$@"' "$llmq" "\$@"
END
    chmod 755 in-namespace
    program=$llmq
    llmq=$work/in-namespace
    refused 4 "mounted: something is mounted there" rtn --model model --out mounted --force
    refused 4 "bound: something is mounted there" rtn --model model --out bound --dry-run
    refused 2 "lies in the model's folder" rtn --model models/a --out again/a/q --force
    refused 2 "is the model's folder" rtn --model again/a --out models/a --force
    refused 2 "holds the model's folder" rtn --model models/a --out again --force
    refused 2 "lies in part of the model" rtn --model models/a --out part/q
    llmq=$program
else
    echo "SKIP: no namespaces for mounts here"
fi

finish
