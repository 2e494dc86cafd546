#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write what a program is made of, as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3).

    tools/sbom.py VERSION LINK-MAP PROGRAM FILE... > llmq.spdx.json
    tools/sbom.py --packages LINK-MAP PROGRAM

The linker's map (ld -Map) says which archives it took members from, ldd which libraries the program
loads, dpkg to which package a file belongs. FILEs (PROGRAM among them) are those of the folder that
is handed on; they are named as given and listed with their hashes. SOURCE_DATE_EPOCH is the time
that the document gives. --packages prints only the names of the packages, one a line.

A component without a licence in the table below is an error: look it up and add it.
"""
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys

LICENCES = {
    "crt": "LGPL-2.1-or-later",
    "ld-linux": "LGPL-2.1-or-later",
    "libblas": "BSD-3-Clause",
    "libc": "LGPL-2.1-or-later",
    "libc_nonshared": "LGPL-2.1-or-later",
    "libcjson": "MIT",
    "libgcc": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgcc_eh": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgcc_s": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "liblapack": "BSD-3-Clause",
    "liblapacke": "BSD-3-Clause",
    "libm": "LGPL-2.1-or-later",
    "libopenblas": "BSD-3-Clause",
    "libpcre2-8": "BSD-3-Clause",
    "libquadmath": "LGPL-2.1-or-later",
    "libtmglib": "BSD-3-Clause",
    "libutf8proc": "MIT AND Unicode-DFS-2015",
    "libz": "Zlib",
}

# What is part of llmq itself under another licence: name, licence, in words.
OWN_PARTS = [
    ("Unicode tables", "Unicode-3.0", "src/text/unicode_data.c"),
    ("demo model and texts", "CC0-1.0", "models/demo"),
]


def fail(text):
    sys.exit(f"sbom.py: {text}")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked_archives(link_map):
    """Archives of the system that members were taken from, from the list at the top of the map."""
    text = open(link_map, encoding="utf-8").read()
    begin = text.find("Archive member included")
    if begin < 0:
        fail(f"{link_map} is no map of the linker")
    members = re.findall(r"^(/\S+\.a)\(", text[begin:], re.MULTILINE)
    return sorted({os.path.realpath(member) for member in members})


def loaded_libraries(program):
    """Shared libraries, as the dynamic linker finds them."""
    lines = output("ldd", program).splitlines()
    paths = [re.search(r"(/\S+) \(0x", line) for line in lines if "not found" not in line]
    if len([p for p in paths if p]) < 2 or any("not found" in line for line in lines):
        fail(f"{program}: not all libraries were found")
    return sorted({os.path.realpath(path.group(1)) for path in paths if path})


def component_name(path):
    """libz for libz.so.1.2.13 and libz.a; the archive of OpenBLAS has its version in its name."""
    name = re.sub(r"\.(a|so[.0-9]*)$", "", os.path.basename(path))
    name = re.sub(r"^libopenblas.*", "libopenblas", name)
    return re.sub(r"^ld-linux.*", "ld-linux", name)


def package_of(path):
    """Name, version and architecture of the package a file belongs to; /lib may be /usr/lib. A file
    that was copied is looked for by its name."""
    for place in (path, path.removeprefix("/usr"), "*/" + os.path.basename(path)):
        found = subprocess.run(["dpkg", "-S", place], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            package = found.stdout.split(": ")[0].split(",")[0]
            fields = output("dpkg-query", "-W", "-f=${Package} ${Version} ${Architecture} "
                            "${source:Package} ${source:Version}\\n", package)
            return fields.splitlines()[0].split()
    return fail(f"{path} belongs to no package")


def components(link_map, program):
    """[(name, how it is linked, licence, package fields)], each once."""
    found = {}
    for how, paths in (("STATIC_LINK", linked_archives(link_map)),
                       ("DYNAMIC_LINK", loaded_libraries(program))):
        for path in paths:
            name = component_name(path)
            if name not in LICENCES:
                fail(f"{path}: no licence is known for {name}")
            found.setdefault(name, (name, how, LICENCES[name], package_of(path)))
    return [found[name] for name in sorted(found)]


def spdx_id(kind, name):
    return f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def package(name, version, licence, **more):
    return {
        "SPDXID": spdx_id("Package", name),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": licence,
        "licenseDeclared": licence,
        "copyrightText": "NOASSERTION",
        **more,
    }


def linked_package(name, licence, fields):
    binary, version, architecture, source, source_version = fields
    return package(
        name, version, licence,
        supplier="Organization: Debian",
        sourceInfo=f"from the Debian package {binary} {version}, built from {source} {source_version}",
        externalRefs=[{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": f"pkg:deb/debian/{binary}@{version.replace('+', '%2B')}"
                                f"?arch={architecture}",
        }])


def file_entry(path):
    data = open(path, "rb").read()
    return {
        "SPDXID": spdx_id("File", path),
        "fileName": "./" + path,
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": hashlib.sha1(data).hexdigest()},
            {"algorithm": "SHA256", "checksumValue": hashlib.sha256(data).hexdigest()},
        ],
        "licenseConcluded": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    }


def relation(a, kind, b):
    return {"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b}


def document(version, link_map, program, files):
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    created = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    main = spdx_id("Package", "llmq")
    packages = [package("llmq", version, "Apache-2.0", primaryPackagePurpose="APPLICATION",
                        supplier="Organization: llmq maintainers")]
    relations = [relation("SPDXRef-DOCUMENT", "DESCRIBES", main)]
    for name, how, licence, fields in components(link_map, program):
        packages.append(linked_package(name, licence, fields))
        relations.append(relation(main, how, spdx_id("Package", name)))
    for name, licence, comment in OWN_PARTS:
        packages.append(package(name, version, licence, comment=comment))
        relations.append(relation(main, "CONTAINS", spdx_id("Package", name)))
    entries = [file_entry(path) for path in files]
    relations += [relation(main, "CONTAINS", entry["SPDXID"]) for entry in entries]
    digest = hashlib.sha256(open(program, "rb").read()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"llmq-{version}",
        "documentNamespace": f"https://spdx.org/spdxdocs/llmq-{version}-{digest}",
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: llmq-sbom.py-{version}"],
        },
        "packages": packages,
        "files": entries,
        "relationships": relations,
    }


def check(doc):
    """Names are unique, what is referred to is there, something is described and linked."""
    names = [e["SPDXID"] for e in [doc, *doc["packages"], *doc["files"]]]
    if len(set(names)) != len(names):
        fail("an identifier is there twice")
    for name in names:
        if not re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", name):
            fail(f"{name} is no identifier")
    for r in doc["relationships"]:
        if r["spdxElementId"] not in names or r["relatedSpdxElement"] not in names:
            fail(f"a relationship leads nowhere: {r}")
    kinds = {r["relationshipType"] for r in doc["relationships"]}
    if not {"DESCRIBES", "STATIC_LINK", "DYNAMIC_LINK"} <= kinds:
        fail("nothing is linked")


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "--packages":
        for name in sorted({fields[0] for *_, fields in components(*arguments[1:])}):
            print(name)
        return
    if len(arguments) < 4:
        sys.exit(__doc__)
    version, link_map, program, *files = arguments
    doc = document(version, link_map, program, files)
    check(doc)
    json.dump(doc, sys.stdout, indent=1)
    print()


main(sys.argv[1:])
