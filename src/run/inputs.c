#include "run/inputs.h"

#include "base/memory.h"
#include "base/prompt_mode.h"
#include "record/dataset_file.h"
#include "run/deep.h"
#include "run/device.h"
#include "run/labels.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPARE_BYTES = 64 << 20 }; /* address space for what libraries allocate beside the model */

static fbt_status look_at_file(const char *path, fbt_inputs_file *file)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return fbt_fail(FBT_ERR_IO, "%.400s cannot be opened: %s", path, strerror(errno));
    }
    *file = (fbt_inputs_file){.device = (int64_t)info.st_dev,
                              .inode = (int64_t)info.st_ino,
                              .n_bytes = (int64_t)info.st_size,
                              .modified_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec};
    return fbt_memory_strdup(&file->path, path);
}

static bool same_file(const fbt_inputs_file *a, const fbt_inputs_file *b)
{
    return a->path != NULL && strcmp(a->path, b->path) == 0 && a->device == b->device && a->inode == b->inode &&
           a->n_bytes == b->n_bytes && a->modified_ns == b->modified_ns;
}

void fbt_inputs_borrow(fbt_inputs *inputs, const fbt_inputs *lender)
{
    *inputs = (fbt_inputs){.dataset = lender->dataset, .borrows_dataset = true, .shape = lender->shape};
}

static void close_dataset(fbt_inputs *inputs)
{
    if (!inputs->borrows_dataset) {
        fbt_dataset_clear(&inputs->dataset);
    }
    free(inputs->dataset_file.path);
    inputs->dataset_file = (fbt_inputs_file){0};
    inputs->data_sha256[0] = '\0';
}

fbt_status fbt_inputs_open_dataset(fbt_inputs *inputs, const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    fbt_inputs_file file = {0};
    FBT_TRY(look_at_file(settings->data.path, &file));
    if (!same_file(&inputs->dataset_file, &file)) {
        close_dataset(inputs);
        inputs->key.of_dataset = false;
        FBT_TRY(fbt_dataset_file_read(settings->data.path, &inputs->dataset));
        inputs->dataset_file = file;
        file.path = NULL;
    }
done:
    free(file.path);
    return status;
}

static fbt_status check_prompt(const fbt_dataset *dataset, const fbt_settings *settings)
{
    const fbt_prompt_mode mode = (fbt_prompt_mode)settings->prompt.mode;
    if (mode == FBT_PROMPT_NONE) { /* the texts as they are, whatever they were prepared for */
        return FBT_OK;
    }
    if (dataset->prompt_mode == FBT_PROMPT_NONE) {
        return fbt_fail(FBT_ERR_CONFIG, "prompt.mode is %s, but %s was prepared for no prompt: prepare it again",
                        fbt_settings_choice_name("prompt.mode", settings->prompt.mode), settings->data.path);
    }
    if (dataset->prompt_mode != mode) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "prompt.mode is %s, but %s was prepared for %s: prepare it again, or change prompt.mode",
                        fbt_settings_choice_name("prompt.mode", settings->prompt.mode), settings->data.path,
                        fbt_settings_choice_name("prompt.mode", (int)dataset->prompt_mode));
    }
    if (mode == FBT_PROMPT_ADD && dataset->n_prompt_tokens != settings->prompt.tokens) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "prompt.tokens is %" PRId64 ", but the texts of %s hold %" PRId64
                        " prompt words: prepare it again, or "
                        "change prompt.tokens",
                        settings->prompt.tokens, settings->data.path, dataset->n_prompt_tokens);
    }
    return FBT_OK;
}

/* The numbers of a prompt's words are those of the data set's vocabulary. */
static fbt_status check_vocabulary(const fbt_dataset *dataset, const fbt_settings *settings)
{
    const int64_t n = fbt_settings_n_words(settings);
    if (n <= dataset->vocabulary.n_words) {
        return FBT_OK;
    }
    if (dataset->vocabulary.n_words == 0) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "prompt.projection: words, but %s has no vocabulary: prepare it with --vocabulary",
                        settings->data.path);
    }
    return fbt_fail(FBT_ERR_CONFIG,
                    "prompt.vocabulary: %" PRId64 " words, but that of %s has %" PRId64
                    ": lower it, or prepare the data with --vocabulary %" PRId64,
                    n, settings->data.path, dataset->vocabulary.n_words, n);
}

static fbt_status check_lengths(const fbt_dataset *dataset, const fbt_settings *settings, const fbt_model_shape *shape)
{
    const struct {
        const char *name;
        const fbt_split *split;
    } splits[] = {{"train", &dataset->train}, {"dev", &dataset->dev}, {"test", &dataset->test}};
    const int64_t n_behind = fbt_labels_sizes(dataset, settings).longest;
    const char *what;
    const int64_t most = fbt_model_max_length(shape, &what);
    for (int i = 0; i < 3; i++) {
        int64_t longest = fbt_split_max_length(splits[i].split);
        const fbt_prompt_mode mode = (fbt_prompt_mode)settings->prompt.mode;
        const int64_t in_front = fbt_prompt_rows_in_front(mode, settings->prompt.tokens) -
                                 fbt_model_rows_without_position(shape, mode, settings->prompt.tokens);
        if (longest + in_front + n_behind > most) {
            return fbt_fail(FBT_ERR_CONFIG,
                            "the longest %s sample of %s has %" PRId64 " tokens; with prompt.tokens = %" PRId64
                            "%s that is more than the model's %" PRId64
                            " %s: lower prompt.tokens, or prepare the data with fewer --max-tokens",
                            splits[i].name, settings->data.path, longest, settings->prompt.tokens,
                            n_behind > 0 ? " and the label words behind it" : "", most, what);
        }
    }
    return FBT_OK;
}

static int64_t n_tokens_of(const fbt_split *split)
{
    return split->n_samples > 0 ? split->offsets[split->n_samples] : 0;
}

/* Index of the first token that is `pad`; n where there is none. */
static int64_t find_padding(const int32_t *tokens, int64_t n, int64_t pad)
{
    int64_t i = 0;
    while (i < n && tokens[i] != pad) {
        i++;
    }
    return i;
}

/* Where positions start behind the padding token, transformers counts only tokens that are not padding; here they are
 * counted in order. The two agree as long as no sample holds the padding token. */
static fbt_status check_padding(const fbt_dataset *dataset, const fbt_settings *settings, const fbt_model_shape *shape)
{
    const int64_t n_label_tokens = dataset->label_offsets != NULL ? dataset->label_offsets[dataset->n_labels] : 0;
    const struct {
        const char *name;
        const int32_t *tokens;
        int64_t n_tokens;
    } parts[] = {{"train", dataset->train.tokens, n_tokens_of(&dataset->train)},
                 {"dev", dataset->dev.tokens, n_tokens_of(&dataset->dev)},
                 {"test", dataset->test.tokens, n_tokens_of(&dataset->test)},
                 {"labels", dataset->label_tokens, n_label_tokens},
                 {"vocabulary", dataset->vocabulary.tokens, dataset->vocabulary.n_words}};
    const int64_t pad = shape->padding_token;
    for (size_t i = 0; pad >= 0 && i < sizeof parts / sizeof parts[0]; i++) {
        int64_t at = find_padding(parts[i].tokens, parts[i].n_tokens, pad);
        if (at < parts[i].n_tokens) {
            return fbt_fail(FBT_ERR_DATA,
                            "%s: %s/tokens[%" PRId64 "] is %" PRId64
                            ", the model's pad_token_id, which its positions are counted "
                            "from: prepare the data again",
                            settings->data.path, parts[i].name, at, pad);
        }
    }
    return FBT_OK;
}

/* "" where the folder has no tokenizer.json: then only the vocabulary's size can be compared. */
static fbt_status tokenizer_digest(const char *folder, char text[FBT_DIGEST_TEXT_BYTES])
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    text[0] = '\0';
    return access(path, F_OK) == 0 ? fbt_digest_file(path, text) : FBT_OK;
}

/* Reads the shape of a model that is read out as the data set asks for. */
static fbt_status read_shape(const fbt_dataset *dataset, const fbt_settings *settings, fbt_model_shape *shape)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_model_read_shape(settings->model.path, shape));
    if (!fbt_readout_scores_words(dataset->readout)) {
        FBT_TRY(fbt_model_read_pooling(settings->model.path, shape));
    }
done:
    return status;
}

fbt_status fbt_inputs_check(fbt_inputs *inputs, const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    const fbt_dataset *dataset = &inputs->dataset;
    const fbt_model_shape *shape = &inputs->shape;
    char sha256[FBT_DIGEST_TEXT_BYTES];
    FBT_TRY(read_shape(dataset, settings, &inputs->shape));
    if (dataset->vocab_size != shape->vocab_size) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%s was made for a vocabulary of %" PRId64 " tokens, the model %s has %" PRId64
                 ": prepare the data with this "
                 "model",
                 settings->data.path, dataset->vocab_size, settings->model.path, shape->vocab_size);
    }
    FBT_TRY(tokenizer_digest(settings->model.path, sha256));
    if (sha256[0] != '\0' && strcmp(sha256, dataset->tokenizer_sha256) != 0) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%s was made with another tokenizer than that of the model %s: prepare the data with this model",
                 settings->data.path, settings->model.path);
    }
    FBT_TRY(fbt_labels_check(dataset, settings));
    FBT_TRY(check_prompt(dataset, settings));
    FBT_TRY(check_vocabulary(dataset, settings));
    FBT_TRY(fbt_deep_check(settings, shape));
    FBT_TRY(check_lengths(dataset, settings, shape));
    FBT_TRY(check_padding(dataset, settings, shape));
done:
    return status;
}

fbt_status fbt_inputs_partition(const fbt_inputs *inputs, const fbt_settings *settings, fbt_partition *partition)
{
    fbt_partition_options options = {.seed = (uint64_t)settings->run.seed,
                                     .n_clients = settings->fed.clients,
                                     .shots = settings->data.shots,
                                     .dev_shots = settings->data.dev_shots,
                                     .kind = (fbt_partition_kind)settings->fed.partition,
                                     .dirichlet_alpha = settings->fed.dirichlet_alpha,
                                     .sizes = (fbt_sizes_kind)settings->fed.sizes,
                                     .size_alpha = settings->fed.size_alpha,
                                     .size_sigma = settings->fed.size_sigma};
    return fbt_partition_make(&inputs->dataset, &options, partition);
}

/* Collective over the comm that it was opened for. */
static void close_model(fbt_inputs *inputs)
{
    fbt_device_close_model(inputs->device, inputs->backend, inputs->model);
    fbt_comm_free(inputs->device);
    inputs->device = NULL;
    inputs->model = NULL;
    inputs->backend = NULL;
    free(inputs->key.model_path);
    free(inputs->key.backend);
    free(inputs->key.precision);
    inputs->key = (fbt_inputs_key){0};
}

/* Whether the open backend is the one that would be opened. */
static bool backend_fits(const fbt_inputs_key *key, const fbt_settings *settings, const fbt_comm *comm)
{
    return key->backend != NULL && key->precision != NULL && strcmp(key->backend, settings->backend.name) == 0 &&
           strcmp(key->precision, settings->backend.precision) == 0 && key->n_threads == settings->backend.threads &&
           key->local_rank == fbt_comm_local_rank(comm) && key->n_local_ranks == fbt_comm_local_size(comm);
}

/* Whether the open model is the one that would be opened, in the backend that would be. */
static bool model_fits(const fbt_inputs_key *key, const fbt_settings *settings, const fbt_comm *comm)
{
    return backend_fits(key, settings, comm) && key->model_path != NULL && key->of_dataset &&
           strcmp(key->model_path, settings->model.path) == 0 && key->prompt_mode == settings->prompt.mode &&
           key->n_prompt_tokens == settings->prompt.tokens && key->is_deep == fbt_deep_is_on(settings) &&
           key->n_words == fbt_settings_n_words(settings) && key->embedding_scale == settings->model.embedding_scale &&
           key->label_scoring == settings->model.label_scoring;
}

static fbt_status set_backend_key(fbt_inputs_key *key, const fbt_settings *settings, const fbt_comm *comm)
{
    fbt_status status = FBT_OK;
    key->n_threads = settings->backend.threads;
    key->local_rank = fbt_comm_local_rank(comm);
    key->n_local_ranks = fbt_comm_local_size(comm);
    FBT_TRY(fbt_memory_strdup(&key->backend, settings->backend.name));
    FBT_TRY(fbt_memory_strdup(&key->precision, settings->backend.precision));
done:
    return status;
}

static fbt_status set_model_key(fbt_inputs_key *key, const fbt_settings *settings)
{
    key->of_dataset = true;
    key->prompt_mode = settings->prompt.mode;
    key->n_prompt_tokens = settings->prompt.tokens;
    key->is_deep = fbt_deep_is_on(settings);
    key->n_words = fbt_settings_n_words(settings);
    key->embedding_scale = settings->model.embedding_scale;
    key->label_scoring = settings->model.label_scoring;
    return fbt_memory_strdup(&key->model_path, settings->model.path);
}

/* On all ranks where one needs it: what one rank opens all open. Collective. */
static bool one_differs(const fbt_comm *comm, bool fits)
{
    double differs = !fits;
    fbt_comm_max(comm, &differs, 1);
    return differs > 0;
}

fbt_status fbt_inputs_open_backend(fbt_inputs *inputs, const fbt_settings *settings, const fbt_comm *comm)
{
    fbt_status status = FBT_OK;
    const fbt_backend_options options = {.name = settings->backend.name,
                                         .precision = settings->backend.precision,
                                         .n_threads = (int)settings->backend.threads,
                                         .local_rank = fbt_comm_local_rank(comm),
                                         .n_local_ranks = fbt_comm_local_size(comm)};
    if (!one_differs(comm, backend_fits(&inputs->key, settings, comm))) {
        return FBT_OK;
    }
    close_model(inputs);
    FBT_TRY(fbt_comm_agree(comm, fbt_backend_open(&options, &inputs->backend)));
    FBT_TRY(fbt_device_split(comm, inputs->backend, &inputs->device));
    FBT_TRY(fbt_comm_agree(comm, set_backend_key(&inputs->key, settings, comm)));
done:
    return status;
}

static fbt_model_options model_options(const fbt_inputs *inputs, const fbt_settings *settings)
{
    const fbt_dataset *dataset = &inputs->dataset;
    return (fbt_model_options){.readout = dataset->readout,
                               .prompt_mode = (fbt_prompt_mode)settings->prompt.mode,
                               .n_prompt_tokens = settings->prompt.tokens,
                               .is_deep = fbt_deep_is_on(settings),
                               .n_words = fbt_settings_n_words(settings),
                               .n_labels = dataset->n_labels,
                               .label_token_ids = dataset->label_token_ids,
                               .label_tokens = dataset->label_tokens,
                               .label_offsets = dataset->label_offsets,
                               .embedding_scale = (float)settings->model.embedding_scale,
                               .label_scoring = (fbt_label_scoring)settings->model.label_scoring};
}

fbt_status fbt_inputs_plan_memory(const fbt_inputs *inputs, const fbt_settings *settings,
                                  const fbt_model_limits *limits, fbt_model_plan *plan)
{
    fbt_status status = FBT_OK;
    const fbt_model_options options = model_options(inputs, settings);
    FBT_TRY(fbt_model_check_shape(inputs->backend, &inputs->shape));
    FBT_TRY(fbt_model_check_scoring(inputs->backend, &options));
    fbt_model_plan_memory(inputs->backend, &inputs->shape, &options, settings->cma.dimension, limits, plan);
done:
    return status;
}

static fbt_status finish_model(fbt_inputs *inputs, const fbt_settings *settings, const fbt_model_limits *limits)
{
    fbt_status status = FBT_OK;
    const char *hidden_std = inputs->hidden_std != NULL ? inputs->hidden_std : settings->prompt.hidden_std;
    FBT_TRY(fbt_settings_n_words(settings) > 0 ? fbt_model_set_words(inputs->model, inputs->dataset.vocabulary.tokens)
                                               : fbt_deep_set_projection(inputs->model, settings, hidden_std));
    FBT_TRY(fbt_model_reserve(inputs->model, limits));
done:
    return status;
}

/* Whether batches take most of the memory: fbt_device_check_memory then tells how small they must be. */
static bool is_mostly_batches(const fbt_model_plan *plan)
{
    return plan->n_streams * plan->workspace > plan->weights + plan->tables + plan->projection;
}

/* Of the processor's memory: a limit of address space shows here, not as a crash in a library. */
static fbt_status check_address_space(const fbt_settings *settings, const fbt_model_plan *plan)
{
    const int64_t n_bytes = plan->weights + plan->tables + plan->projection + plan->n_streams * plan->workspace;
    char limit[64];
    if (strcmp(settings->backend.name, "cpu") != 0 || fbt_memory_has_room(n_bytes + SPARE_BYTES, false)) {
        return FBT_OK;
    }
    return fbt_fail(
        FBT_ERR_MEMORY,
        "the model takes %.0f MB of memory (weights %.0f, projection %.0f, batches %.0f) and the libraries some "
        "more, which %s does not leave; raise the limit, or lower backend.batch_tokens",
        1e-6 * (double)n_bytes, 1e-6 * (double)(plan->weights + plan->tables), 1e-6 * (double)plan->projection,
        1e-6 * (double)(plan->n_streams * plan->workspace), fbt_memory_limit_text(limit));
}

/* Backend and weights. */
static fbt_status open_model(fbt_inputs *inputs, const fbt_settings *settings, const fbt_model_limits *limits,
                             const fbt_run_observer *observer, const fbt_comm *comm)
{
    fbt_status status = FBT_OK;
    const fbt_model_options options = model_options(inputs, settings);
    fbt_model_plan plan = {0};
    FBT_TRY(fbt_inputs_open_backend(inputs, settings, comm));
    FBT_TRY(fbt_comm_agree(comm, fbt_inputs_plan_memory(inputs, settings, limits, &plan)));
    FBT_TRY(fbt_comm_agree(comm, is_mostly_batches(&plan) ? FBT_OK : check_address_space(settings, &plan)));
    status = fbt_device_check_memory(inputs->device, inputs->backend, &plan, limits->n_rows);
    FBT_TRY(fbt_comm_agree(comm, status));
    FBT_TRY(fbt_comm_agree(comm, check_address_space(settings, &plan)));
    FBT_TRY(fbt_device_open_model(comm, inputs->device, inputs->backend, settings->model.path, &options, observer,
                                  &inputs->model));
    FBT_TRY(fbt_comm_agree(comm, set_model_key(&inputs->key, settings)));
done:
    return status;
}

fbt_status fbt_inputs_open_model(fbt_inputs *inputs, const fbt_settings *settings, const fbt_model_limits *limits,
                                 const fbt_run_observer *observer, const fbt_comm *comm)
{
    fbt_status status = FBT_OK;
    if (one_differs(comm, model_fits(&inputs->key, settings, comm))) {
        if (inputs->model != NULL) {
            close_model(inputs);
        }
        status = open_model(inputs, settings, limits, observer, comm);
        if (status != FBT_OK) {
            close_model(inputs);
            goto done;
        }
    }
    free(inputs->hidden_std);
    inputs->hidden_std = NULL;
    if (fbt_deep_needs_stds(settings)) {
        FBT_TRY(fbt_deep_find_stds(inputs->model, settings, comm, &inputs->hidden_std));
    }
    FBT_TRY(fbt_comm_agree(comm, finish_model(inputs, settings, limits)));
done:
    return status;
}

void fbt_inputs_close(fbt_inputs *inputs)
{
    close_model(inputs);
    close_dataset(inputs);
    free(inputs->digested_model);
    free(inputs->hidden_std);
    *inputs = (fbt_inputs){0};
}
