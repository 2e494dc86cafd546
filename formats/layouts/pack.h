/* SPDX-License-Identifier: Apache-2.0 */
/* PACKSEQ: codes of 2, 3, 4 or 8 bits as one continuous little-endian bit stream of 32-bit words.
 * Element i occupies bits [i * bits, (i + 1) * bits); the last word is padded with zeros. */
#ifndef LLMQ_FORMATS_LAYOUTS_PACK_H
#define LLMQ_FORMATS_LAYOUTS_PACK_H

#include <stdint.h>

/* A set of streams and how they lie in memory, strides in elements (codes) and words:
 * code i of stream s is codes[s * code_stream + i * code_step], its word w is
 * words[s * word_stream + w * word_step]. A step or stream of 1 on the words' side (rows of words,
 * or words transposed) and code_step 1 are the fast cases. */
struct pack_map {
    int bits;
    int64_t streams, count; /* codes per stream */
    int64_t code_stream, code_step;
    int64_t word_stream, word_step;
};

/* Words that `count` codes occupy. */
uint64_t pack_words(int bits, uint64_t count);

/* Of codes [rows, columns], each row or each column a stream; words [streams, words of each]. */
struct pack_map pack_map_rows(int bits, int64_t rows, int64_t columns);
struct pack_map pack_map_columns(int bits, int64_t rows, int64_t columns);

/* The same streams as words [words of each, streams]. */
struct pack_map pack_map_transposed(struct pack_map map);

/* Both directions: `words` is 32-bit words of any alignment; memory between the words of the map
 * is left alone. Codes must fit `bits`; higher bits are dropped. Uses OpenMP threads over blocks
 * of streams; the result does not depend on them. */
void pack_seq(const struct pack_map *map, const uint8_t *codes, void *words);
void unpack_seq(const struct pack_map *map, const void *words, uint8_t *codes);

/* The other way, in which older files pack widths that do not divide a word: as many codes as fit,
 * the last bits of each word unused (3 bits: ten codes to a word). */
uint64_t pack_loose_words(int bits, uint64_t count);
void unpack_loose(const struct pack_map *map, const void *words, uint8_t *codes);

#endif
