/*
 * The bytes of a membership.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#include "replication/group/membership.h"

static const uint8_t magic[8] = {'T', 'M', 'B', 'R', MEMBERSHIP_FORMAT, 0, 0, 0};

/* --- writing --- */

int membership_text_put(struct buf *out, const char *text)
{
    const struct bytes bytes = bytes_cstr(text);
    int err;

    CHECK(bytes.len <= UINT8_MAX);
    err = buf_append_u8(out, (uint8_t)bytes.len);
    return err != 0 ? err : buf_append_bytes(out, bytes);
}

int membership_config_encode(const struct membership_config *config, struct buf *out)
{
    int err;

    if ((err = membership_text_put(out, config->sku)) != 0 ||
        (err = codec_put_le64(out, config->maxmemory_bytes)) != 0 ||
        (err = codec_put_le64(out, config->maxflash_bytes)) != 0 ||
        (err = membership_text_put(out, config->eviction)) != 0 ||
        (err = membership_text_put(out, config->clustering)) != 0 ||
        (err = codec_put_le16(out, config->shards)) != 0 ||
        (err = membership_text_put(out, config->modules)) != 0)
        return err;
    return buf_append_u8(out, config->tls ? 1 : 0);
}

static int put_member(struct buf *out, const struct membership_member *member, unsigned shards)
{
    int err;

    if ((err = buf_append_u8(out, member->state)) != 0 ||
        (err = codec_put_le64(out, member->incarnation)) != 0 ||
        (err = membership_text_put(out, member->name)) != 0 ||
        (err = membership_text_put(out, member->address)) != 0)
        return err;
    for (unsigned i = 0; i < shards && !membership_live(member); i++) {
        err = codec_put_varint(out, member->sealed_seq[i]);
        if (err != 0)
            return err;
    }
    return 0;
}

static int put_all(const struct membership *m, struct buf *out)
{
    int err;

    if ((err = buf_append(out, magic, sizeof(magic))) != 0 ||
        (err = buf_append(out, m->group_id, sizeof(m->group_id))) != 0 ||
        (err = codec_put_le64(out, m->epoch)) != 0 ||
        (err = codec_put_le64(out, m->prev_sum)) != 0 ||
        (err = codec_put_le64(out, m->flush_epoch)) != 0 ||
        (err = buf_append_u8(out, m->forks_count)) != 0)
        return err;
    for (unsigned i = 0; i < m->forks_count; i++) {
        if ((err = codec_put_le64(out, m->forks[i].epoch)) != 0 ||
            (err = codec_put_le64(out, m->forks[i].lineage)) != 0)
            return err;
    }
    if ((err = membership_text_put(out, m->nickname)) != 0 ||
        (err = membership_config_encode(&m->config, out)) != 0 ||
        (err = buf_append_u8(out, m->count)) != 0)
        return err;
    for (unsigned i = 0; i < m->count; i++) {
        err = put_member(out, &m->at[i], m->config.shards);
        if (err != 0)
            return err;
    }
    return 0;
}

int membership_encode(struct membership *m, struct buf *out)
{
    const size_t start = out->len;
    int err = put_all(m, out);

    if (err == 0) {
        m->sum = sum64(out->ptr + start, out->len - start);
        err = codec_put_le64(out, m->sum);
    }
    if (err != 0)
        buf_truncate(out, start);
    return err;
}

/* --- reading --- */

int membership_text_get(struct bytes *in, char *out, size_t size)
{
    struct bytes text;
    uint8_t len;

    if (u8_get(in, &len) != 0 || len >= size || !bytes_take(in, len, &text))
        return -ERR_CORRUPT;
    for (size_t i = 0; i < len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] > '~')
            return -ERR_CORRUPT;
        out[i] = (char)text.ptr[i];
    }
    out[len] = '\0';
    return 0;
}

int membership_config_decode(struct bytes *in, struct membership_config *out)
{
    uint8_t tls;

    if (membership_text_get(in, out->sku, sizeof(out->sku)) != 0 ||
        le64_get(in, &out->maxmemory_bytes) != 0 || le64_get(in, &out->maxflash_bytes) != 0 ||
        membership_text_get(in, out->eviction, sizeof(out->eviction)) != 0 ||
        membership_text_get(in, out->clustering, sizeof(out->clustering)) != 0 ||
        le16_get(in, &out->shards) != 0 ||
        membership_text_get(in, out->modules, sizeof(out->modules)) != 0 || u8_get(in, &tls) != 0)
        return -ERR_CORRUPT;
    if (out->shards == 0 || out->shards > MEMBERSHIP_SHARDS_MAX || tls > 1)
        return -ERR_CORRUPT;
    out->tls = tls == 1;
    return 0;
}

static int get_forks(struct bytes *in, struct membership *out)
{
    if (u8_get(in, &out->forks_count) != 0 || out->forks_count == 0 ||
        out->forks_count > MEMBERSHIP_EVER_MAX)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < out->forks_count; i++) {
        struct membership_fork *fork = &out->forks[i];

        if (le64_get(in, &fork->epoch) != 0 || le64_get(in, &fork->lineage) != 0 ||
            fork->epoch > out->epoch)
            return -ERR_CORRUPT;
        if (i == 0 ? fork->epoch != 1 : fork->epoch <= out->forks[i - 1].epoch)
            return -ERR_CORRUPT;
    }
    return 0;
}

static int get_member(struct bytes *in, struct membership *out)
{
    struct membership_member *member = &out->at[out->count];

    if (u8_get(in, &member->state) != 0 || member->state == MEMBERSHIP_NONE ||
        member->state > MEMBERSHIP_LEFT || le64_get(in, &member->incarnation) != 0 ||
        membership_text_get(in, member->name, sizeof(member->name)) != 0 ||
        membership_text_get(in, member->address, sizeof(member->address)) != 0 ||
        !membership_name_valid(bytes_cstr(member->name)) ||
        !membership_address_valid(bytes_cstr(member->address)))
        return -ERR_CORRUPT;
    if (member->incarnation == 0 || membership_by_incarnation(out, member->incarnation) != 0)
        return -ERR_CORRUPT;
    if (membership_live(member) && membership_by_name(out, bytes_cstr(member->name)) != 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < out->config.shards && !membership_live(member); i++) {
        if (varint_get(in, &member->sealed_seq[i]) != 0)
            return -ERR_CORRUPT;
    }
    out->count++;
    return 0;
}

int membership_decode(struct bytes in, struct membership *out)
{
    struct bytes head;
    struct bytes id;
    uint8_t count;

    if (in.len > MEMBERSHIP_BYTES_MAX || in.len < sizeof(magic) + 8)
        return -ERR_CORRUPT;
    out->sum = le64_load(in.ptr + in.len - 8);
    in.len -= 8;
    if (out->sum != sum64(in.ptr, in.len) || !bytes_take(&in, sizeof(magic), &head) ||
        memcmp(head.ptr, magic, 4) != 0)
        return -ERR_CORRUPT;
    if (memcmp(head.ptr, magic, sizeof(magic)) != 0)
        return -ERR_FORMAT;
    if (!bytes_take(&in, MEMBERSHIP_ID_BYTES, &id) || le64_get(&in, &out->epoch) != 0 ||
        le64_get(&in, &out->prev_sum) != 0 || le64_get(&in, &out->flush_epoch) != 0 ||
        out->flush_epoch > MEMBERSHIP_FLUSH_MAX || out->epoch == 0 ||
        (out->epoch == 1 && out->prev_sum != 0))
        return -ERR_CORRUPT;
    memcpy(out->group_id, id.ptr, MEMBERSHIP_ID_BYTES);
    out->count = 0;
    if (get_forks(&in, out) != 0 ||
        membership_text_get(&in, out->nickname, sizeof(out->nickname)) != 0 ||
        !membership_name_valid(bytes_cstr(out->nickname)) ||
        membership_config_decode(&in, &out->config) != 0 || u8_get(&in, &count) != 0 ||
        count == 0 || count > MEMBERSHIP_EVER_MAX)
        return -ERR_CORRUPT;
    while (out->count < count) {
        if (get_member(&in, out) != 0)
            return -ERR_CORRUPT;
    }
    if (membership_set_count(membership_live_set(out)) > MEMBERS_MAX)
        return -ERR_CORRUPT;
    return in.len == 0 ? 0 : -ERR_CORRUPT;
}
