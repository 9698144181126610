/*
 * tierra-inspect verify: everything that can be checked, and each problem on one line.
 *
 * Files      every table file of the manifest is there and as long as it should be.
 * Rows       every block is read; each row's checksum is right and it can be decoded; its name is
 *            one of ours, with the slot and hash of its key, and a sub that fits its kind.
 * Keys       the elements that a key row counts are there; no element row without a key row of its
 *            type; a key that will expire is in the expiry index. Where the log holds changes that
 *            the store does not cover, what a replay would give is compared.
 * Table      the checkpoint of the key table and the journal of keys say what the key rows say.
 * Log        headers, chain, checksums, batches, watermark, and the covered position.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/sum.h"

#include "engine/io/file.h"
#include "engine/value/listpos.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_files.h"
#include "tools/inspect/inspect_oplog.h"
#include "tools/inspect/inspect_problem.h"
#include "tools/inspect/inspect_table.h"
#include "tools/inspect/inspect_tail.h"
#include "tools/inspect/inspect_walk.h"

struct verify {
    struct inspect *in;
    struct inspect_shard *sh;
    struct problems problems;
    struct tail *tail;
    struct table *table; /* NULL: not compared. */
    bool damaged;        /* Rows could not be read. */
    struct files *files; /* NULL: not open. */
    bool deep;
    uint64_t keys;
    uint64_t rows;
    uint64_t unchecked; /* Keys whose elements could not be counted. */
    struct buf scratch;
};

static uint8_t *scratch(struct verify *v, size_t len)
{
    buf_clear(&v->scratch);
    CHECK(buf_reserve(&v->scratch, len + 1) == 0);
    return buf_end(&v->scratch);
}

/* --- rows --- */

/* The name of a row that rowkey_parse has taken: slot, hash and sub. NULL: all is well. */
static const char *name_fault(const struct verify *v, struct bytes name, const struct rowkey *rk)
{
    if (rk->slot != key_slot(rk->key))
        return "the slot is not that of the key";
    if (rk->hash != hash64(rk->key.ptr, rk->key.len, v->in->seed))
        return "the hash is not that of the key";
    switch (rk->kind) {
    case ROWKEY_KIND_KEY:
        return bytes_empty(rk->sub) ? NULL : "a key row with more behind it";
    case ROWKEY_KIND_HASH:
    case ROWKEY_KIND_SET: {
        uint8_t hash[8];
        be64_store(hash, hash64(rk->sub.ptr, rk->sub.len, 0));
        const uint8_t *at = name.ptr + ROWKEY_HEAD_BYTES + rk->key.len + 1;
        return memcmp(at, hash, ROWKEY_HASH_BYTES) == 0
                   ? NULL
                   : "the hash is not that of the field or member";
    }
    case ROWKEY_KIND_LIST:
        return listpos_check(rk->sub) == 0 ? NULL : "not a position of a list";
    case ROWKEY_KIND_CHUNK:
        return rk->sub.len == 4 ? NULL : "not the number of a chunk";
    case ROWKEY_KIND_ZSET:
    case ROWKEY_KIND_ZINDEX:
        return NULL;
    default:
        return "a kind of row that is not known";
    }
}

/* Once more by its key: through index and filter. */
static void read_by_key(struct verify *v, struct bytes name)
{
    struct store_value value;

    store_get(v->sh->store, name, STORE_READ_NO_FILL, &value);
    if (value.status != STORE_FOUND)
        problem_row(&v->problems, name, "in the store, but reading it by its key gives %s",
                    value.status == STORE_ABSENT ? "nothing" : err_str(value.err));
    store_value_release(&value);
}

/*
 * A live member has a row in the score index, and a live row of the index has its member with that
 * score. Not for keys that the log goes on with: there either may be ahead.
 */
static void check_index(struct verify *v, const struct walk_key *key, struct bytes name,
                        const struct rowkey *rk, struct bytes row)
{
    struct row_view view;
    struct store_value value;
    double score, other;
    size_t len;

    if (!tail_complete(v->tail) || tail_find(v->tail, key->name) != NULL ||
        row_view(row, 0, &view) != 0 || !walk_alive(key, row, &view))
        return;
    const bool index = rk->kind == ROWKEY_KIND_ZINDEX;
    const struct bytes member = index ? bytes_from(rk->sub, ROWKEY_SCORE_BYTES) : rk->sub;
    uint8_t *to = scratch(v, rowkey_zindex_size(rk->key, member));
    if (index) {
        score = rowkey_score_load(rk->sub.ptr);
        len = rowkey_store_elem(to, rk->slot, rk->hash, rk->key, ROWKEY_KIND_ZSET, member);
    } else if (row_score(row, &score) == 0) {
        len = rowkey_store_zindex(to, rk->slot, rk->hash, rk->key, score, member);
    } else {
        return; /* Told by check_row. */
    }
    store_get(v->sh->store, bytes_of(to, len), STORE_READ_NO_FILL, &value);
    if (value.status == STORE_ABSENT)
        problem_row(&v->problems, name,
                    index ? "a row of the score index without its member"
                          : "a member without its row of the score index");
    else if (index && value.status == STORE_FOUND &&
             (row_score(value.row, &other) != 0 || other != score))
        problem_row(&v->problems, name, "the member has another score than the index says");
    store_value_release(&value);
}

/* In a group a member that was removed may be kept without one: its increments are not all seen. */
static bool score_ok(const struct verify *v, struct bytes row)
{
    double score;
    const int err = row_score(row, &score);

    return err == 0 || (err == -ERR_NOT_FOUND && v->in->group);
}

static void check_row(void *ctx, struct walk_key *key, struct bytes name, int status,
                      struct bytes row)
{
    struct verify *v = ctx;
    struct rowkey rk;

    v->rows++;
    if (status != STORE_FOUND) {
        problem_row(&v->problems, name, "the row is damaged: checksum or poison");
        return;
    }
    CHECK(rowkey_parse(name, &rk) == 0);
    const char *fault = name_fault(v, name, &rk);
    if (fault != NULL)
        problem_row(&v->problems, name, "%s", fault);
    const int err = row_check(row);
    if (err != 0)
        problem_row(&v->problems, name, "the row cannot be decoded: %s", err_str(err));
    else if (rk.kind == ROWKEY_KIND_ZSET && !score_ok(v, row))
        problem_row(&v->problems, name, "the score cannot be read");
    /* A member of a group keeps none. */
    if (err == 0 && !v->in->group && (rk.kind == ROWKEY_KIND_ZSET || rk.kind == ROWKEY_KIND_ZINDEX))
        check_index(v, key, name, &rk, row);
    if (v->deep)
        read_by_key(v, name);
}

/* --- keys --- */

static bool counts(void *ctx, const struct walk_key *key, struct bytes sub)
{
    const struct verify *v = ctx;
    const struct tail_key *tk = tail_find(v->tail, key->name);

    return tk == NULL || !tail_has_elem(v->tail, key->name, tk, sub);
}

static void check_expiry(struct verify *v, const struct walk_key *key)
{
    const uint64_t at = key->view.expire_at_ms;
    struct store_value value;

    if (at == 0 || at == ROW_EXPIRE_NEVER || at <= v->in->now_ms)
        return;
    uint8_t *name = scratch(v, rowkey_expiry_size(key->name));
    const size_t len = rowkey_store_expiry(name, at, key->slot, key->hash, key->name);
    store_get(v->sh->store, bytes_of(name, len), STORE_READ_NO_FILL, &value);
    if (value.status != STORE_FOUND)
        problem_key(&v->problems, key->name, "expires, but the expiry index does not have it");
    store_value_release(&value);
}

static void check_stored_count(struct verify *v, const struct walk_key *key)
{
    /* Those of a type that lost stay in a group until all members know. */
    if (key->orphans != 0 && !v->in->group)
        problem_key(&v->problems, key->name,
                    "%" PRIu64 " element rows that are alive, but the key is %s", key->orphans,
                    key->has_row ? "of another type" : "not there");
    if (!key->has_row || key->view.type == VT_STRING || key->view.type == VT_NONE)
        return;
    if (key->view.count_lsn == 0)
        v->unchecked++;
    else if (key->elements != key->view.count)
        problem_key(&v->problems, key->name,
                    "the key row counts %" PRIu64 " elements as of %" PRIu64
                    ", the store has %" PRIu64,
                    key->view.count, key->view.count_lsn, key->elements);
}

static int check_key(void *ctx, struct walk_key *key)
{
    struct verify *v = ctx;
    const struct tail_key *tk = tail_find(v->tail, key->name);

    v->keys += key->has_row && key->view.type != VT_NONE;
    v->damaged |= key->damaged;
    if (v->table != NULL && !key->damaged)
        table_check(v->table, key, &v->problems);
    if (key->damaged || !tail_complete(v->tail) || (tk != NULL && tk->unknown)) {
        v->unchecked++;
        return 0;
    }
    check_expiry(v, key);
    if (tk == NULL) {
        check_stored_count(v, key);
        return 0;
    }
    if (!tk->has_count || tk->type == VT_STRING) {
        v->unchecked += tk->type > VT_STRING;
        return 0;
    }
    const uint64_t have = tk->cleared ? tk->set_count : key->elements + tk->set_count;
    if (have != tk->count)
        problem_key(&v->problems, key->name,
                    "the log counts %" PRIu64 " elements at its end, store and log have %" PRIu64,
                    tk->count, have);
    return 0;
}

static void on_alien(void *ctx, struct bytes name)
{
    struct verify *v = ctx;

    v->rows++;
    problem_row(&v->problems, name, "a row with a name that is none of ours");
}

static void on_gap(void *ctx, struct bytes name, struct bytes next, int err)
{
    struct verify *v = ctx;
    char why[1024] = "";
    struct rowkey rk;

    v->damaged = true;
    if (v->files != NULL)
        files_explain(v->files, name, next, why, sizeof(why));
    problem_file(&v->problems, v->sh->store_dir, 0, "%s", why[0] != '\0' ? why : err_str(err));
    if (rowkey_parse(name, &rk) == 0)
        problem_row(&v->problems, name, "the rows after this one cannot be read%s",
                    bytes_empty(next) ? ", up to the end" : "");
    if (!bytes_empty(next))
        problem_row(&v->problems, next, "the first row that can be read again");
}

/* --- special rows --- */

static void check_special(struct verify *v, struct bytes name, int status, struct bytes row)
{
    struct rowkey rk;
    uint64_t at_ms;
    int err = -ERR_CORRUPT;

    v->rows++;
    if (status != STORE_FOUND) {
        problem_row(&v->problems, name, "the row is damaged: checksum or poison");
        return;
    }
    if (name.len > 2 && name.ptr[1] == ROWKEY_EXPIRY)
        err = rowkey_parse_expiry(name, &at_ms, &rk);
    else if (name.len > 2 && name.ptr[1] == ROWKEY_SWEEP)
        err = row.len == 1 + TAG_BYTES ? rowkey_parse_sweep(name, &rk) : -ERR_CORRUPT;
    else if (name.len >= 2 && name.ptr[1] == ROWKEY_KEYLOG)
        return; /* Read with the checkpoint. */
    if (err != 0)
        problem_row(&v->problems, name, "not a special row that is known here");
    else if (rk.slot != key_slot(rk.key) || rk.hash != hash64(rk.key.ptr, rk.key.len, v->in->seed))
        problem_key(&v->problems, rk.key, "a special row with the wrong slot or hash");
    if (v->deep)
        read_by_key(v, name);
}

static int check_specials(struct verify *v)
{
    static const uint8_t first[1] = {0x80};
    const struct store_iter_options options = {.lower = bytes_of(first, 1)};
    struct store_iter *it;
    struct bytes row;

    int err = store_iter_open(v->sh->store, &options, &it);
    if (err != 0)
        return err;
    store_iter_seek(it, bytes_of(NULL, 0));
    for (; store_iter_valid(it); store_iter_next(it)) {
        row = bytes_of(NULL, 0);
        const int status = (int)store_iter_row(it, &row);
        check_special(v, store_iter_key(it), status, row);
    }
    err = store_iter_status(it);
    store_iter_close(it);
    if (err != 0)
        on_gap(v, bytes_of(first, 1), bytes_of(NULL, 0), err);
    return 0;
}

/* --- files --- */

static void check_files(struct verify *v)
{
    char why[INSPECT_PATH_BYTES + 512], path[INSPECT_PATH_BYTES + 64];
    struct files_info info;
    struct file_info file;

    if (files_open(v->sh->store_dir, &v->files, why, sizeof(why)) != 0) {
        v->files = NULL;
        problem_file(&v->problems, v->sh->store_dir, 0, "%s", why);
        return;
    }
    for (int i = 0; i < files_count(v->files); i++) {
        files_get(v->files, i, &info);
        (void)snprintf(path, sizeof(path), "%s%s", v->sh->store_dir, info.name);
        const int err = file_stat(path, &file);
        if (err != 0)
            problem_file(&v->problems, path, 0, "%s", err_str(err));
        else if (file.type == FILE_TYPE_NONE && !v->in->running)
            problem_file(&v->problems, path, 0, "the file is missing");
        else if (file.type != FILE_TYPE_NONE && file.size_bytes != info.bytes)
            problem_file(&v->problems, path, 0, "%" PRIu64 " bytes instead of %" PRIu64,
                         file.size_bytes, info.bytes);
    }
}

/* --- a shard --- */

static int check_store(struct verify *v)
{
    const struct walk_fns fns = {.row = check_row,
                                 .key = check_key,
                                 .alien = on_alien,
                                 .gap = on_gap,
                                 .counts = counts,
                                 .ctx = v};
    char why[INSPECT_PATH_BYTES + 256] = "";

    check_files(v);
    const int err = tail_open(v->sh->log_dir, v->sh->covered_lsn, &v->tail, why, sizeof(why));
    /* A saved copy has no log. Else the verification of the log finds what is wrong. */
    if (err != 0 && !(err == -ENOENT && v->in->copy))
        problem_file(&v->problems, v->sh->log_dir, 0,
                     "counts of elements are not checked, because the log cannot be read: %s", why);
    v->table = table_open(v->in, v->sh, &v->problems);
    int walked = walk_store(v->sh->store, &fns);
    table_close(v->table, walked == 0 && !v->damaged, &v->problems);
    if (walked == 0)
        walked = check_specials(v);
    if (walked != 0)
        problem_file(&v->problems, v->sh->store_dir, 0, "%s", err_str(walked));
    return inspect_exit_of(walked);
}

static void print_verified(struct verify *v, uint64_t log_records)
{
    struct out *out = &v->in->out;

    out_begin(out, "verified", OUT_LINE);
    out_u64(out, "shard", v->sh->index);
    out_text(out, "result", v->problems.count == 0 ? "clean" : "damaged");
    out_u64(out, "keys", v->keys);
    out_u64(out, "rows", v->rows);
    out_u64(out, "log_records", log_records);
    out_u64(out, "log_records_to_replay", v->tail == NULL ? 0 : tail_records(v->tail));
    out_u64(out, "keys_not_counted", v->unchecked);
    out_u64(out, "problems", v->problems.count);
    out_end(out);
}

static int verify_shard(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    struct verify v = {.in = in, .sh = sh, .deep = *(const bool *)ctx};
    uint64_t log_records = 0;

    problems_init(&v.problems, &in->out, sh->index);
    buf_init(&v.scratch, ROWKEY_BYTES_MAX * 2);
    int code = inspect_store_open(sh);
    if (code != INSPECT_OK)
        problem_file(&v.problems, sh->store_dir, 0, "the store cannot be opened");
    else
        code = check_store(&v);
    code = inspect_worse(code, inspect_check_log(in, sh, &v.problems, &log_records));
    print_verified(&v, log_records);
    if (code == INSPECT_OK && v.problems.count != 0)
        code = INSPECT_DAMAGE;
    files_close(v.files);
    tail_close(v.tail);
    buf_deinit(&v.scratch);
    return code;
}

int inspect_cmd_verify(struct inspect *in, int argc, char **argv)
{
    static const struct option options[] = {{"deep", no_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
    bool deep = false;
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "d", options, NULL)) != -1) {
        if (c != 'd')
            return INSPECT_USAGE;
        deep = true;
    }
    if (optind != argc)
        return inspect_usage("verify takes no argument");
    return inspect_each_shard(in, false, verify_shard, &deep);
}
