# SPDX-License-Identifier: Apache-2.0
"""The demo model: a Llama decoder in PyTorch, its configuration and its file.

Parameter names are those of transformers' LlamaForCausalLM, so that the state
dict is the checkpoint.  The output head is the embedding matrix.
"""
import json
import math
import os
import struct

import torch
from torch import nn
from torch.nn import functional as F

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 768,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 5,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.3",
    "use_cache": True,
    "vocab_size": 4096,
}


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


def rotate(x, cos, sin):
    """Rotary embedding, half-split: the pair of dimension i is i + head_dim / 2."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class Attention(nn.Module):
    """Causal self-attention; each key/value head serves `group` query heads."""

    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.dim = (
            c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"])
        hidden = c["hidden_size"]
        self.q_proj = nn.Linear(hidden, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, hidden, bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        group = self.heads // self.kv_heads
        # Queries [B, kv, group * T, d] against keys [B, kv, T, d]: no key is copied.
        q = self.q_proj(x).view(batch, length, self.kv_heads, group, self.dim)
        q = q.permute(0, 2, 3, 1, 4)
        k = self.k_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        q = (rotate(q, cos, sin) / math.sqrt(self.dim)).reshape(batch, self.kv_heads, -1, self.dim)
        scores = q @ rotate(k, cos, sin).transpose(2, 3)
        scores = scores.view(batch, self.kv_heads, group, length, length) + mask
        y = scores.softmax(-1).view(batch, self.kv_heads, group * length, length) @ v
        y = y.view(batch, self.heads, length, self.dim).transpose(1, 2)
        return self.o_proj(y.reshape(batch, length, -1))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden, inner = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x, *rope_and_mask):
        x = x + self.self_attn(self.input_layernorm(x), *rope_and_mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])


class Llama(nn.Module):
    def __init__(self, c=CONFIG):
        super().__init__()
        self.config = c
        self.model = Decoder(c)
        # Residual outputs start smaller, so that depth does not inflate the stream.
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                depth = 2 * c["num_hidden_layers"] if residual else 1
                nn.init.normal_(p, std=c["initializer_range"] / math.sqrt(depth))

    def rope(self, length):
        half = torch.arange(0, self.config["head_dim"], 2) / self.config["head_dim"]
        angle = torch.arange(length)[:, None] * self.config["rope_theta"] ** -half
        return angle.cos(), angle.sin()

    def forward(self, ids):
        """Logits [batch, length, vocab] of ids [batch, length]."""
        length = ids.shape[1]
        cos, sin = self.rope(length)
        mask = torch.full((length, length), -math.inf).triu(1)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)


def save_safetensors(state, path):
    """Write `state` as one BF16 safetensors file, entries in name order, as the
    reference writer does; written beside `path` and then renamed."""
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(state):
        rounded = state[name].detach().to(torch.bfloat16).contiguous()
        blob = rounded.view(torch.int16).numpy().tobytes()      # numpy has no bfloat16
        header[name] = {"dtype": "BF16", "shape": list(state[name].shape),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = f"{path}.partial"
    with open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    os.replace(partial, path)


def load_safetensors(path):
    """The state dict of a file written by `save_safetensors`, as float32."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    base = 8 + struct.unpack_from("<Q", data)[0]
    state = {}
    for name, entry in json.loads(data[8:base]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = torch.frombuffer(data, dtype=torch.bfloat16, offset=base + begin,
                                    count=(end - begin) // 2)
            state[name] = flat.view(entry["shape"]).float()
    return state
