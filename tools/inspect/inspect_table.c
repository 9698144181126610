/* The checkpoint of the key table against the key rows: inspect_table.h. */
#include "tools/inspect/inspect_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/group.h"
#include "engine/space/keyload.h"
#include "engine/space/keytab.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_problem.h"
#include "tools/inspect/inspect_walk.h"

struct table {
    struct keytab *tab; /* What the key rows have not been found for yet. */
    const char *path;
    bool group;
};

struct table *table_open(const struct inspect *in, const struct inspect_shard *sh,
                         struct problems *problems)
{
    struct keyload l;
    struct table *t = mem_zalloc(sizeof(*t));

    t->tab = keytab_create(in->seed);
    t->path = sh->keys_path;
    t->group = in->group;
    const int err = keyload_table(t->tab, sh->store, sh->keys_path, &l);
    if (err == 0)
        return t;
    /* A running server may have made a newer one since this view of its store. */
    const bool newer = in->running && l.file.base > l.head.last && l.file.id == l.head.id;
    if (err != -ERR_NOT_FOUND && !newer && !(in->copy && l.file.base == 0))
        problem_file(problems, sh->keys_path, l.offset,
                     "the %s of the key table cannot be used, a start reads all key rows: %s",
                     l.what, err_str(err));
    table_close(t, false, problems);
    return NULL;
}

static uint8_t plain(uint8_t type)
{
    return type == VT_CHUNKED ? VT_STRING : type;
}

/*
 * In a group (engine/space/group.h): an entry may leave open what there is, a collection may be one
 * of which no element shows, and a time may be gone by an op that nobody has read the key for.
 */
static bool fits_group(const struct keytab_ref *ref, const struct walk_key *key)
{
    const uint8_t type = keytab_type(ref);
    const uint8_t row_type = key->has_row ? key->view.type : VT_NONE;

    if (type == KS_MAYBE)
        return true;
    if (type == KS_GHOST)
        return row_type != VT_STRING;
    return plain(type) == row_type && (keytab_has_ttl(ref) || key->view.expire_at_ms == 0);
}

static bool fits(const struct table *t, const struct keytab_ref *ref, const struct walk_key *key)
{
    if (t->group)
        return fits_group(ref, key);
    return keytab_type(ref) == row_table_type(&key->view) &&
           keytab_has_ttl(ref) == (key->view.expire_at_ms != 0);
}

void table_check(struct table *t, const struct walk_key *key, struct problems *problems)
{
    struct keytab_ref ref;
    const bool shows = key->has_row && key->view.type != VT_NONE;

    /* In a group a key of which nothing shows has its entry, too, as long as it has rows. */
    if (!shows && !t->group)
        return;
    if (keytab_find(t->tab, key->slot, key->hash, key->name, &ref) != KEYTAB_COLD) {
        if (shows)
            problem_key(problems, key->name,
                        "in the store, but not in the checkpoint of the key table");
        return;
    }
    if (!fits(t, &ref, key))
        problem_key(problems, key->name,
                    "has another type or expiry in the checkpoint of the key table");
    keytab_remove(t->tab, &ref);
}

static void count_shown(void *ctx, const struct keytab_entry *entry)
{
    const uint8_t type = keytab_type(&entry->ref);
    uint64_t *count = ctx;

    *count += type != KS_GHOST && type != KS_MAYBE;
}

/* Keys that no rows were found for; of a group only those of which something shows for certain. */
static uint64_t count_left(const struct table *t)
{
    uint64_t cursor = 0, count = 0;

    if (!t->group)
        return keytab_count_cold(t->tab);
    do {
        cursor = keytab_walk(t->tab, cursor, count_shown, &count);
    } while (cursor != 0);
    return count;
}

void table_close(struct table *t, bool complete, struct problems *problems)
{
    if (t == NULL)
        return;
    const uint64_t left = count_left(t);
    if (complete && left != 0)
        problem_file(problems, t->path, 0,
                     "checkpoint and journal name %" PRIu64 " keys that the store does not have",
                     left);
    keytab_destroy(t->tab);
    mem_free(t);
}

void table_print(const struct inspect *in, const struct inspect_shard *sh, struct out *out)
{
    struct keyfile_reader r;
    struct keylog_head head;

    const int err = keyfile_open(&r, sh->keys_path);
    if (err != 0) {
        out_text(out, "key_checkpoint", err == -ENOENT ? "none" : err_str(err));
    } else {
        out_u64(out, "key_checkpoint_base", r.head.base);
        out_u64(out, "key_checkpoint_lsn", r.head.covered_lsn);
        out_u64(out, "key_checkpoint_bytes", r.size);
        out_u64(out, "key_checkpoint_age_ms", in->now_ms - u64_min(in->now_ms, r.head.written_ms));
        keyfile_close(&r);
    }
    if (keylog_read_head(sh->store, false, &head) == 0)
        out_u64(out, "key_journal_last", head.last);
}
