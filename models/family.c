/* The list of families: see family.h. */
#include "models/family.h"

#include <stddef.h>
#include <string.h>

#include "models/tables.h"

static const struct family *const families[] = {
    &family_llama,
    &family_mistral,
    &family_qwen2,
    &family_qwen3,
};

const struct family *family_at(int index) {
    int count = (int)(sizeof families / sizeof families[0]);
    return index >= 0 && index < count ? families[index] : NULL;
}

const struct family *family_find(const char *model_type) {
    for (int i = 0; family_at(i); i++)
        for (int t = 0; families[i]->model_types[t]; t++)
            if (strcmp(families[i]->model_types[t], model_type) == 0)
                return families[i];
    return NULL;
}
