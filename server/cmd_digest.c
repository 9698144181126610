/*
 * REPLGROUP DIGEST: whether all members hold the same, or which keys differ. On shard 0's thread;
 * group_digest.h does the work. The reply is a map:
 *
 *     result             agree, differ, unsettled (too much changed meanwhile), incomplete (some
 *                        members did not answer; the others agree)
 *     members            names of those that were compared, this one first
 *     missing            for each that was not: a map of member and reason
 *     rounds, at-ms      keys that expire before this time are left out
 *     keys, damaged-rows of this member
 *     position           for each member: how many of its batches this one had applied
 *     differing-buckets, moving-buckets   how many of the 1,024
 *     buckets            for each that differs, 64 at most: bucket, slots, members
 *     differing-keys     for each, 100 at most: key, members
 *     keys-cut           1: there are more
 *
 * `members` of a bucket or key are those where it is not what it is here.
 */
#include "replication/group/control.h"

#include "server/conn.h"
#include "server/group_digest.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"

#define LOOK_MS 10

static void field_u64(struct reply *r, const char *name, uint64_t value)
{
    reply_bulk_cstr(r, name);
    reply_u64(r, value);
}

static const char *member_name(const struct group *g, uint8_t origin)
{
    return control_members(g->control)->at[origin - 1].name;
}

static void reply_names(struct reply *r, const struct group *g, uint32_t members)
{
    reply_array(r, (uint64_t)__builtin_popcount(members));
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if ((members & 1u << (origin - 1)) != 0)
            reply_bulk_cstr(r, member_name(g, origin));
    }
}

static const char *why_missing(uint8_t status)
{
    static const char *const texts[DIGEST_STATUS_END] = {
        [DIGEST_WORKING] = "it did not answer",
        [DIGEST_BUSY] = "its keys were being exchanged: a flush of the group, or a copy",
        [DIGEST_LATE] = "it took too long",
        [DIGEST_FAILED] = "its store could not be read, or takes no writes; see its log",
    };

    return texts[status];
}

static void reply_members(struct reply *r, const struct group *g, const struct digest_run *run)
{
    uint32_t compared = run->asked;
    uint64_t missing = 0;

    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if (run->status[origin] != DIGEST_OK) {
            compared &= ~(1u << (origin - 1));
            missing++;
        }
    }
    reply_bulk_cstr(r, "members");
    reply_names(r, g, compared);
    reply_bulk_cstr(r, "missing");
    reply_array(r, missing);
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if (run->status[origin] == DIGEST_OK)
            continue;
        reply_map(r, 2);
        reply_bulk_cstr(r, "member");
        reply_bulk_cstr(r, member_name(g, origin));
        reply_bulk_cstr(r, "reason");
        reply_bulk_cstr(r, why_missing(run->status[origin]));
    }
}

/* Over all shards. */
static void reply_position(struct reply *r, const struct group *g, const struct digest_run *run)
{
    const struct membership *m = control_members(g->control);

    reply_bulk_cstr(r, "position");
    reply_map(r, m->count);
    for (uint8_t origin = 1; origin <= m->count; origin++)
        field_u64(r, m->at[origin - 1].name, run->position[origin]);
}

static void reply_buckets(struct reply *r, const struct group *g, const struct digest_run *run)
{
    reply_bulk_cstr(r, "buckets");
    reply_array(r, run->buckets_count);
    for (uint32_t i = 0; i < run->buckets_count; i++) {
        const struct digest_difference *d = &run->buckets[i];
        const unsigned slot = d->bucket * (unsigned)ROW_SUM_BUCKET_SLOTS;

        reply_map(r, 3);
        field_u64(r, "bucket", d->bucket);
        reply_bulk_cstr(r, "slots");
        reply_bulk_printf(r, "%u-%u", slot, slot + (unsigned)ROW_SUM_BUCKET_SLOTS - 1);
        reply_bulk_cstr(r, "members");
        reply_names(r, g, d->members);
    }
}

static void reply_keys(struct reply *r, const struct group *g, const struct digest_run *run)
{
    reply_bulk_cstr(r, "differing-keys");
    reply_array(r, run->keys_count);
    for (uint32_t i = 0; i < run->keys_count; i++) {
        reply_map(r, 2);
        reply_bulk_cstr(r, "key");
        reply_bulk(r, run->keys[i].name);
        reply_bulk_cstr(r, "members");
        reply_names(r, g, run->keys[i].members);
    }
    field_u64(r, "keys-cut", run->keys_cut);
}

static void reply_run(struct reply *r, const struct group *g, const struct digest_run *run)
{
    static const char *const results[] = {[DIGEST_RUNS] = "runs",
                                          [DIGEST_AGREE] = "agree",
                                          [DIGEST_DIFFER] = "differ",
                                          [DIGEST_UNSETTLED] = "unsettled",
                                          [DIGEST_INCOMPLETE] = "incomplete"};

    reply_map(r, 13);
    reply_bulk_cstr(r, "result");
    reply_bulk_cstr(r, results[run->result]);
    reply_members(r, g, run);
    field_u64(r, "rounds", run->rounds);
    field_u64(r, "at-ms", run->at_ms);
    field_u64(r, "keys", run->own_keys);
    field_u64(r, "damaged-rows", run->own_damaged);
    reply_position(r, g, run);
    field_u64(r, "differing-buckets", run->differing);
    field_u64(r, "moving-buckets", run->moving);
    reply_buckets(r, g, run);
    reply_keys(r, g, run);
}

void cmd_replgroup_digest(struct request *rq)
{
    struct group *g = rq->sh->node->group;
    struct conn *c = rq->conn;

    if (g == NULL) {
        reply_err_no_group(rq->out);
        return;
    }
    const struct digest_run *run =
        c->digest_ticket == 0 ? NULL : group_digest_look(g->digest, c->digest_ticket);
    if (run != NULL && run->result != DIGEST_RUNS) {
        c->digest_ticket = 0;
        reply_run(rq->out, g, run);
        return;
    }
    if (control_members(g->control) == NULL) {
        reply_error(rq->out, "ERR this node is not a member of its replication group yet; see "
                             "REPLGROUP STATUS");
        return;
    }
    /* Another run: this one is next, or it has taken the place of this one's result. */
    if (run == NULL)
        c->digest_ticket = group_digest_start(g->digest);
    rq->parked = true;
    shard_retry_after(rq->sh, c, LOOK_MS);
}
