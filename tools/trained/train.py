# SPDX-License-Identifier: Apache-2.0
"""Train a small mixture of experts or a small hybrid on the bytes of a text, for
a few minutes, into something that predicts; and cut windows of other parts of it.

    python3 tools/trained/train.py mixtral|lfm2 TEXT OUT [--minutes M]

OUT becomes a checkpoint (config.json, model.safetensors) with two files beside
it: calib.json, windows of the part that was trained on, and eval.json, windows
of the last twentieth of the text, which was not.  A token is a byte.
"""
import argparse
import json
import pathlib
import time

import torch
from torch.nn import functional as F

from models import LFM2, MIXTRAL, Model
from model import save_safetensors

LENGTH = 256                            # of the windows that are written
SPAN, BATCH = 128, 4                    # windows of a step
CALIBRATION, EVALUATION = 640, 60       # windows
PEAK, WARMUP = 4e-3, 30                 # learning rate, and steps until it is reached


def windows(stream, count, length, seed):
    """[count, length] windows at random places."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(stream) - length, (count,), generator=generator)
    return torch.stack([stream[s:s + length] for s in starts.tolist()])


def write_windows(path, ids):
    path.write_text(json.dumps(ids.tolist(), separators=(",", ":")))


def train(model, stream, minutes):
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.95), weight_decay=0.1)
    start, step, mean = time.time(), 0, None
    while (progress := (time.time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(1, (step + 1) / WARMUP, (1 - progress) / 0.6)
        ids = windows(stream, BATCH, SPAN + 1, step)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"{step} steps, {time.time() - start:.0f} s, {mean:.3f} nats a byte", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("kind", choices=["mixtral", "lfm2"])
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    text = torch.tensor(list(args.text.read_bytes()), dtype=torch.int64)
    known, new = text[:len(text) * 19 // 20], text[len(text) * 19 // 20:]
    config = MIXTRAL if args.kind == "mixtral" else LFM2
    model = Model(config)
    train(model, known, args.minutes)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_safetensors(model.state_dict(), args.out / "model.safetensors")
    write_windows(args.out / "calib.json", windows(known, CALIBRATION, LENGTH, 1))
    write_windows(args.out / "eval.json", windows(new, EVALUATION, LENGTH, 2))


if __name__ == "__main__":
    main()
