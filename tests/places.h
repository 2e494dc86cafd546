/* Where tests find their data. */
#ifndef LLMQ_TESTS_PLACES_H
#define LLMQ_TESTS_PLACES_H

/* "<source root>/<path>"; the caller frees. */
char *source_path(const char *path);

/* A path below the shared data folder ($LLMQ_SHARED, else ../shared beside the source tree), or
 * NULL when it is absent: then "SKIP: <path>" is printed and the test returns. The caller frees. */
char *shared_path(const char *path);

#endif
