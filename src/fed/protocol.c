#include "fed/protocol.h"

#include "fed/local_search.h"
#include "fed/uplink.h"

fbt_protocol fbt_protocol_of(const fbt_settings *settings)
{
    static const fbt_client_work *const works[] = {
#define FBT_CLIENT_WORK_OBJECT(value, name, object, ...) [value] = &(object),
        FBT_CLIENT_WORK_LIST(FBT_CLIENT_WORK_OBJECT)
#undef FBT_CLIENT_WORK_OBJECT
    };
    static const fbt_aggregation *const aggregations[] = {
#define FBT_AGGREGATION_OBJECT(value, name, object) [value] = &(object),
        FBT_AGGREGATION_LIST(FBT_AGGREGATION_OBJECT)
#undef FBT_AGGREGATION_OBJECT
    };
    const fbt_client_work *clients = works[fbt_settings_client_work(settings)];
    return (fbt_protocol){clients, aggregations[fbt_settings_aggregation(settings)]->rules[clients->report]};
}

/* The protocol by its parts, for a message. */
static const char *aggregation_name(const fbt_settings *settings)
{
    return fbt_aggregation_names[fbt_settings_aggregation(settings)];
}

static fbt_status check_ranking(const fbt_settings *settings, const fbt_aggregation_rule *rule)
{
    fbt_status status = FBT_OK;
    if (rule->ranks && !fbt_optimiser_learns_foreign((fbt_optimiser_kind)settings->fed.optimiser)) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.optimiser: %s learns from its own candidates alone, and the server of fed.protocol %s "
                 "(fed.aggregation: %s) from the clients' means; use another of the two, such as fed.protocol "
                 "synchronous",
                 fbt_optimiser_names[settings->fed.optimiser], fbt_protocol_names[settings->fed.protocol],
                 aggregation_name(settings));
    }
    if (rule->ranks && fbt_settings_participants(settings) < 2) {
        FBT_FAIL(
            FBT_ERR_CONFIG,
            "fed.clients: protocol %s ranks the clients of a round (fed.aggregation: %s), but only one takes part; "
            "use at least 2, or an aggregation that does not rank them",
            fbt_protocol_names[settings->fed.protocol], aggregation_name(settings));
    }
    if (!rule->ranks && settings->fed.ranking != FBT_RANKING_LOSS) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.ranking: %s, but fed.aggregation %s ranks nobody; leave fed.ranking out, or use an aggregation "
                 "that ranks clients",
                 fbt_ranking_names[settings->fed.ranking], aggregation_name(settings));
    }
done:
    return status;
}

/* Paths of clients' searches are put together as sums of independent noise. */
static fbt_status check_paths(const fbt_settings *settings, const fbt_aggregation_rule *rule)
{
    fbt_status status = FBT_OK;
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    if (!settings->cma.keep_paths) {
        return FBT_OK;
    }
    if (fbt_optimiser_n_paths(&options) == 0) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "cma.keep_paths: searches of fed.optimiser %s have no paths that the next ones could begin with; set "
                 "it to false, or use fed.optimiser cma",
                 fbt_optimiser_names[settings->fed.optimiser]);
    }
    if (!rule->keeps_paths) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "cma.keep_paths: the server of fed.protocol %s (fed.aggregation: %s) adapts the step size by a search "
                 "of its own, which keeps its paths anyway; set it to false, or use fed.protocol fedavg-bbt",
                 fbt_protocol_names[settings->fed.protocol], aggregation_name(settings));
    }
    if (settings->fed.client_seeds == FBT_CLIENT_SEEDS_SHARED && fbt_settings_participants(settings) > 1) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "cma.keep_paths: paths of clients that draw the same noise (fed.client_seeds: shared) are not "
                 "independent, so that they cannot be put together; use fed.client_seeds distinct, or set it to false");
    }
done:
    return status;
}

/* Clients and server have optimisers of one kind, for populations of their own. */
static fbt_status check_optimisers(const fbt_settings *settings, const fbt_aggregation_rule *rule)
{
    fbt_status status = FBT_OK;
    fbt_optimiser_options options;
    fbt_local_search_options(settings, &options);
    FBT_TRY(fbt_optimiser_check(&options));
    rule->server_options(settings, fbt_settings_participants(settings), &options);
    FBT_TRY(fbt_optimiser_check(&options));
    if (rule->compares_pairs && !fbt_optimiser_type_get(options.kind)->asks_pairs) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "fed.aggregation: %s votes on pairs of opposite candidates, which fed.optimiser %s does not make; use "
                 "fed.optimiser spsa, openai-es or kseed",
                 aggregation_name(settings), fbt_optimiser_names[options.kind]);
    }
    if (fbt_optimiser_mean_follows_shape(options.kind) && settings->cma.norm_bound > 0) {
        FBT_FAIL(FBT_ERR_CONFIG,
                 "cma.norm_bound: the mean of fed.optimiser %s follows from other numbers, which a shorter mean would "
                 "not fit; set it to 0",
                 fbt_optimiser_names[options.kind]);
    }
done:
    return status;
}

/* Whether the messages can be transformed as the settings say. */
static fbt_status check_uplink(const fbt_settings *settings)
{
    const fbt_protocol protocol = fbt_protocol_of(settings);
    fbt_schema up, down;
    fbt_protocol_schemas(&protocol, settings, &up, &down);
    return fbt_uplink_check(settings, &up, protocol.rule->averages);
}

fbt_status fbt_protocol_check(const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    const fbt_aggregation_rule *rule = fbt_protocol_of(settings).rule;
    if (rule == NULL) {
        FBT_FAIL(FBT_ERR_CONFIG, "fed.aggregation: %s has no use for what clients of fed.client_work %s send",
                 aggregation_name(settings), fbt_client_work_names[fbt_settings_client_work(settings)]);
    }
    if (!rule->averages && fbt_settings_weighs_by_samples(settings)) {
        FBT_FAIL(
            FBT_ERR_CONFIG,
            "fed.weighting: samples, but fed.aggregation %s gives clients no weights; leave fed.weighting out, or use "
            "fed.aggregation average",
            aggregation_name(settings));
    }
    FBT_TRY(check_ranking(settings, rule));
    FBT_TRY(check_optimisers(settings, rule));
    FBT_TRY(check_paths(settings, rule));
    FBT_TRY(check_uplink(settings));
done:
    return status;
}

void fbt_protocol_schemas(const fbt_protocol *protocol, const fbt_settings *settings, fbt_schema *up, fbt_schema *down)
{
    *up = *down = (fbt_schema){0};
    protocol->rule->up(settings, up);
    fbt_uplink_add_fields(settings, up);
    if (protocol->clients->down != NULL) {
        protocol->clients->down(settings, down);
    }
    if (protocol->rule->down != NULL) {
        protocol->rule->down(settings, down);
    }
}

int64_t fbt_protocol_evaluations(const fbt_settings *settings)
{
    return fbt_protocol_of(settings).clients->n_evaluations(settings) * (settings->perturb.rate > 0 ? 2 : 1);
}

int64_t fbt_protocol_exchanges(const fbt_settings *settings)
{
    return fbt_protocol_of(settings).clients->n_exchanges(settings);
}

int64_t fbt_protocol_least_reports(const fbt_settings *settings)
{
    return fbt_protocol_of(settings).rule->ranks || settings->fed.secure_aggregation ? 2 : 1;
}

void fbt_protocol_bytes(const fbt_settings *settings, int64_t *up, int64_t *down)
{
    const fbt_protocol protocol = fbt_protocol_of(settings);
    const fbt_wire wire = (fbt_wire)settings->fed.wire;
    const int64_t n = fbt_protocol_exchanges(settings);
    fbt_schema schemas[2];
    fbt_protocol_schemas(&protocol, settings, &schemas[0], &schemas[1]);
    *up = n * fbt_uplink_bytes(settings, &schemas[0]);
    *down = n * fbt_schema_bytes(&schemas[1], wire);
}
