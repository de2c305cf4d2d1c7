/* Which samples are used, and which client holds them. Every rank computes the same from the seed. */
#ifndef FBT_DATA_PARTITION_H
#define FBT_DATA_PARTITION_H

#include "base/choices.h"
#include "base/status.h"
#include "data/dataset.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Owned by the caller: zero-initialise, fbt_partition_clear. All indices are rows of the train split, but for dev_index
 * where the data set has a dev split of its own. */
typedef struct fbt_partition {
    int64_t n_clients;
    int64_t *sample_offsets; /* [n_clients + 1]                                      */
    int64_t *sample_index;   /* [sample_offsets[n_clients]]: training samples by client, rising within a client */
    int64_t n_dev;
    int64_t *dev_index;         /* [n_dev], rising                                      */
    const fbt_split *dev_split; /* borrowed from the data set: the split that dev_index refers to */
    int64_t n_labels;
} fbt_partition;

typedef struct fbt_partition_options {
    uint64_t seed;
    int64_t n_clients;
    int64_t shots;     /* training samples per class; 0: all                        */
    int64_t dev_shots; /* dev samples per class; 0: none                            */
    fbt_partition_kind kind;
    double dirichlet_alpha; /* 1e-6 .. 1e6; small: few classes per client              */
    fbt_sizes_kind sizes;
    double size_alpha, size_sigma; /* as of fbt_client_sizes_options */
} fbt_partition_options;

/* Chooses the samples and deals them out, the same on every rank. The rules:
 *   - Shots (streams FBT_RNG_SHOTS, candidate = class): each class's rows of the train split are shuffled; the first
 *     `shots` are for training. The dev samples are a class's rows of the dev split, shuffled likewise; where the data
 *     set has no dev split, they are the last dev_shots of the shuffled train rows, so that neither number changes the
 *     other's choice. A sample is never both.
 *   - How many of them each client gets: client_sizes.h.
 *   - IID (FBT_RNG_PARTITION): all chosen samples are shuffled and dealt out whatever their class, as in the official
 *     code.
 *   - Dirichlet: client k draws class proportions q_k ~ Dirichlet(alpha * prior), prior being the classes' shares of
 *     the chosen samples (stream client = k, generation = 1). If every sample is to have one client and sizes are
 *     given, no q can hold exactly; so it is fitted: m[k, c], the expected counts, has the odds ratios of q, the client
 *     sizes as row sums and the class sizes as column sums (iterative proportional fitting: of all such tables the
 *     nearest to q in Kullback-Leibler divergence). The clients then take one sample each in rounds of shuffled turns
 *     (generation = 2) until they have their sizes: its class drawn in proportion to what the client lacks of its
 *     m[k, c], of that class the next in shuffled order.
 *     The official code keeps q and lets a quadratic program find client sizes instead. They then vary several-fold, a
 *     client may have none, and the program has no solution when there are more classes than clients, and often when
 *     nearly as many. The skew is alike: with 4 classes, 10 clients and alpha 0.5 a client's largest class has a share
 *     of 0.79 there and 0.76 here.
 * Errors: FBT_ERR_DATA (a class has fewer samples than shots, a client would be empty: what to change), FBT_ERR_CONFIG
 * (a number of the options out of range), FBT_ERR_UNSUPPORTED (more rows than a random stream can name),
 * FBT_ERR_MEMORY. On failure *partition is empty. */
fbt_status fbt_partition_make(const fbt_dataset *dataset, const fbt_partition_options *options,
                              fbt_partition *partition);

/* Training samples by class of clients first .. first + n - 1; labels: of the train split's rows. counts: [n,
 * n_labels].
 */
void fbt_partition_count_classes(const fbt_partition *partition, const int32_t *labels, int64_t first, int64_t n,
                                 int64_t *counts);

void fbt_partition_clear(fbt_partition *partition);

#ifdef __cplusplus
}
#endif

#endif
