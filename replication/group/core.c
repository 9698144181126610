/*
 * The core: origins, peers, links, and the inputs that are not frames of batches.
 */
#include "replication/group/core.h"

#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/rowkey.h"

#include "replication/group/core_impl.h"
#include "replication/group/pack.h"

#define CHECK_LOG_MS 1000u /* Between two looks at the retention of peers. */

/* How long a link is refused after it ended: */
#define PARK_ORDINARY_MS 100u
#define PARK_WRONG_MS    1000u  /* for what may pass by itself, */
#define PARK_LASTING_MS  10000u /* for what needs an upgrade, another membership or an operator. */

static uint32_t park_ms(uint8_t reason)
{
    switch ((enum wire_reason)reason) {
    case WIRE_UNSUPPORTED:
    case WIRE_FORK:
    case WIRE_GROUP:
    case WIRE_VERSION:
    case WIRE_IDENTITY:
    case WIRE_WENT_BACK:
    case WIRE_REMOVED:
        return PARK_LASTING_MS;
    case WIRE_CLOCK:
    case WIRE_DAMAGED:
    case WIRE_PROTOCOL_ERR:
    case WIRE_SEALED:
        return PARK_WRONG_MS;
    case WIRE_OK:
    case WIRE_CLOSED:
    case WIRE_EPOCH:
    case WIRE_TRIMMED:
    case WIRE_TIMEOUT:
    case WIRE_REASON_END:
    default:
        return PARK_ORDINARY_MS;
    }
}

uint8_t core_reason_of(int err)
{
    if (err == -ENOMEM)
        return WIRE_CLOSED; /* Nothing is wrong with the peer. */
    return err == -ERR_PROTOCOL || err == -ERR_UNSUPPORTED ? (uint8_t)WIRE_UNSUPPORTED
                                                           : (uint8_t)WIRE_DAMAGED;
}

/* --- origins and peers --- */

unsigned core_origin_find(const struct core *core, uint8_t origin)
{
    for (unsigned i = 0; i < core->origins_count; i++) {
        if (core->origins[i].origin == origin)
            return i;
    }
    return ORIGIN_NONE;
}

unsigned core_origin_get(struct core *core, uint8_t origin)
{
    const unsigned found = core_origin_find(core, origin);

    if (found != ORIGIN_NONE || core->origins_count == ORIGINS_MAX)
        return found;
    struct origin *o = &core->origins[core->origins_count];
    *o = (struct origin){.origin = origin, .progress_ms = core->now.mono_ms};
    list_init(&o->queue);
    return core->origins_count++;
}

struct peer *core_peer_find(const struct core *core, uint8_t origin)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        if (core->peers[i]->origin == origin)
            return core->peers[i];
    }
    return NULL;
}

void core_event(struct core *core, uint8_t kind, const struct peer *peer, uint64_t detail)
{
    const struct core_event event = {.kind = kind,
                                     .peer = peer == NULL ? 0 : peer->origin,
                                     .reason = peer == NULL ? (uint8_t)WIRE_OK : peer->reason,
                                     .detail = detail};

    core->host->event(core->ctx, &event);
}

static size_t or_default(size_t given, size_t by_default)
{
    return given == 0 ? by_default : given;
}

static void set_defaults(struct core_options *o)
{
    o->window_bytes = or_default(o->window_bytes, CORE_WINDOW_BYTES_DEFAULT);
    o->frame_bytes = or_default(o->frame_bytes, CORE_FRAME_BYTES_DEFAULT);
    o->parked_bytes_max = or_default(o->parked_bytes_max, CORE_PARKED_BYTES_DEFAULT);
    o->tail_bytes_max = or_default(o->tail_bytes_max, CORE_TAIL_BYTES_DEFAULT);
    o->history_bytes = or_default(o->history_bytes, CORE_HISTORY_BYTES_DEFAULT);
    o->sync_bytes = or_default(o->sync_bytes, CORE_SYNC_BYTES_DEFAULT);
    o->ack_ms = o->ack_ms == 0 ? CORE_ACK_MS_DEFAULT : o->ack_ms;
    o->heartbeat_ms = o->heartbeat_ms == 0 ? CORE_HEARTBEAT_MS_DEFAULT : o->heartbeat_ms;
    o->timeout_ms = o->timeout_ms == 0 ? CORE_TIMEOUT_MS_DEFAULT : o->timeout_ms;
    o->relay_ms = o->relay_ms == 0 ? CORE_RELAY_MS_DEFAULT : o->relay_ms;
}

void core_create(const struct core_options *options, const struct core_host *host, void *ctx,
                 struct core **out)
{
    struct core *core = mem_zalloc(sizeof(*core));

    core->options = *options;
    set_defaults(&core->options);
    core->flush = options->flush;
    posv_copy(&core->newest, &options->newest);
    core->host = host;
    core->ctx = ctx;
    core->self = core_origin_get(core, options->origin);
    for (unsigned i = 0; i < options->recovered.count; i++) {
        const unsigned index = core_origin_get(core, options->recovered.origin[i]);
        struct origin *o = &core->origins[index];

        CHECK(index != ORIGIN_NONE);
        o->applied = o->durable = o->queued = options->recovered.at[i];
    }
    posv_to_vv(&options->recovered, &core->applied_vv);
    core->applied_lsn = options->recovered_lsn;
    core->durable_lsn = options->recovered_lsn;
    core->covered_lsn = options->covered_lsn;
    posv_copy(&core->covered, &options->covered);
    core->asking = core->options.ask_ms != 0;
    core_log_init(core);
    core_check_newest(core);
    core->sync_in.id = options->sync_id;
    buf_init(&core->sync_in.after, ROWKEY_BYTES_MAX);
    buf_init(&core->sync_in.sums, SIZE_MAX);
    core->pack = pack_create();
    wire_writer_init(&core->writer, core->options.frame_bytes);
    buf_init(&core->scratch, WIRE_BODY_BYTES_MAX);
    buf_init(&core->batch, WIRE_BODY_BYTES_MAX + BATCH_HEADER_BYTES_MAX);
    buf_init(&core->frame, WIRE_BODY_BYTES_MAX + WIRE_HEADER_BYTES);
    buf_init(&core->shared.bytes, WIRE_BODY_BYTES_MAX + WIRE_HEADER_BYTES);
    *out = core;
}

static void free_peer(struct peer *peer)
{
    buf_deinit(&peer->sync_out.after);
    buf_deinit(&peer->sync_out.sums);
    mem_free(peer);
}

void core_destroy(struct core *core)
{
    if (core == NULL)
        return;
    for (unsigned i = 0; i < core->origins_count; i++)
        core_queue_clear(&core->origins[i]);
    for (unsigned i = 0; i < core->peers_count; i++)
        free_peer(core->peers[i]);
    buf_deinit(&core->sync_in.after);
    buf_deinit(&core->sync_in.sums);
    core_tail_clear(core);
    wire_writer_deinit(&core->writer);
    buf_deinit(&core->scratch);
    buf_deinit(&core->batch);
    buf_deinit(&core->frame);
    buf_deinit(&core->shared.bytes);
    pack_destroy(core->pack);
    mem_free(core);
}

/* --- links --- */

void core_send(struct core *core, struct peer *peer)
{
    core->host->send(core->ctx, peer->origin, buf_bytes(&core->frame));
    buf_clear(&core->frame);
    buf_shrink(&core->frame, 4 * core->options.frame_bytes);
}

void core_disconnected(struct core *core, struct peer *peer)
{
    core_sync_link_down(core, peer);
    memset(peer->in, 0, sizeof(peer->in));
    memset(peer->out, 0, sizeof(peer->out));
    peer->credit = peer->sent = peer->consumed = peer->granted = 0;
    peer->sent_unpacked = peer->sent_batches = 0;
    peer->fetch_id = 0;
    peer->echo_ms = 0;
    peer->samples_count = 0;
    peer->full = false;
    peer->state = CORE_LINK_DOWN;
}

void core_park(struct core *core, struct peer *peer, uint8_t reason, uint64_t detail)
{
    const struct wire_bye bye = {.reason = reason, .detail = detail};

    buf_clear(&core->frame);
    if (peer->state != CORE_LINK_DOWN && wire_put_bye(&core->frame, &bye) == 0)
        core_send(core, peer);
    if (peer->state != CORE_LINK_DOWN)
        core->host->close(core->ctx, peer->origin);
    core_disconnected(core, peer);
    peer->reason = reason;
    peer->state = CORE_LINK_PARKED;
    peer->parked_until_ms = core->now.mono_ms + park_ms(reason);
    core_event(core, CORE_LINK_CLOSED, peer, detail);
}

bool core_may_link(const struct core *core, uint8_t origin)
{
    const struct peer *peer = core_peer_find(core, origin);

    return peer != NULL && !core->forked && !core->went_back &&
           (peer->state == CORE_LINK_DOWN ||
            (peer->state == CORE_LINK_PARKED && core->now.mono_ms >= peer->parked_until_ms));
}

void core_link_up(struct core *core, uint8_t origin)
{
    struct peer *peer = core_peer_find(core, origin);
    struct wire_hello hello = {.protocol = WIRE_PROTOCOL,
                               .origin = core->options.origin,
                               .shard = core->options.shard,
                               .incarnation = core->options.incarnation,
                               .epoch = core->members.epoch,
                               .flush = core->flush};

    if (peer == NULL) {
        /* Whoever was unlinked is told so; others may be members of an epoch that is not here yet.
         */
        const bool sealed = members_find(&core->members, origin) != NULL;
        const struct wire_bye bye = {.reason = sealed ? WIRE_REMOVED : WIRE_EPOCH,
                                     .detail = core->members.epoch};

        if (wire_put_bye(&core->frame, &bye) == 0)
            core->host->send(core->ctx, origin, buf_bytes(&core->frame));
        buf_clear(&core->frame);
    }
    if (peer == NULL || !core_may_link(core, origin)) {
        core->host->close(core->ctx, origin);
        return;
    }
    core_disconnected(core, peer);
    peer->state = CORE_LINK_GREETING;
    peer->rx_ms = core->now.mono_ms;
    memcpy(hello.group_id, core->options.group_id, WIRE_GROUP_ID_BYTES);
    core_applied_posv(core, &hello.applied);
    core_durable_posv(core, &hello.durable);
    posv_copy(&hello.trimmed, &core->trimmed);
    if (wire_put_hello(&core->frame, &hello) == 0)
        core_send(core, peer);
}

void core_link_down(struct core *core, uint8_t origin)
{
    struct peer *peer = core_peer_find(core, origin);

    if (peer != NULL && peer->state != CORE_LINK_PARKED)
        core_disconnected(core, peer);
}

/* --- greeting --- */

bool core_note_own(struct core *core, const struct peer *peer, struct pos pos)
{
    const struct pos own = core->origins[core->self].applied;

    if (!pos_consistent(pos, own)) {
        core_forked(core, peer);
        return false;
    }
    core->own_known = u64_max(core->own_known, pos.seq);
    if (core->own_known > own.seq && !core->own_lost) {
        core->own_lost = true;
        core_event(core, CORE_OWN_LOST, peer, core->own_known);
    }
    return true;
}

/* Why this greeting is refused; WIRE_OK: it is not. */
static uint8_t judge_hello(struct core *core, struct peer *peer, const struct wire_hello *hello,
                           uint64_t *out_detail)
{
    *out_detail = 0;
    if (hello->protocol != WIRE_PROTOCOL)
        return WIRE_VERSION;
    if (memcmp(hello->group_id, core->options.group_id, WIRE_GROUP_ID_BYTES) != 0)
        return WIRE_GROUP;
    if (hello->origin != peer->origin || hello->shard != core->options.shard ||
        hello->incarnation != peer->incarnation)
        return WIRE_IDENTITY;
    if (hello->epoch != core->members.epoch) {
        *out_detail = core->members.epoch;
        return WIRE_EPOCH;
    }
    for (unsigned i = 0; i < hello->applied.count; i++) {
        const unsigned index = core_origin_find(core, hello->applied.origin[i]);
        const struct pos theirs = hello->applied.at[i];

        if (index == ORIGIN_NONE || index == core->self)
            continue;
        *out_detail = hello->applied.origin[i];
        if (!pos_consistent(theirs, core->origins[index].applied))
            return WIRE_FORK;
    }
    const struct pos own = posv_get(&hello->applied, core->options.origin);
    *out_detail = core->options.origin;
    if (!core_note_own(core, peer, own))
        return WIRE_FORK;
    *out_detail = core_what_it_lost(peer, &hello->durable);
    if (core_return_has_all(peer, &hello->durable))
        return WIRE_OK;
    peer->met = true; /* It will not go on, and we need not wait for that. */
    return WIRE_WENT_BACK;
}

static void grant(struct core *core, struct peer *peer)
{
    peer->granted = peer->consumed + core->options.window_bytes;
    if (wire_put_credit(&core->frame, peer->granted) == 0)
        core_send(core, peer);
}

/* The last frame may have gone beyond what was granted. */
static bool is_grant_due(const struct core *core, const struct peer *peer)
{
    return peer->granted <= peer->consumed + core->options.window_bytes / 2;
}

static void on_hello(struct core *core, struct peer *peer, const struct wire_hello *hello)
{
    uint64_t detail;
    const uint8_t reason = judge_hello(core, peer, hello, &detail);

    if (reason != WIRE_OK) {
        core_park(core, peer, reason, detail);
        return;
    }
    const struct wire_ack ack = {.as_of_seq = posv_get(&hello->applied, peer->origin).seq,
                                 .durable = hello->durable};
    peer->state = CORE_LINK_UP;
    peer->reason = WIRE_OK;
    core_flush(core, hello->flush);
    posv_copy(&peer->trimmed, &hello->trimmed);
    /* What waits from before may wait for batches that the peer has lost: they were never sent. */
    peer->acks_count = 0;
    peer->heard_count = 0;
    core_event(core, CORE_LINK_READY, peer, 0);
    grant(core, peer);
    core_on_ack(core, peer, &ack);
    core_send_heartbeat(core, peer);
    core_plan(core);
}

/* --- frames --- */

static void on_bye(struct core *core, struct peer *peer, const struct wire_bye *bye)
{
    /* Its HELLO comes first, also if it refuses ours: who has not shown to be that member ends the
     * link, and nothing else. */
    const bool greeted = peer->state == CORE_LINK_UP;

    core->host->close(core->ctx, peer->origin);
    core_disconnected(core, peer);
    peer->reason = bye->reason < WIRE_REASON_END ? bye->reason : (uint8_t)WIRE_CLOSED;
    peer->state = CORE_LINK_PARKED;
    peer->parked_until_ms = core->now.mono_ms + park_ms(peer->reason);
    core_event(core, CORE_LINK_CLOSED, peer, bye->detail);
    if (!greeted)
        return;
    if (peer->reason == WIRE_WENT_BACK)
        core_went_back(core, peer, bye->detail);
    else if (peer->reason == WIRE_FORK && bye->detail == core->options.origin)
        core_forked(core, peer); /* It has less of us than we, and something else. */
}

static void on_credit(struct core *core, struct peer *peer, uint64_t total)
{
    peer->credit = u64_max(peer->credit, total);
    core_pump(core, peer);
}

/* The kinds that may come once both have greeted. False: damaged. */
static bool on_frame(struct core *core, struct peer *peer, const struct wire_frame *frame,
                     size_t len)
{
    struct wire_ack ack;
    struct wire_heartbeat heartbeat;
    struct wire_request request;
    struct wire_nack nack;
    uint64_t credit;

    switch ((enum wire_kind)frame->kind) {
    case WIRE_BATCHES:
        core_on_batches(core, peer, frame, len);
        if (peer->state == CORE_LINK_UP && is_grant_due(core, peer))
            grant(core, peer);
        return true;
    case WIRE_ACK:
        if (wire_get_ack(frame->body, &ack) != 0)
            return false;
        core_on_ack(core, peer, &ack);
        return true;
    case WIRE_HEARTBEAT:
        if (wire_get_heartbeat(frame->body, &heartbeat) != 0)
            return false;
        core_on_heartbeat(core, peer, &heartbeat);
        return true;
    case WIRE_REQUEST:
        if (wire_get_request(frame->body, &request) != 0)
            return false;
        core_on_request(core, peer, &request);
        return true;
    case WIRE_CREDIT:
        if (wire_get_credit(frame->body, &credit) != 0)
            return false;
        on_credit(core, peer, credit);
        return true;
    case WIRE_NACK:
        if (wire_get_nack(frame->body, &nack) != 0)
            return false;
        core_on_nack(core, peer, &nack);
        return true;
    case WIRE_SYNC_ASK:
        return core_on_sync_ask(core, peer, frame->body);
    case WIRE_SYNC_ROWS:
        core_on_sync_rows(core, peer, frame->body);
        return true;
    case WIRE_HELLO:
    case WIRE_BYE:
    case WIRE_KIND_END:
    default:
        core_park(core, peer, WIRE_PROTOCOL_ERR, frame->kind);
        return true;
    }
}

/* Before HELLO nothing else is opened; what is no frame, to say so. */
static bool is_greeting(struct bytes bytes)
{
    size_t size;

    if (wire_frame_size(bytes, &size) != 0)
        return true;
    return wire_frame_kind(bytes) == WIRE_HELLO || wire_frame_kind(bytes) == WIRE_BYE;
}

void core_receive(struct core *core, uint8_t origin, struct bytes bytes)
{
    struct peer *peer = core_peer_find(core, origin);
    struct wire_hello hello;
    struct wire_frame frame;
    struct wire_bye bye;

    if (peer == NULL || (peer->state != CORE_LINK_UP && peer->state != CORE_LINK_GREETING))
        return;
    peer->rx_ms = core->now.mono_ms;
    if (peer->state == CORE_LINK_GREETING && !is_greeting(bytes)) {
        core_park(core, peer, WIRE_PROTOCOL_ERR, 0);
        return;
    }
    const int err = wire_open(bytes, core->pack, &core->scratch, &frame);
    if (err != 0) {
        buf_shrink(&core->scratch, 4 * core->options.frame_bytes); /* It says how long it is. */
        core_park(core, peer, core_reason_of(err), 0);
        return;
    }
    bool sound = true;
    if (frame.kind == WIRE_BYE) {
        sound = wire_get_bye(frame.body, &bye) == 0;
        if (sound)
            on_bye(core, peer, &bye);
    } else if (peer->state == CORE_LINK_UP) {
        peer->met = peer->took = true;
        sound = on_frame(core, peer, &frame, bytes.len);
    } else {
        sound = wire_get_hello(frame.body, &hello) == 0;
        if (sound)
            on_hello(core, peer, &hello);
    }
    if (!sound)
        core_park(core, peer, WIRE_DAMAGED, frame.kind);
    buf_shrink(&core->scratch, 4 * core->options.frame_bytes);
    buf_shrink(&core->batch, 4 * core->options.frame_bytes);
}

/* --- membership --- */

static void remove_peer(struct core *core, unsigned at)
{
    struct peer *peer = core->peers[at];

    if (peer->state == CORE_LINK_UP || peer->state == CORE_LINK_GREETING)
        core_park(core, peer, WIRE_REMOVED, 0);
    core_sync_close(core, peer);
    free_peer(peer);
    core->peers[at] = core->peers[--core->peers_count];
}

static void add_peer(struct core *core, const struct member *member)
{
    struct peer *peer = core_peer_find(core, member->origin);

    if (peer == NULL) {
        CHECK(core->peers_count < PEERS_MAX);
        peer = mem_zalloc(sizeof(*peer));
        peer->origin = member->origin;
        core_return_peer(core, peer);
        buf_init(&peer->sync_out.after, ROWKEY_BYTES_MAX);
        buf_init(&peer->sync_out.sums, SIZE_MAX);
        core->peers[core->peers_count++] = peer;
    }
    peer->incarnation = member->incarnation;
    peer->index = core_origin_get(core, member->origin);
}

void core_flush(struct core *core, uint32_t flush)
{
    if (flush <= core->flush)
        return;
    core->flush = flush;
    core->host->flush(core->ctx, flush);
    core_sync_close_all(core); /* What is given is from before. */
    core_sync_overtaken(core);
}

uint32_t core_flush_epoch(const struct core *core)
{
    return core->flush;
}

void core_set_members(struct core *core, const struct members *members)
{
    const struct member *self = members_find(members, core->options.origin);
    const bool is_new = members->epoch != core->members.epoch;

    if (is_new)
        core->firm = (struct firm){.waits = false};
    core->members = *members;
    core->self_state = self == NULL ? (uint8_t)MEMBER_SEALED : self->state;
    for (unsigned i = core->peers_count; i-- > 0;) {
        struct peer *peer = core->peers[i];
        const struct member *member = members_find(members, peer->origin);

        if (core->self_state == MEMBER_SEALED || member == NULL || member->state == MEMBER_SEALED)
            remove_peer(core, i);
        else if (is_new && (peer->state == CORE_LINK_UP || peer->state == CORE_LINK_GREETING))
            core_park(core, peer, WIRE_EPOCH, members->epoch);
    }
    for (unsigned i = 0; i < members->count; i++) {
        const struct member *member = &members->at[i];

        CHECK(core_origin_get(core, member->origin) != ORIGIN_NONE);
        core_seal(core, member);
        if (member->origin != core->options.origin && core->self_state != MEMBER_SEALED &&
            (member->state == MEMBER_ACTIVE || member->state == MEMBER_JOINING))
            add_peer(core, member);
    }
    if (core->now.mono_ms != 0)
        core_clock_check(core); /* There may be nobody to ask. */
}

/* --- the log --- */

void core_check_newest(struct core *core)
{
    struct posv applied;

    core_applied_posv(core, &applied);
    if (posv_leq(&core->newest, &applied))
        posv_init(&core->newest);
}

void core_note_record(struct core *core, unsigned index, uint64_t lsn, struct pos pos, size_t len)
{
    struct origin *o = &core->origins[index];

    CHECK(pos.seq == o->applied.seq + 1);
    CHECK(pos.hlc > o->applied.hlc);
    CHECK(lsn > core->applied_lsn);
    o->applied = pos;
    if (list_empty(&o->queue))
        o->queued = pos;
    o->progress_ms = core->now.mono_ms;
    o->relay_wait_ms = 0;
    CHECK(vv_raise(&core->applied_vv, tag_of(pos.hlc, o->origin)) == 0);
    core->applied_lsn = lsn;
    core_log_note(core, index, lsn, pos, len);
    if (core->newest.count != 0)
        core_check_newest(core);
    if (core->own_lost && core->origins[core->self].applied.seq >= core->own_known) {
        core->own_lost = false;
        core_event(core, CORE_OWN_REGAINED, NULL, core->own_known);
    }
}

void core_logged(struct core *core, uint64_t lsn, const struct core_record *record)
{
    CHECK(core_may_write(core) == CORE_WRITE_OK);
    core_note_record(core, core->self, lsn, (struct pos){record->seq, record->hlc},
                     record->bytes.len);
    core_tail_add(core, record);
}

void core_durable(struct core *core, uint64_t lsn)
{
    if (lsn <= core->durable_lsn)
        return;
    core_log_durable(core, lsn);
    for (unsigned i = 0; i < core->peers_count; i++)
        core->peers[i]->ack_due = true;
    for (unsigned i = 0; i < core->peers_count; i++)
        core_send_ack(core, core->peers[i]);
    core_pump_all(core);
}

void core_covered(struct core *core, uint64_t lsn, const struct posv *at)
{
    if (lsn <= core->covered_lsn)
        return;
    CHECK(lsn <= core->durable_lsn);
    core->covered_lsn = lsn;
    posv_copy(&core->covered, at);
}

/* --- time --- */

static void tick_peer(struct core *core, struct peer *peer)
{
    const uint64_t now_ms = core->now.mono_ms;

    if (peer->state != CORE_LINK_UP && peer->state != CORE_LINK_GREETING)
        return;
    if (now_ms - peer->rx_ms > core->options.timeout_ms) {
        core_park(core, peer, WIRE_TIMEOUT, now_ms - peer->rx_ms);
        return;
    }
    if (peer->state != CORE_LINK_UP)
        return;
    core_send_ack(core, peer);
    if (now_ms - peer->heartbeat_sent_ms >= core->options.heartbeat_ms)
        core_send_heartbeat(core, peer);
    core_pump(core, peer);
}

void core_tick(struct core *core, const struct core_time *now)
{
    CHECK(now->mono_ms >= core->now.mono_ms);
    if (core->now.mono_ms == 0)
        core_log_start(core, now->mono_ms);
    core->now = *now;
    if (core->blocked)
        core_drain(core);
    for (unsigned i = 0; i < core->peers_count; i++)
        tick_peer(core, core->peers[i]);
    core_return_tick(core);
    core_seal_tick(core);
    core_room_tick(core);
    core_resync_check(core);
    core_sync_tick(core);
    core_plan(core);
    core_clock_check(core);
    if (now->mono_ms - core->checked_ms >= CHECK_LOG_MS) {
        core->checked_ms = now->mono_ms;
        core_log_check(core);
    }
}

/* --- questions --- */

enum core_write core_may_write(const struct core *core)
{
    if (core->forked)
        return CORE_WRITE_FORKED;
    if (core->went_back)
        return CORE_WRITE_WENT_BACK;
    if (core->self_state != MEMBER_ACTIVE || core->newest.count != 0)
        return CORE_WRITE_JOINING;
    if (core->sync_in.wanted)
        return CORE_WRITE_RESYNC;
    if (core->own_lost)
        return CORE_WRITE_OWN_LOST;
    if (core->asking)
        return CORE_WRITE_ASKING;
    if (!core->clock_known)
        return CORE_WRITE_CLOCK;
    return core->fenced ? CORE_WRITE_SKEW : CORE_WRITE_OK;
}

uint64_t core_promised_hlc(const struct core *core)
{
    uint64_t hlc = 0;

    for (unsigned i = 0; i < core->peers_count; i++)
        hlc = u64_max(hlc, core->peers[i]->promised_hlc);
    return hlc;
}

const struct vv *core_applied_vv(const struct core *core)
{
    return &core->applied_vv;
}

bool core_peer_info(const struct core *core, uint8_t origin, struct core_peer_info *out)
{
    const struct peer *peer = core_peer_find(core, origin);

    if (peer == NULL)
        return false;
    *out = (struct core_peer_info){.origin = origin,
                                   .state = peer->state,
                                   .reason = peer->reason,
                                   .behind = peer->behind,
                                   .self_behind = peer->self_behind,
                                   .full = peer->full,
                                   .bytes_out = peer->sent,
                                   .bytes_unpacked_out = peer->sent_unpacked,
                                   .batches_out = peer->sent_batches,
                                   .bytes_in = peer->consumed,
                                   .batches_in = peer->batches_in,
                                   .relayed_in = peer->relayed_in};
    IGNORE_RESULT(core_clock_offset(core, peer, &out->offset_ms, &out->rtt_ms));
    const struct pos own = core->origins[core->self].applied;
    const struct pos acked = posv_get(&peer->durable, core->options.origin);
    out->lag_batches = own.seq > acked.seq ? own.seq - acked.seq : 0;
    core_log_info(core, peer, out);
    return true;
}

size_t core_memory_bytes(const struct core *core)
{
    size_t bytes = sizeof(*core) + core->tail_bytes + core->scratch.cap + core->batch.cap +
                   core->frame.cap + core->writer.body.cap + core->shared.bytes.cap +
                   core->sync_in.sums.cap;

    for (unsigned i = 0; i < core->origins_count; i++)
        bytes += core->origins[i].queue_bytes;
    for (unsigned i = 0; i < core->peers_count; i++)
        bytes += core->peers[i]->sync_out.after.cap + core->peers[i]->sync_out.sums.cap;
    return bytes + core->peers_count * sizeof(struct peer);
}
