/*
 * Changes of a membership, and what two have to do with each other.
 */
#include "replication/group/membership.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/check.h"

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool membership_name_valid(struct bytes name)
{
    bool hyphen = true; /* One may not follow. */

    if (name.len == 0 || name.len >= MEMBER_NAME_BYTES)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        const uint8_t c = name.ptr[i];

        if (!is_alnum(c) && (c != '-' || hyphen))
            return false;
        hyphen = c == '-';
    }
    return !hyphen;
}

bool membership_address_valid(struct bytes address)
{
    if (address.len == 0 || address.len >= MEMBERSHIP_ADDRESS_BYTES)
        return false;
    for (size_t i = 0; i < address.len; i++) {
        if (address.ptr[i] <= ' ' || address.ptr[i] > '~')
            return false;
    }
    return true;
}

static void copy_text(char *into, size_t size, struct bytes text)
{
    CHECK(text.len < size);
    memcpy(into, text.ptr, text.len);
    into[text.len] = '\0';
}

void membership_copy(struct membership *into, const struct membership *from)
{
    memcpy(into, from, offsetof(struct membership, at));
    for (unsigned i = 0; i < from->count; i++) {
        const struct membership_member *member = &from->at[i];

        memcpy(&into->at[i], member, offsetof(struct membership_member, sealed_seq));
        if (!membership_live(member))
            memcpy(into->at[i].sealed_seq, member->sealed_seq,
                   from->config.shards * sizeof(member->sealed_seq[0]));
    }
}

membership_set membership_active(const struct membership *m)
{
    membership_set set = 0;

    for (unsigned i = 0; i < m->count; i++) {
        if (m->at[i].state == MEMBERSHIP_ACTIVE)
            set |= (membership_set)1 << i;
    }
    return set;
}

membership_set membership_live_set(const struct membership *m)
{
    membership_set set = 0;

    for (unsigned i = 0; i < m->count; i++) {
        if (membership_live(&m->at[i]))
            set |= (membership_set)1 << i;
    }
    return set;
}

membership_set membership_ended(const struct membership *m)
{
    const membership_set all = (membership_set)(((uint64_t)1 << m->count) - 1);

    return all & ~membership_live_set(m);
}

uint8_t membership_by_incarnation(const struct membership *m, uint64_t incarnation)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (m->at[i].incarnation == incarnation)
            return (uint8_t)(i + 1);
    }
    return 0;
}

uint8_t membership_by_name(const struct membership *m, struct bytes name)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (membership_live(&m->at[i]) && bytes_eq(bytes_cstr(m->at[i].name), name))
            return (uint8_t)(i + 1);
    }
    return 0;
}

/* --- changes --- */

void membership_found(struct membership *m, const uint8_t group_id[MEMBERSHIP_ID_BYTES],
                      uint64_t lineage, struct bytes nickname,
                      const struct membership_config *config)
{
    CHECK(config->shards != 0 && config->shards <= MEMBERSHIP_SHARDS_MAX);
    memset(m, 0, offsetof(struct membership, at));
    m->epoch = 1;
    memcpy(m->group_id, group_id, MEMBERSHIP_ID_BYTES);
    m->forks[0] = (struct membership_fork){.epoch = 1, .lineage = lineage};
    m->forks_count = 1;
    copy_text(m->nickname, sizeof(m->nickname), nickname);
    m->config = *config;
}

void membership_next(struct membership *m)
{
    m->prev_sum = m->sum;
    m->epoch++;
}

void membership_fork(struct membership *m, uint64_t lineage)
{
    CHECK(m->forks_count < MEMBERSHIP_EVER_MAX);
    m->forks[m->forks_count++] = (struct membership_fork){.epoch = m->epoch, .lineage = lineage};
}

uint8_t membership_add(struct membership *m, uint64_t incarnation, struct bytes name,
                       struct bytes address, enum membership_state state)
{
    if (m->count == MEMBERSHIP_EVER_MAX ||
        membership_set_count(membership_live_set(m)) == MEMBERS_MAX)
        return 0;
    CHECK(incarnation != 0);
    CHECK(membership_by_incarnation(m, incarnation) == 0);
    CHECK(membership_by_name(m, name) == 0);
    struct membership_member *member = &m->at[m->count++];
    member->state = (uint8_t)state;
    member->incarnation = incarnation;
    copy_text(member->name, sizeof(member->name), name);
    copy_text(member->address, sizeof(member->address), address);
    return m->count;
}

void membership_set_active(struct membership *m, uint8_t origin)
{
    CHECK(origin != 0 && origin <= m->count);
    CHECK(m->at[origin - 1].state == MEMBERSHIP_JOINING);
    m->at[origin - 1].state = MEMBERSHIP_ACTIVE;
}

void membership_seal(struct membership *m, uint8_t origin, enum membership_state state,
                     const uint64_t *seqs)
{
    CHECK(origin != 0 && origin <= m->count);
    struct membership_member *member = &m->at[origin - 1];
    CHECK(membership_live(member));
    member->state = (uint8_t)state;
    memcpy(member->sealed_seq, seqs, m->config.shards * sizeof(seqs[0]));
}

void membership_seal_again(struct membership *m, uint8_t origin, const uint64_t *seqs)
{
    CHECK(origin != 0 && origin <= m->count);
    CHECK(!membership_live(&m->at[origin - 1]));
    memcpy(m->at[origin - 1].sealed_seq, seqs, m->config.shards * sizeof(seqs[0]));
}

/* --- comparing --- */

/* `older` has the lower epoch. */
static bool continues(const struct membership *newer, const struct membership *older)
{
    if (older->forks_count > newer->forks_count)
        return false;
    for (unsigned i = 0; i < newer->forks_count; i++) {
        if (i >= older->forks_count) {
            if (newer->forks[i].epoch <= older->epoch)
                return false;
        } else if (newer->forks[i].epoch != older->forks[i].epoch ||
                   newer->forks[i].lineage != older->forks[i].lineage) {
            return false;
        }
    }
    return newer->epoch != older->epoch + 1 || newer->prev_sum == older->sum;
}

enum membership_order membership_compare(const struct membership *a, const struct membership *b)
{
    if (memcmp(a->group_id, b->group_id, MEMBERSHIP_ID_BYTES) != 0)
        return MEMBERSHIP_OTHER;
    if (a->epoch == b->epoch)
        return a->sum == b->sum ? MEMBERSHIP_SAME : MEMBERSHIP_FORKED;
    if (a->epoch < b->epoch)
        return continues(b, a) ? MEMBERSHIP_OLDER : MEMBERSHIP_FORKED;
    return continues(a, b) ? MEMBERSHIP_NEWER : MEMBERSHIP_FORKED;
}

/* Whether they differ. What does not fit any more is left out: the first differences tell enough.
 */
static bool diff_text(struct buf *out, const char *what, const char *here, const char *group)
{
    if (strcmp(here, group) == 0)
        return false;
    IGNORE_RESULT(buf_printf(out, "%s%s is %s here and %s in the group", out->len == 0 ? "" : "; ",
                             what, here[0] == '\0' ? "none" : here,
                             group[0] == '\0' ? "none" : group));
    return true;
}

static bool diff_number(struct buf *out, const char *what, uint64_t here, uint64_t group)
{
    if (here == group)
        return false;
    IGNORE_RESULT(buf_printf(out, "%s%s is %" PRIu64 " here and %" PRIu64 " in the group",
                             out->len == 0 ? "" : "; ", what, here, group));
    return true;
}

bool membership_config_diff(const struct membership_config *here,
                            const struct membership_config *group, struct buf *out)
{
    bool differs = false;

    differs |= diff_text(out, "sku", here->sku, group->sku);
    differs |= diff_number(out, "maxmemory", here->maxmemory_bytes, group->maxmemory_bytes);
    differs |= diff_number(out, "maxflash", here->maxflash_bytes, group->maxflash_bytes);
    differs |= diff_text(out, "maxmemory-policy", here->eviction, group->eviction);
    differs |= diff_text(out, "clustering-policy", here->clustering, group->clustering);
    differs |= diff_number(out, "shards", here->shards, group->shards);
    differs |= diff_text(out, "modules", here->modules, group->modules);
    differs |= diff_text(out, "tls", here->tls ? "on" : "off", group->tls ? "on" : "off");
    return differs;
}

/* --- views --- */

void membership_shard(const struct membership *m, unsigned shard, struct members *out)
{
    CHECK(shard < m->config.shards);
    out->epoch = m->epoch;
    out->count = m->count;
    for (unsigned i = 0; i < m->count; i++) {
        const struct membership_member *member = &m->at[i];
        struct member *seen = &out->at[i];

        seen->origin = (uint8_t)(i + 1);
        seen->state = membership_live(member) ? member->state : (uint8_t)MEMBER_SEALED;
        seen->incarnation = member->incarnation;
        seen->sealed_seq = membership_live(member) ? 0 : member->sealed_seq[shard];
    }
}

STATIC_ASSERT(MEMBERSHIP_LEFT == 4);
STATIC_ASSERT(MEMBERSHIP_EVER_MAX <= 32);
