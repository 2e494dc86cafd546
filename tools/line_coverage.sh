#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lines that the tests run, of the folders whose every line ought to be.
#
#     tools/line_coverage.sh [MESON-TEST-ARGUMENTS...]
#
# Builds into $BUILD (build/coverage) with gcc, without optimization, runs the suites (all of them
# unless the arguments name some, as --suite unit) and prints the share of lines that ran for every
# folder of interest and the files that lack most. Exits with 1 when a folder is below $LEAST (92)
# percent.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build/coverage}
least=${LEAST:-92}

if [ ! -f "$build/build.ninja" ]; then
    mkdir -p "$(dirname "$build")"
    meson setup "$build" -Db_coverage=true -Doptimization=0 -Ddebug=true >"$build.log" 2>&1 || {
        cat "$build.log"
        exit 2
    }
fi
ninja -C "$build" --quiet || exit 2
find "$build" -name '*.gcda' -delete
OMP_WAIT_POLICY=passive meson test -C "$build" --no-rebuild "$@" | tail -n 12
python3 - "$build" "$least" <<'EOF'
import collections
import json
import os
import pathlib
import subprocess
import sys

FOLDERS = ("src/base", "formats", "src/pipeline")
build, least = pathlib.Path(sys.argv[1]).resolve(), float(sys.argv[2])
root = pathlib.Path.cwd()
ran = collections.defaultdict(dict)  # file: line: did it run

for data in sorted(build.rglob("*.gcda")):
    out = subprocess.run(["gcov", "--json-format", "--stdout", str(data)], cwd=build,
                         capture_output=True, check=False).stdout
    for text in out.splitlines():
        for file in json.loads(text)["files"]:
            path = os.path.relpath((build / file["file"]).resolve(), root)
            if path.startswith(FOLDERS):
                for line in file["lines"]:
                    lines = ran[path]
                    number = line["line_number"]
                    lines[number] = lines.get(number, False) or line["count"] > 0

low = False
for folder in FOLDERS:
    lines = [v for path, file in ran.items() if path.startswith(folder) for v in file.values()]
    share = 100 * sum(lines) / max(len(lines), 1)
    low = low or share < least
    print(f"{folder:14} {share:6.2f} % of {len(lines)} lines")
print("files that lack most:")
for path, file in sorted(ran.items(), key=lambda f: sum(f[1].values()) - len(f[1]))[:15]:
    missing = sorted(n for n, v in file.items() if not v)
    print(f"    {path}: {len(missing)} of {len(file)}: {' '.join(map(str, missing[:40]))}")
sys.exit(1 if low else 0)
EOF
