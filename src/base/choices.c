#include "base/choices.h"

#include <stdio.h>
#include <string.h>

const char *const fbt_deep_names[] = {FBT_DEEP_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_prompt_mode_names[] = {FBT_PROMPT_MODE_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_projection_names[] = {FBT_PROJECTION_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_client_work_names[] = {"auto", FBT_CLIENT_WORK_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_aggregation_names[] = {"auto", FBT_AGGREGATION_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_weighting_names[] = {"auto", FBT_WEIGHTING_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_ranking_names[] = {FBT_RANKING_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_protocol_names[] = {FBT_PROTOCOL_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_optimiser_names[] = {FBT_OPTIMISER_LIST(FBT_CHOICE_NAME) NULL};

#define READS(value, name, object, reads, rate) [value] = reads,
#define RATE(value, name, object, reads, rate) [value] = rate,
const int fbt_optimiser_reads[] = {FBT_OPTIMISER_LIST(READS)};
const double fbt_optimiser_rates[] = {FBT_OPTIMISER_LIST(RATE)};
#undef READS
#undef RATE

const char *const fbt_wire_names[] = {FBT_WIRE_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_partition_names[] = {FBT_PARTITION_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_sizes_names[] = {FBT_SIZES_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_client_seeds_names[] = {FBT_CLIENT_SEEDS_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_cma_covariance_names[] = {FBT_CMA_COVARIANCE_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_cma_decomposition_names[] = {FBT_CMA_DECOMPOSITION_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_cma_constants_names[] = {FBT_CMA_CONSTANTS_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_perturb_scope_names[] = {FBT_PERTURB_SCOPE_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_fitness_names[] = {FBT_FITNESS_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_loss_names[] = {FBT_LOSS_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_precision_names[] = {FBT_PRECISION_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_dropout_names[] = {FBT_DROPOUT_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_precision_guard_names[] = {FBT_PRECISION_GUARD_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_backend_names[] = {FBT_BACKEND_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_readout_names[] = {FBT_READOUT_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_label_scoring_names[] = {FBT_LABEL_SCORING_LIST(FBT_CHOICE_NAME) NULL};
const char *const fbt_metric_names[] = {FBT_METRIC_LIST(FBT_CHOICE_NAME) NULL};

int fbt_choice_find(const char *const *names, const char *text)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

const char *fbt_choice_name(const char *const *names, int value)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (i == value) {
            return names[i];
        }
    }
    return NULL;
}

void fbt_choice_list(const char *const *names, char *text, size_t n_bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; names[i] != NULL && used < n_bytes; i++) {
        const char *comma = i == 0 ? "" : names[i + 1] == NULL ? " or " : ", ";
        used += (size_t)snprintf(text + used, n_bytes - used, "%s%s", comma, names[i]);
    }
}
