/*
 * What must be true, at every step and in the end.
 */
#include <string.h>

#include "engine/base/check.h"

#include "tests/sim/sim_control.h"

#define U(x) ((unsigned long long)(x))

static const struct cs_epoch *epoch_find(const struct cs *cs, uint64_t lineage, uint64_t epoch)
{
    for (unsigned i = 0; i < cs->epochs_count; i++) {
        if (cs->epochs[i].lineage == lineage && cs->epochs[i].epoch == epoch)
            return &cs->epochs[i];
    }
    return NULL;
}

/* The one before: of the same lineage, or of the one that this one was forced from. */
static const struct cs_epoch *epoch_before(const struct cs *cs, const struct membership *m)
{
    const struct membership_fork *last = &m->forks[m->forks_count - 1];
    uint64_t lineage = last->lineage;

    if (last->epoch == m->epoch) {
        if (m->forks_count == 1)
            return NULL;
        lineage = m->forks[m->forks_count - 2].lineage;
    }
    return epoch_find(cs, lineage, m->epoch - 1);
}

/* At most one membership for each lineage and epoch, and they form a chain. */
static void check_committed(struct cs_node *node, const struct membership *m)
{
    struct cs *cs = node->cs;
    const struct cs_epoch *known = epoch_find(cs, membership_lineage(m), m->epoch);
    const struct cs_epoch *before = epoch_before(cs, m);

    if (before != NULL && before->sum != m->prev_sum)
        cs_fail(cs, "n%u: epoch %llu does not follow the one before", node->index, U(m->epoch));
    if (known != NULL) {
        if (known->sum != m->sum)
            cs_fail(cs, "two memberships of epoch %llu are committed, one at n%u", U(m->epoch),
                    node->index);
        return;
    }
    if (cs->epochs_count == CS_EPOCHS_MAX) {
        cs_fail(cs, "too many epochs");
        return;
    }
    cs->epochs[cs->epochs_count++] =
        (struct cs_epoch){.lineage = membership_lineage(m), .epoch = m->epoch, .sum = m->sum};
    cs->totals.epochs++;
    cs->totals.forks += m->forks_count > 1 && m->forks[m->forks_count - 1].epoch == m->epoch;
}

static void check_members(struct cs_node *node, const struct membership *m)
{
    struct cs *cs = node->cs;
    unsigned live = 0;

    for (unsigned i = 0; i < m->count; i++) {
        live += membership_live(&m->at[i]);
        for (unsigned j = 0; j < i; j++) {
            if (m->at[i].incarnation == m->at[j].incarnation)
                cs_fail(cs, "one node has two origin numbers");
            if (membership_live(&m->at[i]) && membership_live(&m->at[j]) &&
                strcmp(m->at[i].name, m->at[j].name) == 0)
                cs_fail(cs, "two members are named %s", m->at[i].name);
        }
    }
    if (live > MEMBERS_MAX)
        cs_fail(cs, "%u members", live);
    if (node->other_config && node->control->self != 0)
        cs_fail(cs, "n%u is let in with another configuration", node->index);
}

/* No survivor has more of a former member than where its history ends. */
static void check_seals(struct cs_node *node, const struct membership *m)
{
    if (!control_is_live(node->control))
        return;
    for (unsigned i = 0; i < m->count; i++) {
        for (unsigned shard = 0; shard < CS_SHARDS && !membership_live(&m->at[i]); shard++) {
            if (node->pos[i][shard] > m->at[i].sealed_seq[shard])
                cs_fail(node->cs, "n%u has %llu of origin %u, sealed at %llu in epoch %llu",
                        node->index, U(node->pos[i][shard]), i + 1, U(m->at[i].sealed_seq[shard]),
                        U(m->epoch));
        }
    }
}

void cs_check_node(struct cs_node *node)
{
    const struct membership *m;

    if (!node->up)
        return;
    m = &node->control->stored.members;
    if (m->epoch != 0 && (m->epoch != node->seen_epoch || m->sum != node->seen_sum)) {
        node->seen_epoch = m->epoch;
        node->seen_sum = m->sum;
        check_committed(node, m);
        check_members(node, m);
    }
    m = control_members(node->control);
    if (m == NULL) {
        if (control_may_write(node->control))
            cs_fail(node->cs, "n%u may write without a group", node->index);
        return;
    }
    /* Fenced before it is durable, too. */
    if (control_is_live(node->control))
        check_seals(node, m);
}

/* --- the end --- */

static void check_pair(struct cs *cs, const struct cs_node *a, const struct cs_node *b)
{
    const struct membership *ma = control_members(a->control);
    const struct membership *mb = control_members(b->control);
    struct control_peer peer;

    if (ma == NULL || mb == NULL || !control_is_live(a->control))
        return;
    const uint8_t origin = membership_by_incarnation(ma, b->control->stored.incarnation);
    switch (membership_compare(ma, mb)) {
    case MEMBERSHIP_SAME:
        break;
    case MEMBERSHIP_OLDER:
        cs_fail(cs, "n%u is a member and behind n%u: epochs %llu and %llu", a->index, b->index,
                U(ma->epoch), U(mb->epoch));
        break;
    case MEMBERSHIP_NEWER:
        if (control_is_live(b->control))
            cs_fail(cs, "n%u is unlinked and does not know it", b->index);
        break;
    case MEMBERSHIP_FORKED:
        if (cs->totals.forks == 0)
            cs_fail(cs, "n%u and n%u are forced apart without force", a->index, b->index);
        if (control_is_live(b->control) && control_peer(a->control, origin, &peer) &&
            (peer.state == CONTROL_LINKED || peer.error[0] == '\0'))
            cs_fail(cs, "n%u does not say that n%u was forced apart", a->index, b->index);
        break;
    case MEMBERSHIP_OTHER:
    default:
        break;
    }
}

/* Everybody has the whole of each history that has ended. */
static void check_complete(struct cs *cs, const struct cs_node *node)
{
    const struct membership *m = control_members(node->control);

    if (m == NULL || !control_is_live(node->control))
        return;
    /* Only where all members are here: one who is elsewhere may be the one who has it. */
    for (unsigned i = 0; i < m->count; i++) {
        const unsigned at = cs_node_of(cs, m->at[i].address);

        if (membership_live(&m->at[i]) &&
            cs->nodes[at].control->stored.incarnation != m->at[i].incarnation)
            return;
        if (membership_live(&m->at[i]) && cs->nodes[at].seen_sum != node->seen_sum)
            return;
    }
    for (unsigned i = 0; i < m->count; i++) {
        for (unsigned shard = 0; shard < CS_SHARDS && !membership_live(&m->at[i]); shard++) {
            if (node->pos[i][shard] != m->at[i].sealed_seq[shard])
                cs_fail(cs, "n%u has %llu of origin %u, which ended at %llu", node->index,
                        U(node->pos[i][shard]), i + 1, U(m->at[i].sealed_seq[shard]));
        }
    }
}

static void check_flush(struct cs *cs, const struct cs_node *a, const struct cs_node *b)
{
    const struct membership *ma = control_members(a->control);
    const struct membership *mb = control_members(b->control);

    if (ma != NULL && mb != NULL && ma->sum == mb->sum && control_is_live(a->control) &&
        control_is_live(b->control) && a->flush_epoch != b->flush_epoch)
        cs_fail(cs, "n%u and n%u differ in the flush epoch", a->index, b->index);
}

void cs_check_end(struct cs *cs)
{
    unsigned groups = 0;

    for (unsigned i = 0; i < cs->nodes_count; i++) {
        groups += control_members(cs->nodes[i].control) != NULL;
        for (unsigned j = 0; j < cs->nodes_count; j++) {
            if (i == j)
                continue;
            check_pair(cs, &cs->nodes[i], &cs->nodes[j]);
            check_flush(cs, &cs->nodes[i], &cs->nodes[j]);
        }
        check_complete(cs, &cs->nodes[i]);
    }
    /* A founder that has seen a group, now gone, leaves it to the operator. */
    if (groups == 0 && !cs->nodes[0].control->group_seen)
        cs_fail(cs, "nobody has a group");
}
