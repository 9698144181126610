/*
 * tierra-inspect: reads a data directory without ever writing to it.
 *
 * Works with the server up or down. Of a running server it sees what is on flash: the store as it
 * was last flushed, and the op log, which has every change.
 */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_H
#define TIERRA_TOOLS_INSPECT_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/store/store.h"
#include "engine/value/vv.h"

#include "tools/inspect/inspect_out.h"

enum inspect_exit {
    INSPECT_OK = 0,
    INSPECT_DAMAGE = 1,
    INSPECT_USAGE = 2,
    INSPECT_UNREADABLE = 3,
};

#define INSPECT_PATH_BYTES 4400
#define INSPECT_SHARDS_MAX 256

struct inspect {
    const char *dir;
    int64_t shard; /* -1: all. */
    bool running;  /* A server has the directory open. */
    bool copy;     /* Made by SAVE: without logs. */
    bool group;    /* Of a member of a replication group. */
    uint32_t shards_count;
    uint64_t seed; /* Of the hashes of keys. */
    uint64_t now_ms;
    struct out out;
};

struct inspect_shard {
    uint32_t index;
    struct store *store;  /* NULL: not open. */
    uint64_t covered_lsn; /* Of this view of the store. */
    struct vv covered_vv;
    char dir[INSPECT_PATH_BYTES];
    char store_dir[INSPECT_PATH_BYTES];
    char log_dir[INSPECT_PATH_BYTES];
    char keys_path[INSPECT_PATH_BYTES];
};

/* --- inspect_dir.c --- */

/* Reads the format file. Returns an enum inspect_exit, after a message. */
MUST_USE int inspect_open(struct inspect *in);

/* The paths of a shard, and its store if `store`. Returns an enum inspect_exit, after a message. */
MUST_USE int inspect_shard_open(struct inspect *in, uint32_t index, bool store,
                                struct inspect_shard *out);
/* Its store alone, where it was left out. */
MUST_USE int inspect_store_open(struct inspect_shard *sh);
void inspect_shard_close(struct inspect_shard *sh);

/* Calls fn for each shard that was asked for; returns the worst exit code. */
typedef int (*inspect_shard_fn)(struct inspect *in, struct inspect_shard *sh, void *ctx);
MUST_USE int inspect_each_shard(struct inspect *in, bool store, inspect_shard_fn fn, void *ctx);

static inline int inspect_worse(int a, int b)
{
    return a > b ? a : b;
}

/* The exit code that an error stands for. */
int inspect_exit_of(int err);

/* One line on stderr. */
void inspect_say(const char *format, ...) PRINTF_LIKE(1, 2);

/* One line of usage error; returns INSPECT_USAGE. */
int inspect_usage(const char *format, ...) PRINTF_LIKE(1, 2);

/* --- inspect_name.c --- */

const char *inspect_type_name(unsigned type);
/* False: no such type. */
MUST_USE bool inspect_type_parse(const char *name, uint8_t *out);
const char *inspect_form_name(unsigned form);
const char *inspect_kind_name(unsigned row_kind);
const char *inspect_op_name(unsigned op_kind);

/* --- commands: argv[0] is the command --- */

int inspect_cmd_shards(struct inspect *in, int argc, char **argv);
int inspect_cmd_key(struct inspect *in, int argc, char **argv);
int inspect_cmd_keys(struct inspect *in, int argc, char **argv);
int inspect_cmd_oplog(struct inspect *in, int argc, char **argv);
int inspect_cmd_store(struct inspect *in, int argc, char **argv);
int inspect_cmd_verify(struct inspect *in, int argc, char **argv);

/* A number after an option, or a usage error: false. */
MUST_USE bool inspect_number(const char *option, const char *text, uint64_t *out);

#endif
