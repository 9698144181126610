/* Options and walk of HSCAN, SSCAN, ZSCAN; collscan.h tells. */
#include "server/collscan.h"

#include <ctype.h>

#include "engine/space/coll.h"

#include "server/glob.h"
#include "server/request.h"

/* A collection of no more elements is shown by one call. */
#define SCAN_SMALL 128
/* The most that one call shows, whatever COUNT says; a leaf is finished in any case. */
#define SCAN_COUNT_MAX 100000
#define SCAN_COUNT     10

struct collscan {
    struct request *rq;
    collscan_emit_fn *emit;
    struct collscan_options options;
    uint64_t seen;
    uint64_t shown;
};

bool collscan_parse_cursor(struct bytes text, uint64_t *out)
{
    const bool negative = text.len != 0 && text.ptr[0] == '-';
    size_t i = negative || (text.len != 0 && text.ptr[0] == '+');
    uint64_t value = 0;

    if (i != 0 && text.len == 1)
        return false;
    for (; i < text.len; i++) {
        const uint8_t digit = (uint8_t)(text.ptr[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return false;
    }
    *out = negative ? 0 - value : value;
    return true;
}

bool collscan_cursor(struct reply *out, struct bytes text, uint64_t *cursor)
{
    if (collscan_parse_cursor(text, cursor))
        return true;
    reply_err_cursor(out);
    return false;
}

static bool parse_count(struct reply *out, struct bytes text, uint32_t *count)
{
    int64_t value;

    if (!num_parse_i64(text, &value))
        reply_err_not_integer(out);
    else if (value < 1)
        reply_err_syntax(out);
    else
        *count = (uint32_t)i64_min(value, SCAN_COUNT_MAX);
    return num_parse_i64(text, &value) && value >= 1;
}

bool collscan_options(struct reply *out, uint32_t argc, const struct bytes *argv,
                      struct collscan_options *options)
{
    *options = (struct collscan_options){.count = SCAN_COUNT};
    for (uint32_t i = 3; i < argc; i += 2) {
        const bool pair = i + 1 < argc;
        if (pair && bytes_eq_nocase(argv[i], "COUNT")) {
            if (!parse_count(out, argv[i + 1], &options->count))
                return false;
        } else if (pair && bytes_eq_nocase(argv[i], "MATCH")) {
            options->pattern = argv[i + 1];
            options->filtered = !bytes_eq(options->pattern, BYTES_LIT("*"));
        } else {
            reply_err_syntax(out);
            return false;
        }
    }
    return true;
}

bool collscan_matches(const struct collscan_options *options, struct bytes sub)
{
    return !options->filtered || glob_match(options->pattern, sub, false);
}

static void show(void *ctx, struct elem *elem)
{
    struct collscan *s = ctx;

    s->seen++;
    if (!collscan_matches(&s->options, elem_sub(elem)))
        return;
    s->shown++;
    s->emit(s->rq, elem);
}

void collscan_reply_head(struct reply *out, uint64_t cursor)
{
    char text[NUM_I64_BYTES];

    reply_array(out, 2);
    reply_bulk(out, bytes_of(text, num_print_u64(text, cursor)));
}

/*
 * The cursor stands before the elements in the reply, but is known behind them only; so the walk
 * is made twice, first without showing anything.
 */
static void count_only(void *ctx, struct elem *elem)
{
    uint64_t *seen = ctx;

    (void)elem;
    (*seen)++;
}

static uint64_t walk(const struct coll *coll, uint64_t cursor, uint64_t want, const uint64_t *seen,
                     coll_scan_fn *fn, void *ctx)
{
    do {
        cursor = coll_scan(coll, cursor, fn, ctx);
    } while (cursor != 0 && *seen < want);
    return cursor;
}

void collscan_run(struct request *rq, uint8_t type, uint32_t per_elem, collscan_emit_fn *emit)
{
    struct collscan s = {.rq = rq, .emit = emit};
    const struct ks_key key = req_key(rq, 1);
    uint64_t cursor, seen = 0;

    if (!collscan_cursor(rq->out, rq->argv[2], &cursor))
        return;
    struct obj *obj = req_get(rq, &key);
    if (!req_type_ok(rq, obj, type))
        return;
    if (obj == NULL) {
        collscan_reply_head(rq->out, 0);
        reply_array(rq->out, 0);
        return;
    }
    if (!collscan_options(rq->out, rq->argc, rq->argv, &s.options))
        return;
    if ((cursor & COLLSCAN_ON_FLASH) != 0)
        cursor = 0;
    const struct coll *coll = obj_coll(obj);
    const bool all = cursor == 0 && coll->count <= SCAN_SMALL;
    const uint64_t want = all ? SCAN_SMALL : s.options.count;
    collscan_reply_head(rq->out, walk(coll, cursor, want, &seen, count_only, &seen));
    const struct reply_mark mark = reply_deferred_begin(rq->out, seen * per_elem);
    (void)walk(coll, cursor, want, &s.seen, show, &s);
    reply_deferred_array(rq->out, mark, s.shown * per_elem);
}
