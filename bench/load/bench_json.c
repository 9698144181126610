/* The results as JSON: the same figures as in the table, times in milliseconds. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "bench/load/bench_report.h"

static void put(json_t *object, const char *name, json_t *value)
{
    CHECK(json_object_set_new(object, name, value) == 0);
}

static void put_u64(json_t *object, const char *name, uint64_t value)
{
    put(object, name, json_integer((json_int_t)value));
}

static void put_real(json_t *object, const char *name, double value)
{
    put(object, name, json_real(isfinite(value) ? value : 0.0));
}

static void put_text(json_t *object, const char *name, const char *value)
{
    if (value != NULL)
        put(object, name, json_string(value));
}

static json_t *latencies(const struct hist *hist)
{
    static const struct {
        const char *name;
        double percent;
    } percents[] = {
        {"p50", 50.0}, {"p90", 90.0}, {"p99", 99.0}, {"p99.9", 99.9}, {"p99.99", 99.99},
    };
    json_t *object = json_object();

    put_real(object, "mean", hist_mean(hist) / 1e6);
    for (size_t i = 0; i < ARRAY_COUNT(percents); i++)
        put_real(object, percents[i].name,
                 (double)hist_percentile(hist, percents[i].percent) / 1e6);
    put_real(object, "max", (double)hist_max(hist) / 1e6);
    return object;
}

static json_t *operation(const struct bench_op_stats *op, double elapsed_s)
{
    json_t *object = json_object();
    const uint64_t count = hist_count(op->latency);

    put_u64(object, "count", count);
    put_real(object, "ops_per_s", elapsed_s > 0.0 ? (double)count / elapsed_s : 0.0);
    put_u64(object, "errors", op->errors);
    put_u64(object, "misses", op->misses);
    put_u64(object, "wrong", op->wrong);
    put(object, "latency_ms", latencies(op->latency));
    if (op->service != NULL)
        put(object, "service_ms", latencies(op->service));
    return object;
}

static void put_operations(json_t *phase, const struct bench_result *result)
{
    json_t *operations = json_object();
    struct hist *latency = mem_zalloc(sizeof(*latency));
    struct bench_op_stats total = {.latency = latency};

    for (size_t i = 0; i < BENCH_OP_COUNT; i++) {
        const struct bench_op_stats *op = &result->stats.ops[i];
        if (op->latency == NULL || hist_count(op->latency) + op->errors == 0)
            continue;
        put(operations, bench_op_info((enum bench_op)i)->name, operation(op, result->elapsed_s));
        hist_merge(total.latency, op->latency);
        total.errors += op->errors;
        total.misses += op->misses;
        total.wrong += op->wrong;
    }
    put(phase, "operations", operations);
    put(phase, "total", operation(&total, result->elapsed_s));
    mem_free(latency);
}

static void put_errors(json_t *phase, const struct bench_stats *stats)
{
    json_t *errors = json_object();

    for (size_t i = 0; i < stats->word_count; i++) {
        json_t *entry = json_object();
        put_u64(entry, "count", stats->words[i].count);
        /* Not valid UTF-8: the text is left out. */
        json_t *sample = json_string(stats->words[i].sample);
        if (sample != NULL)
            put(entry, "sample", sample);
        /* The same for the word itself. */
        if (json_object_set_new(errors, stats->words[i].word, entry) != 0)
            continue;
    }
    put(phase, "errors", errors);
}

static void put_info(json_t *phase, const struct bench_result *result)
{
    const struct bench_info *after = &result->after.info;

    if (!result->before.has_info || !result->after.has_info)
        return;
    json_t *fields = json_object();
    for (size_t i = 0; i < after->count; i++) {
        const struct bench_info_field *field = &after->fields[i];
        double old = 0.0;
        double new;
        if (!bench_info_interesting(field) || !bench_info_number(after, field->name, &new))
            continue;
        (void)bench_info_number(&result->before.info, field->name, &old);
        json_t *entry = json_object();
        put_real(entry, "before", old);
        put_real(entry, "after", new);
        (void)json_object_set_new(fields, field->name, entry);
    }
    put(phase, "info", fields);
}

static void put_cost(json_t *phase, const struct bench_result *result)
{
    struct bench_cost cost;

    if (!bench_report_cost(result, &cost))
        return;
    json_t *server = json_object();
    put_real(server, "cpu_us_per_op", cost.cpu_us);
    put_real(server, "cores", cost.cores);
    if (result->after.proc.has_io) {
        put_real(server, "read_bytes_per_op", cost.read_bytes);
        put_real(server, "write_bytes_per_op", cost.write_bytes);
    }
    put_u64(server, "rss_bytes", result->after.proc.rss_bytes);
    put(phase, "server", server);
}

static json_t *phase_of(const struct bench_result *result)
{
    json_t *phase = json_object();
    const uint64_t ops = bench_stats_count(&result->stats) + bench_stats_errors(&result->stats);

    put_real(phase, "elapsed_s", result->elapsed_s);
    put_operations(phase, result);
    put_errors(phase, &result->stats);
    put_cost(phase, result);
    put_info(phase, result);
    put_real(phase, "generator_cpu_us_per_op",
             ops == 0 ? 0.0 : result->generator_cpu_s * 1e6 / (double)ops);
    put_real(phase, "generator_busiest", result->busiest_fraction);
    put_u64(phase, "bytes_sent", result->stats.bytes_sent);
    put_u64(phase, "bytes_received", result->stats.bytes_received);
    put_u64(phase, "checked", result->stats.checked);
    put_u64(phase, "unsent", result->unsent);
    put_u64(phase, "unanswered", result->unanswered);
    put(phase, "interrupted", json_boolean(result->interrupted));
    if (result->failed)
        put_text(phase, "failure", result->failure.text);
    return phase;
}

static json_t *settings_of(const struct bench_options *options)
{
    json_t *object = json_object();

    put_u64(object, "threads", options->threads);
    put_u64(object, "clients", options->clients);
    put_u64(object, "pipeline", options->pipeline);
    put_real(object, "rate", options->rate);
    put_text(object, "arrival", options->rate > 0.0 ? options->arrival_text : NULL);
    put_real(object, "warmup_s", options->warmup_s);
    put_text(object, "mix", options->mix_text);
    put_u64(object, "keys", options->keys);
    put_u64(object, "key_bytes", options->key_bytes);
    put_text(object, "dist", options->key_dist_text);
    put_u64(object, "fields", options->fields);
    put_text(object, "field_dist", options->field_dist_text);
    put_text(object, "value_size", options->value_size_text);
    put_real(object, "value_bytes_mean", bench_size_mean(&options->value_size));
    put(object, "value_random", json_boolean(options->value_random));
    put(object, "verify", json_boolean(options->verify));
    put_u64(object, "seed", options->seed);
    return object;
}

int bench_report_json(const struct bench_report *report, const char *path)
{
    FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    int err = 0;

    if (out == NULL)
        return -errno;
    json_t *root = json_object();
    put_text(root, "label", report->options->label);
    put_text(root, "server", report->server->version);
    put(root, "settings", settings_of(report->options));
    if (report->load != NULL)
        put(root, "preload", phase_of(report->load));
    if (report->run != NULL)
        put(root, "run", phase_of(report->run));
    if (json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0 ||
        fputc('\n', out) == EOF || fflush(out) != 0)
        err = -EIO;
    json_decref(root);
    if (out != stdout && fclose(out) != 0 && err == 0)
        err = -errno;
    return err;
}
