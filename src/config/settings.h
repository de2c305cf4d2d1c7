/* The settings of a run: one plain struct, one table of options (options.c) that parses, checks, prints and documents
 * it. */
#ifndef FBT_CONFIG_SETTINGS_H
#define FBT_CONFIG_SETTINGS_H

#include "base/choices.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Choices are kept as enumerators of base/choices.h. Strings are owned. Zero-initialise, then fbt_settings_defaults;
 * free with fbt_settings_clear. */
typedef struct fbt_settings {
    struct {
        char *output; /* path of the run file                                       */
        int64_t seed;
        bool overwrite;             /* replace an existing run file                               */
        double max_seconds;         /* stop before the round that would pass this; 0: no limit    */
        double stop_margin_seconds; /* stop so long before the end of the batch job        */
        bool client_means;          /* record every client's mean each round ([m, d] a round)     */
    } run;
    struct {
        char *path;             /* Hugging Face folder                                        */
        double embedding_scale; /* embedding readout: logit = scale * cosine               */
        int label_scoring;      /* fbt_label_scoring                                       */
    } model;
    struct {
        char *path;         /* data set file                                              */
        int64_t shots;      /* training samples per class, over all clients; 0: all       */
        int64_t dev_shots;  /* dev samples per class; 0: none                             */
        int64_t test_limit; /* first n test samples; 0: all                               */
    } data;
    struct {
        int mode;           /* add, cat, input: fbt_prompt_mode                            */
        int64_t tokens;     /* P                                                          */
        int projection;     /* fbt_projection_kind                                        */
        int64_t vocabulary; /* N, words that a prompt of words is chosen from          */
        int deep;           /* fbt_deep                                                 */
        char *hidden_std;   /* auto, or sigma-hat of every layer's input, with commas between */
        int64_t layers;     /* of the model, where they are searched in turn; 0: not found yet   */
    } prompt;
    struct {
        int protocol;    /* fbt_protocol_kind                                          */
        int client_work; /* fbt_client_work_kind; this and the next two: auto means as protocol has it */
        int aggregation; /* fbt_aggregation_kind                                       */
        int weighting;   /* fbt_weighting                                              */
        int ranking;     /* fbt_ranking_kind                                           */
        int optimiser;   /* fbt_optimiser_kind                                         */
        int wire;        /* fbt_wire: as what the numbers of messages travel           */
        int64_t clients; /* K                                                          */
        int64_t rounds;
        double participation;  /* fraction of the clients in a round                        */
        int64_t participants;  /* so many instead; 0: that fraction                         */
        int64_t only_client;   /* takes part alone; -1: others do, too                       */
        int64_t average_means; /* rounds whose means make one result                         */
        int partition;         /* fbt_partition_kind                                         */
        double dirichlet_alpha;
        int client_seeds;          /* fbt_client_seeds                                           */
        int64_t local_generations; /* I                                                    */
        int sizes;                 /* fbt_sizes_kind: of the clients                             */
        double size_alpha, size_sigma;
        int64_t quantise_bits;   /* of a number that clients send; 0: as fed.wire has it      */
        bool error_feedback;     /* clients add what their last message left out              */
        bool secure_aggregation; /* the server learns sums alone                              */
        double secure_range;     /* the largest number of a message then                      */
        double over_selection;   /* so many times the participants of a round are chosen */
    } fed;
    struct {
        double clip;             /* C, the largest norm of a client's message; 0: none          */
        double noise_multiplier; /* z                                                           */
        double delta;
    } privacy;
    struct {
        int64_t population;                       /* lambda                                                     */
        double sigma;                             /* sigma0                                                     */
        bool scale_by_sigma;                      /* the projection's scale is divided by sigma0                */
        int64_t dimension;                        /* d                                                          */
        double alpha;                             /* scale of the projection                                    */
        double norm_bound, norm_growth, norm_max; /* fed/norm_bound.h                      */
        int covariance;                           /* fbt_cma_covariance: full, separable, isotropic             */
        int decomposition;                        /* fbt_cma_decomposition: eigen, cholesky                     */
        bool active;                              /* negative weights                                           */
        bool keep_paths;                          /* clients' evolution paths last from round to round          */
        int constants;                            /* fbt_cma_constants: tutorial, pycma                         */
    } cma;
    struct {
        double rate; /* r_p; 0: no perturbation                                    */
        int scope;   /* fbt_perturb_scope                                          */
        int fitness; /* fbt_fitness_kind                                           */
    } perturb;
    struct {
        int loss; /* fbt_loss                                                   */
    } objective;
    struct {
        int64_t every;       /* score train, dev and test every so many rounds (and the first and last) */
        int64_t test_every;  /* of these, score test every so many (fbt_settings_scores_test); 0: not found yet */
        int64_t train_limit; /* score so many training samples; 0: all                      */
    } eval;
    struct {
        char *name;
        char *precision;               /* auto, fp32, tf32, bf16, int8                                  */
        int64_t precision_check_every; /* rounds from one precision check to the next; 0: none        */
        int precision_guard;           /* fbt_precision_guard                                         */
        double precision_guard_tau;    /* Kendall's tau below which the guard acts                    */
        int64_t threads;               /* per rank; 0: the processors available, shared among the ranks of a node */
        int64_t batch_tokens; /* rows of one forward pass at most, 0: what suits the backend; no result changes */
    } backend;
    struct {
        double learning_rate;       /* step of a coordinate in step sizes; 0: the searcher's usual one */
        double momentum;            /* of the estimated gradient                                  */
        double weight_decay;        /* of the mean                                                */
        double elite;               /* fraction of the candidates that a distribution is fitted to */
        double smoothing;           /* part of the new mean that the fit decides                  */
        double deviation_smoothing; /* the same of the standard deviations, at first         */
        int64_t seeds;              /* K, directions of a pool                                    */
    } es;
    struct {
        double dropout;   /* probability that a chosen client does not report           */
        int dropout_kind; /* fbt_dropout_kind                                           */
    } faults;
    struct {                     /* of simulated clients: fed/reports.h                        */
        double compute_seconds;  /* median over clients, for 1,000 tokens                      */
        double compute_sigma;    /* of the log-normal distribution of that time over clients   */
        double bytes_per_second; /* median over clients; 0: messages take no time              */
        double bandwidth_sigma;  /* of the log-normal distribution of that rate over clients   */
        double latency_seconds;  /* of one exchange, both ways together                        */
        double deadline_seconds; /* of a round; 0: none                                        */
    } pace;
} fbt_settings;

/* Defaults of the table. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_settings_defaults(fbt_settings *settings);
void fbt_settings_clear(fbt_settings *settings);

/* Reads a YAML file of sections and keys into settings; keys that it does not give keep their values. Unknown or
 * repeated keys, wrong types and values out of range are errors that name file, line and key, and the nearest known
 * key. *text: the file's text (free()), or NULL if it is not wanted. Errors: FBT_ERR_CONFIG, FBT_ERR_IO. */
fbt_status fbt_settings_read_file(fbt_settings *settings, const char *path, char **text);

/* The same for text already in memory; `name` stands for the file in messages. */
fbt_status fbt_settings_read_text(fbt_settings *settings, const char *text, const char *name);

/* The same for the settings that a run file has recorded: what it does not name, because there was no such setting yet,
 * has the value that it had by nature then (fed.wire: float64). */
fbt_status fbt_settings_read_recorded(fbt_settings *settings, const char *text, const char *name);

/* Gives the settings that `recorded` does not name those values, and leaves the others alone: the defaults with which a
 * configuration that goes on with such a run is read. */
fbt_status fbt_settings_defaults_before(fbt_settings *settings, const char *recorded, const char *name);

/* One "section.key=value" of the command line. Errors: FBT_ERR_CONFIG. */
fbt_status fbt_settings_set(fbt_settings *settings, const char *assignment);

/* Checks what no single key can tell: required keys (model.path, data.path) and combinations (somebody takes part in a
 * round, ...). Call once all has been read. Errors: FBT_ERR_CONFIG. */
fbt_status fbt_settings_check(const fbt_settings *settings);

/* The parts of the protocol, those of fed.protocol where the settings leave them to it; never auto. */
fbt_client_work_kind fbt_settings_client_work(const fbt_settings *settings);
fbt_aggregation_kind fbt_settings_aggregation(const fbt_settings *settings);
fbt_weighting fbt_settings_weighting(const fbt_settings *settings);

/* Whether clients' weights in averages are their numbers of samples. */
bool fbt_settings_weighs_by_samples(const fbt_settings *settings);

/* N, words that a prompt of words is chosen from; 0: the prompt is a projection. */
int64_t fbt_settings_n_words(const fbt_settings *settings);

/* Whether rounds search the layers' parts of z in turn (prompt.deep alternate); their number, 1 where not or where
 * prompt.layers is not found yet; and how many numbers of z one of them is: those that a round searches. */
bool fbt_settings_alternates(const fbt_settings *settings);
int64_t fbt_settings_n_blocks(const fbt_settings *settings);
int64_t fbt_settings_searched(const fbt_settings *settings);

/* es.learning_rate, or the searcher's usual one. */
double fbt_settings_learning_rate(const fbt_settings *settings);

/* Clients that take part in a round: 1 where there is an only client; participants; where that is 0, participation *
 * clients, rounded to the nearest, halves up. */
int64_t fbt_settings_participants(const fbt_settings *settings);

/* Clients that are chosen for a round, of which so many participants are to report: over_selection * participants,
 * rounded to the nearest, halves up. */
int64_t fbt_settings_chosen(const fbt_settings *settings);

/* Whether the work of clients and its messages take simulated time. */
bool fbt_settings_have_pace(const fbt_settings *settings);

/* Whether some of the chosen clients may not report, or when they do is simulated. */
bool fbt_settings_have_faults(const fbt_settings *settings);

/* Whether all chosen clients report in every round, and whether these are all clients. */
bool fbt_settings_all_report(const fbt_settings *settings);
bool fbt_settings_all_take_part(const fbt_settings *settings);

/* Whether the server's mean is scored behind a round: before the first (round 0), every eval.every rounds and behind
 * the last. */
bool fbt_settings_scores_round(const fbt_settings *settings, int64_t round);

/* Of n training samples, client by client, how many are scored: the first eval.train_limit. */
int64_t fbt_settings_scored_train(const fbt_settings *settings, int64_t n);

/* Whether test samples are scored with it, however good the round is on dev samples: before the first round, every
 * eval.every * eval.test_every rounds and behind the last. */
bool fbt_settings_scores_test(const fbt_settings *settings, int64_t round);

/* Whether a low precision is checked in a round: in the first, and in every precision_check_every-th behind it. */
bool fbt_settings_checks_round(const fbt_settings *settings, int64_t round);

/* The settings as YAML that fbt_settings_read_text reads back to the same values. Release *text with free(). */
fbt_status fbt_settings_print(const fbt_settings *settings, char **text);

/* The first setting that a run cannot go on with, as it has not the same value in both; key NULL: none. */
typedef struct fbt_settings_difference {
    const char *key;
    char now[64], before[64]; /* values, cut to fit */
} fbt_settings_difference;
fbt_status fbt_settings_find_difference(const fbt_settings *now, const fbt_settings *before,
                                        fbt_settings_difference *difference);

/* Whether a run with the settings `before`, kept in the file `path`, may go on with the settings `now`: those that
 * decide a number must be equal, fed.rounds may grow. Errors: FBT_ERR_CONFIG, with the setting and both values. */
fbt_status fbt_settings_check_same(const fbt_settings *now, const fbt_settings *before, const char *path);

/* Why the option `key` changes no number of a run with these settings; NULL: it may well. The text is constant. */
const char *fbt_settings_idle(const fbt_settings *settings, const char *key);

/* A comment line for each option of which that is so, and whose value is not the default. Errors: FBT_ERR_MEMORY. */
fbt_status fbt_settings_print_idle(const fbt_settings *settings, FILE *stream);

/* Effects of the settings, for run files: a line "key: word" for each of which the word (FBT_DECIDES_LIST in
 * options.h) is not "numbers". */
enum { FBT_SETTINGS_DECIDES_BYTES = 1024 };
void fbt_settings_list_decides(char text[FBT_SETTINGS_DECIDES_BYTES]);

/* A reference of all options (key, type, range, default, meaning) for `fedbpt run --options` and the documentation. */
fbt_status fbt_settings_print_reference(FILE *stream);

/* Name of a choice's value: fbt_settings_choice_name("fed.protocol", 0) is "nvflare". NULL when there is none, or when
 * it cannot be set. */
const char *fbt_settings_choice_name(const char *key, int value);

#ifdef __cplusplus
}
#endif

#endif
