/*
 * What control keeps on disk, whole in one small file that is replaced at each change.
 *
 *     0   4  "TGRP"
 *     4   1  format version 1
 *     5   1  1: leaving, 2: retiring, or both added
 *     6   2  shards for which there is a last sequence (0 if not leaving)
 *     8   8  incarnation
 *     16  8  flush epoch, at most MEMBERSHIP_FLUSH_MAX
 *     24  4  length of the membership; 0: none
 *            membership, as in membership.h
 *            for both modes: promised round 8, origin 1 | accepted round 8, origin 1 |
 *              set of those to unlink 4 | length 4 | accepted membership
 *            last own sequences, 8 each
 *         8  sum64 of all that stands before
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#include "replication/group/control_impl.h"

#define HEAD_BYTES    28u
#define FLAG_LEAVING  1u
#define FLAG_RETIRING 2u
#define FLAGS         3u

static const uint8_t magic[5] = {'T', 'G', 'R', 'P', 1};

void control_stored_init(struct control_stored *stored)
{
    stored->incarnation = 0;
    stored->flush_epoch = 0;
    stored->leaving = false;
    stored->retiring = false;
    stored->members.epoch = 0;
    stored->members.count = 0;
    for (unsigned i = 0; i < CONTROL_MODES; i++) {
        stored->slots[i] = (struct control_slot){.unlink = 0};
        buf_init(&stored->slots[i].value, MEMBERSHIP_BYTES_MAX);
    }
}

void control_stored_deinit(struct control_stored *stored)
{
    for (unsigned i = 0; i < CONTROL_MODES; i++)
        buf_deinit(&stored->slots[i].value);
}

static int put_slot(struct buf *out, const struct control_slot *slot)
{
    int err;

    if ((err = control_ballot_put(out, slot->promised)) != 0 ||
        (err = control_ballot_put(out, slot->accepted)) != 0 ||
        (err = codec_put_le32(out, slot->unlink)) != 0 ||
        (err = codec_put_le32(out, (uint32_t)slot->value.len)) != 0)
        return err;
    return buf_append_bytes(out, buf_bytes(&slot->value));
}

int control_stored_encode(struct control_stored *stored, struct buf *out)
{
    uint8_t bytes[HEAD_BYTES] = {0};
    const unsigned shards = stored->leaving ? stored->members.config.shards : 0;
    int err;

    memcpy(bytes, magic, sizeof(magic));
    bytes[5] =
        (uint8_t)((stored->leaving ? FLAG_LEAVING : 0) | (stored->retiring ? FLAG_RETIRING : 0));
    le16_store(bytes + 6, (uint16_t)shards);
    le64_store(bytes + 8, stored->incarnation);
    le64_store(bytes + 16, stored->flush_epoch);
    buf_clear(out);
    err = buf_append(out, bytes, sizeof(bytes));
    if (err == 0 && stored->members.epoch != 0)
        err = membership_encode(&stored->members, out);
    if (err != 0)
        return err;
    le32_store(out->ptr + 24, (uint32_t)(out->len - HEAD_BYTES));
    for (unsigned i = 0; i < CONTROL_MODES; i++) {
        err = put_slot(out, &stored->slots[i]);
        if (err != 0)
            return err;
    }
    for (unsigned i = 0; i < shards; i++) {
        err = codec_put_le64(out, stored->leave_seqs[i]);
        if (err != 0)
            return err;
    }
    return codec_put_le64(out, sum64(out->ptr, out->len));
}

static int get_slot(struct bytes *in, struct control_slot *slot)
{
    struct bytes value;
    uint32_t len;

    if (control_ballot_get(in, &slot->promised) != 0 ||
        control_ballot_get(in, &slot->accepted) != 0 || le32_get(in, &slot->unlink) != 0 ||
        le32_get(in, &len) != 0 || len > MEMBERSHIP_BYTES_MAX || !bytes_take(in, len, &value) ||
        (len == 0) != (slot->accepted.round == 0))
        return -ERR_CORRUPT;
    buf_clear(&slot->value);
    return buf_append_bytes(&slot->value, value);
}

static int get_rest(struct bytes in, unsigned shards, struct control_stored *out)
{
    struct bytes value;
    uint32_t len;
    int err;

    if (le32_get(&in, &len) != 0 || !bytes_take(&in, len, &value))
        return -ERR_CORRUPT;
    if (len != 0) {
        err = membership_decode(value, &out->members);
        if (err != 0)
            return err;
    }
    for (unsigned i = 0; i < CONTROL_MODES; i++) {
        err = get_slot(&in, &out->slots[i]);
        if (err != 0)
            return err;
    }
    if (shards != (out->leaving ? out->members.config.shards : 0u) ||
        (out->leaving && out->members.epoch == 0))
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < shards; i++) {
        if (le64_get(&in, &out->leave_seqs[i]) != 0)
            return -ERR_CORRUPT;
    }
    return in.len == 0 ? 0 : -ERR_CORRUPT;
}

int control_stored_decode(struct bytes in, struct control_stored *out)
{
    if (in.len < HEAD_BYTES + 8 || in.len > CONTROL_STORED_BYTES_MAX ||
        memcmp(in.ptr, magic, 4) != 0)
        return -ERR_CORRUPT;
    if (in.ptr[4] != magic[4])
        return -ERR_FORMAT;
    in.len -= 8;
    if (le64_load(in.ptr + in.len) != sum64(in.ptr, in.len) || in.ptr[5] > FLAGS)
        return -ERR_CORRUPT;
    out->leaving = (in.ptr[5] & FLAG_LEAVING) != 0;
    out->retiring = (in.ptr[5] & FLAG_RETIRING) != 0;
    out->incarnation = le64_load(in.ptr + 8);
    out->flush_epoch = le64_load(in.ptr + 16);
    if (out->incarnation == 0 || out->flush_epoch > MEMBERSHIP_FLUSH_MAX)
        return -ERR_CORRUPT;
    return get_rest(bytes_from(in, 24), le16_load(in.ptr + 6), out);
}
