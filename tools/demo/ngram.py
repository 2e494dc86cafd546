# SPDX-License-Identifier: Apache-2.0
"""The baseline: an n-gram model with interpolated modified Kneser-Ney smoothing
(Chen and Goodman 1998, section 3; discounts by their closed form, one set for
each order), over token ids below 4096.

An n-gram is one integer, twelve bits a token, the newest lowest; a table is its
distinct n-grams, sorted, with counts.
"""
import numpy as np

BITS = 12
VOCAB = 1 << BITS


class Level:
    """One order: the discounted counts of its n-grams and the weight each context
    hands to the order below."""

    def __init__(self, grams, counts):
        self.grams, self.counts = grams, counts
        n1, n2, n3, n4 = (np.count_nonzero(counts == i) for i in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        self.discounts = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2,
                                   3 - 4 * y * n4 / n3])
        self.contexts, start = np.unique(grams >> BITS, return_index=True)
        self.totals = np.add.reduceat(counts, start)
        self.freed = np.add.reduceat(self.discount(counts), start)

    def discount(self, counts):
        return self.discounts[np.minimum(counts, 3)]

    def interpolate(self, grams, below):
        """p(newest token | the others) of each n-gram, given p at the order below."""
        count = lookup(self.grams, self.counts, grams)
        total = lookup(self.contexts, self.totals, grams >> BITS)
        freed = lookup(self.contexts, self.freed, grams >> BITS)
        seen = (count - self.discount(count) + freed * below) / np.maximum(total, 1)
        return np.where(total > 0, seen, below)


def lookup(keys, values, wanted):
    """values[i] where keys[i] is the wanted key, 0 where there is none."""
    i = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[i] == wanted, values[i], 0)


def grams_ending_at(tokens, order, first):
    """The n-gram ending at each position from `first` on."""
    grams = np.zeros(len(tokens) - first, dtype=np.int64)
    for age in reversed(range(order)):
        grams = grams << BITS | tokens[first - age:len(tokens) - age]
    return grams


class KneserNey:
    def __init__(self, tokens, order):
        """Count `tokens` (int64).  The highest order counts occurrences, each lower
        one the distinct tokens seen before its n-gram."""
        grams, counts = np.unique(grams_ending_at(tokens, order, order - 1),
                                  return_counts=True)
        self.levels = [Level(grams, counts)]
        for length in range(order - 1, 0, -1):
            grams, counts = np.unique(grams & ((1 << BITS * length) - 1), return_counts=True)
            self.levels.insert(0, Level(grams, counts))

    def probabilities(self, tokens):
        """p of every token from the order-th on, given those before it."""
        p = np.full(len(tokens) - len(self.levels) + 1, 1 / VOCAB)
        for order, level in enumerate(self.levels, start=1):
            p = level.interpolate(grams_ending_at(tokens, order, len(self.levels) - 1), p)
        return p
