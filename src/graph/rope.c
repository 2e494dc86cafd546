/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary position embedding (Su et al., arXiv:2104.09864) with the frequency scalings that
 * checkpoints ask for. Frequencies and angles are float32, as in the reference implementation: at
 * large positions the rounding of the angle is part of what the model was trained with. */
#define _DEFAULT_SOURCE /* M_PI */
#include "graph/rope.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/int64.h"

struct rope rope_of(const struct model_config *c, bool local) {
    const struct facts *facts = config_facts(c, local ? T_WINDOW : 0);
    return (struct rope){local ? &c->local_rope : &c->rope, facts->dims[DIM_ROT], c->max_positions};
}

static float base_power(double theta, int64_t i, int64_t width) {
    return powf((float)theta, (float)(2 * i) / (float)width);
}

static float base_frequency(double theta, int64_t i, int64_t width) {
    return 1.0f / base_power(theta, i, width);
}

/* Llama 3: long wavelengths are divided by the factor, short ones kept, those between blended. */
static float llama3_frequency(const struct rope_config *r, float frequency) {
    double wavelength = 2.0 * M_PI / (double)frequency;
    double original = (double)r->original_max_positions;
    if (wavelength < original / r->high_freq_factor)
        return frequency;
    if (wavelength > original / r->low_freq_factor)
        return (float)((double)frequency / r->factor);
    double smooth =
        (original / wavelength - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (float)((1.0 - smooth) * (double)frequency / r->factor + smooth * (double)frequency);
}

float rope_llama3_divisor(const struct rope *rope, int64_t i) {
    const float frequency = base_frequency(rope->config->theta, i, rope->width);
    return frequency / llama3_frequency(rope->config, frequency);
}

/* YaRN: the dimension that turns `rotations` times within the original context (Peng et al.,
 * arXiv:2309.00071, section 3.2). */
static double yarn_dimension(const struct rope_config *r, int64_t width, double rotations) {
    return (double)width * log((double)r->original_max_positions / (rotations * 2.0 * M_PI)) /
           (2.0 * log(r->theta));
}

/* YaRN: a ramp from unscaled (fast dimensions) to interpolated frequencies (slow ones). */
static float yarn_frequency(const struct rope_config *r, int64_t i, int64_t width,
                            float frequency) {
    double low = yarn_dimension(r, width, r->beta_fast);
    double high = yarn_dimension(r, width, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, (double)width - 1.0);
    if (low == high)
        high += 0.001; /* a ramp needs a width */
    double ramp = fmin(1.0, fmax(0.0, ((double)i - low) / (high - low)));
    return (float)((double)frequency / r->factor * ramp + (double)frequency * (1.0 - ramp));
}

/* LongRoPE: a factor for each frequency, others beyond the original context (Ding et al.,
 * arXiv:2402.13753; transformers, modeling_rope_utils.py). */
static float longrope_frequency(const struct rope *rope, int64_t i, int64_t length) {
    const struct rope_config *r = rope->config;
    assert(i < r->pairs);
    const double factor =
        length > r->original_max_positions ? r->long_factor[i] : r->short_factor[i];
    return 1.0f / ((float)factor * base_power(r->theta, i, rope->width));
}

/* NTK by length: the base grows once the sequence exceeds the trained context. */
static float dynamic_frequency(const struct rope *rope, int64_t i, int64_t length) {
    const struct rope_config *r = rope->config;
    double theta = r->theta;
    double dim = (double)rope->width, trained = (double)rope->max_positions;
    if (length > rope->max_positions)
        theta *= pow(r->factor * (double)length / trained - (r->factor - 1.0), dim / (dim - 2.0));
    return base_frequency(theta, i, rope->width);
}

static float frequency_at(const struct rope *rope, int64_t i, int64_t length) {
    const struct rope_config *r = rope->config;
    const float base = base_frequency(r->theta, i, rope->width);
    switch (r->type) {
    case ROPE_DYNAMIC:
        return dynamic_frequency(rope, i, length);
    case ROPE_LINEAR:
        return base / (float)r->factor;
    case ROPE_LLAMA3:
        return llama3_frequency(r, base);
    case ROPE_YARN:
        return yarn_frequency(r, i, rope->width, base);
    case ROPE_LONGROPE:
        return longrope_frequency(rope, i, length);
    case ROPE_PROPORTIONAL: /* those of a whole head, of which the slow ones stand still */
        return i < (int64_t)(r->part * (double)rope->width / 2) ? base : 0;
    case ROPE_DEFAULT:
    default:
        return base;
    }
}

/* --- tables ----------------------------------------------------------------------------------- */

int64_t rope_regime(const struct rope *rope, int64_t length) {
    if (rope->config->type == ROPE_DYNAMIC)
        return max_i64(length, rope->max_positions);
    return rope->config->type == ROPE_LONGROPE && length > rope->config->original_max_positions;
}

/* For all positions of the table the frequencies of sequences of that length. */
static void fill_table(const struct rope *rope, int64_t length, struct rope_table *table) {
    const float factor = (float)rope->config->attention_factor;
    const int64_t half = rope->width / 2;
    for (int64_t i = 0; i < half; i++) {
        float frequency = frequency_at(rope, i, length);
        for (int64_t p = 0; p < table->positions; p++) {
            float angle = (float)p * frequency;
            table->cos[p * half + i] = cosf(angle) * factor;
            table->sin[p * half + i] = sinf(angle) * factor;
        }
    }
}

enum llmq_status rope_table_prepare(const struct rope *rope, int64_t length,
                                    struct rope_table *table, llmq_error *err) {
    const int64_t regime = rope_regime(rope, length), positions = max_i64(length, table->positions);
    size_t count = 0;
    if (table->regime == regime && table->positions >= length)
        return LLMQ_OK;
    rope_table_free(table);
    if (!checked_mul_size((size_t)positions, (size_t)(rope->width / 2), &count))
        return error_memory(err, "rotary tables");
    table->cos = calloc(count, sizeof *table->cos);
    table->sin = calloc(count, sizeof *table->sin);
    if (!table->cos || !table->sin) {
        rope_table_free(table);
        return error_memory(err, "rotary tables");
    }
    table->positions = positions;
    table->width = rope->width;
    table->regime = regime;
    fill_table(rope, length, table);
    return LLMQ_OK;
}

struct rope_table rope_table_from(const struct rope_table *table, int64_t first) {
    struct rope_table rest = *table;
    rest.cos += first * (table->width / 2);
    rest.sin += first * (table->width / 2);
    rest.positions -= first;
    return rest;
}

void rope_table_free(struct rope_table *table) {
    free(table->cos);
    free(table->sin);
    *table = (struct rope_table){0};
}

/* --- rotation --------------------------------------------------------------------------------- */

/* `way` 1, or -1: by the negative angle. */
static void rotate_halves(const float *cosines, const float *sines, float way, int64_t half,
                          const float *x, float *out) {
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half], sine = way * sines[i];
        out[i] = a * cosines[i] - b * sine;
        out[i + half] = b * cosines[i] + a * sine;
    }
}

static void rotate_neighbours(const float *cosines, const float *sines, float way, int64_t half,
                              const float *x, float *out) {
    for (int64_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1], sine = way * sines[i];
        out[2 * i] = a * cosines[i] - b * sine;
        out[2 * i + 1] = b * cosines[i] + a * sine;
    }
}

static void rotate_head(const struct rope_table *table, const struct rope_heads *heads,
                        int64_t position, const float *x, float *out) {
    const int64_t half = table->width / 2, rest = heads->skip + 2 * half;
    const float *cosines = table->cos + position * half, *sines = table->sin + position * half;
    const float way = heads->backwards ? -1 : 1;
    if (out != x) {
        memcpy(out, x, (size_t)heads->skip * sizeof *x);
        memcpy(out + rest, x + rest, (size_t)(heads->width - rest) * sizeof *x);
    }
    if (heads->neighbours)
        rotate_neighbours(cosines, sines, way, half, x + heads->skip, out + heads->skip);
    else
        rotate_halves(cosines, sines, way, half, x + heads->skip, out + heads->skip);
}

void rope_rotate(const struct rope_table *table, const struct rope_heads *heads, int64_t length,
                 const float *x, float *out) {
    assert(length <= table->positions && heads->skip + table->width <= heads->width);
#pragma omp parallel for schedule(static) default(none) shared(table, heads, length, x, out)
    for (int64_t row = 0; row < length; row++)
        for (int64_t h = row * heads->count; h < (row + 1) * heads->count; h++)
            rotate_head(table, heads, row, x + h * heads->width, out + h * heads->width);
}
