/* One shard of a member of a group; group_shard.h tells what it does. */
#include "server/group_shard.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/group.h"

#include "replication/link/link.h"
#include "replication/replica.h"

#include "server/config.h"
#include "server/group_digest.h"
#include "server/group_link.h"
#include "server/group_shard_impl.h"
#include "server/node.h"
#include "server/save.h"
#include "server/shard.h"
#include "server/shard_store.h"

/* Between two reports to shard 0. */
#define REPORT_MS 100

/* --- the host of the replica --- */

static void host_send(void *ctx, uint8_t peer, struct bytes frame)
{
    struct group_shard *gs = ctx;

    group_link_send(gs, peer, frame);
}

static void host_close(void *ctx, uint8_t peer)
{
    struct group_shard *gs = ctx;

    group_link_close(gs, peer, NULL);
}

static const char *peer_name(const struct group_shard *gs, uint8_t origin)
{
    return origin < GROUP_ORIGINS ? gs->members.address[origin] : "?";
}

/* Of logs that do not reach back. */
static void behind_event(const struct group_shard *gs, const struct core_event *event)
{
    const unsigned shard = gs->sh->id;
    const char *peer = peer_name(gs, event->peer);

    switch (event->kind) {
    case CORE_PEER_BEHIND:
        LOG_WARN("group",
                 "a peer was away for longer than oplog-retention-bytes or -time allow; its log "
                 "is not kept any longer, it will copy rows when it is back shard=%u peer=%s",
                 shard, peer);
        break;
    case CORE_SELF_BEHIND:
        LOG_WARN("group",
                 "this node was away for too long: a peer's log does not reach back so far "
                 "shard=%u peer=%s",
                 shard, peer);
        break;
    case CORE_BEYOND_SEAL:
        LOG_ERROR("group",
                  "this node has writes of a former member that the others agreed not to "
                  "have; delete the dir and join anew shard=%u",
                  shard);
        break;
    case CORE_PEER_BACK:
        LOG_NOTICE("group", "a peer that was away for too long has caught up shard=%u peer=%s",
                   shard, peer);
        break;
    case CORE_RESYNC:
        LOG_NOTICE(
            "group", "%s: copying rows from a peer, no writes until then shard=%u",
            event->detail == 0
                ? "what this node missed is in nobody's log any more"
                : "the rows here hold what nobody but a member that is to be unlinked could tell",
            shard);
        break;
    case CORE_RESYNCED:
        LOG_NOTICE("group", "the rows of the peer are joined, going on with the logs shard=%u",
                   shard);
        break;
    default:
        break;
    }
}

/* Of peers that have no room for batches. */
static void room_event(const struct group_shard *gs, const struct core_event *event)
{
    const unsigned shard = gs->sh->id;
    const char *peer = peer_name(gs, event->peer);

    if (event->kind == CORE_PEER_FULL)
        LOG_EVERY_MS(10000, LOG_LEVEL_WARN, "group",
                     "a peer has no room for writes: they are kept in the log for it, by "
                     "oplog-retention-bytes and -time; REPLGROUP STATUS there says what is full "
                     "shard=%u peer=%s",
                     shard, peer);
    else
        LOG_EVERY_MS(10000, LOG_LEVEL_NOTICE, "group",
                     "a peer has room for writes again shard=%u peer=%s", shard, peer);
}

/* Of a start upon what may be an older copy. */
static void return_event(const struct group_shard *gs, const struct core_event *event)
{
    const unsigned shard = gs->sh->id;

    if (event->kind == CORE_WENT_BACK) {
        LOG_ERROR("group",
                  "this node has lost what it had acknowledged to a peer (an older copy of its "
                  "dir?): no writes any more shard=%u peer=%s",
                  shard, peer_name(gs, event->peer));
        group_say_seq(gs->sh, GROUP_SAID_PAST, 0, 0, 0);
    } else if (event->detail != 0) {
        LOG_WARN("group",
                 "not all peers have said what they have of this node, it writes all the same: if "
                 "its dir is an older copy, these writes will be refused shard=%u missing=%llu",
                 shard, (unsigned long long)event->detail);
    }
}

static void host_event(void *ctx, const struct core_event *event)
{
    struct group_shard *gs = ctx;
    const unsigned shard = gs->sh->id;
    const char *peer = peer_name(gs, event->peer);

    switch ((enum core_event_kind)event->kind) {
    case CORE_LINK_READY:
        LOG_NOTICE("group", "linked shard=%u peer=%s", shard, peer);
        group_link_greeted(gs, event->peer);
        break;
    case CORE_LINK_CLOSED:
        LOG_NOTICE("group", "link closed shard=%u peer=%s why=\"%s\"", shard, peer,
                   wire_reason_str(event->reason));
        break;
    case CORE_OWN_LOST:
        LOG_WARN("group",
                 "a peer has writes of this node that were lost here; they are fetched, "
                 "no writes until then shard=%u peer=%s",
                 shard, peer);
        break;
    case CORE_OWN_REGAINED:
        LOG_NOTICE("group", "the lost writes are back shard=%u", shard);
        break;
    case CORE_FORKED:
        LOG_ERROR("group",
                  "a peer has other writes of this node than it has itself (an old copy "
                  "of its dir?): no writes any more shard=%u peer=%s",
                  shard, peer);
        group_say_seq(gs->sh, GROUP_SAID_PAST, 0, 0, 0);
        break;
    case CORE_SKEW_WARN:
        LOG_WARN("group", "clocks differ shard=%u peer=%s ms=%lld", shard, peer,
                 (long long)(int64_t)event->detail);
        break;
    case CORE_SKEW_FENCED:
        LOG_ERROR("group",
                  "this node's clock is wrong by more than 500 ms: no writes until it is "
                  "right shard=%u",
                  shard);
        break;
    case CORE_SKEW_OK:
        LOG_NOTICE("group", "clocks agree again shard=%u", shard);
        break;
    case CORE_ASKED:
    case CORE_WENT_BACK:
        return_event(gs, event);
        break;
    case CORE_CLOCK_DOUBTED:
        LOG_WARN("group",
                 "this node's clock is not followed until peers confirm it: it was stepped "
                 "shard=%u ms=%lld",
                 shard, (long long)(int64_t)event->detail);
        break;
    case CORE_CLOCK_FOLLOWED:
        LOG_NOTICE("group", "this node's clock is followed again shard=%u", shard);
        break;
    case CORE_PEER_BEHIND:
    case CORE_SELF_BEHIND:
    case CORE_BEYOND_SEAL:
    case CORE_PEER_BACK:
    case CORE_RESYNC:
    case CORE_RESYNCED:
        behind_event(gs, event);
        break;
    case CORE_PEER_FULL:
    case CORE_PEER_ROOM:
        room_event(gs, event);
        break;
    }
}

/* Batches of peers may use what clients are refused (replication-oom-threshold-percent). */
static const char *host_no_room(void *ctx, enum replica_room what, size_t len)
{
    const struct group_shard *gs = ctx;
    struct shard *sh = gs->sh;
    const bool resync = what == REPLICA_ROOM_ASIDE || sh->kept != NULL;
    const char *why = node_remote_refusal(sh, len, resync);

    if (why == NULL && resync && sh->kept == NULL)
        why = flash_aside_why(sh->node); /* It is to begin. */
    return why;
}

static int host_empty(void *ctx, uint64_t lsn, struct bytes note, struct store **out)
{
    const struct group_shard *gs = ctx;

    return shard_flush_group(gs->sh, lsn, note, out);
}

static int host_set_aside(void *ctx, uint64_t lsn, struct bytes note, struct store **out_fresh,
                          struct store **out_kept)
{
    const struct group_shard *gs = ctx;
    struct shard_aside aside;

    const int err = shard_set_aside(gs->sh, lsn, note, &aside);
    if (err != 0)
        return err;
    *out_fresh = aside.fresh;
    *out_kept = aside.kept;
    return 0;
}

static int host_keep_new(void *ctx)
{
    const struct group_shard *gs = ctx;

    return shard_keep_new(gs->sh);
}

static const struct replica_host host = {.send = host_send,
                                         .close = host_close,
                                         .event = host_event,
                                         .no_room = host_no_room,
                                         .empty = host_empty,
                                         .set_aside = host_set_aside,
                                         .keep_new = host_keep_new};

/* --- making the replica --- */

static void make_replica(struct group_shard *gs)
{
    struct shard *sh = gs->sh;
    char why[512] = "";
    const struct core_options limits = {
        .retention_bytes = sh->cfg->oplog_retention_bytes,
        .retention_ms = (uint64_t)sh->cfg->oplog_retention_time * 1000,
        .ask_ms = gs->had_origin ? (uint32_t)sh->cfg->group_restart_wait : 0,
    };
    struct replica_options options = {.ks = sh->ks,
                                      .mut = sh->mut,
                                      .log = sh->log,
                                      .store = sh->store,
                                      .log_dir = sh->log_dir,
                                      .dir = sh->dir,
                                      .readers = sh->node->readers,
                                      .maintainer = sh->maintainer,
                                      .mailbox = &sh->mailbox,
                                      .rng = &sh->rng,
                                      .shard = (uint16_t)sh->id,
                                      .origin = gs->members.origin,
                                      .incarnation = gs->members.incarnation,
                                      .state = &gs->state,
                                      .members = &gs->members.members,
                                      .host = &host,
                                      .ctx = gs,
                                      .limits = &limits};

    memcpy(options.group_id, gs->members.group_id, sizeof(options.group_id));
    if (!gs->had_origin)
        mut_set_origin(sh->mut, gs->members.origin);
    if (replica_create(&options, &gs->replica, why, sizeof(why)) == 0)
        return;
    LOG_ERROR("group", "no replication and no writes until a restart shard=%u why=\"%s\"", sh->id,
              why);
    gs->failed = true;
}

/* --- orders --- */

static enum member_state own_state(const struct group_shard *gs)
{
    const struct member *self = members_find(&gs->members.members, gs->members.origin);

    return self == NULL ? MEMBER_NONE : (enum member_state)self->state;
}

static bool is_joining(const struct group_shard *gs)
{
    return own_state(gs) == MEMBER_JOINING;
}

const char *group_shard_member_name(const struct group_shard *gs, uint8_t origin)
{
    return origin < GROUP_ORIGINS ? gs->members.name[origin] : "";
}

void group_shard_set_members(struct group_shard *gs, const struct group_members *members)
{
    const uint64_t now_ms = reactor_now_ms(gs->sh->reactor);

    gs->members = *members;
    if (gs->stopping || members->origin == 0)
        return;
    memset(gs->freezing, 0, sizeof(gs->freezing));
    if (gs->replica == NULL && !gs->failed)
        make_replica(gs);
    if (gs->replica == NULL)
        return;
    replica_tick(gs->replica, now_ms, reactor_wall_ms(gs->sh->reactor));
    replica_set_members(gs->replica, &members->members);
    if (members->flush_epoch != 0)
        group_shard_flush(gs, members->flush_epoch);
    /* Once: where the group is empty the copy is, too, and looks as if it were wanted again. */
    if (is_joining(gs) && !gs->copy_asked) {
        gs->copy_asked = true;
        replica_join(gs->replica);
    }
    group_links_members(gs);
}

void group_shard_freeze(struct group_shard *gs, uint8_t origin, uint32_t round)
{
    gs->freezing[origin] = round;
    if (gs->replica != NULL)
        replica_freeze(gs->replica, origin);
}

void group_shard_drain(struct group_shard *gs, uint32_t round)
{
    gs->left = true;
    gs->draining = round;
}

void group_shard_retire(struct group_shard *gs)
{
    gs->retired = true;
}

void group_shard_flush(struct group_shard *gs, uint64_t epoch)
{
    if (gs->replica != NULL)
        replica_flush(gs->replica, (uint32_t)u64_min(epoch, UINT32_MAX));
}

void group_shard_sums(struct group_shard *gs, uint32_t number, const struct replica_sums_ask *ask)
{
    const struct replica_sums none = {.err = -ERR_BUSY};

    if (gs->stopping)
        return;
    if (gs->replica == NULL || replica_may_read(gs->replica) != NULL) {
        group_digest_said(gs->sh, number, &none);
        return;
    }
    gs->sums_asked = true;
    gs->sums_number = number;
    replica_sums_start(gs->replica, ask);
}

bool group_shard_release_store(struct group_shard *gs)
{
    return gs->replica == NULL || replica_release_store(gs->replica);
}

/* --- the timer --- */

static void sums_step(struct group_shard *gs)
{
    uint64_t lsn;

    if (!gs->sums_asked)
        return;
    if (replica_sums_wants_flush(gs->replica, &lsn))
        save_flush_up_to(gs->sh, lsn);
    const struct replica_sums *sums = replica_sums_result(gs->replica);
    if (sums == NULL)
        return;
    gs->sums_asked = false;
    group_digest_said(gs->sh, gs->sums_number, sums);
    replica_sums_end(gs->replica);
}

/* What control waits for. */
static void answer(struct group_shard *gs)
{
    struct pos pos;
    uint64_t seq;

    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if (gs->freezing[origin] == 0 || !replica_frozen(gs->replica, origin, &pos))
            continue;
        group_say_seq(gs->sh, GROUP_SAID_FROZEN, origin, pos.seq, gs->freezing[origin]);
        gs->freezing[origin] = 0;
    }
    if (gs->draining != 0 && replica_drained(gs->replica, &seq)) {
        group_say_seq(gs->sh, GROUP_SAID_DRAINED, 0, seq, gs->draining);
        gs->draining = 0;
    }
    if (!gs->synced_told && is_joining(gs) && replica_synced(gs->replica)) {
        gs->synced_told = true;
        group_say_seq(gs->sh, GROUP_SAID_SYNCED, 0, 0, 0);
    }
}

/* A shard that could not become one of the group says that, too: STATUS would await it for ever. */
static void report(struct group_shard *gs, uint64_t now_ms)
{
    struct group_report *report;

    if (now_ms - gs->reported_ms < REPORT_MS)
        return;
    gs->reported_ms = now_ms;
    report = mem_zalloc(sizeof(*report));
    report->here = true;
    report->failed = gs->failed;
    report->refusal = group_shard_refusal(gs);
    const char *full = gs->replica == NULL ? NULL : replica_full(gs->replica);
    if (full != NULL)
        (void)snprintf(report->full, sizeof(report->full), "%s", full);
    report->unsettled_keys = ks_group_unsettled(gs->sh->ks);
    report->waiting_keys = ks_group_waiting(gs->sh->ks);
    report->keys = *ks_group_metrics(gs->sh->ks);
    report->links = *link_hub_metrics(gs->hub);
    if (gs->replica != NULL) {
        report->memory_bytes = replica_memory_bytes(gs->replica);
        report->metrics = *replica_metrics(gs->replica);
        for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++)
            report->is_peer[origin] = replica_peer_info(gs->replica, origin, &report->peer[origin]);
    }
    group_say_report(gs->sh, report);
}

void group_shard_tick(struct group_shard *gs)
{
    const uint64_t now_ms = reactor_now_ms(gs->sh->reactor);

    if (gs->stopping)
        return;
    if (gs->failed)
        report(gs, now_ms);
    if (gs->replica == NULL)
        return;
    /* CONFIG SET may have changed it. */
    const struct config *cfg = gs->sh->cfg;
    replica_set_retention(gs->replica, cfg->oplog_retention_bytes,
                          (uint64_t)cfg->oplog_retention_time * 1000);
    replica_tick(gs->replica, now_ms, reactor_wall_ms(gs->sh->reactor));
    answer(gs);
    sums_step(gs);
    group_links_tick(gs, now_ms);
    report(gs, now_ms);
}

/* --- the turn --- */

const char *group_shard_refusal(const struct group_shard *gs)
{
    if (gs->failed)
        return "this shard could not become one of the group; see the log of the server";
    if (gs->left)
        return "this member has left the group, or is about to; delete its data directory and "
               "start it again to join anew";
    if (gs->retired)
        return "this member has an older copy of its data than its peers know: it is to be "
               "unlinked, and then joins anew by itself; see REPLGROUP STATUS";
    if (own_state(gs) == MEMBER_SEALED)
        return "this node was unlinked from its replication group; delete its data directory and "
               "start it again to join anew";
    if (gs->replica == NULL)
        return "this node is not a member of its replication group yet; see REPLGROUP STATUS";
    return replica_may_write(gs->replica);
}

uint64_t group_shard_clock_ms(const struct group_shard *gs)
{
    const struct reactor *r = gs->sh->reactor;

    return gs->replica == NULL
               ? reactor_wall_ms(r)
               : replica_clock_ms(gs->replica, reactor_now_ms(r), reactor_wall_ms(r));
}

const char *group_shard_read_refusal(const struct group_shard *gs)
{
    return gs->replica == NULL ? NULL : replica_may_read(gs->replica);
}

bool group_shard_is_new(const struct group_shard *gs)
{
    return gs->members.members.count == 0 || is_joining(gs) ||
           (gs->replica != NULL && replica_asks(gs->replica));
}

void group_shard_turn(struct group_shard *gs)
{
    if (gs->replica != NULL && !gs->stopping)
        replica_turn(gs->replica);
}

void group_shard_turn_end(struct group_shard *gs)
{
    group_links_flush(gs);
}

void group_shard_durable(struct group_shard *gs, uint64_t lsn)
{
    if (gs->replica != NULL && !gs->stopping)
        replica_durable(gs->replica, lsn);
}

void group_shard_covered(struct group_shard *gs, uint64_t lsn, struct bytes covered)
{
    if (gs->replica != NULL && !gs->stopping && lsn != 0 &&
        replica_covered(gs->replica, lsn, covered) != 0)
        LOG_ERROR("group", "the covered position of the store is damaged shard=%u", gs->sh->id);
}

uint64_t group_shard_trim_lsn(const struct group_shard *gs)
{
    return gs->replica == NULL ? 0 : replica_trim_lsn(gs->replica);
}

void group_shard_logged(void *ctx, uint64_t lsn, const struct batch *batch, struct bytes bytes)
{
    const struct shard *sh = ctx;

    if (sh->group->replica != NULL)
        replica_logged(sh->group->replica, lsn, batch, bytes);
}

/* --- life --- */

struct group_shard *group_shard_create(struct shard *sh)
{
    struct group_shard *gs = mem_zalloc(sizeof(*gs));

    gs->sh = sh;
    group_links_init(gs);
    return gs;
}

int group_shard_look(struct group_shard *gs, char *why, size_t why_len)
{
    struct shard *sh = gs->sh;
    struct replica_note note;
    uint8_t bytes[REPLICA_NOTE_BYTES_MAX];

    const int err = replica_look(sh->store, &note);
    if (err != 0) {
        (void)snprintf(why, why_len, "%s: the covered position of the store is damaged: %s",
                       sh->dir, err_str(err));
        return err;
    }
    if (!note.copying)
        return 0;
    LOG_NOTICE("group", "the copy of the group's data was not complete: starting it anew shard=%u",
               sh->id);
    return shard_store_restart(sh, bytes_of(bytes, replica_empty_note(&note, bytes)), why, why_len);
}

int group_shard_recover(struct group_shard *gs, const struct group_shard_recovery *how,
                        const struct replica_state **out, char *why, size_t why_len)
{
    const struct replica_recovery recovery = {.ks = gs->sh->ks,
                                              .store = gs->sh->store,
                                              .log = gs->sh->log,
                                              .origin = how->origin,
                                              .room_bytes = how->room_bytes,
                                              .room_bytes_min = how->room_bytes_min};

    gs->had_origin = how->origin != 0;
    *out = &gs->state;
    return replica_recover(&recovery, &gs->state, why, why_len);
}

struct link_hub *group_shard_hub(struct group_shard *gs)
{
    return gs->hub;
}

/* The guest's mail tells nothing of the shard. */
struct pass_mail {
    struct mail mail;
    struct shard *sh;
    struct link_guest *guest;
};

static void on_pass(struct mail *mail)
{
    struct pass_mail *m = container_of(mail, struct pass_mail, mail);
    struct group_shard *gs = m->sh->group;

    if (gs->stopping)
        link_guest_drop(m->guest);
    else
        group_links_accept(gs, m->guest);
    mem_free(m);
}

void group_shard_pass(struct shard *sh, struct link_guest *take_guest)
{
    struct pass_mail *m = mem_alloc(sizeof(*m));

    *m = (struct pass_mail){.mail = {.fn = on_pass}, .sh = sh, .guest = take_guest};
    mailbox_post(&sh->mailbox, &m->mail);
}

bool group_shard_stopping(const struct group_shard *gs)
{
    return gs->stopping;
}

bool group_shard_stop(struct group_shard *gs)
{
    gs->stopping = true;
    const bool links = group_links_stop(gs);
    const bool replica = gs->replica == NULL || replica_stop(gs->replica);
    return links && replica;
}

void group_shard_destroy(struct group_shard *gs)
{
    if (gs == NULL)
        return;
    replica_destroy(gs->replica);
    group_links_destroy(gs);
    mem_free(gs);
}
