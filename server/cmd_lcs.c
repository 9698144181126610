/*
 * LCS: the longest common subsequence of two strings.
 *
 * The textbook table: length(i, j) is that of the first i bytes of a and the first j of b,
 *
 *     length(i, j) = length(i-1, j-1) + 1                      if a[i-1] = b[j-1]
 *                    max(length(i-1, j), length(i, j-1))       else
 *
 * of which only the last row is kept. The way back through the table needs to know of each cell
 * with different bytes whether the cell above is longer: one bit, where Redis keeps the length, 32.
 * What Redis refuses for the size of its table is refused here, too.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/mem.h"

#include "server/config.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"

struct lcs {
    struct bytes a;
    struct bytes b;
    uint8_t *copies[2]; /* Of strings in chunks. */
    char texts[2][REQ_TEXT_BYTES];
    uint32_t *row;  /* Lengths of the last row. */
    uint64_t *bits; /* Cell (i, j) at i * b.len + j: the one above is longer. NULL: no way back. */
    uint32_t length;
    int64_t match_min;
    bool length_only;
    bool index;
    bool match_length;
};

/* --- arguments --- */

/* A string key as a slice; false after an error reply. */
static bool string_arg(struct request *rq, uint32_t at, uint32_t which, struct lcs *lcs,
                       struct bytes *out)
{
    const struct ks_key key = req_key(rq, at);
    struct obj *obj = req_get(rq, &key);

    *out = bytes_of("", 0);
    if (obj == NULL)
        return true;
    if (obj->h.type != VT_STRING) {
        reply_error(rq->out, "ERR The specified keys must contain string values");
        return false;
    }
    if (!obj_is_chunked(obj)) {
        *out = req_string(rq, obj, lcs->texts[which]);
        return true;
    }
    const uint64_t len = strval_len(obj);
    lcs->copies[which] = mem_try_alloc((size_t)len);
    if (lcs->copies[which] == NULL) {
        reply_err_oom(rq->out, "the value does not fit into memory");
        return false;
    }
    strval_copy(obj_coll(obj), 0, lcs->copies[which], len);
    *out = bytes_of(lcs->copies[which], (size_t)len);
    return true;
}

static bool options(struct request *rq, struct lcs *lcs)
{
    for (uint32_t i = 3; i < rq->argc; i++) {
        if (req_is(rq, i, "IDX")) {
            lcs->index = true;
        } else if (req_is(rq, i, "LEN")) {
            lcs->length_only = true;
        } else if (req_is(rq, i, "WITHMATCHLEN")) {
            lcs->match_length = true;
        } else if (req_is(rq, i, "MINMATCHLEN") && i + 1 < rq->argc) {
            if (!req_i64(rq, ++i, &lcs->match_min))
                return false;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    if (!lcs->index || !lcs->length_only)
        return true;
    reply_error(rq->out, "ERR If you want both the length and indexes, please just use IDX.");
    return false;
}

static bool size_ok(struct request *rq, const struct lcs *lcs)
{
    if (lcs->a.len >= UINT32_MAX - 1 || lcs->b.len >= UINT32_MAX - 1) {
        reply_error(rq->out, "ERR String too long for LCS");
        return false;
    }
    const uint64_t cells = ((uint64_t)lcs->a.len + 1) * ((uint64_t)lcs->b.len + 1);
    if (cells <= (uint64_t)rq->sh->cfg->proto_max_bulk_len / sizeof(uint32_t))
        return true;
    reply_error(rq->out,
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    return false;
}

/* --- the table --- */

static bool bit_of(const struct lcs *lcs, uint32_t i, uint32_t j)
{
    const uint64_t cell = (uint64_t)i * lcs->b.len + j;

    return (lcs->bits[cell / 64] >> (cell % 64) & 1u) != 0;
}

/* The row of byte i of a, from that before it. */
static void fill_row(struct lcs *lcs, uint32_t i)
{
    const uint8_t byte = lcs->a.ptr[i];
    const uint32_t n = (uint32_t)lcs->b.len;
    uint32_t *row = lcs->row; /* row[j + 1] is the cell of byte j of b. */
    uint32_t diagonal = 0;

    for (uint32_t j = 0; j < n; j++) {
        const uint32_t above = row[j + 1];
        if (lcs->b.ptr[j] == byte) {
            row[j + 1] = diagonal + 1;
        } else if (above > row[j]) {
            const uint64_t cell = (uint64_t)i * n + j;
            if (lcs->bits != NULL)
                lcs->bits[cell / 64] |= UINT64_C(1) << (cell % 64);
        } else {
            row[j + 1] = row[j];
        }
        diagonal = above;
    }
}

/* False: no memory. */
static bool fill(struct lcs *lcs)
{
    const uint64_t cells = (uint64_t)lcs->a.len * lcs->b.len;

    lcs->row = mem_try_zalloc((lcs->b.len + 1) * sizeof(*lcs->row));
    if (lcs->row == NULL)
        return false;
    if (!lcs->length_only) {
        lcs->bits = mem_try_zalloc((size_t)(cells / 64 + 1) * sizeof(*lcs->bits));
        if (lcs->bits == NULL)
            return false;
    }
    for (uint32_t i = 0; i < lcs->a.len; i++)
        fill_row(lcs, i);
    lcs->length = lcs->row[lcs->b.len];
    return true;
}

/* One step back from (i, j); true if both bytes are part of the sequence. */
static bool step_back(const struct lcs *lcs, uint32_t *i, uint32_t *j)
{
    if (lcs->a.ptr[*i - 1] == lcs->b.ptr[*j - 1]) {
        --*i;
        --*j;
        return true;
    }
    if (bit_of(lcs, *i - 1, *j - 1))
        --*i;
    else
        --*j;
    return false;
}

/* --- replies --- */

static void reply_sequence(struct request *rq, const struct lcs *lcs)
{
    uint32_t i = (uint32_t)lcs->a.len, j = (uint32_t)lcs->b.len;
    uint32_t left = lcs->length;
    uint8_t *to = reply_bulk_space(rq->out, lcs->length);

    while (to != NULL && left > 0) {
        if (step_back(lcs, &i, &j))
            to[--left] = lcs->a.ptr[i];
    }
}

static void reply_range(struct request *rq, uint32_t first, uint32_t len)
{
    reply_array(rq->out, 2);
    reply_u64(rq->out, first);
    reply_u64(rq->out, (uint64_t)first + len - 1);
}

/* Of `len` bytes from i and j on. */
static bool reply_match(struct request *rq, const struct lcs *lcs, uint32_t i, uint32_t j,
                        uint32_t len)
{
    if (len == 0 || (int64_t)len < lcs->match_min)
        return false;
    reply_array(rq->out, lcs->match_length ? 3 : 2);
    reply_range(rq, i, len);
    reply_range(rq, j, len);
    if (lcs->match_length)
        reply_u64(rq->out, len);
    return true;
}

/* The stretches that both have, the last first. */
static void reply_matches(struct request *rq, const struct lcs *lcs)
{
    uint32_t i = (uint32_t)lcs->a.len, j = (uint32_t)lcs->b.len;
    uint32_t run = 0;
    uint64_t count = 0;

    reply_map(rq->out, 2);
    reply_bulk_cstr(rq->out, "matches");
    const struct reply_mark mark = reply_deferred_begin(rq->out, 1);
    while (i > 0 && j > 0) {
        const uint32_t at_i = i, at_j = j; /* Where the run begins, if it ends here. */
        if (step_back(lcs, &i, &j)) {
            run++;
            continue;
        }
        count += reply_match(rq, lcs, at_i, at_j, run);
        run = 0;
    }
    count += reply_match(rq, lcs, i, j, run);
    reply_deferred_array(rq->out, mark, count);
    reply_bulk_cstr(rq->out, "len");
    reply_u64(rq->out, lcs->length);
}

static void run(struct request *rq, struct lcs *lcs)
{
    if (!fill(lcs))
        reply_error(rq->out, "ERR Insufficient memory, failed allocating transient memory for LCS");
    else if (lcs->index)
        reply_matches(rq, lcs);
    else if (lcs->length_only)
        reply_u64(rq->out, lcs->length);
    else
        reply_sequence(rq, lcs);
}

/* LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN] */
void cmd_lcs(struct request *rq)
{
    struct lcs *lcs = mem_zalloc(sizeof(*lcs));

    if (string_arg(rq, 1, 0, lcs, &lcs->a) && string_arg(rq, 2, 1, lcs, &lcs->b) &&
        options(rq, lcs) && size_ok(rq, lcs))
        run(rq, lcs);
    mem_free(lcs->row);
    mem_free(lcs->bits);
    mem_free(lcs->copies[0]);
    mem_free(lcs->copies[1]);
    mem_free(lcs);
}
