/*
 * Which bytes of a string a command needs, so that of a long cold one only those are read. What it
 * finds the handler finds, too: both use these functions.
 */
#ifndef TIERRA_SERVER_STRSPAN_H
#define TIERRA_SERVER_STRSPAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct cmd;
struct keyspace;
struct ks_key;
struct ks_wait;

/* GETRANGE and its like: false if the range is empty. Negative ends count from the end. */
bool strspan_clamp(int64_t start, int64_t end, uint64_t len, uint64_t *out_first,
                   uint64_t *out_end);

/* Whether the command names a part of a string. */
bool strspan_is(const struct cmd *cmd);

/* A command with its arguments. */
struct strspan_asked {
    const struct cmd *cmd;
    uint32_t argc;
    const struct bytes *argv;
};

/* As ks_need_key, for what the command needs of the key, if that is a string. */
MUST_USE int strspan_need(struct keyspace *ks, const struct ks_key *key,
                          const struct strspan_asked *asked, uint64_t now_ms, struct ks_wait *wait);

#endif
