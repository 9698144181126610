/*
 * Parsing of the command line.
 *
 * A row of the table names the field it sets by offset and type; options with a notation of their
 * own have a parse function instead.
 */
#include "bench/load/bench_options.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "bench/load/bench_value.h"

#define REQUEST_BYTES_MAX (256u << 20)
#define HELP_COLUMN       30

enum kind {
    KIND_HEADING,
    KIND_TEXT,
    KIND_U32,
    KIND_U64,
    KIND_DOUBLE,
    KIND_FLAG,
    KIND_PARSE,
};

struct row {
    const char *name;
    const char *argument;
    const char *help;
    const char *initial; /* Default, in the notation of the command line; NULL is none. */
    size_t offset;       /* Of the field; with a parse function, of the text it keeps, or 0. */
    double min;          /* Numbers. */
    double max;
    int (*parse)(const char *text, struct bench_options *options);
    enum kind kind;
};

static int parse_arrival(const char *text, struct bench_options *options)
{
    if (strcmp(text, "poisson") == 0)
        options->arrival = BENCH_ARRIVAL_POISSON;
    else if (strcmp(text, "uniform") == 0)
        options->arrival = BENCH_ARRIVAL_UNIFORM;
    else
        return -ERR_SYNTAX;
    return 0;
}

static int parse_key_dist(const char *text, struct bench_options *options)
{
    return bench_dist_parse(text, &options->key_dist);
}

static int parse_field_dist(const char *text, struct bench_options *options)
{
    const int err = bench_dist_parse(text, &options->field_dist);

    /* The cursor of the newest index belongs to the keys. */
    if (err == 0 && options->field_dist.kind == BENCH_DIST_LATEST)
        return -ERR_UNSUPPORTED;
    return err;
}

static int parse_value_size(const char *text, struct bench_options *options)
{
    return bench_size_parse(text, &options->value_size);
}

static int parse_value_random(const char *text, struct bench_options *options)
{
    if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
        return -ERR_SYNTAX;
    options->value_random = text[0] == 'y';
    return 0;
}

static int parse_mix(const char *text, struct bench_options *options)
{
    return bench_mix_parse(text, &options->mix);
}

static int parse_on(const char *text, struct bench_options *options)
{
    return bench_family_parse(text, &options->generic_family);
}

static int parse_server_pid(const char *text, struct bench_options *options)
{
    uint64_t pid;

    if (strcmp(text, "auto") == 0) {
        options->server_pid = BENCH_PID_AUTO;
        return 0;
    }
    if (!num_parse_u64(bytes_cstr(text), &pid))
        return -ERR_SYNTAX;
    if (pid == 0 || pid > INT32_MAX)
        return -ERR_RANGE;
    options->server_pid = (int)pid;
    return 0;
}

STATIC_ASSERT(offsetof(struct bench_options, host) == 0);

#define AT(field) offsetof(struct bench_options, field)
#define HEADING(text)                        \
    {                                        \
        .kind = KIND_HEADING, .help = (text) \
    }
#define ROW(row_kind, row_name, row_argument, row_initial, row_offset, ...)                   \
    {                                                                                         \
        .kind = row_kind, .name = row_name, .argument = row_argument, .initial = row_initial, \
        .offset = row_offset, __VA_ARGS__                                                     \
    }
#define NUMBER(row_kind, name, argument, field, initial, low, high, text) \
    ROW(row_kind, name, argument, initial, AT(field), .min = low, .max = high, .help = text)
#define TEXT(name, argument, field, initial, text) \
    ROW(KIND_TEXT, name, argument, initial, AT(field), .help = text)
#define FLAG(name, field, text) ROW(KIND_FLAG, name, NULL, NULL, AT(field), .help = text)
#define U32(name, field, initial, low, high, text) \
    NUMBER(KIND_U32, name, "N", field, initial, low, high, text)
#define U64(name, field, initial, low, high, text) \
    NUMBER(KIND_U64, name, "N", field, initial, low, high, text)
#define REAL(name, argument, field, initial, high, text) \
    NUMBER(KIND_DOUBLE, name, argument, field, initial, 0.0, high, text)
#define PARSE(name, argument, fn, text_at, initial, text) \
    ROW(KIND_PARSE, name, argument, initial, text_at, .parse = fn, .help = text)

/* clang-format off */
static const struct row rows[] = {
    HEADING("Server"),
    TEXT("host", "NAME", host, "127.0.0.1", "server address"),
    U32("port", port, "6379", 1, 65535, "server port"),
    TEXT("socket", "PATH", socket_path, NULL, "Unix socket instead of host and port"),
    TEXT("user", "NAME", user, NULL, "user name for AUTH"),
    TEXT("auth", "PASSWORD", password, NULL, "password for AUTH"),

    HEADING("Load"),
    U32("threads", threads, "1", 1, 64, "threads of the generator"),
    U32("clients", clients, "50", 1, 20000, "connections, over all threads"),
    U32("pipeline", pipeline, "1", 1, 4096,
        "requests in flight on a connection; refilled when half are answered"),
    U64("requests", requests, "0", 0, 1e15, "stop after so many requests (0: by duration)"),
    REAL("duration", "S", duration_s, "10", 1e6, "stop after so many seconds"),
    REAL("warmup", "S", warmup_s, "0", 1e6, "seconds before those, not measured"),
    REAL("rate", "R", rate, "0", 1e8,
         "open loop: requests offered a second, over all threads; latency\n"
         "then counts from the intended start (0: closed loop)"),
    PARSE("arrival", "poisson|uniform", parse_arrival, AT(arrival_text), "poisson",
          "open loop: gaps between requests"),
    U32("tick", tick_us, "0", 0, 10000,
        "open loop: microseconds between wake-ups; saves the generator's\n"
        "CPU and adds up to as much to each latency"),
    REAL("timeout", "S", timeout_s, "30", 3600, "give up when the server is silent so long"),
    U64("seed", seed, NULL, 0, 1.8e19, "seed of all draws (random, and printed)"),

    HEADING("Data"),
    U64("keys", keys, "100000", 1, 1e15, "keys of each type"),
    TEXT("key-prefix", "TEXT", key_prefix, "key:", "start of every key"),
    U32("key-size", key_bytes, "16", 1, BENCH_KEY_BYTES_MAX, "bytes of a key"),
    PARSE("dist", "D", parse_key_dist, AT(key_dist_text), "uniform",
          "uniform | zipf[:theta] | hotspot[:fraction:probability] |\n"
          "sequential | latest[:theta]"),
    U64("fields", fields, "100", 1, 99999999999.0, "elements of each collection"),
    PARSE("field-dist", "D", parse_field_dist, AT(field_dist_text), "uniform",
          "the same for elements, but latest"),
    PARSE("value-size", "B", parse_value_size, AT(value_size_text), "100",
          "bytes: 100 | 100-4000 | 100:50,1000:40,10000:10 (size:weight)"),
    PARSE("value-random", "yes|no", parse_value_random, 0, "yes", "values that do not compress"),

    HEADING("Requests"),
    PARSE("mix", "OP=W,..", parse_mix, AT(mix_text), "get=90,set=10",
          "operations and weights, of those below"),
    PARSE("on", "FAMILY", parse_on, 0, "string",
          "what del, expire and exists act on:\nstring counter hash set zset list"),
    U32("multi", multi, "10", 1, 1000, "keys in an mget or mset"),
    U64("range", range, "100", 1, 1e9, "elements in a zrange or lrange"),
    U64("ttl", ttl_s, "3600", 1, 1e9, "seconds, for setex and expire"),
    FLAG("preload", preload,
         "load all keys and collections of the mix first, with at least\n"
         "32 requests in flight on each connection"),
    FLAG("preload-only", preload_only, "load, and stop"),
    FLAG("keep-going", keep_going, "run even if loads were refused"),
    FLAG("verify", verify, "values carry their key and a checksum; count wrong ones"),

    HEADING("Output"),
    TEXT("json", "FILE", json_path, NULL, "write the figures as JSON too (- is stdout)"),
    REAL("interval", "S", interval_s, "0", 3600, "a line with the figures of every S seconds"),
    FLAG("hit-stats", hit_stats, "what changed in the server's INFO: hits, misses, tiering"),
    PARSE("server-pid", "PID|auto", parse_server_pid, 0, NULL,
          "local server: its CPU, I/O and RSS"),
    TEXT("label", "TEXT", label, NULL, "a name for this run, for the reports"),
};
/* clang-format on */

static void print_list(FILE *out, const char *title)
{
    int column = fprintf(out, "%s:", title);

    for (size_t i = 0; i < BENCH_OP_PRELOAD; i++) {
        const char *name = bench_op_info((enum bench_op)i)->name;
        if (column + 1 + (int)strlen(name) > 100)
            column = fprintf(out, "\n   ") - 1;
        column += fprintf(out, " %s", name);
    }
    fprintf(out, "\n");
}

static void print_help(FILE *out)
{
    fprintf(out, "usage: tierra-bench [options]\n"
                 "Load generator for servers that speak the Redis protocol.\n");
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct row *row = &rows[i];
        if (row->kind == KIND_HEADING) {
            fprintf(out, "\n%s\n", row->help);
            continue;
        }
        const int column = fprintf(out, "  --%s %s", row->name, row->argument ? row->argument : "");
        fprintf(out, "%*s", column < HELP_COLUMN ? HELP_COLUMN - column : 1, "");
        for (const char *at = row->help; *at != '\0'; at++) {
            fputc(*at, out);
            if (*at == '\n')
                fprintf(out, "%*s", HELP_COLUMN, "");
        }
        if (row->initial != NULL)
            fprintf(out, " [%s]", row->initial);
        fputc('\n', out);
    }
    fprintf(out, "  --help\n\n");
    print_list(out, "Operations");
    fprintf(out, "\nExit: 0 done; 1 bad usage; 2 no connection or lost; 3 error replies; "
                 "4 wrong values; 130 interrupted.\n");
}

static int set_number(const struct row *row, const char *text, void *field)
{
    double real;
    uint64_t number = 0;

    if (row->kind == KIND_DOUBLE) {
        if (!num_parse_double(bytes_cstr(text), &real))
            return -ERR_SYNTAX;
    } else {
        if (!num_parse_u64(bytes_cstr(text), &number))
            return -ERR_SYNTAX;
        real = (double)number;
    }
    if (!(real >= row->min && real <= row->max))
        return -ERR_RANGE;
    if (row->kind == KIND_DOUBLE)
        memcpy(field, &real, sizeof(real));
    else if (row->kind == KIND_U64)
        memcpy(field, &number, sizeof(number));
    else
        memcpy(field, &(uint32_t){(uint32_t)number}, sizeof(uint32_t));
    return 0;
}

static int set_parsed(const struct row *row, const char *text, struct bench_options *options)
{
    const int err = row->parse(text, options);

    /* At 0 is the host: no notation is kept there. */
    if (err == 0 && row->offset != 0)
        memcpy((char *)options + row->offset, &text, sizeof(text));
    return err;
}

static int set_option(const struct row *row, const char *text, struct bench_options *options)
{
    void *field = (char *)options + row->offset;

    switch (row->kind) {
    case KIND_TEXT:
        memcpy(field, &text, sizeof(text));
        return 0;
    case KIND_FLAG:
        memcpy(field, &(bool){true}, sizeof(bool));
        return 0;
    case KIND_U32:
    case KIND_U64:
    case KIND_DOUBLE:
        return set_number(row, text, field);
    case KIND_PARSE:
        return set_parsed(row, text, options);
    case KIND_HEADING:
        break;
    }
    UNREACHABLE();
}

void bench_options_default(struct bench_options *out)
{
    *out = (struct bench_options){.seed = 1};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (rows[i].initial != NULL)
            CHECK(set_option(&rows[i], rows[i].initial, out) == 0);
    }
}

static const char *check_keys(const struct bench_options *options)
{
    const size_t fixed = strlen(options->key_prefix) + 1; /* And the letter of the family. */
    const size_t digits = num_digits_u64(options->keys - 1);

    if (fixed + digits > options->key_bytes)
        return "--key-size is too small for --key-prefix, a letter and the digits of --keys";
    return NULL;
}

const char *bench_options_check(const struct bench_options *options)
{
    if (options->threads > options->clients)
        return "--clients must be at least --threads: every thread has a connection";
    if (options->requests == 0 && options->duration_s <= 0.0)
        return "give --requests or --duration";
    if (options->requests != 0 && options->warmup_s > 0.0)
        return "--warmup goes with --duration, not with --requests";
    if (options->timeout_s <= 0.0)
        return "--timeout must be above 0";
    if (options->verify && bench_size_min(&options->value_size) < BENCH_VALUE_VERIFY_BYTES_MIN)
        return "--verify needs values of at least 12 bytes";
    const uint64_t value_bytes = bench_size_max(&options->value_size);
    if (value_bytes * options->multi > REQUEST_BYTES_MAX)
        return "--multi times --value-size is above 256 MiB a request";
    return check_keys(options);
}

static int on_option(int index, const char *text, struct bench_options *options)
{
    const struct row *row = &rows[index];
    const int err = set_option(row, text, options);

    if (err == 0)
        return 0;
    if (err == -ERR_RANGE && row->kind != KIND_PARSE)
        fprintf(stderr, "tierra-bench: --%s: %s is not within %.15g .. %.15g\n", row->name, text,
                row->min, row->max);
    else
        fprintf(stderr, "tierra-bench: --%s: \"%s\": %s\n", row->name, text, err_str(err));
    return -ERR_CONFIG;
}

/* The rows as getopt_long wants them; row_of leads back from its index to ours. */
static void fill_longopts(struct option longopts[ARRAY_COUNT(rows) + 2], int row_of[])
{
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (rows[i].kind == KIND_HEADING)
            continue;
        const int has = rows[i].kind == KIND_FLAG ? no_argument : required_argument;
        longopts[count] = (struct option){.name = rows[i].name, .has_arg = has, .val = 1};
        row_of[count++] = (int)i;
    }
    longopts[count] = (struct option){.name = "help", .val = 'h'};
}

int bench_options_parse(int argc, char **argv, struct bench_options *out)
{
    struct option longopts[ARRAY_COUNT(rows) + 2] = {0};
    int row_of[ARRAY_COUNT(rows)] = {0};
    struct bench_options options;
    struct rng rng;
    int index = 0;
    int c;

    bench_options_default(&options);
    if (rng_seed_from_os(&rng) == 0)
        options.seed = rng_below(&rng, 1000000000);
    fill_longopts(longopts, row_of);
    /* One thread yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    while ((c = getopt_long(argc, argv, "h", longopts, &index)) != -1) {
        if (c == 'h') {
            print_help(stdout);
            return BENCH_OPTIONS_HELP;
        }
        if (c != 1 || on_option(row_of[index], optarg, &options) != 0)
            return -ERR_CONFIG;
    }
    const char *problem = optind < argc ? "unexpected argument" : bench_options_check(&options);
    if (problem != NULL) {
        fprintf(stderr, "tierra-bench: %s%s%s\n", problem, optind < argc ? ": " : "",
                optind < argc ? argv[optind] : "");
        return -ERR_CONFIG;
    }
    options.preload = options.preload || options.preload_only;
    *out = options;
    return BENCH_OPTIONS_RUN;
}
