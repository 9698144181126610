/* Sums of values for DEBUG; see valuesum.h. */
#include "server/valuesum.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/keysums.h"

#include "server/request.h"
#include "server/shard.h"

/* Of 64 bits each, from different seeds. */
#define SUMS 3
/* One step of reading the store. */
#define STEP_BYTES (8u << 20)

struct sums {
    uint64_t at[SUMS];
};

static uint64_t sum_of(struct bytes text, uint64_t seed)
{
    return sum64_seed(text.ptr, text.len, seed);
}

static void write_text(const struct sums *s, char out[VALUESUM_TEXT_BYTES])
{
    (void)snprintf(out, VALUESUM_TEXT_BYTES, "%016" PRIx64 "%016" PRIx64 "%08" PRIx32, s->at[0],
                   s->at[1], (uint32_t)s->at[2]);
}

void valuesum_none(char out[VALUESUM_TEXT_BYTES])
{
    const struct sums none = {.at = {0}};

    write_text(&none, out);
}

/* The value of a row, as text. */
static struct bytes text_of(const struct request *rq, struct bytes row, char text[ROW_TEXT_BYTES])
{
    struct row_view view;

    /* Rows are checked when they are installed. */
    CHECK(row_view(row, rq->now_ms, &view) == 0);
    return row_text(&view, text);
}

static int add_string(const struct request *rq, const struct obj *obj, struct sums *s)
{
    char text[REQ_TEXT_BYTES];
    const size_t len = (size_t)req_string_len(rq, obj);
    uint8_t *copy = NULL;
    struct bytes value;

    if (obj_is_chunked(obj)) {
        copy = mem_try_alloc(len);
        if (copy == NULL)
            return -ENOMEM;
        strval_copy(obj_coll(obj), 0, copy, len);
        value = bytes_of(copy, len);
    } else {
        value = req_string(rq, obj, text);
    }
    for (int i = 0; i < SUMS; i++)
        s->at[i] = sum_of(value, s->at[i]);
    mem_free(copy);
    return 0;
}

static void add_list(const struct request *rq, const struct coll *coll, struct sums *s)
{
    struct listq_at at;
    char text[ROW_TEXT_BYTES];

    for (listq_first(&coll->seq, &at); listq_valid(&at); listq_next(&coll->seq, &at)) {
        const struct bytes value = text_of(rq, at.row, text);
        for (int i = 0; i < SUMS; i++)
            s->at[i] = sum_of(value, s->at[i]);
    }
}

/* What an element of a hash or sorted set has beside its name. */
static struct bytes value_of(const struct request *rq, const struct coll *coll,
                             const struct elem *elem, char text[ROW_TEXT_BYTES])
{
    if (coll->type == VT_SET)
        return bytes_of(NULL, 0);
    if (coll->type == VT_HASH)
        return text_of(rq, elem_row(elem), text);
    row_score_store((uint8_t *)text, coll_score(elem));
    return bytes_of(text, ROW_SCORE_BYTES);
}

static void add_elems(const struct request *rq, const struct coll *coll, struct sums *s)
{
    struct coll_iter it;
    const struct elem *elem;
    char text[ROW_TEXT_BYTES];
    const struct sums seed = *s;

    coll_iter_init(coll, &it);
    while ((elem = coll_iter_next(&it)) != NULL) {
        const struct bytes value = value_of(rq, coll, elem, text);
        for (int i = 0; i < SUMS; i++)
            s->at[i] += sum_of(value, sum_of(elem_sub(elem), seed.at[i]));
    }
}

int valuesum_of(const struct request *rq, const struct obj *obj, char out[VALUESUM_TEXT_BYTES])
{
    const uint8_t type = obj->h.type;
    const uint8_t head[2] = {type, ks_expire_at(obj) != 0};
    struct sums s;
    int err = 0;

    for (uint64_t i = 0; i < SUMS; i++)
        s.at[i] = sum_of(bytes_of(head, sizeof(head)), i);
    if (type == VT_STRING)
        err = add_string(rq, obj, &s);
    else if (type == VT_LIST)
        add_list(rq, obj_coll(obj), &s);
    else
        add_elems(rq, obj_coll(obj), &s);
    write_text(&s, out);
    return err;
}

int valuesum_all(const struct request *rq, char out[VALUESUM_TEXT_BYTES])
{
    struct keysums *keys = mem_alloc(sizeof(*keys));
    struct sums s = {.at = {0}};
    int err = 1;

    keysums_init(keys, rq->sh->store, rq->now_ms, 0, ROW_SUM_BUCKETS);
    while (err == 1)
        err = keysums_next(keys, STEP_BYTES);
    for (uint64_t i = 0; i < SUMS && keys->keys != 0; i++)
        s.at[i] = sum64_seed(keys->sums, sizeof(keys->sums), i);
    write_text(&s, out);
    keysums_deinit(keys);
    mem_free(keys);
    return err;
}
