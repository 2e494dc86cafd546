/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes and error context of libllmq.
 *
 * Every function that can fail returns an llmq_status and, when it fails, fills the llmq_error the
 * caller passed. The library never prints and never exits. */
#ifndef LLMQ_ERROR_H
#define LLMQ_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LLMQ_NODISCARD                  __attribute__((warn_unused_result))
#define LLMQ_PRINTF(fmt_arg, first_arg) __attribute__((format(printf, fmt_arg, first_arg)))
#else
#define LLMQ_NODISCARD
#define LLMQ_PRINTF(fmt_arg, first_arg)
#endif

/* Values are stable: new ones are added, none is renumbered. */
enum llmq_status {
    LLMQ_OK = 0,
    LLMQ_E_CHECK = 1,       /* a verification or a limit the user set did not hold */
    LLMQ_E_USAGE = 2,       /* an option or argument is wrong */
    LLMQ_E_INPUT = 3,       /* a file is malformed or inconsistent */
    LLMQ_E_UNSUPPORTED = 4, /* well-formed, but llmq cannot do it */
    LLMQ_E_NOT_FOUND = 5,   /* a file, folder, tensor or key is absent */
    LLMQ_E_IO = 6,          /* the operating system refused a read, write, sync or rename */
    LLMQ_E_MEMORY = 7,      /* allocation failed, or a size does not fit */
    LLMQ_E_NUMERIC = 8,     /* non-finite values, or a factorisation that cannot be repaired */
    LLMQ_E_INTERRUPTED = 9, /* the caller asked to stop */

    /* What a safetensors reader may refuse, one code for each rule of the container. */
    LLMQ_E_ST_HEADER_TOO_SMALL = 20,  /* file shorter than the 8-byte length */
    LLMQ_E_ST_HEADER_TOO_LARGE = 21,  /* header longer than 100 000 000 bytes */
    LLMQ_E_ST_HEADER_LENGTH = 22,     /* header reaches beyond the end of the file */
    LLMQ_E_ST_HEADER_UTF8 = 23,       /* header is not UTF-8 */
    LLMQ_E_ST_HEADER_JSON = 24,       /* header is not the JSON that the format asks for */
    LLMQ_E_ST_OFFSET = 25,            /* hole, overlap, or end before begin */
    LLMQ_E_ST_OVERFLOW = 26,          /* shape whose size does not fit 64 bits */
    LLMQ_E_ST_MISALIGNED = 27,        /* sub-byte dtype that does not end on a byte */
    LLMQ_E_ST_TENSOR_SIZE = 28,       /* offsets disagree with dtype and shape */
    LLMQ_E_ST_INCOMPLETE_BUFFER = 29, /* data is shorter or longer than the header says */
    LLMQ_E_ST_DUPLICATE_TENSOR = 30,  /* one name twice, in a file or across shards */
};

/* What went wrong, in words. `message` says what and where, expected and found; `hint` (may be
 * empty) says what the user can do. Zero-initialise before first use; a caller may pass NULL where
 * an llmq_error is asked for when only the status matters. */
typedef struct llmq_error {
    enum llmq_status code;
    int sys_errno; /* errno behind an LLMQ_E_IO, else 0 */
    char message[768];
    char hint[1024];
} llmq_error;

/* The constant's name, for instance "LLMQ_E_INPUT". */
const char *llmq_status_name(enum llmq_status status);

/* Process exit code of the command-line contract: 0 ok, 1 check, 2 usage, 3 bad or unsupported
 * input, 4 I/O, 5 memory, 6 numeric, 130 interrupted. */
int llmq_exit_code(enum llmq_status status);

/* {"schema": 1, "error": {"code": "LLMQ_E_INPUT", "exit_code": 3, "message": "...", "hint":
 * "..."}}, to be released with llmq_free; without hint where there is none. NULL when memory is
 * short. */
char *llmq_error_json(const llmq_error *err);

#ifdef __cplusplus
}
#endif
#endif
