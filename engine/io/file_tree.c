/* What a tree of files occupies on the disk. */
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/mem.h"

#include "engine/io/file.h"

/* The unit of st_blocks, whatever the file system's is. */
#define STAT_BLOCK_BYTES 512u

/* A file with several names. */
struct linked {
    uint64_t ino;
    uint64_t bytes;
};

struct tally {
    uint64_t bytes;
    struct linked *linked;
    size_t count;
    size_t cap;
};

static void tally_add(struct tally *t, const struct stat *st)
{
    const uint64_t bytes = (uint64_t)st->st_blocks * STAT_BLOCK_BYTES;

    if (S_ISDIR(st->st_mode) || st->st_nlink < 2) {
        t->bytes += bytes;
        return;
    }
    if (t->count == t->cap) {
        t->cap = t->cap == 0 ? 64 : t->cap * 2;
        t->linked = mem_realloc(t->linked, t->cap * sizeof(*t->linked));
    }
    t->linked[t->count++] = (struct linked){.ino = st->st_ino, .bytes = bytes};
}

static int by_ino(const void *a, const void *b)
{
    const struct linked *x = a, *y = b;

    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static uint64_t tally_sum(struct tally *t)
{
    uint64_t sum = t->bytes;

    if (t->count != 0)
        qsort(t->linked, t->count, sizeof(*t->linked), by_ino);
    for (size_t i = 0; i < t->count; i++) {
        if (i == 0 || t->linked[i].ino != t->linked[i - 1].ino)
            sum += t->linked[i].bytes;
    }
    return sum;
}

int file_tree_bytes(const char *path, uint64_t *out)
{
    char *const roots[] = {unconst(path), NULL}; /* fts takes no const. */
    struct tally t = {0};
    int err = 0;

    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (tree == NULL)
        return -errno;
    for (;;) {
        errno = 0;
        const FTSENT *e = fts_read(tree);
        if (e == NULL) {
            err = -errno;
            break;
        }
        switch (e->fts_info) {
        case FTS_DP:
            break; /* Counted when the walk went into it. */
        case FTS_NS:
        case FTS_DNR:
        case FTS_ERR:
            if (e->fts_errno != ENOENT || e->fts_level == 0)
                err = -e->fts_errno;
            break;
        default:
            tally_add(&t, e->fts_statp);
            break;
        }
        if (err != 0)
            break;
    }
    (void)fts_close(tree);
    if (err == 0)
        *out = tally_sum(&t);
    mem_free(t.linked);
    return err;
}
