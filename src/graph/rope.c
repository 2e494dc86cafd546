/* Rotary position embedding (Su et al., arXiv:2104.09864) with the frequency scalings that
 * checkpoints ask for. Frequencies and angles are float32, as in the reference implementation: at
 * large positions the rounding of the angle is part of what the model was trained with. */
#define _DEFAULT_SOURCE /* M_PI */
#include "graph/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/error.h"

static float base_frequency(double theta, int64_t i, int64_t head_dim) {
    return 1.0f / powf((float)theta, (float)(2 * i) / (float)head_dim);
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

float rope_llama3_divisor(const struct model_config *c, int64_t i) {
    const float frequency = base_frequency(c->rope.theta, i, c->facts.dims[DIM_ROT]);
    return frequency / llama3_frequency(&c->rope, frequency);
}

/* YaRN: the dimension that turns `rotations` times within the original context (Peng et al.,
 * arXiv:2309.00071, section 3.2). */
static double yarn_dimension(const struct rope_config *r, int64_t head_dim, double rotations) {
    return (double)head_dim * log((double)r->original_max_positions / (rotations * 2.0 * M_PI)) /
           (2.0 * log(r->theta));
}

/* YaRN: a ramp from unscaled (fast dimensions) to interpolated frequencies (slow ones). */
static float yarn_frequency(const struct rope_config *r, int64_t i, int64_t head_dim,
                            float frequency) {
    double low = yarn_dimension(r, head_dim, r->beta_fast);
    double high = yarn_dimension(r, head_dim, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, (double)head_dim - 1.0);
    if (low == high)
        high += 0.001; /* a ramp needs a width */
    double ramp = fmin(1.0, fmax(0.0, ((double)i - low) / (high - low)));
    return (float)((double)frequency / r->factor * ramp + (double)frequency * (1.0 - ramp));
}

static float frequency_at(const struct model_config *c, int64_t i, int64_t length) {
    const struct rope_config *r = &c->rope;
    double theta = r->theta;
    double dim = (double)c->facts.dims[DIM_ROT], trained = (double)c->max_positions;
    switch (r->type) {
    case ROPE_DYNAMIC: /* NTK: the base grows once the sequence exceeds the trained context */
        if (length > c->max_positions)
            theta *=
                pow(r->factor * (double)length / trained - (r->factor - 1.0), dim / (dim - 2.0));
        return base_frequency(theta, i, c->facts.dims[DIM_ROT]);
    case ROPE_LINEAR:
        return base_frequency(theta, i, c->facts.dims[DIM_ROT]) / (float)r->factor;
    case ROPE_LLAMA3:
        return llama3_frequency(r, base_frequency(theta, i, c->facts.dims[DIM_ROT]));
    case ROPE_YARN:
        return yarn_frequency(r, i, c->facts.dims[DIM_ROT],
                              base_frequency(theta, i, c->facts.dims[DIM_ROT]));
    case ROPE_LONGROPE:
    case ROPE_DEFAULT:
    default:
        return base_frequency(theta, i, c->facts.dims[DIM_ROT]);
    }
}

enum llmq_status rope_table_prepare(const struct model_config *c, int64_t length,
                                    struct rope_table *table, llmq_error *err) {
    bool by_length = c->rope.type == ROPE_DYNAMIC &&
                     (length > c->max_positions || table->sequence > c->max_positions);
    if (by_length ? table->sequence == length : table->positions >= length)
        return LLMQ_OK;
    rope_table_free(table);
    int64_t half = c->facts.dims[DIM_ROT] / 2;
    size_t count = 0;
    if (!checked_mul_size((size_t)length, (size_t)half, &count))
        return error_memory(err, "rotary tables");
    table->cos = calloc(count, sizeof *table->cos);
    table->sin = calloc(count, sizeof *table->sin);
    if (!table->cos || !table->sin) {
        rope_table_free(table);
        return error_memory(err, "rotary tables");
    }
    table->positions = table->sequence = length;
    float factor = (float)c->rope.attention_factor;
    for (int64_t i = 0; i < half; i++) {
        float frequency = frequency_at(c, i, length);
        for (int64_t p = 0; p < length; p++) {
            float angle = (float)p * frequency;
            table->cos[p * half + i] = cosf(angle) * factor;
            table->sin[p * half + i] = sinf(angle) * factor;
        }
    }
    return LLMQ_OK;
}

void rope_table_free(struct rope_table *table) {
    free(table->cos);
    free(table->sin);
    *table = (struct rope_table){0};
}

void rope_rotate(const struct rope_table *table, int64_t position, int64_t head_dim, const float *x,
                 float *out) {
    int64_t half = head_dim / 2;
    const float *cosines = table->cos + position * half, *sines = table->sin + position * half;
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        out[i] = a * cosines[i] - b * sines[i];
        out[i + half] = b * cosines[i] + a * sines[i];
    }
}
