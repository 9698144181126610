/* Ranges of sorted sets as commands write them: by rank, by score, by member. */
#ifndef TIERRA_SERVER_ZRANGE_H
#define TIERRA_SERVER_ZRANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "server/command.h"

struct reply;

enum zrange_by {
    BY_ANY,
    BY_RANK,
    BY_SCORE,
    BY_LEX
};

/* One end of a range. */
struct zrange_bound {
    int64_t rank;        /* BY_RANK: may be negative, from the end. */
    double score;        /* BY_SCORE */
    struct bytes member; /* BY_LEX */
    int8_t infinite;     /* BY_LEX: -1 before all members, 1 behind them. */
    bool exclusive;
};

struct zrange {
    struct zrange_bound min, max;
    int64_t offset;
    int64_t limit; /* -1: none. */
    uint8_t by;    /* enum zrange_by */
    bool reverse;
    bool scores; /* WITHSCORES */
};

/* What is wrong with the arguments; zrange_reply_error has the texts. */
enum zrange_error {
    ZRANGE_OK,
    ZRANGE_SYNTAX,
    ZRANGE_NOT_INTEGER,
    ZRANGE_NOT_FLOAT,
    ZRANGE_NOT_LEX,
    ZRANGE_LIMIT_BY_RANK,
    ZRANGE_SCORES_BY_LEX
};

/*
 * Whether the command names a range of a sorted set: ZRANGE, ZCOUNT, ZREMRANGEBYRANK and their
 * like. Then `*key_at` is the argument with the set, which the bounds follow.
 */
bool zrange_is(const struct cmd *cmd, uint32_t *key_at);

/*
 * The range that the command names, which is one of these. `argc` is enough for its arity. What it
 * names is borrowed from the arguments.
 */
MUST_USE enum zrange_error zrange_parse(const struct cmd *cmd, uint32_t argc,
                                        const struct bytes *argv, struct zrange *out);

void zrange_reply_error(struct reply *r, enum zrange_error why);

/*
 * BY_RANK, of a set of `size` members: how many it has; the first is `*out_start` members away from
 * where the reading begins.
 */
uint64_t zrange_positions(const struct zrange *range, uint64_t size, uint64_t *out_start);

/* Whether it has all members of a set of that size, whatever they are. */
bool zrange_is_all(const struct zrange *range, uint64_t size);

#endif
