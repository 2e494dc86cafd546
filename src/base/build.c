/* SPDX-License-Identifier: Apache-2.0 */
/* Which build this is: see llmq/version.h.
 *
 * What the linker mapped and nobody may write to (code, constants, the linker's own build id) is
 * the same in every process and on every machine, for it is position-independent: relocations go to
 * other segments. Hashing it takes no step of the build and no help of the linker, and costs less
 * than a millisecond. */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/commit.h"
#include "base/hash.h"
#include "llmq/version.h"

const char *llmq_version(void) {
    return LLMQ_VERSION;
}

int llmq_version_number(void) {
    return LLMQ_VERSION_NUMBER;
}

const char *llmq_commit(void) {
    return LLMQ_COMMIT[0] ? LLMQ_COMMIT : NULL;
}

/* What an object's headers are searched for, and the hash of the object that has it. */
struct wanted {
    uintptr_t address;
    uint64_t hash;
};

static bool is_constant(const ElfW(Phdr) * header) {
    return header->p_type == PT_LOAD && (header->p_flags & PF_R) && !(header->p_flags & PF_W);
}

static int hash_object(struct dl_phdr_info *object, size_t size, void *data) {
    struct wanted *wanted = data;
    uint64_t hash = HASH_INIT;
    bool found = false;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        const uintptr_t begin = object->dlpi_addr + header->p_vaddr;
        if (!is_constant(header))
            continue;
        found = found || (wanted->address >= begin && wanted->address - begin < header->p_memsz);
        hash = hash_array(hash, (const void *)begin, header->p_filesz);
    }
    if (found)
        wanted->hash = hash;
    return found;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RED_ZONES
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define RED_ZONES
#endif

#ifdef RED_ZONES
/* Between the constants of such a build lie bytes that must not be read: it has no number. */
uint64_t llmq_build_id(void) {
    (void)hash_object;
    return 0;
}
#else
uint64_t llmq_build_id(void) {
    static const char here = 0;
    struct wanted wanted = {.address = (uintptr_t)&here};
    (void)dl_iterate_phdr(hash_object, &wanted);
    return wanted.hash;
}
#endif
