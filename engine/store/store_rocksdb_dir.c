/*
 * The directory of a store, as far as it is ours and not RocksDB's.
 *
 * It holds RocksDB's files and one of our own, FORMAT, with the text "tierra store 1\n": a
 * directory of another program, or of a later version, is told apart before RocksDB touches it.
 * FORMAT is written before RocksDB creates its first file; a checkpoint gets it last, so that one
 * that was broken off is not taken for a store.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/store/store_rocksdb.h"

#define FORMAT_NAME      "FORMAT"
#define FORMAT_TEMPORARY "FORMAT.tmp" /* Renamed when it is complete. */
#define FORMAT_TEXT      "tierra store 1\n"
#define FORMAT_BYTES_MAX 64
/* More than an open writes before it can fail with an error: a report, a manifest. */
#define TRIAL_BYTES (256u << 10)

/* 0, -ENOENT, -ERR_FORMAT or -errno. */
static int format_read(int dir_fd)
{
    char text[FORMAT_BYTES_MAX];
    const int fd = openat(dir_fd, FORMAT_NAME, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    const ssize_t n = read(fd, text, sizeof(text));
    const int err = n < 0 ? -errno : 0;
    (void)close(fd); /* Read only. */
    if (err != 0)
        return err;
    const bool same = (size_t)n == strlen(FORMAT_TEXT) && memcmp(text, FORMAT_TEXT, (size_t)n) == 0;
    return same ? 0 : -ERR_FORMAT;
}

/* What there is of RocksDB's files. */
struct dir_content {
    bool current;
    bool tables;
};

static int dir_look(int dir_fd, struct dir_content *out)
{
    const int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL) {
        const int err = -errno;
        if (fd >= 0)
            (void)close(fd); /* Read only. */
        return err;
    }
    *out = (struct dir_content){.current = false};
    for (;;) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's is safe on a stream of one's own. */
        const struct dirent *e = readdir(dir);
        if (e == NULL)
            break;
        const size_t len = strlen(e->d_name);
        if (strcmp(e->d_name, "CURRENT") == 0)
            out->current = true;
        else if (len > 4 && strcmp(e->d_name + len - 4, ".sst") == 0)
            out->tables = true;
    }
    (void)closedir(dir); /* Read only. */
    return 0;
}

static int dir_judge(const char *dir, int dir_fd, bool *out_exists, struct store_fault *fault)
{
    struct dir_content content = {.current = false};
    int err = dir_look(dir_fd, &content);

    if (err != 0)
        return store_fault_set(fault, err, "%s: %s", dir, err_str(err));
    err = format_read(dir_fd);
    if (err == -ENOENT && (content.current || content.tables))
        return store_fault_set(fault, -ERR_FORMAT, "%s: not a store: no file FORMAT", dir);
    if (err == -ERR_FORMAT)
        return store_fault_set(fault, err, "%s/FORMAT: not a store of this version", dir);
    if (err != 0 && err != -ENOENT)
        return store_fault_set(fault, err, "%s/FORMAT: %s", dir, err_str(err));
    /* A manifest alone is what a crash while the store was made can leave. */
    if (!content.current && content.tables)
        return store_fault_set(fault, -ERR_CORRUPT, "%s/CURRENT: missing beside tables", dir);
    *out_exists = content.current;
    return 0;
}

int rocksdb_dir_check(const char *dir, bool *out_exists, struct store_fault *fault)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        *out_exists = false;
        return 0;
    }
    if (fd < 0)
        return store_fault_set(fault, -errno, "%s: %s", dir, err_str(-errno));
    const int err = dir_judge(dir, fd, out_exists, fault);
    (void)close(fd); /* Read only. */
    return err;
}

/* 0 or -errno. */
static int format_write_file(int dir_fd)
{
    const int fd = openat(dir_fd, FORMAT_TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    if (fd < 0)
        return -errno;
    const ssize_t n = write(fd, FORMAT_TEXT, strlen(FORMAT_TEXT));
    int err = n < 0 ? -errno : 0;
    if (err == 0 && (size_t)n != strlen(FORMAT_TEXT))
        err = -EIO;
    if (err == 0 && fsync(fd) != 0)
        err = -errno;
    if (close(fd) != 0 && err == 0)
        err = -errno;
    return err;
}

/* 0 or -errno. */
static int format_write(int dir_fd)
{
    const int err = format_write_file(dir_fd);

    if (err != 0)
        return err;
    if (renameat(dir_fd, FORMAT_TEMPORARY, dir_fd, FORMAT_NAME) != 0 || fsync(dir_fd) != 0)
        return -errno;
    return 0;
}

int rocksdb_dir_mark(const char *dir, struct store_fault *fault)
{
    if (mkdir(dir, 0750) != 0 && errno != EEXIST)
        return store_fault_set(fault, -errno, "%s: %s", dir, err_str(-errno));
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return store_fault_set(fault, -errno, "%s: %s", dir, err_str(-errno));
    const int err = format_write(fd);
    (void)close(fd); /* Read only. */
    return err == 0 ? 0 : store_fault_set(fault, err, "%s/FORMAT: %s", dir, err_str(err));
}

/* 0 or -errno. */
static int trial_write(int fd)
{
    uint8_t *zeros = mem_zalloc(TRIAL_BYTES);
    size_t done = 0;
    int err = 0;

    while (done < TRIAL_BYTES && err == 0) {
        const ssize_t n = write(fd, zeros + done, TRIAL_BYTES - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            err = n == 0 ? -EIO : -errno;
    }
    mem_free(zeros);
    return err;
}

int rocksdb_dir_trial(const char *dir, struct store_fault *fault)
{
    /* Without a name, so that nothing of it can stay. */
    const int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
        return 0; /* The file system has no such files: RocksDB finds out. */
    int err = fd < 0 ? -errno : trial_write(fd);
    if (fd >= 0 && close(fd) != 0 && err == 0)
        err = -errno;
    return err == 0 ? 0 : store_fault_set(fault, err, "%s: %s", dir, err_str(err));
}

bool rocksdb_dir_direct(const char *dir)
{
    const int fd = open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

    if (fd < 0)
        return false;
    (void)close(fd); /* Nothing was written. */
    return true;
}

/* Removes what RocksDB left: our file, and the directory if that was all. */
static int dir_remove(const char *dir, struct store_fault *fault)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : store_fault_set(fault, -errno, "%s: %s", dir, err_str(errno));
    (void)unlinkat(fd, FORMAT_TEMPORARY, 0); /* Seldom there. */
    if (unlinkat(fd, FORMAT_NAME, 0) != 0 && errno != ENOENT)
        err = -errno;
    (void)close(fd); /* Read only. */
    if (err == 0 && rmdir(dir) != 0)
        err = -errno;
    return err == 0 ? 0 : store_fault_set(fault, err, "%s: %s", dir, err_str(err));
}

static int dir_destroy(const char *dir, struct store_fault *fault)
{
    bool exists = false;
    char *error = NULL;
    /* The check spares a directory that is not ours; a damaged store may go. */
    const int err = rocksdb_dir_check(dir, &exists, fault);

    if (err != 0 && err != -ERR_CORRUPT)
        return err;
    if (access(dir, F_OK) != 0)
        return 0;
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_destroy_db(options, dir, &error);
    rocksdb_options_destroy(options);
    return error == NULL ? dir_remove(dir, fault) : rocksdb_error_fault(dir, error, fault);
}

int store_destroy(const char *dir, char *why, size_t why_len)
{
    struct store_fault fault = {.err = 0};
    const int err = dir_destroy(dir, &fault);

    if (err != 0)
        store_why(why, why_len, fault.text);
    return err;
}
