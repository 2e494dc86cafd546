/* SPDX-License-Identifier: Apache-2.0 */
/* See sound_module.h. */
#include "sound_module.h"

#include <string.h>

struct sound_module sound;

static llmq_error err;

void sound_create(const struct layout *layout, const struct module_shape *shape, uint64_t *seed) {
    sound.layout = layout;
    random_module(shape, seed, &sound.module);
    encode(layout, &sound.module, &sound.file);
    sound.config = config_of(layout, &sound.module);
}

void sound_teardown(void) {
    qlinear_free(&sound.module);
    encoded_free(&sound.file);
}

void decodes_the_same(void) {
    check_decodes_to(sound.layout, &sound.config, &sound.file, &sound.module);
}

void decode_refused(const char *part) {
    struct qlinear back;
    ck_assert_fails(sound.layout->decode(&sound.config, sound.file.data, &back, &err), LLMQ_E_INPUT,
                    part, &err);
    ck_assert_ptr_null(back.codes);
}

void disagreements_refused(const struct disagreement *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct layout_data *d = &sound.file.data[cases[i].tensor];
        const struct layout_data kept = *d;
        d->info.dtype = cases[i].dtype;
        d->info.rank = cases[i].shape[1] == 0 ? 1 : 2;
        memcpy(d->info.shape, cases[i].shape, sizeof cases[i].shape);
        decode_refused(cases[i].part);
        *d = kept;
    }
    decodes_the_same();
}

/* A number of any magnitude. */
static uint64_t random_number(uint64_t *seed) {
    const uint64_t bits = random_next(seed);
    return bits >> (random_next(seed) % 64);
}

static void spoil_description(struct layout_data *d, uint64_t *seed) {
    const uint64_t what = random_next(seed) % 3;
    if (what == 0)
        d->info.shape[random_next(seed) % 2] = random_number(seed);
    else if (what == 1)
        d->info.dtype = (enum dtype)(random_next(seed) % DTYPE_COUNT);
    else
        d->data = NULL;
}

static void spoil_config(struct layout_config *c, uint64_t *seed) {
    c->group = (int64_t)(random_next(seed) % 300) - 1;
    c->bits = (int)(random_next(seed) % 10);
    c->sym = random_next(seed) % 2 == 0;
}

void random_descriptions_survived(int tensors, int numbers, uint64_t *seed) {
    for (int round = 0; round < 40000; round++) {
        struct layout_data data[LAYOUT_MAX_TENSORS];
        struct layout_config spoiled = sound.config;
        struct qlinear back;
        int64_t contents[4];
        memcpy(data, sound.file.data, sizeof data);
        if (numbers != NO_NUMBERS) {
            ck_assert_uint_le(data[numbers].nbytes, sizeof contents);
            memcpy(contents, data[numbers].data, (size_t)data[numbers].nbytes);
            data[numbers].data = contents;
        }
        const uint64_t what = random_next(seed) % 4;
        if (what == 0 && numbers != NO_NUMBERS)
            contents[random_next(seed) % (data[numbers].nbytes / sizeof *contents)] =
                (int64_t)random_number(seed);
        else if (what > 0)
            spoil_description(&data[random_next(seed) % (uint64_t)tensors], seed);
        if (random_next(seed) % 2 == 0)
            spoil_config(&spoiled, seed);
        if (sound.layout->decode(&spoiled, data, &back, &err) == LLMQ_OK) {
            ck_assert_ok(qlinear_check(&back, &err), &err);
            qlinear_free(&back);
        }
    }
}
