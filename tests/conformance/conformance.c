/* Conformance of a backend to kernels/backend.h: every operation against a plain reference in double, and the promise
 * that results do not depend on batch or threads. conformance --backend NAME --precision fp32|tf32|bf16|int8 [--seed N]
 * Inputs are fresh at every run; the seed is printed. Exit code 77: this machine lacks the backend, its device or the
 * precision. */
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int parse_arguments(int argc, char **argv)
{
    suite_seed = (unsigned long)time(NULL);
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--backend") == 0) {
            suite_backend = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--precision") == 0) {
            suite_precision = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
            suite_seed = strtoul(argv[i + 1], NULL, 10);
        } else {
            fprintf(stderr, "usage: %s --backend NAME --precision fp32|tf32|bf16|int8 [--seed N]\n", argv[0]);
            return 2;
        }
    }
    return 0;
}

/* 0 when the backend opens, 77 when it cannot be had here. */
static int find_backend(void)
{
    fbt_backend *b;
    fbt_backend_info info;
    const fbt_backend_options options = {
        .name = suite_backend, .precision = suite_precision, .n_threads = 1, .local_rank = 0, .n_local_ranks = 1};
    const fbt_status status = fbt_backend_open(&options, &b);
    if (status == FBT_ERR_CONFIG || status == FBT_ERR_BACKEND) {
        printf("skipped: %s\n", fbt_error_message());
        return 77;
    }
    if (status != FBT_OK) {
        fprintf(stderr, "%s\n", fbt_error_message());
        return 1;
    }
    fbt_backend_get_info(b, &info);
    printf("%s, %s: %s, %s, %s; --seed %lu\n", info.name, info.types->name, info.device, info.isa, info.libraries,
           suite_seed);
    fbt_backend_close(b);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--share-child") == 0) {
        return run_share_child(argc, argv);
    }
    int code = parse_arguments(argc, argv);
    if (code == 0) {
        code = find_backend();
    }
    if (code != 0) {
        return code;
    }
    const int n_failed = run_memory_tests() + run_linear_tests() + run_norm_tests() + run_embed_tests() +
                         run_attention_tests() + run_readout_tests() + run_log_prob_tests() + run_perturb_tests() +
                         run_invariance_tests() + run_stream_tests() + run_decoder_tests() + run_causal_tests() +
                         run_graph_tests() + run_share_tests();
    return n_failed == 0 ? 0 : 1;
}
