/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons as JSON. */
#include "api/comparison.h"
#include "api/measure.h"
#include "base/json.h"
#include "llmq/evaluate.h"
#include "setup/setup.h"

static struct json *candidates_array(const llmq_likely_token *list, size_t count) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < count; i++) {
        struct json *o = json_new_object();
        json_add_int64(o, "token", list[i].token);
        json_add_string(o, "text", list[i].text);
        json_add_double(o, "p", list[i].p);
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *worst_array(const llmq_compare_result *r) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < r->worst_count; i++) {
        const llmq_token_context *context = &r->contexts[i];
        struct json *o = json_new_object();
        json_add_int64(o, "window", r->worst[i].window);
        json_add_int64(o, "position", r->worst[i].position);
        json_add_int64(o, "token", r->worst[i].token);
        json_add_double(o, "kl", r->worst[i].kl);
        json_add_string(o, "before", context->before);
        json_add_string(o, "text", context->text);
        json_add_string(o, "after", context->after);
        json_add(o, "model", candidates_array(context->model, context->model_count));
        json_add(o, "reference", candidates_array(context->reference, context->reference_count));
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *output_object(const llmq_block_output *output) {
    struct json *o = json_new_object();
    json_add_double(o, "min", output->least);
    json_add_double(o, "max", output->most);
    json_add_double(o, "mean", output->mean);
    json_add_double(o, "spread", output->spread);
    json_add_int64(o, "nan", output->nan);
    json_add_int64(o, "infinite", output->infinite);
    return o;
}

static struct json *blocks_array(const llmq_compare_result *r) {
    struct json *array = json_new_array();
    for (int64_t i = 0; i < r->block_count; i++) {
        struct json *o = json_new_object();
        json_add_double(o, "error", r->blocks[i].error);
        json_add(o, "model", output_object(&r->blocks[i].model));
        json_add(o, "reference", output_object(&r->blocks[i].reference));
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *delta_p_object(const llmq_delta_p *d) {
    struct json *o = json_new_object();
    json_add_double(o, "mean", d->mean);
    json_add_double(o, "rms", d->rms);
    json_add_double(o, "p01", d->p01);
    json_add_double(o, "p05", d->p05);
    json_add_double(o, "median", d->median);
    json_add_double(o, "p95", d->p95);
    json_add_double(o, "p99", d->p99);
    return o;
}

static struct json *histogram_array(const llmq_compare_result *r) {
    struct json *array = json_new_array();
    for (int i = 0; i < LLMQ_COMPARE_BINS; i++)
        json_add_int64(array, NULL, r->histogram[i]);
    return array;
}

static struct json *windows_array(const llmq_compare_result *r) {
    struct json *array = json_new_array();
    for (int64_t i = 0; i < r->windows; i++) {
        struct json *o = json_new_object();
        json_add_int64(o, "tokens", r->by_window[i].tokens);
        json_add_double(o, "kl", r->by_window[i].kl);
        json_add_double(o, "delta_nll", r->by_window[i].delta_nll);
        json_add(array, NULL, o);
    }
    return array;
}

static struct json *stretches_array(const llmq_compare_result *r) {
    struct json *array = json_new_array();
    for (int i = 0; i < LLMQ_COMPARE_STRETCHES && r->stretches[i].first > 0; i++) {
        struct json *o = json_new_object();
        json_add_int64(o, "first", r->stretches[i].first);
        json_add_int64(o, "last", r->stretches[i].last);
        json_add_int64(o, "tokens", r->stretches[i].tokens);
        json_add_double(o, "kl", r->stretches[i].kl);
        json_add(array, NULL, o);
    }
    return array;
}

static void add_figures(struct json *o, const llmq_compare_result *r) {
    json_add_double(o, "kl_mean", r->kl_mean);
    json_add_double(o, "kl_stderr", r->kl_stderr);
    json_add_double(o, "kl_beside_first", r->kl_beside_first);
    json_add_double(o, "kl_beside_first_stderr", r->kl_beside_first_stderr);
    json_add_double(o, "kl_sampling_error", r->kl_sampling_error);
    json_add_double(o, "kl_median", r->kl_median);
    json_add_double(o, "kl_p90", r->kl_p90);
    json_add_double(o, "kl_p99", r->kl_p99);
    json_add_double(o, "kl_p999", r->kl_p999);
    json_add_double(o, "kl_max", r->kl_max);
    json_add_double(o, "kl_reverse_mean", r->kl_reverse_mean);
    json_add_double(o, "kl_reverse_stderr", r->kl_reverse_stderr);
    json_add_double(o, "top1_agreement", r->top1_agreement);
    json_add_double(o, "delta_nll", r->delta_nll);
    json_add_double(o, "delta_nll_stderr", r->delta_nll_stderr);
    json_add_double(o, "delta_nll_p_value", r->delta_nll_p_value);
    json_add(o, "delta_p", delta_p_object(&r->delta_p));
    json_add_double(o, "ppl", r->ppl);
    json_add_double(o, "ppl_reference", r->ppl_reference);
}

struct json *compare_object(const llmq_compare_result *r) {
    struct json *o = json_new_object();
    json_add_int64(o, "schema", 1);
    json_add_string(o, "model", r->model);
    json_add_string(o, "reference", r->reference);
    json_add_bool(o, "reference_kept", r->kept);
    json_add_int64(o, "bytes", (int64_t)r->bytes);
    json_add_int64(o, "reference_bytes", (int64_t)r->reference_bytes);
    add_figures(o, r);
    json_add_int64(o, "tokens", r->tokens);
    json_add_int64(o, "windows", r->windows);
    json_add_int64(o, "ctx", r->ctx);
    json_add_string(o, "convention", measure_convention_name(r->convention));
    json_add_string(o, "activations", setup_activations_name(r->activations));
    json_add_string(o, "compute", setup_compute_name(r->compute));
    json_add(o, "histogram", histogram_array(r));
    json_add(o, "positions", stretches_array(r));
    json_add(o, "by_window", windows_array(r));
    json_add(o, "worst", worst_array(r));
    json_add(o, "blocks", blocks_array(r));
    json_add_double(o, "seconds", r->seconds);
    json_add_int64(o, "peak_rss_bytes", (int64_t)r->peak_rss_bytes);
    return o;
}

char *llmq_compare_json(const llmq_compare_result *r) {
    return json_print_and_free(compare_object(r));
}

char *llmq_compare_all_json(const llmq_compare_result *results, size_t count) {
    struct json *array = json_new_array();
    for (size_t i = 0; i < count; i++)
        json_add(array, NULL, compare_object(&results[i]));
    return json_print_and_free(array);
}
