/* Ranges of sorted sets as commands write them; zrange.h. */
#include "server/zrange.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/num.h"

#include "server/reply.h"

/* --- bounds --- */

/* As strtod reads it: blanks in front, no digits at all and overflow are fine, NaN is not. */
static bool parse_score(struct bytes arg, struct zrange_bound *out)
{
    char text[NUM_LDOUBLE_BYTES];
    char *end;

    out->exclusive = arg.len != 0 && arg.ptr[0] == '(';
    if (out->exclusive)
        arg = bytes_from(arg, 1);
    if (arg.len >= sizeof(text))
        return false;
    if (arg.len != 0)
        memcpy(text, arg.ptr, arg.len);
    text[arg.len] = 0;
    /* As Redis reads a bound: an empty text is 0, which num_parse_double refuses. */
    out->score = strtod(text, &end); /* tidy: allow strtod, Redis' own reading */
    return *end == 0 && !isnan(out->score);
}

/* "-", "+", "[member" or "(member". */
static bool parse_lex(struct bytes arg, struct zrange_bound *out)
{
    if (arg.len == 0)
        return false;
    if (arg.ptr[0] == '[' || arg.ptr[0] == '(') {
        out->exclusive = arg.ptr[0] == '(';
        out->member = bytes_from(arg, 1);
        return true;
    }
    out->infinite = arg.ptr[0] == '-' ? -1 : 1;
    return arg.len == 1 && (arg.ptr[0] == '-' || arg.ptr[0] == '+');
}

static enum zrange_error parse_bounds(struct bytes min, struct bytes max, struct zrange *range)
{
    switch (range->by) {
    case BY_RANK:
        return num_parse_i64(min, &range->min.rank) && num_parse_i64(max, &range->max.rank)
                   ? ZRANGE_OK
                   : ZRANGE_NOT_INTEGER;
    case BY_SCORE:
        return parse_score(min, &range->min) && parse_score(max, &range->max) ? ZRANGE_OK
                                                                              : ZRANGE_NOT_FLOAT;
    default:
        return parse_lex(min, &range->min) && parse_lex(max, &range->max) ? ZRANGE_OK
                                                                          : ZRANGE_NOT_LEX;
    }
}

/* --- options --- */

/* The words from argument `i` on. `all`: BYSCORE, BYLEX and REV are among them. */
static enum zrange_error parse_options(uint32_t i, uint32_t argc, const struct bytes *argv,
                                       bool store, struct zrange *range)
{
    const bool all = range->by == BY_ANY;

    for (; i < argc; i++) {
        if (!store && bytes_eq_nocase(argv[i], "WITHSCORES")) {
            range->scores = true;
        } else if (bytes_eq_nocase(argv[i], "LIMIT") && i + 2 < argc) {
            if (!num_parse_i64(argv[i + 1], &range->offset) ||
                !num_parse_i64(argv[i + 2], &range->limit))
                return ZRANGE_NOT_INTEGER;
            i += 2;
        } else if (all && !range->reverse && bytes_eq_nocase(argv[i], "REV")) {
            range->reverse = true;
        } else if (range->by == BY_ANY && bytes_eq_nocase(argv[i], "BYLEX")) {
            range->by = BY_LEX;
        } else if (range->by == BY_ANY && bytes_eq_nocase(argv[i], "BYSCORE")) {
            range->by = BY_SCORE;
        } else {
            return ZRANGE_SYNTAX;
        }
    }
    if (range->by == BY_ANY)
        range->by = BY_RANK;
    if (range->limit != -1 && range->by == BY_RANK)
        return ZRANGE_LIMIT_BY_RANK;
    return range->scores && range->by == BY_LEX ? ZRANGE_SCORES_BY_LEX : ZRANGE_OK;
}

/* --- commands --- */

/* What the command itself says of its range. False: it has none. */
static bool fixed(const struct cmd *cmd, struct zrange *out)
{
    *out = (struct zrange){.limit = -1};
    switch (cmd->id) {
    case CMD_ID_zrange:
    case CMD_ID_zrangestore:
        return true;
    case CMD_ID_zrevrange:
    case CMD_ID_zremrangebyrank:
        out->by = BY_RANK;
        break;
    case CMD_ID_zrangebyscore:
    case CMD_ID_zrevrangebyscore:
    case CMD_ID_zcount:
    case CMD_ID_zremrangebyscore:
        out->by = BY_SCORE;
        break;
    case CMD_ID_zrangebylex:
    case CMD_ID_zrevrangebylex:
    case CMD_ID_zlexcount:
    case CMD_ID_zremrangebylex:
        out->by = BY_LEX;
        break;
    default:
        return false;
    }
    out->reverse = cmd->id == CMD_ID_zrevrange || cmd->id == CMD_ID_zrevrangebyscore ||
                   cmd->id == CMD_ID_zrevrangebylex;
    return true;
}

bool zrange_is(const struct cmd *cmd, uint32_t *key_at)
{
    struct zrange range;

    *key_at = cmd->id == CMD_ID_zrangestore ? 2 : 1;
    return fixed(cmd, &range);
}

enum zrange_error zrange_parse(const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                               struct zrange *out)
{
    uint32_t at;

    CHECK(zrange_is(cmd, &at) && fixed(cmd, out) && at + 2 < argc);
    const enum zrange_error err =
        parse_options(at + 3, argc, argv, cmd->id == CMD_ID_zrangestore, out);
    if (err != ZRANGE_OK)
        return err;
    const bool swap = out->reverse && out->by != BY_RANK;
    return parse_bounds(argv[swap ? at + 2 : at + 1], argv[swap ? at + 1 : at + 2], out);
}

void zrange_reply_error(struct reply *r, enum zrange_error why)
{
    switch (why) {
    case ZRANGE_SYNTAX:
        reply_err_syntax(r);
        return;
    case ZRANGE_NOT_INTEGER:
        reply_err_not_integer(r);
        return;
    case ZRANGE_NOT_FLOAT:
        reply_err_min_max_float(r);
        return;
    case ZRANGE_NOT_LEX:
        reply_err_min_max_lex(r);
        return;
    case ZRANGE_LIMIT_BY_RANK:
        reply_error(r, "ERR syntax error, LIMIT is only supported in combination with either "
                       "BYSCORE or BYLEX");
        return;
    case ZRANGE_SCORES_BY_LEX:
        reply_error(r, "ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        return;
    case ZRANGE_OK:
        break;
    }
    UNREACHABLE();
}

uint64_t zrange_positions(const struct zrange *range, uint64_t size, uint64_t *out_start)
{
    const int64_t count = (int64_t)size;
    int64_t start = range->min.rank;
    int64_t end = range->max.rank;

    start = start < 0 ? i64_max(start + count, 0) : start;
    end = end < 0 ? end + count : i64_min(end, count - 1);
    *out_start = (uint64_t)start;
    return start > end || start >= count ? 0 : (uint64_t)(end - start) + 1;
}

bool zrange_is_all(const struct zrange *range, uint64_t size)
{
    const struct zrange_bound *min = &range->min, *max = &range->max;
    uint64_t start;

    switch (range->by) {
    case BY_RANK:
        return zrange_positions(range, size, &start) == size;
    case BY_SCORE:
        return !min->exclusive && isinf(min->score) && min->score < 0 && !max->exclusive &&
               isinf(max->score) && max->score > 0;
    default:
        return min->infinite < 0 && max->infinite > 0;
    }
}
