#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a run of llmq gptq over several ranks takes, by a model: docs/RANKS.md has its formulas.

    tools/ranks_cost.py CONFIG.json [--gflops 1000] [--link 25] [--ranks 1,8,64]

Of Llama's kind of block, 4 bits, --quality balanced, windows of --seqlen tokens. GFLOPS are those
that one rank reaches in products; the link is in Gbit/s, with --latency microseconds a message.
Work is counted as src/pipeline/plan_resources.c does, messages as src/calib/share_sums.c sends
them. Nothing is taken to overlap."""
import argparse
import json
import math

BATCH, WAVE, TILE = 4096, 32 << 20, 512 * 512 * 4


def tasks_of(c):
    """Inputs k, the linears' outputs that read them, the stream that they add to."""
    hidden, inner = c["hidden_size"], c["intermediate_size"]
    heads, kv = c["num_attention_heads"], c.get("num_key_value_heads", c["num_attention_heads"])
    head = c.get("head_dim") or hidden // heads
    return [(hidden, [heads * head, kv * head, kv * head], 0), (heads * head, [hidden], hidden),
            (hidden, [inner, inner], 0), (inner, [hidden], hidden)]


def largest_share(n, ranks):
    """The part of a linear's rows that the rank with most of them has: whole panels."""
    panel = math.ceil(math.ceil(n / 16) / 16) * 16
    unit = math.lcm(min(panel, 256), min(panel, 512), 16)
    units = math.ceil(n / unit)
    return max(min(n, units * (r + 1) // ranks * unit) - min(n, units * r // ranks * unit)
               for r in range(ranks)) / n


def block_cost(c, tokens, ranks):
    """Operations of the busiest rank; bytes and messages that it sends."""
    held = min(4096, tokens // 16)
    batches = math.ceil(tokens / BATCH)
    steps = math.ceil(batches / ranks)
    flops = sent = messages = 0.0
    for k, outputs, stream in tasks_of(c):
        outs = sum(outputs)
        multiplied = 2 * outs <= k
        by_token = k * k + (4 * outs * k if multiplied else 2 * k * k) + 2 * stream * k
        by_token += 2 * 2 * outs * k
        flops += by_token * BATCH * steps if ranks > 1 else by_token * tokens
        flops += 4 * 2 / 3 * k**3
        for n in outputs:
            solve = 5 * n * k * k + 6 * n * k * held + n * k * (8 * k + 8 * held)
            flops += solve * largest_share(n, ranks)
            sent += n * k * (ranks - 1) / ranks
            messages += 7 * (ranks - 1)
        sums = [k * k / 2] + ([n * k for n in outputs] if multiplied else [k * k])
        sums += [stream * k] if stream else []
        for numbers in sums:
            sent += 4 * numbers * (steps + 1) * (ranks - 1) / ranks
            waves = math.ceil(numbers * 4 / ranks / max(TILE, WAVE // ranks))
            messages += waves * (steps + 1) * (ranks - 1)
        sent += 4 * held * (2 * k + stream) * (ranks - 1) / ranks
        messages += 3 * steps * (ranks - 1)
    return flops, sent, messages if ranks > 1 else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--gflops", type=float, default=1000)
    parser.add_argument("--link", type=float, default=25)
    parser.add_argument("--latency", type=float, default=30)
    parser.add_argument("--ranks", default="1,8,64")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--seqlen", type=int, default=2048)
    o = parser.parse_args()
    with open(o.config, encoding="utf-8") as file:
        c = json.load(file)
    tokens, blocks, beta = o.samples * o.seqlen, c["num_hidden_layers"], o.link * 1e9 / 8
    weights = blocks * sum(k * sum(outputs) for k, outputs, _ in tasks_of(c))
    alone = None
    print("ranks  hours  computing  reading  messages  GB sent  exchanging  efficiency")
    for ranks in (int(r) for r in o.ranks.split(",")):
        flops, sent, messages = (blocks * v for v in block_cost(c, tokens, ranks))
        compute = flops / o.gflops / 1e9
        read = 2 * weights / beta
        exchange = sent / beta + messages * o.latency * 1e-6 if ranks > 1 else 0
        whole = compute + read + exchange
        alone = alone or whole * ranks
        print(f"{ranks:5d} {whole / 3600:6.3f} {compute / whole:9.1%} {read / whole:9.1%} "
              f"{messages:9.0f} {sent / 1e9:8.0f} {exchange / whole:10.1%} "
              f"{alone / ranks / whole:10.1%}")


main()
