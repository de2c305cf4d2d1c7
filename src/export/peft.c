#include "export/export.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Only keys that PEFT has always known. Those that are left out (number of layers, heads, ...) it fills in from the
 * base model when it loads the adapter. */
fbt_status fbt_export_peft_config(const char *base_model, int64_t n_tokens, int64_t n_hidden, fbt_export_bytes *file)
{
    json_t *config = json_pack("{s:s, s:b, s:i, s:I, s:s, s:s, s:s, s:I}", "base_model_name_or_path", base_model,
                               "inference_mode", 1, "num_transformer_submodules", 1, "num_virtual_tokens",
                               (json_int_t)n_tokens, "peft_type", "PROMPT_TUNING", "prompt_tuning_init", "RANDOM",
                               "task_type", "FEATURE_EXTRACTION", "token_dim", (json_int_t)n_hidden);
    char *text = config == NULL ? NULL : json_dumps(config, JSON_INDENT(2));
    json_decref(config);
    if (text == NULL) {
        return fbt_fail(
            FBT_ERR_MEMORY,
            "the adapter's configuration cannot be made: out of memory, or the path of the model is not UTF-8");
    }
    *file = (fbt_export_bytes){.bytes = text, .n_bytes = (int64_t)strlen(text)};
    return FBT_OK;
}
