#include "test_record_fixture.h"

#include "base/status.h"
#include "record/seal.h"

#include <dirent.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[256];

static const char *const phases[FIX_PHASES] = {"forward", "search"};
static const fbt_run_text environment[] = {{"hosts", "nodeA"},    {"ranks", "4"},       {"backend", "cpu"},
                                           {"precision", "bf16"}, {"device", "Abacus"}, {"instruction_set", "beads"},
                                           {NULL, NULL}};
static const fbt_run_text inputs[] = {
    {"task", "toy"}, {"model", "m\xc3\xbc"}, {"model_sha256", "aa11"}, {"data_sha256", "bb22"}, {NULL, NULL}};

void fixture_init(fixture *f)
{
    memset(f, 0, sizeof *f);
    for (int64_t i = 0; i < FIX_SAMPLES; i++) {
        f->index[i] = FIX_SAMPLES - i;
        f->dev[i % FIX_DEV] = 10 + i;
        f->labels[f->index[i]] = (int32_t)(i % 3 == 0);
    }
    f->offsets[1] = 1;
    f->offsets[2] = 4;
    f->offsets[3] = FIX_SAMPLES;
    memcpy(f->class_count, (int64_t[]){0, 1, 2, 1, 2, 0}, sizeof f->class_count);
    f->header = (fbt_run_header){.config_given = "fed:\n  clients: 3\n",
                                 .value_bytes = 4,
                                 .config_decides = "run.output: nothing\n",
                                 .config_resolved = "fed:\n  clients: 3\n  rounds: 5\n",
                                 .environment = environment,
                                 .inputs = inputs,
                                 .n_clients = FIX_K,
                                 .n_slots = FIX_M,
                                 .dimension = FIX_D,
                                 .n_generations = FIX_I,
                                 .n_labels = FIX_LABELS,
                                 .n_prompt_values = {FIX_P, FIX_H},
                                 .client_means = true,
                                 .phases = phases,
                                 .n_phases = FIX_PHASES,
                                 .sample_offsets = f->offsets,
                                 .sample_index = f->index,
                                 .dev_index = f->dev,
                                 .n_dev = FIX_DEV,
                                 .train_labels = f->labels};
}

/* Numbers without pattern, the same for the same arguments. */
static void fill(double *values, int64_t n, int64_t r, double salt)
{
    for (int64_t i = 0; i < n; i++) {
        values[i] = sin(1000 * salt + 31.7 * (double)r + 1.3 * (double)i);
    }
}

void fixture_round(fixture *f, int64_t r, double noise)
{
    fill(f->z, FIX_D, r, 1);
    for (int i = 0; i < 3; i++) {
        fill(f->client[i], FIX_M, r, 2 + i);
    }
    fill(f->client_step_size, FIX_M * FIX_I, r, 5);
    fill(f->client_mean, FIX_M * FIX_D, r, 6);
    fill(f->condition, FIX_M, r, 7);
    fill(f->seconds, FIX_PHASES, r, noise);
    for (int i = 0; i < FIX_M; i++) {
        f->participants[i] = r == 0 ? -1 : (r % 2) + i;
        f->evaluations[i] = 10 * r + i;
    }
    f->round = (fbt_round_row){.index = r,
                               .z = f->z,
                               .step_size = 1 / (1.0 + (double)r),
                               .step_size_local = 0.5,
                               .train_loss = 1.3 - 0.1 * (double)r,
                               .train_accuracy = 0.5,
                               .dev_loss = 1.2 - 0.01 * (double)r,
                               .dev_accuracy = r == 2 || r == 3 ? 0.75 : 0.5,
                               .dev_f1 = NAN,
                               .test_loss = 1.1,
                               .test_accuracy = r == 1 ? NAN : 0.625,
                               .test_f1 = NAN,
                               .condition_number = 1 + (double)r,
                               .axis_ratio = 1,
                               .path_sigma_norm = 2,
                               .n_participants = FIX_M,
                               .participants = f->participants,
                               .client_fitness = f->client[0],
                               .client_loss = f->client[1],
                               .client_loss_perturbed = f->client[2],
                               .client_step_size = f->client_step_size,
                               .client_mean = f->header.client_means ? f->client_mean : NULL,
                               .client_condition = f->condition,
                               .client_evaluations = f->evaluations,
                               .phase_s = f->seconds,
                               .n_resets = r % 2,
                               .bytes_up = 1000 + r,
                               .bytes_down = 2000 + r,
                               .n_tokens = 12345 * r,
                               .peak_memory_bytes = (int64_t)(1e6 * (1 + noise)),
                               .energy_cpu = 40 + noise + (double)r,
                               .energy_gpu = NAN};
}

void fixture_add_rounds(fixture *f, fbt_run_file *file, int64_t n_rounds, double noise)
{
    for (int64_t r = 0; r < n_rounds; r++) {
        fixture_round(f, r, noise);
        assert_int_equal(fbt_run_file_add_round(file, &f->round), FBT_OK);
    }
    fill(f->covariance, FIX_D * FIX_D, n_rounds, 9);
    const fbt_array arrays[] = {{.name = "mean", .values = f->z, .n_values = FIX_D, .long_name = "server's mean"},
                                {.name = "covariance", .values = f->covariance, .n_values = FIX_D * FIX_D},
                                {.name = NULL}};
    assert_int_equal(fbt_run_file_set_checkpoint(file, arrays), FBT_OK);
}

void fixture_set_result(fixture *f, fbt_run_file *file, int64_t best_round, int64_t n_rounds)
{
    double best[FIX_D], last[FIX_D];
    fill(best, FIX_D, best_round, 1);
    fill(last, FIX_D, n_rounds - 1, 1);
    for (int i = 0; i < FIX_P * FIX_H; i++) {
        f->prompt[i] = (float)i / 3;
    }
    const fbt_run_result result = {.best_round = best_round,
                                   .last_round = n_rounds - 1,
                                   .best_z = best_round < 0 ? NULL : best,
                                   .last_z = last,
                                   .best_prompt = best_round < 0 ? NULL : f->prompt,
                                   .last_prompt = f->prompt};
    assert_int_equal(fbt_run_file_set_result(file, &result), FBT_OK);
}

void fixture_write(fixture *f, const char *path, int64_t n_rounds, double noise)
{
    fbt_run_file *file;
    assert_int_equal(fbt_run_file_create(path, true, &f->header, &file), FBT_OK);
    fixture_add_rounds(f, file, n_rounds, noise);
    fixture_set_result(f, file, 3, n_rounds);
    assert_int_equal(fbt_run_file_commit(file, FBT_RUN_FINISHED), FBT_OK);
    fbt_run_file_free(file);
}

static void make_folder(void)
{
    const char *base = getenv("TMPDIR");
    fbt_error_clear(); /* of a test that failed */
    snprintf(folder, sizeof folder, "%s/fbt_record_XXXXXX", base == NULL ? "/tmp" : base);
    assert_non_null(mkdtemp(folder));
}

/* A few paths may be in use at once. */
const char *fixture_path(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

int fixture_count_files_but(const char *prefix)
{
    int n = 0;
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
             strncmp(entry->d_name, prefix, strlen(prefix)) != 0;
    }
    closedir(listing);
    return n;
}

int fixture_count_files(void)
{
    return fixture_count_files_but(" "); /* no file of ours begins with a blank */
}

static void remove_folder(void)
{
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        if (unlinkat(dirfd(listing), entry->d_name, 0) != 0) {
            unlinkat(dirfd(listing), entry->d_name, AT_REMOVEDIR);
        }
    }
    closedir(listing);
    rmdir(folder);
}

int fixture_setup(void **state)
{
    (void)state;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    make_folder();
    return 0;
}

int fixture_teardown(void **state)
{
    (void)state;
    remove_folder();
    return 0;
}

/* *bytes: to be freed. */
static int64_t read_file(const char *path, char **bytes)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long n = ftell(file);
    rewind(file);
    *bytes = malloc((size_t)n + 1);
    assert_int_equal(fread(*bytes, 1, (size_t)n, file), n);
    fclose(file);
    return n;
}

static void write_file(const char *path, const char *bytes, int64_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, (size_t)n, file), n);
    assert_int_equal(fclose(file), 0);
}

void fixture_seal(const char *path)
{
    char *bytes, block[FBT_SEAL_BYTES];
    int64_t n = read_file(path, &bytes);
    const int64_t first = memcmp(bytes, FBT_HDF5_SIGNATURE, FBT_HDF5_SIGNATURE_BYTES) == 0 ? 0 : FBT_SEAL_BYTES;
    assert_int_equal(fbt_seal_make(bytes + first, n - first, block), FBT_OK);
    bytes = realloc(bytes, (size_t)n + FBT_SEAL_BYTES);
    memmove(bytes + FBT_SEAL_BYTES, bytes + first, (size_t)(n - first));
    memcpy(bytes, block, FBT_SEAL_BYTES);
    write_file(path, bytes, FBT_SEAL_BYTES + n - first);
    free(bytes);
}

static void assert_refused(const char *path, fbt_status (*read)(const char *path), const char *part)
{
    fbt_error_clear();
    assert_int_equal(read(path), FBT_ERR_IO);
    assert_memory_equal(fbt_error_message(), path, strlen(path));
    assert_error_has(part);
}

void fixture_assert_damage_is_told(const char *path, fbt_status (*read)(const char *path))
{
    enum { N_FLIPS = 400 };
    char *bytes;
    unsigned seed = 11;
    const int64_t n = read_file(path, &bytes);
    for (int i = 0; i < N_FLIPS; i++) {
        /* half of them in the seal and the metadata at the file's beginning */
        const int64_t place = i % 2 == 0 ? rand_r(&seed) % 3000 : rand_r(&seed) % n;
        const int bit = 1 << rand_r(&seed) % 8;
        bytes[place] = (char)(bytes[place] ^ bit);
        write_file(path, bytes, n);
        assert_refused(path, read, "amaged");
        bytes[place] = (char)(bytes[place] ^ bit);
    }
    write_file(path, bytes, n - 1);
    assert_refused(path, read, " is truncated or damaged: it has ");
    write_file(path, bytes, FBT_SEAL_BYTES);
    assert_refused(path, read, " is truncated or damaged: it has 512 of ");
    write_file(path, bytes, FBT_SEAL_BYTES - 1);
    assert_refused(path, read, "");
    bytes[n] = 0;
    write_file(path, bytes, n + 1);
    assert_refused(path, read, "damaged, or was changed");
    write_file(path, bytes, n);
    assert_int_equal(read(path), FBT_OK);
    free(bytes);
}

void assert_error_has(const char *part)
{
    if (strstr(fbt_error_message(), part) == NULL) {
        fail_msg("expected '%s' in '%s'", part, fbt_error_message());
    }
    assert_null(strchr(fbt_error_message(), '\n'));
    fbt_error_clear();
}
