/* SPDX-License-Identifier: Apache-2.0 */
/* PACKSEQ and its inverse, at the speed of memory.
 *
 * Eight codes are squeezed inside one 64-bit register by halving the gaps three times (bytes to
 * pairs, pairs to fours, fours to eights), which works for every width; 32 codes then make exactly
 * `bits` words. Streams are taken in blocks of 64, so that transposed words leave as whole cache
 * lines and few pages are open at a time, and in runs of 256 codes, so that each stream's codes
 * come in as whole lines even when their distance is a power of two that maps all of them to one
 * cache set. A tile in between holds the block's words. */
#include "formats/layouts/pack.h"

#include <stdbool.h>
#include <string.h>

#include "base/int64.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "codes are squeezed in register order");

enum {
    BLOCK = 64, /* streams: 256 bytes of transposed words */
    RUN = 256,  /* codes of a stream at a time */
    UNIT = 32,  /* codes that fill whole words at every width */
    TILE = RUN * 8 / 32,
    PARALLEL_MIN = 1 << 17 /* codes for which threads pay */
};

typedef uint32_t tile_rows[BLOCK];

uint64_t pack_words(int bits, uint64_t count) {
    /* By units first: count * bits could overflow. */
    return count / UNIT * (uint64_t)bits + (count % UNIT * (uint64_t)bits + 31) / 32;
}

/* Every field of `width` bits keeps its lowest `keep` bits. width divides 64; keep <= width. */
static inline uint64_t field_mask(int width, int keep) {
    const uint64_t field = keep == 64 ? UINT64_MAX : ((uint64_t)1 << keep) - 1;
    uint64_t mask = 0;
    for (int i = 0; i < 64; i += width)
        mask |= field << i;
    return mask;
}

/* Eight bytes of `bits` bits each to 8 * bits adjacent bits. */
static inline uint64_t squeeze(uint64_t x, int bits) {
    x &= field_mask(8, bits);
    x = (x | x >> (8 - bits)) & field_mask(16, 2 * bits);
    x = (x | x >> (16 - 2 * bits)) & field_mask(32, 4 * bits);
    return (x | x >> (32 - 4 * bits)) & field_mask(64, 8 * bits);
}

static inline uint64_t spread(uint64_t x, int bits) {
    x = (x | x << (32 - 4 * bits)) & field_mask(32, 4 * bits);
    x = (x | x << (16 - 2 * bits)) & field_mask(16, 2 * bits);
    return (x | x << (8 - bits)) & field_mask(8, bits);
}

/* 32 codes to `bits` words, one in each row of the tile's column. */
static inline void pack_unit(int bits, const uint8_t *codes, tile_rows *rows, int column) {
    uint64_t pending = 0;
    int filled = 0, row = 0;
    for (int i = 0; i < UNIT; i += 8) {
        uint64_t x;
        memcpy(&x, codes + i, sizeof x);
        pending |= squeeze(x, bits) << filled; /* filled is 0 when bits is 4 or 8 */
        for (filled += 8 * bits; filled >= 32; filled -= 32) {
            rows[row++][column] = (uint32_t)pending;
            pending >>= 32;
        }
    }
}

static inline void unpack_unit(int bits, const tile_rows *rows, int column, uint8_t *codes) {
    uint64_t pending = 0;
    int filled = 0, row = 0;
    for (int i = 0; i < UNIT; i += 8) {
        for (; filled < 8 * bits; filled += 32)
            pending |= (uint64_t)rows[row++][column] << filled;
        const uint64_t x = spread(pending & field_mask(64, 8 * bits), bits);
        memcpy(codes + i, &x, sizeof x);
        pending = bits == 8 ? 0 : pending >> (8 * bits);
        filled -= 8 * bits;
    }
}

/* One stream's run of whole units. `bits` is a constant in each call, so that shifts and masks
 * are immediates. */
static void pack_run(int bits, const uint8_t *codes, int count, tile_rows *rows, int column) {
    for (int i = 0; i < count / UNIT; i++, codes += UNIT)
        switch (bits) {
        case 2:
            pack_unit(2, codes, &rows[i * 2], column);
            break;
        case 3:
            pack_unit(3, codes, &rows[i * 3], column);
            break;
        case 4:
            pack_unit(4, codes, &rows[i * 4], column);
            break;
        default:
            pack_unit(8, codes, &rows[i * 8], column);
        }
}

static void unpack_run(int bits, const tile_rows *rows, int column, int count, uint8_t *codes) {
    for (int i = 0; i < count / UNIT; i++, codes += UNIT)
        switch (bits) {
        case 2:
            unpack_unit(2, &rows[i * 2], column, codes);
            break;
        case 3:
            unpack_unit(3, &rows[i * 3], column, codes);
            break;
        case 4:
            unpack_unit(4, &rows[i * 4], column, codes);
            break;
        default:
            unpack_unit(8, &rows[i * 8], column, codes);
        }
}

/* A part of the map: `streams` streams from `stream`, `count` codes from `first` (of a run). */
struct part {
    int64_t stream, first;
    int streams, count;
    int words; /* that the codes occupy in each stream */
};

static struct part part_at(const struct pack_map *m, int64_t block, int64_t first) {
    const int64_t stream = block * BLOCK;
    struct part p = {.stream = stream, .first = first};
    p.streams = (int)min_i64(m->streams - stream, BLOCK);
    p.count = (int)min_i64(m->count - first, RUN);
    p.words = (int)pack_words(m->bits, (uint64_t)p.count);
    return p;
}

static int round_up_units(int count) {
    return (count + UNIT - 1) / UNIT * UNIT;
}

/* Offset in bytes of a word of the part; in bytes because words may have any alignment. */
static int64_t word_offset(const struct pack_map *m, const struct part *p, int stream, int word) {
    const int64_t w = p->first / UNIT * m->bits + word;
    return ((p->stream + stream) * m->word_stream + w * m->word_step) * (int64_t)sizeof(uint32_t);
}

static void store_tile(const struct pack_map *m, const struct part *p, const tile_rows *tile,
                       unsigned char *words) {
    for (int w = 0; w < p->words; w++) {
        if (m->word_stream == 1) {
            memcpy(words + word_offset(m, p, 0, w), tile[w],
                   (size_t)p->streams * sizeof tile[w][0]);
            continue;
        }
        for (int s = 0; s < p->streams; s++)
            memcpy(words + word_offset(m, p, s, w), &tile[w][s], sizeof tile[w][s]);
    }
}

/* Words that a partial unit lacks read as zeros. */
static void load_tile(const struct pack_map *m, const struct part *p, const unsigned char *words,
                      tile_rows *tile) {
    for (int w = 0; w < p->words; w++) {
        if (m->word_stream == 1) {
            memcpy(tile[w], words + word_offset(m, p, 0, w),
                   (size_t)p->streams * sizeof tile[w][0]);
            continue;
        }
        for (int s = 0; s < p->streams; s++)
            memcpy(&tile[w][s], words + word_offset(m, p, s, w), sizeof tile[w][s]);
    }
    for (int w = p->words; w < round_up_units(p->count) / UNIT * m->bits; w++)
        memset(tile[w], 0, sizeof tile[w]);
}

static void pack_part(const struct pack_map *m, const struct part *p, const uint8_t *codes,
                      void *words) {
    tile_rows tile[TILE];
    uint8_t run[RUN];
    const int whole = round_up_units(p->count);
    for (int s = 0; s < p->streams; s++) {
        const uint8_t *from = codes + (p->stream + s) * m->code_stream + p->first * m->code_step;
        if (m->code_step != 1 || whole != p->count) {
            for (int i = 0; i < p->count; i++)
                run[i] = from[i * m->code_step];
            memset(run + p->count, 0, (size_t)(whole - p->count));
            from = run;
        }
        pack_run(m->bits, from, whole, tile, s);
    }
    store_tile(m, p, (const tile_rows *)tile, words);
}

static void unpack_part(const struct pack_map *m, const struct part *p, const void *words,
                        uint8_t *codes) {
    tile_rows tile[TILE];
    uint8_t run[RUN] = {0};
    const int whole = round_up_units(p->count);
    load_tile(m, p, words, tile);
    for (int s = 0; s < p->streams; s++) {
        uint8_t *to = codes + (p->stream + s) * m->code_stream + p->first * m->code_step;
        const bool direct = m->code_step == 1 && whole == p->count;
        unpack_run(m->bits, (const tile_rows *)tile, s, whole, direct ? to : run);
        for (int i = 0; i < p->count && !direct; i++)
            to[i * m->code_step] = run[i];
    }
}

struct pack_map pack_map_rows(int bits, int64_t rows, int64_t columns) {
    return (struct pack_map){.bits = bits,
                             .streams = rows,
                             .count = columns,
                             .code_stream = columns,
                             .code_step = 1,
                             .word_stream = (int64_t)pack_words(bits, (uint64_t)columns),
                             .word_step = 1};
}

struct pack_map pack_map_columns(int bits, int64_t rows, int64_t columns) {
    return (struct pack_map){.bits = bits,
                             .streams = columns,
                             .count = rows,
                             .code_stream = 1,
                             .code_step = columns,
                             .word_stream = (int64_t)pack_words(bits, (uint64_t)rows),
                             .word_step = 1};
}

struct pack_map pack_map_transposed(struct pack_map map) {
    map.word_stream = 1;
    map.word_step = map.streams;
    return map;
}

void pack_seq(const struct pack_map *map, const uint8_t *codes, void *words) {
    const int64_t blocks = ceil_div(map->streams, BLOCK);
    const bool parallel = map->streams * map->count >= PARALLEL_MIN;
    /* Blocks write disjoint words: the result is the same for any number of threads. */
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(map, codes, words, blocks) if (parallel)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t first = 0; first < map->count; first += RUN) {
            const struct part p = part_at(map, block, first);
            pack_part(map, &p, codes, words);
        }
}

void unpack_seq(const struct pack_map *map, const void *words, uint8_t *codes) {
    const int64_t blocks = ceil_div(map->streams, BLOCK);
    const bool parallel = map->streams * map->count >= PARALLEL_MIN;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(map, codes, words, blocks) if (parallel)
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t first = 0; first < map->count; first += RUN) {
            const struct part p = part_at(map, block, first);
            unpack_part(map, &p, words, codes);
        }
}

/* --- codes that end with their word ----------------------------------------------------------- */

uint64_t pack_loose_words(int bits, uint64_t count) {
    const uint64_t per_word = 32 / (uint64_t)bits;
    return count / per_word + (count % per_word != 0);
}

void unpack_loose(const struct pack_map *map, const void *words, uint8_t *codes) {
    const unsigned char *bytes = words;
    const int64_t per_word = 32 / map->bits;
    const bool parallel = map->streams * map->count >= PARALLEL_MIN;
#pragma omp parallel for schedule(static) default(none)                                            \
    shared(map, codes, bytes, per_word) if (parallel)
    for (int64_t s = 0; s < map->streams; s++)
        for (int64_t i = 0; i < map->count; i++) {
            const int64_t at = s * map->word_stream + i / per_word * map->word_step;
            uint32_t word;
            memcpy(&word, bytes + (size_t)at * sizeof word, sizeof word);
            codes[s * map->code_stream + i * map->code_step] =
                (uint8_t)(word >> (i % per_word * map->bits) & ((1u << map->bits) - 1));
        }
}
