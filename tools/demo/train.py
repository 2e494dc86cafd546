# SPDX-License-Identifier: Apache-2.0
"""Train the demo model on the token streams of prepare.py and write its weights.

    python3 tools/demo/train.py [--minutes M | --steps N] [--out DIR] [--work DIR]

AdamW, with a learning rate that warms up, stays, and over the last 40% of the
run falls linearly to zero.  The run is so many steps long (--steps: repeatable
to the rounding of floating-point sums) or so many minutes (--minutes: on a
machine shared with others; the log keeps every step's rate).  A checkpoint is
written every --save steps, and a run that finds one in --work goes on from there.
"""
import argparse
import pathlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional as F

from model import CONFIG, Llama, save_safetensors

TRUNK = 0.6                 # part of the run before the learning rate falls
WARMUP = 100                # steps


def window_starts(tokens, length, seed):
    """Starts of training windows without end.  Every pass over the stream cuts it
    into windows at another offset and takes them in another order."""
    rng = np.random.default_rng(seed)
    while True:
        offset = rng.integers(length)
        yield from rng.permutation(np.arange(offset, tokens - length, length))


def learning_rate(step, progress, peak):
    """The rate of `step` (from 0) when `progress` (0..1) of the run has passed."""
    return peak * min(1.0, (step + 1) / WARMUP, (1.0 - progress) / (1.0 - TRUNK))


def optimizer_for(model, weight_decay):
    """AdamW; matrices decay towards zero, norm gains do not."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() == 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": weight_decay},
                              {"params": gains, "weight_decay": 0.0}], betas=(0.9, 0.95))


def gradients(model, windows):
    """Mean loss over int64 windows [batch, length + 1] and its gradients."""
    logits = model(windows[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    return loss.item(), torch.autograd.grad(loss, list(model.parameters()))


def train_step(model, optimizer, windows, pool, shares):
    """One update; returns the mean loss.  Each of `shares` threads works through
    its part of the batch on its own: they meet once a step, not in every product,
    which is faster and bears other load on the machine much better."""
    results = list(pool.map(lambda part: gradients(model, part), windows.chunk(shares)))
    for p, *parts in zip(model.parameters(), *(grads for _, grads in results)):
        p.grad = sum(parts) / shares
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return sum(loss for loss, _ in results) / shares


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default="models/demo")
    parser.add_argument("--work", type=pathlib.Path, default="build/demo")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--minutes", type=float, default=60)
    extent.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=8, help="windows in a step")
    parser.add_argument("--length", type=int, default=CONFIG["max_position_embeddings"])
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--decay", type=float, default=0.1, help="weight decay")
    parser.add_argument("--threads", type=int, default=2, help="must divide --batch")
    parser.add_argument("--save", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = parse_arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)                # in each thread of the pool
    pool = ThreadPoolExecutor(args.threads)
    torch.set_flush_denormal(True)
    stream = torch.from_numpy(np.load(args.work / "train.npy").astype(np.int64))
    starts = window_starts(len(stream), args.length, args.seed)
    model = Llama()
    optimizer = optimizer_for(model, args.decay)

    checkpoint = args.work / "checkpoint.pt"
    step, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]
        for _ in range(step * args.batch):
            next(starts)
        print(f"resumed at step {step}, {spent:.0f} s", flush=True)

    def progress():
        return step / args.steps if args.steps else spent / (60 * args.minutes)

    log = open(args.work / "train.log", "a")
    last = time.time()
    while progress() < 1.0:
        rate = learning_rate(step, progress(), args.rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = torch.stack([stream[s:s + args.length + 1]
                             for _, s in zip(range(args.batch), starts)])
        loss = train_step(model, optimizer, batch, pool, args.threads)
        step += 1
        now = time.time()
        spent, last = spent + now - last, now
        print(f"{step}\t{loss:.4f}\t{rate:.3g}\t{spent:.1f}", file=log, flush=True)
        if step % args.save == 0 or progress() >= 1.0:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                        "step": step, "spent": spent}, f"{checkpoint}.partial")
            pathlib.Path(f"{checkpoint}.partial").replace(checkpoint)
            save_safetensors(model.state_dict(), args.out / "model.safetensors")

    tokens = step * args.batch * args.length
    print(f"{step} steps, {tokens} tokens ({tokens / len(stream):.2f} passes), {spent:.0f} s")


if __name__ == "__main__":
    main()
