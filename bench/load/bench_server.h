/*
 * The server as seen from beside the load: a connection of its own for PING and INFO, and its
 * process if that is local. Samples taken before and after a run show what the run changed.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_SERVER_H
#define TIERRA_BENCH_LOAD_BENCH_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/attr.h"

#include "bench/load/bench_connect.h"
#include "bench/load/bench_options.h"
#include "bench/load/bench_proc.h"

#define BENCH_INFO_FIELDS_MAX 1024
#define BENCH_INFO_NAME_BYTES 64
#define BENCH_INFO_TEXT_BYTES 48

/* One "name:value" line of INFO; long values are cut. */
struct bench_info_field {
    char name[BENCH_INFO_NAME_BYTES];
    char text[BENCH_INFO_TEXT_BYTES];
    bool tiering; /* In a section whose name contains "tiering". */
};

struct bench_info {
    size_t count;
    struct bench_info_field fields[BENCH_INFO_FIELDS_MAX];
};

/* Reads the text of INFO; lines beyond BENCH_INFO_FIELDS_MAX are ignored. */
void bench_info_parse(struct bytes text, struct bench_info *out);

/* The value as text or as a number; NULL or false if there is none (or it is no number). */
const char *bench_info_text(const struct bench_info *info, const char *name);
bool bench_info_number(const struct bench_info *info, const char *name, double *out);

/* Whether a change of this field tells about hits, misses or tiers. */
bool bench_info_interesting(const struct bench_info_field *field);

struct bench_server {
    int fd;
    int pid; /* 0: not known, or not local. */
    char version[BENCH_INFO_TEXT_BYTES * 2];
};

/* Connects, checks that the server answers, finds its process. Returns 0 or a negative error. */
MUST_USE int bench_server_open(struct bench_server *server, const struct bench_options *options,
                               struct bench_error *error);
void bench_server_close(struct bench_server *server);

struct bench_sample {
    bool has_proc;
    bool has_info;
    struct bench_proc proc;
    struct bench_info info;
};

/* Takes what can be had; never fails. */
void bench_server_sample(const struct bench_server *server, const struct bench_options *options,
                         struct bench_sample *out);

#endif
