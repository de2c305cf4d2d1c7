#include "run/device.h"

#include "base/log.h"
#include "base/memory.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

/* Number of the first line that is the `index`-th one's equal. */
static int first_equal(const char *lines, int index)
{
    const char *mine = lines;
    for (int i = 0; i < index; i++) {
        mine = strchr(mine, '\n') + 1;
    }
    const size_t n_bytes = (size_t)(strchr(mine, '\n') - mine) + 1;
    int number = 0;
    for (const char *line = lines; line < mine && strncmp(line, mine, n_bytes) != 0; line = strchr(line, '\n') + 1) {
        number++;
    }
    return number;
}

fbt_status fbt_device_split(const fbt_comm *comm, fbt_backend *b, fbt_comm **ranks)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    fbt_comm *node = NULL;
    char *ids = NULL;
    *ranks = NULL;
    fbt_backend_get_info(b, &info);
    FBT_TRY(fbt_comm_split_node(comm, &node));
    FBT_TRY(fbt_comm_lines(node, info.device_id, &ids));
    FBT_TRY(fbt_comm_split(node, first_equal(ids, fbt_comm_rank(node)), ranks));
done:
    free(ids);
    fbt_comm_free(node);
    return status;
}

fbt_status fbt_device_list(const fbt_comm *comm, fbt_backend *b, char **text)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    char host[HOST_NAME_MAX + 1] = "", line[LINE_BYTES];
    fbt_backend_get_info(b, &info);
    gethostname(host, sizeof host - 1);
    const bool has_id = info.device_id[0] != '\0';
    snprintf(line, sizeof line, "rank %d: %s %s%s%s%s", fbt_comm_rank(comm), host, info.device, has_id ? " (" : "",
             info.device_id, has_id ? ")" : "");
    FBT_TRY(fbt_comm_lines(comm, line, text));
    (*text)[strlen(*text) - 1] = '\0';
done:
    return status;
}

fbt_status fbt_device_sum_memory(const fbt_comm *ranks, fbt_backend *b, const fbt_model_plan *plan,
                                 fbt_device_memory *memory)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    fbt_backend_memory device = {0, 0};
    const bool first = fbt_comm_rank(ranks) == 0;
    fbt_backend_get_info(b, &info);
    status = first ? fbt_backend_get_memory(b, &device) : FBT_OK;
    FBT_TRY(fbt_comm_agree(ranks, status));
    const bool tables_count = !plan->reads_tables_in_file || fbt_comm_size(ranks) > 1;
    const int64_t constants = plan->weights + (tables_count ? plan->tables : 0);
    int64_t sums[] = {info.can_share && !first ? 0 : constants, plan->projection, plan->workspace * plan->n_lanes,
                      device.free};
    fbt_comm_sum_int(ranks, sums, 4);
    *memory = (fbt_device_memory){.constants = sums[0], .projection = sums[1], .workspace = sums[2], .free = sums[3]};
done:
    return status;
}

static double mega(int64_t n_bytes)
{
    return 1e-6 * (double)n_bytes;
}

/* A round number below n_rows * fraction; 0: less than any batch needs. */
static int64_t fewer_rows(int64_t n_rows, double fraction)
{
    int64_t rows = (int64_t)((double)n_rows * fraction), unit = 1;
    while (rows / unit >= 100) {
        unit *= 10;
    }
    return rows / unit * unit;
}

fbt_status fbt_device_check_memory(const fbt_comm *ranks, fbt_backend *b, const fbt_model_plan *plan, int64_t n_rows)
{
    fbt_status status = FBT_OK;
    fbt_device_memory m;
    fbt_backend_info info;
    char what[LINE_BYTES];
    double most_rows = (double)n_rows;
    FBT_TRY(fbt_device_sum_memory(ranks, b, plan, &m));
    fbt_comm_max(ranks, &most_rows, 1);
    const int64_t fixed = m.constants + m.projection;
    if (fixed + m.workspace <= m.free) {
        goto done;
    }
    fbt_backend_get_info(b, &info);
    snprintf(what, sizeof what,
             "%d rank%s on one device (%s) would take %.0f MB of memory (weights %.0f, projection %.0f, batches of "
             "%lld rows %.0f), "
             "of which %.0f MB are free",
             fbt_comm_size(ranks), fbt_comm_size(ranks) > 1 ? "s" : "", info.device, mega(fixed + m.workspace),
             mega(m.constants), mega(m.projection), (long long)most_rows, mega(m.workspace), mega(m.free));
    const double fraction = (double)(m.free - fixed) / (double)m.workspace;
    const int64_t rows = fraction > 0 ? fewer_rows((int64_t)most_rows, fraction) : 0;
    if (rows < 1) {
        FBT_FAIL(FBT_ERR_MEMORY, "%s: the weights alone are too many; run fewer ranks on a device, or a smaller model",
                 what);
    }
    FBT_FAIL(FBT_ERR_MEMORY, "%s: lower backend.batch_tokens to about %lld", what, (long long)rows);
done:
    return status;
}

/* A model being opened, and what there is to say about it. */
typedef struct opening {
    fbt_backend *b;
    fbt_status (*open)(void *context, bool is_imported);
    void *context;
    fbt_share share;   /* n_bytes 0: nothing is shared */
    int64_t n_sharing; /* ranks that use the first one's copy, so far as this rank goes */
    char note[LINE_BYTES];
} opening;

/* Turns a device's refusal into a note; other errors stay. */
static fbt_status note_refusal(opening *o, fbt_status status, const char *who)
{
    if (status != FBT_ERR_UNSUPPORTED) {
        return status;
    }
    snprintf(o->note, sizeof o->note, "%s: %s", who, fbt_error_message());
    fbt_error_clear();
    return FBT_OK;
}

/* The first rank of a device: makes the constants and tells where they are. */
static fbt_status open_first(opening *o)
{
    fbt_status status = FBT_OK;
    FBT_TRY(o->open(o->context, false));
    status = fbt_share_export(o->b, &o->share);
    if (status != FBT_OK) {
        o->share.n_bytes = 0;
    }
    FBT_TRY(note_refusal(o, status, "every rank of a device loads weights of its own"));
done:
    return status;
}

static fbt_status open_other(opening *o, int rank)
{
    fbt_status status = FBT_OK;
    char who[64];
    snprintf(who, sizeof who, "rank %d loads weights of its own", rank);
    if (o->share.n_bytes > 0) {
        status = fbt_share_import(o->b, &o->share);
        o->n_sharing = status == FBT_OK;
    }
    FBT_TRY(note_refusal(o, status, who));
    FBT_TRY(o->open(o->context, o->n_sharing > 0));
done:
    return status;
}

/* Rank 0 logs what the ranks have to say. Collective. */
static fbt_status log_notes(const fbt_comm *comm, const char *note)
{
    fbt_status status = FBT_OK;
    char *lines = NULL;
    FBT_TRY(fbt_comm_lines(comm, note, &lines));
    for (char *next, *at = lines; *at != '\0'; at = next) {
        next = strchr(at, '\n') + 1;
        next[-1] = '\0';
        if (*at != '\0') {
            fbt_log_info("run", "%s", at);
        }
    }
done:
    free(lines);
    return status;
}

fbt_status fbt_device_open_shared(const fbt_comm *comm, const fbt_comm *ranks, fbt_backend *b,
                                  fbt_status (*open)(void *context, bool is_imported), void *context)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    opening o = {.b = b, .open = open, .context = context};
    const bool first = fbt_comm_rank(ranks) == 0;
    fbt_backend_get_info(b, &info);
    if (!info.can_share || fbt_comm_size(ranks) == 1) {
        status = open(context, false);
    } else {
        status = fbt_comm_agree(ranks, first ? open_first(&o) : FBT_OK);
        if (status == FBT_OK) {
            fbt_comm_broadcast(ranks, &o.share, sizeof o.share);
            status = first ? FBT_OK : open_other(&o, fbt_comm_rank(comm));
        }
    }
    FBT_TRY(fbt_comm_agree(comm, status));
    fbt_comm_sum_int(ranks, &o.n_sharing, 1);
    if (first && o.n_sharing > 0) {
        snprintf(o.note, sizeof o.note, "weights on %s are shared by %lld ranks",
                 info.device_id[0] != '\0' ? info.device_id : info.device, (long long)o.n_sharing + 1);
    }
    FBT_TRY(log_notes(comm, o.note));
done:
    return status;
}

void fbt_device_close_in_order(const fbt_comm *ranks, void (*close)(void *context), void *context)
{
    const bool first = ranks == NULL || fbt_comm_rank(ranks) == 0;
    if (!first) {
        close(context);
    }
    if (ranks != NULL) {
        (void)fbt_comm_agree(ranks, FBT_OK); /* meets the others */
    }
    if (first) {
        close(context);
    }
}
