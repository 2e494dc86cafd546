#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare llmq's gradients of a model's loss with those that torch finds in float64.

    tools/check_gradients.py DUMP_SLOPES MODEL...

DUMP_SLOPES is the program built from tests/graph/dump_slopes.c; MODEL a folder of the family Llama,
Mixtral, Gemma 2 or Qwen3-Next, written down below by their formulas. Prints for each model the largest
error of the gradient towards what each linear makes, relative to that gradient's largest entry, the same
of the norms and other vectors, and of what goes into the first block. Needs torch (any version).
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
TYPES = {'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16}


def read_tensors(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        if not name.endswith('.safetensors') or name.startswith('expected'):
            continue
        with open(os.path.join(folder, name), 'rb') as f:
            header = json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))
            data = f.read()
        for key, t in header.items():
            if key == '__metadata__':
                continue
            begin, end = t['data_offsets']
            x = torch.frombuffer(bytearray(data[begin:end]), dtype=TYPES[t['dtype']])
            out[key] = x.reshape(t['shape']).to(torch.float64).requires_grad_(True)
    return out


class Model:
    """A forward pass that remembers what every linear made, and of which tokens."""

    def __init__(self, folder):
        with open(os.path.join(folder, 'config.json')) as f:
            self.c = json.load(f)
        self.w = read_tensors(folder)
        self.made = {}
        self.kind = self.c['model_type']
        self.heads = self.c['num_attention_heads']
        self.kv_heads = self.c.get('num_key_value_heads') or self.heads
        self.head = self.c.get('head_dim') or self.c['hidden_size'] // self.heads

    def linear(self, name, x, rows=None):
        y = F.linear(x, self.w[name + '.weight'])
        y.retain_grad()
        self.made[name] = (y, torch.arange(len(x)) if rows is None else rows)
        return y

    def rms(self, name, x, one=False, weight=True):
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c['rms_norm_eps'])
        if not weight:
            return x
        return x * (self.w[name + '.weight'] + (1 if one else 0))

    def rotate(self, x):
        """x [T, heads, head]"""
        part = int(self.head * self.c.get('partial_rotary_factor', 1))
        inverse = 1 / self.c.get('rope_theta', 10000.0) ** (torch.arange(0, part, 2) / part)
        angle = torch.arange(len(x))[:, None] * inverse
        cos, sin = (torch.cat((f(angle), f(angle)), -1)[:, None] for f in (torch.cos, torch.sin))
        turned, rest = x[..., :part], x[..., part:]
        half = torch.cat((-turned[..., part // 2:], turned[..., :part // 2]), -1)
        return torch.cat((turned * cos + half * sin, rest), -1)

    def attend(self, q, k, v, scale, window=None, cap=None):
        T = len(q)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, 1) for t in (k, v))
        s = torch.einsum('thd,shd->hts', q, k) * scale
        if cap:
            s = cap * torch.tanh(s / cap)
        near = torch.arange(T)[:, None] - torch.arange(T)[None]
        hidden = (near < 0) | (near >= window if window else False)
        p = torch.softmax(s.masked_fill(hidden, float('-inf')), -1)
        return torch.einsum('hts,shd->thd', p, v).reshape(T, -1)

    def attention(self, p, x, window=None):
        T = len(x)
        one, gated = self.kind == 'qwen3_next', self.kind == 'qwen3_next'
        q = self.linear(p + 'q_proj', x).view(T, self.heads, -1)
        k, v = (self.linear(p + n, x).view(T, self.kv_heads, -1) for n in ('k_proj', 'v_proj'))
        if gated:
            q, gate = q.chunk(2, -1)
            q, k = self.rms(p + 'q_norm', q, one), self.rms(p + 'k_norm', k, one)
        scale = self.c.get('query_pre_attn_scalar', self.head) ** -0.5
        y = self.attend(self.rotate(q), self.rotate(k), v, scale, window,
                        self.c.get('attn_logit_softcapping'))
        if gated:
            y = y * torch.sigmoid(gate.reshape(T, -1))
        return self.linear(p + 'o_proj', y)

    def mlp(self, p, x, act=F.silu, names=('gate_proj', 'up_proj', 'down_proj'), rows=None):
        gate, up, down = (p + n for n in names)
        return self.linear(down, act(self.linear(gate, x, rows)) * self.linear(up, x, rows), rows)

    def experts(self, p, x, names, router):
        scores = torch.softmax(F.linear(x, self.w[p + router + '.weight']), -1)
        best, who = scores.topk(self.c['num_experts_per_tok'], -1)
        if self.kind == 'mixtral' or self.c['norm_topk_prob']:
            best = best / best.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for e in range(scores.shape[1]):
            rows, at = torch.where(who == e)
            if len(rows):
                y = self.mlp(f'{p}experts.{e}.', x[rows], names=names, rows=rows)
                out = out.index_add(0, rows, y * best[rows, at][:, None])
        return out

    def delta(self, p, x):
        c, T = self.c, len(x)
        kh, vh = c['linear_num_key_heads'], c['linear_num_value_heads']
        dk, dv, r = c['linear_key_head_dim'], c['linear_value_head_dim'], vh // kh
        mixed = self.linear(p + 'in_proj_qkvz', x).view(T, kh, -1)
        q, k, v, z = mixed.split([dk, dk, r * dv, r * dv], -1)
        b, a = self.linear(p + 'in_proj_ba', x).view(T, kh, -1).split([r, r], -1)
        joined = torch.cat([t.reshape(T, -1) for t in (q, k, v)], -1)
        taps = self.w[p + 'conv1d.weight']
        padded = F.pad(joined.T, (taps.shape[-1] - 1, 0))
        y = F.silu(F.conv1d(padded[None], taps, groups=len(taps))[0].T)
        q, k, v = y.split([kh * dk, kh * dk, vh * dv], -1)
        q, k = (t.reshape(T, kh, dk) for t in (q, k))
        q, k = (t * torch.rsqrt(t.pow(2).sum(-1, keepdim=True) + 1e-6) for t in (q, k))
        q, k = (t.repeat_interleave(r, 1) for t in (q, k))
        v, z = v.reshape(T, vh, dv), z.reshape(T, vh, dv)
        beta = torch.sigmoid(b.reshape(T, vh))
        fade = -self.w[p + 'A_log'].exp() * F.softplus(a.reshape(T, vh) + self.w[p + 'dt_bias'])
        S, out = torch.zeros(vh, dk, dv), []
        for t in range(T):
            S = S * fade[t].exp()[:, None, None]
            e = beta[t][:, None] * (v[t] - torch.einsum('hkv,hk->hv', S, k[t]))
            S = S + k[t][:, :, None] * e[:, None]
            out.append(torch.einsum('hkv,hk->hv', S, q[t]) * dk ** -0.5)
        y = self.rms(p + 'norm', torch.stack(out)) * F.silu(z)
        return self.linear(p + 'out_proj', y.reshape(T, -1))

    def block(self, i, x):
        p, one = f'model.layers.{i}.', self.kind in ('gemma2', 'qwen3_next')
        norm = lambda n, t: self.rms(p + n, t, one)
        h = norm('input_layernorm', x)
        if self.kind == 'gemma2':
            window = self.c['sliding_window'] if i % 2 == 0 else None
            y = x + norm('post_attention_layernorm', self.attention(p + 'self_attn.', h, window))
            h = norm('pre_feedforward_layernorm', y)
            act = lambda t: F.gelu(t, approximate='tanh')
            return y + norm('post_feedforward_layernorm', self.mlp(p + 'mlp.', h, act))
        recurrent = self.c.get('layer_types', [''] * (i + 1))[i] == 'linear_attention'
        y = x + (self.delta(p + 'linear_attn.', h) if recurrent
                 else self.attention(p + 'self_attn.', h))
        h = norm('post_attention_layernorm', y)
        if self.kind == 'mixtral':
            return y + self.experts(p + 'block_sparse_moe.', h, ('w1', 'w3', 'w2'), 'gate')
        if self.kind == 'qwen3_next' and i not in self.c['mlp_only_layers']:
            shared = self.mlp(p + 'mlp.shared_expert.', h)
            switch = torch.sigmoid(self.linear(p + 'mlp.shared_expert_gate', h))
            return (y + self.experts(p + 'mlp.', h, ('gate_proj', 'up_proj', 'down_proj'), 'gate')
                    + switch * shared)
        return y + self.mlp(p + 'mlp.', h)

    def run(self, ids):
        x = self.w['model.embed_tokens.weight'][ids]
        if self.kind == 'gemma2':
            x = x * self.c['hidden_size'] ** 0.5
        x.retain_grad()
        self.input, h = x, x
        for i in range(self.c['num_hidden_layers']):
            h = self.block(i, h)
        h = self.rms('model.norm', h, self.kind in ('gemma2', 'qwen3_next'))
        z = F.linear(h, self.w.get('lm_head.weight', self.w['model.embed_tokens.weight']))
        cap = self.c.get('final_logit_softcapping')
        z = cap * torch.tanh(z / cap) if cap else z
        loss = F.cross_entropy(z[:-1], ids[1:], reduction='none')
        loss.sum().backward()
        return loss


def read_dump(path):
    with open(path, 'rb') as f:
        while True:
            line = f.readline().split()
            if not line:
                return
            kind, name, sizes = line[0].decode(), line[1].decode(), [int(s) for s in line[2:]]
            if kind == 'linear':
                rows = torch.frombuffer(bytearray(f.read(4 * sizes[0])), dtype=torch.int32)
                g = torch.frombuffer(bytearray(f.read(4 * sizes[0] * sizes[1])), dtype=torch.float32)
                yield kind, name, rows.long(), g.view(sizes).to(torch.float64)
                continue
            count = sizes[0] if sizes else int(name)
            size, dtype = (4, torch.float32) if kind == 'input' else (8, torch.float64)
            yield kind, name, None, torch.frombuffer(bytearray(f.read(size * count)), dtype=dtype)


def off(got, want):
    return float((got - want.reshape(got.shape)).abs().max() / want.abs().max())


def check(dump, folder):
    model = Model(folder)
    ids = torch.tensor([1 + 7919 * i % (model.c['vocab_size'] - 1) for i in range(64)])
    worst, seen = {}, set()
    loss = model.run(ids)
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([dump, folder, out.name], input=' '.join(map(str, ids.tolist())), text=True,
                       check=True)
        for kind, name, rows, g in read_dump(out.name):
            if kind == 'linear':
                y, of = model.made[name]
                assert torch.equal(rows, of), name
                error = off(g, y.grad)
            elif kind == 'param':
                key = 'model.norm.weight' if name == 'final_norm' else name
                error = off(g, model.w[key].grad.reshape(-1))
            else:
                error = off(g[:len(loss)], loss) if kind == 'loss' else off(g.double(), model.input.grad.reshape(-1))
            seen.add(name)
            worst[kind] = max(worst.get(kind, (0, '')), (error, name))
    missing = set(model.made) - seen
    assert not missing, missing
    print(f'{os.path.basename(folder):14}', '  '.join(
        f'{k} {e:.1e}' + (f' ({n})' if k in ('linear', 'param') else '') for k, (e, n) in worst.items()))
    return max(e for e, _ in worst.values())


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    errors = [check(sys.argv[1], folder.rstrip('/')) for folder in sys.argv[2:]]
    sys.exit(max(errors) > 1e-4)
