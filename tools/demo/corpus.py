# SPDX-License-Identifier: Apache-2.0
"""The corpus: State of the Union addresses 1790-2021, split by year.

The file holds one address per line, blank lines between them, in the order of
their years and without headings.  A year is therefore known only by counting:
one address for every year from 1790 (the one of December; that of January 1790
is not in the file) to 2021, except that 1933 has none and that 1953 and 1961,
when a leaving and a coming president both reported, have two.  `load` refuses a
file that does not fit this count or its landmarks.

Held out for evaluation: every address of a year divisible by ten.
"""
import random

SEPARATOR = "<|endoftext|>"     # stands before every document, in text and in tokens
YEARS = sorted([y for y in range(1790, 2022) if y != 1933] + [1953, 1961])
LANDMARKS = {                   # words only that year's address can hold near its opening
    1790: "a loan of 3,000,000 florins",
    1860: "Throughout the year since our last meeting the country has been eminently prosperous",
    1900: "the incoming of the new century",
    1934: "the Regular Session of the 73d Congress",
    1980: "The 1980's have been born in turmoil",
    2010: "For 220 years, our leaders have fulfilled this duty",
    2021: "Madam Speaker, Madam Vice President",
}


def load(path):
    """The corpus as a list of (year, address), in order."""
    with open(path, encoding="utf-8", newline="") as file:
        addresses = [part.strip() for part in file.read().split("\n\n")]
    if len(addresses) != len(YEARS):
        raise ValueError(f"{path}: {len(addresses)} addresses, expected {len(YEARS)}")
    dated = list(zip(YEARS, addresses))
    for year, address in dated:
        if LANDMARKS.get(year, "") not in address[:8000]:
            raise ValueError(f"{path}: the address counted as {year} lacks its landmark")
    return dated


def split(dated):
    """(training, held_out), both lists of (year, address)."""
    return ([d for d in dated if d[0] % 10 != 0], [d for d in dated if d[0] % 10 == 0])


def join(addresses):
    """Documents as one text: the separator before each, nothing else between."""
    return "".join(SEPARATOR + address for address in addresses)


def until_sentence_end(text, limit):
    """The longest prefix of at most `limit` characters that ends a sentence."""
    if len(text) <= limit:
        return text
    end = text.rfind(". ", 0, limit)
    return text[:end + 1] if end >= 0 else text[:limit]


def calibration_text(training, seed, excerpt=2000):
    """One excerpt of about `excerpt` characters from each training address,
    beginning and ending with a sentence, at a place drawn by `seed`."""
    draw = random.Random(seed)
    excerpts = []
    for _, address in training:
        start = draw.randrange(max(1, len(address) - excerpt))
        start = address.rfind(". ", 0, start) + 2 if ". " in address[:start] else 0
        excerpts.append(until_sentence_end(address[start:], excerpt))
    return join(excerpts)


def evaluation_text(held_out, opening=16000):
    """The opening of about `opening` characters of each held-out address."""
    return join(until_sentence_end(address, opening) for _, address in held_out)
