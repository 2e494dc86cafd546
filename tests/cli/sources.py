#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as they ship, small ones of each kind, and a reader of them that shares nothing with
llmq.

    sources.py make               models of random weights, here: FAMILY for llama, granitemoe and
                                  gpt_oss, FAMILY-KIND with their linears stored so, in two shards,
                                  scales in the other one than codes, and bad-FAULT, damaged ones
    sources.py check PREFIX       for every folder PREFIX-NAME-DTYPE: decode NAME and compare every
                                  tensor with those of the folder, byte for byte, in their types
    sources.py mixed PACKED PLAIN OUT     PACKED with the linears of attention as in PLAIN: of a
                                          compressed-tensors checkpoint, as Kimi K2 ships, with
                                          scales in BF16; of a gptq one with desc_act, and the
                                          groups of columns in disorder if OUT has that in its name
    sources.py kept SOURCE RESULT         is everything packed of SOURCE in RESULT, byte for byte?

Kinds, and where they are described:

    fp8-blocks, fp8-blocks-bf16, fp8-blocks-e8m0
                    DeepSeek-V3, inference/fp8_cast_bf16.py: weight_scale_inv for each block
    fp8-tensor      vLLM, model_executor/layers/quantization/fp8.py: weight_scale, input_scale
    fp8-tensor-inv  transformers, integrations/finegrained_fp8.py without weight_block_size
    floats-channel, floats-tensor, floats-block
                    compressed-tensors, compressors/quantized_compressors/naive_quantized.py
    mxfp4           transformers, integrations/mxfp4.py: convert_moe_packed_tensors;
    mxfp4+edges     the same with every code and scales from one end to the other, which no
                    model computes with

Exit code 0: all the same, 1: a difference. Python 3.8 and its standard library are enough.
"""
import bisect
import json
import math
import random
import struct
import sys
from pathlib import Path

# --- safetensors -------------------------------------------------------------------

WIDTH = {"F32": 4, "BF16": 2, "F16": 2, "I32": 4, "I64": 8, "U8": 1, "F8_E4M3": 1, "F8_E8M0": 1}


def read_file(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (e["dtype"], e["shape"],
                   data[8 + length + e["data_offsets"][0]:8 + length + e["data_offsets"][1]])
            for name, e in header.items()}


def read_folder(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(read_file(path))
    return tensors


def write_file(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def write_folder(folder, tensors, config, shards=1):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    if shards == 1:
        write_file(folder / "model.safetensors", tensors)
        return
    parts = [{n: t for n, t in tensors.items() if is_scale(n) == second} for second in (False, True)]
    where = {}
    for i, part in enumerate(parts):
        name = "model-%05d-of-00002.safetensors" % (i + 1)
        write_file(folder / name, part)
        where.update({n: name for n in part})
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": where}))


def is_scale(name):
    return name.endswith(("_scale", "_scale_inv", "_scales"))


def count_of(shape):
    return math.prod(shape)


# --- numbers -----------------------------------------------------------------------

def e4m3(code):
    sign, exponent, fraction = code >> 7, code >> 3 & 15, code & 7
    if exponent == 15 and fraction == 7:
        return math.nan
    value = fraction * 2.0 ** -9 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    return -value if sign else value


def e2m1(code):
    sign, exponent, fraction = code >> 3, code >> 1 & 3, code & 1
    value = fraction * 0.5 if exponent == 0 else (1 + fraction / 2) * 2.0 ** (exponent - 1)
    return -value if sign else value


E4M3 = [e4m3(code) for code in range(256)]
E2M1 = [e2m1(code) for code in range(16)]
E4M3_UP, E2M1_UP = E4M3[:127], E2M1[:8]


def nearest(table, value):
    """The code of the number of an ascending table that is nearest to a magnitude."""
    i = min(max(bisect.bisect_left(table, value), 1), len(table) - 1)
    return i if table[i] - value < value - table[i - 1] else i - 1


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def bf16_bytes(values):
    out = bytearray()
    for value in values:
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        out += struct.pack("<H", (bits + 0x7fff + (bits >> 16 & 1)) >> 16)
    return bytes(out)


def pack_floats(dtype, values):
    if dtype == "F32":
        return struct.pack("<%df" % len(values), *values)
    if dtype == "BF16":
        return bf16_bytes(values)
    if dtype == "F16":
        return struct.pack("<%de" % len(values), *values)
    if dtype == "F8_E8M0":
        return bytes(round(math.log2(v)) + 127 for v in values)
    raise SystemExit("no floats as " + dtype)


def unpack_floats(dtype, data):
    if dtype == "F32":
        return list(struct.unpack("<%df" % (len(data) // 4), data))
    if dtype == "F16":
        return list(struct.unpack("<%de" % (len(data) // 2), data))
    if dtype == "BF16":
        words = struct.unpack("<%dH" % (len(data) // 2), data)
        return list(struct.unpack("<%df" % len(words), struct.pack("<%dI" % len(words),
                                                                   *(w << 16 for w in words))))
    if dtype in ("F8_E8M0", "U8"):
        return [2.0 ** (code - 127) for code in data]
    raise SystemExit("no floats in " + dtype)


# --- plain models ------------------------------------------------------------------

COMMON = {"vocab_size": 101, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
          "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": False,
          "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1}


def matrix(*shape):
    scale = 0.5 / math.sqrt(shape[-1])
    values = [random.gauss(0, scale) for _ in range(count_of(shape))]
    return "BF16", list(shape), bf16_bytes(values)


def ones(size):
    return "BF16", [size], bf16_bytes([1.0] * size)


def plain_model(family):
    hidden, inner, head = 64, 96 if family == "llama" else 32, 16
    config = dict(COMMON, model_type=family, hidden_size=hidden, intermediate_size=inner,
                  head_dim=head)
    tensors = {"model.embed_tokens.weight": matrix(101, hidden), "model.norm.weight": ones(hidden),
               "lm_head.weight": matrix(101, hidden)}
    for layer in range(2):
        at = "model.layers.%d." % layer
        for name, rows, columns in (("q", 4 * head, hidden), ("k", 2 * head, hidden),
                                    ("v", 2 * head, hidden), ("o", hidden, 4 * head)):
            tensors[at + "self_attn.%s_proj.weight" % name] = matrix(rows, columns)
            if family == "gpt_oss":
                tensors[at + "self_attn.%s_proj.bias" % name] = ones(rows)
        tensors[at + "input_layernorm.weight"] = ones(hidden)
        tensors[at + "post_attention_layernorm.weight"] = ones(hidden)
        if family == "llama":
            tensors[at + "mlp.gate_proj.weight"] = matrix(inner, hidden)
            tensors[at + "mlp.up_proj.weight"] = matrix(inner, hidden)
            tensors[at + "mlp.down_proj.weight"] = matrix(hidden, inner)
        elif family == "granitemoe":
            moe = at + "block_sparse_moe."
            tensors[moe + "router.layer.weight"] = matrix(4, hidden)
            tensors[moe + "input_linear.weight"] = matrix(4, 2 * inner, hidden)
            tensors[moe + "output_linear.weight"] = matrix(4, hidden, inner)
        else:
            tensors[at + "self_attn.sinks"] = ones(4)
            tensors[at + "mlp.router.weight"] = matrix(4, hidden)
            tensors[at + "mlp.router.bias"] = ones(4)
            tensors[at + "mlp.experts.gate_up_proj"] = matrix(4, hidden, 2 * inner)
            tensors[at + "mlp.experts.gate_up_proj_bias"] = ("BF16", [4, 2 * inner],
                                                             ones(8 * inner)[2])
            tensors[at + "mlp.experts.down_proj"] = matrix(4, inner, hidden)
            tensors[at + "mlp.experts.down_proj_bias"] = ("BF16", [4, hidden], ones(4 * hidden)[2])
    if family == "llama":
        config["architectures"] = ["LlamaForCausalLM"]
    elif family == "granitemoe":
        config.update(architectures=["GraniteMoeForCausalLM"], num_local_experts=4,
                      num_experts_per_tok=2, attention_multiplier=0.25, embedding_multiplier=1.0,
                      residual_multiplier=1.0, logits_scaling=1.0)
    else:
        config.update(architectures=["GptOssForCausalLM"], num_local_experts=4,
                      num_experts_per_tok=2, sliding_window=8, attention_bias=True,
                      rope_scaling={"rope_type": "yarn", "factor": 4.0, "beta_fast": 4.0,
                                    "beta_slow": 0.5, "truncate": False,
                                    "original_max_position_embeddings": 16},
                      layer_types=["sliding_attention", "full_attention"])
    return tensors, config


# --- encoding ----------------------------------------------------------------------

BLOCK = (40, 56)  # divides no side: the last blocks are smaller

# How scales are called and stored, what they are of, and what is beside them.
FP8 = {
    "fp8-blocks": ("_scale_inv", "F32", "block", None),
    "fp8-blocks-bf16": ("_scale_inv", "BF16", "block", None),
    "fp8-blocks-e8m0": ("_scale_inv", "F8_E8M0", "block", None),
    "fp8-tensor": ("_scale", "F32", "tensor", "input_scale"),
    "fp8-tensor-inv": ("_scale_inv", "BF16", "tensor", "activation_scale"),
    "floats-channel": ("_scale", "BF16", "channel", None),
    "floats-tensor": ("_scale", "F32", "tensor", "input_scale"),
    "floats-block": ("_scale", "BF16", "block", None),
}


def fp8_config(kind):
    strategy = FP8[kind][2]
    if kind.startswith("fp8-blocks"):
        config = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                  "weight_block_size": list(BLOCK)}
        return dict(config, scale_fmt="ue8m0") if kind.endswith("e8m0") else config
    if kind == "fp8-tensor":
        return {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}
    if kind == "fp8-tensor-inv":
        return {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None,
                "dequantize": False, "modules_to_not_convert": ["lm_head"]}
    weights = {"num_bits": 8, "type": "float", "strategy": strategy, "symmetric": True,
               "dynamic": False, "group_size": None, "actorder": None, "observer": "minmax",
               "block_structure": list(BLOCK) if strategy == "block" else None}
    activations = {"num_bits": 8, "type": "float", "strategy": "token", "symmetric": True,
                   "dynamic": True}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations,
             "output_activations": None, "format": "float-quantized"}
    return {"quant_method": "compressed-tensors", "format": "float-quantized",
            "quantization_status": "compressed", "config_groups": {"group_0": group},
            "ignore": ["lm_head"], "kv_cache_scheme": None, "sparsity_config": {},
            "transform_config": {}, "global_compression_ratio": None, "version": "0.13.0"}


def is_linear(name, shape):
    kept = ("embed", "lm_head", "norm", "router", "_bias")
    return len(shape) > 1 and not any(part in name for part in kept)


def blocks_of(kind, rows, columns):
    strategy = FP8[kind][2]
    return BLOCK if strategy == "block" else (1 if strategy == "channel" else rows, columns)


def scale_shape(kind, shape):
    rows, columns = blocks_of(kind, *shape[-2:])
    whole = list(shape[:-2]) + [-(-shape[-2] // rows), -(-shape[-1] // columns)]
    return whole[:-2] if FP8[kind][2] == "tensor" else whole


def scale_index(kind, shape, i):
    """Of element i of a tensor, that of its scale."""
    rows, columns = shape[-2:]
    block = blocks_of(kind, rows, columns)
    at, row, column = i // (rows * columns), i // columns % rows, i % columns
    across, down = -(-columns // block[1]), -(-rows // block[0])
    return (at * down + row // block[0]) * across + column // block[1]


def encode_fp8(kind, name, shape, values, out):
    suffix, dtype, _, beside = FP8[kind]
    shape_of_scales = scale_shape(kind, shape)
    peaks = [0.0] * max(count_of(shape_of_scales), 1)
    where = [scale_index(kind, shape, i) for i in range(len(values))]
    for i, value in zip(where, values):
        peaks[i] = max(peaks[i], abs(value))
    scales = [peak / 448 for peak in peaks]
    if dtype == "F8_E8M0":
        scales = [2.0 ** math.ceil(math.log2(s)) for s in scales]
    data = pack_floats(dtype, scales)
    scales = unpack_floats(dtype, data)
    codes = bytearray(nearest(E4M3_UP, abs(v) / scales[i]) | (0x80 if v < 0 else 0)
                      for i, v in zip(where, values))
    codes[:254] = bytes(c for c in range(256) if c & 0x7f != 0x7f)  # every number
    out[name] = ("F8_E4M3", shape, bytes(codes))
    out[name + suffix] = (dtype, shape_of_scales, data)
    if beside:
        out[name[:-len("weight")] + beside] = ("F32", [], struct.pack("<f", 0.01))


def encode_mxfp4(name, shape, values, edges, out):
    experts, columns, rows = shape  # the plain tensor is turned
    codes, scales = bytearray(), bytearray()
    for e in range(experts):
        for row in range(rows):
            for begin in range(0, columns, 32):
                group = [values[(e * columns + c) * rows + row] for c in range(begin, begin + 32)]
                peak = max(abs(v) for v in group)
                power = math.floor(math.log2(peak)) - 2 if peak else 0
                scales.append(power + 127)
                at = [nearest(E2M1_UP, abs(v) / 2.0 ** power) | (8 if v < 0 else 0) for v in group]
                codes += bytes(at[i] | at[i + 1] << 4 for i in range(0, 32, 2))
    if edges:  # every pair, and the smallest and nearly the largest scale
        codes[:256] = bytes(range(256))
        scales[0], scales[1] = 0, 252
    out[name + "_blocks"] = ("U8", [experts, rows, columns // 32, 16], bytes(codes))
    out[name + "_scales"] = ("U8", [experts, rows, columns // 32], bytes(scales))


def encode(kind, plain, folder):
    kind, _, edges = kind.partition("+")
    config = json.loads((plain / "config.json").read_text())
    out = {}
    for name, (dtype, shape, data) in read_folder(plain).items():
        if kind == "mxfp4" and is_linear(name, shape) and len(shape) == 3:
            encode_mxfp4(name, shape, unpack_floats(dtype, data), edges, out)
        elif kind != "mxfp4" and is_linear(name, shape):
            encode_fp8(kind, name, shape, unpack_floats(dtype, data), out)
        else:
            out[name] = (dtype, shape, data)
    config["quantization_config"] = (
        {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
        if kind == "mxfp4" else fp8_config(kind))
    write_folder(folder, out, config, shards=2)


# --- decoding ----------------------------------------------------------------------

def kind_of(config):
    q = config["quantization_config"]
    if q["quant_method"] == "mxfp4":
        return "mxfp4", None
    if q["quant_method"] == "fp8":
        return "fp8", q.get("weight_block_size")
    weights = q["config_groups"]["group_0"]["weights"]
    return "fp8", weights.get("block_structure")


def decode_fp8(shape, codes, scales, block):
    rows, columns = shape[-2:]
    stack = count_of(shape[:-2])
    if block is None:
        each = len(scales) // stack  # 1 or one for each row
        block = [rows if each == 1 else 1, columns]
    down, across = -(-rows // block[0]), -(-columns // block[1])
    out = []
    for e in range(stack):
        for row in range(rows):
            begin = (e * rows + row) * columns
            first = (e * down + row // block[0]) * across
            out += [f32(E4M3[codes[begin + c]] * scales[first + c // block[1]])
                    for c in range(columns)]
    return shape, out


def decode_mxfp4(shape, codes, powers):
    experts, rows, groups, _ = shape
    columns = groups * 32
    out = [0.0] * (experts * rows * columns)
    for e in range(experts):
        for row in range(rows):
            for column in range(columns):
                at = (e * rows + row) * columns + column
                byte = codes[at // 2]
                code = byte >> 4 if at % 2 else byte & 15
                out[(e * columns + column) * rows + row] = E2M1[code] * powers[at // 32]
    return [experts, columns, rows], out


def decode(folder):
    """Name -> (shape, values)."""
    config = json.loads((folder / "config.json").read_text())
    kind, block = kind_of(config)
    tensors, out = read_folder(folder), {}
    for name, (dtype, shape, data) in tensors.items():
        if is_scale(name):
            continue
        if dtype == "F8_E4M3":
            scale = tensors.get(name + "_scale_inv") or tensors[name + "_scale"]
            out[name] = decode_fp8(shape, data, unpack_floats(scale[0], scale[2]), block)
        elif kind == "mxfp4" and name.endswith("_blocks"):
            stem = name[:-len("_blocks")]
            out[stem] = decode_mxfp4(shape, data, unpack_floats("U8", tensors[stem + "_scales"][2]))
        else:
            out[name] = (shape, unpack_floats(dtype, data))
    return out


def check(folder, decoded):
    ours, theirs, bad = decode(folder), read_folder(decoded), 0
    for name in sorted(set(ours) ^ set(theirs)):
        print("%s: only in %s" % (name, folder if name in ours else decoded))
        bad += 1
    for name in sorted(set(ours) & set(theirs)):
        dtype, shape, data = theirs[name]
        if shape != list(ours[name][0]) or data != pack_floats(dtype, ours[name][1]):
            print("%s: %s%s differs" % (name, dtype, shape))
            bad += 1
    print("%d tensors are the same" % (len(set(ours) & set(theirs)) - bad if bad == 0 else 0))
    return bad > 0


# --- damage ------------------------------------------------------------------------

WEIGHT = "model.layers.1.self_attn.k_proj.weight"
BLOCKS = "model.layers.1.mlp.experts.down_proj_blocks"


def damage(name, tensors, config):
    quant = config["quantization_config"]
    scale = next((n for n in (WEIGHT + "_scale_inv", WEIGHT + "_scale") if n in tensors), None)

    def put(tensor, at, piece):
        dtype, shape, data = tensors[tensor]
        tensors[tensor] = (dtype, shape, data[:at] + piece + data[at + len(piece):])

    def shaped(tensor, shape):
        dtype, _, data = tensors[tensor]
        tensors[tensor] = (dtype, shape, data[:count_of(shape) * WIDTH[dtype]])

    if name == "missing-scale":
        del tensors[scale]
    elif name == "scale-shape":
        shaped(scale, [1, 1])
    elif name == "scale-dtype":
        tensors[scale] = ("I32",) + tensors[scale][1:]
    elif name == "two-scales":
        tensors[WEIGHT + "_scale"] = tensors[scale]
    elif name == "zero-points":
        tensors[WEIGHT + "_zero_point"] = tensors[scale]
    elif name == "scaled-plain":
        tensors[WEIGHT] = ("BF16", tensors[WEIGHT][1], tensors[WEIGHT][2] * 2)
    elif name == "nan-code":
        put(WEIGHT, 3 * 64 + 7, b"\xff")
    elif name == "inf-scale":
        put(scale, 0, struct.pack("<f", math.inf))
    elif name == "negative-scale":
        put(scale, 0, struct.pack("<f", -1.0))
    elif name == "huge-scale":
        put(scale, 0, struct.pack("<f", 3e38))
    elif name == "block-zero":
        quant["weight_block_size"] = [0, 128]
    elif name == "block-other":
        quant["weight_block_size"] = [64, 64]
    elif name == "e5m2":
        quant["fmt"] = "e5m2"
    elif name == "method":
        quant["quant_method"] = "fp7"
    elif name == "decoded":
        for tensor in [n for n in tensors if is_scale(n)]:
            del tensors[tensor]
        for tensor in [n for n in tensors if tensors[n][0] == "F8_E4M3"]:
            tensors[tensor] = ("BF16", tensors[tensor][1], b"\0\x3c" * len(tensors[tensor][2]))
    elif name == "key":
        quant["rotated"] = True
    elif name == "no-config":
        del config["quantization_config"]
    elif name == "missing-scales":
        del tensors[BLOCKS.replace("_blocks", "_scales")]
    elif name == "scales-shape":
        shaped(BLOCKS.replace("_blocks", "_scales"), [4, 64, 1, 1])
    elif name == "blocks-shape":
        shaped(BLOCKS, [4, 64, 2, 8])
    elif name == "scale-255":
        put(BLOCKS.replace("_blocks", "_scales"), 5, b"\xff")
    elif name == "scale-254":
        put(BLOCKS, 5 * 16, b"\x77")
        put(BLOCKS.replace("_blocks", "_scales"), 5, b"\xfe")
    else:
        raise SystemExit("no such fault: " + name)


def fault(base, name):
    tensors = read_folder(Path(base))
    config = json.loads((Path(base) / "config.json").read_text())
    damage(name, tensors, config)
    write_folder(Path("bad-" + name), tensors, config, shards=2)


# --- packed ------------------------------------------------------------------------

PARTS = (".weight_packed", ".weight_scale", ".weight_shape", ".qweight", ".qzeros", ".scales",
         ".g_idx")


def mixed(packed, plain, out):
    config = json.loads((packed / "config.json").read_text())
    quant = config["quantization_config"]
    tensors = {}
    for name, (dtype, shape, data) in read_folder(packed).items():
        if name.endswith(PARTS) and ".self_attn." in name:
            continue
        if name.endswith(".weight_scale"):
            dtype, data = "BF16", bf16_bytes(unpack_floats(dtype, data))
        if name.endswith(".g_idx") and "disorder" in out.name:
            groups = list(struct.unpack("<%di" % shape[0], data))
            random.shuffle(groups)
            data = struct.pack("<%di" % shape[0], *groups)
        tensors[name] = (dtype, shape, data)
    for name, tensor in read_folder(plain).items():
        if ".self_attn." in name:
            tensors[name] = tensor
    if quant["quant_method"] == "gptq":
        quant["dynamic"] = {"-:.*self_attn.*": {}}
        quant["desc_act"] = True
    else:
        quant["ignore"] = ["lm_head", "re:.*self_attn.*"]
    write_folder(out, tensors, config, shards=2)


def kept(source, result):
    ours, theirs = read_folder(source), read_folder(result)
    packed = [n for n in ours if n.endswith(PARTS)]
    bad = [n for n in packed if ours[n] != theirs.get(n)]
    print("%d of %d packed tensors differ: %s" % (len(bad), len(packed), bad[:3]))
    return bool(bad) or not packed


KINDS = {"llama": list(FP8), "gpt_oss": ["mxfp4", "mxfp4+edges"],
         "granitemoe": ["fp8-blocks", "fp8-tensor", "floats-channel"]}
FAULTS = {
    "llama-fp8-blocks": ["missing-scale", "scale-shape", "scale-dtype", "two-scales", "zero-points",
                         "scaled-plain", "nan-code", "inf-scale", "negative-scale", "huge-scale",
                         "block-zero", "block-other", "e5m2", "method", "key", "no-config", "decoded"],
    "gpt_oss-mxfp4": ["missing-scales", "scales-shape", "blocks-shape", "scale-255", "scale-254"],
}


def make():
    for family, kinds in KINDS.items():
        tensors, config = plain_model(family)
        write_folder(Path(family), tensors, config)
        for kind in kinds:
            encode(kind, Path(family), Path(family + "-" + kind))
    for base, names in FAULTS.items():
        for name in names:
            fault(base, name)


def main(args):
    random.seed(7)
    if args == ["make"]:
        make()
        return 0
    if args[:1] == ["mixed"] and len(args) == 4:
        mixed(*map(Path, args[1:]))
        return 0
    if args[:1] == ["kept"] and len(args) == 3:
        return kept(Path(args[1]), Path(args[2]))
    if args[:1] != ["check"] or len(args) != 2:
        raise SystemExit(__doc__)
    folders = sorted(Path(".").glob(args[1] + "-*-*"))
    bad = sum(check(Path(f.name[len(args[1]) + 1:].rpartition("-")[0]), f) for f in folders)
    print("%d checkpoints" % len(folders))
    return bad > 0 or not folders


sys.exit(main(sys.argv[1:]))
