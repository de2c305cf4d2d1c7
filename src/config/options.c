#include "config/options.h"

#include "base/memory.h"
#include "base/rng_block.h"
#include "base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const fbt_decides_names[] = {FBT_DECIDES_LIST(FBT_CHOICE_NAME) NULL};

static const char *const precisions[] = {"auto", FBT_PRECISION_LIST(FBT_CHOICE_NAME) NULL};

#define AT(member) .offset = offsetof(fbt_settings, member)
#define DECIDES(what) .decides = FBT_DECIDES_##what /* last, where it is not NUMBERS */
#define TEXT(key_, member, default_, meaning_, ...)                                                                    \
    {                                                                                                                  \
        .key = key_, .kind = FBT_OPTION_TEXT, AT(member), .default_text = default_, .meaning = meaning_, __VA_ARGS__   \
    }
#define WORD(key_, member, default_, choices_, meaning_, ...)                                                          \
    {                                                                                                                  \
        .key = key_, .kind = FBT_OPTION_WORD, AT(member), .default_text = default_, .choices = choices_,               \
        .meaning = meaning_, __VA_ARGS__                                                                               \
    }
#define CHOICE(key_, member, default_, choices_, meaning_, ...)                                                        \
    {                                                                                                                  \
        .key = key_, .kind = FBT_OPTION_CHOICE, AT(member), .default_text = default_, .choices = choices_,             \
        .meaning = meaning_, __VA_ARGS__                                                                               \
    }
#define BOOL(key_, member, default_, meaning_, ...)                                                                    \
    {                                                                                                                  \
        .key = key_, .kind = FBT_OPTION_BOOL, AT(member), .default_text = default_, .meaning = meaning_, __VA_ARGS__   \
    }
#define INT(key_, member, default_, min_, max_, meaning_, ...)                                                         \
    {                                                                                                                  \
        .key = key_, .kind = FBT_OPTION_INT, AT(member), .default_text = default_, .int_min = min_, .int_max = max_,   \
        .meaning = meaning_, __VA_ARGS__                                                                               \
    }
#define REAL(key_, member, default_, min_, max_, above_, meaning_, ...)                                                \
    {                                                                                                                  \
        .key = key_, .kind = FBT_OPTION_REAL, AT(member), .default_text = default_, .real_min = min_,                  \
        .real_max = max_, .above_min = above_, .meaning = meaning_, __VA_ARGS__                                        \
    }

static const fbt_option table[] = {
    TEXT("run.output", run.output, "run.h5", "path of the run file", DECIDES(NOTHING)),
    INT("run.seed", run.seed, "1", 0, INT64_MAX, "seed of everything random in the run"),
    BOOL("run.overwrite", run.overwrite, "false", "replace an existing run file", DECIDES(NOTHING)),
    REAL("run.max_seconds", run.max_seconds, "0", 0, 1e9, false,
         "stop before the round that would end later than this after the start; 0: no limit", DECIDES(NOTHING)),
    REAL("run.stop_margin_seconds", run.stop_margin_seconds, "60", 0, 1e9, false,
         "in a batch job whose end is known (SLURM_JOB_END_TIME): stop so long before it", DECIDES(NOTHING)),
    BOOL("run.client_means", run.client_means, "false", "record every client's mean each round", DECIDES(CONTENT)),
    TEXT("model.path", model.path, NULL, "Hugging Face folder of the model", DECIDES(INPUT)),
    REAL("model.embedding_scale", model.embedding_scale, "20", 0, 1e6, true,
         "embedding readout: logit = scale * cosine"),
    CHOICE("model.label_scoring", model.label_scoring, "auto", fbt_label_scoring_names,
           "labels of several tokens (readout last): by the first token's logit, or by the sum or mean of all tokens' "
           "log-probabilities; auto: first where every label is one token, otherwise choose"),
    TEXT("data.path", data.path, NULL, "data set file, made by jobs/prepare_data.py", DECIDES(INPUT)),
    INT("data.shots", data.shots, "40", 0, INT32_MAX, "training samples per class over all clients; 0: all"),
    INT("data.dev_shots", data.dev_shots, "40", 0, INT32_MAX, "dev samples per class; 0: none"),
    INT("data.test_limit", data.test_limit, "0", 0, INT32_MAX, "first n test samples only; 0: all"),
    {.key = "prompt.mode",
     .kind = FBT_OPTION_CHOICE,
     AT(prompt.mode),
     .default_text = "add",
     .choices = fbt_prompt_mode_names,
     .first_choice = FBT_PROMPT_ADD,
     .meaning = "how the soft prompt enters the input"},
    INT("prompt.tokens", prompt.tokens, "50", 1, 65535, "P, length of the soft prompt"),
    CHOICE(
        "prompt.projection", prompt.projection, "normal", fbt_projection_names,
        "from z to the prompt: a random projection A with such entries, or words of the data set's vocabulary, whose "
        "numbers z holds (mode input, fed.optimiser bdpl)"),
    INT("prompt.vocabulary", prompt.vocabulary, "200", 2, 4000,
        "N, words that a prompt of words is chosen from: the first of the data set's vocabulary"),
    CHOICE(
        "prompt.deep", prompt.deep, "none", fbt_deep_names,
        "a prompt at every layer's input, each with its own random projection and an equal part of z: joint searches "
        "all of z; alternate one layer's part in a round, the layers in turn"),
    TEXT("prompt.hidden_std", prompt.hidden_std, "auto",
         "deep prompts: standard deviation of the hidden states at each layer's input, with commas between, which the "
         "layer's projection is scaled by; auto: of random tokens, found and recorded when the run begins",
         .auto_text = "auto"),
    INT("prompt.layers", prompt.layers, "0", 0, 65535,
        "deep prompts searched in turn: layers of the model, which z is dealt out to; 0: found and recorded when the "
        "run begins",
        .earlier_text = "0", .auto_text = "0"),
    CHOICE("fed.protocol", fed.protocol, "nvflare", fbt_protocol_names,
           "how clients search and the server aggregates: sets the three that follow where they are auto"),
    CHOICE("fed.client_work", fed.client_work, "auto", fbt_client_work_names,
           "work of a client in a round: a search of its own from the server's distribution, or scoring the server's "
           "candidates",
           .earlier_text = "auto"),
    CHOICE("fed.aggregation", fed.aggregation, "auto", fbt_aggregation_names,
           "the server's update: official and best_half rank the clients' means, average takes the mean of what they "
           "send, majority their votes on pairs of candidates",
           .earlier_text = "auto"),
    CHOICE("fed.weighting", fed.weighting, "auto", fbt_weighting_names,
           "clients' weights in averages: all the same, or their numbers of samples", .earlier_text = "auto"),
    CHOICE("fed.ranking", fed.ranking, "loss", fbt_ranking_names,
           "rank clients by their loss, or by how much their search has improved on the server's mean",
           .earlier_text = "loss"),
    CHOICE("fed.optimiser", fed.optimiser, "cma", fbt_optimiser_names, "search distribution of clients and server"),
    {.key = "fed.wire",
     .kind = FBT_OPTION_CHOICE,
     AT(fed.wire),
     .default_text = "float32",
     .earlier_text = "float64",
     .choices = fbt_wire_names,
     .meaning = "as what numbers travel between clients and server, both ways: they are used as they arrive"},
    INT("fed.clients", fed.clients, "10", 1, FBT_RNG_N_CLIENTS - 1, "K, number of clients"),
    INT("fed.rounds", fed.rounds, "200", 1, INT32_MAX, "number of rounds", DECIDES(LENGTH)),
    REAL("fed.participation", fed.participation, "1", 0, 1, true, "fraction of the clients that take part in a round"),
    INT("fed.participants", fed.participants, "0", 0, FBT_RNG_N_CLIENTS - 1,
        "number of clients that take part in a round, instead of a fraction; 0: fed.participation says",
        .earlier_text = "0"),
    INT("fed.only_client", fed.only_client, "-1", -1, FBT_RNG_N_CLIENTS - 2,
        "the one client that takes part in every round, the baseline of a client alone; -1: others do, too",
        .earlier_text = "-1"),
    INT("fed.average_means", fed.average_means, "1", 1, 1000,
        "score and keep the mean of the server's means of so many last rounds; the search goes on from its own",
        .earlier_text = "1"),
    CHOICE("fed.partition", fed.partition, "iid", fbt_partition_names,
           "how training samples are dealt out to clients; natural: each has those of one client of the data set (an "
           "author, a site)"),
    REAL("fed.dirichlet_alpha", fed.dirichlet_alpha, "1", 0, 1e6, true,
         "dirichlet partition: concentration; small: very unequal clients"),
    CHOICE("fed.client_seeds", fed.client_seeds, "distinct", fbt_client_seeds_names,
           "shared: all clients draw the same noise in a round, as the official code does"),
    INT("fed.local_generations", fed.local_generations, "8", 1, FBT_RNG_N_GENERATIONS - 1,
        "I, generations of a client in a round"),
    CHOICE("fed.sizes", fed.sizes, "equal", fbt_sizes_names,
           "how many training samples clients hold: equally many, or shares drawn from a Dirichlet or lognormal "
           "distribution"),
    REAL("fed.size_alpha", fed.size_alpha, "1", 1e-6, 1e6, false,
         "dirichlet sizes: concentration of the clients' shares; small: most samples at few clients"),
    REAL("fed.size_sigma", fed.size_sigma, "1", 0, 100, true,
         "lognormal sizes: standard deviation of a size's logarithm"),
    INT("fed.quantise_bits", fed.quantise_bits, "0", 0, 8,
        "bits of each number of the means, losses and covariances that clients send: 1, 2, 4 or 8, rounded "
        "stochastically without bias; 0: as fed.wire has it",
        .earlier_text = "0"),
    BOOL("fed.error_feedback", fed.error_feedback, "false",
         "of quantised means: a client adds to its next message what rounding to the nearest left out of the last",
         .earlier_text = "false"),
    BOOL("fed.secure_aggregation", fed.secure_aggregation, "false",
         "clients send masked integers of 32 bits, of which the server learns the sum alone", .earlier_text = "false"),
    REAL("fed.secure_range", fed.secure_range, "64", 0, 1e6, true,
         "secure aggregation: no number of a client's update, or loss, is larger; more is an error",
         .earlier_text = "64"),
    REAL("fed.over_selection", fed.over_selection, "1", 1, 1000, false,
         "choose so many times the participants of a round; the first of them to report, as many as take part, count"),
    REAL("privacy.clip", privacy.clip, "0", 0, 1e9, false,
         "C: scale what a client sends (its update of the mean, or its losses less their mean) down to this Euclidean "
         "norm; 0: no differential privacy",
         .earlier_text = "0"),
    REAL("privacy.noise_multiplier", privacy.noise_multiplier, "0", 0, 1e6, false,
         "z: normal noise in the server's averages, by the most that one client can change them; 0: none",
         .earlier_text = "0"),
    REAL("privacy.delta", privacy.delta, "1e-05", 0, 0.5, true,
         "delta for which rounds/epsilon is recorded: well below 1 / fed.clients", .earlier_text = "1e-05"),
    INT("cma.population", cma.population, "5", 2, FBT_RNG_N_CANDIDATES - 1, "lambda, candidates of a generation"),
    REAL("cma.sigma", cma.sigma, "1", 0, 1e6, true,
         "sigma0, first step size; while cma.scale_by_sigma takes it out of prompts again it changes no result: vary "
         "cma.alpha"),
    BOOL(
        "cma.scale_by_sigma", cma.scale_by_sigma, "true",
        "divide the projection's scale by sigma0, as the official code does; false: sigma0 decides how far prompts go"),
    INT("cma.dimension", cma.dimension, "500", 2, 1000000, "d, dimension of the search space"),
    REAL("cma.alpha", cma.alpha, "1", 0, 1e6, true, "scale of the projection"),
    CHOICE("cma.covariance", cma.covariance, "full", fbt_cma_covariance_names,
           "covariance matrix of the search distribution"),
    {.key = "cma.decomposition",
     .kind = FBT_OPTION_CHOICE,
     AT(cma.decomposition),
     .default_text = "cholesky",
     .earlier_text = "eigen",
     .choices = fbt_cma_decomposition_names,
     .meaning = "of a full covariance matrix: eigen samples by its symmetric root, as pycma; cholesky by a triangular "
                "one, 20 times as fast"},
    BOOL("cma.active", cma.active, "true", "negative weights for the worst candidates (active CMA-ES)"),
    REAL("cma.norm_bound", cma.norm_bound, "0", 0, 1e9, false,
         "scale search points that are longer down to this length before they are scored; 0: no bound",
         .earlier_text = "0"),
    REAL("cma.norm_growth", cma.norm_growth, "0", 0, 1e9, false, "the bound's growth from round to round",
         .earlier_text = "0"),
    REAL("cma.norm_max", cma.norm_max, "0", 0, 1e9, false, "the bound grows no further than this; 0: on and on",
         .earlier_text = "0"),
    BOOL("cma.keep_paths", cma.keep_paths, "false",
         "clients begin a round with evolution paths put together from those of the last round's clients, not with "
         "empty ones: step size and covariance adapt over rounds (fed.protocol fedavg-bbt)",
         .earlier_text = "false"),
    CHOICE("cma.constants", cma.constants, "pycma", fbt_cma_constants_names,
           "learning rates as in pycma or in Hansen's tutorial"),
    REAL("perturb.rate", perturb.rate, "0", 0, 1, false,
         "r_p, probability that a token of the perturbed copy is replaced; 0: no perturbed copy"),
    CHOICE("perturb.scope", perturb.scope, "text", fbt_perturb_scope_names,
           "tokens that may be replaced: those of the text, or all"),
    CHOICE("perturb.fitness", perturb.fitness, "ratio_of_means", fbt_fitness_names,
           "loss over perturbed loss: of the mean losses, or summed over samples"),
    CHOICE("objective.loss", objective.loss, "ce", fbt_loss_names, "loss over the label words"),
    INT("eval.every", eval.every, "1", 1, INT32_MAX, "score train, dev and test every so many rounds"),
    INT("eval.test_every", eval.test_every, "0", 0, INT32_MAX,
        "of these, score test every so many, where dev is best so far, and in the last; 0: every one, or as few as "
        "take no more tokens than the search",
        .earlier_text = "1", .auto_text = "0", DECIDES(CONTENT)),
    INT("eval.train_limit", eval.train_limit, "0", 0, INT32_MAX,
        "score so many training samples, those of the first clients; 0: all", .earlier_text = "0", DECIDES(CONTENT)),
    WORD("backend.name", backend.name, "cpu", fbt_backend_names, "what computes the model"),
    WORD("backend.precision", backend.precision, "auto", precisions,
         "of weights and activations; auto: bf16 where fast; tf32: as fp32, products on tensor cores (cuda); "
         "int8: layers' products on quantised weights and activations (cpu)",
         DECIDES(OUTCOME)),
    INT("backend.precision_check_every", backend.precision_check_every, "25", 0, INT32_MAX,
        "below fp32: score one client's population in fp32 too, in the first round and every so many, and record how "
        "far the rankings agree; 0: never",
        .earlier_text = "0"),
    CHOICE("backend.precision_guard", backend.precision_guard, "warn", fbt_precision_guard_names,
           "if such a check finds Kendall's tau below precision_guard_tau: record it, warn too, or fall back to fp32 "
           "for the rounds that follow"),
    REAL("backend.precision_guard_tau", backend.precision_guard_tau, "0.5", -1, 1, false,
         "Kendall's tau-b of the two rankings below which the guard acts"),
    INT("backend.threads", backend.threads, "0", 0, 4096,
        "threads per rank; 0: share the node's processors, or what a container's CPU quota leaves of them",
        DECIDES(NOTHING)),
    INT("backend.batch_tokens", backend.batch_tokens, "0", 0, INT32_MAX,
        "tokens of one forward pass at most, 0: 16384 on cpu, 65536 on cuda; changes memory and speed, never a result",
        DECIDES(NOTHING)),
    REAL("es.learning_rate", es.learning_rate, "0", 0, 1e6, false,
         "openai-es, spsa: how far a coordinate of the mean moves in a generation, in step sizes (spsa: in the first); "
         "kseed: that by the loss's slope along a direction; bdpl: step of the probabilities along their gradient; 0: "
         "0.3, of kseed 30, of bdpl 0.05"),
    REAL("es.momentum", es.momentum, "0.9", 0, 0.999999, false,
         "openai-es, spsa: how much of the estimated gradient's running mean stays (Adam's beta 1)"),
    REAL("es.weight_decay", es.weight_decay, "0", 0, 1e6, false, "openai-es, spsa: pulls the mean to 0"),
    REAL("es.elite", es.elite, "0.5", 0, 1, true, "cem: fraction of the candidates that the distribution is fitted to"),
    REAL("es.smoothing", es.smoothing, "0.8", 0, 1, true, "cem: how much of the mean the fit decides"),
    REAL("es.deviation_smoothing", es.deviation_smoothing, "0.8", 0, 1, true,
         "cem: how much of the standard deviations the fit decides in the first generation; less and less later"),
    INT("es.seeds", es.seeds, "4096", 1, FBT_RNG_N_CANDIDATES - 1,
        "kseed: K, seeds of the pool of directions; so many numbers are a message"),
    REAL("faults.dropout", faults.dropout, "0", 0, 1, false, "probability that a chosen client does not report"),
    CHOICE("faults.dropout_kind", faults.dropout_kind, "round", fbt_dropout_names,
           "round: every client drops out of a round with this probability; client: with its own, beta-distributed "
           "around it"),
    REAL("pace.compute_seconds", pace.compute_seconds, "0", 0, 1e9, false,
         "simulated time that a client's model takes for 1,000 tokens, median over clients; 0: none"),
    REAL("pace.compute_sigma", pace.compute_sigma, "0", 0, 10, false,
         "of the log-normal distribution of that time over clients"),
    REAL("pace.bytes_per_second", pace.bytes_per_second, "0", 0, 1e15, false,
         "simulated rate of a client's messages, both ways, median over clients; 0: they take no time"),
    REAL("pace.bandwidth_sigma", pace.bandwidth_sigma, "0", 0, 10, false,
         "of the log-normal distribution of that rate over clients"),
    REAL("pace.latency_seconds", pace.latency_seconds, "0", 0, 1e9, false,
         "simulated time of one exchange between server and clients beside that of its bytes"),
    REAL("pace.deadline_seconds", pace.deadline_seconds, "0", 0, 1e9, false,
         "simulated time after which a round is over: who has not reported is late; 0: none"),
};

const fbt_option *fbt_options(int64_t *n)
{
    *n = (int64_t)(sizeof table / sizeof table[0]);
    return table;
}

const fbt_option *fbt_option_find(const char *key)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].key, key) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

size_t fbt_option_section_length(const fbt_option *option)
{
    return strcspn(option->key, ".");
}

void *fbt_option_member(const fbt_option *option, fbt_settings *settings)
{
    return (char *)settings + option->offset;
}

/* The choices' names from the first that may be chosen. */
static const char *const *names_of(const fbt_option *option)
{
    return option->choices + option->first_choice;
}

static void describe_real(const fbt_option *option, char *text, size_t n_bytes)
{
    char low[32], high[32];
    fbt_option_real_text(option->real_min, low);
    fbt_option_real_text(option->real_max, high);
    snprintf(text, n_bytes, option->above_min ? "a number above %s and up to %s" : "a number from %s to %s", low, high);
}

void fbt_option_describe(const fbt_option *option, char *text, size_t n_bytes)
{
    switch (option->kind) {
    case FBT_OPTION_TEXT:
        snprintf(text, n_bytes, "a text");
        break;
    case FBT_OPTION_BOOL:
        snprintf(text, n_bytes, "true or false");
        break;
    case FBT_OPTION_INT:
        if (option->int_max >= INT32_MAX) {
            snprintf(text, n_bytes, "an integer, at least %" PRId64, option->int_min);
        } else {
            snprintf(text, n_bytes, "an integer from %" PRId64 " to %" PRId64, option->int_min, option->int_max);
        }
        break;
    case FBT_OPTION_REAL:
        describe_real(option, text, n_bytes);
        break;
    case FBT_OPTION_WORD:
    case FBT_OPTION_CHOICE:
        fbt_choice_list(names_of(option), text, n_bytes);
        break;
    }
}

const char *fbt_option_quote(const char *text, size_t n_bytes, char quote[FBT_OPTION_QUOTE_BYTES])
{
    size_t used = 0;
    quote[used++] = '\'';
    while (n_bytes > 0 && used + 9 < FBT_OPTION_QUOTE_BYTES) {
        uint32_t code;
        size_t n = fbt_utf8_next(text, n_bytes, &code);
        bool shown = n > 0 && code >= 0x20 && (code < 0x7f || code >= 0xa0);
        n = n == 0 ? 1 : n;
        if (shown) {
            memcpy(quote + used, text, n);
            used += n;
        } else {
            quote[used++] = '?';
        }
        text += n;
        n_bytes -= n;
    }
    snprintf(quote + used, FBT_OPTION_QUOTE_BYTES - used, "%s'", n_bytes > 0 ? "..." : "");
    return quote;
}

void fbt_option_real_text(double value, char text[32])
{
    bool exponent = fabs(value) >= 1e15 || (fabs(value) < 1e-4 && value != 0);
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        /* 20 is shorter as 2e+01, but nobody writes it so. */
        if (strtod(text, NULL) == value && (exponent || strchr(text, 'e') == NULL)) {
            return;
        }
    }
}

/* `where key: expected an integer from 1 to 65535, not 'abc'` and `advice`. */
static fbt_status unexpected(const fbt_option *option, const fbt_option_input *input, const char *advice)
{
    char range[160], quote[FBT_OPTION_QUOTE_BYTES];
    fbt_option_describe(option, range, sizeof range);
    fbt_option_quote(input->text, input->n_bytes, quote);
    return fbt_fail(FBT_ERR_CONFIG, "%s%s: expected %s, not %s%s", input->where, option->key, range, quote, advice);
}

/* Decimal digits alone, so that neither octal nor hexadecimal notation nor an exponent is guessed at. */
static bool is_integer(const char *text)
{
    text += *text == '-';
    size_t n = strspn(text, "0123456789");
    return n > 0 && text[n] == '\0' && (n == 1 || text[0] != '0');
}

static fbt_status set_int(const fbt_option *option, const fbt_option_input *input, int64_t *value)
{
    if (input->quoted) {
        return unexpected(option, input, " in quotes; remove the quotes");
    }
    if (!is_integer(input->text)) {
        return unexpected(option, input, "; write it in plain decimal digits");
    }
    errno = 0;
    long long parsed = strtoll(input->text, NULL, 10);
    if (errno == ERANGE || parsed < option->int_min || parsed > option->int_max) {
        return unexpected(option, input, ", which is out of range");
    }
    *value = parsed;
    return FBT_OK;
}

/* [-+] digits [. digits] [e [-+] digits], with a digit before or after the point: neither nan, inf nor hexadecimal. */
static bool is_number(const char *text)
{
    text += *text == '-' || *text == '+';
    size_t n_before = strspn(text, "0123456789"), n_after = 0;
    text += n_before;
    if (*text == '.') {
        n_after = strspn(++text, "0123456789");
        text += n_after;
    }
    if (n_before + n_after == 0) {
        return false;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        size_t n_exponent = strspn(text, "0123456789");
        text += n_exponent;
        return n_exponent > 0 && *text == '\0';
    }
    return *text == '\0';
}

static fbt_status set_real(const fbt_option *option, const fbt_option_input *input, double *value)
{
    if (input->quoted) {
        return unexpected(option, input, " in quotes; remove the quotes");
    }
    if (!is_number(input->text)) {
        return unexpected(option, input, "; write a decimal number such as 0.5 or 1e-3");
    }
    errno = 0;
    double parsed = strtod(input->text, NULL);
    bool lost = errno == ERANGE && (parsed == 0 || isinf(parsed));
    if (lost || parsed < option->real_min || parsed > option->real_max ||
        (option->above_min && parsed == option->real_min)) {
        return unexpected(option, input, ", which is out of range");
    }
    *value = parsed == 0 ? 0 : parsed; /* no negative zero */
    return FBT_OK;
}

static fbt_status set_bool(const fbt_option *option, const fbt_option_input *input, bool *value)
{
    bool is_true = strcmp(input->text, "true") == 0;
    if (input->quoted || (!is_true && strcmp(input->text, "false") != 0)) {
        return unexpected(option, input, input->quoted ? " in quotes; remove the quotes" : "; write true or false");
    }
    *value = is_true;
    return FBT_OK;
}

static fbt_status find_choice(const fbt_option *option, const fbt_option_input *input, int *index)
{
    const int found = fbt_choice_find(names_of(option), input->text);
    if (found < 0) {
        return unexpected(option, input, "; choose one of them");
    }
    *index = option->first_choice + found;
    return FBT_OK;
}

static fbt_status set_text(const char *text, char **value)
{
    char *copy;
    fbt_status status = fbt_memory_strdup(&copy, text);
    if (status == FBT_OK) {
        free(*value);
        *value = copy;
    }
    return status;
}

/* Checks what holds for a value of every kind. */
static fbt_status check_input(const fbt_option *option, const fbt_option_input *input)
{
    bool null = !input->quoted && (strcmp(input->text, "~") == 0 || strcmp(input->text, "null") == 0);
    if (input->n_bytes == 0 || null) {
        return fbt_fail(FBT_ERR_CONFIG, "%s%s: the value is empty; give one or remove the key", input->where,
                        option->key);
    }
    if (input->n_bytes >= FBT_OPTION_TEXT_BYTES) {
        return fbt_fail(FBT_ERR_CONFIG, "%s%s: the value has %zu bytes; at most %d are allowed", input->where,
                        option->key, input->n_bytes, FBT_OPTION_TEXT_BYTES - 1);
    }
    const size_t fault = fbt_utf8_find_fault(input->text, input->n_bytes);
    if (fault < input->n_bytes) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "%s%s: the value is not UTF-8 text (its byte %zu); write it in UTF-8 without zero bytes",
                        input->where, option->key, fault);
    }
    return FBT_OK;
}

fbt_status fbt_option_set(const fbt_option *option, const fbt_option_input *input, fbt_settings *settings)
{
    void *member = fbt_option_member(option, settings);
    int index = 0;
    fbt_status status = FBT_OK;
    FBT_TRY(check_input(option, input));
    switch (option->kind) {
    case FBT_OPTION_INT:
        return set_int(option, input, member);
    case FBT_OPTION_REAL:
        return set_real(option, input, member);
    case FBT_OPTION_BOOL:
        return set_bool(option, input, member);
    case FBT_OPTION_TEXT:
        return set_text(input->text, member);
    case FBT_OPTION_WORD:
        FBT_TRY(find_choice(option, input, &index));
        return set_text(input->text, member);
    case FBT_OPTION_CHOICE:
        FBT_TRY(find_choice(option, input, &index));
        *(int *)member = index;
        break;
    }
done:
    return status;
}

enum { KEY_BYTES = 64 }; /* longer keys are compared by their beginning */

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Levenshtein distance of two short texts. */
static int edit_distance(const char *a, const char *b)
{
    int row[KEY_BYTES + 1];
    int n_b = (int)strnlen(b, KEY_BYTES);
    for (int j = 0; j <= n_b; j++) {
        row[j] = j;
    }
    for (int i = 0; i < KEY_BYTES && a[i] != '\0'; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 1; j <= n_b; j++) {
            int replaced = diagonal + (a[i] != b[j - 1]);
            diagonal = row[j];
            row[j] = smaller(replaced, 1 + smaller(row[j], row[j - 1]));
        }
    }
    return row[n_b];
}

fbt_status fbt_option_unknown(const char *where, const char *key)
{
    char quote[FBT_OPTION_QUOTE_BYTES];
    const char *dot = strchr(key, '.');
    const char *name = dot == NULL ? key : dot + 1;
    const char *nearest = NULL;
    int smallest = 3 + (int)strnlen(name, KEY_BYTES) / 4;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *own_name = strchr(table[i].key, '.') + 1;
        /* A right name in a wrong section is a likelier slip than two wrong letters. */
        int distance = smaller(edit_distance(key, table[i].key), 1 + 2 * edit_distance(name, own_name));
        if (distance < smallest) {
            smallest = distance;
            nearest = table[i].key;
        }
    }
    fbt_option_quote(key, strlen(key), quote);
    if (nearest == NULL) {
        return fbt_fail(FBT_ERR_CONFIG, "%sunknown key %s; `fedbpt run --options` lists all keys", where, quote);
    }
    return fbt_fail(FBT_ERR_CONFIG, "%sunknown key %s; did you mean %s?", where, quote, nearest);
}
