/* Conformance: one copy of the constants for two processes on one device. The other process is this program once more.
 */
#include "suite.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_ROWS = 5, WIDTH = 64, N_TOKENS = 20, N = N_ROWS * WIDTH, N_LARGE = 3, ANSWER_FILE = 3 };
static const int64_t large_out = 700; /* times 1,024: several pieces of memory */

/* Both sides make these in this order. Large matrices in front, so that what is used does not lie at the start. */
typedef struct shared_net {
    fbt_matrix *large[N_LARGE], *w;
    fbt_table *word, *position;
} shared_net;

/* is_owner: the contents; otherwise zeros, which must not matter. */
static shared_net make_net(suite *s, int is_owner)
{
    const double scale = is_owner ? 1 : 0;
    shared_net net;
    for (int i = 0; i < N_LARGE; i++) {
        double *weight = is_owner ? suite_random(s, large_out * 1024, scale, 0)
                                  : suite_block(s, large_out * 1024 * (int64_t)sizeof *weight);
        net.large[i] = suite_matrix(s, weight, NULL, large_out, 1024, suite_types(s));
    }
    net.word = suite_table(s, suite_random(s, N_TOKENS * WIDTH, scale, 0), N_TOKENS, WIDTH, FBT_F32);
    net.w = suite_matrix(s, suite_random(s, WIDTH * WIDTH, scale, 0), suite_random(s, WIDTH, scale, 0), WIDTH, WIDTH,
                         suite_types(s));
    net.position = suite_table(s, suite_random(s, N_TOKENS * WIDTH, scale, 0), N_TOKENS, WIDTH, FBT_F16);
    return net;
}

/* Bytes that depend on the tables, the matrix and its bias. */
static void compute(suite *s, const shared_net *net, char *bytes)
{
    const fbt_dtype dtype = suite_dtype(s);
    const int32_t length = N_ROWS;
    int32_t *tokens, *prompts;
    double ones[WIDTH], zeros[WIDTH] = {0};
    for (int i = 0; i < WIDTH; i++) {
        ones[i] = 1;
    }
    fbt_packed packed = suite_packed(s, &length, 1, N_TOKENS, 1, &tokens, &prompts);
    for (int i = 0; i < N_ROWS; i++) {
        tokens[i] = i * 3;
    }
    packed.tokens = suite_buffer_bytes(s, tokens, N_ROWS * (int64_t)sizeof *tokens);
    const fbt_embedding e = {
        .word = net->word, .position = net->position, .norm = suite_norm(s, ones, zeros, WIDTH, 1e-5f), .n_dim = WIDTH};
    fbt_buffer *x = suite_poisoned(s, N, dtype), *y = suite_poisoned(s, N, dtype);
    suite_ok(fbt_embed(s->b, x, &e, &packed));
    suite_ok(fbt_linear(s->b, y, x, net->w, FBT_ACT_NONE, N_ROWS));
    suite_read_bytes(s, bytes, y, N * (int64_t)fbt_dtype_bytes(dtype));
}

static int transfer(int file, void *bytes, size_t n_bytes, int is_write)
{
    for (size_t n = 0; n < n_bytes;) {
        const ssize_t moved =
            is_write ? write(file, (char *)bytes + n, n_bytes - n) : read(file, (char *)bytes + n, n_bytes - n);
        if (moved < 0 && errno == EINTR) {
            continue;
        }
        if (moved <= 0) {
            return 0;
        }
        n += (size_t)moved;
    }
    return 1;
}

/* Task of the other process with what it was sent: */
typedef enum child_task { CHILD_COMPUTES, CHILD_MAKES_OTHERS, CHILD_IS_REFUSED, N_CHILD_TASKS } child_task;

static void child_computes(void **state)
{
    suite *s = *state;
    char bytes[N * sizeof(float)] = {0};
    fbt_share share;
    assert_true(transfer(STDIN_FILENO, &share, sizeof share, 0));
    suite_ok(fbt_share_import(s->b, &share));
    const shared_net net = make_net(s, 0);
    /* Constants beyond the shared ones are this rank's own. */
    double one = 1, three = 3;
    fbt_matrix *own = suite_matrix(s, &three, &one, 1, 1, fbt_types_find("fp32"));
    fbt_buffer *x = suite_buffer(s, &one, 1, FBT_F32), *y = suite_poisoned(s, 1, FBT_F32);
    suite_ok(fbt_linear(s->b, y, x, own, FBT_ACT_NONE, 1));
    assert_true(suite_read(s, y, 1, FBT_F32)[0] == 4);
    compute(s, &net, bytes);
    assert_true(transfer(ANSWER_FILE, bytes, sizeof bytes, 1));
}

/* Broken by contents taken from the wrong place where a rank makes other matrices than the one that shared. */
static void child_makes_others(void **state)
{
    suite *s = *state;
    const float weight[4] = {0};
    fbt_status status = FBT_OK;
    fbt_matrix *matrix;
    fbt_share share;
    int n = 0;
    assert_true(transfer(STDIN_FILENO, &share, sizeof share, 0));
    suite_ok(fbt_share_import(s->b, &share));
    while (status == FBT_OK && n < 100) {
        status = fbt_matrix_new(
            s->b, &(fbt_matrix_spec){.weight = weight, .n_out = 2, .n_in = 2, .types = fbt_types_find("fp32")},
            &matrix);
        if (status == FBT_OK) {
            s->matrices[s->n_matrices++] = matrix;
        }
        n++;
    }
    assert_int_equal(status, FBT_ERR_ARG);
    assert_true(n <= N_LARGE + 3);
    fbt_error_clear();
}

/* An import that the device refuses leaves the backend as it was. */
static void child_is_refused(void **state)
{
    suite *s = *state;
    char bytes[N * sizeof(float)], again[N * sizeof(float)];
    fbt_share share;
    assert_true(transfer(STDIN_FILENO, &share, sizeof share, 0));
    suite_expect(FBT_ERR_UNSUPPORTED, fbt_share_import(s->b, &share));
    const shared_net net = make_net(s, 1);
    memset(bytes, 0, sizeof bytes);
    memset(again, 0, sizeof again);
    compute(s, &net, bytes);
    suite_ok(fbt_share_export(s->b, &share));
    compute(s, &net, again);
    assert_memory_equal(bytes, again, sizeof bytes);
}

int run_share_child(int argc, char **argv)
{
    const struct CMUnitTest tests[N_CHILD_TASKS] = {
        cmocka_unit_test_setup_teardown(child_computes, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(child_makes_others, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(child_is_refused, suite_setup, suite_teardown),
    };
    const int task = argc == 6 ? atoi(argv[2]) : N_CHILD_TASKS;
    if (task >= N_CHILD_TASKS) {
        return 2;
    }
    suite_backend = argv[3];
    suite_precision = argv[4];
    suite_seed = strtoul(argv[5], NULL, 10);
    return _cmocka_run_group_tests(argv[1], &tests[task], 1, NULL, NULL);
}

/* Starts the other process, which reads from its standard input, answers to ANSWER_FILE and says the rest as this one
 * does. */
static pid_t start_child(child_task task, int to_child[2], int from_child[2])
{
    char task_text[16], seed_text[32];
    snprintf(task_text, sizeof task_text, "%d", task);
    snprintf(seed_text, sizeof seed_text, "%lu", suite_seed);
    assert_true(pipe2(to_child, O_CLOEXEC) == 0 && pipe2(from_child, O_CLOEXEC) == 0);
    const pid_t child = fork();
    if (child == 0) {
        if (task == CHILD_IS_REFUSED) {
            setenv("FBT_EMULATION_NO_IPC", "1", 1); /* what an emulated device listens to */
        }
        dup2(to_child[0], STDIN_FILENO);
        dup2(from_child[1], ANSWER_FILE);
        execl("/proc/self/exe", "conformance", "--share-child", task_text, suite_backend, suite_precision, seed_text,
              (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    close(to_child[0]);
    close(from_child[1]);
    return child;
}

/* Runs the other process; its answer is in `answer` if not NULL. */
static void run_child(child_task task, fbt_share *share, char *answer, size_t n_bytes)
{
    int to_child[2], from_child[2], code = -1;
    const pid_t child = start_child(task, to_child, from_child);
    const int is_sent = transfer(to_child[1], share, sizeof *share, 1);
    const int is_answered = answer == NULL || transfer(from_child[0], answer, n_bytes, 0);
    close(to_child[1]);
    close(from_child[0]);
    assert_true(waitpid(child, &code, 0) == child);
    assert_true(is_sent && is_answered);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
}

/* Broken by contents that the importing process writes or does not see, handles that mix up pieces of memory, and by an
 * import after which the process computes on its own zeros. */
static void ranks_share_one_copy(void **state)
{
    suite *s = *state;
    char own[N * sizeof(float)] = {0}, others[N * sizeof(float)];
    fbt_backend_info info;
    fbt_share *share = suite_block(s, sizeof *share);
    fbt_backend_get_info(s->b, &info);
    if (!info.can_share) {
        suite_expect(FBT_ERR_UNSUPPORTED, fbt_share_export(s->b, share));
        suite_expect(FBT_ERR_UNSUPPORTED, fbt_share_import(s->b, share));
        return;
    }
    const shared_net net = make_net(s, 1);
    compute(s, &net, own);
    suite_ok(fbt_share_export(s->b, share));
    assert_true(share->n_bytes > 0 && share->n_bytes <= (int64_t)sizeof share->bytes);
    run_child(CHILD_COMPUTES, share, others, sizeof others);
    assert_memory_equal(own, others, sizeof own);
    run_child(CHILD_MAKES_OTHERS, share, NULL, 0);
    if (suite_is_emulated(s)) {
        run_child(CHILD_IS_REFUSED, share, NULL, 0);
    }
    suite_expect(FBT_ERR_ARG, fbt_share_import(s->b, share)); /* constants were made */
    compute(s, &net, others);
    assert_memory_equal(own, others, sizeof own);
}

/* A process cannot open what is its own, and nonsense is refused before the device sees it. */
static void strange_imports_are_refused(void **state)
{
    suite *s = *state;
    fbt_backend_info info;
    fbt_share *share = suite_block(s, sizeof *share);
    suite *other;
    fbt_backend_get_info(s->b, &info);
    if (!info.can_share) {
        return;
    }
    suite_expect(FBT_ERR_ARG, fbt_share_import(s->b, share));
    other = suite_begin(1);
    make_net(other, 1);
    suite_ok(fbt_share_export(other->b, share));
    suite_expect(FBT_ERR_UNSUPPORTED, fbt_share_import(s->b, share));
    share->n_bytes--;
    suite_expect(FBT_ERR_ARG, fbt_share_import(s->b, share));
    suite_end(other);
    char bytes[N * sizeof(float)];
    const shared_net net = make_net(s, 1);
    compute(s, &net, bytes);
}

int run_share_tests(void)
{
    const struct CMUnitTest share[] = {
        cmocka_unit_test_setup_teardown(ranks_share_one_copy, suite_setup, suite_teardown),
        cmocka_unit_test_setup_teardown(strange_imports_are_refused, suite_setup, suite_teardown),
    };
    return cmocka_run_group_tests(share, NULL, NULL);
}
