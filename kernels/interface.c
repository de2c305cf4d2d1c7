/* A backend's object as its users see it: memory, streams, graphs, events, constants. Arguments are checked here, and
 * an operation that the backend leaves out does what backend_ops.h says. The operations of a forward pass:
 * operations.c. */
#include "kernels/backend.h"

#include "base/timer.h"
#include "kernels/checks.h"
#include "kernels/profiler.h"

#include <inttypes.h>

fbt_status fbt_backend_lacks(const fbt_backend *b, const char *operation)
{
    return fbt_fail(FBT_ERR_UNSUPPORTED, "backend %s has no operation %s", b->info.name, operation);
}

fbt_status fbt_backend_check_no_graph(const fbt_backend *b, const char *operation)
{
    return b->graph == FBT_NO_GRAPH ? FBT_OK : fbt_fail(FBT_ERR_ARG, "%s is not possible within a graph", operation);
}

void fbt_backend_close(fbt_backend *b)
{
    if (b != NULL) {
        b->ops->close(b);
    }
}

void fbt_backend_get_info(const fbt_backend *b, fbt_backend_info *info)
{
    *info = b->info;
}

const fbt_types *fbt_backend_types(const fbt_backend *b)
{
    return b->info.types;
}

fbt_status fbt_backend_get_memory(fbt_backend *b, fbt_backend_memory *memory)
{
    return b->ops->memory != NULL ? b->ops->memory(b, memory) : fbt_backend_lacks(b, "memory");
}

/* ---- Streams. */

fbt_status fbt_stream_select(fbt_backend *b, int stream)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_backend_check_no_graph(b, "selecting a stream"));
    if (stream < 0 || stream >= b->info.n_streams) {
        FBT_FAIL(FBT_ERR_ARG, "there is no stream %d: backend %s has %d", stream, b->info.name, b->info.n_streams);
    }
    fbt_profiler_interrupt(b);
    if (b->ops->select_stream != NULL) {
        b->ops->select_stream(b, stream);
    }
done:
    return status;
}

fbt_status fbt_stream_sync(fbt_backend *b)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_backend_check_no_graph(b, "waiting"));
    FBT_TRY(b->ops->sync != NULL ? b->ops->sync(b) : FBT_OK);
    FBT_TRY(fbt_profiler_collect(b));
done:
    return status;
}

/* ---- Memory. */

fbt_status fbt_buffer_new(fbt_backend *b, int64_t n_bytes, fbt_buffer **buffer)
{
    fbt_status status = FBT_OK;
    *buffer = NULL;
    FBT_TRY(fbt_backend_check_no_graph(b, "making a buffer"));
    if (n_bytes < 0) {
        FBT_FAIL(FBT_ERR_ARG, "a buffer cannot have %" PRId64 " bytes", n_bytes);
    }
    FBT_TRY(b->ops->buffer_new(b, n_bytes, buffer));
done:
    return status;
}

void fbt_buffer_free(fbt_backend *b, fbt_buffer *buffer)
{
    if (buffer != NULL) {
        b->ops->buffer_free(b, buffer);
    }
}

fbt_status fbt_buffer_write(fbt_backend *b, fbt_buffer *buffer, const void *host, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_backend_check_no_graph(b, "writing to a buffer"));
    FBT_TRY(fbt_check_buffer(buffer, n_bytes, 1, "write"));
    if (n_bytes > 0) {
        fbt_profiler_interrupt(b);
        FBT_TRY(b->ops->write(b, buffer, host, n_bytes));
    }
done:
    return status;
}

fbt_status fbt_buffer_read(fbt_backend *b, void *host, const fbt_buffer *buffer, int64_t n_bytes)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_backend_check_no_graph(b, "reading a buffer"));
    FBT_TRY(fbt_check_buffer(buffer, n_bytes, 1, "read"));
    if (n_bytes > 0) {
        fbt_profiler_interrupt(b);
        FBT_TRY(b->ops->read(b, host, buffer, n_bytes));
    }
done:
    return status;
}

/* ---- Graphs. While a profile is taken, operations run one by one and the backend hears of no graph. */

fbt_status fbt_graph_begin(fbt_backend *b, const void *key, int64_t n_bytes, int *is_known)
{
    fbt_status status = FBT_OK;
    *is_known = 0;
    FBT_TRY(fbt_backend_check_no_graph(b, "beginning a graph"));
    if (key == NULL || n_bytes < 1 || n_bytes > FBT_GRAPH_KEY_BYTES) {
        FBT_FAIL(FBT_ERR_ARG, "a graph cannot have a key of %" PRId64 " bytes", n_bytes);
    }
    if (b->profiler.profile != NULL || b->ops->graph_begin == NULL) {
        b->graph = FBT_UNRECORDED_GRAPH;
    } else {
        FBT_TRY(b->ops->graph_begin(b, key, n_bytes, is_known));
        b->graph = *is_known ? FBT_NO_GRAPH : FBT_BACKEND_GRAPH;
    }
done:
    return status;
}

fbt_status fbt_graph_end(fbt_backend *b, fbt_status status, int *is_queued)
{
    const fbt_graph_state state = b->graph;
    int was_queued = 1;
    b->graph = FBT_NO_GRAPH;
    if (state == FBT_NO_GRAPH) {
        return status != FBT_OK ? status : fbt_fail(FBT_ERR_ARG, "a graph ends that was not begun");
    }
    if (state == FBT_BACKEND_GRAPH) {
        status = b->ops->graph_end(b, status, &was_queued);
    }
    if (is_queued != NULL) {
        *is_queued = was_queued;
    } else if (status == FBT_OK && !was_queued) {
        status = fbt_fail(FBT_ERR_BACKEND, "the device did not take a recorded graph");
    }
    return status;
}

/* ---- Events. A backend without them is done with what was queued when a call returns: the host's clock tells. */

static fbt_status check_event(int64_t index)
{
    return index >= 0 && index < FBT_MAX_EVENTS
               ? FBT_OK
               : fbt_fail(FBT_ERR_ARG, "there is no event %" PRId64 ", but 0 to %d", index, FBT_MAX_EVENTS - 1);
}

fbt_status fbt_event_record(fbt_backend *b, int64_t index)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_event(index));
    FBT_TRY(b->graph == FBT_BACKEND_GRAPH ? fbt_backend_check_no_graph(b, "recording an event") : FBT_OK);
    if (b->ops->event_record != NULL) {
        FBT_TRY(b->ops->event_record(b, index));
    } else {
        b->event_s[index] = fbt_timer_now_s();
    }
done:
    return status;
}

fbt_status fbt_event_seconds(fbt_backend *b, int64_t index, double *seconds)
{
    fbt_status status = FBT_OK;
    FBT_TRY(check_event(index));
    if (b->ops->event_seconds != NULL) {
        FBT_TRY(b->ops->event_seconds(b, index, seconds));
        goto done;
    }
    if (b->event_s[0] == 0 || b->event_s[index] == 0) {
        FBT_FAIL(FBT_ERR_ARG, "event %" PRId64 " was never recorded", b->event_s[0] == 0 ? 0 : index);
    }
    *seconds = b->event_s[index] - b->event_s[0];
done:
    return status;
}

/* ---- Constants. */

fbt_status fbt_share_export(fbt_backend *b, fbt_share *share)
{
    return b->ops->share_export != NULL ? b->ops->share_export(b, share) : fbt_backend_lacks(b, "share_export");
}

fbt_status fbt_share_import(fbt_backend *b, const fbt_share *share)
{
    return b->ops->share_import != NULL ? b->ops->share_import(b, share) : fbt_backend_lacks(b, "share_import");
}

fbt_status fbt_matrix_new(fbt_backend *b, const fbt_matrix_spec *spec, fbt_matrix **matrix)
{
    fbt_status status = FBT_OK;
    fbt_matrix_spec whole = *spec;
    *matrix = NULL;
    whole.types = spec->types != NULL ? spec->types : b->info.types;
    FBT_TRY(fbt_backend_check_no_graph(b, "making a matrix"));
    FBT_TRY(fbt_check_matrix(b, &whole));
    FBT_TRY(b->ops->matrix_new(b, &whole, matrix));
    (*matrix)->operation = spec->operation;
done:
    return status;
}

void fbt_matrix_free(fbt_backend *b, fbt_matrix *matrix)
{
    if (matrix != NULL) {
        b->ops->matrix_free(b, matrix);
    }
}

fbt_status fbt_table_new(fbt_backend *b, const void *rows, fbt_dtype dtype, int64_t n_rows, int64_t n_dim,
                         fbt_table **table)
{
    fbt_status status = FBT_OK;
    *table = NULL;
    FBT_TRY(fbt_backend_check_no_graph(b, "making a table"));
    FBT_TRY(fbt_check_table(rows, dtype, n_rows, n_dim));
    FBT_TRY(b->ops->table_new(b, rows, dtype, n_rows, n_dim, table));
done:
    return status;
}

void fbt_table_free(fbt_backend *b, fbt_table *table)
{
    if (table != NULL) {
        b->ops->table_free(b, table);
    }
}

/* ---- Peak rates of a device. */

fbt_status fbt_library_product(fbt_backend *b, const fbt_types *types, const int64_t size[3], int n_repeats,
                               double *best_s)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_backend_check_no_graph(b, "timing a product"));
    if (size[0] < 1 || size[1] < 1 || size[2] < 1 || n_repeats < 1) {
        FBT_FAIL(FBT_ERR_ARG,
                 "a product [%" PRId64 ", %" PRId64 "] x [%" PRId64 ", %" PRId64 "] cannot be timed %d times", size[0],
                 size[2], size[2], size[1], n_repeats);
    }
    FBT_TRY(b->ops->library_product != NULL ? b->ops->library_product(b, types, size, n_repeats, best_s)
                                            : fbt_backend_lacks(b, "library_product"));
done:
    return status;
}

fbt_status fbt_library_copy(fbt_backend *b, int64_t n_bytes, int n_repeats, double *best_s)
{
    fbt_status status = FBT_OK;
    FBT_TRY(fbt_backend_check_no_graph(b, "timing a copy"));
    if (n_bytes < 1 || n_repeats < 1) {
        FBT_FAIL(FBT_ERR_ARG, "a copy of %" PRId64 " bytes cannot be timed %d times", n_bytes, n_repeats);
    }
    FBT_TRY(b->ops->library_copy != NULL ? b->ops->library_copy(b, n_bytes, n_repeats, best_s)
                                         : fbt_backend_lacks(b, "library_copy"));
done:
    return status;
}

int fbt_backend_describe_product(fbt_backend *b, int i, char *text, size_t n_bytes)
{
    return b->ops->describe_product != NULL && b->ops->describe_product(b, i, text, n_bytes);
}
