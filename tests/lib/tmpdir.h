/*
 * Temporary directories of tests: one per fixture, removed with all that is in it.
 */
#ifndef TIERRA_TESTS_LIB_TMPDIR_H
#define TIERRA_TESTS_LIB_TMPDIR_H

#include "engine/base/attr.h"

/*
 * Creates an empty directory below TMPDIR (or /tmp). The path is the caller's: tmpdir_remove
 * frees it.
 */
MUST_USE char *tmpdir_create(void);

/*
 * Removes the directory, what is below it, and frees the path. NULL is allowed. Links are not
 * followed.
 */
void tmpdir_remove(char *take_path);

/* "<dir>/<name>", to be freed by mem_free. */
MUST_USE char *tmpdir_path(const char *dir, const char *name);

#endif
