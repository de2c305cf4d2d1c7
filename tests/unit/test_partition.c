/* Data: which samples are used and who gets them. Statistical bounds are on fixed seeds: they hold or fail for good. */
#include "base/memory.h"
#include "base/rng_block.h"
#include "data/partition.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_LABELS = 16 };

/* A split with counts[c] samples of class c, classes interleaved so that rows of a class are not contiguous. */
static void split_make(fbt_split *split, const int *counts, int n_labels)
{
    int left[MAX_LABELS];
    int64_t n = 0;
    for (int c = 0; c < n_labels; c++) {
        left[c] = counts[c];
        n += counts[c];
    }
    split->n_samples = n;
    assert_int_equal(fbt_memory_alloc(&split->labels, n, sizeof *split->labels), FBT_OK);
    for (int64_t i = 0, c = 0; i < n; c = (c + 1) % n_labels) {
        if (left[c] > 0) {
            left[c]--;
            split->labels[i++] = (int32_t)c;
        }
    }
}

static void dataset_make(fbt_dataset *dataset, const int *train, const int *dev, int n_labels)
{
    memset(dataset, 0, sizeof *dataset);
    dataset->n_labels = n_labels;
    split_make(&dataset->train, train, n_labels);
    if (dev != NULL) {
        split_make(&dataset->dev, dev, n_labels);
    }
}

/* All that a partition promises whatever the rule: exact shots, every sample with one client, dev apart, rising order,
 * counts that are counts, no empty client, sizes that are equal within one where they are to be. */
static void check_partition(const fbt_dataset *dataset, const fbt_partition_options *o, const fbt_partition *p)
{
    const int own_dev = dataset->dev.n_samples > 0;
    const int64_t n_train = dataset->train.n_samples;
    int64_t per_class[2][MAX_LABELS] = {{0}};
    uint8_t *used = calloc((size_t)n_train, 1);
    assert_non_null(used);
    assert_int_equal(p->n_clients, o->n_clients);
    assert_int_equal(p->n_labels, dataset->n_labels);
    assert_int_equal(p->sample_offsets[0], 0);
    const int64_t n_samples = p->sample_offsets[p->n_clients];
    for (int64_t k = 0; k < p->n_clients; k++) {
        int64_t counts[MAX_LABELS] = {0}, counted[MAX_LABELS];
        int64_t size = p->sample_offsets[k + 1] - p->sample_offsets[k];
        assert_true(size >= 1 && size <= n_samples);
        assert_true(o->sizes != FBT_SIZES_EQUAL ||
                    (size >= n_samples / p->n_clients && size <= (n_samples + p->n_clients - 1) / p->n_clients));
        for (int64_t i = p->sample_offsets[k]; i < p->sample_offsets[k + 1]; i++) {
            int64_t row = p->sample_index[i];
            assert_in_range(row, 0, n_train - 1);
            assert_true(i == p->sample_offsets[k] || row > p->sample_index[i - 1]);
            assert_int_equal(used[row]++, 0);
            counts[dataset->train.labels[row]]++;
            per_class[0][dataset->train.labels[row]]++;
        }
        fbt_partition_count_classes(p, dataset->train.labels, k, 1, counted);
        assert_memory_equal(counts, counted, (size_t)p->n_labels * sizeof *counts);
    }
    assert_ptr_equal(p->dev_split, own_dev ? &dataset->dev : &dataset->train);
    for (int64_t i = 0; i < p->n_dev; i++) {
        assert_in_range(p->dev_index[i], 0, p->dev_split->n_samples - 1);
        assert_true(i == 0 || p->dev_index[i] > p->dev_index[i - 1]);
        assert_true(own_dev || used[p->dev_index[i]] == 0);
        per_class[1][p->dev_split->labels[p->dev_index[i]]]++;
    }
    for (int64_t c = 0; c < dataset->n_labels; c++) {
        assert_true(o->shots == 0 || per_class[0][c] == o->shots);
        assert_int_equal(per_class[1][c], o->dev_shots);
    }
    assert_true(o->shots > 0 || own_dev || n_samples + p->n_dev == n_train);
    assert_true(o->shots > 0 || !own_dev || n_samples == n_train);
    free(used);
}

static void every_rule_keeps_its_promises(void **state)
{
    (void)state;
    const int train[] = {61, 45, 80, 52, 49}, dev[] = {30, 33, 31, 30, 40};
    const double alphas[] = {1e-6, 0.01, 0.5, 1e6};
    for (int own_dev = 0; own_dev < 2; own_dev++) {
        fbt_dataset dataset;
        dataset_make(&dataset, train, own_dev ? dev : NULL, 5);
        for (int variant = 0; variant < 3 * 3 * 5; variant++) {
            fbt_partition p;
            const int64_t shots[] = {0, 3, 20}, dev_shots[] = {0, 1, 25}, clients[] = {1, 2, 7, 10, 15};
            fbt_partition_options o = {.seed = (uint64_t)variant,
                                       .shots = shots[variant % 3],
                                       .dev_shots = dev_shots[variant / 3 % 3],
                                       .n_clients = clients[variant / 9]};
            assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
            check_partition(&dataset, &o, &p);
            fbt_partition_clear(&p);
            o.sizes = (fbt_sizes_kind)(variant % 3);
            o.size_alpha = 0.3;
            o.size_sigma = 2;
            assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
            check_partition(&dataset, &o, &p);
            fbt_partition_clear(&p);
            for (int a = 0; a < 4; a++) {
                o.kind = FBT_PARTITION_DIRICHLET;
                o.dirichlet_alpha = alphas[a];
                assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
                check_partition(&dataset, &o, &p);
                fbt_partition_clear(&p);
            }
        }
        fbt_dataset_clear(&dataset);
    }
}

/* A class without samples is allowed when all samples are used, and no client has any of it. */
static void absent_classes_are_allowed(void **state)
{
    (void)state;
    const int train[] = {20, 0, 13, 0};
    fbt_dataset dataset;
    dataset_make(&dataset, train, NULL, 4);
    for (int dirichlet = 0; dirichlet < 2; dirichlet++) {
        fbt_partition p;
        const fbt_partition_options o = {
            .seed = 3, .n_clients = 5, .kind = (fbt_partition_kind)dirichlet, .dirichlet_alpha = 0.1};
        assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
        check_partition(&dataset, &o, &p);
        fbt_partition_clear(&p);
    }
    fbt_dataset_clear(&dataset);
}

static int same_rows(const int64_t *a, const int64_t *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* The seed decides everything, and another seed chooses other samples for training, for dev, and another deal. */
static void the_seed_decides(void **state)
{
    (void)state;
    const int train[] = {100, 100}, dev[] = {100, 100};
    fbt_dataset dataset;
    dataset_make(&dataset, train, dev, 2);
    for (int dirichlet = 0; dirichlet < 2; dirichlet++) {
        fbt_partition a, b, c;
        fbt_partition_options o = {.seed = 1,
                                   .n_clients = 4,
                                   .shots = 20,
                                   .dev_shots = 20,
                                   .kind = (fbt_partition_kind)dirichlet,
                                   .dirichlet_alpha = 1};
        assert_int_equal(fbt_partition_make(&dataset, &o, &a), FBT_OK);
        assert_int_equal(fbt_partition_make(&dataset, &o, &b), FBT_OK);
        o.seed = 2;
        assert_int_equal(fbt_partition_make(&dataset, &o, &c), FBT_OK);
        assert_true(same_rows(a.sample_index, b.sample_index, 40));
        assert_true(same_rows(a.dev_index, b.dev_index, 40));
        assert_false(same_rows(a.sample_index, c.sample_index, 40));
        assert_false(same_rows(a.dev_index, c.dev_index, 40));
        fbt_partition_clear(&a);
        fbt_partition_clear(&b);
        fbt_partition_clear(&c);
    }
    fbt_dataset_clear(&dataset);
}

/* A study of data.shots compares runs on the same dev samples, and more dev samples change nobody's training samples.
 * With shots = 20 every client's samples are among those of shots = 40. */
static void shots_and_dev_shots_do_not_meddle(void **state)
{
    (void)state;
    const int train[] = {100, 100};
    fbt_dataset dataset;
    fbt_partition small, large, more_dev;
    dataset_make(&dataset, train, NULL, 2);
    fbt_partition_options o = {.seed = 8, .n_clients = 1, .shots = 20, .dev_shots = 30};
    assert_int_equal(fbt_partition_make(&dataset, &o, &small), FBT_OK);
    o.shots = 40;
    assert_int_equal(fbt_partition_make(&dataset, &o, &large), FBT_OK);
    o.dev_shots = 60;
    assert_int_equal(fbt_partition_make(&dataset, &o, &more_dev), FBT_OK);
    assert_true(same_rows(small.dev_index, large.dev_index, 60));
    assert_true(same_rows(large.sample_index, more_dev.sample_index, 80));
    for (int i = 0, j = 0; i < 40; i++, j++) {
        while (j < 80 && large.sample_index[j] != small.sample_index[i]) {
            j++;
        }
        assert_true(j < 80);
    }
    fbt_partition_clear(&small);
    fbt_partition_clear(&large);
    fbt_partition_clear(&more_dev);
    fbt_dataset_clear(&dataset);
}

/* Over many seeds every sample of a class is as likely chosen, and a chosen one goes as likely to each client. */
static void choices_are_uniform(void **state)
{
    (void)state;
    enum { N_SEEDS = 3000, ROWS = 16, CLIENTS = 3 };
    const int train[] = {8, 8};
    double chosen[ROWS] = {0}, held[ROWS][CLIENTS] = {{0}};
    fbt_dataset dataset;
    dataset_make(&dataset, train, NULL, 2);
    for (int seed = 0; seed < N_SEEDS; seed++) {
        fbt_partition p;
        const fbt_partition_options o = {.seed = (uint64_t)seed, .n_clients = CLIENTS, .shots = 3, .dev_shots = 2};
        assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
        for (int64_t k = 0; k < CLIENTS; k++) {
            for (int64_t i = p.sample_offsets[k]; i < p.sample_offsets[k + 1]; i++) {
                chosen[p.sample_index[i]]++;
                held[p.sample_index[i]][k]++;
            }
        }
        fbt_partition_clear(&p);
    }
    for (int i = 0; i < ROWS; i++) {
        const double q = 3.0 / 8;
        assert_true(fabs(chosen[i] - q * N_SEEDS) < 5 * sqrt(q * (1 - q) * N_SEEDS));
        for (int k = 0; k < CLIENTS; k++) {
            assert_true(fabs(held[i][k] - q / 3 * N_SEEDS) < 5 * sqrt(q / 3 * (1 - q / 3) * N_SEEDS));
        }
    }
    fbt_dataset_clear(&dataset);
}

/* Mean over clients and seeds of the largest class's share at a client. */
static double mean_top_share(const fbt_dataset *dataset, int dirichlet, double alpha)
{
    enum { N_SEEDS = 100, CLIENTS = 10 };
    double sum = 0;
    for (int seed = 0; seed < N_SEEDS; seed++) {
        fbt_partition p;
        const fbt_partition_options o = {.seed = (uint64_t)seed,
                                         .n_clients = CLIENTS,
                                         .shots = 40,
                                         .kind = (fbt_partition_kind)dirichlet,
                                         .dirichlet_alpha = alpha};
        int64_t class_count[CLIENTS * MAX_LABELS];
        assert_int_equal(fbt_partition_make(dataset, &o, &p), FBT_OK);
        fbt_partition_count_classes(&p, dataset->train.labels, 0, CLIENTS, class_count);
        for (int64_t k = 0; k < CLIENTS; k++) {
            int64_t top = 0;
            for (int64_t c = 0; c < p.n_labels; c++) {
                int64_t n = class_count[k * p.n_labels + c];
                top = n > top ? n : top;
            }
            sum += (double)top / (double)(p.sample_offsets[k + 1] - p.sample_offsets[k]);
        }
        fbt_partition_clear(&p);
    }
    return sum / (N_SEEDS * CLIENTS);
}

/* A large alpha gives every client the prior, a small one most clients one class: the share of a client's largest class
 * is near that of the Dirichlet distribution itself (0.73 at alpha = 1, 0.83 at 0.5), which drawing from q until the
 * classes run out is not (0.61, 0.68). */
static void alpha_sets_the_skew(void **state)
{
    (void)state;
    const int train[] = {50, 50, 50, 50};
    fbt_dataset dataset;
    dataset_make(&dataset, train, NULL, 4);
    const double iid = mean_top_share(&dataset, 0, 0);
    const double even = mean_top_share(&dataset, 1, 1e6);
    const double one = mean_top_share(&dataset, 1, 1);
    const double half = mean_top_share(&dataset, 1, 0.5);
    const double least = mean_top_share(&dataset, 1, 1e-6);
    print_message("share of a client's largest class: IID %.3f, alpha 1e6 %.3f, 1 %.3f, 0.5 %.3f, 1e-6 %.3f\n", iid,
                  even, one, half, least);
    assert_true(even < 0.26);
    assert_true(iid > 0.3 && iid < 0.45);
    assert_true(one > 0.65 && one < 0.75);
    assert_true(half > 0.73 && half < 0.83);
    assert_true(least > one + 0.05);
    fbt_dataset_clear(&dataset);
}

/* Sizes of clients change their odds of a class by factors of the client and of the class alone: the fit keeps the odds
 * ratios of the proportions that were drawn, whose logarithms are what is left when rows' and columns' means are taken
 * away. Broken by a deal that gives large clients what is left over. */
static void sizes_keep_the_odds_ratios(void **state)
{
    (void)state;
    enum { CLIENTS = 12, LABELS = 4 };
    const int train[] = {90000, 60000, 50000, 40000};
    double odds[2][CLIENTS][LABELS];
    fbt_dataset dataset;
    dataset_make(&dataset, train, NULL, LABELS);
    for (int i = 0; i < 2; i++) {
        fbt_partition p;
        int64_t counts[CLIENTS * LABELS];
        double row[CLIENTS] = {0}, column[LABELS] = {0}, all = 0;
        const fbt_partition_options o = {.seed = 4,
                                         .n_clients = CLIENTS,
                                         .kind = FBT_PARTITION_DIRICHLET,
                                         .dirichlet_alpha = 20,
                                         .sizes = i == 0 ? FBT_SIZES_EQUAL : FBT_SIZES_LOGNORMAL,
                                         .size_sigma = 1};
        assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
        fbt_partition_count_classes(&p, dataset.train.labels, 0, CLIENTS, counts);
        fbt_partition_clear(&p);
        for (int k = 0; k < CLIENTS; k++) {
            for (int c = 0; c < LABELS; c++) {
                odds[i][k][c] = log((double)counts[k * LABELS + c]);
                row[k] += odds[i][k][c] / LABELS;
                column[c] += odds[i][k][c] / CLIENTS;
                all += odds[i][k][c] / (CLIENTS * LABELS);
            }
        }
        for (int j = 0; j < CLIENTS * LABELS; j++) {
            odds[i][j / LABELS][j % LABELS] += all - row[j / LABELS] - column[j % LABELS];
        }
    }
    double largest = 0;
    for (int j = 0; j < CLIENTS * LABELS; j++) {
        const double one = odds[0][j / LABELS][j % LABELS], other = odds[1][j / LABELS][j % LABELS];
        assert_true(fabs(one - other) < 0.02);
        largest = fmax(largest, fabs(one));
    }
    assert_true(largest > 0.5);
    fbt_dataset_clear(&dataset);
}

/* IID clients of unequal sizes have each class in proportion to its samples: counts are hypergeometric, so that over
 * seeds they have its mean and variance. */
static void unequal_clients_are_iid(void **state)
{
    (void)state;
    enum { N_SEEDS = 2000, CLIENTS = 5 };
    const int train[] = {60, 30};
    double z2 = 0, z1 = 0;
    fbt_dataset dataset;
    dataset_make(&dataset, train, NULL, 2);
    for (int seed = 0; seed < N_SEEDS; seed++) {
        fbt_partition p;
        int64_t counts[CLIENTS * 2];
        const fbt_partition_options o = {
            .seed = (uint64_t)seed, .n_clients = CLIENTS, .sizes = FBT_SIZES_DIRICHLET, .size_alpha = 1};
        assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
        fbt_partition_count_classes(&p, dataset.train.labels, 0, CLIENTS, counts);
        const double n = (double)p.sample_offsets[1], q = 2.0 / 3;
        const double z = ((double)counts[0] - n * q) / sqrt(n * q * (1 - q) * (90 - n) / 89);
        z1 += z / N_SEEDS;
        z2 += z * z / N_SEEDS;
        fbt_partition_clear(&p);
    }
    assert_true(fabs(z1) < 5 / sqrt(N_SEEDS));
    assert_true(fabs(z2 - 1) < 5 * sqrt(2.0 / N_SEEDS));
    fbt_dataset_clear(&dataset);
}

/* Samples as many as clients: each takes one, and over many seeds every client's is of each class as often as the prior
 * says, which is the mean of Dirichlet(alpha * prior) for every alpha. Broken by a rule that favours the first client
 * or class. */
static void dirichlet_has_the_prior_as_mean(void **state)
{
    (void)state;
    enum { N_SEEDS = 4000 };
    const int train[] = {6, 3, 1};
    const double alphas[] = {1e-6, 0.1, 1, 100};
    fbt_dataset dataset;
    dataset_make(&dataset, train, NULL, 3);
    for (int a = 0; a < 4; a++) {
        double counts[10][3] = {{0}};
        for (int seed = 0; seed < N_SEEDS; seed++) {
            fbt_partition p;
            const fbt_partition_options o = {
                .seed = (uint64_t)seed, .n_clients = 10, .kind = FBT_PARTITION_DIRICHLET, .dirichlet_alpha = alphas[a]};
            int64_t class_count[10 * 3];
            assert_int_equal(fbt_partition_make(&dataset, &o, &p), FBT_OK);
            fbt_partition_count_classes(&p, dataset.train.labels, 0, 10, class_count);
            for (int i = 0; i < 10 * 3; i++) {
                counts[i / 3][i % 3] += (double)class_count[i];
            }
            fbt_partition_clear(&p);
        }
        for (int i = 0; i < 10 * 3; i++) {
            const double q = train[i % 3] / 10.0;
            assert_true(fabs(counts[i / 3][i % 3] - q * N_SEEDS) < 5 * sqrt(q * (1 - q) * N_SEEDS));
        }
    }
    fbt_dataset_clear(&dataset);
}

static void expect_error(const fbt_dataset *dataset, fbt_partition_options o, fbt_status expected, const char *word)
{
    fbt_partition p;
    memset(&p, 0x55, sizeof p);
    assert_int_equal(fbt_partition_make(dataset, &o, &p), expected);
    assert_non_null(strstr(fbt_error_message(), word));
    assert_null(p.sample_index);
    assert_null(p.dev_index);
    fbt_error_clear();
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    const int train[] = {10, 8}, dev[] = {4, 3}, none[] = {0, 0};
    fbt_dataset dataset;
    dataset_make(&dataset, train, NULL, 2);
    expect_error(&dataset, (fbt_partition_options){.n_clients = 2, .shots = 9}, FBT_ERR_DATA, "data.shots");
    expect_error(&dataset, (fbt_partition_options){.n_clients = 2, .shots = 5, .dev_shots = 4}, FBT_ERR_DATA,
                 "class 1");
    expect_error(&dataset, (fbt_partition_options){.n_clients = 2, .dev_shots = 8}, FBT_ERR_DATA, "data.dev_shots");
    expect_error(&dataset, (fbt_partition_options){.n_clients = 5, .shots = 2}, FBT_ERR_DATA, "fed.clients");
    expect_error(&dataset, (fbt_partition_options){.n_clients = 0}, FBT_ERR_CONFIG, "fed.clients");
    expect_error(&dataset, (fbt_partition_options){.n_clients = FBT_RNG_N_CLIENTS + 1}, FBT_ERR_CONFIG, "fed.clients");
    expect_error(&dataset, (fbt_partition_options){.n_clients = 1, .shots = -1}, FBT_ERR_CONFIG, "data.shots");
    const double alphas[] = {0, -1, 1e-7, 1e7, NAN, INFINITY};
    for (int a = 0; a < 6; a++) {
        expect_error(
            &dataset,
            (fbt_partition_options){.n_clients = 1, .kind = FBT_PARTITION_DIRICHLET, .dirichlet_alpha = alphas[a]},
            FBT_ERR_CONFIG, "alpha");
    }
    fbt_dataset_clear(&dataset);

    dataset_make(&dataset, train, dev, 2);
    expect_error(&dataset, (fbt_partition_options){.n_clients = 2, .dev_shots = 4}, FBT_ERR_DATA, "dev split");
    fbt_dataset_clear(&dataset);
    dataset_make(&dataset, none, NULL, 2);
    expect_error(&dataset, (fbt_partition_options){.n_clients = 1}, FBT_ERR_DATA, "training samples");
    fbt_dataset_clear(&dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_keeps_its_promises),
        cmocka_unit_test(absent_classes_are_allowed),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(shots_and_dev_shots_do_not_meddle),
        cmocka_unit_test(choices_are_uniform),
        cmocka_unit_test(alpha_sets_the_skew),
        cmocka_unit_test(sizes_keep_the_odds_ratios),
        cmocka_unit_test(unequal_clients_are_iid),
        cmocka_unit_test(dirichlet_has_the_prior_as_mean),
        cmocka_unit_test(bad_input_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
