#include "toy/data_file.h"

#include "record/hdf5_util.h"
#include "toy/must.h"

const data_file_split data_file_three_samples = {
    .n_samples = 3,
    .n_truncated = 1,
    .offsets = (const int64_t[]){0, 5, 9, 15},
    .tokens = (const int32_t[]){1, 5, 6, 4, 2, 1, 7, 4, 2, 1, 8, 9, 5, 4, 2},
    .labels = (const int32_t[]){0, 1, 1},
    .readout = (const int32_t[]){3, 2, 4},
    .frozen = (const uint8_t[]){1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1},
};

void data_file_put(hid_t group, const char *name, hid_t stored, hid_t type, int64_t n, const void *values)
{
    hid_t space = H5Screate_simple(1, &(hsize_t){(hsize_t)n}, NULL);
    hid_t dataset = H5Dcreate2(group, name, stored, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    MUST(dataset >= 0 && (n == 0 || H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0));
    H5Dclose(dataset);
    H5Sclose(space);
}

void data_file_put_label_ids(hid_t file, int64_t n, const int32_t *ids)
{
    hid_t space = H5Screate_simple(1, &(hsize_t){(hsize_t)n}, NULL);
    if (H5Aexists(file, "label_token_ids") > 0) {
        H5Adelete(file, "label_token_ids");
    }
    hid_t attribute = H5Acreate2(file, "label_token_ids", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    MUST(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT32, ids) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

hid_t data_file_make(const char *path, const data_file_head *head)
{
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    MUST(file >= 0);
    for (int i = 0; i < DATA_FILE_TEXTS; i++) {
        MUST(fbt_hdf5_write_text(file, head->texts[i][0], head->texts[i][1]) == FBT_OK);
    }
    for (int i = 0; i < DATA_FILE_NUMBERS; i++) {
        MUST(fbt_hdf5_write_int(file, head->numbers[i].name, head->numbers[i].value) == FBT_OK);
    }
    MUST(fbt_hdf5_write_texts(file, "label_words", head->label_words, head->n_labels) == FBT_OK);
    data_file_put_label_ids(file, head->n_labels, head->label_ids);
    return file;
}

void data_file_put_split(hid_t file, const char *name, const data_file_split *split, hid_t label_type)
{
    const int64_t n = split->n_samples, n_tokens = split->offsets[n];
    hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    data_file_put(group, "tokens", H5T_STD_I32LE, H5T_NATIVE_INT32, n_tokens, split->tokens);
    data_file_put(group, "offsets", H5T_STD_I64LE, H5T_NATIVE_INT64, n + 1, split->offsets);
    data_file_put(group, "labels", label_type, H5T_NATIVE_INT32, n, split->labels);
    data_file_put(group, "readout", H5T_STD_I32LE, H5T_NATIVE_INT32, n, split->readout);
    data_file_put(group, "frozen", H5T_STD_U8LE, H5T_NATIVE_UINT8, n_tokens, split->frozen);
    MUST(fbt_hdf5_write_int(group, "n_truncated", split->n_truncated) == FBT_OK);
    H5Gclose(group);
}
