/* Ranges of sorted sets as commands write them: by rank, by score, by member. */
#ifndef TIERRA_SERVER_ZRANGE_H
#define TIERRA_SERVER_ZRANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

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
    bool scores;
};

/* A score or "(score"; "-", "+", "[member" or "(member". False: neither. */
MUST_USE bool zrange_parse_score(struct bytes arg, struct zrange_bound *out);
MUST_USE bool zrange_parse_lex(struct bytes arg, struct zrange_bound *out);

#endif
