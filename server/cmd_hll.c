/*
 * HyperLogLog: PFADD, PFCOUNT, PFMERGE and the two that Redis has for its tests. hll.h tells what
 * the values are.
 *
 * A change writes the value as a whole, as SET does. PFCOUNT of one key keeps its result in the
 * value, as in Redis, so that the next one only reads it.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/resident.h"
#include "engine/space/strval.h"
#include "engine/value/hll.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/txn.h"

/* How far the estimate of the self test may be off: four standard errors, 1.04 / sqrt(16384). */
#define SELF_TEST_ERROR        0.0325
#define SELF_TEST_ELEMENTS     100000
#define SELF_TEST_SPARSE_BYTES 3000
/* Of an op beside its key and value. */
#define VALUE_OP_BYTES 64

static void reply_damaged(struct request *rq)
{
    reply_error(rq->out, "INVALIDOBJ Corrupted HLL object detected");
}

static void reply_no_memory(struct request *rq)
{
    reply_err_oom(rq->out, "the value does not fit into memory");
}

static void reply_not_hll(struct request *rq)
{
    reply_error(rq->out, "WRONGTYPE Key is not a valid HyperLogLog string value.");
}

/*
 * A string in chunks is longer than any value that can be. Its head, for which the command may have
 * to wait, tells which error it is: a sparse value has no length that could be wrong. EXEC cannot
 * wait; there it is no value if the head is cold.
 */
static void refuse_chunks(struct request *rq, const struct ks_key *key, const struct obj *obj)
{
    uint8_t head[HLL_HEAD_BYTES];

    if (!rq->nested && ks_need_bytes(rq->ks, key, 0, sizeof(head), &rq->conn->wait) > 0) {
        rq->parked = true;
        return;
    }
    if (!strval_knows(obj_coll(obj), 0)) {
        reply_not_hll(rq);
        return;
    }
    strval_copy(obj_coll(obj), 0, head, sizeof(head));
    const struct bytes start = bytes_of(head, sizeof(head));
    if (hll_valid(start) && !hll_is_dense(start))
        reply_damaged(rq);
    else
        reply_not_hll(rq);
}

/* What is at the key; `*out_obj` NULL: nothing. False after an error reply, or to wait. */
static bool hll_get(struct request *rq, const struct ks_key *key, struct obj **out_obj,
                    struct bytes *out)
{
    char text[REQ_TEXT_BYTES];
    struct obj *obj = req_get(rq, key);

    *out_obj = obj;
    *out = bytes_of("", 0);
    if (!req_type_ok(rq, obj, VT_STRING))
        return false;
    if (obj == NULL)
        return true;
    if (obj_is_chunked(obj)) {
        refuse_chunks(rq, key, obj);
        return false;
    }
    /* A number lies in `text`. */
    const struct bytes value = req_string(rq, obj, text);
    if (!hll_valid(value)) {
        reply_not_hll(rq);
        return false;
    }
    *out = value;
    return true;
}

static uint64_t sparse_max(const struct request *rq)
{
    return (uint64_t)rq->sh->cfg->hll_sparse_max_bytes;
}

static void hll_set(struct request *rq, const struct ks_key *key, const struct obj *obj,
                    const struct hll *h)
{
    mut_set(rq->mut, key, bytes_of(h->ptr, h->len), obj == NULL ? 0 : ks_expire_at(obj));
}

/* --- PFADD --- */

/* How many registers changed, or -ERR_CORRUPT. */
static int add_elements(const struct request *rq, struct hll *h)
{
    uint32_t reg;
    uint8_t value;
    int changed = 0;

    for (uint32_t i = 2; i < rq->argc; i++) {
        hll_hash(rq->argv[i], &reg, &value);
        const int result = hll_raise(h, reg, value, sparse_max(rq));
        if (result < 0)
            return result;
        changed |= result;
    }
    return changed;
}

/* PFADD key [element ..] */
void cmd_pfadd(struct request *rq)
{
    struct obj *obj;
    struct bytes old;
    struct hll h;
    const struct ks_key key = req_key(rq, 1);

    if (!hll_get(rq, &key, &obj, &old))
        return;
    if (hll_init(&h, old) != 0) {
        reply_no_memory(rq);
        return;
    }
    const int result = add_elements(rq, &h);
    const bool changed = result > 0 || obj == NULL;
    if (result < 0) {
        reply_damaged(rq);
    } else {
        if (changed) {
            hll_drop_cache(&h);
            hll_set(rq, &key, obj, &h);
        }
        req_string_form(rq, &key, BLK_RAW);
        reply_i64(rq->out, changed);
    }
    hll_deinit(&h);
}

/* --- PFCOUNT, PFMERGE --- */

/* All keys together; false after an error reply, or to wait. */
static bool merge_keys(struct request *rq, struct hll_registers *registers, bool *out_dense)
{
    struct obj *obj;
    struct bytes value;

    *out_dense = false;
    for (uint32_t i = 1; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        if (!hll_get(rq, &key, &obj, &value))
            return false;
        if ((rq->cmd->flags & CMD_WRITE) != 0)
            req_count_read(rq, obj != NULL);
        if (obj == NULL)
            continue;
        if (!hll_merge(value, registers)) {
            reply_damaged(rq);
            return false;
        }
        *out_dense |= hll_is_dense(value);
    }
    return true;
}

/* Whether a read may write the value that it has found. */
static bool may_keep(const struct request *rq, const struct ks_key *key, size_t len)
{
    const char *why;
    uint32_t delay_ms;

    return !watch_holds(rq->sh->watches, key) && mut_check(rq->mut, len) == 0 &&
           mut_room(rq->mut, len) == 0 &&
           node_growth(rq->sh, len, &why, &delay_ms) == NODE_GROWTH_OK;
}

/*
 * The result stays in the value until that changes. It is a change like others (WATCH, tracking,
 * the log), but nothing waits for it: while writers are held back or refused it is left out. In a
 * group always, where it would win over what another member adds at the same time.
 */
static void keep_count(struct request *rq, const struct ks_key *key, const struct obj *obj,
                       struct bytes value, uint64_t count)
{
    struct hll h;

    if (rq->sh->group != NULL || !may_keep(rq, key, key->name.len + value.len + VALUE_OP_BYTES) ||
        hll_init(&h, value) != 0)
        return;
    hll_keep_count(&h, count);
    hll_set(rq, key, obj, &h);
    hll_deinit(&h);
}

/* Estimates it; false after an error reply. */
static bool estimate(struct request *rq, struct bytes value, uint64_t *out)
{
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));
    const bool good = hll_merge(value, registers);

    if (good)
        *out = hll_estimate(registers);
    else
        reply_damaged(rq);
    mem_free(registers);
    return good;
}

static void count_one(struct request *rq)
{
    struct obj *obj;
    struct bytes value;
    uint64_t count = 0;
    const struct ks_key key = req_key(rq, 1);

    if (!hll_get(rq, &key, &obj, &value))
        return;
    if (obj != NULL && !hll_cached(value, &count)) {
        if (!estimate(rq, value, &count))
            return;
        keep_count(rq, &key, obj, value, count);
    }
    req_string_form(rq, &key, BLK_RAW);
    reply_u64(rq->out, count);
}

static void count_union(struct request *rq)
{
    bool dense;
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));

    if (merge_keys(rq, registers, &dense))
        reply_u64(rq->out, hll_estimate(registers));
    mem_free(registers);
}

/* PFCOUNT key .. */
void cmd_pfcount(struct request *rq)
{
    if (rq->argc == 2)
        count_one(rq);
    else
        count_union(rq);
}

static int raise_all(const struct request *rq, struct hll *h, const struct hll_registers *registers,
                     bool dense)
{
    int err = dense ? hll_to_dense(h) : 0;

    for (uint32_t i = 0; i < HLL_REGISTERS && err >= 0; i++) {
        if (registers->at[i] != 0)
            err = hll_raise(h, i, registers->at[i], sparse_max(rq));
    }
    hll_drop_cache(h);
    return err < 0 ? err : 0;
}

static void merge_into_first(struct request *rq, struct hll_registers *registers)
{
    struct obj *obj;
    struct bytes old;
    struct hll h;
    bool dense;
    const struct ks_key key = req_key(rq, 1);

    if (!merge_keys(rq, registers, &dense) || !hll_get(rq, &key, &obj, &old))
        return;
    if (hll_init(&h, old) != 0) {
        reply_no_memory(rq);
        return;
    }
    if (raise_all(rq, &h, registers, dense) == 0) {
        hll_set(rq, &key, obj, &h);
        req_string_form(rq, &key, BLK_RAW);
        reply_ok(rq->out);
    } else {
        reply_damaged(rq);
    }
    hll_deinit(&h);
}

/* PFMERGE destination [source ..] */
void cmd_pfmerge(struct request *rq)
{
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));

    merge_into_first(rq, registers);
    mem_free(registers);
}

/* --- PFDEBUG, PFSELFTEST --- */

static void reply_registers(struct request *rq, struct bytes value)
{
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));

    if (hll_merge(value, registers)) {
        reply_array(rq->out, HLL_REGISTERS);
        for (uint32_t i = 0; i < HLL_REGISTERS; i++)
            reply_u64(rq->out, registers->at[i]);
    } else {
        reply_damaged(rq);
    }
    mem_free(registers);
}

/* The runs: z: and Z: zeros in one and two bytes, v: value,length. */
static void reply_runs(struct request *rq, struct bytes value)
{
    struct buf text;
    struct hll_run run;
    int err = 0;

    if (hll_is_dense(value)) {
        reply_error(rq->out, "ERR HLL encoding is not sparse");
        return;
    }
    buf_init(&text, SIZE_MAX / 2);
    for (size_t at = 0; err == 0 && hll_run_at(value, &at, &run);) {
        if (run.value != 0)
            err = buf_printf(&text, "v:%u,%u ", run.value, run.count);
        else
            err = buf_printf(&text, "%c:%u ", run.extended ? 'Z' : 'z', run.count);
    }
    if (text.len != 0)
        buf_truncate(&text, text.len - 1);
    if (err == 0)
        reply_bulk(rq->out, buf_bytes(&text));
    else
        reply_no_memory(rq);
    buf_deinit(&text);
}

/* Makes the value at the key dense, and with `show` replies its registers. */
static void make_dense(struct request *rq, const struct ks_key *key, const struct obj *obj,
                       struct bytes value, bool show)
{
    struct hll h;
    const bool sparse = !hll_is_dense(value);

    if (hll_init(&h, value) != 0) {
        reply_no_memory(rq);
        return;
    }
    if (hll_to_dense(&h) != 0) {
        reply_damaged(rq);
    } else {
        if (sparse)
            hll_set(rq, key, obj, &h);
        req_string_form(rq, key, BLK_RAW);
        if (show)
            reply_registers(rq, bytes_of(h.ptr, h.len));
        else
            reply_i64(rq->out, sparse);
    }
    hll_deinit(&h);
}

/* PFDEBUG GETREG | DECODE | ENCODING | TODENSE key */
void cmd_pfdebug(struct request *rq)
{
    struct obj *obj;
    struct bytes value;
    const struct ks_key key = req_key(rq, 2);

    if (!hll_get(rq, &key, &obj, &value))
        return;
    req_string_form(rq, &key, BLK_RAW);
    if (obj == NULL)
        reply_error(rq->out, "ERR The specified key does not exist");
    else if (req_is(rq, 1, "GETREG") || req_is(rq, 1, "TODENSE"))
        make_dense(rq, &key, obj, value, req_is(rq, 1, "GETREG"));
    else if (req_is(rq, 1, "DECODE"))
        reply_runs(rq, value);
    else if (req_is(rq, 1, "ENCODING"))
        reply_status(rq->out, hll_is_dense(value) ? "dense" : "sparse");
    else
        reply_error(rq->out, "ERR Unknown PFDEBUG subcommand '%.*s'",
                    (int)size_min(rq->argv[1].len, 128), (const char *)rq->argv[1].ptr);
}

/* Whether a sparse and a dense value of the same elements agree, and estimate them well. */
static bool self_test(struct hll *sparse, struct hll *dense, struct hll_registers registers[2])
{
    uint8_t element[8];
    uint32_t reg;
    uint8_t value;

    if (hll_to_dense(dense) != 0)
        return false;
    for (uint64_t i = 1; i <= SELF_TEST_ELEMENTS; i++) {
        le64_store(element, i);
        hll_hash(bytes_of(element, sizeof(element)), &reg, &value);
        if (hll_raise(sparse, reg, value, SELF_TEST_SPARSE_BYTES) !=
            hll_raise(dense, reg, value, SELF_TEST_SPARSE_BYTES))
            return false;
    }
    if (!hll_merge(bytes_of(sparse->ptr, sparse->len), &registers[0]) ||
        !hll_merge(bytes_of(dense->ptr, dense->len), &registers[1]) ||
        memcmp(&registers[0], &registers[1], sizeof(registers[0])) != 0)
        return false;
    const double off = (double)hll_estimate(&registers[0]) / SELF_TEST_ELEMENTS - 1;
    return off < SELF_TEST_ERROR && off > -SELF_TEST_ERROR;
}

void cmd_pfselftest(struct request *rq)
{
    struct hll sparse = {0}, dense = {0};
    struct hll_registers *registers = mem_zalloc_array(2, sizeof(*registers));

    if (hll_init(&sparse, bytes_of("", 0)) != 0 || hll_init(&dense, bytes_of("", 0)) != 0)
        reply_no_memory(rq);
    else if (self_test(&sparse, &dense, registers))
        reply_ok(rq->out);
    else
        reply_error(rq->out, "ERR TESTFAILED sparse and dense registers differ");
    hll_deinit(&sparse);
    hll_deinit(&dense);
    mem_free(registers);
}
