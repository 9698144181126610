/*
 * OBJECT: what a key's value looks like inside, in Redis's terms. None of it counts as a use.
 */
#include <stdbool.h>

#include "engine/space/evict.h"
#include "engine/space/resident.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/encoding.h"
#include "server/eviction.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"

/* NULL: replied that there is no such key. */
static struct obj *find(struct request *rq, struct ks_key *key)
{
    *key = req_key(rq, 2);
    struct obj *obj = ks_peek(rq->ks, key, rq->now_ms);

    req_count_found(rq, obj != NULL);
    if (obj == NULL)
        reply_null(rq->out);
    return obj;
}

void cmd_object_encoding(struct request *rq)
{
    struct ks_key key;
    const struct obj *obj = find(rq, &key);
    const char *name = obj == NULL ? NULL : encoding_of(rq, &key, obj);

    if (name != NULL)
        reply_bulk_cstr(rq->out, name);
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
    const struct obj *obj = find(rq, &key);

    if (obj != NULL)
        reply_u64(rq->out, encoding_is_shared(rq, obj) ? INT32_MAX : 1);
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
