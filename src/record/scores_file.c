/* The scores of single samples, written by evaluate. */
#include "record/run_reader.h"

#include "record/hdf5_util.h"
#include "record/output_file.h"

#include <stdlib.h>

static fbt_status fill(hid_t file, const float *logits, const int32_t *predictions, const int32_t *labels, int64_t n,
                       int64_t n_labels, const char *source)
{
    fbt_status status = FBT_OK;
    const hsize_t dims[2] = {(hsize_t)n, (hsize_t)n_labels};
    const struct {
        fbt_hdf5_array array;
        const void *values;
    } arrays[] = {
        {{.name = "logits",
          .type = H5T_NATIVE_FLOAT,
          .rank = 2,
          .dims = dims,
          .long_name = "logits of the label words"},
         logits},
        {{.name = "predictions",
          .type = H5T_NATIVE_INT32,
          .rank = 1,
          .dims = dims,
          .long_name = "label with the largest logit"},
         predictions},
        {{.name = "labels", .type = H5T_NATIVE_INT32, .rank = 1, .dims = dims, .long_name = "true label"}, labels},
    };
    FBT_TRY(fbt_hdf5_write_text(file, "source", source));
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        FBT_TRY(fbt_hdf5_create(file, &arrays[i].array, n == 0 ? NULL : arrays[i].values, NULL));
    }
done:
    return status;
}

fbt_status fbt_scores_write(const char *path, bool overwrite, const float *logits, const int32_t *predictions,
                            const int32_t *labels, int64_t n, int64_t n_labels, const char *source)
{
    fbt_status status = FBT_OK;
    hid_t file = -1;
    fbt_output_file *output = NULL;
    fbt_hdf5_bytes image = {0};
    fbt_hdf5_silence();
    FBT_TRY(fbt_output_file_open(path, overwrite, &output));
    FBT_TRY(fbt_hdf5_new_in_memory(&file));
    FBT_TRY(fill(file, logits, predictions, labels, n, n_labels, source));
    FBT_TRY(fbt_hdf5_image(file, &image));
    status = fbt_output_file_replace(output, image.bytes, image.n_bytes);
done:
    free(image.bytes);
    fbt_hdf5_close(file);
    fbt_output_file_close(output);
    return status;
}
