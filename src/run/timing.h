/* Times a population batch, samples x candidates x copies sequences of random words or of a data set, beside the best
 * large matrix product and the best copy of memory that the backend's libraries make. */
#ifndef FBT_RUN_TIMING_H
#define FBT_RUN_TIMING_H

#include "base/status.h"
#include "kernels/backend.h"
#include "model/model.h"

#include <stdint.h>

/* Plan of a timing. Borrowed during the call. */
typedef struct fbt_timing_plan {
    const char *model; /* folder, or NULL: */
    const char *shape; /* random weights of a named shape (fbt_model_named_shape) */
    const char *data;  /* data set file, whose first training samples are timed; readout, mode, length and prompt_tokens
                          are its own. NULL: random words */
    const char *backend;
    const char *precision;
    int readout; /* fbt_readout; -1: the model's own (fbt_model_default_readout) */
    fbt_prompt_mode mode;
    int64_t threads; /* 0: all processors that this process may use */
    int64_t layers;  /* of the named shape, the first so many; 0: all of them */
    int64_t samples, candidates, copies, length, prompt_tokens;
    int64_t repeats; /* at least 1 */
} fbt_timing_plan;

/* The batch without sharing what its sequences begin with. All 0 where a model shares nothing. */
typedef struct fbt_timing_whole {
    double best_s, flops;
} fbt_timing_whole;

/* Zero-initialise; fbt_timing_clear. */
typedef struct fbt_timing_result {
    fbt_timing_plan plan; /* with what the data set says; length: of the longest sequence */
    fbt_backend *backend; /* open until fbt_timing_clear, because info's strings are its own */
    fbt_backend_info info;
    fbt_model_shape shape;
    int64_t n_parameters, n_sequences, n_rows;
    double load_s;
    double *batch_s;         /* [repeats]: prompts and evaluation, unmeasured inside       */
    double *peaks;           /* [repeats + 1]: best product before each batch, and at last */
    double best_s, median_s; /* of batch_s                                                 */
    fbt_profile profile;     /* the fastest of [repeats] evaluations measured inside       */
    double profile_s;
    double matrix_flops, attention_flops;
    double peak; /* flops per second of the library's best product    */
    double fraction, fraction_median;
    int64_t peak_size[3]; /* n_rows, n_out, n_in of that product      */
    int n_peak_sizes;     /* of the list of products there is time for so many */
    double copy_rate;     /* bytes read and written per second of the best copy */
    fbt_timing_whole whole;
    double streams_s; /* the fastest batch in parts on all of info's streams, side by side; 0 where there is one */
} fbt_timing_result;

/* Opens backend and model, measures and closes them. Rank-local. Errors: the backend's and the model's. */
fbt_status fbt_timing_measure(const fbt_timing_plan *plan, fbt_timing_result *result);
void fbt_timing_clear(fbt_timing_result *result);

#endif
