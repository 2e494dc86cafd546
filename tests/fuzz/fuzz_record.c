/* SPDX-License-Identifier: Apache-2.0 */
/* llmq.json of a result: the rules that hold a folder to it, with the seal that stands there and
 * with one that holds, what a run takes it for, and the report on the result. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "llmq/verify.h"
#include "pipeline/marker.h"
#include "report/report.h"
#include "tests/fuzz/fuzz.h"

#define SEAL ",\n  \"sha256\": \""

static void verify(void) {
    llmq_error err = {0};
    llmq_verify_report report = {0};
    const llmq_context ctx = {.size = sizeof ctx, .threads = 1};
    const llmq_verify_options options = {.size = sizeof options, .model = fuzz_dir()};
    fuzz_check(llmq_verify(&options, &ctx, &report, &err), &err);
    llmq_verify_report_free(&report);
}

static void look_at_marker(void) {
    llmq_error err = {0};
    const int fd = open(fuzz_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(fd >= 0);
    fuzz_check(marker_check(fd, fuzz_dir(), &err), &err);
    (void)marker_whole(fd);
    close(fd);
}

static void report_on(const char *text, size_t len) {
    struct json *made = record_parse(text, len);
    const llmq_compare_result figures = {.tokens = 1, .windows = 1, .ctx = 2};
    const struct report_result result = {&figures, "result", made};
    const struct report report = {&result, 1, "original", "0"};
    char *page = report_html(&report), *picture = report_svg(&report), *rows = report_csv(&report);
    MUST(page && picture && rows);
    free(page);
    free(picture);
    free(rows);
    json_free(&made);
}

/* The text up to the last seal in it, sealed anew; the caller frees. */
static char *seal(const char *text, size_t len, size_t *out_len) {
    char sum[SHA256_TEXT];
    const size_t part = sizeof SEAL - 1;
    size_t keep = len;
    for (size_t at = len < part ? 0 : len - part + 1; keep == len && at > 0; at--)
        if (memcmp(text + at - 1, SEAL, part) == 0)
            keep = at - 1;
    char *sealed = malloc(keep + 128);
    MUST(sealed);
    memcpy(sealed, text, keep);
    sha256_text(text, keep, sum);
    *out_len = keep + (size_t)snprintf(sealed + keep, 128, SEAL "%s\"\n}\n", sum);
    MUST(record_check_seal(sealed, *out_len) == RECORD_SEALED);
    return sealed;
}

static void look_at(const char *text, size_t len) {
    fuzz_put(RECORD_NAME, text, len);
    verify();
    look_at_marker();
    report_on(text, len);
}

void fuzz_record(const uint8_t *data, size_t len) {
    static const char config[] = "{\"model_type\": \"llama\"}\n";
    size_t sealed_len = 0;
    char *sealed = seal((const char *)data, len, &sealed_len);
    fuzz_put("config.json", config, sizeof config - 1);
    look_at((const char *)data, len);
    look_at(sealed, sealed_len);
    free(sealed);
}
