/* Report of `fedbpt bench`. */
#include "cli/bench_report.h"

#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* An operation beside what the machine would allow (Williams, Waterman, Patterson 2009: the roofline). */
typedef struct rates {
    double seconds, flops, bytes;
    double flop_rate, byte_rate; /* per second */
    double of_peak, of_copy;
    bool bound_by_peak; /* else by the copy */
    double ideal_s;     /* at the rate of what bounds it */
    double attained;    /* ideal_s of seconds */
} rates;

static rates rates_of(const fbt_timing_result *m, double seconds, double flops, double bytes)
{
    rates r = {.seconds = seconds, .flops = flops, .bytes = bytes};
    r.bound_by_peak = flops / m->peak > bytes / m->copy_rate;
    r.ideal_s = fmax(flops / m->peak, bytes / m->copy_rate);
    if (seconds > 0) {
        r.flop_rate = flops / seconds;
        r.byte_rate = bytes / seconds;
        r.of_peak = r.flop_rate / m->peak;
        r.of_copy = r.byte_rate / m->copy_rate;
        r.attained = r.ideal_s / seconds;
    }
    return r;
}

static rates rates_of_operation(const fbt_timing_result *m, int i)
{
    return rates_of(m, m->profile.seconds[i], m->profile.flops[i], m->profile.bytes[i]);
}

void fbt_bench_warn(const fbt_timing_result *m)
{
    const double enough = 0.8;
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        const rates r = rates_of_operation(m, i);
        if (i != FBT_OP_ATTENTION && r.seconds > 0 && r.bound_by_peak && r.of_peak < enough) {
            fbt_log_info("bench", "warning: %s: the products of %s reach %.1f%% of the peak, less than %.0f%%",
                         m->info.types->name, fbt_operation_name((fbt_operation)i), 100 * r.of_peak, 100 * enough);
        }
    }
}

static void print_operation(const char *name, const rates *r, double total_s)
{
    printf("%-10s %9.5f %5.1f%% %9.1f %8.1f %6.1f%% %6.1f%%  %-6s %6.1f%%\n", name, r->seconds,
           100 * r->seconds / total_s, 1e-9 * r->flop_rate, 1e-9 * r->byte_rate, 100 * r->of_peak, 100 * r->of_copy,
           r->bound_by_peak ? "peak" : "copy", 100 * r->attained);
}

static void print_operations(const fbt_timing_result *m)
{
    double seconds = 0, ideal_s = 0;
    printf("%-10s %9s %6s %9s %8s %7s %7s  %-6s %7s\n", "operation", "seconds", "share", "GFLOP/s", "GB/s", "of peak",
           "of copy", "bound", "reached");
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        const rates r = rates_of_operation(m, i);
        if (r.seconds > 0) {
            print_operation(fbt_operation_name((fbt_operation)i), &r, m->profile_s);
        }
        seconds += r.seconds;
        ideal_s += r.ideal_s;
    }
    printf("%-10s %9.5f %5.1f%% %50s %6.1f%%\n", "all", seconds, 100 * seconds / m->profile_s, "",
           100 * ideal_s / seconds);
}

enum { SENTENCE_BYTES = 512 };

static void print_products(const fbt_timing_result *m)
{
    char sentence[SENTENCE_BYTES];
    for (int i = 0; fbt_backend_describe_product(m->backend, i, sentence, sizeof sentence); i++) {
        printf("%s%s\n", i == 0 ? "\n" : "", sentence);
    }
}

static json_t *describe_products(const fbt_timing_result *m)
{
    json_t *products = json_array();
    char sentence[SENTENCE_BYTES];
    for (int i = 0; fbt_backend_describe_product(m->backend, i, sentence, sizeof sentence); i++) {
        json_array_append_new(products, json_string(sentence));
    }
    return products;
}

static double total_flops(const fbt_timing_result *m)
{
    return m->matrix_flops + m->attention_flops;
}

static void print_whole(const fbt_timing_result *m)
{
    if (m->whole.best_s > 0) {
        printf(
            "without shared prefixes: %.5f s, %.1f GFLOP; with them: %.5f s, %.1f GFLOP: %.2f times as fast, %.1f%% of "
            "the operations\n",
            m->whole.best_s, 1e-9 * m->whole.flops, m->best_s, 1e-9 * total_flops(m), m->whole.best_s / m->best_s,
            100 * total_flops(m) / m->whole.flops);
    }
}

/* Of what the device's maker counts; 0 where that is not known. */
static double fraction_of_nominal(const fbt_timing_result *m)
{
    return m->info.nominal_flops > 0 ? m->matrix_flops / m->best_s / m->info.nominal_flops : 0;
}

static void print_streams(const fbt_timing_result *m)
{
    if (m->streams_s > 0) {
        printf("in parts on %d streams: %.5f s, %.2f times as fast\n", m->info.n_streams, m->streams_s,
               m->best_s / m->streams_s);
    }
}

static void print_nominal(const fbt_timing_result *m)
{
    if (m->info.nominal_flops > 0) {
        printf("nominal peak of the device at its highest clock: %.1f GFLOP/s; fraction of it: %.1f%%\n",
               1e-9 * m->info.nominal_flops, 100 * fraction_of_nominal(m));
    }
}

void fbt_bench_print(const fbt_timing_result *m)
{
    const fbt_timing_plan *p = &m->plan;
    printf("%s %s: %s, %" PRId64 " layers of %" PRId64 ", %.1f million parameters in use, ready in %.1f s\n",
           m->info.name, m->info.types->name, p->model != NULL ? p->model : p->shape, m->shape.n_layers,
           m->shape.n_hidden, 1e-6 * (double)m->n_parameters, m->load_s);
    printf("%s, %s, %s, %d threads\n", m->info.device, m->info.isa, m->info.libraries, m->info.n_threads);
    printf("%" PRId64 " samples x %" PRId64 " candidates x %" PRId64 " copies = %" PRId64 " sequences, %" PRId64
           " rows; prompt mode %s; %s\n\n",
           p->samples, p->candidates, p->copies, m->n_sequences, m->n_rows, fbt_prompt_mode_names[p->mode],
           p->data != NULL ? p->data : "random words");
    print_operations(m);
    print_products(m);
    printf("\nbatch: %.5f s (median of %" PRId64 ": %.5f s), %.1f sequences/s, %.0f tokens/s\n", m->best_s, p->repeats,
           m->median_s, (double)m->n_sequences / m->best_s, (double)m->n_rows / m->best_s);
    printf("matrix products over the whole time: %.1f GFLOP/s; with attention's: %.1f GFLOP/s\n",
           1e-9 * m->matrix_flops / m->best_s, 1e-9 * total_flops(m) / m->best_s);
    print_whole(m);
    print_streams(m);
    printf("peak: %.1f GFLOP/s, [%" PRId64 ", %" PRId64 "] x [%" PRId64 ", %" PRId64
           "]; copy: %.1f GB/s read and written\n",
           1e-9 * m->peak, m->peak_size[0], m->peak_size[2], m->peak_size[2], m->peak_size[1], 1e-9 * m->copy_rate);
    printf("fraction of peak: %.1f%% best over best, %.1f%% median beside its neighbours (attention's operations not "
           "counted, its time is)\n",
           100 * m->fraction, 100 * m->fraction_median);
    print_nominal(m);
    printf("\n");
}

static json_t *describe_operations(const fbt_timing_result *m)
{
    json_t *operations = json_object();
    for (int i = 0; i < FBT_N_OPERATIONS; i++) {
        const rates r = rates_of_operation(m, i);
        json_object_set_new(operations, fbt_operation_name((fbt_operation)i),
                            json_pack("{sf sf sf sf sf sf sf sf ss sf}", "seconds", r.seconds, "share",
                                      r.seconds / m->profile_s, "gflop", 1e-9 * r.flops, "gbyte", 1e-9 * r.bytes,
                                      "gflop_per_s", 1e-9 * r.flop_rate, "gbyte_per_s", 1e-9 * r.byte_rate,
                                      "fraction_of_peak", r.of_peak, "fraction_of_copy", r.of_copy, "bound",
                                      r.bound_by_peak ? "peak" : "copy", "fraction_of_attainable", r.attained));
    }
    return operations;
}

json_t *fbt_bench_describe(const fbt_timing_result *m)
{
    const fbt_timing_plan *p = &m->plan;
    json_t *batch =
        json_pack("{ss? sI sI sI sI sI sI}", "data", p->data, "samples", (json_int_t)p->samples, "candidates",
                  (json_int_t)p->candidates, "copies", (json_int_t)p->copies, "length", (json_int_t)p->length,
                  "sequences", (json_int_t)m->n_sequences, "rows", (json_int_t)m->n_rows);
    json_t *machine = json_pack("{ss ss ss ss ss si}", "backend", m->info.name, "device", m->info.device, "device_id",
                                m->info.device_id, "instruction_set", m->info.isa, "libraries", m->info.libraries,
                                "threads", m->info.n_threads);
    json_t *streams = json_pack("{si sf}", "number", m->info.n_streams, "seconds", m->streams_s);
    return json_pack("{ss ss so so sf sf sf sf sf sf sf sf sf sf sf sf sf sf sf so so so}", "model",
                     p->model != NULL ? p->model : p->shape, "precision", m->info.types->name, "machine", machine,
                     "batch", batch, "seconds", m->best_s, "seconds_median", m->median_s, "tokens_per_s",
                     (double)m->n_rows / m->best_s, "matrix_gflops", 1e-9 * m->matrix_flops / m->best_s, "all_gflops",
                     1e-9 * total_flops(m) / m->best_s, "gflop", 1e-9 * total_flops(m), "whole_seconds",
                     m->whole.best_s, "whole_gflop", 1e-9 * m->whole.flops, "peak_gflops", 1e-9 * m->peak,
                     "copy_gbyte_per_s", 1e-9 * m->copy_rate, "fraction_of_peak", m->fraction,
                     "fraction_of_peak_median", m->fraction_median, "nominal_gflops", 1e-9 * m->info.nominal_flops,
                     "fraction_of_nominal", fraction_of_nominal(m), "profiled_seconds", m->profile_s, "streams",
                     streams, "operations", describe_operations(m), "products", describe_products(m));
}
