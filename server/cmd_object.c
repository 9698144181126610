/*
 * OBJECT: what a key's value looks like inside, in Redis's terms. None of it counts as a use.
 *
 * ENCODING is what Redis would have after loading the value: derived from its content and the
 * thresholds of the configuration. Redis keeps an encoding once it has grown into it; we do so of
 * strings, as long as they are in DRAM.
 */
#include <stdbool.h>

#include "engine/space/evict.h"
#include "engine/space/resident.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/eviction.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"

/* Longest string that Redis stores beside its header. */
#define EMBSTR_BYTES_MAX 44
/* Longest text of an int64. */
#define INT_BYTES_MAX 20

/* NULL: replied that there is no such key. */
static struct obj *find(struct request *rq, struct ks_key *key)
{
    *key = req_key(rq, 2);
    struct obj *obj = ks_peek(rq->ks, key, rq->now_ms);

    if (obj == NULL)
        reply_null(rq->out);
    return obj;
}

static const char *string_encoding(const struct request *rq, const struct obj *obj)
{
    char text[REQ_TEXT_BYTES];
    int64_t number;
    const struct bytes value = req_string(rq, obj, text);

    if ((obj->h.flags & BLK_RAW) != 0)
        return "raw";
    if ((obj->h.flags & BLK_TEXT) == 0 && value.len <= INT_BYTES_MAX &&
        num_parse_i64(value, &number))
        return "int";
    return value.len <= EMBSTR_BYTES_MAX ? "embstr" : "raw";
}

/* Whether all elements are as the short encoding has them: short, or (a set's) integers. */
static bool all_short(const struct coll *coll, uint64_t bytes_max)
{
    struct coll_iter it;
    const struct elem *e;
    struct row_view view;
    char text[REQ_TEXT_BYTES];
    int64_t number;

    coll_iter_init(coll, &it);
    while ((e = coll_iter_next(&it)) != NULL) {
        if (coll->type == VT_SET) {
            if (!num_parse_i64(elem_sub(e), &number))
                return false;
            continue;
        }
        if (e->h.name_len > bytes_max)
            return false;
        if (coll->type == VT_HASH &&
            (row_view(elem_row(e), 0, &view) != 0 || row_text(&view, text).len > bytes_max))
            return false;
    }
    return true;
}

struct short_form {
    const char *name;
    const char *other;
    uint64_t count_max;
    uint64_t bytes_max;
};

static struct short_form form_of(const struct config *cfg, uint8_t type)
{
    switch (type) {
    case VT_HASH:
        return (struct short_form){"listpack", "hashtable",
                                   (uint64_t)cfg->hash_max_listpack_entries,
                                   (uint64_t)cfg->hash_max_listpack_value};
    case VT_SET:
        return (struct short_form){"intset", "hashtable", (uint64_t)cfg->set_max_intset_entries, 0};
    default:
        return (struct short_form){"listpack", "skiplist", (uint64_t)cfg->zset_max_listpack_entries,
                                   (uint64_t)cfg->zset_max_listpack_value};
    }
}

void cmd_object_encoding(struct request *rq)
{
    struct ks_key key;
    struct obj *obj = find(rq, &key);

    if (obj == NULL)
        return;
    if ((obj->h.flags & BLK_COLL) == 0) {
        reply_bulk_cstr(rq->out, string_encoding(rq, obj));
        return;
    }
    const struct coll *coll = obj_coll(obj);
    if (coll->type == VT_LIST || coll->type == VT_STRING) {
        reply_bulk_cstr(rq->out, coll->type == VT_LIST ? "quicklist" : "raw");
        return;
    }
    const struct short_form form = form_of(rq->sh->cfg, coll->type);
    if (coll->count > form.count_max) {
        reply_bulk_cstr(rq->out, form.other);
        return;
    }
    /* Few elements: all of them are looked at. */
    if (!rq->nested && ks_need_whole(rq->ks, &key, &rq->conn->wait) > 0) {
        rq->parked = true;
        return;
    }
    reply_bulk_cstr(rq->out, all_short(coll, form.bytes_max) ? form.name : form.other);
}

void cmd_object_freq(struct request *rq)
{
    struct ks_key key;
    const struct obj *obj = find(rq, &key);
    struct use_rule rule = {.kind = USE_LFU,
                            .lfu_log_factor = (uint32_t)rq->sh->cfg->lfu_log_factor,
                            .lfu_decay_min = (uint32_t)rq->sh->cfg->lfu_decay_time};

    if (obj == NULL)
        return;
    if (!evict_is_lfu(rq->sh->cfg)) {
        reply_error(rq->out,
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                    "Please note that when switching between policies at runtime LRU and LFU data "
                    "will take some time to adjust.");
        return;
    }
    reply_u64(rq->out, use_frequency(&rule, ks_use_of(rq->ks, &key, obj), rq->now_ms));
}

void cmd_object_idletime(struct request *rq)
{
    struct ks_key key;
    const struct obj *obj = find(rq, &key);

    if (obj == NULL)
        return;
    if (evict_is_lfu(rq->sh->cfg)) {
        reply_error(rq->out,
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note "
                    "that when switching between policies at runtime LRU and LFU data will take "
                    "some time to adjust.");
        return;
    }
    evict_ask_idle(rq->sh);
    reply_u64(rq->out, use_idle_ms(ks_use_of(rq->ks, &key, obj), rq->now_ms) / 1000);
}

void cmd_object_refcount(struct request *rq)
{
    struct ks_key key;

    if (find(rq, &key) != NULL)
        reply_u64(rq->out, 1);
}

void cmd_object_help(struct request *rq)
{
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        NULL,
    };

    reply_help(rq->out, "OBJECT", lines);
}
