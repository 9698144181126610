/*
 * mkdtemp, and its reverse by nftw.
 */
#include "tests/lib/tmpdir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

/* nftw keeps this many directories open at most. */
#define TMPDIR_OPEN_MAX 16

char *tmpdir_path(const char *dir, const char *name)
{
    const size_t size = strlen(dir) + 1 + strlen(name) + 1;
    char *path = mem_alloc(size);

    const int len = snprintf(path, size, "%s/%s", dir, name);
    CHECK(len >= 0 && (size_t)len == size - 1);
    return path;
}

char *tmpdir_create(void)
{
    const char *base = getenv("TMPDIR");
    char *path = tmpdir_path(base == NULL || base[0] == '\0' ? "/tmp" : base, "tierra-XXXXXX");

    CHECK(mkdtemp(path) != NULL);
    return path;
}

static int tmpdir_remove_one(const char *path, const struct stat *st UNUSED, int kind UNUSED,
                             struct FTW *at UNUSED)
{
    return remove(path);
}

void tmpdir_remove(char *take_path)
{
    if (take_path == NULL)
        return;
    /* Children first. What cannot be removed stays behind: no reason to fail a test. */
    (void)nftw(take_path, tmpdir_remove_one, TMPDIR_OPEN_MAX, FTW_DEPTH | FTW_PHYS);
    mem_free(take_path);
}
