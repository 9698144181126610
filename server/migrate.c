/* Keys on their way to another node; migrate.h tells how. */
#include "server/migrate.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/space/resident.h"
#include "engine/space/strval.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/dump.h"
#include "server/forward.h"
#include "server/migrate_impl.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/txn.h"

/* A dump up to this is copied behind the others of its batch. */
#define SHORT_BYTES ((size_t)64 << 10)
/* Keys behind the one that is waited for whose reads are begun, too. */
#define AHEAD_KEYS 32
/* Of all long collections together, each has so many elements of a slice at least. */
#define SLICE_ELEMS_MIN 128
/* A long value was changed all the same while it was dumped: it is begun again so often. */
#define TRIES_MAX        8
#define FLUSHING_LOOK_MS 2

/* --- life --- */

void migrate_fail(struct migrate *m, const char *format, ...)
{
    va_list args;

    if (m->why[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(m->why, sizeof(m->why), format, args);
    va_end(args);
}

/* Who would write the key has to wait. */
static void hold(struct migrate *m, const struct ks_key *key, struct migrate_key *k)
{
    k->changed = false;
    k->hold = watch_hold(m->sh->watches, key, &k->changed);
    m->sh->streams_shut++;
}

static void release(struct migrate *m, struct migrate_key *k)
{
    if (k->hold == NULL)
        return;
    watch_release(m->sh->watches, k->hold);
    m->sh->streams_shut--;
    k->hold = NULL;
}

/* It is done with. */
static void let_go(struct migrate *m, struct migrate_key *k)
{
    k->state = MIGRATE_OVER;
    release(m, k);
}

static void end_dump(struct migrate *m)
{
    if (m->dumping)
        dump_end(m->sh->ks, &m->dump);
    m->dumping = false;
}

void migrate_drop(struct conn *c)
{
    struct migrate *m = c->migrate;

    if (m == NULL)
        return;
    c->migrate = NULL;
    ks_wait_cancel(&c->wait);
    if (list_linked(&c->retry_link))
        list_remove(&c->retry_link);
    reactor_timer_stop(m->sh->reactor, &m->idle);
    end_dump(m);
    for (uint32_t i = m->settled; i <= m->next && i < m->count; i++)
        let_go(m, &m->keys[i]);
    migrate_link_drop(m->target);
    list_remove(&m->link);
    m->sh->migrates.count--;
    mem_free(m);
}

void migrate_abandon(struct shard *sh, uint64_t id)
{
    LIST_FOR_EACH(link, &sh->migrates.all) {
        const struct migrate *m = LIST_ITEM(link, struct migrate, link);
        if (m->conn->is_agent && m->conn->id == id) {
            forward_abandon(m->conn);
            return;
        }
    }
}

bool migrate_keeps(struct conn *c, int *err)
{
    c->migrate->row_err = *err;
    *err = 0;
    return true;
}

size_t migrate_memory_bytes(const struct conn *c)
{
    const struct migrate *m = c->migrate;

    return m == NULL ? 0
                     : sizeof(*m) + (size_t)m->args.keys * sizeof(m->keys[0]) +
                           migrate_link_bytes(m->target);
}

/* --- what the target does --- */

static void end(struct migrate *m)
{
    m->over = true;
    shard_retry_next_turn(m->sh, m->conn);
}

/* Whether it has something to do. */
static bool target_owes(const struct migrate *m)
{
    return !migrate_link_idle(m->target) || m->greetings != 0 || m->answered < m->next;
}

void migrate_broken(struct migrate *m, enum migrate_broken how)
{
    if (m->answered == m->count) {
        /* It is not needed any more: what it accepted is only to be deleted here. */
        end(m);
        return;
    }
    if (how == MIGRATE_NOT_CONNECTED)
        migrate_fail(m, "IOERR error or timeout connecting to the client");
    else
        migrate_fail(m, "IOERR error or timeout %s to target instance",
                     how == MIGRATE_NOT_WRITTEN ? "writing" : "reading");
    end(m);
}

static void on_idle(struct reactor_timer *t)
{
    struct migrate *m = container_of(t, struct migrate, idle);

    /* What is left is to be done here, and waits: for the end of CLIENT PAUSE, for example. */
    if (!target_owes(m))
        return;
    migrate_broken(m, migrate_link_doing(m->target));
}

static void start_timer(struct migrate *m)
{
    const uint64_t now_ms = reactor_now_ms(m->sh->reactor);

    reactor_timer_start(m->sh->reactor, &m->idle, now_ms + (uint64_t)m->args.timeout_ms, on_idle);
}

void migrate_moved(struct migrate *m)
{
    if (m->over)
        return;
    start_timer(m);
    shard_retry_next_turn(m->sh, m->conn);
}

/* Its errors begin with "-", and what it accepts is "+OK": anything else is no Redis. */
static bool is_accepted(struct migrate *m, struct bytes line)
{
    if (bytes_eq(line, BYTES_LIT("+OK")))
        return true;
    if (line.len != 0 && line.ptr[0] == '-') {
        migrate_fail(m, "ERR Target instance replied with error: %.*s", (int)line.len - 1,
                     (const char *)line.ptr + 1);
        return false;
    }
    migrate_fail(m, "ERR Target instance replied with what is neither +OK nor an error; keys that "
                    "it has not accepted stay here");
    end(m);
    return false;
}

/* Keys that were not sent get no reply. */
static void pass_over(struct migrate *m)
{
    while (m->answered < m->next && m->keys[m->answered].state != MIGRATE_SENT)
        m->answered++;
}

void migrate_heard(struct migrate *m, struct bytes line)
{
    if (m->over)
        return;
    migrate_moved(m);
    if (m->greetings != 0) {
        m->greetings--;
        if (!is_accepted(m, line))
            end(m);
        return;
    }
    pass_over(m);
    if (m->answered == m->next) {
        migrate_fail(m, "ERR Target instance replied with more than it was asked for");
        end(m);
        return;
    }
    struct migrate_key *k = &m->keys[m->answered++];
    k->state = is_accepted(m, line) ? MIGRATE_ACCEPTED : MIGRATE_REFUSED;
    pass_over(m);
}

/* --- keys that were accepted --- */

static struct ks_key key_of(const struct request *rq, const struct migrate_key *k)
{
    return ks_key_of(rq->argv[k->arg], ks_seed(rq->ks));
}

/* False: its row has to be read first. */
static bool delete_key(struct request *rq, struct migrate *m, const struct migrate_key *k)
{
    const struct ks_key key = key_of(rq, k);
    struct ks_wait *wait = &m->conn->wait;
    struct obj *obj;
    const int waiting = m->sh->group != NULL ? ks_need_row(rq->ks, &key, wait)
                                             : ks_need_existence(rq->ks, &key, wait);

    if (waiting != 0)
        return false;
    if (ks_find(rq->ks, &key, rq->now_ms, &obj, NULL) == KS_ABSENT)
        return true;
    if (k->changed)
        migrate_fail(m, "ERR a key was changed while it was sent and stays here; the target has it "
                        "as it was before");
    else
        mut_del(rq->mut, &key);
    return true;
}

/* False: one of them has to be read. */
static bool settle(struct request *rq, struct migrate *m)
{
    for (; m->settled < m->answered; m->settled++) {
        struct migrate_key *k = &m->keys[m->settled];
        if (k->state == MIGRATE_ACCEPTED && !m->args.copy && !delete_key(rq, m, k))
            return false;
        let_go(m, k);
    }
    return true;
}

/* --- keys that are sent --- */

int migrate_put_array(struct buf *out, uint32_t n)
{
    return buf_printf(out, "*%u\r\n", n);
}

int migrate_put_arg(struct buf *out, struct bytes arg)
{
    int err = buf_printf(out, "$%zu\r\n", arg.len);

    if (err == 0)
        err = buf_append_bytes(out, arg);
    return err != 0 ? err : buf_append(out, "\r\n", 2);
}

/* What a dump may take beside those of all others. */
static uint64_t dump_room(const struct migrate *m)
{
    const uint64_t all = ks_scan_bytes_max(m->sh->ks);
    uint64_t taken = 0;

    LIST_FOR_EACH(link, &m->sh->migrates.all) {
        const struct migrate *other = LIST_ITEM(link, struct migrate, link);
        if (other != m)
            taken += migrate_link_dump(other->target)->cap;
    }
    return u64_max(all - u64_min(taken, all), SHORT_BYTES);
}

static struct buf *new_dump(const struct migrate *m)
{
    struct buf *dump = migrate_link_dump(m->target);
    const uint64_t bulk = u64_min(shard_bulk_bytes_max(m->sh), DUMP_BYTES_MAX);

    dump->limit = (size_t)u64_min(bulk, dump_room(m));
    return dump;
}

/* RESTORE key ttl dump [REPLACE], up to the bytes of the dump. */
static int put_head(const struct request *rq, const struct migrate *m, const struct migrate_key *k,
                    uint64_t ttl_ms)
{
    struct buf *head = migrate_link_head(m->target);
    char ttl[NUM_I64_BYTES];
    int err = migrate_put_array(head, m->args.replace ? 5 : 4);

    if (err == 0)
        err = migrate_put_arg(head, BYTES_LIT("RESTORE"));
    if (err == 0)
        err = migrate_put_arg(head, rq->argv[k->arg]);
    if (err == 0)
        err = migrate_put_arg(head, bytes_of(ttl, num_print_u64(ttl, ttl_ms)));
    return err != 0 ? err : buf_printf(head, "$%zu\r\n", migrate_link_dump(m->target)->len);
}

static int put_tail(const struct migrate *m, struct buf *out)
{
    const int err = buf_append(out, "\r\n", 2);

    return err != 0 || !m->args.replace ? err : migrate_put_arg(out, BYTES_LIT("REPLACE"));
}

static int put_request(const struct request *rq, const struct migrate *m,
                       const struct migrate_key *k, uint64_t ttl_ms)
{
    struct buf *head = migrate_link_head(m->target);
    struct buf *dump = migrate_link_dump(m->target);
    int err = put_head(rq, m, k, ttl_ms);

    if (err != 0)
        return err;
    if (dump->len > SHORT_BYTES)
        return put_tail(m, migrate_link_tail(m->target));
    err = buf_append_bytes(head, buf_bytes(dump));
    if (err == 0)
        err = put_tail(m, head);
    buf_clear(dump);
    return err;
}

/* The dump of the key is there. */
static void put_dump(const struct request *rq, struct migrate *m, struct migrate_key *k,
                     const struct obj *obj)
{
    struct buf *head = migrate_link_head(m->target);
    const size_t before = head->len;
    const uint64_t at_ms = ks_expire_at(obj);
    const uint64_t ttl_ms = at_ms == 0 ? 0 : u64_max(at_ms - u64_min(at_ms, rq->now_ms), 1);
    const struct ks_key key = key_of(rq, k);

    if (put_request(rq, m, k, ttl_ms) != 0) {
        migrate_fail(m, "ERR no memory to send a key; it stays here");
        buf_truncate(head, before);
        buf_deinit(migrate_link_dump(m->target));
        buf_clear(migrate_link_tail(m->target));
        let_go(m, k);
        return;
    }
    k->state = MIGRATE_SENT;
    if (m->args.copy)
        release(m, k);
    else if (k->hold == NULL)
        hold(m, &key, k);
}

/* It is too long, and stays. */
static void refuse_dump(struct migrate *m, struct migrate_key *k)
{
    struct buf *dump = migrate_link_dump(m->target);

    if (dump->limit >= shard_bulk_bytes_max(m->sh))
        migrate_fail(m, "ERR a value is longer in Redis's serialisation than proto-max-bulk-len, "
                        "and stays here");
    else
        migrate_fail(m, "OOM command not allowed when used memory > 'maxmemory'. A value does not "
                        "fit into memory in Redis's serialisation, beside those of other MIGRATEs, "
                        "and stays here");
    buf_deinit(dump);
    let_go(m, k);
}

/* --- long values, in slices --- */

/* False: not now. */
static bool begin_dump(const struct request *rq, struct migrate *m, struct migrate_key *k,
                       const struct obj *obj)
{
    const struct ks_key key = key_of(rq, k);

    /* FLUSHALL waits for the walks that there are, and what was put before is sent before. */
    if (m->sh->flushing)
        shard_retry_after(m->sh, m->conn, FLUSHING_LOOK_MS);
    if (m->sh->flushing || migrate_link_head(m->target)->len != 0)
        return false;
    m->dumping = true;
    hold(m, &key, k);
    if (dump_begin(rq->ks, obj, &m->dump, new_dump(m)) == 0)
        return true;
    end_dump(m);
    refuse_dump(m, k);
    return true;
}

/* It was written by another member, evicted or so: from the begin. */
static void dump_again(struct migrate *m, struct migrate_key *k)
{
    end_dump(m);
    buf_deinit(migrate_link_dump(m->target));
    release(m, k);
    if (++m->tries < TRIES_MAX)
        return;
    migrate_fail(m, "ERR a key is changed all the time, and stays here");
    let_go(m, k);
}

/* The next slice. False: not all of it is there. */
static bool dump_slice(const struct request *rq, struct migrate *m, struct migrate_key *k)
{
    const struct ks_key key = key_of(rq, k);
    const uint64_t share = DUMP_SLICE_ELEMS / u64_max(ks_walks(rq->ks), 1);
    struct dump *d = &m->dump;
    const uint64_t end = u64_min(d->at + DUMP_SLICE_BYTES, d->at + d->left);

    if (k->changed) {
        dump_again(m, k);
        if (k->state != MIGRATE_OVER)
            shard_retry_next_turn(m->sh, m->conn);
        return k->state == MIGRATE_OVER;
    }
    if (d->type == VT_STRING && ks_need_bytes(rq->ks, &key, d->at, end, &m->conn->wait) > 0)
        return false;
    const struct obj *obj = ks_get(rq->ks, &key, rq->now_ms);
    const int r = obj == NULL ? 1
                              : dump_some(rq, d, obj, u64_max(share, SLICE_ELEMS_MIN),
                                          migrate_link_dump(m->target));
    ks_wait_unpin(&m->conn->wait);
    if (r == 0) {
        shard_retry_next_turn(m->sh, m->conn);
        return false;
    }
    end_dump(m);
    m->tries = 0;
    if (obj == NULL) {
        buf_deinit(migrate_link_dump(m->target));
        let_go(m, k);
    } else if (r < 0) {
        refuse_dump(m, k);
    } else {
        put_dump(rq, m, k, obj);
    }
    return true;
}

/* --- the next key --- */

/* It is resident. False: not now. */
static bool put_obj(const struct request *rq, struct migrate *m, struct migrate_key *k,
                    const struct obj *obj)
{
    if (dump_is_long(obj))
        return begin_dump(rq, m, k, obj) && (!m->dumping || dump_slice(rq, m, k));
    if (dump_value(rq, obj, new_dump(m)) == 0)
        put_dump(rq, m, k, obj);
    else
        refuse_dump(m, k);
    return true;
}

static void read_ahead(const struct request *rq, const struct migrate *m)
{
    const uint32_t end = m->next + 1 + AHEAD_KEYS;

    for (uint32_t i = m->next + 1; i < end && i < m->count && ks_may_read_ahead(rq->ks); i++) {
        const struct ks_key key = key_of(rq, &m->keys[i]);
        IGNORE_RESULT(ks_need_whole(rq->ks, &key, NULL));
    }
}

/* All of it, but for long strings. */
static int need(const struct request *rq, const struct ks_key *key, struct ks_wait *wait)
{
    const int waiting = ks_need_key(rq->ks, key, wait);
    const struct obj *obj = waiting != 0 ? NULL : ks_get(rq->ks, key, rq->now_ms);

    if (waiting != 0 || (obj != NULL && dump_is_long_string(obj)))
        return waiting;
    return ks_need_whole(rq->ks, key, wait);
}

/* False: it, or a part of it, has to be read first, or others have their turn. */
static bool put_key(const struct request *rq, struct migrate *m, struct migrate_key *k)
{
    const struct ks_key key = key_of(rq, k);
    struct ks_wait *wait = &m->conn->wait;
    bool put = true;

    if (m->dumping)
        return dump_slice(rq, m, k);
    const int waiting = need(rq, &key, wait);
    if (waiting > 0) {
        read_ahead(rq, m);
        return false;
    }
    const struct obj *obj = waiting < 0 ? NULL : ks_get(rq->ks, &key, rq->now_ms);
    if (waiting < 0)
        migrate_fail(m, "OOM command not allowed when used memory > 'maxmemory'. A value is larger "
                        "than a quarter of maxmemory, and stays here");
    if (obj == NULL)
        let_go(m, k);
    else
        put = put_obj(rq, m, k, obj);
    ks_wait_unpin(wait);
    return put;
}

/* The next batch. */
static void fill(const struct request *rq, struct migrate *m)
{
    const struct buf *head = migrate_link_head(m->target);

    while (m->next < m->count && m->next - m->settled < MIGRATE_KEYS_MAX &&
           head->len < MIGRATE_BATCH_BYTES &&
           (m->dumping || migrate_link_dump(m->target)->len == 0)) {
        if (!put_key(rq, m, &m->keys[m->next]))
            break;
        m->next++;
    }
    pass_over(m);
    if (head->len != 0)
        migrate_link_send(m->target);
    else if (m->answered == m->next && m->next - m->settled == MIGRATE_KEYS_MAX)
        shard_retry_next_turn(m->sh, m->conn); /* All of them were gone: nobody else wakes it. */
}

/* --- the command --- */

/* Deleted, or left, and nothing more to be sent. */
static bool is_done(const struct migrate *m)
{
    return m->settled == m->count || (m->over && m->settled == m->answered);
}

static void finish(struct request *rq, struct migrate *m)
{
    if (m->why[0] != '\0')
        reply_error(rq->out, "%s", m->why);
    else
        reply_ok(rq->out);
    migrate_drop(rq->conn);
}

/* Parks it. The time of the target is only counted while it has something to do. */
static void go_on(struct request *rq, struct migrate *m)
{
    rq->parked = true;
    if (!target_owes(m) || m->over)
        reactor_timer_stop(m->sh->reactor, &m->idle);
    else if (!timer_running(&m->idle))
        start_timer(m);
}

void migrate_step(struct request *rq)
{
    struct migrate *m = rq->conn->migrate;
    const bool reading = rq->conn->wait.pending != 0;

    if (m->row_err != 0) {
        migrate_fail(m,
                     "ERR a row of a key cannot be read from flash: %s; run tierra-inspect "
                     "verify. What the target has not accepted stays here",
                     err_str(m->row_err));
        finish(rq, m);
        return;
    }
    if (!m->over)
        migrate_link_push(m->target);
    if (!reading && settle(rq, m) && !m->over && m->greetings == 0 && migrate_link_idle(m->target))
        fill(rq, m);
    /* What was not sent needs no reply. */
    if (rq->conn->wait.pending == 0)
        (void)settle(rq, m);
    if (is_done(m))
        finish(rq, m);
    else
        go_on(rq, m);
}
