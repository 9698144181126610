/*
 * Frames and the small bodies.
 */
#include "replication/group/wire.h"

#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#include "replication/group/pack.h"

#define FLAG_PACKED   1u
#define GENERATION_AT 8u
#define SUM_AT        12u
/* Bodies, or what stands before their vectors. */
#define HELLO_BYTES     48u
#define ACK_BYTES       8u
#define HEARTBEAT_BYTES 56u
#define REQUEST_BYTES   21u
#define CREDIT_BYTES    8u
#define NACK_BYTES      14u
#define BYE_BYTES       9u
/* A frame that gets shorter by less than one part in so many was not worth it, */
#define PACK_GAIN_MIN 16u
/* and so many are then sent as they are. */
#define PLAIN_FRAMES 31u

const char *wire_reason_str(uint8_t reason)
{
    static const char *const texts[WIRE_REASON_END] = {
        [WIRE_OK] = "none",
        [WIRE_CLOSED] = "closed by the peer",
        [WIRE_GROUP] = "belongs to another group",
        [WIRE_VERSION] = "speaks another protocol version",
        [WIRE_IDENTITY] = "is not the expected member, incarnation or shard",
        [WIRE_EPOCH] = "has another membership epoch",
        [WIRE_DAMAGED] = "sent damaged bytes",
        [WIRE_PROTOCOL_ERR] = "broke the protocol",
        [WIRE_UNSUPPORTED] = "sent an op of a later version",
        [WIRE_CLOCK] = "sent ops from the future: a clock is wrong",
        [WIRE_FORK] = "has other batches under the same numbers",
        [WIRE_WENT_BACK] = "lost what it had acknowledged",
        [WIRE_TRIMMED] = "the log does not reach back far enough",
        [WIRE_SEALED] = "the origin was sealed",
        [WIRE_TIMEOUT] = "nothing was heard",
        [WIRE_REMOVED] = "is not a member",
    };

    return reason < WIRE_REASON_END ? texts[reason] : "?";
}

/* --- frames --- */

static bool may_be_long(uint8_t kind)
{
    return kind == WIRE_BATCHES || kind == WIRE_SYNC_ASK || kind == WIRE_SYNC_ROWS;
}

int wire_frame_size(struct bytes in, size_t *out)
{
    if (in.len < WIRE_HEADER_BYTES) {
        *out = WIRE_HEADER_BYTES;
        return -ERR_TRUNCATED;
    }
    const uint32_t len = le32_load(in.ptr);

    if (len > WIRE_BODY_BYTES_MAX || in.ptr[4] == 0 || in.ptr[4] >= WIRE_KIND_END ||
        (!may_be_long(in.ptr[4]) && len > WIRE_SMALL_BYTES_MAX) ||
        (in.ptr[5] & ~(may_be_long(in.ptr[4]) ? FLAG_PACKED : 0u)) != 0 ||
        le16_load(in.ptr + 6) != 0 ||
        (in.ptr[4] != WIRE_BATCHES && le32_load(in.ptr + GENERATION_AT) != 0))
        return -ERR_PROTOCOL;
    *out = WIRE_HEADER_BYTES + len;
    return in.len < *out ? -ERR_TRUNCATED : 0;
}

int wire_open(struct bytes in, struct pack *pack, struct buf *scratch, struct wire_frame *out)
{
    size_t size;
    int err = wire_frame_size(in, &size);

    if (err != 0 || size != in.len)
        return err == -ERR_PROTOCOL ? err : -ERR_CORRUPT;
    struct bytes body = bytes_from(in, WIRE_HEADER_BYTES);
    const uint32_t generation = le32_load(in.ptr + GENERATION_AT);
    const uint64_t sum = sum64_seed(body.ptr, body.len, le64_load(in.ptr));
    if (le64_load(in.ptr + SUM_AT) != (sum ^ generation))
        return -ERR_CORRUPT;
    if ((in.ptr[5] & FLAG_PACKED) != 0) {
        uint32_t raw_len;

        if (le32_get(&body, &raw_len) != 0 || raw_len > WIRE_BODY_BYTES_MAX)
            return -ERR_CORRUPT;
        buf_clear(scratch);
        err = pack_expand(pack, body, raw_len, scratch);
        if (err != 0)
            return err;
        body = buf_bytes(scratch);
    }
    out->kind = in.ptr[4];
    out->generation = generation;
    out->body = body;
    return 0;
}

void wire_frame_set_generation(uint8_t *frame, uint32_t generation)
{
    const uint32_t before = le32_load(frame + GENERATION_AT);

    le32_store(frame + GENERATION_AT, generation);
    le64_store(frame + SUM_AT, le64_load(frame + SUM_AT) ^ before ^ generation);
}

/* Room for a frame with a body of up to `len` bytes: where the body goes, or NULL. */
static uint8_t *frame_begin(struct buf *out, size_t len, int *err)
{
    *err = buf_reserve(out, WIRE_HEADER_BYTES + len);
    return *err == 0 ? buf_end(out) + WIRE_HEADER_BYTES : NULL;
}

static void frame_end(struct buf *out, uint8_t kind, unsigned flags, size_t len)
{
    uint8_t *header = buf_end(out);

    CHECK(len <= WIRE_BODY_BYTES_MAX);
    le32_store(header, (uint32_t)len);
    header[4] = kind;
    header[5] = (uint8_t)flags;
    le16_store(header + 6, 0);
    le32_store(header + GENERATION_AT, 0);
    le64_store(header + SUM_AT, sum64_seed(header + WIRE_HEADER_BYTES, len, le64_load(header)));
    buf_commit(out, WIRE_HEADER_BYTES + len);
}

static int put_packed(struct buf *out, uint8_t kind, struct bytes body, struct pack *pack)
{
    const size_t start = out->len;
    int err = buf_reserve(out, WIRE_HEADER_BYTES + 4);

    if (err != 0)
        return err;
    buf_commit(out, WIRE_HEADER_BYTES + 4);
    err = pack_compress(pack, body, out);
    if (err != 0) {
        buf_truncate(out, start);
        return err;
    }
    const size_t len = out->len - start - WIRE_HEADER_BYTES;
    le32_store(out->ptr + start + WIRE_HEADER_BYTES, (uint32_t)body.len);
    buf_truncate(out, start);
    frame_end(out, kind, FLAG_PACKED, len);
    return 0;
}

static int put_plain(struct buf *out, uint8_t kind, struct bytes body)
{
    int err;
    uint8_t *at = frame_begin(out, body.len, &err);

    if (at == NULL)
        return err;
    if (body.len != 0)
        memcpy(at, body.ptr, body.len);
    frame_end(out, kind, 0, body.len);
    return 0;
}

int wire_put_body(struct buf *out, uint8_t kind, struct bytes body, struct pack *pack)
{
    if (body.len >= WIRE_PACK_BYTES_MIN && put_packed(out, kind, body, pack) == 0)
        return 0;
    return put_plain(out, kind, body);
}

int wire_writer_end(struct wire_writer *w, struct pack *pack, struct buf *out)
{
    const struct bytes body = buf_bytes(&w->body);
    const size_t start = out->len;
    int err;

    CHECK(w->count != 0);
    if (w->plain != 0) {
        w->plain--;
        err = put_plain(out, WIRE_BATCHES, body);
    } else {
        err = wire_put_body(out, WIRE_BATCHES, body, pack);
        if (err == 0 && body.len >= WIRE_PACK_BYTES_MIN &&
            out->len - start > body.len - body.len / PACK_GAIN_MIN)
            w->plain = PLAIN_FRAMES;
    }
    if (err == 0)
        wire_frame_set_generation(out->ptr + start, w->head.generation);
    return err;
}

/* --- putting --- */

int wire_put_hello(struct buf *out, const struct wire_hello *hello)
{
    int err;
    uint8_t *body = frame_begin(out, WIRE_SMALL_BYTES_MAX, &err);
    size_t len = HELLO_BYTES;

    if (body == NULL)
        return err;
    body[0] = hello->protocol;
    body[1] = hello->origin;
    le16_store(body + 2, hello->shard);
    le32_store(body + 4, 0);
    memcpy(body + 8, hello->group_id, WIRE_GROUP_ID_BYTES);
    le64_store(body + 24, hello->incarnation);
    le64_store(body + 32, hello->epoch);
    le32_store(body + 40, hello->flush);
    le32_store(body + 44, 0);
    len += posv_encode(&hello->applied, body + len);
    len += posv_encode(&hello->durable, body + len);
    len += posv_encode(&hello->trimmed, body + len);
    frame_end(out, WIRE_HELLO, 0, len);
    return 0;
}

int wire_put_ack(struct buf *out, const struct wire_ack *ack)
{
    int err;
    uint8_t *body = frame_begin(out, ACK_BYTES + POSV_BYTES_MAX, &err);

    if (body == NULL)
        return err;
    le64_store(body, ack->as_of_seq);
    frame_end(out, WIRE_ACK, 0, ACK_BYTES + posv_encode(&ack->durable, body + ACK_BYTES));
    return 0;
}

int wire_put_heartbeat(struct buf *out, const struct wire_heartbeat *heartbeat)
{
    int err;
    uint8_t *body = frame_begin(out, HEARTBEAT_BYTES, &err);

    if (body == NULL)
        return err;
    le64_store(body, heartbeat->hlc);
    le64_store(body + 8, heartbeat->seq);
    le64_store(body + 16, heartbeat->wall_ms);
    le64_store(body + 24, heartbeat->sent_ms);
    le64_store(body + 32, heartbeat->echo_ms);
    le64_store(body + 40, heartbeat->held_ms);
    le32_store(body + 48, heartbeat->flush);
    le32_store(body + 52, heartbeat->full);
    frame_end(out, WIRE_HEARTBEAT, 0, HEARTBEAT_BYTES);
    return 0;
}

int wire_put_request(struct buf *out, const struct wire_request *request)
{
    int err;
    uint8_t *body = frame_begin(out, REQUEST_BYTES, &err);

    if (body == NULL)
        return err;
    body[0] = request->origin;
    le32_store(body + 1, request->generation);
    le64_store(body + 5, request->from_seq);
    le64_store(body + 13, request->to_seq);
    frame_end(out, WIRE_REQUEST, 0, REQUEST_BYTES);
    return 0;
}

int wire_put_credit(struct buf *out, uint64_t total)
{
    int err;
    uint8_t *body = frame_begin(out, CREDIT_BYTES, &err);

    if (body == NULL)
        return err;
    le64_store(body, total);
    frame_end(out, WIRE_CREDIT, 0, CREDIT_BYTES);
    return 0;
}

int wire_put_nack(struct buf *out, const struct wire_nack *nack)
{
    int err;
    uint8_t *body = frame_begin(out, NACK_BYTES, &err);

    if (body == NULL)
        return err;
    body[0] = nack->origin;
    le32_store(body + 1, nack->generation);
    body[5] = nack->reason;
    le64_store(body + 6, nack->trimmed_seq);
    frame_end(out, WIRE_NACK, 0, NACK_BYTES);
    return 0;
}

int wire_put_bye(struct buf *out, const struct wire_bye *bye)
{
    int err;
    uint8_t *body = frame_begin(out, BYE_BYTES, &err);

    if (body == NULL)
        return err;
    body[0] = bye->reason;
    le64_store(body + 1, bye->detail);
    frame_end(out, WIRE_BYE, 0, BYE_BYTES);
    return 0;
}

/* --- getting --- */

int wire_get_hello(struct bytes body, struct wire_hello *out)
{
    struct bytes id;
    uint32_t zero;
    uint32_t zero_too;

    if (u8_get(&body, &out->protocol) != 0 || u8_get(&body, &out->origin) != 0 ||
        le16_get(&body, &out->shard) != 0 || le32_get(&body, &zero) != 0 ||
        !bytes_take(&body, WIRE_GROUP_ID_BYTES, &id) || le64_get(&body, &out->incarnation) != 0 ||
        le64_get(&body, &out->epoch) != 0 || le32_get(&body, &out->flush) != 0 ||
        le32_get(&body, &zero_too) != 0)
        return -ERR_CORRUPT;
    memcpy(out->group_id, id.ptr, id.len);
    if (out->protocol != WIRE_PROTOCOL)
        return 0; /* What follows may be different; the caller refuses it. */
    if (zero != 0 || zero_too != 0 || posv_decode(&body, &out->applied) != 0 ||
        posv_decode(&body, &out->durable) != 0 || posv_decode(&body, &out->trimmed) != 0)
        return -ERR_CORRUPT;
    if (!posv_leq(&out->durable, &out->applied))
        return -ERR_CORRUPT;
    return body.len == 0 ? 0 : -ERR_CORRUPT;
}

int wire_get_ack(struct bytes body, struct wire_ack *out)
{
    if (le64_get(&body, &out->as_of_seq) != 0 || posv_decode(&body, &out->durable) != 0)
        return -ERR_CORRUPT;
    return body.len == 0 ? 0 : -ERR_CORRUPT;
}

int wire_get_heartbeat(struct bytes body, struct wire_heartbeat *out)
{
    if (body.len != HEARTBEAT_BYTES || le32_load(body.ptr + 52) > 1)
        return -ERR_CORRUPT;
    out->hlc = le64_load(body.ptr);
    out->seq = le64_load(body.ptr + 8);
    out->wall_ms = le64_load(body.ptr + 16);
    out->sent_ms = le64_load(body.ptr + 24);
    out->echo_ms = le64_load(body.ptr + 32);
    out->held_ms = le64_load(body.ptr + 40);
    out->flush = le32_load(body.ptr + 48);
    out->full = le32_load(body.ptr + 52) != 0;
    return 0;
}

int wire_get_request(struct bytes body, struct wire_request *out)
{
    if (body.len != REQUEST_BYTES)
        return -ERR_CORRUPT;
    out->origin = body.ptr[0];
    out->generation = le32_load(body.ptr + 1);
    out->from_seq = le64_load(body.ptr + 5);
    out->to_seq = le64_load(body.ptr + 13);
    return out->from_seq == 0 ? -ERR_CORRUPT : 0;
}

int wire_get_credit(struct bytes body, uint64_t *out)
{
    if (body.len != CREDIT_BYTES)
        return -ERR_CORRUPT;
    *out = le64_load(body.ptr);
    return 0;
}

int wire_get_nack(struct bytes body, struct wire_nack *out)
{
    if (body.len != NACK_BYTES)
        return -ERR_CORRUPT;
    out->origin = body.ptr[0];
    out->generation = le32_load(body.ptr + 1);
    out->reason = body.ptr[5];
    out->trimmed_seq = le64_load(body.ptr + 6);
    return out->reason < WIRE_REASON_END ? 0 : -ERR_CORRUPT;
}

int wire_get_bye(struct bytes body, struct wire_bye *out)
{
    if (body.len != BYE_BYTES)
        return -ERR_CORRUPT;
    out->reason = body.ptr[0];
    out->detail = le64_load(body.ptr + 1);
    return 0;
}
