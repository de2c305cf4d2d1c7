#include "fed/uplink.h"

#include "fed/block.h"
#include "fed/transform.h"

#include <string.h>

/* In the order in which a message passes them. */
static const fbt_transform *const transforms[] = {&fbt_transform_privacy, &fbt_transform_quantise,
                                                  &fbt_transform_secure, &fbt_transform_sparse};
enum { N_TRANSFORMS = sizeof transforms / sizeof transforms[0] };

static const char residual_name[] = "residual";

static fbt_status refuse_others(const fbt_settings *settings, const char *key)
{
    return fbt_fail(FBT_ERR_CONFIG,
                    "%s: the server of fed.protocol %s (fed.aggregation: %s) looks at each client's message by itself; "
                    "use fedavg-bbt or synchronous, whose server takes averages, or leave it out",
                    key, fbt_protocol_names[settings->fed.protocol],
                    fbt_aggregation_names[fbt_settings_aggregation(settings)]);
}

fbt_status fbt_uplink_check(const fbt_settings *settings, const fbt_schema *up, bool averages)
{
    fbt_status status = FBT_OK;
    for (int t = 0; t < N_TRANSFORMS; t++) {
        if (transforms[t]->is_on(settings)) {
            const char *of_averages = transforms[t]->of_averages;
            FBT_TRY(of_averages == NULL || averages ? FBT_OK : refuse_others(settings, of_averages));
            FBT_TRY(transforms[t]->check(settings, up));
        }
    }
done:
    return status;
}

static bool feeds_errors_back(const fbt_settings *settings)
{
    return fbt_transform_quantise.is_on(settings) && settings->fed.error_feedback;
}

void fbt_uplink_add_fields(const fbt_settings *settings, fbt_schema *up)
{
    const fbt_field *update = fbt_schema_sent_update(up);
    const int64_t n = feeds_errors_back(settings) && update != NULL ? update->count : 0;
    fbt_schema_add(up, residual_name, n, FBT_FIELD_REAL, FBT_FIELD_RECORDED);
}

int64_t fbt_uplink_n_residuals(const fbt_settings *settings, const fbt_schema *up)
{
    return feeds_errors_back(settings)
               ? settings->fed.clients * fbt_settings_n_blocks(settings) * fbt_schema_sent_update(up)->count
               : 0;
}

const fbt_transform *fbt_uplink_encoder(const fbt_settings *settings, const fbt_field *field)
{
    for (int t = 0; t < N_TRANSFORMS; t++) {
        if (transforms[t]->is_on(settings) && transforms[t]->encodes != NULL && transforms[t]->encodes(field)) {
            return transforms[t];
        }
    }
    return NULL;
}

int64_t fbt_uplink_bytes(const fbt_settings *settings, const fbt_schema *up)
{
    int64_t n_bytes = 0;
    for (int f = 0; f < up->n_fields; f++) {
        const fbt_field *field = &up->fields[f];
        if (fbt_field_travels(field)) {
            const fbt_transform *encoder = fbt_uplink_encoder(settings, field);
            n_bytes += encoder != NULL ? encoder->n_bytes(settings, field)
                                       : fbt_field_bytes(field, (fbt_wire)settings->fed.wire);
        }
    }
    return n_bytes;
}

fbt_rng_stream fbt_passage_stream(const fbt_passage *p, fbt_rng_purpose purpose)
{
    return (fbt_rng_stream){.seed = (uint64_t)p->uplink->settings->run.seed,
                            .purpose = purpose,
                            .round = p->uplink->round,
                            .client = (uint32_t)fbt_passage_client(p),
                            .generation = p->uplink->exchange,
                            .candidate = (uint32_t)p->index};
}

int64_t fbt_passage_client(const fbt_passage *p)
{
    return p->uplink->participants[p->slot];
}

static fbt_status init_passage(fbt_passage *p, const fbt_messages *messages, const fbt_field *field, int64_t slot)
{
    const bool is_update = field->type == FBT_FIELD_UPDATE;
    *p = (fbt_passage){
        .uplink = messages->uplink,
        .field = field,
        .index = (int)(field - messages->schema.fields),
        .slot = slot,
        .reference = is_update ? fbt_messages_field(messages->uplink->down, field->name) : NULL,
        .residual = is_update && field->use == FBT_FIELD_SENT ? fbt_messages_at(messages, residual_name, slot) : NULL};
    if (is_update && p->reference == NULL) {
        return fbt_fail(FBT_ERR_ARG, "a message's %s is an update of nothing that the server sends", field->name);
    }
    return FBT_OK;
}

static fbt_status encode(const fbt_transform *encoder, fbt_messages *messages, const fbt_passage *p, double *values)
{
    fbt_status status = FBT_OK;
    int64_t n_bytes;
    if (encoder == NULL) {
        FBT_TRY(fbt_field_encode(p->field, messages->wire, values, messages->bytes, &n_bytes));
        fbt_field_decode(p->field, messages->wire, messages->bytes, values);
    } else {
        n_bytes = encoder->n_bytes(p->uplink->settings, p->field);
        FBT_TRY(encoder->encode(p, values, messages->bytes));
        encoder->decode(p, messages->bytes, values);
    }
    messages->n_bytes += n_bytes;
done:
    return status;
}

fbt_status fbt_uplink_send_field(fbt_messages *messages, const fbt_field *field, int64_t slot, double *values)
{
    fbt_status status = FBT_OK;
    const fbt_settings *settings = messages->uplink->settings;
    fbt_passage p;
    FBT_TRY(init_passage(&p, messages, field, slot));
    for (int t = 0; t < N_TRANSFORMS; t++) {
        if (transforms[t]->is_on(settings) && transforms[t]->change != NULL) {
            FBT_TRY(transforms[t]->change(&p, values));
        }
    }
    FBT_TRY(encode(fbt_uplink_encoder(settings, field), messages, &p, values));
done:
    return status;
}

double *fbt_uplink_residual(const fbt_uplink *uplink, const fbt_field *update, int64_t client)
{
    const fbt_settings *settings = uplink->settings;
    const int64_t block = client * fbt_settings_n_blocks(settings) + fbt_block_of_round(settings, uplink->round);
    return uplink->residuals + block * update->count;
}

/* Participants' residuals take the place of those that they came with. */
static void keep_residuals(const fbt_messages *messages)
{
    const fbt_uplink *uplink = messages->uplink;
    const fbt_field *update = uplink->residuals != NULL ? fbt_schema_sent_update(&messages->schema) : NULL;
    for (int64_t slot = 0; update != NULL && slot < uplink->n_participants; slot++) {
        double *kept = fbt_uplink_residual(uplink, update, uplink->participants[slot]);
        memcpy(kept, fbt_messages_at(messages, residual_name, slot), (size_t)update->count * sizeof *kept);
    }
}

void fbt_uplink_gather(fbt_messages *messages)
{
    keep_residuals(messages);
    for (int t = 0; t < N_TRANSFORMS; t++) {
        if (transforms[t]->is_on(messages->uplink->settings) && transforms[t]->gather != NULL) {
            transforms[t]->gather(messages);
        }
    }
}
