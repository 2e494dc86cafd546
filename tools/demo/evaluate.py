# SPDX-License-Identifier: Apache-2.0
"""Held-out perplexity of the demo model, and of n-gram models on the same tokens.

    python3 tools/demo/evaluate.py [--model DIR] [--work DIR] [--length N]

A stream is cut into windows of --length tokens, none overlapping, the incomplete
last one left out; tokens 2..N of each window are predicted from those before
them in the window, and the perplexity is exp of the mean negative log-likelihood
of all predicted tokens.  The weights are those of model.safetensors (BF16), the
arithmetic is float32.  The n-gram models predict the same tokens but may look
across the start of a window, which favours them a little.
"""
import argparse
import math
import pathlib

import numpy as np
import torch
from torch.nn import functional as F

from model import CONFIG, Llama, load_safetensors
from ngram import KneserNey


def windows_of(stream, length):
    return stream[:len(stream) // length * length].reshape(-1, length)


@torch.no_grad()
def model_perplexity(model, stream, length, batch=8):
    total = 0.0
    windows = torch.from_numpy(windows_of(stream, length))
    for part in windows.split(batch):
        losses = F.cross_entropy(model(part)[:, :-1].transpose(1, 2), part[:, 1:],
                                 reduction="none")
        total += losses.double().sum().item()
    return math.exp(total / (windows.shape[0] * (length - 1)))


def ngram_perplexity(ngram, stream, length):
    order = len(ngram.levels)
    logs = np.zeros(len(stream))
    logs[order - 1:] = np.log(ngram.probabilities(stream))
    # The very first tokens have too short a past for the n-grams: left out.
    predicted = windows_of(logs, length)[:, 1:]
    return math.exp(-predicted.sum() / (predicted.size - max(0, order - 2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=pathlib.Path, default="models/demo")
    parser.add_argument("--work", type=pathlib.Path, default="build/demo")
    parser.add_argument("--length", type=int, default=CONFIG["max_position_embeddings"])
    parser.add_argument("--orders", type=int, nargs="*", default=[2, 3, 4, 5])
    args = parser.parse_args()

    model = Llama()
    model.load_state_dict(load_safetensors(args.model / "model.safetensors"))
    streams = {name: np.load(args.work / f"{name}.npy").astype(np.int64)
               for name in ("train", "heldout", "eval", "calibration")}
    for name in ("heldout", "eval", "calibration"):
        shape = windows_of(streams[name], args.length).shape
        perplexity = model_perplexity(model, streams[name], args.length)
        print(f"{name}: {shape[0]} x {shape[1]} tokens, model {perplexity:.3f}", flush=True)
    for order in args.orders:
        ngram = KneserNey(streams["train"], order)
        for name in ("heldout", "eval"):
            perplexity = ngram_perplexity(ngram, streams[name], args.length)
            print(f"{name}: Kneser-Ney {order}-gram {perplexity:.3f}", flush=True)


if __name__ == "__main__":
    main()
