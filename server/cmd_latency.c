/* LATENCY: LATEST, HISTORY, RESET, HISTOGRAM, GRAPH, DOCTOR, HELP. */
#include <stdio.h>

#include "engine/base/clock.h"
#include "engine/base/hist.h"

#include "server/config.h"
#include "server/figures.h"
#include "server/handlers.h"
#include "server/latency.h"
#include "server/request.h"
#include "server/shard.h"

#define REPORT_BYTES_MAX (1u << 20)
#define GRAPH_COLUMNS    80
#define GRAPH_ROWS       4
/* The classes of LATENCY HISTOGRAM: up to 1024 ns times a power of two. */
#define HISTOGRAM_NS      1024u
#define HISTOGRAM_CLASSES 30

/* The samples of a class, oldest first; returns how many. */
static uint32_t samples_of(const struct latency_class *k,
                           struct latency_sample out[LATENCY_SAMPLES_MAX])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < LATENCY_SAMPLES_MAX; i++) {
        const struct latency_sample *s = &k->sample[(k->next + i) % LATENCY_SAMPLES_MAX];
        if (s->at_s != 0)
            out[n++] = *s;
    }
    return n;
}

/* Calls fn with the figures of all shards. */
static void with_figures(struct request *rq,
                         void (*fn)(struct request *rq, const struct figures *f))
{
    struct figures *f = figures_take(rq);

    fn(rq, f);
    figures_destroy(f);
}

static void latest(struct request *rq, const struct figures *f)
{
    const struct latency *l = f->latency;
    struct latency_sample samples[LATENCY_SAMPLES_MAX];

    reply_array(rq->out, latency_count(l));
    for (uint32_t i = 0; i < latency_count(l); i++) {
        const struct latency_class *k = latency_at(l, i);
        const uint32_t n = samples_of(k, samples);
        reply_array(rq->out, 4);
        reply_bulk_cstr(rq->out, k->name);
        reply_u64(rq->out, samples[n - 1].at_s);
        reply_u64(rq->out, samples[n - 1].ms);
        reply_u64(rq->out, k->ms_max);
    }
}

void cmd_latency_latest(struct request *rq)
{
    with_figures(rq, latest);
}

static void history(struct request *rq, const struct figures *f)
{
    const struct latency_class *k = latency_find(f->latency, rq->argv[2]);
    struct latency_sample samples[LATENCY_SAMPLES_MAX];
    const uint32_t n = k == NULL ? 0 : samples_of(k, samples);

    reply_array(rq->out, n);
    for (uint32_t i = 0; i < n; i++) {
        reply_array(rq->out, 2);
        reply_u64(rq->out, samples[i].at_s);
        reply_u64(rq->out, samples[i].ms);
    }
}

void cmd_latency_history(struct request *rq)
{
    with_figures(rq, history);
}

void cmd_latency_reset(struct request *rq)
{
    uint64_t gone = 0;

    if (rq->argc == 2)
        gone = latency_reset(rq->sh->latency, NULL);
    for (uint32_t i = 2; i < rq->argc; i++)
        gone += latency_reset(rq->sh->latency, &rq->argv[i]);
    reply_u64(rq->out, gone);
}

/* --- HISTOGRAM --- */

static void reply_histogram(struct reply *r, const struct hist *hist)
{
    uint64_t seen = 0, shown = 0, pairs = 0;
    size_t bucket = 0;

    reply_map(r, 2);
    reply_bulk_cstr(r, "calls");
    reply_u64(r, hist_count(hist));
    reply_bulk_cstr(r, "histogram_usec");
    const struct reply_mark mark = reply_deferred_begin(r, 4);
    for (unsigned k = 0; k < HISTOGRAM_CLASSES; k++) {
        const uint64_t top_ns = (uint64_t)HISTOGRAM_NS << k;
        const bool last = k + 1 == HISTOGRAM_CLASSES;
        while (bucket < HIST_BUCKETS && (last || hist_bucket_top(bucket) <= top_ns))
            seen += hist->counts[bucket++];
        if (seen == shown)
            continue;
        reply_u64(r, top_ns / 1000);
        reply_u64(r, seen);
        shown = seen;
        pairs++;
    }
    reply_deferred_map(r, mark, pairs);
}

/* The command's histogram with its name, if it was called; returns whether it was. */
static bool histogram_of(struct request *rq, const struct figures *f, const struct cmd *cmd)
{
    const struct hist *hist = f->stats.latency[cmd->id];

    if (hist == NULL || hist_count(hist) == 0)
        return false;
    reply_bulk_cstr(rq->out, cmd->name);
    reply_histogram(rq->out, hist);
    return true;
}

static void histogram(struct request *rq, const struct figures *f)
{
    const struct command_table *table = rq->sh->commands;
    const struct reply_mark mark = reply_deferred_begin(rq->out, 4);
    uint64_t n = 0;

    for (uint32_t id = 0; rq->argc == 2 && id < command_count(table); id++)
        n += histogram_of(rq, f, command_at(table, id));
    for (uint32_t i = 2; i < rq->argc; i++) {
        const struct cmd *cmd = command_lookup_full(table, rq->argv[i]);
        if (cmd == NULL)
            continue;
        n += histogram_of(rq, f, cmd);
        /* A container stands for its subcommands. */
        for (uint32_t id = 0; id < command_count(table); id++) {
            if (command_at(table, id)->parent == cmd->id)
                n += histogram_of(rq, f, command_at(table, id));
        }
    }
    reply_deferred_map(rq->out, mark, n);
}

void cmd_latency_histogram(struct request *rq)
{
    with_figures(rq, histogram);
}

/* --- GRAPH --- */

static void write_age(char out[16], uint64_t s)
{
    if (s < 60)
        (void)snprintf(out, 16, "%us", (unsigned)s);
    else if (s < 3600)
        (void)snprintf(out, 16, "%um", (unsigned)(s / 60));
    else if (s < 86400)
        (void)snprintf(out, 16, "%uh", (unsigned)(s / 3600));
    else
        (void)snprintf(out, 16, "%ud", (unsigned)u64_min(s / 86400, 99999));
}

/* Columns of bars, the newest at the right; below them, downwards, how long ago. */
static void write_graph(struct buf *out, const struct latency_sample *s, uint32_t n, uint64_t min,
                        uint64_t max)
{
    static const char full[] = "_o#";
    const uint64_t range = max == min ? 1 : max - min;
    const uint64_t now_s = clock_wall_ms() / 1000;
    char age[16];

    for (uint64_t row = GRAPH_ROWS; row-- != 0;) {
        for (uint32_t i = 0; i < n; i++) {
            const uint64_t level = (s[i].ms - min) * (GRAPH_ROWS * 3 - 1) / range;
            const uint8_t here = (uint8_t)(level / 3 == row ? full[level % 3] : ' ');
            IGNORE_RESULT(buf_append_u8(out, level / 3 > row ? '|' : here));
        }
        IGNORE_RESULT(buf_append_u8(out, '\n'));
    }
    for (size_t row = 0; row < 4; row++) {
        IGNORE_RESULT(buf_append_u8(out, '\n'));
        for (uint32_t i = 0; i < n; i++) {
            write_age(age, now_s - u64_min(now_s, s[i].at_s));
            const struct bytes text = bytes_cstr(age);
            IGNORE_RESULT(buf_append_u8(out, row < text.len ? text.ptr[row] : ' '));
        }
    }
    IGNORE_RESULT(buf_append_u8(out, '\n'));
}

static void graph(struct request *rq, const struct figures *f)
{
    const struct latency_class *k = latency_find(f->latency, rq->argv[2]);
    struct latency_sample all[LATENCY_SAMPLES_MAX];
    uint64_t min = UINT64_MAX, max = 0;
    struct buf text;

    if (k == NULL) {
        reply_error(rq->out, "ERR No samples available for event '%.*s'",
                    (int)size_min(rq->argv[2].len, 128), (const char *)rq->argv[2].ptr);
        return;
    }
    const uint32_t count = samples_of(k, all);
    const uint32_t n = count < GRAPH_COLUMNS ? count : GRAPH_COLUMNS;
    const struct latency_sample *s = all + (count - n);
    for (uint32_t i = 0; i < n; i++) {
        min = u64_min(min, s[i].ms);
        max = u64_max(max, s[i].ms);
    }
    buf_init(&text, REPORT_BYTES_MAX);
    IGNORE_RESULT(buf_printf(&text, "%s - high %llu ms, low %llu ms (all time high %llu ms)\n",
                             k->name, (unsigned long long)max, (unsigned long long)min,
                             (unsigned long long)k->ms_max));
    for (uint32_t i = 0; i < GRAPH_COLUMNS; i++)
        IGNORE_RESULT(buf_append_u8(&text, '-'));
    IGNORE_RESULT(buf_append_u8(&text, '\n'));
    write_graph(&text, s, n, min, max);
    reply_verbatim(rq->out, buf_bytes(&text), "txt");
    buf_deinit(&text);
}

void cmd_latency_graph(struct request *rq)
{
    with_figures(rq, graph);
}

/* --- DOCTOR --- */

static void doctor_class(uint32_t number, const struct latency_class *k, uint64_t now_s,
                         struct buf *text)
{
    struct latency_sample samples[LATENCY_SAMPLES_MAX];
    const uint32_t n = samples_of(k, samples);
    uint64_t sum = 0;
    uint64_t apart = 0;

    CHECK(n != 0);
    for (uint32_t i = 0; i < n; i++)
        sum += samples[i].ms;
    for (uint32_t i = 0; i < n; i++)
        apart += u64_max(samples[i].ms, sum / n) - u64_min(samples[i].ms, sum / n);
    const uint64_t since_s = now_s - u64_min(now_s, samples[0].at_s);
    IGNORE_RESULT(buf_printf(
        text,
        "%u. %s: %u latency spikes (average %llums, mean deviation %llums, period %.2f sec). "
        "Worst all time event %llums.\n",
        number, k->name, n, (unsigned long long)(sum / n), (unsigned long long)(apart / n),
        (double)u64_max(since_s, 1) / n, (unsigned long long)k->ms_max));
}

static void doctor(struct request *rq, const struct figures *f)
{
    const struct latency *l = f->latency;
    struct buf text;

    buf_init(&text, REPORT_BYTES_MAX);
    if (rq->sh->cfg->latency_monitor_threshold == 0)
        IGNORE_RESULT(buf_printf(&text,
                                 "Latency monitoring is disabled in this instance. CONFIG "
                                 "SET latency-monitor-threshold <milliseconds> enables it.\n"));
    else if (latency_count(l) == 0)
        IGNORE_RESULT(buf_printf(&text, "No event above %lld ms was seen.\n",
                                 (long long)rq->sh->cfg->latency_monitor_threshold));
    for (uint32_t i = 0; i < latency_count(l); i++)
        doctor_class(i + 1, latency_at(l, i), rq->now_ms / 1000, &text);
    reply_verbatim(rq->out, buf_bytes(&text), "txt");
    buf_deinit(&text);
}

void cmd_latency_doctor(struct request *rq)
{
    with_figures(rq, doctor);
}

void cmd_latency_help(struct request *rq)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        ("    Return a cumulative distribution of latencies in the format of a histogram for the "
         "specified command names."),
        "    If no commands are specified then all histograms are replied.",
        NULL,
    };

    reply_help(rq->out, "LATENCY", lines);
}
