# SPDX-License-Identifier: Apache-2.0
"""Everything of the demo model but its weights: split the corpus, train the
tokenizer on the training part, cache the token streams and write the folder's
JSON files and texts.

    python3 tools/demo/prepare.py [--corpus FILE] [--out DIR] [--work DIR]
"""
import argparse
import json
import pathlib
import time

import numpy as np

import bpe
import corpus
from model import CONFIG


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_settings(out):
    """config.json and its companions as transformers 4 writes them."""
    special = {"content": bpe.END_OF_TEXT, "lstrip": False, "normalized": False,
               "rstrip": False, "single_word": False}
    version = CONFIG["transformers_version"]
    write_json(out / "config.json", CONFIG)
    write_json(out / "generation_config.json", {
        "_from_model_config": True, "bos_token_id": 0, "eos_token_id": 0,
        "transformers_version": version})
    write_json(out / "special_tokens_map.json", {
        name: special for name in ("bos_token", "eos_token", "unk_token")})
    write_json(out / "tokenizer_config.json", {
        "add_prefix_space": False,
        "added_tokens_decoder": {"0": {**special, "special": True}},
        "bos_token": bpe.END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "eos_token": bpe.END_OF_TEXT,
        "extra_special_tokens": {},
        "model_max_length": CONFIG["max_position_embeddings"],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": bpe.END_OF_TEXT})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--corpus", default="../shared/text/sotu.txt")
    parser.add_argument("--out", type=pathlib.Path, default="models/demo")
    parser.add_argument("--work", type=pathlib.Path, default="build/demo",
                        help="where the token streams are kept")
    parser.add_argument("--seed", type=int, default=0, help="places the calibration excerpts")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.work.mkdir(parents=True, exist_ok=True)

    began = time.time()
    training, held_out = corpus.split(corpus.load(args.corpus))
    texts = [address for _, address in training]
    merges = bpe.learn_merges(texts, CONFIG["vocab_size"] - 257)
    tokenizer = bpe.Tokenizer(merges)
    tokenizer.save(args.out / "tokenizer.json")
    write_settings(args.out)

    streams = {"train": corpus.join(texts),
               "heldout": corpus.join(address for _, address in held_out),
               "calibration": corpus.calibration_text(training, args.seed),
               "eval": corpus.evaluation_text(held_out)}
    for name in ("calibration", "eval"):
        (args.out / f"{name}.txt").write_text(streams[name], encoding="utf-8", newline="\n")
    for name, text in streams.items():
        ids = tokenizer.encode(text)
        np.save(args.work / f"{name}.npy", np.array(ids, dtype=np.int32))
        print(f"{name}: {len(text.encode())} bytes, {len(ids)} tokens")
    print(f"held out: {', '.join(str(year) for year, _ in held_out)}")
    print(f"{time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
