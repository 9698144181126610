/*
 * Nodes with what a server would do beside them, links that delay and break, crashes, and an
 * account of what was added to each counter and not lost. See prop_replica_world.h.
 */
#include "tests/prop/prop_replica_world.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/list.h"
#include "engine/base/mem.h"

#include "engine/space/flush.h"
#include "engine/space/group.h"

#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/replica_impl.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_group_net.h"

#define COUNTERS 12u
#define KEYS     40u
#define FIELDS   6u
#define BATCHES  20000u

/* A frame on its way. */
struct frame {
    struct list_link link;
    uint64_t at_ms;
    size_t len;
    uint8_t bytes[];
};

struct seat {
    struct world *w;
    unsigned index;
};

static struct seat seats[NODES_MAX];

unsigned world_below(struct world *w, unsigned n)
{
    return (unsigned)rng_below(&w->rng, n);
}

static bool chance(struct world *w, unsigned one_in)
{
    return world_below(w, one_in) == 0;
}

static unsigned index_of(uint8_t origin)
{
    return origin - 1u;
}

/* --- the network --- */

static void clear_way(struct way *way)
{
    struct list_link *link;

    while ((link = list_pop_front(&way->queue)) != NULL)
        mem_free(LIST_ITEM(link, struct frame, link));
    way->closed = false;
    way->last_ms = 0;
}

static void on_send(void *ctx, uint8_t peer, struct bytes bytes)
{
    const struct seat *s = ctx;
    struct world *w = s->w;
    struct way *way = &w->way[s->index][index_of(peer)];

    if (w->node[s->index].cut_off || !w->linked[s->index][index_of(peer)])
        return;
    struct frame *f = mem_alloc(sizeof(*f) + bytes.len);
    *f =
        (struct frame){.at_ms = u64_max(way->last_ms, w->now_ms + world_below(w, w->calm ? 2 : 12)),
                       .len = bytes.len};
    memcpy(f->bytes, bytes.ptr, bytes.len);
    way->last_ms = f->at_ms;
    list_push_back(&way->queue, &f->link);
}

static void on_close(void *ctx, uint8_t peer)
{
    const struct seat *s = ctx;

    s->w->way[s->index][index_of(peer)].closed = true;
}

static void on_event(void *ctx, const struct core_event *event)
{
    const struct seat *s = ctx;

    /* Others trim before they know of a joiner; its donor does not. */
    const bool behind = event->kind == CORE_SELF_BEHIND && s->index != s->w->joiner;

    if (behind || event->kind == CORE_FORKED || event->kind == CORE_BEYOND_SEAL ||
        event->kind == CORE_PEER_BEHIND)
        fail_msg("node %u: event %u of peer %u, reason %u, detail %llu, in run %llu", s->index,
                 event->kind, event->peer, event->reason, (unsigned long long)event->detail,
                 (unsigned long long)s->w->stream);
    if (event->kind == CORE_LINK_CLOSED &&
        (event->reason == WIRE_FORK || event->reason == WIRE_DAMAGED ||
         event->reason == WIRE_UNSUPPORTED || event->reason == WIRE_PROTOCOL_ERR ||
         event->reason == WIRE_WENT_BACK))
        fail_msg("node %u: link to %u ended: %s, in run %llu", s->index, event->peer,
                 wire_reason_str(event->reason), (unsigned long long)s->w->stream);
}

static const char *on_no_room(void *ctx, enum replica_room what, size_t len)
{
    const struct seat *s = ctx;

    (void)what;
    (void)len;
    return s->w->node[s->index].full ? "full" : NULL;
}

static int on_empty(void *ctx, uint64_t lsn, struct bytes note, struct store **out)
{
    const struct seat *s = ctx;

    return node_empty(&s->w->node[s->index], lsn, note, out);
}

static const struct replica_host host = {.send = on_send,
                                         .close = on_close,
                                         .event = on_event,
                                         .no_room = on_no_room,
                                         .empty = on_empty};

static void unlink_ways(struct world *w, unsigned a, unsigned b)
{
    w->linked[a][b] = w->linked[b][a] = false;
    clear_way(&w->way[a][b]);
    clear_way(&w->way[b][a]);
}

static void break_link(struct world *w, unsigned a, unsigned b)
{
    if (!w->linked[a][b])
        return;
    unlink_ways(w, a, b);
    if (w->node[a].up && w->node[a].replica != NULL)
        replica_link_down(w->node[a].replica, w->node[b].m.origin);
    if (w->node[b].up && w->node[b].replica != NULL)
        replica_link_down(w->node[b].replica, w->node[a].m.origin);
    w->totals.broken++;
}

static void dial(struct world *w, unsigned a, unsigned b)
{
    struct node *na = &w->node[a];
    struct node *nb = &w->node[b];

    if (!na->up || !nb->up || w->linked[a][b] || !replica_may_link(na->replica, nb->m.origin) ||
        !replica_may_link(nb->replica, na->m.origin))
        return;
    w->linked[a][b] = w->linked[b][a] = true;
    replica_link_up(na->replica, nb->m.origin);
    replica_link_up(nb->replica, na->m.origin);
}

static void deliver(struct world *w, unsigned from, unsigned to)
{
    struct way *way = &w->way[from][to];
    struct list_link *link;

    while (w->linked[from][to] && (link = list_first(&way->queue)) != NULL &&
           LIST_ITEM(link, struct frame, link)->at_ms <= w->now_ms) {
        struct frame *f = LIST_ITEM(link, struct frame, link);

        list_remove(link);
        replica_receive(w->node[to].replica, w->node[from].m.origin, bytes_of(f->bytes, f->len));
        mem_free(f);
    }
    if (w->linked[from][to] && way->closed && list_empty(&way->queue))
        break_link(w, from, to);
}

static void run_network(struct world *w)
{
    for (unsigned a = 0; a < w->count; a++) {
        for (unsigned b = 0; b < w->count; b++) {
            if (a == b)
                continue;
            deliver(w, a, b);
            if (a < b && chance(w, 5))
                dial(w, a, b);
        }
    }
    if (!w->calm && chance(w, 150)) {
        const unsigned a = world_below(w, w->count);
        const unsigned b = world_below(w, w->count);
        if (a != b)
            break_link(w, a, b);
    }
}

/* --- local batches --- */

static void note_added(struct world *w, unsigned i, unsigned counter, int64_t delta)
{
    const uint64_t seq = ++w->seq[i];

    assert_true(seq < BATCHES);
    w->added[i][seq] = (struct added){.counter = (uint8_t)counter,
                                      .flush = replica_flush_epoch(w->node[i].replica),
                                      .delta = delta};
    w->totals.batches++;
}

static void write_field(struct world *w, struct node *n, const struct ks_key *key)
{
    char name[16], text[16];
    const struct bytes field =
        bytes_of(name, (size_t)snprintf(name, sizeof(name), "field:%u", world_below(w, FIELDS)));
    const struct bytes value =
        bytes_of(text, (size_t)snprintf(text, sizeof(text), "%u", world_below(w, 100000)));
    struct coll *coll = mut_coll(n->m.mut, key, VT_HASH);
    int64_t sum;

    if (coll == NULL)
        mut_del(n->m.mut, key);
    else if (world_below(w, 3) == 0 && coll_find(coll, field) != NULL)
        (void)mut_elem_del(n->m.mut, coll, field);
    else if (world_below(w, 3) != 0 || mut_elem_incr(n->m.mut, coll, field, 5, &sum) != 0)
        (void)mut_elem_set(n->m.mut, coll, field, value);
}

static void write_key(struct world *w, struct node *n, const struct ks_key *key)
{
    char text[64];
    const struct bytes value =
        bytes_of(text, (size_t)snprintf(text, sizeof(text), "value %u", world_below(w, 1000000)));
    const uint64_t now_ms = mut_now_ms(n->m.mut, n->m.now_ms);

    if (ks_get(n->m.ks, key, now_ms) != NULL && chance(w, 6))
        mut_del(n->m.mut, key);
    else if (chance(w, 3))
        mut_set(n->m.mut, key, value, chance(w, 4) ? now_ms + 1 + world_below(w, 300) : 0);
    else
        write_field(w, n, key);
}

/* One batch on a node, if it takes writes. */
void world_write(struct world *w, unsigned i)
{
    struct node *n = &w->node[i];
    const bool counter = chance(w, 2);
    const unsigned k = world_below(w, counter ? COUNTERS : KEYS);
    const int64_t delta = (int64_t)world_below(w, 1000) - 300;
    char name[32];
    int64_t sum;

    (void)snprintf(name, sizeof(name), "%s:%u", counter ? "counter" : "key", k);
    const struct ks_key key = node_key(n, name);
    if (replica_may_write(n->replica) != NULL || !node_need(n, &key, 1) ||
        replica_may_write(n->replica) != NULL || mut_check(n->m.mut, 65536) != 0)
        return;
    mut_begin(n->m.mut, n->m.now_ms);
    if (counter)
        assert_int_equal(mut_incr(n->m.mut, &key, delta, &sum), 0);
    else
        write_key(w, n, &key);
    if (mut_end(n->m.mut) != 0)
        note_added(w, i, counter ? k + 1 : 0, delta);
}

/* --- crashes and starts --- */

static void collect_totals(struct world *w, const struct node *n)
{
    const struct replica_metrics *m = replica_metrics(n->replica);

    w->totals.log_reads += m->log_reads;
    w->totals.copied += m->copied_rows_in;
    w->totals.refused += m->refused_batches;
}

void world_crash(struct world *w, unsigned i)
{
    struct node *n = &w->node[i];

    for (unsigned other = 0; other < w->count; other++)
        break_link(w, i, other);
    collect_totals(w, n);
    node_crash(n);
}

static void start(struct world *w, unsigned i)
{
    struct node *n = &w->node[i];

    n->mono_ms = w->now_ms;
    n->members = w->members;
    node_open(n);
    /* What was not synced is lost, and was never shown to anybody. */
    assert_true(n->state.seq <= w->seq[i]);
    w->totals.lost += w->seq[i] - n->state.seq;
    w->seq[i] = n->state.seq;
    /* Whoever decided on it has kept it. */
    if (i == w->flusher)
        replica_flush(n->replica, w->flush);
}

/* --- the membership --- */

static void follow(struct world *w, unsigned i)
{
    struct node *n = &w->node[i];

    if (n->members.epoch == w->members.epoch || (!w->calm && !chance(w, 20)))
        return;
    n->members = w->members;
    replica_set_members(n->replica, &n->members);
}

static bool all_know(const struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (!w->gone[i] && (!w->node[i].up || w->node[i].members.epoch != w->members.epoch))
            return false;
    }
    return true;
}

static void change(struct world *w, unsigned i, uint8_t state, uint64_t sealed_seq)
{
    struct member *member = &w->members.at[i];

    if (i == w->members.count)
        w->members.count++;
    *member = (struct member){.origin = (uint8_t)(i + 1),
                              .state = state,
                              .incarnation = 101u + i,
                              .sealed_seq = sealed_seq};
    w->members.epoch++;
}

void world_join(struct world *w)
{
    w->joiner = w->count++;
    change(w, w->joiner, MEMBER_JOINING, 0);
    w->node[w->joiner].joining = true;
    start(w, w->joiner);
}

/* All that the others had, durably, when they knew of the joiner. */
static bool note_to_reach(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        const struct node *n = &w->node[i];
        struct posv at;

        if (!w->gone[i] && oplog_durable_lsn(n->m.log) < oplog_applied_lsn(n->m.log))
            return false;
        if (w->gone[i])
            continue;
        replica_position(n->replica, &at);
        for (unsigned j = 0; j < at.count; j++)
            assert_int_equal(posv_raise(&w->to_reach, at.origin[j], at.at[j]), 0);
    }
    return true;
}

/* The joiner becomes active when all know of it and it has what they had by then. */
static void look_at_joiner(struct world *w)
{
    struct node *n = &w->node[w->joiner];
    struct posv at;

    if (w->joiner == NODES_MAX || !n->joining || !n->up)
        return;
    if (!w->knows_all)
        w->knows_all = all_know(w) && note_to_reach(w);
    if (!w->knows_all || !replica_synced(n->replica))
        return;
    replica_position(n->replica, &at);
    if (!posv_leq(&w->to_reach, &at))
        return;
    n->joining = false;
    change(w, w->joiner, MEMBER_ACTIVE, 0);
}

/* The others agree where the history of the one that is gone ends. */
static void look_at_gone(struct world *w)
{
    uint64_t seal = 0;
    struct pos pos;

    for (unsigned x = 0; x < w->count; x++) {
        if (!w->gone[x] || w->members.at[x].state == MEMBER_SEALED)
            continue;
        bool all = all_know(w);
        for (unsigned i = 0; i < w->count; i++) {
            if (w->gone[i] || !w->node[i].up)
                continue;
            replica_freeze(w->node[i].replica, (uint8_t)(x + 1));
            if (replica_frozen(w->node[i].replica, (uint8_t)(x + 1), &pos))
                seal = u64_max(seal, pos.seq);
            else
                all = false;
        }
        if (!all)
            continue;
        w->seq[x] = seal;
        change(w, x, MEMBER_SEALED, seal);
    }
}

/* --- a run --- */

void world_turn(struct world *w)
{
    w->now_ms += 1 + world_below(w, 3);
    run_network(w);
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->node[i];

        if (!n->up)
            continue;
        follow(w, i);
        n->full = i == w->full || (!w->calm && (n->full ? !chance(w, 20) : chance(w, 200)));
        node_turn(n, w->now_ms, w->calm && chance(w, 10));
        assert_true(replica_memory_bytes(n->replica) < 4u << 20);
    }
    look_at_joiner(w);
    look_at_gone(w);
}

void world_disturb(struct world *w)
{
    const unsigned i = world_below(w, w->count);

    if (w->gone[i])
        return;
    const bool up = w->node[i].up;
    /* In the middle of its copy more often. */
    const bool copying = up && i == w->joiner && replica_may_read(w->node[i].replica) != NULL;
    if (!up && chance(w, 40))
        start(w, i);
    else if (up && chance(w, copying ? 15 : 250))
        world_crash(w, i);
}

void world_write_some(struct world *w)
{
    for (unsigned n = world_below(w, 4); n != 0; n--) {
        const unsigned i = world_below(w, w->count);

        if (w->node[i].up)
            world_write(w, i);
    }
}

static bool converged(struct world *w)
{
    struct posv first, at;
    uint64_t own;
    bool any = false;

    for (unsigned i = 0; i < w->count; i++) {
        const struct node *n = &w->node[i];

        if (w->gone[i])
            continue;
        if (n->members.epoch != w->members.epoch || !replica_drained(n->replica, &own) ||
            !replica_synced(n->replica) || n->joining ||
            replica_flush_epoch(n->replica) != w->flush || ks_group_unsettled(n->m.ks) != 0)
            return false;
        replica_position(n->replica, &at);
        if (any && (!posv_leq(&first, &at) || !posv_leq(&at, &first)))
            return false;
        first = at;
        any = true;
        if (w->members.at[i].state == MEMBER_ACTIVE && replica_may_write(n->replica) != NULL)
            return false;
    }
    for (unsigned i = 0; i < w->count; i++) {
        if (w->gone[i] && w->members.at[i].state != MEMBER_SEALED)
            return false;
    }
    return true;
}

void world_calm_down(struct world *w)
{
    unsigned left = 100000;

    w->calm = true;
    for (unsigned i = 0; i < w->count; i++) {
        if (!w->gone[i] && !w->node[i].up)
            start(w, i);
    }
    do {
        world_turn(w);
        if (left-- == 0)
            fail_msg("run %llu does not come to rest", (unsigned long long)w->stream);
    } while (!converged(w));
}

static void show(struct world *w, unsigned i, const char *name, uint64_t now_ms, struct buf *out)
{
    const struct ks_key key = node_key(&w->node[i], name);

    net_show(&w->node[i].m, &key, now_ms, out);
}

static void check_key(struct world *w, const char *name, const char *want)
{
    uint64_t now_ms = 0;
    struct buf first, other;
    bool any = false;

    buf_init(&first, UINT32_MAX);
    buf_init(&other, UINT32_MAX);
    for (unsigned i = 0; i < w->count; i++) {
        if (!w->gone[i])
            now_ms = u64_max(now_ms, mut_now_ms(w->node[i].m.mut, w->node[i].m.now_ms));
    }
    for (unsigned i = 0; i < w->count; i++) {
        if (w->gone[i])
            continue;
        show(w, i, name, now_ms, any ? &other : &first);
        if (any && !bytes_eq(buf_bytes(&first), buf_bytes(&other)))
            fail_msg("%s differs at node %u in run %llu\n  %.*s\n  %.*s", name, i,
                     (unsigned long long)w->stream, (int)first.len, (const char *)first.ptr,
                     (int)other.len, (const char *)other.ptr);
        any = true;
    }
    if (want != NULL && !bytes_eq(buf_bytes(&first), bytes_of(want, strlen(want))))
        fail_msg("%s is %.*s, not %s, in run %llu", name, (int)first.len, (const char *)first.ptr,
                 want, (unsigned long long)w->stream);
    buf_deinit(&first);
    buf_deinit(&other);
}

void world_check(struct world *w)
{
    char name[32], want[48];

    for (unsigned c = 0; c < COUNTERS; c++) {
        int64_t sum = 0;
        bool there = false;

        for (unsigned i = 0; i < w->count; i++) {
            for (uint64_t seq = 1; seq <= w->seq[i]; seq++) {
                const struct added *a = &w->added[i][seq];
                if (a->flush != w->flush || a->counter != c + 1)
                    continue;
                sum += a->delta;
                there = true;
            }
        }
        (void)snprintf(name, sizeof(name), "counter:%u", c);
        (void)snprintf(want, sizeof(want), "%d:%lld,", VT_STRING, (long long)sum);
        check_key(w, name, there ? want : "");
    }
    for (unsigned k = 0; k < KEYS; k++) {
        (void)snprintf(name, sizeof(name), "key:%u", k);
        check_key(w, name, NULL);
    }
}

/* The digests agree, whatever each has collected of its garbage by now. */
void world_check_sums(struct world *w)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < w->count; i++) {
        if (!w->gone[i] && !node_has_sum(&w->node[i], w->now_ms, &sum))
            fail_msg("node %u has another sum in run %llu", i, (unsigned long long)w->stream);
    }
}

/* Nobody needs the log any more, and it goes, but for its last segments. */
void world_check_trimmed(struct world *w)
{
    for (unsigned left = 20000;; left--) {
        bool all = true;

        world_turn(w);
        for (unsigned i = 0; i < w->count; i++)
            all = all && (w->gone[i] || oplog_segment_count(w->node[i].m.log) <= 3);
        if (all)
            return;
        if (left == 0)
            fail_msg("the logs are not trimmed in run %llu", (unsigned long long)w->stream);
    }
}

void world_open(struct world *w, uint64_t stream, unsigned count, bool joins)
{
    w->stream = stream;
    w->now_ms = 1;
    seed_rng(&w->rng, stream);
    w->joiner = w->flusher = w->full = NODES_MAX;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        seats[i] = (struct seat){.w = w, .index = i};
        w->added[i] = mem_zalloc_array(BATCHES, sizeof(struct added));
        node_create(&w->node[i], (uint8_t)(i + 1), 77 + i);
        w->node[i].rng = &w->rng;
        w->node[i].host = &host;
        w->node[i].ctx = &seats[i];
        w->node[i].skew_ms = (int64_t)world_below(w, 60) - 30;
        for (unsigned j = 0; j < NODES_MAX; j++)
            list_init(&w->way[i][j].queue);
    }
    w->count = joins ? count - 1 : count;
    for (unsigned i = 0; i < w->count; i++)
        change(w, i, MEMBER_ACTIVE, 0);
    for (unsigned i = 0; i < w->count; i++)
        start(w, i);
}

void world_close(struct world *w)
{
    uint64_t empties = 0;
    uint64_t crashes = 0;
    uint64_t begun = 0;

    for (unsigned a = 0; a < NODES_MAX; a++) {
        for (unsigned b = 0; b < NODES_MAX; b++)
            clear_way(&w->way[a][b]);
    }
    for (unsigned i = 0; i < NODES_MAX; i++) {
        struct node *n = &w->node[i];

        empties += n->empties;
        crashes += n->crashes;
        begun += n->emptied_at_start;
        if (n->up) {
            collect_totals(w, n);
            node_close(n);
        }
        node_destroy(n);
        mem_free(w->added[i]);
    }
    print_message("run %llu: %u nodes, %llu batches, %llu lost, %llu crashes, %llu breaks, %llu "
                  "reads of logs, %llu rows copied, %llu copies begun again, %llu emptied\n",
                  (unsigned long long)w->stream, w->count, (unsigned long long)w->totals.batches,
                  (unsigned long long)w->totals.lost, (unsigned long long)crashes,
                  (unsigned long long)w->totals.broken, (unsigned long long)w->totals.log_reads,
                  (unsigned long long)w->totals.copied, (unsigned long long)begun,
                  (unsigned long long)empties);
    assert_true(w->totals.refused == 0);
}

void world_flush(struct world *w, unsigned i)
{
    w->flusher = i;
    replica_flush(w->node[i].replica, ++w->flush);
}
