#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chat templates as llmq renders them, beside Jinja itself (python3-jinja2) in the environment that
transformers makes for them.

    node tools/check_chat.mjs FOLDER --emit EMITTED      templates and variables as files
    python3 tools/check_chat.py EMITTED [--program build/tests/render_chat] [--show 5]

Prints a table and the first renderings that differ; exits 1 when any do. A conversation that both
refuse is equal.
"""
import argparse
import datetime
import glob
import json
import os
import subprocess
import sys

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

    def said(self, caller):
        return caller()


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def to_json(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = to_json
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = datetime.datetime(2025, 1, 1).strftime  # the day llmq gives
    return env


def reference(env, text, variables):
    try:
        return env.from_string(text).render(**variables)
    except Exception as e:  # whatever a template does wrong
        return {"error": f"{type(e).__name__}: {e}"}


def ours(program, template, lines):
    run = subprocess.run([program, template], input="".join(lines), capture_output=True, text=True)
    if run.returncode:
        return [{"error": run.stderr.strip()}] * len(lines)
    return [json.loads(line) for line in run.stdout.rstrip("\n").split("\n")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("emitted")
    parser.add_argument("--program", default="build/tests/render_chat")
    parser.add_argument("--show", type=int, default=5)
    options = parser.parse_args()
    env = environment()
    total = differ = 0
    for template in sorted(glob.glob(os.path.join(options.emitted, "*.jinja"))):
        with open(template, newline="", encoding="utf-8") as f:
            text = f.read()
        with open(template + ".jsonl", newline="\n", encoding="utf-8") as f:
            lines = list(f)
        equal = refused = 0
        for line, found in zip(lines, ours(options.program, template, lines)):
            expected = reference(env, text, json.loads(line))
            both = isinstance(expected, dict) and isinstance(found, dict)
            refused += both
            equal += both or expected == found
            if not both and expected != found:
                differ += 1
                if differ <= options.show:
                    print(f"{os.path.basename(template)}: {line[:200]}\n  jinja {expected!r}\n"
                          f"  llmq  {found!r}")
        total += len(lines)
        print(f"{os.path.basename(template):50} {equal} of {len(lines)} equal, "
              f"{refused} of them refused by both")
    print(f"{total} renderings, {differ} differ")
    sys.exit(1 if differ else 0)


main()
