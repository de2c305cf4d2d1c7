/* The soft prompts that a run file keeps, and what they belong to. */
#ifndef FBT_RECORD_RUN_PROMPT_H
#define FBT_RECORD_RUN_PROMPT_H

#include "base/digest.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialise, then fbt_run_prompt_read; free with fbt_run_prompt_clear, after a failure too. Texts that the file
 * lacks are NULL. */
typedef struct fbt_run_prompt {
    int64_t round;
    double *z; /* [dimension]         */
    int64_t dimension;
    float *prompt; /* [n_tokens, n_hidden] */
    int64_t n_tokens, n_hidden;
    char *config_resolved;
    char *program_version, *git_commit;                           /* that began the run */
    char *model, *model_sha256, *model_family, *tokenizer_sha256; /* of /inputs, and: */
    char *task, *template_text;
    char **label_words; /* [n_labels]; NULL: the file does not tell */
    int64_t n_labels;
    char digest[FBT_DIGEST_TEXT_BYTES]; /* fbt_run_reader_digest */
} fbt_run_prompt;

/* Reads the prompt of the round that is best on dev samples, or of the last round. Errors: FBT_ERR_IO, FBT_ERR_DATA
 * (not a run file; damaged; no best round, because the run had no dev samples). */
fbt_status fbt_run_prompt_read(const char *path, bool best, fbt_run_prompt *prompt);
void fbt_run_prompt_clear(fbt_run_prompt *prompt);

#endif
