#include "fed/protocol.h"

#include "base/smaller.h"

const fbt_protocol *fbt_protocol_get(fbt_protocol_kind kind)
{
    static const fbt_protocol *const protocols[] = {
#define FBT_PROTOCOL_OBJECT(value, name, object, ...) [value] = &(object),
        FBT_PROTOCOL_LIST(FBT_PROTOCOL_OBJECT)
#undef FBT_PROTOCOL_OBJECT
    };
    return protocols[kind];
}

fbt_status fbt_protocol_check(const fbt_settings *settings)
{
    const fbt_protocol *protocol = fbt_protocol_get((fbt_protocol_kind)settings->fed.protocol);
    return protocol->check_settings == NULL ? FBT_OK : protocol->check_settings(settings);
}

void fbt_protocol_schemas(const fbt_protocol *protocol, const fbt_settings *settings, fbt_schema *up, fbt_schema *down)
{
    *up = *down = (fbt_schema){0};
    protocol->up(settings, up);
    protocol->clients->down(settings, down);
}

int64_t fbt_protocol_evaluations(const fbt_settings *settings)
{
    const fbt_protocol *protocol = fbt_protocol_get((fbt_protocol_kind)settings->fed.protocol);
    return protocol->clients->n_evaluations(settings) * (settings->perturb.rate > 0 ? 2 : 1);
}

int64_t fbt_protocol_exchanges(const fbt_settings *settings)
{
    return fbt_protocol_get((fbt_protocol_kind)settings->fed.protocol)->clients->n_exchanges(settings);
}

int64_t fbt_protocol_least_reports(const fbt_settings *settings)
{
    return fbt_larger(fbt_protocol_get((fbt_protocol_kind)settings->fed.protocol)->least_reports, 1);
}

void fbt_protocol_bytes(const fbt_settings *settings, int64_t *up, int64_t *down)
{
    const fbt_protocol *protocol = fbt_protocol_get((fbt_protocol_kind)settings->fed.protocol);
    const fbt_wire wire = (fbt_wire)settings->fed.wire;
    const int64_t n = fbt_protocol_exchanges(settings);
    fbt_schema schemas[2];
    fbt_protocol_schemas(protocol, settings, &schemas[0], &schemas[1]);
    *up = n * fbt_schema_bytes(&schemas[0], wire);
    *down = n * fbt_schema_bytes(&schemas[1], wire);
}
