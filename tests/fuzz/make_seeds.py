#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seeds of the fuzz targets that have to be made: small checkpoints, plain and quantized, a record
and a kept reference.

    tests/fuzz/make_seeds.py build/src/cli/llmq

writes tests/fuzz/corpus/folder/*, each a checkpoint as fuzz_unfold reads it, corpus/gguf/*,
corpus/record/gptq and corpus/reference/*. Other corpora hold texts that are written by hand, and
what fuzzing found.
"""

import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
SMALL = CORPUS.parent.parent / "golden" / "llama-base"
HIDDEN, INNER, VOCAB = 32, 64, 8

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
    "intermediate_size": INNER, "num_attention_heads": 2, "num_key_value_heads": 2,
    "num_hidden_layers": 1, "vocab_size": VOCAB, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "torch_dtype": "float16",
}

TOKENIZER = {
    "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]},
}


def llama_shapes():
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": [VOCAB, HIDDEN], "lm_head.weight": [VOCAB, HIDDEN],
              "model.norm.weight": [HIDDEN], layer + "input_layernorm.weight": [HIDDEN],
              layer + "post_attention_layernorm.weight": [HIDDEN]}
    for name, rows, columns in (("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", HIDDEN, HIDDEN),
                                ("self_attn.v_proj", HIDDEN, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN),
                                ("mlp.gate_proj", INNER, HIDDEN), ("mlp.up_proj", INNER, HIDDEN),
                                ("mlp.down_proj", HIDDEN, INNER)):
        shapes[layer + name + ".weight"] = [rows, columns]
    return shapes


def safetensors(shapes):
    header, data = {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = struct.pack(f"<{count}e", *(random.uniform(-0.1, 0.1) for _ in range(count)))
        header[name] = {"dtype": "F16", "shape": shape,
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def fold(folder):
    """A folder as fuzz_unfold takes it, settings first: mutations find them there."""
    out = b""
    for path in sorted(folder.iterdir(), key=lambda p: (p.stat().st_size, p.name)):
        if path.is_file() and path.name != "llmq.json":
            content = path.read_bytes()
            out += f"{path.name} {len(content)}\n".encode() + content
    return out


def reference(llmq, top):
    """A kept reference, and as fuzz_reference builds one: windows, figures, entries."""
    windows = top / "windows.json"
    windows.write_text("[[5, 6, 7]]")
    kept = CORPUS / "reference" / "kept"
    subprocess.run([llmq, "compare", "--model", SMALL, "--reference", SMALL, "--text", windows,
                    "--save-reference", kept, "-q"], check=True, stdout=subprocess.DEVNULL)
    figures = b"".join(struct.pack("<BBff", 5 + t, 7, -1.0, 0.5) for t in range(3))
    entries = b"".join(struct.pack("<BBHBH", 2, 7, 9000, 3, 40000) for _ in range(2)) + b"\0"
    (CORPUS / "reference" / "built").write_bytes(bytes([0, 2]) + figures + entries)


def main(llmq):
    random.seed(1)
    for target in ("folder", "gguf", "record", "reference"):
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as top:
        plain = pathlib.Path(top) / "plain"
        plain.mkdir()
        (plain / "config.json").write_text(json.dumps(LLAMA))
        (plain / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        (plain / "model.safetensors").write_bytes(safetensors(llama_shapes()))
        (CORPUS / "folder" / "plain").write_bytes(fold(plain))
        for form in ("gptq", "awq", "compressed-tensors", "gguf", "onnx"):
            out = pathlib.Path(top) / form
            subprocess.run([llmq, "rtn", "--model", plain, "--out", out, "--group", "32", "--format",
                            form, "-q"], check=True, stdout=subprocess.DEVNULL)
            (CORPUS / "folder" / form).write_bytes(fold(out))
            if form == "gptq":
                (CORPUS / "record" / "gptq").write_bytes((out / "llmq.json").read_bytes())
            if form == "gguf":
                (CORPUS / "gguf" / "llama").write_bytes((out / "model.gguf").read_bytes())
        reference(llmq, pathlib.Path(top))


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
