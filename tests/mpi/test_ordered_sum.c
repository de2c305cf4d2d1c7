/* Sums in the participants' order: the same bits on any number of ranks. */
#include "fed/ordered_sum.h"

#include "base/rng.h"
#include "mpi/mpi_test.h"

#include <gsl/gsl_randist.h>
#include <math.h>
#include <string.h>

enum { MAX_SLOTS = 23, MAX_COUNT = 50 };

/* A rank's view: the slot at which its rows fail, and how many it has made. */
typedef struct maker {
    int64_t count, failing_slot, n_made;
    const int *owner;
} maker;

/* Numbers of very different sizes and both signs, zeros of both signs: sums in another order have other bits. */
static void make_row(int64_t slot, int64_t count, double *row)
{
    gsl_rng *rng = NULL;
    CHECK(fbt_rng_new(&rng) == FBT_OK, "no generator");
    fbt_rng_seek(rng, &(fbt_rng_stream){.seed = 3, .purpose = FBT_RNG_SYNTHETIC, .client = (uint32_t)slot});
    for (int64_t i = 0; i < count; i++) {
        const double scale = pow(10, 12 * gsl_rng_uniform(rng) - 6);
        row[i] = i % 7 == 0 ? -0.0 : scale * (gsl_rng_uniform(rng) - 0.5);
    }
    gsl_rng_free(rng);
}

static fbt_status make(void *user, int64_t slot, double *row)
{
    maker *m = user;
    CHECK(m->owner[slot] == rank, "slot %d is of rank %d", (int)slot, m->owner[slot]);
    m->n_made++;
    if (slot == m->failing_slot) {
        return fbt_fail(FBT_ERR_NUMERIC, "slot %d fails", (int)slot);
    }
    make_row(slot, m->count, row);
    return FBT_OK;
}

/* The definition: one row after the other, added to 0. */
static void add_plainly(int64_t n_slots, int64_t count, double *sum)
{
    double row[MAX_COUNT];
    memset(sum, 0, (size_t)count * sizeof *sum);
    for (int64_t slot = 0; slot < n_slots; slot++) {
        make_row(slot, count, row);
        for (int64_t i = 0; i < count; i++) {
            sum[i] += row[i];
        }
    }
}

/* Owners: in turn, all one rank, in runs, and scattered. */
static int owner_of(int kind, int slot)
{
    const int kinds[] = {slot % size, size - 1, slot * size / MAX_SLOTS, slot * 7919 % 101 % size};
    return kinds[kind];
}

static void test_sum(const fbt_comm *world)
{
    double sum[MAX_COUNT], expected[MAX_COUNT];
    int owner[MAX_SLOTS];
    for (int kind = 0; kind < 4; kind++) {
        for (int slot = 0; slot < MAX_SLOTS; slot++) {
            owner[slot] = owner_of(kind, slot);
        }
        for (int64_t n_slots = 0; n_slots <= MAX_SLOTS; n_slots += n_slots < 3 ? 1 : 10) {
            for (int64_t count = 1; count <= MAX_COUNT; count += count < 5 ? 1 : 15) {
                maker m = {.count = count, .failing_slot = -1, .owner = owner};
                memset(sum, 0xff, sizeof sum);
                add_plainly(n_slots, count, expected);
                CHECK(fbt_ordered_sum(world, n_slots, owner, count, make, &m, sum) == FBT_OK, "%s",
                      fbt_error_message());
                CHECK(memcmp(sum, expected, (size_t)count * sizeof *sum) == 0, "owners %d, %d slots of %d", kind,
                      (int)n_slots, (int)count);
            }
        }
    }
}

/* The failing rank makes no more rows, the others go on, and all are told at the end. */
static void test_failure(const fbt_comm *world)
{
    double sum[MAX_COUNT];
    int owner[MAX_SLOTS];
    for (int slot = 0; slot < MAX_SLOTS; slot++) {
        owner[slot] = slot % size;
    }
    maker m = {.count = MAX_COUNT, .failing_slot = 5, .owner = owner};
    const fbt_status status = fbt_ordered_sum(world, MAX_SLOTS, owner, MAX_COUNT, make, &m, sum);
    CHECK(status == (owner[5] == rank ? FBT_ERR_NUMERIC : FBT_ERR_PEER), "status %d", (int)status);
    fbt_error_clear();
    int64_t n_own = 0;
    for (int slot = 0; slot < (owner[5] == rank ? 6 : MAX_SLOTS); slot++) {
        n_own += owner[slot] == rank;
    }
    CHECK(m.n_made == n_own, "%d rows made, not %d", (int)m.n_made, (int)n_own);
}

static void check_all(fbt_comm *world, fbt_comm *self)
{
    (void)self;
    test_sum(world);
    test_failure(world);
}

int main(int argc, char **argv)
{
    return run_checks(argc, argv, check_all);
}
