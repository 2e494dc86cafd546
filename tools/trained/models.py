# SPDX-License-Identifier: Apache-2.0
"""Two small decoders in PyTorch that the demo model's kind is not: a mixture of
experts (Mixtral) and a hybrid of short convolutions and attention (LFM2).

Parameter names are those of the checkpoints, so that the state dict is the file.
"""
import math
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "demo"))
from model import Attention, Llama, RMSNorm, rotate  # noqa: E402

SIZES = {
    "head_dim": 32,
    "hidden_size": 128,
    "initializer_range": 0.05,
    "intermediate_size": 256,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 256,
}

MIXTRAL = {
    **SIZES,
    "architectures": ["MixtralForCausalLM"],
    "hidden_act": "silu",
    "intermediate_size": 128,
    "model_type": "mixtral",
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    "sliding_window": None,
}

LFM2 = {
    **{key: value for key, value in SIZES.items() if key != "rms_norm_eps"},
    "architectures": ["Lfm2ForCausalLM"],
    "block_auto_adjust_ff_dim": False,
    "conv_L_cache": 3,
    "conv_bias": False,
    "layer_types": ["conv", "full_attention", "conv"],
    "model_type": "lfm2",
    "norm_eps": 1e-05,
}


class Experts(nn.Module):
    """Each token through the two experts that the router likes best, weighted by
    the softmax of their two logits."""

    def __init__(self, c):
        super().__init__()
        hidden, inner, count = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
        self.chosen = c["num_experts_per_tok"]
        self.gate = nn.Linear(hidden, count, bias=False)
        self.experts = nn.ModuleList(GatedMLP(hidden, inner) for _ in range(count))

    def forward(self, x):
        best, which = self.gate(x).topk(self.chosen, dim=-1)
        weights = torch.zeros(*x.shape[:-1], len(self.experts))
        weights = weights.scatter(-1, which, best.softmax(-1))
        return sum(weights[..., i, None] * expert(x) for i, expert in enumerate(self.experts))


class GatedMLP(nn.Module):
    def __init__(self, hidden, inner):
        super().__init__()
        self.w1 = nn.Linear(hidden, inner, bias=False)
        self.w2 = nn.Linear(inner, hidden, bias=False)
        self.w3 = nn.Linear(hidden, inner, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class MixtralLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.block_sparse_moe = Experts(c)

    def forward(self, x, *rope_and_mask):
        x = x + self.self_attn(self.input_layernorm(x), *rope_and_mask)
        return x + self.block_sparse_moe(self.post_attention_layernorm(x))


class NormedAttention(Attention):
    """Attention with norms of the heads' queries and keys."""

    def __init__(self, c):
        super().__init__(c)
        self.out_proj = self.o_proj
        del self.o_proj
        self.q_layernorm = RMSNorm(self.dim, c["norm_eps"])
        self.k_layernorm = RMSNorm(self.dim, c["norm_eps"])

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        group = self.heads // self.kv_heads
        q = self.q_layernorm(self.q_proj(x).view(batch, length, self.heads, self.dim))
        k = self.k_layernorm(self.k_proj(x).view(batch, length, self.kv_heads, self.dim))
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        q = rotate(q.transpose(1, 2), cos, sin) / math.sqrt(self.dim)
        k = rotate(k.transpose(1, 2), cos, sin)
        k, v = (t.repeat_interleave(group, dim=1) for t in (k, v))
        y = (q @ k.transpose(2, 3) + mask).softmax(-1) @ v
        return self.out_proj(y.transpose(1, 2).reshape(batch, length, -1))


class ShortConv(nn.Module):
    """out_proj(C * conv(B * x)), where one product makes B, C and x."""

    def __init__(self, c):
        super().__init__()
        hidden, self.taps = c["hidden_size"], c["conv_L_cache"]
        self.in_proj = nn.Linear(hidden, 3 * hidden, bias=False)
        self.conv = nn.Conv1d(hidden, hidden, self.taps, groups=hidden, bias=False)
        self.out_proj = nn.Linear(hidden, hidden, bias=False)

    def forward(self, x):
        before, after, value = self.in_proj(x).transpose(1, 2).chunk(3, dim=1)
        mixed = self.conv(F.pad(before * value, (self.taps - 1, 0)))
        return self.out_proj((after * mixed).transpose(1, 2))


class Lfm2Layer(nn.Module):
    def __init__(self, c, kind):
        super().__init__()
        self.operator_norm = RMSNorm(c["hidden_size"], c["norm_eps"])
        if kind == "conv":
            self.conv = ShortConv(c)
        else:
            self.self_attn = NormedAttention(c)
        self.ffn_norm = RMSNorm(c["hidden_size"], c["norm_eps"])
        self.feed_forward = GatedMLP(c["hidden_size"], c["intermediate_size"])

    def forward(self, x, *rope_and_mask):
        read = self.operator_norm(x)
        if hasattr(self, "conv"):
            x = x + self.conv(read)
        else:
            x = x + self.self_attn(read, *rope_and_mask)
        return x + self.feed_forward(self.ffn_norm(x))


class Decoder(nn.Module):
    def __init__(self, c, layers, last_norm):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(layers)
        setattr(self, last_norm, RMSNorm(c["hidden_size"], 1e-5))


class Model(nn.Module):
    """Logits [batch, length, vocab] of ids [batch, length]; the head is the embedding."""

    rope = Llama.rope

    def __init__(self, c):
        super().__init__()
        self.config = c
        if c["model_type"] == "mixtral":
            self.last = "norm"
            layers = (MixtralLayer(c) for _ in range(c["num_hidden_layers"]))
        else:
            self.last = "embedding_norm"
            layers = (Lfm2Layer(c, kind) for kind in c["layer_types"])
        self.model = Decoder(c, layers, self.last)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=c["initializer_range"])

    def forward(self, ids):
        length = ids.shape[1]
        cos, sin = self.rope(length)
        mask = torch.full((length, length), -math.inf).triu(1)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return F.linear(getattr(self.model, self.last)(x), self.model.embed_tokens.weight)
