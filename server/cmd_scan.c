/* Walking over the keys: SCAN, KEYS, RANDOMKEY, DBSIZE. */
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/space/resident.h"
#include "engine/space/scan.h"

#include "server/collscan.h"
#include "server/conn.h"
#include "server/glob.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/route.h"
#include "server/shard.h"

/* Keys of one step of KEYS, between two looks at other clients. */
#define KEYS_STEP 512
/* Steps in one turn. */
#define KEYS_STEPS_MAX 16
/* The most that SCAN shows at once, whatever COUNT says. */
#define SCAN_COUNT_MAX 100000

void cmd_dbsize(struct request *rq)
{
    reply_u64(rq->out, ks_count(rq->ks));
}

/* What the walk is about to wait for; NULL within EXEC, where cold keys are left out. */
static struct ks_wait *wait_of(const struct request *rq)
{
    return rq->nested ? NULL : &rq->conn->wait;
}

static void reply_unreadable(struct request *rq, int err)
{
    reply_error(rq->out,
                "ERR the names of keys cannot be read from flash: %s; run tierra-inspect "
                "verify",
                err_str(err));
}

/* --- names on their way to a reply --- */

struct keys {
    struct conn_walk *walk;
    struct bytes pattern;
    bool filtered; /* By the pattern, which may be empty; else all. */
    uint8_t type;  /* VT_NONE: any. */
    bool no_type;  /* A type that does not exist was asked for. */
    int err;
};

static void keep_key(void *ctx, struct bytes name, uint8_t type, bool expired)
{
    struct keys *k = ctx;
    uint8_t head[4];

    if (expired || k->err != 0 || k->no_type || (k->type != VT_NONE && k->type != type))
        return;
    if (k->filtered && !glob_match(k->pattern, name, false))
        return;
    le32_store(head, (uint32_t)name.len);
    k->err = buf_append(&k->walk->names, head, sizeof(head));
    if (k->err == 0)
        k->err = buf_append_bytes(&k->walk->names, name);
    k->walk->count++;
}

static void walk_end(struct conn_walk *walk)
{
    buf_deinit(&walk->names);
    walk->active = false;
    walk->cursor = 0;
    walk->count = 0;
}

static void reply_names(struct request *rq, const struct conn_walk *walk)
{
    struct bytes in = buf_bytes(&walk->names);
    struct bytes name;

    reply_array(rq->out, walk->count);
    while (in.len != 0) {
        const size_t len = le32_load(in.ptr);
        in = bytes_from(in, 4);
        if (!bytes_take(&in, len, &name))
            return;
        reply_bulk(rq->out, name);
    }
}

/* --- SCAN --- */

static uint8_t type_named(struct bytes name)
{
    for (unsigned type = VT_STRING; type <= VT_STREAM; type++) {
        if (bytes_eq_nocase(name, req_type_name((uint8_t)type)))
            return (uint8_t)type;
    }
    return VT_NONE;
}

/* False after an error reply. */
static bool scan_options(struct request *rq, struct keys *k, int64_t *count)
{
    for (uint32_t i = 2; i < rq->argc; i += 2) {
        if (i + 1 >= rq->argc) {
            reply_err_syntax(rq->out);
            return false;
        }
        if (req_is(rq, i, "COUNT")) {
            if (!req_i64(rq, i + 1, count))
                return false;
            if (*count < 1) {
                reply_err_syntax(rq->out);
                return false;
            }
        } else if (req_is(rq, i, "MATCH")) {
            k->pattern = rq->argv[i + 1];
            k->filtered = !bytes_eq(k->pattern, BYTES_LIT("*"));
        } else if (req_is(rq, i, "TYPE")) {
            k->type = type_named(rq->argv[i + 1]);
            k->no_type = k->type == VT_NONE;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    return true;
}

/* Where the walk goes on behind this shard's keys: at the first slot of the next one; the walk of a
 * node of a cluster ends. */
static uint64_t next_shard_cursor(const struct shard *sh)
{
    const uint64_t slot = route_first_slot(sh->id + 1, sh->node->shards_count);

    return sh->cluster || slot >= KEY_SLOTS ? 0 : slot << KEYTAB_CURSOR_HASH_BITS;
}

static struct ks_scan scan_step(struct request *rq, uint32_t count, ks_scan_fn fn, void *ctx)
{
    return (struct ks_scan){
        .count = count, .now_ms = rq->now_ms, .wait = wait_of(rq), .fn = fn, .ctx = ctx};
}

void cmd_scan(struct request *rq)
{
    struct conn_walk *walk = &rq->conn->walk;
    struct keys k = {.walk = walk};
    uint64_t cursor;
    int64_t count = 10;
    char text[NUM_I64_BYTES];

    if (!collscan_cursor(rq->out, rq->argv[1], &cursor) || !scan_options(rq, &k, &count))
        return;
    const uint32_t some = (uint32_t)i64_min(count, SCAN_COUNT_MAX);
    const struct ks_scan step = scan_step(rq, some, keep_key, &k);
    const int err = ks_scan(rq->ks, &step, &cursor);
    if (err > 0) {
        rq->parked = true;
        return;
    }
    if (err < 0) {
        reply_unreadable(rq, err);
    } else if (k.err != 0) {
        reply_err_oom(rq->out, "the reply does not fit into the output buffer; use a lower COUNT");
    } else {
        if (cursor == 0)
            cursor = next_shard_cursor(rq->sh);
        reply_array(rq->out, 2);
        reply_bulk(rq->out, bytes_of(text, num_print_u64(text, cursor)));
        reply_names(rq, walk);
    }
    walk_end(walk);
}

/* --- KEYS --- */

void cmd_keys(struct request *rq)
{
    struct conn_walk *walk = &rq->conn->walk;
    struct keys k = {.walk = walk, .pattern = rq->argv[1]};
    const struct ks_scan step = scan_step(rq, KEYS_STEP, keep_key, &k);
    uint32_t steps = 0;
    int err;

    k.filtered = !bytes_eq(k.pattern, BYTES_LIT("*"));
    do {
        if (++steps > KEYS_STEPS_MAX && !rq->nested) {
            /* The others have a turn. */
            rq->parked = true;
            shard_retry_next_turn(rq->sh, rq->conn);
            return;
        }
        err = ks_scan(rq->ks, &step, &walk->cursor);
    } while (err == 0 && k.err == 0 && walk->cursor != 0);
    if (err > 0) {
        rq->parked = true;
        return;
    }
    if (k.err != 0)
        reply_err_oom(rq->out, "the reply does not fit into the output buffer; use SCAN");
    else if (err != 0)
        reply_unreadable(rq, err);
    else
        reply_names(rq, walk);
    walk_end(walk);
}

/* --- CLUSTER GETKEYSINSLOT --- */

/* Names of one slot, up to a number. */
struct slot_keys {
    struct keys keys;
    uint16_t slot;
    uint64_t max;
};

static void keep_slot_key(void *ctx, struct bytes name, uint8_t type, bool expired)
{
    struct slot_keys *s = ctx;

    /* A step may go on into the next slot. */
    if (s->keys.walk->count < s->max && key_slot(name) == s->slot)
        keep_key(&s->keys, name, type, expired);
}

/* The walk has left the slot, or has enough. */
static bool slot_done(const struct slot_keys *s)
{
    const struct conn_walk *walk = s->keys.walk;

    return walk->count >= s->max || s->keys.err != 0 || walk->cursor == 0 ||
           walk->cursor >> KEYTAB_CURSOR_HASH_BITS != s->slot;
}

/* Some steps of the walk: 0: that was all; 1: it is to go on later; or an error. */
static int walk_slot(struct request *rq, struct slot_keys *s)
{
    struct conn_walk *walk = s->keys.walk;
    const uint64_t there = ks_slot_entries(rq->ks, s->slot);
    uint32_t steps = 0;
    int err = 0;

    if (there == 0 || s->max == 0)
        return 0;
    /* Not more names than the slot has, as those of cold keys are read. */
    const uint32_t some = (uint32_t)u64_min(KEYS_STEP, u64_min(there, s->max));
    const struct ks_scan step = scan_step(rq, some, keep_slot_key, s);
    do {
        if (++steps > KEYS_STEPS_MAX && !rq->nested) {
            shard_retry_next_turn(rq->sh, rq->conn);
            return 1;
        }
        err = ks_scan(rq->ks, &step, &walk->cursor);
    } while (err == 0 && !slot_done(s));
    return err;
}

void cmd_cluster_getkeysinslot(struct request *rq)
{
    struct conn_walk *walk = &rq->conn->walk;
    struct slot_keys s = {.keys = {.walk = walk}};
    int64_t slot, max;

    if (!rq->sh->cluster) {
        reply_error(rq->out, "ERR This instance has cluster support disabled");
        return;
    }
    if (!req_i64(rq, 2, &slot) || !req_i64(rq, 3, &max))
        return;
    if (slot < 0 || slot >= KEY_SLOTS || max < 0) {
        reply_error(rq->out, "ERR Invalid slot or number of keys");
        return;
    }
    s.slot = (uint16_t)slot;
    s.max = (uint64_t)max;
    if (!walk->active) {
        walk->active = true;
        walk->cursor = keytab_cursor(s.slot, 0);
    }
    const int err = walk_slot(rq, &s);
    if (err > 0) {
        rq->parked = true;
        return;
    }
    if (s.keys.err != 0)
        reply_err_oom(rq->out, "the reply does not fit into the output buffer; ask for fewer");
    else if (err != 0)
        reply_unreadable(rq, err);
    else
        reply_names(rq, walk);
    walk_end(walk);
}

/* --- RANDOMKEY --- */

struct pick {
    struct rng *rng;
    struct buf *name;
    uint64_t seen;
    int err;
};

/* Each of those shown is kept with the same probability. */
static void pick_key(void *ctx, struct bytes name, uint8_t type, bool expired)
{
    struct pick *p = ctx;

    (void)type;
    if (expired || rng_below(p->rng, ++p->seen) != 0)
        return;
    buf_clear(p->name);
    p->err = buf_append_bytes(p->name, name);
}

/* Among the shard's slots. */
static uint64_t random_cursor(struct shard *sh)
{
    const uint64_t first = route_first_slot(sh->id, sh->node->shards_count);
    const uint64_t end = route_first_slot(sh->id + 1, sh->node->shards_count);

    return (first << KEYTAB_CURSOR_HASH_BITS) +
           rng_below(&sh->rng, (end - first) << KEYTAB_CURSOR_HASH_BITS);
}

void cmd_randomkey(struct request *rq)
{
    struct conn_walk *walk = &rq->conn->walk;
    struct pick p = {.rng = &rq->sh->rng, .name = &walk->names};
    const struct ks_scan step = scan_step(rq, 1, pick_key, &p);
    bool wrapped = false;
    int err = 0;

    if (ks_count(rq->ks) == 0) {
        reply_null(rq->out);
        return;
    }
    if (!walk->active) {
        walk->active = true;
        walk->cursor = random_cursor(rq->sh);
    }
    while (p.seen == 0) {
        err = ks_scan(rq->ks, &step, &walk->cursor);
        if (err != 0 || (walk->cursor == 0 && wrapped))
            break;
        wrapped |= walk->cursor == 0;
    }
    if (err > 0) {
        rq->parked = true;
        return;
    }
    if (err < 0)
        reply_unreadable(rq, err);
    else if (p.seen == 0)
        reply_null(rq->out);
    else
        reply_bulk(rq->out, buf_bytes(&walk->names));
    walk_end(walk);
}
