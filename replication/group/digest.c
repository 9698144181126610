/* Messages and judgement of digests; see digest.h. */
#include "replication/group/digest.h"

#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "replication/group/control.h"

#define VERSION      1u
#define HEAD_BYTES   40u
#define ASK_BYTES    16u
#define ANSWER_BYTES 28u /* Up to the number of shards. */
#define NAME_BYTES   10u

static const uint8_t magic[4] = {'T', 'D', 'I', 'G'};

struct digest_side *digest_side_create(void)
{
    struct digest_side *side = mem_zalloc(sizeof(*side));

    buf_init(&side->names, DIGEST_NAMES_BYTES_MAX);
    return side;
}

void digest_side_destroy(struct digest_side *side)
{
    if (side == NULL)
        return;
    buf_deinit(&side->names);
    mem_free(side);
}

/* --- writing --- */

static int begin(const struct digest_head *head, enum digest_kind kind, struct buf *out)
{
    uint8_t bytes[HEAD_BYTES] = {0};

    memcpy(bytes, magic, sizeof(magic));
    bytes[4] = VERSION;
    bytes[5] = (uint8_t)kind;
    bytes[6] = head->origin;
    memcpy(bytes + 16, head->group_id, MEMBERSHIP_ID_BYTES);
    le64_store(bytes + 32, head->number);
    buf_clear(out);
    return buf_append(out, bytes, sizeof(bytes));
}

static int end(int err, struct buf *out)
{
    if (err != 0)
        return err;
    if (out->len > CONTROL_MSG_BYTES_MAX)
        return -ERR_LIMIT;
    le64_store(out->ptr + 8, sum64_seed(out->ptr + 16, out->len - 16, le64_load(out->ptr)));
    return 0;
}

int digest_put_ask(const struct digest_head *head, const struct digest_ask *ask, struct buf *out)
{
    uint8_t body[ASK_BYTES];

    le64_store(body, ask->at_ms);
    le16_store(body + 8, ask->first);
    le16_store(body + 10, ask->end);
    le32_store(body + 12, ask->names_bytes_max);
    int err = begin(head, DIGEST_ASK, out);
    if (err == 0)
        err = buf_append(out, body, sizeof(body));
    return end(err, out);
}

static int put_positions(const struct digest_side *side, struct buf *out)
{
    uint8_t bytes[2 * POSV_BYTES_MAX];
    int err = 0;

    for (unsigned i = 0; err == 0 && i < side->shards_count; i++) {
        size_t len = posv_encode(&side->lower[i], bytes);
        len += posv_encode(&side->upper[i], bytes + len);
        err = buf_append(out, bytes, len);
    }
    return err;
}

static int put_sums(const struct digest_side *side, struct buf *out)
{
    uint8_t bytes[8];
    int err = 0;

    for (unsigned i = side->first; err == 0 && i < side->end; i++) {
        le64_store(bytes, side->sums[i]);
        err = buf_append(out, bytes, sizeof(bytes));
    }
    le32_store(bytes, (uint32_t)side->names.len);
    if (err == 0)
        err = buf_append(out, bytes, 4);
    return err == 0 ? buf_append_bytes(out, buf_bytes(&side->names)) : err;
}

int digest_put_answer(const struct digest_head *head, const struct digest_side *side,
                      struct buf *out)
{
    uint8_t body[ANSWER_BYTES];
    const size_t len = side->status == DIGEST_OK ? sizeof(body) : 1;

    body[0] = side->status;
    body[1] = side->names_cut;
    le32_store(body + 2, side->flush);
    le64_store(body + 6, side->keys);
    le64_store(body + 14, side->damaged);
    le16_store(body + 22, side->first);
    le16_store(body + 24, side->end);
    le16_store(body + 26, side->shards_count);
    int err = begin(head, DIGEST_ANSWER, out);
    if (err == 0)
        err = buf_append(out, body, len);
    if (err == 0 && side->status == DIGEST_OK)
        err = put_positions(side, out);
    if (err == 0 && side->status == DIGEST_OK)
        err = put_sums(side, out);
    return end(err, out);
}

/* --- reading --- */

bool digest_is_message(struct bytes in)
{
    return in.len >= sizeof(magic) && memcmp(in.ptr, magic, sizeof(magic)) == 0;
}

int digest_open(struct bytes in, struct digest_head *out, struct bytes *out_body)
{
    if (in.len < HEAD_BYTES || in.len > CONTROL_MSG_BYTES_MAX || !digest_is_message(in) ||
        le64_load(in.ptr + 8) != sum64_seed(in.ptr + 16, in.len - 16, le64_load(in.ptr)))
        return -ERR_CORRUPT;
    if (in.ptr[4] != VERSION)
        return -ERR_UNSUPPORTED;
    if (in.ptr[7] != 0 || in.ptr[6] == 0 || in.ptr[6] > VV_ORIGINS_MAX)
        return -ERR_CORRUPT;
    out->kind = in.ptr[5];
    out->origin = in.ptr[6];
    memcpy(out->group_id, in.ptr + 16, MEMBERSHIP_ID_BYTES);
    out->number = le64_load(in.ptr + 32);
    *out_body = bytes_from(in, HEAD_BYTES);
    return 0;
}

static bool range_ok(uint16_t first, uint16_t last)
{
    return first < last && last <= ROW_SUM_BUCKETS;
}

int digest_get_ask(struct bytes body, struct digest_ask *out)
{
    if (body.len != ASK_BYTES)
        return -ERR_CORRUPT;
    const struct digest_ask ask = {.at_ms = le64_load(body.ptr),
                                   .first = le16_load(body.ptr + 8),
                                   .end = le16_load(body.ptr + 10),
                                   .names_bytes_max = le32_load(body.ptr + 12)};
    if (!range_ok(ask.first, ask.end) || ask.names_bytes_max > DIGEST_NAMES_BYTES_MAX)
        return -ERR_CORRUPT;
    *out = ask;
    return 0;
}

static int get_positions(struct bytes *in, struct digest_side *out)
{
    int err = 0;

    for (unsigned i = 0; err == 0 && i < out->shards_count; i++) {
        err = posv_decode(in, &out->lower[i]);
        if (err == 0)
            err = posv_decode(in, &out->upper[i]);
    }
    return err == 0 ? 0 : -ERR_CORRUPT;
}

static int get_sums(struct bytes *in, struct digest_side *out)
{
    struct bytes raw;

    memset(out->sums, 0, sizeof(out->sums));
    for (unsigned i = out->first; i < out->end; i++) {
        if (!bytes_take(in, 8, &raw))
            return -ERR_CORRUPT;
        out->sums[i] = le64_load(raw.ptr);
    }
    if (!bytes_take(in, 4, &raw) || le32_load(raw.ptr) != in->len ||
        in->len > DIGEST_NAMES_BYTES_MAX)
        return -ERR_CORRUPT;
    buf_clear(&out->names);
    return buf_append_bytes(&out->names, *in);
}

int digest_get_answer(struct bytes body, struct digest_side *out)
{
    struct bytes head;

    if (body.len == 0 || body.ptr[0] >= DIGEST_STATUS_END)
        return -ERR_CORRUPT;
    out->status = body.ptr[0];
    if (out->status != DIGEST_OK)
        return body.len == 1 ? 0 : -ERR_CORRUPT;
    if (!bytes_take(&body, ANSWER_BYTES, &head) || head.ptr[1] > 1)
        return -ERR_CORRUPT;
    out->names_cut = head.ptr[1] != 0;
    out->flush = le32_load(head.ptr + 2);
    out->keys = le64_load(head.ptr + 6);
    out->damaged = le64_load(head.ptr + 14);
    out->first = le16_load(head.ptr + 22);
    out->end = le16_load(head.ptr + 24);
    out->shards_count = le16_load(head.ptr + 26);
    if (!range_ok(out->first, out->end) || out->shards_count == 0 ||
        out->shards_count > MEMBERSHIP_SHARDS_MAX)
        return -ERR_CORRUPT;
    const int err = get_positions(&body, out);
    return err != 0 ? err : get_sums(&body, out);
}

bool digest_next_name(struct bytes *names, struct bytes *out_name, uint64_t *out_sum)
{
    struct bytes head;

    if (!bytes_take(names, NAME_BYTES, &head))
        return false;
    *out_sum = le64_load(head.ptr);
    return bytes_take(names, le16_load(head.ptr + 8), out_name);
}

/* --- judgement --- */

/* At no shard is `low` of one beyond `high` of the other. */
static bool all_leq(const struct digest_side *a, const struct posv *low,
                    const struct digest_side *b, const struct posv *high)
{
    if (a->shards_count != b->shards_count || a->flush != b->flush)
        return false;
    for (unsigned i = 0; i < a->shards_count; i++) {
        if (!posv_leq(&low[i], &high[i]))
            return false;
    }
    return true;
}

bool digest_overlap(const struct digest_side *a, const struct digest_side *b)
{
    return all_leq(a, a->lower, b, b->upper) && all_leq(b, b->lower, a, a->upper);
}

/* Upper positions not beyond the lower ones of the other: with that all four are the same. */
static bool exact(const struct digest_side *a, const struct digest_side *b)
{
    return all_leq(a, a->upper, b, b->lower) && all_leq(b, b->upper, a, a->lower);
}

enum digest_verdict digest_judge(uint16_t bucket, const struct digest_side *a,
                                 const struct digest_side *b, const struct digest_side *a_before,
                                 const struct digest_side *b_before)
{
    if (a->sums[bucket] == b->sums[bucket])
        return DIGEST_SAME;
    if (exact(a, b))
        return DIGEST_DIFFERS;
    const bool still = a_before != NULL && b_before != NULL &&
                       a_before->sums[bucket] == a->sums[bucket] &&
                       b_before->sums[bucket] == b->sums[bucket];
    if (still && a_before->flush == a->flush && b_before->flush == b->flush &&
        all_leq(a_before, a_before->upper, b, b->lower) &&
        all_leq(b_before, b_before->upper, a, a->lower))
        return DIGEST_DIFFERS;
    return DIGEST_MOVING;
}
