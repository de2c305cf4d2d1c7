/* The frozen language model: a black box from packed token sequences and soft prompts to label logits and losses. */
#ifndef FBT_MODEL_MODEL_H
#define FBT_MODEL_MODEL_H

#include "base/status.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "kernels/backend.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Rows that the embedding readout makes a sequence's one row of. */
typedef enum fbt_pooling {
    FBT_POOLING_MEAN, /* the mean of all rows, the prompt's too             */
    FBT_POOLING_CLS,  /* the row of the text's first token, that is [CLS]   */
} fbt_pooling;

/* Members of encoders alone. */
typedef struct fbt_encoder_shape {
    int64_t
        position_offset; /* row of the position table that a sequence's first token has: pad_token_id + 1 for RoBERTa */
    int64_t n_types;     /* token types; 0: none are added                                                      */
} fbt_encoder_shape;

/* Rules by which the frequencies of rotary positions follow from theta; Hugging Face's names (rope_type): default,
 * linear, dynamic, llama3, yarn. */
typedef enum fbt_rotary_kind {
    FBT_ROTARY_DEFAULT, /* as Su et al. 2021, arXiv 2104.09864; and dynamic, which differs from it only in sequences
                         * longer than n_positions                                                                  */
    FBT_ROTARY_LINEAR,  /* divided by factor                                                                        */
    FBT_ROTARY_LLAMA3,  /* those of long waves divided by factor                                                    */
    FBT_ROTARY_YARN,    /* Peng et al. 2023, arXiv 2309.00071                                                       */
} fbt_rotary_kind;

typedef struct fbt_rotary_shape {
    int64_t n_rotated; /* leading elements of a head that are turned; 0: none, positions are learned or absent      */
    fbt_rotary_kind kind;
    double theta, factor;
    double low_frequency, high_frequency; /* llama3: waves that fit so often into original_positions are long, short */
    double beta_fast, beta_slow;          /* yarn: likewise, turns within original_positions                        */
    int is_truncated;                     /* yarn: the bounds between which it blends are whole numbers             */
    double attention_factor;              /* of cosines and sines                                                   */
    double original_positions;            /* llama3, yarn: of the training                                          */
} fbt_rotary_shape;

/* Members of decoders alone. */
typedef struct fbt_decoder_shape {
    fbt_norm_kind norm;
    int64_t n_kv_heads;
    int64_t position_offset; /* learned positions: rows of the table in front of the first (OPT: 2)                 */
    int64_t window;          /* rows that a row sees, itself included, where some layer limits them; 0: all         */
    int has_gate;            /* 1: the MLP is down(activation(gate(x)) * up(x)); 0: down(activation(up(x)))         */
    int is_parallel;         /* 1: attention and MLP both see the layer's input (GPT-NeoX); 0: one behind the other */
    int has_qkv_bias, has_output_bias, has_mlp_bias;
    int has_head_norms; /* RMS norms of each head of queries and keys (Qwen3)                                       */
    fbt_rotary_shape rotary;
} fbt_decoder_shape;

/* Contents of config.json: first what all families have, under the field's names, then the family's own. */
typedef struct fbt_model_shape {
    const struct fbt_model_family *family; /* model/family.h                                                        */
    int64_t n_layers, n_hidden, n_heads, head_dim, n_intermediate, vocab_size;
    int64_t n_positions;   /* rows that a sequence may have                                                         */
    int64_t padding_token; /* positions are counted behind it, so that no sample may hold it; -1: from 0            */
    float epsilon;         /* of the norms                                                                          */
    fbt_activation activation;
    int is_untied;       /* 1: the output head has its own matrix; 0: it may be the word embeddings'                */
    fbt_pooling pooling; /* not in config.json: fbt_model_read_pooling                                              */
    fbt_encoder_shape encoder;
    fbt_decoder_shape decoder;
} fbt_model_shape;

typedef struct fbt_model_options {
    fbt_readout readout;
    fbt_prompt_mode prompt_mode;
    int64_t n_prompt_tokens; /* P                                                                          */
    int is_deep; /* 1: every layer has a prompt of its own at its input (Sun et al. 2022, arXiv 2205.11200): in modes */
    /*   cat and input in place of what the layer before left in the prompt's rows, in mode add on top   */
    int64_t n_words; /* 0: prompts are projections; N: of words out of so many, mode input, not deep       */
    int64_t n_labels;
    const int32_t *label_token_ids;  /* mask and last: [n_labels], first tokens; borrowed during open              */
    const int32_t *label_tokens;     /* embedding: label texts; last, where all tokens are scored: label words;    */
    const int64_t *label_offsets;    /*   CSR with label_offsets [n_labels + 1]; borrowed during open              */
    float embedding_scale;           /* embedding readout: logit = scale * cosine; 20 is customary                 */
    int is_imported;                 /* 1: the backend has the matrices from another process (share_import), and   */
                                     /*   they are not read here                                                   */
    int full_last_layer;             /* where one row is read: 1 computes every row of the last layer, to check    */
                                     /*   that leaving out those that nobody reads (0) changes nothing             */
    int full_sequences;              /* 1 computes every sequence of a decoder whole, to check that computing      */
                                     /*   once what several begin with (0) changes nothing                         */
    fbt_label_scoring label_scoring; /* readout by the last token; auto is first here                            */
} fbt_model_options;

typedef struct fbt_model fbt_model;

/* The largest batch that will come: its rows, those of labels behind its sequences included (fbt_model_label_rows),
 * sequences and prompts, each at most. */
typedef struct fbt_model_limits {
    int64_t n_rows, n_sequences, n_prompts;
} fbt_model_limits;

/* Memory that a model takes of its backend, bytes. */
typedef struct fbt_model_plan {
    int64_t weights;    /* matrices and vectors                                                                     */
    int64_t tables;     /* lookup tables, if the file has floats                                                    */
    int64_t projection; /* A, or the words' embeddings                                                              */
    int64_t workspace;  /* of one stream                                                                            */
    int n_streams;
    int reads_tables_in_file; /* 1: unless they are shared, tables take no memory but the file's pages */
} fbt_model_plan;

/* Tells the memory before anything is loaded. d: dimension of the search. */
void fbt_model_plan_memory(const fbt_backend *b, const fbt_model_shape *shape, const fbt_model_options *options,
                           int64_t d, const fbt_model_limits *limits, fbt_model_plan *plan);

/* Opens a Hugging Face folder (config.json, *.safetensors): maps the weights, checks every tensor's presence, shape and
 * finiteness, hands them to the backend. The files stay mapped for the lookup tables, which a backend may read in
 * place. Rank-local, synchronous. `b` must outlive the model. Errors: FBT_ERR_MODEL (truncated or inconsistent files, a
 * family or head that this program does not know), FBT_ERR_ARG (options that do not fit the model), FBT_ERR_UNSUPPORTED
 * (readout; fbt_model_check_shape), FBT_ERR_IO, FBT_ERR_MEMORY, backend errors. */
fbt_status fbt_model_open(fbt_backend *b, const char *folder, const fbt_model_options *options, fbt_model **model);

/* A model of the given shape with random weights and an MLM head or embedding readout, for benchmarks. */
fbt_status fbt_model_open_random(fbt_backend *b, const fbt_model_shape *shape, const fbt_model_options *options,
                                 uint64_t seed, fbt_model **model);

void fbt_model_close(fbt_model *model);

/* Whether a sequence is read by its label words' logits at one row, and not as an embedding that is compared with those
 * of label texts. */
static inline bool fbt_readout_scores_words(fbt_readout readout)
{
    return readout != FBT_READOUT_EMBEDDING;
}

/* Whether labels are scored by the log-probabilities of all of their tokens. */
static inline bool fbt_scoring_takes_tokens(fbt_label_scoring scoring)
{
    return scoring == FBT_LABEL_SCORING_SUM || scoring == FBT_LABEL_SCORING_MEAN;
}

static inline bool fbt_model_scores_tokens(const fbt_model_options *options)
{
    return fbt_scoring_takes_tokens(options->label_scoring);
}

/* Whether one row of each sequence is all that is read of the last layer. */
static inline bool fbt_model_reads_one_row(const fbt_model_shape *shape, fbt_readout readout)
{
    return fbt_readout_scores_words(readout) || shape->pooling == FBT_POOLING_CLS;
}

/* Rows in front of a sequence that take none of the model's positions, for a prompt of n_tokens vectors: encoders see
 * the prompt of mode cat as it is, decoders count positions from its first row. */
int64_t fbt_model_rows_without_position(const fbt_model_shape *shape, fbt_prompt_mode mode, int64_t n_tokens);

/* Most rows that a sequence may have, label words behind it included, those without position not; *what: of what the
 * model has so many, for sentences. */
int64_t fbt_model_max_length(const fbt_model_shape *shape, const char **what);

/* Whether rows see those in front of them alone, so that what several sequences begin with can be computed once. */
bool fbt_model_is_causal(const fbt_model_shape *shape);

/* Rows in front of every sequence that are computed once for those of one prompt in a batch: decoders' prompts. What
 * else such sequences begin with alike is computed once too, but cannot be told in advance. */
int64_t fbt_model_shared_rows(const fbt_model_shape *shape, const fbt_model_options *options);

/* Reads and checks config.json alone; pooling is left at the mean. */
fbt_status fbt_model_read_shape(const char *folder, fbt_model_shape *shape);

/* "bert", "roberta", "distilbert": the family's name. */
const char *fbt_model_family_name(const fbt_model_shape *shape);

/* Multiplications of one token's way through the layers' matrices. */
double fbt_model_token_products(const fbt_model_shape *shape);

/* Reads what a sentence encoder's folder says about the embedding readout into shape->pooling (sentence.c); a folder
 * without modules.json is pooled by the mean, as sentence-transformers does. Errors: FBT_ERR_MODEL (a module, pooling
 * or setting that is not computed here), FBT_ERR_IO. */
fbt_status fbt_model_read_pooling(const char *folder, fbt_model_shape *shape);

/* Whether the backend computes a model of such sizes. Errors: FBT_ERR_UNSUPPORTED, with what fits. */
fbt_status fbt_model_check_shape(const fbt_backend *b, const fbt_model_shape *shape);

/* How the model's family is read where nothing else is asked for: at a mask, else at the last token. */
fbt_readout fbt_model_default_readout(const fbt_model_shape *shape);

/* Whether the model's family is read so. Errors: FBT_ERR_UNSUPPORTED. */
fbt_status fbt_model_check_readout(const fbt_model_shape *shape, fbt_readout readout);

/* Whether the backend scores labels so. Errors: FBT_ERR_UNSUPPORTED. */
fbt_status fbt_model_check_scoring(const fbt_backend *b, const fbt_model_options *options);

/* Named shapes for benchmarks, which the families list: "roberta-large", "bert-base", ... Errors: FBT_ERR_ARG
 * (unknown).
 */
fbt_status fbt_model_named_shape(const char *name, fbt_model_shape *shape);

const fbt_model_shape *fbt_model_get_shape(const fbt_model *model);
const fbt_model_options *fbt_model_get_options(const fbt_model *model);

/* Rows of labels that are computed behind every sequence of a batch: none unless all of their tokens are scored. */
int64_t fbt_model_label_rows(const fbt_model *model);

/* Population standard deviation of all entries of the word embedding matrix (sets the scale of the projection). */
double fbt_model_embedding_std(const fbt_model *model);

/* Population standard deviations of the hidden states at every layer's input, [n_layers]: what the projections of deep
 * prompts are scaled by (Sun et al. 2022, arXiv 2205.11200, section 3.2). Of the first layer: of the word embedding
 * matrix. Of the others: over all hidden states of sequences of random tokens without prompt, after these were clipped,
 * five times over, at three standard deviations from their mean, as in the authors' code (deepbbt.py). Random tokens
 * stand in for training texts, which are the clients' own. Waits. Depends on the model and the seed, and in its last
 * digits on the backend's precision. Errors: those of fbt_model_submit, FBT_ERR_NUMERIC. */
fbt_status fbt_model_hidden_stds(fbt_model *model, uint64_t seed, double *stds);

/* Number of parameters in use. */
int64_t fbt_model_n_parameters(const fbt_model *model);

/* Prompts of P vectors that a search point makes: one, or one for each layer of the shape. */
int64_t fbt_model_n_prompts(const fbt_model_shape *shape, const fbt_model_options *options);

/* The random projections A_l, l < L = fbt_model_n_prompts: [L, P * n_hidden, d / L] (fbt_prompt_projection in prompt.h)
 * and the offset p0 [P * n_hidden] of the first, or NULL. Copied. Must be called before fbt_model_set_prompts unless
 * the prompt mode is none. Errors: FBT_ERR_ARG (d is no multiple of L). */
fbt_status fbt_model_set_projection(fbt_model *model, const float *a, const float *p0, int64_t d);

/* The words that prompts are made of, instead of projections: token_ids: [n_words of the options]. Their embeddings are
 * read and kept. Must be called before fbt_model_set_prompts. Errors: FBT_ERR_ARG (the model's prompts are projections;
 * a token outside the vocabulary). */
fbt_status fbt_model_set_words(fbt_model *model, const int32_t *token_ids);

/* Sets options.full_sequences of an open model: to time and to test both ways. */
void fbt_model_set_full_sequences(fbt_model *model, int full_sequences);

/* How sequences with an origin are perturbed; copied. Must be called before a batch has such. Errors: FBT_ERR_ARG (a
 * rate outside 0 to 1, a vocabulary larger than the model's). */
fbt_status fbt_model_set_perturbation(fbt_model *model, const fbt_perturbation *perturbation);

/* Takes the memory of batches within `limits` on every stream, after the projection was set; larger ones take more when
 * they come. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_model_reserve(fbt_model *model, const fbt_model_limits *limits);

/* Streams: what is queued on two runs side by side (backend.h). What follows happens on the stream last selected, 0 at
 * first; each has prompts of its own. */
int fbt_model_n_streams(const fbt_model *model);
fbt_status fbt_model_select_stream(fbt_model *model, int stream);

/* Queues soft prompts p_i = A z_i + p0 for i < n, in fp32 whatever the precision; of deep prompts that of layer l is
 * A_l times elements l d / L to (l + 1) d / L of z_i.  z: [n, d], rounded to float, and free again at return. Batches
 * submitted afterwards refer to them by prompt_index. p_i does not depend on the other z. Of prompts of words row j of
 * p_i is the embedding of word number z_ij. In mode none nothing is done. Errors: FBT_ERR_ARG (no projection or words
 * set, a z that is no word's number), backend errors. */
fbt_status fbt_model_set_prompts(fbt_model *model, const double *z, int64_t n);

/* Reads back prompt `index` of those last set: p: [L, P, n_hidden]. Waits. */
fbt_status fbt_model_get_prompt(fbt_model *model, int64_t index, float *p);

/* Results of one evaluation, per sequence; NULL members are not wanted. Caller's memory, written by fbt_model_wait.
 */
typedef struct fbt_model_result {
    float *losses;        /* [n_sequences]            */
    int32_t *predictions; /* [n_sequences]            */
    float *logits;        /* [n_sequences, n_labels]  */
} fbt_model_result;

/* Queues the evaluation of a batch, which is free again at return. The batch is taken as one piece: cutting it to a
 * memory limit is the caller's business and never changes a result. Memory grows to the largest batch seen and is kept.
 * Labels matter for losses and predictions only. Errors: FBT_ERR_ARG (a sequence longer than n_positions or shorter
 * than its prompt, a token outside the vocabulary, a prompt index, readout, label or origin out of range), backend
 * errors. */
fbt_status fbt_model_submit(fbt_model *model, const fbt_batch *batch, fbt_loss loss, const fbt_model_result *result);

/* Waits until all that was queued on the stream is done. After an error too nothing writes to results any more. */
fbt_status fbt_model_wait(fbt_model *model);

/* Submits and waits. */
fbt_status fbt_model_evaluate(fbt_model *model, const fbt_batch *batch, fbt_loss loss, const fbt_model_result *result);

#ifdef __cplusplus
}
#endif

#endif
