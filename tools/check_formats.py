#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read quantized checkpoints as their loaders do, and compare two of them bit for bit.

    tools/check_formats.py FOLDER OTHER

Both hold the same quantized model, in any two of the formats gptq, gptq_v2, awq,
compressed-tensors and onnx: codes, zero points and scales of every linear are
compared.  OTHER may also be a plain checkpoint in F32 (or F16), made from the same
model by dequantizing; then every weight (u - z) s, rounded to its type, is compared.
Exit code 0: all the same, 1: a difference, 2: a folder cannot be read.

Nothing here is shared with llmq.  Safetensors and ONNX files are parsed from their
descriptions, and words are taken apart in the way of each format's own loader:

    gptq                AutoGPTQ's torch path: a field per shift, zero points plus
                        one and masked; 3 bits from three words with the two fields
                        that span words put together
    gptq_v2             the same without the plus one (GPTQModel)
    awq                 AutoAWQ's unpack_awq and reverse_awq_order
    compressed-tensors  unpack_from_int32, signed codes and zero points by their
                        offset of 2^(bits-1), no zero point tensor meaning 0, one of
                        I8 taken as it is; as many codes to a word as fit in it
                        pack-quantized; float-quantized: bytes of E4M3 with a scale for
                        each row; mxfp4- and nvfp4-pack-quantized: nibbles of E2M1,
                        the low one first, with a power of two for 32 or an E4M3, over
                        a number for the whole, for 16
    fp8                 bytes of E4M3 with a scale for 128 x 128 of them
    auto-round          the layout that packing_format names
    onnx                com.microsoft.MatMulNBits: what the node's constants point at

Python 3.8 and its standard library are enough; a model of 15 million weights takes
some seconds.
"""
import json
import struct
import sys
from array import array
from pathlib import Path

DTYPE_BYTES = {"I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1,
               "F8_E4M3": 1}


class Unreadable(Exception):
    """A folder that its loader would refuse."""


def require(condition, message):
    if not condition:
        raise Unreadable(message)


# --- containers --------------------------------------------------------------------

class Tensor:
    """One tensor of a safetensors file; the bytes are read when they are asked for."""

    def __init__(self, path, begin, entry):
        self.path, self.dtype, self.shape = path, entry["dtype"], entry["shape"]
        self.begin = begin + entry["data_offsets"][0]
        self.size = entry["data_offsets"][1] - entry["data_offsets"][0]

    def bytes(self):
        with open(self.path, "rb") as file:
            file.seek(self.begin)
            return file.read(self.size)

    def rows(self):
        """Integers or floats, as the rows of a matrix."""
        values = numbers(self.dtype, self.bytes())
        width = self.shape[-1]
        require(len(self.shape) == 2, f"{self.path}: a tensor of rank {len(self.shape)}")
        return [values[i:i + width] for i in range(0, len(values), width)]


def numbers(dtype, data):
    """The elements of a tensor's little-endian bytes."""
    if dtype == "F16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    if dtype == "BF16":
        halves = struct.unpack(f"<{len(data) // 2}H", data)
        return struct.unpack(f"<{len(halves)}f", struct.pack(f"<{len(halves)}I",
                                                             *(h << 16 for h in halves)))
    code = {"I32": "i", "I64": "q", "F32": "f", "I8": "b", "U8": "B", "F8_E4M3": "B"}[dtype]
    values = array(code, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def read_safetensors(path):
    """Name -> Tensor of one file, which must have no holes and nothing after the data."""
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    require(header.pop("__metadata__", {}).get("format") == "pt", f"{path}: no format pt")
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        count = DTYPE_BYTES[entry["dtype"]]
        for size in entry["shape"]:
            count *= size
        require(begin == end and stop - begin == count, f"{path}: {name}: wrong offsets")
        end = stop
    require(8 + length + end == path.stat().st_size, f"{path}: a wrong size")
    return {name: Tensor(path, 8 + length, entry) for name, entry in header.items()}


def read_tensors(folder):
    """Name -> Tensor of all shards of a folder."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return read_safetensors(folder / "model.safetensors")
    places = json.loads(index.read_text())["weight_map"]
    tensors = {}
    for shard in sorted(set(places.values())):
        tensors.update(read_safetensors(folder / shard))
    require(set(tensors) == set(places), f"{index}: other tensors than in the files")
    return tensors


# --- one linear, whatever the format -----------------------------------------------

class Linear:
    """w[n][k] = (codes[k][n] - zeros[g][n]) * scales[g][n], g = groups[k]."""

    def __init__(self, bits, codes, zeros, scales, groups):
        self.bits, self.codes, self.groups = bits, codes, groups
        self.zeros = [bytes(row) for row in zeros]
        self.scales = [tuple(row) for row in scales]
        outputs = {len(row) for row in self.codes + self.zeros + self.scales}
        require(len(outputs) == 1, "tensors disagree about the outputs")
        require(len(groups) == len(codes), "tensors disagree about the inputs")
        require(len(self.zeros) == len(self.scales) > max(groups), "groups are missing")


class Floats:
    """w[n][k] = values[codes[n][k]] * scales[n // rows][k // columns]."""

    def __init__(self, values, codes, scales, rows, columns):
        self.values, self.rows, self.columns = values, rows, columns
        self.codes = [bytes(row) for row in codes]
        self.scales = [tuple(row) for row in scales]
        require(len(self.scales) == -(-len(self.codes) // rows) and
                len(self.scales[0]) == -(-len(self.codes[0]) // columns), "a number of scales")

    def weights(self):
        for n, codes in enumerate(self.codes):
            scales = self.scales[n // self.rows]
            yield [self.values[code] * scales[k // self.columns]
                   for k, code in enumerate(codes)]


def small_floats(exponent_bits, fraction_bits, bias):
    """The value of every code, NaN not told apart."""
    values = []
    for code in range(1 << 1 + exponent_bits + fraction_bits):
        fraction = code & (1 << fraction_bits) - 1
        exponent = code >> fraction_bits & (1 << exponent_bits) - 1
        one = 1 << fraction_bits if exponent else 0
        value = (one + fraction) * 2.0 ** (max(exponent, 1) - bias - fraction_bits)
        values.append(-value if code >> exponent_bits + fraction_bits else value)
    return values


E4M3, E2M1 = small_floats(4, 3, 7), small_floats(2, 1, 1)


def transposed(rows):
    return [bytes(column) for column in zip(*rows)]


def even_groups(inputs, count):
    """The group of each input when all are of one size."""
    require(count > 0 and inputs % count == 0, f"{inputs} inputs in {count} groups")
    return [k // (inputs // count) for k in range(inputs)]


# --- GPTQ ---------------------------------------------------------------------------

def spread_3_bits(low, middle, high):
    """32 fields of three words."""
    fields = [low >> 3 * i & 7 for i in range(10)]
    fields.append(low >> 30 & 3 | middle << 2 & 4)
    fields += [middle >> 3 * i + 1 & 7 for i in range(10)]
    fields.append(middle >> 31 & 1 | high << 1 & 6)
    return fields + [high >> 3 * i + 2 & 7 for i in range(10)]


def spread(word_rows, bits):
    """Fields packed down the columns of word_rows, as rows."""
    if bits == 3:
        return [bytes(row) for i in range(0, len(word_rows), 3)
                for row in zip(*map(spread_3_bits, *word_rows[i:i + 3]))]
    return [bytes([word >> shift & (1 << bits) - 1 for word in row])
            for row in word_rows for shift in range(0, 32, bits)]


def read_gptq(config, tensors):
    settings = [config[key] for key in ("bits", "group_size", "desc_act", "sym")]
    require("zero_point" not in config and not settings[2], "keys that loaders misread")
    plus = 1 if config.get("checkpoint_format", "gptq") == "gptq" else 0
    for module, part in modules_of(tensors, "qweight"):
        groups = list(numbers(part["g_idx"].dtype, part["g_idx"].bytes()))
        bits = 32 * part["qweight"].shape[0] // len(groups)
        mask = (1 << bits) - 1
        stored = spread(list(zip(*part["qzeros"].rows())), bits)
        zeros = transposed([bytes([z + plus & mask for z in row]) for row in stored])
        yield module, Linear(bits, spread(part["qweight"].rows(), bits), zeros,
                             part["scales"].rows(), groups)


# --- AWQ ----------------------------------------------------------------------------

REVERSE_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]


def unpack_awq(word_rows):
    """Nibbles in their order in the words, then brought into the order of the outputs."""
    out = []
    for words in word_rows:
        nibbles = [word >> shift for word in words for shift in range(0, 32, 4)]
        row = [0] * len(nibbles)
        for place, nibble in enumerate(REVERSE_ORDER):
            row[place::8] = nibbles[nibble::8]
        out.append(bytes([value & 15 for value in row]))
    return out


def read_awq(config, tensors):
    require(config["bits"] == 4 and config["zero_point"] is True, "not what kernels take")
    require(config["version"] == "gemm", f"version {config['version']}")
    for module, part in modules_of(tensors, "qweight"):
        codes, size = unpack_awq(part["qweight"].rows()), config["group_size"]
        groups = [k // (size if size > 0 else len(codes)) for k in range(len(codes))]
        yield module, Linear(4, codes, unpack_awq(part["qzeros"].rows()),
                             part["scales"].rows(), groups)


# --- compressed-tensors -------------------------------------------------------------

def unpack_from_int32(word_rows, bits, width):
    """Signed values packed along the rows, padding cut off."""
    offset, out = 1 << bits - 1, []
    for words in word_rows:
        row = [0] * (len(words) * (32 // bits))
        for i in range(32 // bits):
            row[i::32 // bits] = [word >> bits * i & (1 << bits) - 1 for word in words]
        out.append([value - offset for value in row[:width]])
    return out


def weights_of(config):
    """What the groups, which say the same, say of the weights."""
    groups = [group["weights"] for group in config["config_groups"].values()]
    require(all(group == groups[0] for group in groups), "groups of several kinds")
    return groups[0]


def read_float_quantized(config, tensors):
    weights = weights_of(config)
    require((weights["num_bits"], weights["type"], weights["strategy"]) == (8, "float", "channel"),
            "not FP8 by rows")
    return read_e4m3(tensors, "weight_scale", 1, None)


def read_e4m3(tensors, scale, rows, columns):
    for module, part in modules_of(tensors, scale):
        require(part["weight"].dtype == "F8_E4M3", f"{module}: {part['weight'].dtype}")
        yield module, Floats(E4M3, part["weight"].rows(), part[scale].rows(), rows,
                             columns or part["weight"].shape[1])


def read_fp4(tensors, group, scale_of):
    for module, part in modules_of(tensors, "weight_packed"):
        width = 2 * part["weight_packed"].shape[1]
        codes = [low_first(bytes(row), 4, width) for row in part["weight_packed"].rows()]
        yield module, Floats(E2M1, codes, scale_of(part), 1, group)


def read_mxfp4(config, tensors):
    require(weights_of(config)["group_size"] == 32, "not MXFP4")
    return read_fp4(tensors, 32, lambda part: [[2.0 ** (code - 127) for code in row]
                                               for row in part["weight_scale"].rows()])


def read_nvfp4(config, tensors):
    weights = weights_of(config)
    require((weights["group_size"], weights["strategy"]) == (16, "tensor_group"), "not NVFP4")

    def scales(part):
        whole, = numbers("F32", part["weight_global_scale"].bytes())
        require(part["weight_scale"].dtype == "F8_E4M3", "scales of another type")
        return [[E4M3[code] / whole for code in row] for row in part["weight_scale"].rows()]

    return read_fp4(tensors, 16, scales)


def read_fp8(config, tensors):
    require(config["activation_scheme"] == "dynamic" and config["fmt"] == "e4m3", "another fp8")
    return read_e4m3(tensors, "weight_scale_inv", *config["weight_block_size"])


def read_compressed_tensors(config, tensors):
    require(config["quantization_status"] == "compressed", "not compressed")
    formats = {"pack-quantized": read_pack_quantized, "float-quantized": read_float_quantized,
               "mxfp4-pack-quantized": read_mxfp4, "nvfp4-pack-quantized": read_nvfp4}
    require(config["format"] in formats, f"format {config['format']}")
    return formats[config["format"]](config, tensors)


def read_pack_quantized(_, tensors):
    for module, part in modules_of(tensors, "weight_packed"):
        outputs, inputs = numbers("I64", part["weight_shape"].bytes())
        bits = 32 * part["weight_packed"].shape[1] // inputs
        offset, count = 1 << bits - 1, part["weight_scale"].shape[1]
        codes = unpack_from_int32(part["weight_packed"].rows(), bits, inputs)
        zeros = [[0] * outputs] * count
        if "weight_g_idx" in part:
            map_of_groups = numbers(part["weight_g_idx"].dtype, part["weight_g_idx"].bytes())
            require(set(map_of_groups) == {-1}, f"{module}: a map of groups")
        if "weight_zero_point" in part and part["weight_zero_point"].dtype == "I8":
            zeros = list(zip(*part["weight_zero_point"].rows()))
        elif "weight_zero_point" in part:
            columns = list(zip(*part["weight_zero_point"].rows()))
            zeros = unpack_from_int32(columns, bits, outputs)
        codes = [[value + offset for value in row] for row in codes]
        zeros = [[value + offset for value in row] for row in zeros]
        yield module, Linear(bits, transposed(codes), zeros,
                             list(zip(*part["weight_scale"].rows())),
                             even_groups(inputs, count))


# --- ONNX ---------------------------------------------------------------------------

def fields(data):
    """Field number -> values (integers and bytes) of a Protocol Buffers message."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key, value = varint(), varint()
        require(key & 7 in (0, 2), f"wire type {key & 7}")
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        found.setdefault(key >> 3, []).append(value)
    require(at == len(data), "a message ends early")
    return found


def external_data(folder, tensor):
    entries = map(fields, tensor[13])
    place = {entry[1][0].decode(): entry[2][0].decode() for entry in entries}
    require("/" not in place["location"], f"{place['location']}: outside the folder")
    with open(folder / place["location"], "rb") as file:
        file.seek(int(place["offset"]))
        data = file.read(int(place["length"]))
    require(len(data) == int(place["length"]), f"{place['location']} ends early")
    return data


def low_first(data, bits, count):
    """`count` fields from the low bits of each byte on; none spans two bytes."""
    out = bytearray(len(data) * 8 // bits)
    for i in range(8 // bits):
        out[i::8 // bits] = bytes([byte >> bits * i & (1 << bits) - 1 for byte in data])
    return bytes(out[:count])


def cut(data, rows):
    width = len(data) // rows
    return [data[i * width:(i + 1) * width] for i in range(rows)]


def read_onnx_model(path):
    graph = fields(fields(path.read_bytes())[7][0])
    node = fields(graph[1][0])
    require(node[4] == [b"MatMulNBits"] and node[7] == [b"com.microsoft"], f"{path}: node")
    at = {fields(a)[1][0].decode(): fields(a)[3][0] for a in node[5]}
    constants = {t[8][0]: t for t in map(fields, graph[5])}
    data = [external_data(path.parent, constants[name]) for name in node[1][1:]]
    outputs, bits, blocks = at["N"], at["bits"], -(-at["K"] // at["block_size"])
    require(constants[node[1][1]][1] == [outputs, blocks, at["block_size"] * bits // 8],
            f"{path}: dimensions of B")
    codes = [low_first(row, bits, at["K"]) for row in cut(data[0], outputs)]
    zeros = [bytes([1 << bits - 1] * blocks)] * outputs
    if len(data) > 2:
        zeros = [low_first(row, bits, blocks) for row in cut(data[2], outputs)]
    scales = cut(numbers("F32", data[1]), outputs)
    return Linear(bits, transposed(codes), transposed(zeros), list(zip(*scales)),
                  [k // at["block_size"] for k in range(at["K"])])


def read_onnx(config, tensors, folder):
    require(config["format"] == "MatMulNBits", f"format {config['format']}")
    models = {path.name[:-len(".onnx")]: path for path in folder.glob("*.onnx")}
    require(models.keys() == {name for name, _ in modules_of(tensors, "B")}, "models differ")
    for name in sorted(models):
        yield name, read_onnx_model(models[name])


# --- folders ------------------------------------------------------------------------

def modules_of(tensors, marker):
    """(module, {suffix: Tensor}) of every module that has the tensor `marker`."""
    for name in sorted(tensors):
        module, _, suffix = name.rpartition(".")
        if suffix == marker:
            yield module, {other[len(module) + 1:]: tensors[other] for other in tensors
                           if other.startswith(module + ".")}


def read_folder(folder):
    """An iterator of (module, Linear), or None for a plain checkpoint; and the tensors."""
    config = json.loads((folder / "config.json").read_text()).get("quantization_config")
    tensors = read_tensors(folder)
    method = config and config["quant_method"]
    if method == "onnx":
        return read_onnx(config, tensors, folder), tensors
    if method == "auto-round":
        layouts = {"auto_round:auto_gptq": "gptq", "auto_round:auto_awq": "awq"}
        require(config["packing_format"] in layouts, f"packing {config['packing_format']}")
        method, config = layouts[config["packing_format"]], {"desc_act": False, **config}
    readers = {"gptq": read_gptq, "awq": read_awq, "fp8": read_fp8,
               "compressed-tensors": read_compressed_tensors}
    require(method is None or method in readers, f"quant_method {method}")
    return readers[method](config, tensors) if method else None, tensors


# --- comparisons --------------------------------------------------------------------

def differences(a, b):
    """What differs between two linears, in words; nothing when they are the same."""
    if isinstance(a, Floats) or isinstance(b, Floats):
        same = isinstance(a, Floats) and isinstance(b, Floats) and vars(a) == vars(b)
        return [] if same else ["codes or scales"]
    if (a.bits, len(a.codes), len(a.codes[0])) != (b.bits, len(b.codes), len(b.codes[0])):
        return ["bits or shapes"]
    found = []
    if a.codes != b.codes:
        found.append("codes")
    pairs = set(zip(a.groups, b.groups))    # groups that share inputs, however they are cut
    if any(a.zeros[i] != b.zeros[j] for i, j in pairs):
        found.append("zero points")
    if any(a.scales[i] != b.scales[j] for i, j in pairs):
        found.append("scales")
    return found


def dense_differences(a, weight):
    """The same against a plain weight [N, K]. The products are exact in double precision,
    and packing rounds them to nearest even."""
    floats = isinstance(a, Floats)
    shape = [len(a.codes[0]), len(a.codes)]
    if weight.shape != (shape[::-1] if floats else shape):
        return ["shapes"]
    require(weight.dtype in ("F32", "F16"), f"weights in {weight.dtype}, not F32 or F16")
    code = "f" if weight.dtype == "F32" else "e"
    columns = []
    for codes, group in zip(a.codes, () if floats else a.groups):
        zeros, scales = a.zeros[group], a.scales[group]
        columns.append([(u - z) * s for u, z, s in zip(codes, zeros, scales)])
    rows = a.weights() if floats else zip(*columns)
    values = [value for row in rows for value in row]
    same = struct.pack(f"<{len(values)}{code}", *values) == weight.bytes()
    return [] if same else ["weights"]


def compare(folder, other):
    """Print every difference; the exit code."""
    linears, _ = read_folder(folder)
    others, tensors = read_folder(other)
    require(linears is not None, f"{folder}: not quantized")
    dense, others = others is None, dict(others or ())
    counts, bad = [0, 0], 0
    for module, linear in linears:
        if dense:
            found = dense_differences(linear, tensors[module + ".weight"])
        else:
            found = differences(linear, others.pop(module)) if module in others else ["all"]
        for what in found:
            print(f"{module}: {what} differ")
        counts = [counts[0] + 1, counts[1] + len(linear.codes) * len(linear.codes[0])]
        bad += bool(found)
    for module in others:
        print(f"{module}: only in {other}")
    bad += len(others)
    require(counts[0] > 0, f"{folder}: no quantized linears")
    print(f"{counts[0]} linears, {counts[1]} weights: {'the same' if bad == 0 else 'DIFFERENT'}")
    return 1 if bad else 0


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return compare(*map(Path, arguments))
    except (Unreadable, OSError, KeyError, ValueError, struct.error) as error:
        print(f"check_formats: {type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
