/* Choices by name, in settings, data sets and files: one list for each enum. The enum, its names and the
 * choices of an option follow from the list, in its order.
 *
 * To add a choice, add a line to its list. */
#ifndef FBT_BASE_CHOICES_H
#define FBT_BASE_CHOICES_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arguments of a list: enumerators, or names (with what else a line may hold left out). */
#define FBT_CHOICE_VALUE(value, ...) value,
#define FBT_CHOICE_NAME(value, ...) FBT_CHOICE_FIRST(__VA_ARGS__, 0)
#define FBT_CHOICE_FIRST(name, ...) name,

/* How the soft prompt p enters a sequence (ARCHITECTURE.md, "Prompt"; base/prompt_mode.h).
 * none:  no prompt
 * add:   added to rows 1..P after the embedding LayerNorm
 * cat:   rows 0..P-1 are p as it is: no position or type embedding, no LayerNorm
 * input: rows 0..P-1 are p in place of word embeddings: position, type and LayerNorm as any token's */
#define FBT_PROMPT_MODE_LIST(X)                                                                                        \
    X(FBT_PROMPT_NONE, "none")                                                                                         \
    X(FBT_PROMPT_ADD, "add")                                                                                           \
    X(FBT_PROMPT_CAT, "cat")                                                                                           \
    X(FBT_PROMPT_INPUT, "input")
typedef enum fbt_prompt_mode { FBT_PROMPT_MODE_LIST(FBT_CHOICE_VALUE) } fbt_prompt_mode;
extern const char *const fbt_prompt_mode_names[];

/* From z to the prompt: a random projection with such entries, or words.
 * normal:  N(0, s^2), s = alpha * embedding_std / (sqrt(d) * sigma0): Sun et al. 2022 (BBT)
 * uniform: uniform on +-1 / sqrt(d): a linear layer's default initialisation
 * words:   z_i is the number of a word of the data set's vocabulary, whose embedding is row i: Diao et al. 2022 (BDPL)
 */
#define FBT_PROJECTION_LIST(X)                                                                                         \
    X(FBT_PROJECTION_NORMAL, "normal")                                                                                 \
    X(FBT_PROJECTION_UNIFORM, "uniform")                                                                               \
    X(FBT_PROJECTION_WORDS, "words")
typedef enum fbt_projection_kind { FBT_PROJECTION_LIST(FBT_CHOICE_VALUE) } fbt_projection_kind;
extern const char *const fbt_projection_names[];

/* Whether layers behind the first have prompts of their own (Sun et al. 2022, arXiv 2205.11200).
 * none:      the first layer's input alone has one
 * joint:     every layer's has one; z is all layers' search points, one behind the other, and searched as one
 * alternate: the same, but a round searches one layer's part of z, the layers in turn */
#define FBT_DEEP_LIST(X)                                                                                               \
    X(FBT_DEEP_NONE, "none")                                                                                           \
    X(FBT_DEEP_JOINT, "joint")                                                                                         \
    X(FBT_DEEP_ALTERNATE, "alternate")
typedef enum fbt_deep { FBT_DEEP_LIST(FBT_CHOICE_VALUE) } fbt_deep;
extern const char *const fbt_deep_names[];

/* Work of a client in a round. The third column is its object (fed/protocol.h), the fourth tells whether each client
 * draws candidates of its own.
 * local_search:      searches from the server's distribution and sends where it has come to
 * shared_population: scores the server's candidates and sends their losses */
#define FBT_CLIENT_WORK_LIST(X)                                                                                        \
    X(FBT_CLIENT_WORK_LOCAL_SEARCH, "local_search", fbt_local_search, true)                                            \
    X(FBT_CLIENT_WORK_SHARED_POPULATION, "shared_population", fbt_shared_population, false)
typedef enum fbt_client_work_kind {
    FBT_CLIENT_WORK_AUTO, /* as fed.protocol has it */
    FBT_CLIENT_WORK_LIST(FBT_CHOICE_VALUE)
} fbt_client_work_kind;
extern const char *const fbt_client_work_names[];

/* The server's update of what clients send. The third column is its object (fed/protocol.h).
 * official:  all clients' means are parents, by rank (NVIDIA's code)
 * best_half: the best half of them (Sun et al. 2023)
 * average:   the mean of what they send, weighted by fed.weighting
 * majority:  a vote on each pair of opposite candidates */
#define FBT_AGGREGATION_LIST(X)                                                                                        \
    X(FBT_AGGREGATION_OFFICIAL, "official", fbt_aggregation_official)                                                  \
    X(FBT_AGGREGATION_BEST_HALF, "best_half", fbt_aggregation_best_half)                                               \
    X(FBT_AGGREGATION_AVERAGE, "average", fbt_aggregation_average)                                                     \
    X(FBT_AGGREGATION_MAJORITY, "majority", fbt_aggregation_majority)
typedef enum fbt_aggregation_kind {
    FBT_AGGREGATION_AUTO, /* as fed.protocol has it */
    FBT_AGGREGATION_LIST(FBT_CHOICE_VALUE)
} fbt_aggregation_kind;
extern const char *const fbt_aggregation_names[];

/* Weights of clients in averages: all the same, or their numbers of samples n_k. */
#define FBT_WEIGHTING_LIST(X)                                                                                          \
    X(FBT_WEIGHTING_UNIFORM, "uniform")                                                                                \
    X(FBT_WEIGHTING_SAMPLES, "samples")
typedef enum fbt_weighting {
    FBT_WEIGHTING_AUTO, /* as fed.protocol has it */
    FBT_WEIGHTING_LIST(FBT_CHOICE_VALUE)
} fbt_weighting;
extern const char *const fbt_weighting_names[];

/* By which of their numbers clients are ranked.
 * loss:        the fitness of where a client has come to
 * improvement: the symmetric relative change of fitness since the server's mean, (b - a) / (|a| + |b|) */
#define FBT_RANKING_LIST(X)                                                                                            \
    X(FBT_RANKING_LOSS, "loss")                                                                                        \
    X(FBT_RANKING_IMPROVEMENT, "improvement")
typedef enum fbt_ranking_kind { FBT_RANKING_LIST(FBT_CHOICE_VALUE) } fbt_ranking_kind;
extern const char *const fbt_ranking_names[];

/* Published combinations of them by name: clients' work, aggregation and weighting, each of which may be set by itself.
 */
#define FBT_PROTOCOL_LIST(X)                                                                                           \
    X(FBT_PROTOCOL_NVFLARE, "nvflare", LOCAL_SEARCH, OFFICIAL, UNIFORM)                                                \
    X(FBT_PROTOCOL_PAPER, "paper", LOCAL_SEARCH, BEST_HALF, UNIFORM)                                                   \
    X(FBT_PROTOCOL_FEDAVG_BBT, "fedavg-bbt", LOCAL_SEARCH, AVERAGE, UNIFORM)                                           \
    X(FBT_PROTOCOL_SYNCHRONOUS, "synchronous", SHARED_POPULATION, AVERAGE, SAMPLES)                                    \
    X(FBT_PROTOCOL_FEEDSIGN, "feedsign", SHARED_POPULATION, MAJORITY, UNIFORM)
typedef enum fbt_protocol_kind { FBT_PROTOCOL_LIST(FBT_CHOICE_VALUE) } fbt_protocol_kind;
extern const char *const fbt_protocol_names[];

/* The search distribution of clients and server; the third column is its object (optim/optimiser.h), the fourth the
 * settings that it reads beside those of all, the fifth its usual es.learning_rate, 0 where it has none. */
enum {
    FBT_READS_COVARIANCE = 1,  /* cma.covariance, .decomposition, .active, .constants       */
    FBT_READS_MOMENTUM = 2,    /* es.momentum, .weight_decay                                */
    FBT_READS_ELITE = 4,       /* es.elite, .smoothing, .deviation_smoothing                */
    FBT_READS_SEEDS = 8,       /* es.seeds                                                  */
    FBT_READS_VOCABULARY = 16, /* prompt.vocabulary: its candidates are numbers of words   */
};
#define FBT_OPTIMISER_LIST(X)                                                                                          \
    X(FBT_OPTIMISER_CMA, "cma", fbt_optimiser_cma, FBT_READS_COVARIANCE, 0)                                            \
    X(FBT_OPTIMISER_OPENAI_ES, "openai-es", fbt_optimiser_openai_es, FBT_READS_MOMENTUM, 0.3)                          \
    X(FBT_OPTIMISER_SPSA, "spsa", fbt_optimiser_spsa, FBT_READS_MOMENTUM, 0.3)                                         \
    X(FBT_OPTIMISER_LM_MA, "lm-ma", fbt_optimiser_lm_ma, 0, 0)                                                         \
    X(FBT_OPTIMISER_CEM, "cem", fbt_optimiser_cem, FBT_READS_ELITE, 0)                                                 \
    X(FBT_OPTIMISER_RANDOM, "random", fbt_optimiser_random, 0, 0)                                                      \
    X(FBT_OPTIMISER_KSEED, "kseed", fbt_optimiser_kseed, FBT_READS_SEEDS, 30)                                          \
    X(FBT_OPTIMISER_BDPL, "bdpl", fbt_optimiser_bdpl, FBT_READS_VOCABULARY, 0.05)                                      \
    X(FBT_OPTIMISER_TPA_ES, "tpa-es", fbt_optimiser_tpa_es, 0, 0)
typedef enum fbt_optimiser_kind { FBT_OPTIMISER_LIST(FBT_CHOICE_VALUE) } fbt_optimiser_kind;
extern const char *const fbt_optimiser_names[];
extern const int fbt_optimiser_reads[];    /* of each, the fourth column */
extern const double fbt_optimiser_rates[]; /* of each, the fifth column */

/* As what the numbers of a message travel (fed/message.h). */
#define FBT_WIRE_LIST(X)                                                                                               \
    X(FBT_WIRE_FLOAT64, "float64")                                                                                     \
    X(FBT_WIRE_FLOAT32, "float32")
typedef enum fbt_wire { FBT_WIRE_LIST(FBT_CHOICE_VALUE) } fbt_wire;
extern const char *const fbt_wire_names[];

#define FBT_PARTITION_LIST(X)                                                                                          \
    X(FBT_PARTITION_IID, "iid")                                                                                        \
    X(FBT_PARTITION_DIRICHLET, "dirichlet")                                                                            \
    X(FBT_PARTITION_NATURAL, "natural")
typedef enum fbt_partition_kind { FBT_PARTITION_LIST(FBT_CHOICE_VALUE) } fbt_partition_kind;
extern const char *const fbt_partition_names[];

#define FBT_CLIENT_SEEDS_LIST(X)                                                                                       \
    X(FBT_CLIENT_SEEDS_DISTINCT, "distinct")                                                                           \
    X(FBT_CLIENT_SEEDS_SHARED, "shared")
typedef enum fbt_client_seeds { FBT_CLIENT_SEEDS_LIST(FBT_CHOICE_VALUE) } fbt_client_seeds;
extern const char *const fbt_client_seeds_names[];

/* The covariance matrix C of CMA-ES.
 * full:      symmetric positive definite
 * separable: diagonal
 * isotropic: the identity for ever: only m and sigma are adapted */
#define FBT_CMA_COVARIANCE_LIST(X)                                                                                     \
    X(FBT_CMA_FULL, "full")                                                                                            \
    X(FBT_CMA_SEPARABLE, "separable")                                                                                  \
    X(FBT_CMA_ISOTROPIC, "isotropic")
typedef enum fbt_cma_covariance { FBT_CMA_COVARIANCE_LIST(FBT_CHOICE_VALUE) } fbt_cma_covariance;
extern const char *const fbt_cma_covariance_names[];

/* The factor of C that candidates are made with.
 * eigen:    V^T diag(axes^2) V; samples and p_sigma by the symmetric roots of C, as pycma
 * cholesky: L L^T; samples by L, p_sigma by L^-1 */
#define FBT_CMA_DECOMPOSITION_LIST(X)                                                                                  \
    X(FBT_CMA_EIGEN, "eigen")                                                                                          \
    X(FBT_CMA_CHOLESKY, "cholesky")
typedef enum fbt_cma_decomposition { FBT_CMA_DECOMPOSITION_LIST(FBT_CHOICE_VALUE) } fbt_cma_decomposition;
extern const char *const fbt_cma_decomposition_names[];

/* Learning rates as in table 1 of Hansen's tutorial, or as in pycma (optim/cma.h). */
#define FBT_CMA_CONSTANTS_LIST(X)                                                                                      \
    X(FBT_CMA_CONSTANTS_TUTORIAL, "tutorial")                                                                          \
    X(FBT_CMA_CONSTANTS_PYCMA, "pycma")
typedef enum fbt_cma_constants { FBT_CMA_CONSTANTS_LIST(FBT_CHOICE_VALUE) } fbt_cma_constants;
extern const char *const fbt_cma_constants_names[];

/* How many training samples each client holds (data/client_sizes.h). */
#define FBT_SIZES_LIST(X)                                                                                              \
    X(FBT_SIZES_EQUAL, "equal")                                                                                        \
    X(FBT_SIZES_DIRICHLET, "dirichlet")                                                                                \
    X(FBT_SIZES_LOGNORMAL, "lognormal")
typedef enum fbt_sizes_kind { FBT_SIZES_LIST(FBT_CHOICE_VALUE) } fbt_sizes_kind;
extern const char *const fbt_sizes_names[];

/* Which tokens of a perturbed copy may be replaced. */
#define FBT_PERTURB_SCOPE_LIST(X)                                                                                      \
    X(FBT_PERTURB_TEXT, "text")                                                                                        \
    X(FBT_PERTURB_ALL, "all")
typedef enum fbt_perturb_scope { FBT_PERTURB_SCOPE_LIST(FBT_CHOICE_VALUE) } fbt_perturb_scope;
extern const char *const fbt_perturb_scope_names[];

#define FBT_FITNESS_LIST(X)                                                                                            \
    X(FBT_FITNESS_RATIO_OF_MEANS, "ratio_of_means")                                                                    \
    X(FBT_FITNESS_SUM_OF_RATIOS, "sum_of_ratios")
typedef enum fbt_fitness_kind { FBT_FITNESS_LIST(FBT_CHOICE_VALUE) } fbt_fitness_kind;
extern const char *const fbt_fitness_names[];

/* Loss over the label words (kernels/backend.h has the formulas). */
#define FBT_LOSS_LIST(X)                                                                                               \
    X(FBT_LOSS_CE, "ce")                                                                                               \
    X(FBT_LOSS_HINGE, "hinge")                                                                                         \
    X(FBT_LOSS_ACCURACY, "accuracy")
typedef enum fbt_loss { FBT_LOSS_LIST(FBT_CHOICE_VALUE) } fbt_loss;
extern const char *const fbt_loss_names[];

/* Probability with which a chosen client drops out of a round (fed/reports.h).
 * round:  the same for every client
 * client: one of its own, beta-distributed */
#define FBT_DROPOUT_LIST(X)                                                                                            \
    X(FBT_DROPOUT_ROUND, "round")                                                                                      \
    X(FBT_DROPOUT_CLIENT, "client")
typedef enum fbt_dropout_kind { FBT_DROPOUT_LIST(FBT_CHOICE_VALUE) } fbt_dropout_kind;
extern const char *const fbt_dropout_names[];

/* Types that products and activations are computed in (kernels/backend.h).
 * tf32: activations as in fp32, products on tensor cores that read 10 bits of each significand (cuda alone)
 * int8: the layers' products on integers of 8 bits, all else as in bf16, or fp32 where that is slow (cpu alone) */
#define FBT_PRECISION_LIST(X)                                                                                          \
    X(FBT_PRECISION_FP32, "fp32")                                                                                      \
    X(FBT_PRECISION_TF32, "tf32")                                                                                      \
    X(FBT_PRECISION_BF16, "bf16")                                                                                      \
    X(FBT_PRECISION_INT8, "int8")
typedef enum fbt_precision { FBT_PRECISION_LIST(FBT_CHOICE_VALUE) } fbt_precision;
extern const char *const fbt_precision_names[];

/* Answer to a low precision that ranks candidates otherwise than fp32 (run/guard.h).
 * record:   in the run file alone
 * warn:     a sentence, too
 * fallback: the rounds that follow are computed in fp32 */
#define FBT_PRECISION_GUARD_LIST(X)                                                                                    \
    X(FBT_PRECISION_GUARD_RECORD, "record")                                                                            \
    X(FBT_PRECISION_GUARD_WARN, "warn")                                                                                \
    X(FBT_PRECISION_GUARD_FALLBACK, "fallback")
typedef enum fbt_precision_guard { FBT_PRECISION_GUARD_LIST(FBT_CHOICE_VALUE) } fbt_precision_guard;
extern const char *const fbt_precision_guard_names[];

/* Backends, which compute the model; the first column is the backend's driver (kernels/backend.h). */
#define FBT_BACKEND_LIST(X)                                                                                            \
    X(fbt_cpu_driver, "cpu")                                                                                           \
    X(fbt_cuda_driver, "cuda")
extern const char *const fbt_backend_names[];

/* Where a sequence is read: at its mask, as an embedding, at its last token. */
#define FBT_READOUT_LIST(X)                                                                                            \
    X(FBT_READOUT_MASK, "mask")                                                                                        \
    X(FBT_READOUT_EMBEDDING, "embedding")                                                                              \
    X(FBT_READOUT_LAST, "last")
typedef enum fbt_readout { FBT_READOUT_LIST(FBT_CHOICE_VALUE) } fbt_readout;
extern const char *const fbt_readout_names[];

/* Scores of labels of several tokens (readout last).
 * auto:  first where every label is one token; otherwise a choice must be made
 * first: the logit of its first token
 * sum:   the log-probability of its tokens, one after another, among all of the vocabulary
 * mean:  that by the number of its tokens */
#define FBT_LABEL_SCORING_LIST(X)                                                                                      \
    X(FBT_LABEL_SCORING_AUTO, "auto")                                                                                  \
    X(FBT_LABEL_SCORING_FIRST, "first")                                                                                \
    X(FBT_LABEL_SCORING_SUM, "sum")                                                                                    \
    X(FBT_LABEL_SCORING_MEAN, "mean")
typedef enum fbt_label_scoring { FBT_LABEL_SCORING_LIST(FBT_CHOICE_VALUE) } fbt_label_scoring;
extern const char *const fbt_label_scoring_names[];

/* The metric by which a task is customarily reported. */
#define FBT_METRIC_LIST(X)                                                                                             \
    X(FBT_METRIC_ACCURACY, "accuracy")                                                                                 \
    X(FBT_METRIC_F1, "f1")
typedef enum fbt_metric { FBT_METRIC_LIST(FBT_CHOICE_VALUE) } fbt_metric;
extern const char *const fbt_metric_names[];

/* Which of the names, ended by NULL, `text` is; -1: none. */
int fbt_choice_find(const char *const *names, const char *text);

/* The name of a value; NULL where it has none. */
const char *fbt_choice_name(const char *const *names, int value);

/* "a, b or c", cut to n_bytes. */
void fbt_choice_list(const char *const *names, char *text, size_t n_bytes);

#ifdef __cplusplus
}
#endif

#endif
