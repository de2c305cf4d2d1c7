/* model.safetensors.index.json: which file holds which tensor, beside two files that are sound. */
#include "fuzz.h"

#include "model/safetensors.h"

#include <stdio.h>
#include <string.h>

/* A file of the float tensors `a` and `b` with these names. */
static void write_shard(const char *file, const char *a, const char *b)
{
    char bytes[512] = "";
    const int n = snprintf(bytes + 8, sizeof bytes - 8,
                           "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                           "\"%s\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[8,12]}}",
                           a, b);
    bytes[0] = (char)n; /* below 256: the two other digits of the length are zero */
    bytes[1] = (char)(n >> 8);
    fuzz_write(file, bytes, 8 + (size_t)n + 12);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static bool has_shards;
    fbt_safetensors *files;
    fuzz_write("model.safetensors.index.json", data, n_bytes);
    if (!has_shards) {
        write_shard("a", "x", "y");
        write_shard("b", "z", "x");
        has_shards = true;
    }
    if (fuzz_outcome(fbt_safetensors_open(fuzz_folder(), &files))) {
        static const char *const names[] = {"x", "y", "z"};
        for (int i = 0; i < 3; i++) {
            const fbt_tensor *tensor = fbt_safetensors_find(files, names[i]);
            if (tensor != NULL) {
                FUZZ_REQUIRE(strcmp(tensor->name, names[i]) == 0 && tensor->n_items == 2);
                FUZZ_REQUIRE(fuzz_outcome(fbt_tensor_check_finite(tensor)));
            }
        }
    } else {
        FUZZ_REQUIRE(files == NULL);
    }
    fbt_safetensors_close(files);
    return 0;
}
