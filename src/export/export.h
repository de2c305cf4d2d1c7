/* Arrays and facts about them in the formats of other programs, as bytes in memory: the same content gives the same
 * bytes, whenever and wherever. Nothing is read or written here. */
#ifndef FBT_EXPORT_EXPORT_H
#define FBT_EXPORT_EXPORT_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* One array, row-major. Borrowed. */
typedef struct fbt_export_array {
    const char *name;
    bool is_double; /* values are double, else float */
    int n_dims;     /* 1 or 2                        */
    int64_t shape[2];
    const void *values;
} fbt_export_array;

typedef enum fbt_export_kind { FBT_EXPORT_TEXT, FBT_EXPORT_TEXTS, FBT_EXPORT_INTEGER } fbt_export_kind;

/* One fact about the arrays: a text (UTF-8), a list of texts or a number. Borrowed. */
typedef struct fbt_export_fact {
    const char *name;
    fbt_export_kind kind;
    const char *text;
    const char *const *texts; /* [n_texts] */
    int64_t n_texts;
    int64_t integer;
} fbt_export_fact;

typedef struct fbt_export_content {
    const fbt_export_array *arrays; /* [n_arrays] */
    int n_arrays;
    const fbt_export_fact *facts; /* [n_facts]  */
    int n_facts;
} fbt_export_content;

/* A file's bytes. Zero-initialise; release `bytes` with free(). */
typedef struct fbt_export_bytes {
    void *bytes;
    int64_t n_bytes;
} fbt_export_bytes;

/* A safetensors file (https://huggingface.co/docs/safetensors): arrays as tensors F32 and F64, facts as texts of its
 * __metadata__, a list as the text of a JSON array. Arrays must come in falling order of their item size, so that all
 * are aligned. Errors: FBT_ERR_MEMORY (or a text that is not UTF-8). */
fbt_status fbt_export_safetensors(const fbt_export_content *content, fbt_export_bytes *file);

/* A NumPy archive (.npz) that numpy.load reads without pickle: one entry for each array and each fact; a text or number
 * as an array without dimensions, a list of texts as one of one dimension. Stored, not compressed. Errors:
 * FBT_ERR_MEMORY, FBT_ERR_DATA (a text that is not UTF-8), FBT_ERR_IO (the archive cannot be made). */
fbt_status fbt_export_npz(const fbt_export_content *content, fbt_export_bytes *file);

/* adapter_config.json of a Hugging Face PEFT prompt-tuning adapter with n_tokens vectors of n_hidden numbers, which
 * PEFT puts before the text in place of word embeddings (task FEATURE_EXTRACTION, so that the model's own outputs come
 * back). base_model: folder or name. Beside it belongs adapter_model.safetensors with one tensor,
 * FBT_EXPORT_PEFT_TENSOR [n_tokens, n_hidden], and the text `format` = "pt" in its metadata. Errors: FBT_ERR_MEMORY. */
#define FBT_EXPORT_PEFT_TENSOR "prompt_embeddings"
fbt_status fbt_export_peft_config(const char *base_model, int64_t n_tokens, int64_t n_hidden, fbt_export_bytes *file);

#endif
