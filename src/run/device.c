#include "run/device.h"

#include "base/memory.h"

#include <inttypes.h>
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
    int64_t sums[] = {info.can_share && !first ? 0 : constants, plan->projection, plan->workspace * plan->n_streams,
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

/* A model being opened on one rank: here, or imported from the device's first rank. */
typedef struct opening {
    fbt_backend *b;
    const char *folder;
    fbt_model_options options;
    fbt_model *model;
    int64_t n_sharing; /* ranks that use the first one's matrices, so far as this rank goes */
    char note[LINE_BYTES];
} opening;

static fbt_status open_here(opening *o)
{
    return fbt_model_open(o->b, o->folder, &o->options, &o->model);
}

/* Turns a device's refusal into a note; other errors stay. */
static fbt_status note_refusal(opening *o, fbt_status status, const char *who)
{
    if (status != FBT_ERR_UNSUPPORTED) {
        return status;
    }
    snprintf(o->note, sizeof o->note, "%s: %s", who, fbt_error_take());
    return FBT_OK;
}

/* The first rank of a device. *share: the descriptor of what it has opened; n_bytes 0: nothing can be shared. */
static fbt_status open_and_export(opening *o, fbt_share *share)
{
    fbt_status status = FBT_OK;
    FBT_TRY(open_here(o));
    status = fbt_share_export(o->b, share);
    if (status != FBT_OK) {
        share->n_bytes = 0;
    }
    FBT_TRY(note_refusal(o, status, "every rank of a device loads weights of its own"));
done:
    return status;
}

/* Another rank of it: from the descriptor, or by itself. */
static fbt_status open_by_import(opening *o, const fbt_share *share, int rank)
{
    fbt_status status = FBT_OK;
    char who[64];
    snprintf(who, sizeof who, "rank %d loads weights of its own", rank);
    if (share->n_bytes > 0) {
        status = fbt_share_import(o->b, share);
        o->options.is_imported = status == FBT_OK;
        o->n_sharing = status == FBT_OK;
    }
    FBT_TRY(note_refusal(o, status, who));
    FBT_TRY(open_here(o));
done:
    return status;
}

/* Tells on rank 0 what the ranks have to say. Collective. */
static fbt_status tell_notes(const fbt_comm *comm, const char *note, const fbt_run_observer *observer)
{
    fbt_status status = FBT_OK;
    char *lines = NULL;
    FBT_TRY(fbt_comm_lines(comm, note, &lines));
    for (char *next, *at = lines; *at != '\0'; at = next) {
        next = strchr(at, '\n') + 1;
        next[-1] = '\0';
        if (*at != '\0' && fbt_comm_rank(comm) == 0) {
            fbt_observer_note(observer, FBT_RUN_EVENT_NOTE, "run", "%s", at);
        }
    }
done:
    free(lines);
    return status;
}

/* Collective over the device's ranks. */
static fbt_status open_shared(opening *o, const fbt_comm *ranks, int rank)
{
    fbt_status status = FBT_OK;
    fbt_share share = {.n_bytes = 0};
    const bool first = fbt_comm_rank(ranks) == 0;
    FBT_TRY(fbt_comm_agree(ranks, first ? open_and_export(o, &share) : FBT_OK));
    fbt_comm_broadcast(ranks, &share, sizeof share);
    FBT_TRY(first ? FBT_OK : open_by_import(o, &share, rank));
done:
    return status;
}

fbt_status fbt_device_open_model(const fbt_comm *comm, const fbt_comm *ranks, fbt_backend *b, const char *folder,
                                 const fbt_model_options *options, const fbt_run_observer *observer, fbt_model **model)
{
    fbt_status status = FBT_OK;
    fbt_backend_info info;
    opening o = {.b = b, .folder = folder, .options = *options};
    fbt_backend_get_info(b, &info);
    status = info.can_share && fbt_comm_size(ranks) > 1 ? open_shared(&o, ranks, fbt_comm_rank(comm)) : open_here(&o);
    *model = o.model;
    FBT_TRY(fbt_comm_agree(comm, status));
    fbt_comm_sum_int(ranks, &o.n_sharing, 1);
    if (fbt_comm_rank(ranks) == 0 && o.n_sharing > 0) {
        snprintf(o.note, sizeof o.note, "weights on %s are shared by %" PRId64 " ranks",
                 info.device_id[0] != '\0' ? info.device_id : info.device, o.n_sharing + 1);
    }
    FBT_TRY(tell_notes(comm, o.note, observer));
done:
    return status;
}

static void close_here(fbt_backend *b, fbt_model *model)
{
    fbt_model_close(model);
    fbt_backend_close(b);
}

void fbt_device_close_model(const fbt_comm *ranks, fbt_backend *b, fbt_model *model)
{
    const bool first = ranks == NULL || fbt_comm_rank(ranks) == 0;
    if (!first) {
        close_here(b, model);
    }
    if (ranks != NULL) {
        (void)fbt_comm_agree(ranks, FBT_OK); /* meets the others */
    }
    if (first) {
        close_here(b, model);
    }
}
