/* Data set files for tests, part by part (docs/run-file.md describes them). A failure ends the process. */
#ifndef FBT_TESTS_DATA_FILE_H
#define FBT_TESTS_DATA_FILE_H

#include <hdf5.h>
#include <stdint.h>

enum { DATA_FILE_TEXTS = 8, DATA_FILE_NUMBERS = 8 };

/* Attributes of a file, and its n_labels label words with their tokens. */
typedef struct data_file_head {
    const char *texts[DATA_FILE_TEXTS][2]; /* name, value */
    struct {
        const char *name;
        int64_t value;
    } numbers[DATA_FILE_NUMBERS];
    const char *const *label_words;
    const int32_t *label_ids;
    int64_t n_labels;
} data_file_head;

/* offsets: [n_samples + 1]; labels, readout: [n_samples]; tokens, frozen: [offsets[n_samples]]. */
typedef struct data_file_split {
    int64_t n_samples, n_truncated;
    const int64_t *offsets;
    const int32_t *tokens, *labels, *readout;
    const uint8_t *frozen;
} data_file_split;

/* Three samples of a vocabulary of 12: 5 to 9 the text's tokens, 4 the mask, 1 and 2 begin and end. */
extern const data_file_split data_file_three_samples;

/* A new file without splits; close with H5Fclose. */
hid_t data_file_make(const char *path, const data_file_head *head);

/* label_type: as which labels are stored. */
void data_file_put_split(hid_t file, const char *name, const data_file_split *split, hid_t label_type);

/* A data set of n values of type `type` in memory and `stored` in the file; the attribute of the label words' tokens,
 * in place of one that is there. */
void data_file_put(hid_t group, const char *name, hid_t stored, hid_t type, int64_t n, const void *values);
void data_file_put_label_ids(hid_t file, int64_t n, const int32_t *ids);

#endif
