#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a program that was compiled with the public headers relies on, beside the names that the
# library exports (cli_installed): where the members of structs lie, how large they are, and which
# values enumerations have. A change of tests/api/libllmq.abi is a change of the interface: members
# of structs with a `size` are added at the end, others and values stay while the soname does
# (include/llmq/llmq.h, "Growth").
#
#     tests/cli/abi.sh LLMQ JSON_GET [--update]
update=${3:-}
. "$(dirname "$0")/lib.sh"

list=$root/tests/api/libllmq.abi
ran='the layout of public structs'
: >stdout
: >stderr

# A program that prints it: of the preprocessed headers one statement a line.
printf '#include <llmq/llmq.h>\n' >all.c
${CC:-cc} -std=c99 -E -P -I"$root/include" all.c 2>stderr | tr '\n' ' ' | sed 's/[;{}]/&\n/g' | awk '
    BEGIN {
        print "#include <llmq/llmq.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {"
    }
    /typedef struct llmq_[a-z0-9_]* *\{/ {
        match($0, /llmq_[a-z0-9_]*/); struct = substr($0, RSTART, RLENGTH)
        printf "printf(\"%s %%zu\\n\", sizeof(%s));\n", struct, struct
        next
    }
    /enum llmq_[a-z0-9_]* *\{/ {
        match($0, /llmq_[a-z0-9_]*/); choice = substr($0, RSTART, RLENGTH)
        printf "printf(\"%s\\n\");\n", choice
        next
    }
    /\}/ && choice {
        values = split($0, value, ",")
        for (i = 1; i <= values; i++)
            if (match(value[i], /LLMQ_[A-Z0-9_]*/)) {
                one = substr(value[i], RSTART, RLENGTH)
                printf "printf(\"  %s %%d\\n\", (int)%s);\n", one, one
            }
        choice = ""
        next
    }
    /\}/ { struct = "" }
    struct && /;/ {
        sub(/;.*/, "")
        if (match($0, /\(\*[a-z_]*\)/)) {
            members = 1; member[1] = substr($0, RSTART + 2, RLENGTH - 3)
        } else {
            members = split($0, member, ",")
        }
        for (i = 1; i <= members; i++) {
            sub(/\[.*/, "", member[i]); sub(/ *$/, "", member[i]); sub(/.*[ *]/, "", member[i])
            printf "printf(\"  %s %%zu %%zu\\n\", offsetof(%s, %s), sizeof(((%s *)0)->%s));\n",
                member[i], struct, member[i], struct, member[i]
        }
    }
    END { print "return sizeof(void *) == 8 ? 0 : 77; }" }' >layout.c

test_case "the layout of structs and the values of enumerations are those of the list"
# shellcheck disable=SC2086 # CC may be several words
${CC:-cc} -std=c99 -I"$root/include" layout.c -o layout 2>stderr
expect "it compiles" test $? -eq 0
./layout >layout.txt
code=$?
if [ $code -eq 77 ]; then
    echo "SKIP: the list is that of machines with 64 bits"
    code=0
elif [ "$update" = --update ]; then
    cp layout.txt "$list"
else
    expect "structs" test "$(grep -c '^llmq_' layout.txt)" -gt 50
    diff "$list" layout.txt >stdout 2>&1
    expect "no change ('$0 LLMQ JSON_GET --update' writes the list)" test ! -s stdout
fi

finish
