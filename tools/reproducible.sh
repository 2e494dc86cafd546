#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Show that a build depends on the source alone: build the last commit twice, in folders of different
# names and depths, with another language, time zone, umask, number of jobs and order of files, and
# compare all that is installed. Prints the hashes of the program and the libraries; fails where a
# file differs.
#
#     tools/reproducible.sh [MESON-OPTION...]
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A cache would answer for the compiler.
CCACHE_DISABLE=1
export CCACHE_DISABLE

# run COMMAND...: what it says only when it fails.
run() {
    "$@" >"$work/log" 2>&1 || {
        tail -n 40 "$work/log" >&2
        exit 1
    }
}

# build SOURCE BUILD STAGED MESON-OPTION...
build() {
    source=$1 folder=$2 staged=$3
    shift 3
    git clone --quiet --no-hardlinks "$top" "$source"
    run meson setup "$folder" "$source" -Dtests=disabled "$@"
    run ninja -C "$folder"
    run env DESTDIR="$staged" meson install -C "$folder" --no-rebuild
}

build "$work/a" "$work/a/build" "$work/staged-a" "$@"
(
    umask 077
    LC_ALL=C.UTF-8 TZ=Pacific/Kiritimati HOME=$work SOURCE_DATE_EPOCH=1
    export LC_ALL TZ HOME SOURCE_DATE_EPOCH
    build "$work/another/much longer/name" "$work/elsewhere" "$work/staged-b" "$@"
)

# sums FOLDER: of every file below, and where links lead.
sums() {
    (
        cd "$1"
        find . -type f -exec sha256sum {} + | LC_ALL=C sort -k 2
        find . -type l -printf '%p -> %l\n' | LC_ALL=C sort
    )
}
sums "$work/staged-a" >"$work/sums-a"
sums "$work/staged-b" >"$work/sums-b"
grep -E '^[0-9a-f]+ .*/(bin/llmq|libllmq\.)' "$work/sums-a"
diff "$work/sums-a" "$work/sums-b" || {
    echo 'the builds differ'
    exit 1
}
echo "$(wc -l <"$work/sums-a") files, the same in both builds"
