/*
 * Ordinary file operations, as the log and the stores use them outside the reactor: the only place
 * that names files.
 *
 * Every call blocks for as long as the disk does: for start-up, shut-down and threads that may
 * wait, not for a shard thread at work. All functions return 0 (or what is said) or -errno, repeat
 * after EINTR, and can be used from any thread. Descriptors are close-on-exec.
 *
 * What "durable" takes: the bytes of a file by file_sync, its name by file_sync_dir of the
 * directory that holds it. Both, after a create or a rename.
 */
#ifndef TIERRA_ENGINE_IO_FILE_H
#define TIERRA_ENGINE_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

/* Flags of file_open. */
enum {
    FILE_READ = 1 << 0,
    FILE_WRITE = 1 << 1,
    FILE_CREATE = 1 << 2,    /* Mode 0640, if it is not there. */
    FILE_EXCLUSIVE = 1 << 3, /* With FILE_CREATE: -EEXIST if it is there. */
    FILE_TRUNCATE = 1 << 4,
    FILE_DIRECT = 1 << 5, /* O_DIRECT; -EINVAL where the file system has none. */
};

/* Returns a descriptor. */
MUST_USE int file_open(const char *path, uint32_t flags);
/* Error of the close itself; the descriptor is gone in any case. */
int file_close(int fd);

/*
 * Allocates blocks for the first `len` bytes and sets the size if it was smaller; the new bytes
 * read as zero. Where the file system cannot, zeros are written.
 */
MUST_USE int file_preallocate(int fd, uint64_t len);
MUST_USE int file_truncate(int fd, uint64_t len);
MUST_USE int file_size(int fd, uint64_t *out);

/* All `len` bytes; -ERR_TRUNCATED if the file ends before. */
MUST_USE int file_read_full(int fd, void *out, size_t len, uint64_t offset);
/* As many bytes as there are, at most `len`: `*out_len`. */
MUST_USE int file_read_some(int fd, void *out, size_t len, uint64_t offset, size_t *out_len);
MUST_USE int file_write_full(int fd, const void *ptr, size_t len, uint64_t offset);

/* fdatasync; with `metadata` fsync. After an error the state of the file is unknown. */
MUST_USE int file_sync(int fd, bool metadata);
MUST_USE int file_sync_dir(const char *path);

/* Replaces `to` if it is there. Durable after file_sync_dir of the directory (or of both). */
MUST_USE int file_rename(const char *from, const char *to);
MUST_USE int file_unlink(const char *path);
MUST_USE int file_link(const char *from, const char *to);
/* Mode 0750; an existing directory is no error. */
MUST_USE int file_mkdir(const char *path);
/* The same, and its name is durable then, also if it was made by another that did not get so far.
 */
MUST_USE int file_mkdir_sync(const char *path);
MUST_USE int file_rmdir(const char *path);
/* Removes `path` and all below it, symbolic links not followed; an absent one is no error. */
MUST_USE int file_remove_tree(const char *path);

enum file_type {
    FILE_TYPE_NONE,
    FILE_TYPE_REGULAR,
    FILE_TYPE_DIR,
    FILE_TYPE_OTHER,
};

struct file_info {
    enum file_type type; /* NONE: there is no such file, which is not an error. */
    uint64_t size_bytes;
    uint64_t allocated_bytes; /* What it occupies on the disk. */
};
MUST_USE int file_stat(const char *path, struct file_info *out);

/* Free bytes of the file system for an ordinary user, and its size. */
MUST_USE int file_disk_space(const char *path, uint64_t *out_free, uint64_t *out_total);

/*
 * Bytes that `path` and all below it occupy on the disk, a file with several names counted once.
 * What vanishes meanwhile counts as gone. 0, -ENOENT, -errno. Blocks: a stat per file.
 */
MUST_USE int file_tree_bytes(const char *path, uint64_t *out);

/*
 * Calls fn(ctx, name) for each entry but "." and "..", sorted by name; ends early when it returns
 * non-zero, and returns that.
 */
typedef int (*file_list_fn)(void *ctx, const char *name);
MUST_USE int file_list_dir(const char *path, file_list_fn fn, void *ctx);

/*
 * Opens `path`, creating it, and locks it against every other open of it, in this process or
 * another. Returns a descriptor that holds the lock until it is closed; -ERR_BUSY if it is taken.
 */
MUST_USE int file_lock(const char *path);

/* The whole file, appended to `out`; -ERR_LIMIT if it does not fit into the buffer's limit. */
MUST_USE int file_read_all(const char *path, struct buf *out);

/*
 * Replaces the content of `path`, atomically and durably: writes "<path>.tmp", syncs it, renames it
 * over `path`, syncs the directory. After an error either content may be there, complete.
 */
MUST_USE int file_write_atomic(const char *path, struct bytes content);

#endif
