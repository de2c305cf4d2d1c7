#include "export/export.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "export/array.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, ALIGNMENT = 8 };

static fbt_status no_memory(const char *name)
{
    return fbt_fail(FBT_ERR_MEMORY,
                    "%s cannot be put into the header of the safetensors file: out of memory, or not UTF-8", name);
}

/* Sets a member; takes over `value`. jansson reports lack of memory and text that is not UTF-8 as NULL or -1. */
static fbt_status put(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value) == 0 ? FBT_OK : no_memory(name);
}

/* A name of a file need not be UTF-8, as JSON must. */
static json_t *string(const char *text)
{
    char *sound = NULL;
    json_t *value = fbt_utf8_repair(text, &sound) == FBT_OK ? json_string(sound) : NULL;
    free(sound);
    return value;
}

static json_t *list_as_text(const fbt_export_fact *fact)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < fact->n_texts; i++) {
        if (json_array_append_new(list, string(fact->texts[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    char *text = json_dumps(list, JSON_COMPACT);
    json_t *value = text == NULL ? NULL : json_string(text);
    free(text);
    json_decref(list);
    return value;
}

/* Metadata are texts, whatever they stand for. */
static fbt_status put_facts(json_t *header, const fbt_export_content *content)
{
    fbt_status status = FBT_OK;
    json_t *metadata = json_object();
    FBT_TRY(put(header, "__metadata__", metadata));
    for (int i = 0; i < content->n_facts; i++) {
        const fbt_export_fact *fact = &content->facts[i];
        FBT_TRY(put(metadata, fact->name,
                    fact->kind == FBT_EXPORT_TEXT    ? string(fact->text)
                    : fact->kind == FBT_EXPORT_TEXTS ? list_as_text(fact)
                                                     : json_sprintf("%lld", (long long)fact->integer)));
    }
done:
    return status;
}

static fbt_status put_array(json_t *header, const fbt_export_array *array, int64_t begin)
{
    fbt_status status = FBT_OK;
    json_t *shape = json_array();
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", array->is_double ? "F64" : "F32", "shape", shape,
                              "data_offsets", (json_int_t)begin, (json_int_t)(begin + fbt_export_array_bytes(array)));
    FBT_TRY(put(header, array->name, entry));
    for (int i = 0; i < array->n_dims; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)array->shape[i])) != 0) {
            FBT_TRY(no_memory(array->name));
        }
    }
done:
    return status;
}

static fbt_status make_header(const fbt_export_content *content, char **text, int64_t *n_data_bytes)
{
    fbt_status status = FBT_OK;
    json_t *header = json_object();
    *n_data_bytes = 0;
    FBT_TRY(put_facts(header, content));
    for (int i = 0; i < content->n_arrays; i++) {
        FBT_TRY(put_array(header, &content->arrays[i], *n_data_bytes));
        *n_data_bytes += fbt_export_array_bytes(&content->arrays[i]);
    }
    *text = json_dumps(header, JSON_COMPACT);
    if (*text == NULL) {
        FBT_TRY(no_memory("the list of tensors"));
    }
done:
    json_decref(header);
    return status;
}

fbt_status fbt_export_safetensors(const fbt_export_content *content, fbt_export_bytes *file)
{
    fbt_status status = FBT_OK;
    char *header = NULL;
    unsigned char *bytes = NULL;
    int64_t n_data_bytes;
    FBT_TRY(make_header(content, &header, &n_data_bytes));
    const int64_t n_text_bytes = (int64_t)strlen(header);
    const int64_t n_header_bytes =
        (n_text_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; /* blanks, so that tensors are aligned */
    file->n_bytes = LENGTH_BYTES + n_header_bytes + n_data_bytes;
    FBT_TRY(fbt_memory_alloc(&bytes, file->n_bytes, 1));
    for (int i = 0; i < LENGTH_BYTES; i++) {
        bytes[i] = (unsigned char)((uint64_t)n_header_bytes >> (8 * i));
    }
    memset(bytes + LENGTH_BYTES, ' ', (size_t)n_header_bytes);
    memcpy(bytes + LENGTH_BYTES, header, (size_t)n_text_bytes);
    unsigned char *next = bytes + LENGTH_BYTES + n_header_bytes;
    for (int i = 0; i < content->n_arrays; i++) {
        const size_t n = (size_t)fbt_export_array_bytes(&content->arrays[i]);
        memcpy(next, content->arrays[i].values, n);
        next += n;
    }
    file->bytes = bytes;
done:
    free(header);
    return status;
}
