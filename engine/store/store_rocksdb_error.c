/*
 * Errors of RocksDB, which its C API gives as text only: "<kind>: <details>".
 */
#include <errno.h>
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/err.h"

#include "engine/store/store_rocksdb.h"

struct error_text {
    const char *text;
    int err;
};

#define INCOMPLETE "Result incomplete"

/* In this order: a kind that says all, then details of an I/O error. */
static const struct error_text error_kinds[] = {
    {"Corruption", -ERR_CORRUPT},          {INCOMPLETE, -ERR_BUSY},
    {"Not implemented", -ERR_UNSUPPORTED}, {"Resource busy", -ERR_BUSY},
    {"Shutdown in progress", -ERR_CLOSED},
};

static const struct error_text error_details[] = {
    {"lock hold by current process", -ERR_BUSY},
    {"While lock file", -ERR_BUSY},
    {"(create_if_missing is false)", -ERR_NOT_FOUND},
    {"No space left on device", -ENOSPC},
    {"Disk quota exceeded", -EDQUOT},
    {"Read-only file system", -EROFS},
    {"No such file or directory", -ENOENT},
    {"Permission denied", -EACCES},
    {"Too many open files", -EMFILE},
    {"Invalid argument", -EINVAL},
};

static int error_number(const char *text)
{
    for (size_t i = 0; i < ARRAY_COUNT(error_kinds); i++) {
        if (strncmp(text, error_kinds[i].text, strlen(error_kinds[i].text)) == 0)
            return error_kinds[i].err;
    }
    for (size_t i = 0; i < ARRAY_COUNT(error_details); i++) {
        if (strstr(text, error_details[i].text) != NULL)
            return error_details[i].err;
    }
    return -EIO;
}

bool rocksdb_error_incomplete(const char *error)
{
    return strncmp(error, INCOMPLETE, strlen(INCOMPLETE)) == 0;
}

int rocksdb_error_take(char *take_error)
{
    if (take_error == NULL)
        return 0;
    const int err = error_number(take_error);
    rocksdb_free(take_error);
    return err;
}

int rocksdb_error_fault(const char *dir, char *take_error, struct store_fault *fault)
{
    if (take_error == NULL)
        return 0;
    (void)store_fault_set(fault, error_number(take_error), "%s: %s", dir, take_error);
    rocksdb_free(take_error);
    return fault->err;
}
