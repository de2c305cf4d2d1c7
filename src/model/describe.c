#include "model/describe.h"

#include "base/memory.h"
#include "model/family.h"
#include "model/json_file.h"
#include "model/tensor_names.h"
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies a string, or the first one of a list; "" for anything else. */
static void copy_name(const json_t *value, char name[FBT_DESCRIBE_NAME_BYTES])
{
    const char *text = json_string_value(json_is_array(value) ? json_array_get(value, 0) : value);
    snprintf(name, FBT_DESCRIBE_NAME_BYTES, "%s", text == NULL ? "" : text);
}

static fbt_status read_names(const char *folder, fbt_model_description *about)
{
    fbt_status status = FBT_OK;
    fbt_json_file config = {0};
    FBT_TRY(fbt_json_file_open(folder, "config.json", false, &config));
    copy_name(fbt_json_file_find(&config, "model_type"), about->model_type);
    copy_name(fbt_json_file_find(&config, "architectures"), about->architecture);
    copy_name(fbt_json_file_find(&config, about->shape.family->keys.activation), about->activation);
done:
    fbt_json_file_close(&config);
    return status;
}

/* Takes a failure as an answer. */
static void note_refusal(fbt_model_description *about, fbt_readout readout, fbt_status status)
{
    if (status != FBT_OK && about->refusals[readout][0] == '\0') {
        snprintf(about->refusals[readout], sizeof about->refusals[readout], "%s", fbt_error_message());
    }
    fbt_error_clear(); /* forgets a second refusal, too */
}

static fbt_status list_weights(const fbt_safetensors *files, fbt_model_description *about)
{
    fbt_status status = FBT_OK;
    const int64_t n_files = fbt_safetensors_n_files(files);
    about->has_weights = true;
    FBT_TRY(fbt_memory_alloc(&about->files, n_files, sizeof *about->files));
    for (; about->n_files < n_files; about->n_files++) {
        FBT_TRY(fbt_memory_strdup(&about->files[about->n_files], fbt_safetensors_file(files, about->n_files)));
    }
    about->n_tensors = fbt_safetensors_n_tensors(files);
    for (int64_t i = 0; i < about->n_tensors; i++) {
        const fbt_tensor *tensor = fbt_safetensors_tensor(files, i);
        about->n_bytes += tensor->n_bytes;
    }
    const fbt_tensor *words = fbt_tensor_word_embeddings(files, &about->shape);
    snprintf(about->dtype, sizeof about->dtype, "%s", words != NULL ? words->type : "");
done:
    return status;
}

fbt_status fbt_model_describe(const char *folder, bool with_weights, fbt_model_description *about)
{
    fbt_status status = FBT_OK;
    fbt_safetensors *files = NULL;
    *about = (fbt_model_description){0};
    FBT_TRY(fbt_model_read_shape(folder, &about->shape));
    FBT_TRY(read_names(folder, about));
    if (with_weights) {
        FBT_TRY(fbt_safetensors_open(folder, &files));
        FBT_TRY(list_weights(files, about));
    }
    for (fbt_readout r = FBT_READOUT_MASK; r <= FBT_READOUT_LAST; r++) {
        note_refusal(about, r, fbt_model_check_readout(&about->shape, r));
        note_refusal(about, r, r == FBT_READOUT_EMBEDDING ? fbt_model_read_pooling(folder, &about->shape) : FBT_OK);
        note_refusal(about, r, with_weights ? fbt_weights_check(files, &about->shape, r) : FBT_OK);
    }
done:
    fbt_safetensors_close(files);
    return status;
}

void fbt_model_description_clear(fbt_model_description *about)
{
    for (int64_t i = 0; i < about->n_files; i++) {
        free(about->files[i]);
    }
    free(about->files);
    *about = (fbt_model_description){0};
}

/* Of those that the family has, the last one's sentence: a mask readout fails for want of a head as a rule, which says
 * less. */
static fbt_status require_any(const fbt_model_description *about)
{
    const char *sentence = "";
    for (int i = 0; i < FBT_DESCRIBE_READOUTS; i++) {
        if (about->refusals[i][0] == '\0') {
            return FBT_OK;
        }
        sentence = about->shape.family->readout_bits >> i & 1 ? about->refusals[i] : sentence;
    }
    return fbt_fail(FBT_ERR_MODEL, "%s", sentence);
}

fbt_status fbt_model_description_require(const fbt_model_description *about, const char *readout)
{
    if (readout == NULL) {
        return require_any(about);
    }
    const int i = fbt_choice_find(fbt_readout_names, readout);
    if (i < 0) {
        return fbt_fail(FBT_ERR_ARG, "there is no readout called '%s'; mask, embedding and last are known", readout);
    }
    fbt_status status = fbt_model_check_readout(&about->shape, (fbt_readout)i);
    const char *sentence = about->refusals[i];
    return status != FBT_OK || sentence[0] == '\0' ? status : fbt_fail(FBT_ERR_MODEL, "%s", sentence);
}
