/* Inside fedbpt bench: what is asked for and what was measured. */
#ifndef FBT_CLI_BENCH_H
#define FBT_CLI_BENCH_H

#include "kernels/backend.h"
#include "model/model.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct fbt_bench_arguments {
    const char *model; /* folder, or NULL: */
    const char *shape; /* random weights   */
    const char *backend;
    const char *precision; /* NULL: all that the backend has */
    const char *readout;   /* NULL: embedding for minilm-l6, else mask */
    fbt_prompt_mode mode;
    int64_t threads, samples, candidates, copies, length, prompt_tokens, repeats;
    bool json;
} fbt_bench_arguments;

/* Times of one precision. */
typedef struct fbt_bench_result {
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
} fbt_bench_result;

void fbt_bench_print(const fbt_bench_arguments *a, const fbt_bench_result *m);

/* The same as JSON, the caller's. */
json_t *fbt_bench_describe(const fbt_bench_arguments *a, const fbt_bench_result *m);

#endif
