/* Federation: which rank works for which client. */
#include "fed/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_CLIENTS = 12, MAX_RANKS = 16 };

/* Different kinds of work: equal, linear, none, all but one none, huge beside tiny, pseudo-random. */
enum { N_KINDS = 6 };
static void work_make(int kind, int n, int64_t *work)
{
    for (int k = 0; k < n; k++) {
        const int64_t kinds[N_KINDS] = {100, k + 1, 0, k == n / 2 ? 7 : 0, k == 0 ? INT64_MAX / 2 : k, k * 7919 % 101};
        work[k] = kinds[kind];
    }
}

/* Checks what callers rely on, whatever the sizes. */
static void check_invariants(const fbt_placement *p, int n_clients, int n_ranks)
{
    int n_seen[MAX_CLIENTS] = {0};
    assert_int_equal(p->n_clients, n_clients);
    assert_int_equal(p->n_ranks, n_ranks);
    assert_int_equal(p->client_offsets[0], 0);
    for (int r = 0; r < n_ranks; r++) {
        assert_true(p->client_offsets[r + 1] > p->client_offsets[r]);
        for (int64_t i = p->client_offsets[r]; i < p->client_offsets[r + 1]; i++) {
            int64_t k = p->client_index[i];
            assert_in_range(k, 0, n_clients - 1);
            assert_true(i == p->client_offsets[r] || k > p->client_index[i - 1]);
            assert_int_equal(p->owner[k], r - p->member[r]);
            assert_int_equal(p->member[r], n_seen[k]);
            n_seen[k]++;
        }
        if (r > 0 && p->member[r] > 0) {
            assert_int_equal(p->group[r], p->group[r - 1]);
        } else if (r > 0) {
            assert_true(p->group[r] > p->group[r - 1]);
            assert_int_equal(p->member[r - 1], p->group_size[r - 1] - 1);
        }
        assert_in_range(p->member[r], 0, p->group_size[r] - 1);
    }
    for (int k = 0; k < n_clients; k++) {
        assert_int_equal(n_seen[k], p->group_size[p->owner[k]]);
        assert_true(n_ranks > n_clients || n_seen[k] == 1);
    }
}

static void all_sizes_are_placed(void **state)
{
    (void)state;
    for (int n_ranks = 1; n_ranks <= MAX_RANKS; n_ranks++) {
        for (int n_clients = 1; n_clients <= MAX_CLIENTS; n_clients++) {
            for (int kind = 0; kind < N_KINDS; kind++) {
                int64_t work[MAX_CLIENTS];
                fbt_placement p = {0};
                work_make(kind, n_clients, work);
                assert_int_equal(fbt_placement_make(n_clients, work, n_ranks, &p), FBT_OK);
                check_invariants(&p, n_clients, n_ranks);
                fbt_placement_clear(&p);
            }
        }
    }
}

static int64_t load_of(const fbt_placement *p, const int64_t *work, int rank)
{
    int64_t load = 0;
    for (int64_t i = p->client_offsets[rank]; i < p->client_offsets[rank + 1]; i++) {
        load += work[p->client_index[i]];
    }
    return load;
}

/* Dealing by count would give {9, 8, 1} and {1, 1, 1} here; by work, 9 + 1 + 1 = 11 against 8 + 1 + 1 = 10. */
static void clients_are_dealt_by_work(void **state)
{
    (void)state;
    const int64_t work[] = {9, 8, 1, 1, 1, 1};
    const int64_t first[] = {0, 3, 5};
    fbt_placement p = {0};
    assert_int_equal(fbt_placement_make(6, work, 2, &p), FBT_OK);
    assert_int_equal(load_of(&p, work, 0), 11);
    assert_int_equal(load_of(&p, work, 1), 10);
    assert_int_equal(p.client_offsets[1], 3);
    assert_memory_equal(p.client_index, first, sizeof first);
    fbt_placement_clear(&p);
}

/* The rule as it is written down: the largest client first, to the first rank of those with the least work, then the
 * fewest clients. A heap finds the same rank; broken by one that is not mended. */
static void deal_plainly(int n, const int64_t *work, int n_ranks, int *owner)
{
    int64_t load[MAX_RANKS] = {0}, count[MAX_RANKS] = {0};
    for (int k = 0; k < n; k++) {
        owner[k] = -1;
    }
    for (int dealt = 0; dealt < n; dealt++) {
        int next = -1, best = 0;
        for (int k = 0; k < n; k++) {
            next = owner[k] < 0 && (next < 0 || work[k] > work[next]) ? k : next;
        }
        for (int r = 1; r < n_ranks; r++) {
            const bool is_idler = load[r] == load[best] && count[r] < count[best];
            best = load[r] < load[best] || is_idler ? r : best;
        }
        owner[next] = best;
        load[best] += work[next];
        count[best]++;
    }
}

static void the_heap_deals_as_the_rule_says(void **state)
{
    (void)state;
    enum { N = 60 };
    for (int seed = 1; seed <= 100; seed++) {
        int64_t work[N];
        int owner[N];
        fbt_placement p = {0};
        const int n_ranks = 1 + seed % MAX_RANKS, most = seed % 3 == 0 ? 4 : 1009; /* with many ties, or few */
        for (int k = 0; k < N; k++) {
            work[k] = (int64_t)seed * (k + 3) * 7919 % most;
        }
        deal_plainly(N, work, n_ranks, owner);
        assert_int_equal(fbt_placement_make(N, work, n_ranks, &p), FBT_OK);
        assert_memory_equal(p.owner, owner, sizeof owner);
        fbt_placement_clear(&p);
    }
}

/* Graham's bound for this rule: at most 4/3 of the best, which is at least the mean and the largest client. */
static void no_rank_has_too_much(void **state)
{
    (void)state;
    for (int seed = 1; seed <= 200; seed++) {
        int64_t work[MAX_CLIENTS], total = 0, largest = 0;
        fbt_placement p = {0};
        const int n_ranks = 1 + seed % 7;
        for (int k = 0; k < MAX_CLIENTS; k++) {
            work[k] = (int64_t)seed * (k + 3) * 7919 % 1009;
            total += work[k];
            largest = work[k] > largest ? work[k] : largest;
        }
        assert_int_equal(fbt_placement_make(MAX_CLIENTS, work, n_ranks, &p), FBT_OK);
        for (int r = 0; r < n_ranks; r++) {
            assert_true(load_of(&p, work, r) <= total / n_ranks + largest);
        }
        fbt_placement_clear(&p);
    }
}

/* Groups follow the work: 60, 30 and 10 of 100 on ten ranks are 6, 3 and 1; clients without work keep one rank. */
static void groups_follow_the_work(void **state)
{
    (void)state;
    const int64_t work[] = {10, 60, 30};
    const int sizes[] = {1, 6, 6, 6, 6, 6, 6, 3, 3, 3};
    const int owners[] = {0, 1, 7};
    fbt_placement p = {0};
    assert_int_equal(fbt_placement_make(3, work, 10, &p), FBT_OK);
    assert_memory_equal(p.group_size, sizes, sizeof sizes);
    assert_memory_equal(p.owner, owners, sizeof owners);
    fbt_placement_clear(&p);

    const int64_t idle[] = {0, 5, 0};
    assert_int_equal(fbt_placement_make(3, idle, 9, &p), FBT_OK);
    assert_int_equal(p.group_size[p.owner[0]], 1);
    assert_int_equal(p.group_size[p.owner[1]], 7);
    fbt_placement_clear(&p);

    const int64_t none[] = {0, 0, 0};
    assert_int_equal(fbt_placement_make(3, none, 8, &p), FBT_OK);
    assert_int_equal(p.group_size[p.owner[0]], 3);
    assert_int_equal(p.group_size[p.owner[2]], 2);
    fbt_placement_clear(&p);
}

/* A round in which nobody reports. */
static void nobody_is_placed(void **state)
{
    (void)state;
    for (int n_ranks = 1; n_ranks < 4; n_ranks++) {
        fbt_placement p = {0};
        assert_int_equal(fbt_placement_make(0, NULL, n_ranks, &p), FBT_OK);
        for (int r = 0; r < n_ranks; r++) {
            assert_int_equal(p.client_offsets[r + 1], 0);
            assert_true(p.group_size[r] <= 1);
        }
        fbt_placement_clear(&p);
    }
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    const int64_t work[] = {1, -1}, huge[] = {INT64_MAX, 1};
    fbt_placement p = {0};
    assert_int_equal(fbt_placement_make(-1, work, 1, &p), FBT_ERR_ARG);
    assert_int_equal(fbt_placement_make(1, work, 0, &p), FBT_ERR_ARG);
    assert_int_equal(fbt_placement_make(2, work, 1, &p), FBT_ERR_ARG);
    assert_int_equal(fbt_placement_make(2, huge, 1, &p), FBT_ERR_ARG);
    assert_null(p.owner);
    fbt_error_clear();
}

/* Every item once and in order, and no part over the mean by more than an item. */
static void check_parts(int n, const int64_t *weight, int size)
{
    int64_t end = 0, total = 0, largest = 0;
    for (int i = 0; i < n; i++) {
        int64_t w = weight == NULL ? 1 : weight[i];
        total += w;
        largest = w > largest ? w : largest;
    }
    for (int part = 0; part < size; part++) {
        int64_t first = -1, last = -1, sum = 0;
        fbt_placement_share(n, weight, size, part, &first, &last);
        assert_int_equal(first, end);
        assert_true(last >= first && last <= n);
        for (int64_t i = first; i < last; i++) {
            sum += weight == NULL ? 1 : weight[i];
        }
        assert_true((sum - largest) * size <= total);
        end = last;
    }
    assert_int_equal(end, n);
}

static void items_are_shared_out(void **state)
{
    (void)state;
    int64_t weight[40];
    for (int size = 1; size <= 9; size++) {
        for (int n = 0; n <= 40; n++) {
            for (int i = 0; i < n; i++) {
                weight[i] = i * 7919 % 13 * (i % 4 != 0) + (i == 5) * 1000; /* with zeros, also first */
            }
            check_parts(n, NULL, size);
            check_parts(n, weight, size);
            memset(weight, 0, sizeof weight);
            check_parts(n, weight, size);
        }
    }
}

/* Equal items (also equally weightless ones) make parts that differ by at most one. */
static void equal_items_make_equal_parts(void **state)
{
    (void)state;
    const int64_t nothing[50] = {0};
    for (int size = 1; size <= 12; size++) {
        for (int n = 0; n <= 50; n++) {
            for (int part = 0; part < size; part++) {
                int64_t first, last, f, l;
                fbt_placement_share(n, NULL, size, part, &first, &last);
                assert_in_range(last - first, n / size, (n + size - 1) / size);
                fbt_placement_share(n, nothing, size, part, &f, &l);
                assert_true(f == first && l == last);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes_are_placed),
        cmocka_unit_test(clients_are_dealt_by_work),
        cmocka_unit_test(the_heap_deals_as_the_rule_says),
        cmocka_unit_test(no_rank_has_too_much),
        cmocka_unit_test(groups_follow_the_work),
        cmocka_unit_test(nobody_is_placed),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(items_are_shared_out),
        cmocka_unit_test(equal_items_make_equal_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
