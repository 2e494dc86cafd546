#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What other tools list that llmq has no table for.

    tools/coverage.py FILE...

Each FILE is a list from another project, as it is there: GPTQModel's gptqmodel/models/auto.py,
vLLM's vllm/model_executor/models/registry.py, llm-compressor's
src/llmcompressor/modifiers/transform/awq/mappings.py, and so on. Names are taken from it in two
forms, a model_type before the class that handles it ("qwen3": Qwen3QModel) and an architecture
("Qwen3ForCausalLM"). What llmq knows are the names in models/families/*.c. Prints for each file how
many names it has, and those that are missing, with a word where llmq refuses them by name; models
that make no text are among them.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL_TYPE = re.compile(r'"([a-z][a-z0-9_.-]*)"\]?\s*[:=]\s*\(?\s*[A-Z]\w*QModel\b')
ARCHITECTURE = re.compile(r'"(\w+(?:ForCausalLM|LMHeadModel|ForConditionalGeneration))"\s*:')
REFUSED = "unknown.c"  # of the tables, the one of models that are refused


def names_in(paths):
    """Every string in the files that could be one of either form."""
    names = set()
    for path in paths:
        names.update(re.findall(r'"([A-Za-z][\w.-]*)"', path.read_text()))
    return names


def main(paths):
    if not paths:
        sys.exit(__doc__)
    folder = ROOT / "models" / "families"
    refused = names_in([folder / REFUSED])
    known = names_in(f for f in folder.glob("*.[ch]") if f.name != REFUSED)
    for path in paths:
        text = pathlib.Path(path).read_text()
        listed = set(MODEL_TYPE.findall(text)) | set(ARCHITECTURE.findall(text))
        missing = sorted(listed - known)
        print(f"{path}: {len(listed)} names, {len(listed) - len(missing)} with a table")
        for name in missing:
            print(f"    {name}{' (refused)' if name in refused else ''}")


main(sys.argv[1:])
