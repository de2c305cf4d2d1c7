#include "data/partition.h"

#include "base/memory.h"
#include "base/rng.h"
#include "data/client_sizes.h"

#include <gsl/gsl_randist.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Uses of a row of a split. */
enum { UNUSED = 0, TRAINING, DEV };

/* How the shots of one split are drawn. */
typedef struct draw {
    const fbt_split *split;
    const char *split_name;
    int64_t n_train; /* training samples per class; -1: all but the dev samples */
    int64_t n_dev;   /* dev samples per class                                   */
} draw;

/* Samples by class in shuffled order, and how far each class has been dealt. */
typedef struct deck {
    int64_t n_labels;
    int64_t *rows; /* [n_samples], by class           */
    int64_t *next; /* [n_labels]: the next of a class */
    int64_t *end;  /* [n_labels]                      */
} deck;

/* gsl_ran_shuffle runs wild on an empty array. */
static void shuffle(gsl_rng *rng, void *items, int64_t n, size_t item_bytes)
{
    if (n > 1) {
        gsl_ran_shuffle(rng, items, (size_t)n, item_bytes);
    }
}

static const char *label_name(const fbt_dataset *dataset, int64_t label)
{
    return dataset->label_words == NULL ? "?" : dataset->label_words[label];
}

/* Rows of one class, rising. rows: room for the whole split. */
static int64_t class_rows(const fbt_split *split, int64_t label, int64_t *rows)
{
    int64_t n = 0;
    for (int64_t i = 0; i < split->n_samples; i++) {
        if (split->labels[i] == label) {
            rows[n++] = i;
        }
    }
    return n;
}

static fbt_status check_class(const fbt_dataset *dataset, const draw *d, int64_t label, int64_t n_rows)
{
    int64_t n_train = d->n_train < 0 ? 0 : d->n_train;
    if (n_rows < n_train + d->n_dev) {
        return fbt_fail(FBT_ERR_DATA,
                        "the %s split has %" PRId64 " samples of class %" PRId64 " (\"%s\"), but %" PRId64
                        " are asked for (%" PRId64 " for training, "
                        "%" PRId64 " for dev); lower data.shots or data.dev_shots, or add samples",
                        d->split_name, n_rows, label, label_name(dataset, label), (n_train + d->n_dev), n_train,
                        d->n_dev);
    }
    if (d->n_train < 0 && n_rows > 0 && n_rows == d->n_dev) {
        return fbt_fail(FBT_ERR_DATA,
                        "data.dev_shots = %" PRId64 " takes all samples of class %" PRId64
                        " (\"%s\") and leaves none for training; lower it",
                        d->n_dev, label, label_name(dataset, label));
    }
    return FBT_OK;
}

/* Draws a split's shots class by class. use: [n_samples], what each row is for. */
static fbt_status draw_shots(const fbt_dataset *dataset, const draw *d, fbt_rng_stream stream, uint8_t *use)
{
    fbt_status status = FBT_OK;
    int64_t *rows = NULL;
    gsl_rng *rng = NULL;
    FBT_TRY(fbt_memory_alloc(&rows, d->split->n_samples, sizeof *rows));
    FBT_TRY(fbt_rng_new(&rng));
    for (int64_t label = 0; label < dataset->n_labels; label++) {
        int64_t n_rows = class_rows(d->split, label, rows);
        FBT_TRY(check_class(dataset, d, label, n_rows));
        stream.candidate = (uint32_t)label;
        fbt_rng_seek(rng, &stream);
        shuffle(rng, rows, n_rows, sizeof *rows);
        int64_t n_train = d->n_train < 0 ? n_rows - d->n_dev : d->n_train;
        for (int64_t i = 0; i < n_train; i++) {
            use[rows[i]] = TRAINING;
        }
        for (int64_t i = n_rows - d->n_dev; i < n_rows; i++) {
            use[rows[i]] = DEV;
        }
    }
done:
    gsl_rng_free(rng);
    free(rows);
    return status;
}

/* Rows of a use, rising. Release *rows with free(). */
static fbt_status collect(const uint8_t *use, int64_t n_samples, int wanted, int64_t **rows, int64_t *n_rows)
{
    fbt_status status = FBT_OK;
    int64_t n = 0;
    for (int64_t i = 0; i < n_samples; i++) {
        n += use[i] == wanted;
    }
    FBT_TRY(fbt_memory_alloc(rows, n, sizeof **rows));
    n = 0;
    for (int64_t i = 0; i < n_samples; i++) {
        if (use[i] == wanted) {
            (*rows)[n++] = i;
        }
    }
    *n_rows = n;
done:
    return status;
}

/* The training samples (pool, rising) and, into the partition, the dev samples. Release *pool with free(). */
static fbt_status choose_samples(const fbt_dataset *dataset, const fbt_partition_options *options,
                                 fbt_partition *partition, int64_t **pool, int64_t *n_pool)
{
    fbt_status status = FBT_OK;
    uint8_t *use_train = NULL;
    uint8_t *use_dev = NULL;
    const int own_dev = dataset->dev.n_samples > 0;
    const draw train = {&dataset->train, "train", options->shots == 0 ? -1 : options->shots,
                        own_dev ? 0 : options->dev_shots};
    const draw dev = {&dataset->dev, "dev", 0, options->dev_shots};
    fbt_rng_stream stream = {.seed = options->seed, .purpose = FBT_RNG_SHOTS};

    FBT_TRY(fbt_memory_alloc(&use_train, dataset->train.n_samples, sizeof *use_train));
    FBT_TRY(draw_shots(dataset, &train, stream, use_train));
    FBT_TRY(collect(use_train, dataset->train.n_samples, TRAINING, pool, n_pool));
    if (own_dev) {
        stream.generation = 1; /* not the train split's order */
        FBT_TRY(fbt_memory_alloc(&use_dev, dataset->dev.n_samples, sizeof *use_dev));
        FBT_TRY(draw_shots(dataset, &dev, stream, use_dev));
        FBT_TRY(collect(use_dev, dataset->dev.n_samples, DEV, &partition->dev_index, &partition->n_dev));
    } else {
        FBT_TRY(collect(use_train, dataset->train.n_samples, DEV, &partition->dev_index, &partition->n_dev));
    }
    partition->dev_split = own_dev ? &dataset->dev : &dataset->train;
done:
    free(use_train);
    free(use_dev);
    return status;
}

/* The clients whose turn it is in a round of dealing, where each takes one sample a round until it has its size: of the
 * n of the round before, those that want more stay. */
static int64_t keep_wanting(const int64_t *sizes, int64_t round, int64_t *turns, int64_t n)
{
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (sizes[turns[i]] > round) {
            turns[n_kept++] = turns[i];
        }
    }
    return n_kept;
}

/* All clients, rising. Release *turns with free(). */
static fbt_status list_clients(int64_t n_clients, int64_t **turns)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_memory_alloc(turns, n_clients, sizeof **turns));
    for (int64_t k = 0; k < n_clients; k++) {
        (*turns)[k] = k;
    }
done:
    return status;
}

/* client[i]: who gets pool[i]. */
static fbt_status deal_iid(const fbt_partition_options *options, const int64_t *sizes, int64_t n_pool, int32_t *client)
{
    fbt_status status = FBT_OK;
    int64_t n_turns = options->n_clients, n_dealt = 0;
    int64_t *turns = NULL;
    gsl_rng *rng = NULL;
    FBT_TRY(fbt_rng_new(&rng));
    FBT_TRY(list_clients(n_turns, &turns));
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = options->seed, .purpose = FBT_RNG_PARTITION});
    /* Shuffling the owners is dealing shuffled samples. */
    for (int64_t round = 0; n_dealt < n_pool; round++) {
        n_turns = keep_wanting(sizes, round, turns, n_turns);
        for (int64_t i = 0; i < n_turns; i++) {
            client[n_dealt++] = (int32_t)turns[i];
        }
    }
    shuffle(rng, client, n_pool, sizeof *client);
done:
    free(turns);
    gsl_rng_free(rng);
    return status;
}

static void deck_clear(deck *d)
{
    free(d->rows);
    free(d->next);
    free(d->end);
}

/* rows: positions in the pool. */
static fbt_status deck_make(const fbt_split *split, int64_t n_labels, const int64_t *pool, int64_t n_pool, gsl_rng *rng,
                            deck *d)
{
    fbt_status status = FBT_OK;
    d->n_labels = n_labels;
    FBT_TRY(fbt_memory_alloc(&d->rows, n_pool, sizeof *d->rows));
    FBT_TRY(fbt_memory_alloc(&d->next, n_labels, sizeof *d->next));
    FBT_TRY(fbt_memory_alloc(&d->end, n_labels, sizeof *d->end));
    int64_t n = 0;
    for (int64_t label = 0; label < n_labels; label++) {
        d->next[label] = n;
        for (int64_t i = 0; i < n_pool; i++) {
            if (split->labels[pool[i]] == label) {
                d->rows[n++] = i;
            }
        }
        d->end[label] = n;
        shuffle(rng, d->rows + d->next[label], n - d->next[label], sizeof *d->rows);
    }
done:
    return status;
}

/* Class proportions of every client. q: [n_clients, n_labels], 0 for a class without samples: Dirichlet needs positive
 * parameters. gsl_ran_dirichlet works in logarithms where small parameters underflow; a proportion may still come out
 * as 0, and fitting needs somewhere to put a class that nobody drew, so all are a little more. */
static fbt_status draw_proportions(const fbt_partition_options *options, const deck *d, gsl_rng *rng, double *q)
{
    fbt_status status = FBT_OK;
    double *parameter = NULL;
    double *drawn = NULL;
    const int64_t n_labels = d->n_labels;
    const double n_pool = (double)d->end[n_labels - 1];
    const double least = 1e-9;
    size_t n_present = 0;
    FBT_TRY(fbt_memory_alloc(&parameter, n_labels, sizeof *parameter));
    FBT_TRY(fbt_memory_alloc(&drawn, n_labels, sizeof *drawn));
    for (int64_t c = 0; c < n_labels; c++) {
        if (d->end[c] > d->next[c]) {
            parameter[n_present++] = options->dirichlet_alpha * (double)(d->end[c] - d->next[c]) / n_pool;
        }
    }
    for (int64_t k = 0; k < options->n_clients; k++) {
        fbt_rng_seek(rng,
                     &(fbt_rng_stream){
                         .seed = options->seed, .purpose = FBT_RNG_PARTITION, .client = (uint32_t)k, .generation = 1});
        gsl_ran_dirichlet(rng, n_present, parameter, drawn);
        const double *from = drawn;
        for (int64_t c = 0; c < n_labels; c++) {
            q[k * n_labels + c] = d->end[c] > d->next[c] ? *from++ + least : 0;
        }
    }
done:
    free(parameter);
    free(drawn);
    return status;
}

/* Scales rows and columns of m in turn until the rows sum to the clients' sizes and the columns to the class sizes:
 * iterative proportional fitting (Deming and Stephan 1940). Dealing rounds to whole samples, so a hundredth of one is
 * near enough. */
static void fit_margins(int64_t n_clients, const int64_t *sizes, const deck *d, double *m)
{
    enum { MAX_ITERATIONS = 1000 };
    const int64_t n_labels = d->n_labels;
    double error = HUGE_VAL;
    for (int iteration = 0; iteration < MAX_ITERATIONS && error > 0.01; iteration++) {
        for (int64_t c = 0; c < n_labels; c++) {
            double sum = 0;
            for (int64_t k = 0; k < n_clients; k++) {
                sum += m[k * n_labels + c];
            }
            for (int64_t k = 0; k < n_clients && sum > 0; k++) {
                m[k * n_labels + c] *= (double)(d->end[c] - d->next[c]) / sum;
            }
        }
        error = 0;
        for (int64_t k = 0; k < n_clients; k++) {
            double *row = m + k * n_labels;
            const double size = (double)sizes[k];
            double sum = 0;
            for (int64_t c = 0; c < n_labels; c++) {
                sum += row[c];
            }
            error = fmax(error, fabs(sum - size));
            for (int64_t c = 0; c < n_labels; c++) {
                row[c] *= size / sum;
            }
        }
    }
}

/* The class of a client's next sample, of those that have samples left: drawn in proportion to what the client still
 * lacks of each (lack: [n_labels], negative when it has more than its due); when it lacks none, the class of which it
 * has the least too many. */
static int64_t draw_class(const deck *d, const double *lack, double uniform)
{
    int64_t best = -1;
    double total = 0;
    for (int64_t c = 0; c < d->n_labels; c++) {
        if (d->next[c] < d->end[c]) {
            total += fmax(lack[c], 0);
            best = best < 0 || lack[c] > lack[best] ? c : best;
        }
    }
    double left = uniform * total;
    for (int64_t c = 0; c < d->n_labels && total > 0; c++) {
        if (d->next[c] < d->end[c] && lack[c] > 0) {
            left -= lack[c];
            if (left < 0) {
                return c;
            }
        }
    }
    return best; /* also where rounding carried `left` past the end */
}

/* One sample a round for each client that still wants one. A fixed order of turns would leave the last client with the
 * rarest class. turns: [n_clients], all of them, rising; order: [n_clients], scratch. */
static void deal_rounds(int64_t n_clients, const int64_t *sizes, deck *d, gsl_rng *rng, int64_t *turns, int64_t *order,
                        double *lack, int32_t *client)
{
    int64_t n_left = d->end[d->n_labels - 1], n_turns = n_clients;
    for (int64_t round = 0; n_left > 0; round++, n_left -= n_turns) {
        n_turns = keep_wanting(sizes, round, turns, n_turns);
        memcpy(order, turns, (size_t)n_turns * sizeof *order);
        shuffle(rng, order, n_turns, sizeof *order);
        for (int64_t i = 0; i < n_turns; i++) {
            double *lacks = lack + order[i] * d->n_labels;
            int64_t c = draw_class(d, lacks, gsl_rng_uniform(rng));
            client[d->rows[d->next[c]++]] = (int32_t)order[i];
            lacks[c]--;
        }
    }
}

static fbt_status deal_dirichlet(const fbt_dataset *dataset, const fbt_partition_options *options, const int64_t *sizes,
                                 const int64_t *pool, int64_t n_pool, int32_t *client)
{
    fbt_status status = FBT_OK;
    const fbt_rng_stream stream = {.seed = options->seed, .purpose = FBT_RNG_PARTITION};
    deck d = {0};
    double *lack = NULL; /* [n_clients, n_labels]: expected counts, less what was dealt */
    int64_t *turns = NULL, *order = NULL;
    gsl_rng *rng = NULL;
    FBT_TRY(fbt_rng_new(&rng));
    fbt_rng_seek(rng, &stream);
    FBT_TRY(deck_make(&dataset->train, dataset->n_labels, pool, n_pool, rng, &d));
    FBT_TRY(fbt_memory_alloc(&lack, options->n_clients * d.n_labels, sizeof *lack));
    FBT_TRY(fbt_memory_alloc(&order, options->n_clients, sizeof *order));
    FBT_TRY(list_clients(options->n_clients, &turns));
    FBT_TRY(draw_proportions(options, &d, rng, lack));
    fit_margins(options->n_clients, sizes, &d, lack);
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = options->seed, .purpose = FBT_RNG_PARTITION, .generation = 2});
    deal_rounds(options->n_clients, sizes, &d, rng, turns, order, lack, client);
done:
    free(lack);
    free(turns);
    free(order);
    deck_clear(&d);
    gsl_rng_free(rng);
    return status;
}

/* Sorts the pool by client; it is rising, so every client's samples are. */
static fbt_status group_by_client(const int64_t *pool, int64_t n_pool, const int32_t *client, fbt_partition *p)
{
    fbt_status status = FBT_OK;
    int64_t *next = NULL;
    FBT_TRY(fbt_memory_alloc(&next, p->n_clients, sizeof *next));
    FBT_TRY(fbt_memory_alloc(&p->sample_offsets, p->n_clients + 1, sizeof *p->sample_offsets));
    FBT_TRY(fbt_memory_alloc(&p->sample_index, n_pool, sizeof *p->sample_index));
    for (int64_t i = 0; i < n_pool; i++) {
        p->sample_offsets[client[i] + 1]++;
    }
    for (int64_t k = 0; k < p->n_clients; k++) {
        p->sample_offsets[k + 1] += p->sample_offsets[k];
        next[k] = p->sample_offsets[k];
    }
    for (int64_t i = 0; i < n_pool; i++) {
        p->sample_index[next[client[i]]++] = pool[i];
    }
done:
    free(next);
    return status;
}

static fbt_status check_options(const fbt_dataset *dataset, const fbt_partition_options *options)
{
    if (dataset->n_labels < 1 || dataset->train.n_samples < 1) {
        return fbt_fail(FBT_ERR_DATA, "the data set has no training samples");
    }
    if (dataset->train.n_samples > FBT_RNG_N_CANDIDATES || dataset->n_labels > FBT_RNG_N_CANDIDATES) {
        return fbt_fail(FBT_ERR_UNSUPPORTED, "the train split has %" PRId64 " samples; at most %d can be told apart",
                        dataset->train.n_samples, FBT_RNG_N_CANDIDATES);
    }
    if (options->n_clients < 1 || options->n_clients > FBT_RNG_N_CLIENTS) {
        return fbt_fail(FBT_ERR_CONFIG, "fed.clients = %" PRId64 " must be 1 to %d", options->n_clients,
                        FBT_RNG_N_CLIENTS);
    }
    if (options->shots < 0 || options->dev_shots < 0) {
        return fbt_fail(FBT_ERR_CONFIG,
                        "data.shots = %" PRId64 " and data.dev_shots = %" PRId64 " must not be negative",
                        options->shots, options->dev_shots);
    }
    if (options->kind == FBT_PARTITION_DIRICHLET &&
        !(options->dirichlet_alpha >= 1e-6 && options->dirichlet_alpha <= 1e6)) {
        return fbt_fail(FBT_ERR_CONFIG, "fed.dirichlet_alpha = %g must be 1e-6 to 1e6", options->dirichlet_alpha);
    }
    return FBT_OK;
}

static fbt_status deal(const fbt_dataset *dataset, const fbt_partition_options *options, const int64_t *pool,
                       int64_t n_pool, int32_t *client)
{
    fbt_status status = FBT_OK;
    int64_t *sizes = NULL;
    const fbt_client_sizes_options how = {
        .seed = options->seed, .kind = options->sizes, .alpha = options->size_alpha, .sigma = options->size_sigma};
    FBT_TRY(fbt_memory_alloc(&sizes, options->n_clients, sizeof *sizes));
    FBT_TRY(fbt_client_sizes_make(&how, options->n_clients, n_pool, sizes));
    FBT_TRY(options->kind == FBT_PARTITION_DIRICHLET ? deal_dirichlet(dataset, options, sizes, pool, n_pool, client)
                                                     : deal_iid(options, sizes, n_pool, client));
done:
    free(sizes);
    return status;
}

fbt_status fbt_partition_make(const fbt_dataset *dataset, const fbt_partition_options *options,
                              fbt_partition *partition)
{
    fbt_status status = FBT_OK;
    int64_t *pool = NULL;
    int32_t *client = NULL;
    int64_t n_pool = 0;
    memset(partition, 0, sizeof *partition);
    FBT_TRY(check_options(dataset, options));
    partition->n_clients = options->n_clients;
    partition->n_labels = dataset->n_labels;
    FBT_TRY(choose_samples(dataset, options, partition, &pool, &n_pool));
    if (n_pool < options->n_clients) {
        FBT_FAIL(FBT_ERR_DATA,
                 "%" PRId64 " training samples cannot be dealt to %" PRId64
                 " clients: a client would be empty; raise data.shots "
                 "(%" PRId64 " per "
                 "class, %" PRId64 " classes) or lower fed.clients",
                 n_pool, options->n_clients, options->shots, dataset->n_labels);
    }
    FBT_TRY(fbt_memory_alloc(&client, n_pool, sizeof *client));
    FBT_TRY(deal(dataset, options, pool, n_pool, client));
    FBT_TRY(group_by_client(pool, n_pool, client, partition));
done:
    free(pool);
    free(client);
    if (status != FBT_OK) {
        fbt_partition_clear(partition);
    }
    return status;
}

void fbt_partition_count_classes(const fbt_partition *partition, const int32_t *labels, int64_t first, int64_t n,
                                 int64_t *counts)
{
    const fbt_partition *p = partition;
    memset(counts, 0, (size_t)(n * p->n_labels) * sizeof *counts);
    for (int64_t k = first; k < first + n; k++, counts += p->n_labels) {
        for (int64_t i = p->sample_offsets[k]; i < p->sample_offsets[k + 1]; i++) {
            counts[labels[p->sample_index[i]]]++;
        }
    }
}

void fbt_partition_clear(fbt_partition *partition)
{
    free(partition->sample_offsets);
    free(partition->sample_index);
    free(partition->dev_index);
    memset(partition, 0, sizeof *partition);
}
