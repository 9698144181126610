/* The checkpoint of the key table against the key rows: inspect_table.h. */
#include "tools/inspect/inspect_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/keyload.h"
#include "engine/space/keytab.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_problem.h"
#include "tools/inspect/inspect_walk.h"

struct table {
    struct keytab *tab; /* What the key rows have not been found for yet. */
    const char *path;
};

struct table *table_open(const struct inspect *in, const struct inspect_shard *sh,
                         struct problems *problems)
{
    struct keyload l;
    struct table *t = mem_zalloc(sizeof(*t));

    t->tab = keytab_create(in->seed);
    t->path = sh->keys_path;
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

void table_check(struct table *t, const struct walk_key *key, struct problems *problems)
{
    struct keytab_ref ref;

    if (!key->has_row || key->view.type == VT_NONE)
        return;
    if (keytab_find(t->tab, key->slot, key->hash, key->name, &ref) != KEYTAB_COLD) {
        problem_key(problems, key->name,
                    "in the store, but not in the checkpoint of the key table");
        return;
    }
    if (keytab_type(&ref) != row_table_type(&key->view) ||
        keytab_has_ttl(&ref) != (key->view.expire_at_ms != 0))
        problem_key(problems, key->name,
                    "has another type or expiry in the checkpoint of the key table");
    keytab_remove(t->tab, &ref);
}

void table_close(struct table *t, bool complete, struct problems *problems)
{
    if (t == NULL)
        return;
    const uint64_t left = keytab_count_cold(t->tab);
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
