#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Check the layers: which folder may include which (the table below, lowest first; a folder without
# a row belongs to the one it lies in), and which folder alone may use a library. Prints every
# violation as file:line and fails if there is one.
#
#     tools/check_layers.sh [ROOT]     check the tree (default: the one this script is in)
#     tools/check_layers.sh --self-test
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)

check_tree() (
    cd "$1"
    # shellcheck disable=SC2016 # the dollars are awk's
    find include src formats models -name '*.[ch]' -o -name '*.inc' | LC_ALL=C sort |
        xargs awk '
    BEGIN {
        # Every folder may also include itself and the public headers.
        allow["include"]             = ""
        allow["base"]                = ""
        allow["ranks"]               = "base"
        allow["tensor"]              = "base"
        allow["linalg"]              = "base tensor"
        allow["kernels"]             = "base tensor"
        allow["formats/safetensors"] = "base tensor"
        allow["formats/gguf"]        = "base tensor formats/safetensors"
        allow["formats/layouts"]     = "base tensor formats/safetensors formats/gguf"
        allow["formats/encodings"]   = "base tensor formats/safetensors formats/layouts"
        allow["formats/loaders"]     = "base tensor formats/safetensors formats/gguf " \
                                       "formats/layouts"
        allow["models"]              = "base"
        allow["chat"]                = "base"
        allow["text"]                = "base chat"
        allow["graph"]               = "base ranks tensor linalg kernels formats/safetensors " \
                                       "formats/gguf formats/layouts formats/encodings " \
                                       "formats/loaders models"
        allow["calib"]               = "base ranks tensor linalg kernels models text graph"
        allow["quant"]               = "base tensor linalg kernels"
        allow["eval"]                = "base ranks tensor linalg kernels models text graph"
        allow["decode"]              = "base models text graph"
        allow["setup"]               = "base linalg kernels text graph"
        allow["bench"]               = "base tensor linalg kernels quant setup"
        allow["matrix"]              = "base tensor linalg calib quant setup"
        allow["gguf"]                = "base formats/gguf formats/layouts models text graph"
        allow["verify"]              = "base formats/safetensors formats/layouts " \
                                       "formats/encodings formats/loaders models graph setup"
        allow["tune"]                = "base tensor linalg kernels models text graph quant eval"
        allow["pipeline"]            = "base ranks tensor linalg kernels formats/safetensors " \
                                       "formats/layouts formats/encodings formats/loaders " \
                                       "models text graph calib quant eval setup gguf tune " \
                                       "verify"
        allow["sensitivity"]         = "base tensor linalg formats/layouts models text graph " \
                                       "calib quant eval setup pipeline"
        allow["convert"]             = "base formats/encodings formats/loaders models graph " \
                                       "setup verify pipeline"
        allow["report"]              = "base"
        allow["api"]                 = "base ranks tensor formats/safetensors formats/encodings " \
                                       "formats/loaders models text " \
                                       "chat graph eval decode setup verify pipeline report"
        allow["cli"]                 = ""

        # Headers of libraries and instruction sets: the folders and files that may have them.
        only["cblas.h"]       = "src/linalg/"
        only["lapacke.h"]     = "src/linalg/"
        only["cJSON.h"]       = "src/base/json.c"
        only["cjson/cJSON.h"] = "src/base/json.c"
        only["pcre2.h"]       = "src/base/regex.c"
        only["utf8proc.h"]    = "src/text/ src/chat/text_ops.c"
        only["mpi.h"]         = "src/ranks/ranks_mpi.c"
        only["zlib.h"]        = "src/text/bytes.c"
        only["immintrin.h"]   = "src/kernels/ src/base/sha256_x86.c"
        only["x86intrin.h"]   = "src/kernels/"
        only["arm_neon.h"]    = "src/kernels/"
    }
    function belongs(file, places,    place, n, i) {
        n = split(places, place, " ")
        for (i = 1; i <= n; i++)
            if (index(file, place[i]) == 1)
                return 1
        return 0
    }
    # The row that a path is under.
    function folder_of(path) {
        sub(/^src\//, "", path)
        do
            sub(/\/[^\/]*$/, "", path)
        while (!(path in allow) && path ~ /\//)
        return path
    }
    function complain(why) {
        printf "%s:%d: %s: %s\n", FILENAME, FNR, $0, why
        bad++
    }
    FNR == 1 {
        folder = folder_of(FILENAME)
        if (!(folder in allow))
            complain("folder " folder " is not in the table of tools/check_layers.sh")
    }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
        split($0, quoted, "\"")
        from = quoted[2]
        files++
        if (from !~ /\//)
            next # beside the file itself, or written by the build
        from = folder_of(from)
        if (from == "llmq" || (from == folder && folder != "include"))
            next
        if (index(" " allow[folder] " ", " " from " ") == 0)
            complain(folder " may not include " from)
    }
    /^[ \t]*#[ \t]*include[ \t]*</ {
        header = $0
        sub(/^[^<]*</, "", header)
        sub(/>.*/, "", header)
        files++
        if (header in only && !belongs(FILENAME, only[header]))
            complain(header " belongs to " only[header])
        if (folder == "include" && header !~ /^(std[a-z]*|signal)\.h$/)
            complain("a public header includes nothing but llmq/ and the C library")
    }
    END {
        if (files == 0) {
            print "no #include found: nothing was checked"
            bad++
        }
        exit bad > 0
    }'
)

# Seed one violation in a copy of the tree, which the check has to name.
seed() {
    file=$1
    line=$2
    mkdir -p "$copy/$(dirname "$file")"
    printf '%s\n' "$line" >>"$copy/$file"
    if check_tree "$copy" >"$copy/found" || ! grep -qF -- "$file:" "$copy/found"; then
        echo "self-test: not caught: $line in $file"
        exit 1
    fi
    rm "$copy/$file"
}

self_test() {
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    mkdir -p "$copy/include/llmq" "$copy/src/base" "$copy/formats" "$copy/models/families"
    echo '#include "base/error.h"' >"$copy/src/base/good.c"
    check_tree "$copy" >/dev/null || {
        echo "self-test: a good tree is refused"
        exit 1
    }
    seed src/quant/seeded.c '#include "formats/layouts/layout.h"'
    seed formats/layouts/seeded.c '#include "quant/quant.h"'
    seed formats/safetensors/seeded.h '#include "formats/gguf/gguf_file.h"'
    seed models/families/seeded.c '#include "graph/forward.h"'
    seed formats/seeded.c '#include "base/error.h"'
    seed src/verify/seeded.c '#include "pipeline/plan.h"'
    seed src/cli/seeded.c '#include "base/error.h"'
    seed src/base/seeded.h '  #  include "tensor/dtype.h"'
    seed src/kernels/seeded.inc '#include "graph/forward.h"'
    seed src/graph/seeded.c '#include <cblas.h>'
    seed src/base/seeded.c '#include <pcre2.h>'
    seed src/base/seeded.c '#include <cjson/cJSON.h>'
    seed src/ranks/seeded.c '#include <mpi.h>'
    seed src/text/seeded.c '#include <zlib.h>'
    seed src/tensor/seeded.c '#include <immintrin.h>'
    seed include/llmq/seeded.h '#include <omp.h>'
    seed include/llmq/seeded.h '#include "base/error.h"'
    seed src/unknown/seeded.c '#include <stdio.h>'
    echo "self-test: every seeded violation is caught"
}

if [ "${1:-}" = --self-test ]; then
    self_test
else
    check_tree "${1:-$here}"
    echo "layers: no violation"
fi
