/*
 * Encoding and decoding of control's messages.
 */
#include "replication/group/control_msg.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

int control_ballot_put(struct buf *out, struct control_ballot ballot)
{
    const int err = codec_put_le64(out, ballot.round);

    return err != 0 ? err : buf_append_u8(out, ballot.origin);
}

static int put_join(struct buf *out, const struct control_join *join)
{
    int err;

    if ((err = buf_append_u8(out, join->holds_data ? 1 : 0)) != 0 ||
        (err = membership_text_put(out, join->nickname)) != 0 ||
        (err = membership_text_put(out, join->name)) != 0 ||
        (err = membership_text_put(out, join->address)) != 0)
        return err;
    return membership_config_encode(&join->config, out);
}

static int put_refuse(struct buf *out, const struct control_msg *msg)
{
    const struct bytes text = bytes_cstr(msg->text);
    int err;

    if ((err = buf_append_u8(out, msg->reason)) != 0 ||
        (err = codec_put_le16(out, (uint16_t)text.len)) != 0)
        return err;
    return buf_append_bytes(out, text);
}

static int put_body(struct buf *out, const struct control_msg *msg)
{
    int err;

    switch ((enum control_kind)msg->kind) {
    case CONTROL_HELLO:
    case CONTROL_RETIRE:
        return 0;
    case CONTROL_VALUE:
        return buf_append_bytes(out, msg->value);
    case CONTROL_PREPARE:
        err = control_ballot_put(out, msg->ballot);
        return err != 0 ? err : codec_put_le32(out, msg->set);
    case CONTROL_PROMISE:
        if ((err = control_ballot_put(out, msg->ballot)) != 0 ||
            (err = control_ballot_put(out, msg->accepted)) != 0)
            return err;
        return buf_append_bytes(out, msg->value);
    case CONTROL_POSITIONS:
        if ((err = control_ballot_put(out, msg->ballot)) != 0 ||
            (err = codec_put_le32(out, msg->set)) != 0)
            return err;
        return buf_append_bytes(out, msg->value);
    case CONTROL_ACCEPT:
        err = control_ballot_put(out, msg->ballot);
        return err != 0 ? err : buf_append_bytes(out, msg->value);
    case CONTROL_ACCEPTED:
    case CONTROL_REJECT:
        return control_ballot_put(out, msg->ballot);
    case CONTROL_JOIN:
        return put_join(out, &msg->join);
    case CONTROL_REFUSE:
        return put_refuse(out, msg);
    case CONTROL_KIND_END:
    default:
        UNREACHABLE();
    }
}

int control_msg_encode(const struct control_msg *msg, struct buf *out)
{
    uint8_t head[CONTROL_HEAD_BYTES] = {'T', 'C', 'T', 'L', CONTROL_PROTOCOL};
    int err;

    head[5] = msg->kind;
    head[6] = msg->mode;
    memcpy(head + 16, msg->group_id, MEMBERSHIP_ID_BYTES);
    le64_store(head + 32, msg->incarnation);
    le64_store(head + 40, msg->epoch);
    le64_store(head + 48, msg->sum);
    le64_store(head + 56, msg->flush_epoch);
    buf_clear(out);
    err = buf_append(out, head, sizeof(head));
    if (err == 0)
        err = put_body(out, msg);
    if (err != 0)
        return err;
    le64_store(out->ptr + 8, sum64_seed(out->ptr + 16, out->len - 16, le64_load(out->ptr)));
    return 0;
}

int control_ballot_get(struct bytes *in, struct control_ballot *out)
{
    if (le64_get(in, &out->round) != 0 || u8_get(in, &out->origin) != 0)
        return -ERR_CORRUPT;
    /* The highest is never reached by counting; a round above would be the lowest. */
    return out->origin > MEMBERSHIP_EVER_MAX || out->round == UINT64_MAX ? -ERR_CORRUPT : 0;
}

static int get_join(struct bytes *in, struct control_join *out)
{
    uint8_t holds_data;

    if (u8_get(in, &holds_data) != 0 || holds_data > 1 ||
        membership_text_get(in, out->nickname, sizeof(out->nickname)) != 0 ||
        membership_text_get(in, out->name, sizeof(out->name)) != 0 ||
        membership_text_get(in, out->address, sizeof(out->address)) != 0 ||
        membership_config_decode(in, &out->config) != 0 ||
        !membership_name_valid(bytes_cstr(out->name)) ||
        !membership_address_valid(bytes_cstr(out->address)))
        return -ERR_CORRUPT;
    out->holds_data = holds_data == 1;
    return 0;
}

static int get_refuse(struct bytes *in, struct control_msg *out)
{
    struct bytes text;
    uint16_t len;

    if (u8_get(in, &out->reason) != 0 || out->reason == CONTROL_OK ||
        out->reason >= CONTROL_WHY_END || le16_get(in, &len) != 0 || len >= sizeof(out->text) ||
        !bytes_take(in, len, &text))
        return -ERR_CORRUPT;
    for (size_t i = 0; i < len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] > '~')
            return -ERR_CORRUPT;
        out->text[i] = (char)text.ptr[i];
    }
    out->text[len] = '\0';
    return 0;
}

/* The value is what is left. */
static int get_value(struct bytes *in, struct control_msg *out)
{
    out->value = *in;
    *in = bytes_from(*in, in->len);
    return 0;
}

static int get_body(struct bytes *in, struct control_msg *out)
{
    switch ((enum control_kind)out->kind) {
    case CONTROL_HELLO:
    case CONTROL_RETIRE:
        return 0;
    case CONTROL_VALUE:
        return get_value(in, out);
    case CONTROL_PREPARE:
        return control_ballot_get(in, &out->ballot) != 0 || le32_get(in, &out->set) != 0
                   ? -ERR_CORRUPT
                   : 0;
    case CONTROL_PROMISE:
        if (control_ballot_get(in, &out->ballot) != 0 ||
            control_ballot_get(in, &out->accepted) != 0)
            return -ERR_CORRUPT;
        (void)get_value(in, out); /* Cannot fail. */
        return (out->accepted.round == 0) == (out->value.len == 0) ? 0 : -ERR_CORRUPT;
    case CONTROL_POSITIONS:
        if (control_ballot_get(in, &out->ballot) != 0 || le32_get(in, &out->set) != 0)
            return -ERR_CORRUPT;
        return get_value(in, out);
    case CONTROL_ACCEPT:
        return control_ballot_get(in, &out->ballot) != 0 ? -ERR_CORRUPT : get_value(in, out);
    case CONTROL_ACCEPTED:
    case CONTROL_REJECT:
        return control_ballot_get(in, &out->ballot);
    case CONTROL_JOIN:
        return get_join(in, &out->join);
    case CONTROL_REFUSE:
        return get_refuse(in, out);
    case CONTROL_KIND_END:
    default:
        return -ERR_CORRUPT;
    }
}

int control_msg_decode(struct bytes in, struct control_msg *out)
{
    static const struct control_msg none;

    if (in.len < CONTROL_HEAD_BYTES || in.len > CONTROL_MSG_BYTES_MAX ||
        memcmp(in.ptr, "TCTL", 4) != 0 ||
        le64_load(in.ptr + 8) != sum64_seed(in.ptr + 16, in.len - 16, le64_load(in.ptr)))
        return -ERR_CORRUPT;
    if (in.ptr[4] != CONTROL_PROTOCOL)
        return -ERR_UNSUPPORTED;
    *out = none;
    out->kind = in.ptr[5];
    out->mode = in.ptr[6];
    if (out->mode >= CONTROL_MODES || in.ptr[7] != 0)
        return -ERR_CORRUPT;
    memcpy(out->group_id, in.ptr + 16, MEMBERSHIP_ID_BYTES);
    out->incarnation = le64_load(in.ptr + 32);
    out->epoch = le64_load(in.ptr + 40);
    out->sum = le64_load(in.ptr + 48);
    out->flush_epoch = le64_load(in.ptr + 56);
    if (out->flush_epoch > MEMBERSHIP_FLUSH_MAX)
        return -ERR_CORRUPT;
    struct bytes body = bytes_from(in, CONTROL_HEAD_BYTES);
    if (get_body(&body, out) != 0)
        return -ERR_CORRUPT;
    return body.len == 0 ? 0 : -ERR_CORRUPT;
}
