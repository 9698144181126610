/* The table for people. All times are milliseconds. */
#include "bench/load/bench_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "engine/base/mem.h"

/* Above it the generator, not the server, may be what was measured. */
#define BUSY_FRACTION_WARN 0.9

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

bool bench_report_cost(const struct bench_result *result, struct bench_cost *out)
{
    const struct bench_sample *before = &result->before;
    const struct bench_sample *after = &result->after;
    const uint64_t ops = bench_stats_count(&result->stats) + bench_stats_errors(&result->stats);

    if (!before->has_proc || !after->has_proc || ops == 0)
        return false;
    const double cpu_us = (double)(after->proc.cpu_us - before->proc.cpu_us);
    const double read = (double)(after->proc.read_bytes - before->proc.read_bytes);
    const double written = (double)(after->proc.write_bytes - before->proc.write_bytes);
    *out = (struct bench_cost){
        .cpu_us = cpu_us / (double)ops,
        .read_bytes = read / (double)ops,
        .write_bytes = written / (double)ops,
        .cores = result->elapsed_s > 0.0 ? cpu_us / 1e6 / result->elapsed_s : 0.0,
    };
    return true;
}

void bench_report_header(const struct bench_report *report, FILE *out)
{
    const struct bench_options *o = report->options;

    fprintf(out, "tierra-bench%s%s: ", o->label != NULL ? " " : "", o->label ? o->label : "");
    if (o->socket_path != NULL)
        fprintf(out, "%s", o->socket_path);
    else
        fprintf(out, "%s:%u", o->host, (unsigned)o->port);
    fprintf(out, " (%s), %u clients, pipeline %u, %u threads, ", report->server->version,
            (unsigned)o->clients, (unsigned)o->pipeline, (unsigned)o->threads);
    if (o->rate > 0.0)
        fprintf(out, "open loop %.0f/s %s\n", o->rate, o->arrival_text);
    else
        fprintf(out, "closed loop\n");
    fprintf(out, "mix %s; %" PRIu64 " keys of %u B, %s; values %s B (mean %.0f)%s%s", o->mix_text,
            o->keys, (unsigned)o->key_bytes, o->key_dist_text, o->value_size_text,
            bench_size_mean(&o->value_size), o->value_random ? "" : " constant",
            o->verify ? " verified" : "");
    fprintf(out, "; %" PRIu64 " elements, %s; seed %" PRIu64 "\n", o->fields, o->field_dist_text,
            o->seed);
}

static void print_row(const char *name, const struct hist *hist, double elapsed_s, FILE *out)
{
    static const double percents[] = {50.0, 90.0, 99.0, 99.9, 99.99};
    const double rate = elapsed_s > 0.0 ? (double)hist_count(hist) / elapsed_s : 0.0;

    fprintf(out, "%-11s %12" PRIu64 " %11.1f %9.3f", name, hist_count(hist), rate,
            hist_mean(hist) / 1e6);
    for (size_t i = 0; i < ARRAY_COUNT(percents); i++)
        fprintf(out, " %9.3f", ms(hist_percentile(hist, percents[i])));
    fprintf(out, " %9.3f", ms(hist_max(hist)));
}

static void print_heading(const char *title, bool counts, FILE *out)
{
    fprintf(out, "\n%-11s %12s %11s %9s %9s %9s %9s %9s %9s %9s", title, "count", "ops/s",
            "mean ms", "p50", "p90", "p99", "p99.9", "p99.99", "max");
    fprintf(out, counts ? " %9s %9s\n" : "\n", "errors", "misses");
}

static const struct hist *histogram_of(const struct bench_op_stats *op, bool service)
{
    return service ? op->service : op->latency;
}

static bool op_seen(const struct bench_op_stats *op)
{
    return op->latency != NULL && (hist_count(op->latency) > 0 || op->errors > 0);
}

/* Rows of all operations, and of their sum if there are several. */
static void print_table(const struct bench_result *result, bool service, FILE *out)
{
    struct hist *total = mem_zalloc(sizeof(*total));
    uint64_t errors = 0;
    uint64_t misses = 0;
    size_t rows = 0;

    print_heading(service ? "service" : "operation", !service, out);
    for (size_t i = 0; i < BENCH_OP_COUNT; i++) {
        const struct bench_op_stats *op = &result->stats.ops[i];
        if (!op_seen(op))
            continue;
        hist_merge(total, histogram_of(op, service));
        errors += op->errors;
        misses += op->misses;
        rows++;
        print_row(bench_op_info((enum bench_op)i)->name, histogram_of(op, service),
                  result->elapsed_s, out);
        if (!service)
            fprintf(out, " %9" PRIu64 " %9" PRIu64, op->errors, op->misses);
        fprintf(out, "\n");
    }
    if (rows != 1) {
        print_row("total", total, result->elapsed_s, out);
        if (!service)
            fprintf(out, " %9" PRIu64 " %9" PRIu64, errors, misses);
        fprintf(out, "\n");
    }
    mem_free(total);
}

static void print_errors(const struct bench_stats *stats, FILE *out)
{
    for (size_t i = 0; i < stats->word_count; i++)
        fprintf(out, "error %s: %" PRIu64 ", as in \"%s\"\n", stats->words[i].word,
                stats->words[i].count, stats->words[i].sample);
    if (stats->other_errors > 0)
        fprintf(out, "errors of other kinds: %" PRIu64 "\n", stats->other_errors);
}

static void print_cost(const struct bench_result *result, FILE *out)
{
    struct bench_cost cost;

    if (!bench_report_cost(result, &cost))
        return;
    fprintf(out, "server:    CPU %.2f us/op, %.2f cores", cost.cpu_us, cost.cores);
    if (result->after.proc.has_io)
        fprintf(out, "; device %.0f B read, %.0f B written an op", cost.read_bytes,
                cost.write_bytes);
    fprintf(out, "; RSS %.1f MiB\n", (double)result->after.proc.rss_bytes / 1048576.0);
}

static void print_info(const struct bench_result *result, FILE *out)
{
    const struct bench_info *before = &result->before.info;
    const struct bench_info *after = &result->after.info;

    if (!result->before.has_info || !result->after.has_info)
        return;
    fprintf(out, "INFO, what changed:\n");
    for (size_t i = 0; i < after->count; i++) {
        const struct bench_info_field *field = &after->fields[i];
        double old = 0.0;
        double new;
        if (!bench_info_interesting(field) || !bench_info_number(after, field->name, &new))
            continue;
        (void)bench_info_number(before, field->name, &old);
        if (fabs(new - old) > 0.0)
            fprintf(out, "  %-32s %+.6g (now %.15g)\n", field->name, new - old, new);
    }
}

static void print_warnings(const struct bench_report *report, const struct bench_result *result,
                           FILE *out)
{
    const struct bench_stats *stats = &result->stats;

    if (report->options->verify)
        fprintf(out, "verified:  %" PRIu64 " values, %" PRIu64 " wrong\n", stats->checked,
                bench_stats_wrong(stats));
    if (result->unsent > 0)
        fprintf(out,
                "WARNING: %" PRIu64 " requests were due but never sent: the offered rate was not "
                "reached, and the latencies do not include them\n",
                result->unsent);
    if (result->unanswered > 0)
        fprintf(out, "WARNING: %" PRIu64 " requests got no reply\n", result->unanswered);
    if (result->busiest_fraction > BUSY_FRACTION_WARN)
        fprintf(out,
                "WARNING: a generator thread was busy %.0f %% of the time: this may be its own "
                "limit\n",
                100.0 * result->busiest_fraction);
    if (result->interrupted)
        fprintf(out, "INTERRUPTED: the figures are of the part that ran\n");
    if (result->failed)
        fprintf(out, "FAILED: %s\n", result->failure.text);
}

void bench_report_phase(const struct bench_report *report, const struct bench_result *result,
                        FILE *out)
{
    const struct bench_stats *stats = &result->stats;
    const uint64_t ops = bench_stats_count(stats) + bench_stats_errors(stats);

    print_table(result, false, out);
    if (report->options->rate > 0.0 && result == report->run)
        print_table(result, true, out);
    fprintf(out, "\n");
    print_errors(stats, out);
    fprintf(out,
            "generator: CPU %.2f us/op, busiest thread %.0f %%; %.2f s; %.1f MB sent, "
            "%.1f MB received\n",
            ops == 0 ? 0.0 : result->generator_cpu_s * 1e6 / (double)ops,
            100.0 * result->busiest_fraction, result->elapsed_s, (double)stats->bytes_sent / 1e6,
            (double)stats->bytes_received / 1e6);
    print_cost(result, out);
    print_info(result, out);
    print_warnings(report, result, out);
}
