/*
 * The slow log: the commands that took longer than slowlog-log-slower-than, newest first.
 *
 * Arguments are cut as Redis does (32 of them, 128 bytes each); those of commands with secrets are
 * not kept. Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_SLOWLOG_H
#define TIERRA_SERVER_SLOWLOG_H

#include <stdint.h>

#include "engine/base/bytes.h"

struct cmd;
struct conn;
struct slowlog;

#define SLOWLOG_ARGS_MAX      32
#define SLOWLOG_ARG_BYTES_MAX 128

struct slowlog_entry {
    uint64_t id;
    uint64_t at_s;
    uint64_t spent_us;
    uint32_t argc;
    struct bytes argv[SLOWLOG_ARGS_MAX]; /* Into `text`. */
    char addr[64];
    char name[64];
    uint8_t *text;
};

struct slowlog *slowlog_create(void);
void slowlog_destroy(struct slowlog *log);

/* Notes a command of the connection, which may have been one of its EXEC. */
void slowlog_add(struct conn *c, const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                 uint64_t spent_us);

uint64_t slowlog_count(const struct slowlog *log);
/* `index` 0: the newest. */
const struct slowlog_entry *slowlog_at(const struct slowlog *log, uint64_t index);
void slowlog_reset(struct slowlog *log);

#endif
