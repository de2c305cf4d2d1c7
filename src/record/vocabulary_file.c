#include "record/vocabulary_file.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "record/hdf5_util.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char group_name[] = "vocabulary";

static fbt_status read_tokens(hid_t group, fbt_word_list *vocabulary)
{
    fbt_status status = FBT_OK;
    hid_t dataset = -1, type = -1;
    int64_t n = 0, *wide = NULL;
    if (!fbt_hdf5_has(group, "tokens")) {
        FBT_FAIL(FBT_ERR_DATA, "vocabulary/tokens is missing");
    }
    FBT_HDF5(dataset = H5Dopen2(group, "tokens", H5P_DEFAULT), "vocabulary/tokens is damaged");
    FBT_HDF5(type = H5Dget_type(dataset), "vocabulary/tokens is damaged");
    FBT_TRY(fbt_hdf5_count(dataset, "vocabulary/tokens", &n));
    if (H5Tget_class(type) != H5T_INTEGER || n != vocabulary->n_words) {
        FBT_FAIL(FBT_ERR_DATA, "vocabulary/tokens must be %" PRId64 " integers, one for each word",
                 vocabulary->n_words);
    }
    FBT_TRY(fbt_memory_alloc(&wide, n, sizeof *wide));
    FBT_TRY(fbt_memory_alloc(&vocabulary->tokens, n, sizeof *vocabulary->tokens));
    FBT_HDF5(H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, wide),
             "vocabulary/tokens cannot be read");
    for (int64_t i = 0; i < n; i++) {
        if (wide[i] < 0 || wide[i] > INT32_MAX) {
            FBT_FAIL(FBT_ERR_DATA, "vocabulary/tokens: entry %" PRId64 " is %" PRId64 ", which is no token", i,
                     wide[i]);
        }
        vocabulary->tokens[i] = (int32_t)wide[i];
    }
done:
    free(wide);
    fbt_hdf5_close(type);
    fbt_hdf5_close(dataset);
    return status;
}

/* Words go into run files, and from there into JSON. */
static fbt_status check_words(const fbt_word_list *vocabulary)
{
    for (int64_t i = 0; i < vocabulary->n_words; i++) {
        const char *word = vocabulary->words[i];
        if (word[0] == '\0' || word[fbt_utf8_find_fault(word, strlen(word))] != '\0') {
            return fbt_fail(FBT_ERR_DATA, "vocabulary: word %" PRId64 " is empty or not UTF-8", i);
        }
    }
    return FBT_OK;
}

fbt_status fbt_vocabulary_read(hid_t parent, fbt_word_list *vocabulary)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    if (!fbt_hdf5_has(parent, group_name)) {
        return FBT_OK;
    }
    FBT_HDF5(group = H5Gopen2(parent, group_name, H5P_DEFAULT), "group vocabulary cannot be read");
    FBT_TRY(fbt_hdf5_read_texts(group, "words", &vocabulary->words, &vocabulary->n_words));
    FBT_TRY(check_words(vocabulary));
    FBT_TRY(read_tokens(group, vocabulary));
done:
    fbt_hdf5_close(group);
    return status;
}

fbt_status fbt_vocabulary_write(hid_t parent, const fbt_word_list *vocabulary, int64_t n_words)
{
    fbt_status status = FBT_OK;
    hid_t group = -1;
    const hsize_t n = (hsize_t)n_words;
    const fbt_hdf5_array tokens = {.name = "tokens",
                                   .type = H5T_NATIVE_INT32,
                                   .rank = 1,
                                   .dims = &n,
                                   .long_name = "token of each word",
                                   .unit = "token id"};
    FBT_HDF5(group = H5Gcreate2(parent, group_name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
             "group vocabulary cannot be made");
    FBT_TRY(fbt_hdf5_create(group, &tokens, vocabulary->tokens, NULL));
    FBT_TRY(fbt_hdf5_write_texts(group, "words", (const char *const *)vocabulary->words, n_words));
done:
    fbt_hdf5_close(group);
    return status;
}
