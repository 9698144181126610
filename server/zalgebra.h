/*
 * ZUNION, ZINTER, ZDIFF, their STORE forms and ZINTERCARD as they are written: [destination]
 * numkeys key .. and options. Pure.
 */
#ifndef TIERRA_SERVER_ZALGEBRA_H
#define TIERRA_SERVER_ZALGEBRA_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/collmerge.h"

#include "server/command.h"

struct reply;

struct zalgebra {
    enum collmerge_op op;
    enum collmerge_aggregate aggregate;
    uint32_t keys_at; /* Argument of the first key. */
    uint32_t keys_count;
    uint32_t weights_at; /* Of the first weight; 0: none are given. */
    bool store;
    bool card;     /* ZINTERCARD: only the number is asked for, */
    bool scores;   /* WITHSCORES */
    int64_t limit; /* and no more than this; 0: no limit. */
};

enum zalgebra_error {
    ZALGEBRA_OK,
    ZALGEBRA_NOT_INTEGER,
    ZALGEBRA_NO_KEYS,
    ZALGEBRA_SYNTAX,
    ZALGEBRA_WEIGHT,
    ZALGEBRA_LIMIT
};

/* Whether it is one of these commands. */
bool zalgebra_is(const struct cmd *cmd);

/* The keys of such a command; then, behind what is wrong with them, its options. */
MUST_USE enum zalgebra_error zalgebra_keys(const struct cmd *cmd, uint32_t argc,
                                           const struct bytes *argv, struct zalgebra *out);
MUST_USE enum zalgebra_error zalgebra_options(uint32_t argc, const struct bytes *argv,
                                              struct zalgebra *out);

/* What the scores of the `i`-th key count. The options are right. */
double zalgebra_weight(const struct zalgebra *a, const struct bytes *argv, uint32_t i);

void zalgebra_reply_error(struct reply *r, const struct cmd *cmd, enum zalgebra_error why);

#endif
