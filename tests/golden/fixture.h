/* Reads what make_hf_fixtures.py, make_decoder_fixtures.py and make_deep_fixtures.py wrote: cases of token sequences,
 * search points and Hugging Face's logits. */
#ifndef FBT_TESTS_FIXTURE_H
#define FBT_TESTS_FIXTURE_H

#include "base/status.h"
#include "data/batch.h"
#include "model/model.h"

#include <stdint.h>

enum { FIXTURE_PROMPTS = 3, FIXTURE_MAX_SEARCH = 16 };

typedef struct fixture_case {
    fbt_prompt_mode mode;
    int64_t n_prompt_tokens;
    int has_offset; /* p0 is not zero */
    int is_deep;    /* every layer has a prompt: make_deep_fixtures.py */
    fbt_batch batch;
    double z[FIXTURE_PROMPTS * FIXTURE_MAX_SEARCH]; /* [FIXTURE_PROMPTS, n_search] */
    double *logits;                                 /* [n_sequences, n_labels]     */
    double largest;                                 /* of |logits|                 */
} fixture_case;

typedef struct fixture {
    fbt_readout readout;
    float scale;
    int64_t n_search;
    double projection_scale;
    double embedding_std;
    fbt_label_scoring label_scoring; /* set by the test: auto at first */
    int64_t n_labels;
    int32_t *label_ids;     /* mask readout                 */
    int32_t *label_tokens;  /* embedding readout, CSR       */
    int64_t *label_offsets; /* [n_labels + 1]               */
    int64_t n_cases;
    fixture_case *cases;
} fixture;

/* `path`: a cases.json. Clear it after a failure too. Errors: FBT_ERR_IO, FBT_ERR_MEMORY. */
fbt_status fixture_read(const char *path, fixture *f);
void fixture_clear(fixture *f);

/* Computed though nobody reads it, or more than once: to check that leaving it out changes nothing. */
enum { FIXTURE_FULL_LAST_LAYER = 1, FIXTURE_FULL_SEQUENCES = 2 };

/* The model in `folder` ready for a case: projection and prompts set. full: bits of the above. */
fbt_status fixture_open_model(fbt_backend *b, const char *folder, const fixture *f, const fixture_case *c, int full,
                              fbt_model **model);

/* A: [n_out, d] and p0: [n_out] as in make_hf_fixtures.py; *p0 is NULL without offset. Release both with free(). */
fbt_status fixture_projection(const fixture *f, const fixture_case *c, int64_t n_out, int64_t d, float **a, float **p0);

/* The backend that the environment variable FBT_TEST_BACKEND names; "cpu" without it. A precision that the processor
 * lacks gives FBT_ERR_CONFIG. */
fbt_status fixture_open_backend(const char *precision, int n_threads, fbt_backend **b);

/* 0, and why on the terminal, where that backend has no device: the program then ends with 77. */
int fixture_device_is_there(void);

/* Whether the backend takes the model's sizes: it need not take every size. 0: and why on the terminal. */
fbt_status fixture_takes(const fbt_backend *b, const char *folder, int *takes);

#endif
