# SPDX-License-Identifier: Apache-2.0
"""Byte-level byte-pair encoding in the manner of GPT-2: training, encoding and
the tokenizer.json of the Hugging Face `tokenizers` library.

Text is cut into words by GPT-2's pattern, each word becomes its UTF-8 bytes, and
training repeatedly joins the commonest adjacent pair of symbols inside words.
Ties go to the pair of lower ids, so that the result depends on the text alone.

Ids: 0 is <|endoftext|>, 1..256 the bytes (in the order of the characters that
stand for them), the rest the merges in the order they were learnt.
"""
import heapq
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict

END_OF_TEXT = "<|endoftext|>"


def _char_class(initial):
    """The inside of a regex class: every code point of general category initial*.
    (Python's `re` has no \\p{L} or \\p{N}.)"""
    ranges, start = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code))[0] == initial
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            ranges.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    return "".join(ranges)


_L, _N = _char_class("L"), _char_class("N")
_S = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"   # White_Space
WORDS = re.compile(f"'s|'t|'re|'ve|'m|'ll|'d| ?[{_L}]+| ?[{_N}]+| ?[^{_S}{_L}{_N}]+"
                   f"|[{_S}]+(?![^{_S}])|[{_S}]+")


def _byte_chars():
    """GPT-2's printable stand-in for each byte value."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable},
            **{b: chr(256 + i) for i, b in enumerate(others)}}


BYTE_CHARS = _byte_chars()


def learn_merges(texts, count):
    """The first `count` merges of `texts`, as pairs of symbol strings."""
    tally = Counter(word for text in texts for word in WORDS.findall(text))
    words = [[BYTE_CHARS[b] for b in word.encode("utf-8")] for word in tally]
    weights = list(tally.values())

    alphabet = sorted(BYTE_CHARS.values())
    symbol_id = {symbol: i for i, symbol in enumerate(alphabet)}
    pair_weight, pair_words = Counter(), defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pair_weight[pair] += weights[i]
            pair_words[pair].add(i)

    # A heap entry may be out of date; it counts only if its weight still holds.
    def entry(pair):
        return (-pair_weight[pair], symbol_id[pair[0]], symbol_id[pair[1]], pair)
    heap = [entry(pair) for pair in pair_weight]
    heapq.heapify(heap)

    merges = []
    while len(merges) < count:
        weight, _, _, best = heapq.heappop(heap)
        if weight != -pair_weight[best]:
            continue
        merges.append(best)
        symbol_id["".join(best)] = len(symbol_id)
        changed = set()
        for i in pair_words.pop(best):
            for pair in zip(words[i], words[i][1:]):
                pair_weight[pair] -= weights[i]
                changed.add(pair)
            words[i] = merge_pair(words[i], best)
            for pair in zip(words[i], words[i][1:]):
                pair_weight[pair] += weights[i]
                pair_words[pair].add(i)
                changed.add(pair)
        for pair in changed:
            if pair_weight[pair] > 0:
                heapq.heappush(heap, entry(pair))
    return merges


def merge_pair(word, pair):
    """`word` with every occurrence of `pair`, from the left, made one symbol."""
    merged, i = [], 0
    while i < len(word):
        if tuple(word[i:i + 2]) == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


class Tokenizer:
    """Encodes and decodes with a list of merges."""

    def __init__(self, merges):
        self.merges = [tuple(merge) for merge in merges]
        self.rank = {merge: i for i, merge in enumerate(self.merges)}
        tokens = [END_OF_TEXT, *sorted(BYTE_CHARS.values()), *map("".join, self.merges)]
        self.vocab = {token: i for i, token in enumerate(tokens)}
        self._known = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(m.split(" ") for m in json.load(file)["model"]["merges"])

    def encode(self, text):
        """Ids of `text`; <|endoftext|> in it becomes the special token."""
        ids = []
        for i, part in enumerate(text.split(END_OF_TEXT)):
            if i > 0:
                ids.append(self.vocab[END_OF_TEXT])
            for word in WORDS.findall(part):
                if word not in self._known:
                    self._known[word] = self._encode_word(word)
                ids.extend(self._known[word])
        return ids

    def _encode_word(self, word):
        symbols = [BYTE_CHARS[b] for b in word.encode("utf-8")]
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]),
                       key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            symbols = merge_pair(symbols, best)
        return [self.vocab[symbol] for symbol in symbols]

    def decode(self, ids):
        symbols = list(self.vocab)
        value = {char: byte for byte, char in BYTE_CHARS.items()}
        return b"".join(END_OF_TEXT.encode() if i == 0 else bytes(value[c] for c in symbols[i])
                        for i in ids).decode("utf-8", errors="replace")

    def save(self, path):
        """Write tokenizer.json."""
        byte_level = {"type": "ByteLevel", "add_prefix_space": False,
                      "trim_offsets": True, "use_regex": True}
        document = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": 0, "content": END_OF_TEXT, "single_word": False,
                              "lstrip": False, "rstrip": False, "normalized": False,
                              "special": True}],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": self.vocab,
                      "merges": [" ".join(merge) for merge in self.merges]},
        }
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            json.dump(document, file, ensure_ascii=False, indent=2)
            file.write("\n")
