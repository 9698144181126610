/* The encoding that Redis would have; encoding.h. */
#include "server/encoding.h"

#include "engine/space/resident.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/eviction.h"
#include "server/request.h"
#include "server/shard.h"

/* Longest string that Redis stores beside its header. */
#define EMBSTR_BYTES_MAX 44
/* Longest text of an int64. */
#define INT_BYTES_MAX 20
/* Redis has one object for all values of a whole number below it. */
#define SHARED_INTEGERS 10000

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

/* Whether an element is as the short encoding has it: short, or (a set's) an integer. */
static bool is_short(const struct coll *coll, const struct elem *e, uint64_t bytes_max)
{
    struct row_view view;
    char text[ROW_TEXT_BYTES];
    int64_t number;

    if (coll->type == VT_SET)
        return num_parse_i64(elem_sub(e), &number);
    if (e->h.name_len > bytes_max)
        return false;
    return coll->type != VT_HASH ||
           (row_view(elem_row(e), 0, &view) == 0 && row_text(&view, text).len <= bytes_max);
}

static bool all_short(const struct coll *coll, uint64_t bytes_max)
{
    struct coll_iter it;
    const struct elem *e;

    coll_iter_init(coll, &it);
    while ((e = coll_iter_next(&it)) != NULL) {
        if (!is_short(coll, e, bytes_max))
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

const char *encoding_of(struct request *rq, const struct ks_key *key, const struct obj *obj)
{
    if ((obj->h.flags & BLK_COLL) == 0)
        return string_encoding(rq, obj);
    const struct coll *coll = obj_coll(obj);
    if (coll->type == VT_LIST || coll->type == VT_STRING)
        return coll->type == VT_LIST ? "quicklist" : "raw";
    const struct short_form form = form_of(rq->sh->cfg, coll->type);
    if (coll->count > form.count_max || (obj->h.flags & BLK_RAW) != 0)
        return form.other;
    /* Few elements: all of them are looked at. */
    if (!rq->nested && ks_need_whole(rq->ks, key, &rq->conn->wait) > 0) {
        rq->parked = true;
        return NULL;
    }
    return all_short(coll, form.bytes_max) ? form.name : form.other;
}

bool encoding_is_shared(const struct request *rq, const struct obj *obj)
{
    char text[REQ_TEXT_BYTES];
    int64_t number;

    /* Not where it counts when each key was used. */
    if (rq->sh->cfg->maxmemory != 0 && evict_is_by_use(rq->sh->cfg))
        return false;
    return (obj->h.flags & (BLK_COLL | BLK_FORMS)) == 0 &&
           num_parse_i64(req_string(rq, obj, text), &number) && number >= 0 &&
           number < SHARED_INTEGERS;
}

void encoding_keep(const struct request *rq, const struct coll *coll, const struct elem *elem)
{
    const struct short_form form = form_of(rq->sh->cfg, coll->type);

    if ((coll->obj->h.flags & BLK_RAW) == 0 &&
        (coll->count > form.count_max || !is_short(coll, elem, form.bytes_max)))
        coll->obj->h.flags |= BLK_RAW;
}
