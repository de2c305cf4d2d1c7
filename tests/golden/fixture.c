#include "fixture.h"

#include "base/memory.h"
#include "base/prompt_mode.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fbt_prompt_mode mode_of(const char *name)
{
    const int mode = fbt_choice_find(fbt_prompt_mode_names, name);
    return mode < 0 ? FBT_PROMPT_NONE : (fbt_prompt_mode)mode;
}

static int32_t integer_at(const json_t *list, size_t i)
{
    return (int32_t)json_integer_value(json_array_get(list, i));
}

static fbt_status read_sequences(const json_t *about, fixture_case *c)
{
    fbt_status status = FBT_OK;
    const json_t *sequences = json_object_get(about, "sequences");
    int64_t n_placeholders = fbt_prompt_rows_in_front(c->mode, c->n_prompt_tokens);
    fbt_batch_reset(&c->batch);
    for (size_t s = 0; s < json_array_size(sequences); s++) {
        int32_t tokens[256];
        const json_t *sequence = json_array_get(sequences, s);
        size_t n = json_array_size(sequence);
        if (n > sizeof tokens / sizeof tokens[0]) {
            FBT_FAIL(FBT_ERR_IO, "a fixture's sequence is too long");
        }
        for (size_t i = 0; i < n; i++) {
            tokens[i] = integer_at(sequence, i);
        }
        const fbt_sequence item = {.tokens = tokens,
                                   .n_tokens = (int32_t)n,
                                   .readout = integer_at(json_object_get(about, "readout"), s),
                                   .origin = {.client = -1}};
        FBT_TRY(
            fbt_batch_append(&c->batch, &item, n_placeholders, integer_at(json_object_get(about, "prompt_index"), s)));
    }
done:
    return status;
}

static fbt_status read_case(const json_t *about, const fixture *f, fixture_case *c)
{
    fbt_status status = FBT_OK;
    const json_t *logits = json_object_get(about, "logits");
    const json_t *z = json_object_get(about, "z");
    c->mode = mode_of(json_string_value(json_object_get(about, "mode")));
    c->n_prompt_tokens = json_integer_value(json_object_get(about, "n_prompt_tokens"));
    c->is_deep = (int)json_integer_value(json_object_get(about, "is_deep"));
    c->has_offset = (int)json_integer_value(json_object_get(about, "offset"));
    for (int64_t i = 0; i < FIXTURE_PROMPTS * f->n_search; i++) {
        const json_t *row = json_array_get(z, (size_t)(i / f->n_search));
        c->z[i] = json_number_value(json_array_get(row, (size_t)(i % f->n_search)));
    }
    FBT_TRY(read_sequences(about, c));
    FBT_TRY(fbt_memory_alloc(&c->logits, c->batch.n_sequences * f->n_labels, sizeof *c->logits));
    for (int64_t i = 0; i < c->batch.n_sequences * f->n_labels; i++) {
        const json_t *row = json_array_get(logits, (size_t)(i / f->n_labels));
        c->logits[i] = json_real_value(json_array_get(row, (size_t)(i % f->n_labels)));
        c->largest = fmax(c->largest, fabs(c->logits[i]));
    }
done:
    return status;
}

static fbt_status read_labels(const json_t *about, fixture *f)
{
    fbt_status status = FBT_OK;
    const json_t *ids = json_object_get(about, "label_ids");
    const json_t *texts = json_object_get(about, "label_texts");
    f->n_labels = (int64_t)(fbt_readout_scores_words(f->readout) ? json_array_size(ids) : json_array_size(texts));
    FBT_TRY(fbt_memory_alloc(&f->label_ids, f->n_labels, sizeof *f->label_ids));
    FBT_TRY(fbt_memory_alloc(&f->label_offsets, f->n_labels + 1, sizeof *f->label_offsets));
    FBT_TRY(fbt_memory_alloc(&f->label_tokens, 64 * f->n_labels, sizeof *f->label_tokens));
    for (int64_t i = 0; i < f->n_labels; i++) {
        const json_t *text = json_array_get(texts, (size_t)i);
        f->label_ids[i] = integer_at(ids, (size_t)i);
        f->label_offsets[i + 1] = f->label_offsets[i];
        for (size_t k = 0; k < json_array_size(text) && k < 64; k++) {
            f->label_tokens[f->label_offsets[i + 1]++] = integer_at(text, k);
        }
    }
done:
    return status;
}

fbt_status fixture_read(const char *path, fixture *f)
{
    fbt_status status = FBT_OK;
    json_error_t error;
    json_t *about = json_load_file(path, 0, &error);
    *f = (fixture){0};
    if (about == NULL) {
        FBT_FAIL(FBT_ERR_IO, "%s: %s", path, error.text);
    }
    const json_t *cases = json_object_get(about, "cases");
    const char *readout = json_string_value(json_object_get(about, "readout"));
    const int choice = readout != NULL ? fbt_choice_find(fbt_readout_names, readout) : -1;
    if (choice < 0) {
        FBT_FAIL(FBT_ERR_IO, "%s: a readout that is not known", path);
    }
    f->readout = (fbt_readout)choice;
    f->scale = (float)json_number_value(json_object_get(about, "scale"));
    f->n_search = json_integer_value(json_object_get(about, "n_search"));
    f->projection_scale = json_number_value(json_object_get(about, "projection_scale"));
    f->embedding_std = json_number_value(json_object_get(about, "embedding_std"));
    if (f->n_search > FIXTURE_MAX_SEARCH) {
        FBT_FAIL(FBT_ERR_IO, "%s: too many search dimensions", path);
    }
    FBT_TRY(read_labels(about, f));
    FBT_TRY(fbt_memory_alloc(&f->cases, (int64_t)json_array_size(cases), sizeof *f->cases));
    f->n_cases = (int64_t)json_array_size(cases);
    for (int64_t i = 0; i < f->n_cases; i++) {
        FBT_TRY(read_case(json_array_get(cases, (size_t)i), f, &f->cases[i]));
    }
done:
    json_decref(about);
    return status;
}

void fixture_clear(fixture *f)
{
    for (int64_t i = 0; i < f->n_cases; i++) {
        fbt_batch_clear(&f->cases[i].batch);
        free(f->cases[i].logits);
    }
    free(f->cases);
    free(f->label_ids);
    free(f->label_tokens);
    free(f->label_offsets);
    *f = (fixture){0};
}

fbt_status fixture_projection(const fixture *f, const fixture_case *c, int64_t n_out, int64_t d, float **a, float **p0)
{
    fbt_status status = FBT_OK;
    double scale = f->projection_scale;
    *p0 = NULL;
    FBT_TRY(fbt_memory_alloc(a, n_out * d, sizeof **a));
    for (int64_t i = 0; i < n_out; i++) {
        for (int64_t j = 0; j < d; j++) {
            (*a)[i * d + j] = (float)(scale * (double)((i * 31 + j * 17 + i * j % 7) % 101 - 50) / 50.0);
        }
    }
    if (c->has_offset) {
        FBT_TRY(fbt_memory_alloc(p0, n_out, sizeof **p0));
        for (int64_t i = 0; i < n_out; i++) {
            (*p0)[i] = (float)(scale * (double)((i * 13) % 29 - 14) / 14.0);
        }
    }
done:
    return status;
}

fbt_status fixture_open_model(fbt_backend *b, const char *folder, const fixture *f, const fixture_case *c, int full,
                              fbt_model **model)
{
    fbt_status status = FBT_OK;
    float *a = NULL;
    float *p0 = NULL;
    fbt_model_options options = {
        .readout = f->readout,
        .prompt_mode = c->mode,
        .n_prompt_tokens = c->n_prompt_tokens,
        .is_deep = c->is_deep,
        .n_labels = f->n_labels,
        .label_token_ids = f->label_ids,
        .label_tokens = f->label_tokens,
        .label_offsets = f->label_offsets,
        .embedding_scale = f->scale,
        .label_scoring = f->label_scoring,
        .full_last_layer = (full & FIXTURE_FULL_LAST_LAYER) != 0,
        .full_sequences = (full & FIXTURE_FULL_SEQUENCES) != 0,
    };
    FBT_TRY(fbt_model_open(b, folder, &options, model));
    if (c->mode != FBT_PROMPT_NONE) {
        const int64_t n = fbt_model_n_prompts(fbt_model_get_shape(*model), &options);
        const int64_t n_out = n * c->n_prompt_tokens * fbt_model_get_shape(*model)->n_hidden;
        FBT_TRY(fixture_projection(f, c, n_out, f->n_search / n, &a, &p0));
        FBT_TRY(fbt_model_set_projection(*model, a, p0, f->n_search));
    }
    FBT_TRY(fbt_model_set_prompts(*model, c->z, FIXTURE_PROMPTS));
done:
    free(a);
    free(p0);
    return status;
}

fbt_status fixture_open_backend(const char *precision, int n_threads, fbt_backend **b)
{
    const char *name = getenv("FBT_TEST_BACKEND");
    return fbt_backend_open(
        &(fbt_backend_options){
            .name = name != NULL ? name : "cpu", .precision = precision, .n_threads = n_threads, .n_local_ranks = 1},
        b);
}

int fixture_device_is_there(void)
{
    fbt_backend *b = NULL;
    const fbt_status status = fixture_open_backend("auto", 1, &b);
    if (status == FBT_ERR_BACKEND) {
        printf("skipped: %s\n", fbt_error_message());
        fbt_error_clear();
    }
    fbt_backend_close(b);
    return status != FBT_ERR_BACKEND;
}

fbt_status fixture_takes(const fbt_backend *b, const char *folder, int *takes)
{
    fbt_status status = FBT_OK;
    fbt_model_shape shape;
    *takes = 0;
    FBT_TRY(fbt_model_read_shape(folder, &shape));
    status = fbt_model_check_shape(b, &shape);
    *takes = status == FBT_OK;
    if (status == FBT_ERR_UNSUPPORTED) {
        printf("left out: %s\n", fbt_error_message());
        fbt_error_clear();
        status = FBT_OK;
    }
done:
    return status;
}
