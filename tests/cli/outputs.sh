#!/bin/sh
# Where results may go: nothing that is read, in use, or somebody else's is ever replaced or removed,
# and what makes a run's last step fail is found before its first.
. "$(dirname "$0")/lib.sh"

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
refused 2 "holds the current folder" rtn --model "$demo" --out .. --force
refused 2 "folder" rtn --model "$demo" --out / --force
refused 2 "the folder of llmq's own model" rtn --model model --out "$demo/q" --force
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
refused 2 "holds a file of the model" rtn --model hub/snapshot --out hub/blobs --force
rm -r hub

test_case "a folder of somebody's files is not replaced, and what it holds is named"
refused 2 "it holds 'cal.txt', 'thesis.txt'" rtn --model model --out notes --force
expect_stderr "no llmq.json marks it"
refused 4 "link-notes is a link" rtn --model model --out link-notes --force
refused 2 "notes exists" rtn --model model --out notes
expect_stderr "--force would not help"

finish
