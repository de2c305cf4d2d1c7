/* model.safetensors: the header of a file of tensors, and the tensors that it promises. */
#include "fuzz.h"

#include "model/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void check_tensor(const fbt_safetensors *files, const fbt_tensor *tensor, const uint8_t *data, size_t n_bytes)
{
    fbt_dtype dtype;
    FUZZ_REQUIRE(tensor->n_items >= 0 && tensor->n_bytes >= 0 && tensor->n_bytes < (int64_t)n_bytes);
    FUZZ_REQUIRE(tensor->n_dims >= 0 && tensor->n_dims <= FBT_TENSOR_MAX_DIMS);
    int64_t n_items = 1;
    for (int i = 0; i < tensor->n_dims; i++) {
        FUZZ_REQUIRE(!__builtin_mul_overflow(n_items, tensor->shape[i], &n_items));
    }
    FUZZ_REQUIRE(n_items == tensor->n_items);
    /* the tensor's bytes are the file's */
    FUZZ_REQUIRE(tensor->n_bytes == 0 || memmem(data, n_bytes, tensor->data, (size_t)tensor->n_bytes) != NULL);
    FUZZ_REQUIRE(fbt_safetensors_find(files, tensor->name) == tensor);
    if (fuzz_outcome(fbt_tensor_dtype(tensor, &dtype))) {
        FUZZ_REQUIRE(tensor->n_bytes == tensor->n_items * (dtype == FBT_F32 ? 4 : 2));
    }
    fuzz_outcome(fbt_tensor_check_finite(tensor));
    float *values = malloc((size_t)tensor->n_items * sizeof *values);
    fuzz_outcome(fbt_tensor_floats(tensor, 0, tensor->n_items, values));
    fuzz_outcome(fbt_tensor_floats(tensor, tensor->n_items, 1, values));
    free(values);
    fbt_tensor_release_pages(tensor);
}

/* Every name of the header is a tensor of the file. */
static void check_names(const fbt_safetensors *files, const uint8_t *data, size_t n_bytes)
{
    uint64_t n_header = 0;
    memcpy(&n_header, data, sizeof n_header);
    json_t *header = json_loadb((const char *)data + 8, (size_t)n_header, 0, NULL), *entry;
    const char *name;
    FUZZ_REQUIRE(json_is_object(header));
    json_object_foreach(header, name, entry)
    {
        const fbt_tensor *tensor = fbt_safetensors_find(files, name);
        FUZZ_REQUIRE((tensor == NULL) == (strcmp(name, "__metadata__") == 0));
        if (tensor != NULL) {
            check_tensor(files, tensor, data, n_bytes);
        }
    }
    json_decref(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fbt_safetensors *files;
    fuzz_write("model.safetensors", data, n_bytes);
    if (fuzz_outcome(fbt_safetensors_open(fuzz_folder(), &files))) {
        check_names(files, data, n_bytes);
    } else {
        FUZZ_REQUIRE(files == NULL);
    }
    fbt_safetensors_close(files);
    return 0;
}
