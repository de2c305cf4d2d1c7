/* A method is composed of choices; fed.protocol is the name of a published composition, whose parts settings replace.
 */
#include "config/settings.h"

typedef struct composition {
    fbt_client_work_kind client_work;
    fbt_aggregation_kind aggregation;
    fbt_weighting weighting;
} composition;

static const composition compositions[] = {
#define COMPOSITION(value, name, work, aggregation, weighting)                                                         \
    [value] = {FBT_CLIENT_WORK_##work, FBT_AGGREGATION_##aggregation, FBT_WEIGHTING_##weighting},
    FBT_PROTOCOL_LIST(COMPOSITION)
#undef COMPOSITION
};

fbt_client_work_kind fbt_settings_client_work(const fbt_settings *settings)
{
    const fbt_client_work_kind given = (fbt_client_work_kind)settings->fed.client_work;
    return given == FBT_CLIENT_WORK_AUTO ? compositions[settings->fed.protocol].client_work : given;
}

fbt_aggregation_kind fbt_settings_aggregation(const fbt_settings *settings)
{
    const fbt_aggregation_kind given = (fbt_aggregation_kind)settings->fed.aggregation;
    return given == FBT_AGGREGATION_AUTO ? compositions[settings->fed.protocol].aggregation : given;
}

fbt_weighting fbt_settings_weighting(const fbt_settings *settings)
{
    const fbt_weighting given = (fbt_weighting)settings->fed.weighting;
    return given == FBT_WEIGHTING_AUTO ? compositions[settings->fed.protocol].weighting : given;
}

bool fbt_settings_weighs_by_samples(const fbt_settings *settings)
{
    return fbt_settings_weighting(settings) == FBT_WEIGHTING_SAMPLES;
}

int64_t fbt_settings_n_words(const fbt_settings *settings)
{
    return settings->prompt.projection == FBT_PROJECTION_WORDS ? settings->prompt.vocabulary : 0;
}
