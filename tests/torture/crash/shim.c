/*
 * A disk that forgets: preloaded into the server, it keeps beside the data directory what a loss of
 * power would leave of it. Nothing of the program's own view changes; crash_power.py puts the
 * state after the cut together from these files, below TIERRA_SHIM_STATE:
 *
 *     objs/<id>    content of a file as of the last sync of the file
 *     dirs/<id>    entries of a directory as of the last sync of the directory, lines
 *                  "f <id> <name>" and "d <id> <name>"
 *
 *     synced       when the newest completed sync of a log segment began, CLOCK_MONOTONIC in
 *                  nanoseconds, decimal, 20 digits: what was acknowledged before is durable
 *
 * <id> is 16 hexadecimal digits in the attribute user.tierra_shim of the file itself: an inode
 * number would come back for another file.
 *
 * What counts as a sync: fsync, fdatasync (all of the file's bytes written so far, and its size),
 * a write with RWF_DSYNC (the bytes of that write). sync_file_range promises nothing, hence does
 * nothing. The real syncs are left out, since only the process dies here, but a random pause
 * takes their place (at most TIERRA_SHIM_SYNC_US).
 *
 * TIERRA_SHIM_GOES_ON: another process has used the disk since the power was on. What it wrote and
 * did not sync is not known any more, so the first sync of a file takes all of it.
 *
 * TIERRA_SHIM_LIE: syncs of files whose path contains this text report success and do nothing: the
 * negative control of the test.
 *
 * Ring operations pass no function of the C library: the server has to run with io-backend epoll.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define ATTRIBUTE  "user.tierra_shim"
#define ID_BYTES   17
#define FDS_MAX    65536
#define PATH_ROOM  4400
#define COPY_BYTES (64u << 10)

/* A file below the data directory, for as long as the process lives. */
struct node {
    struct node *next;
    pthread_mutex_t copy; /* Held while bytes are copied: no older ones may come after newer. */
    char id[ID_BYTES];
    bool lie;
    int64_t low; /* Bytes written since the last sync: [low, high); guarded by `lock`. */
    int64_t high;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *nodes;
static struct node *_Atomic of_fd[FDS_MAX];
static char data_dir[PATH_ROOM], state_dir[PATH_ROOM];
static const char *lie_text;
static long sync_us;
static bool active, goes_on;

#define REAL(name, type, ...) ((type(*)(__VA_ARGS__))real(#name))

static void *real(const char *name)
{
    void *fn = dlsym(RTLD_NEXT, name);

    if (fn == NULL)
        abort();
    return fn;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "shim: %s: errno %d\n", what, errno);
    _exit(99);
}

__attribute__((constructor)) static void start(void)
{
    const char *data = getenv("TIERRA_SHIM_DATA"), *state = getenv("TIERRA_SHIM_STATE");
    const char *us = getenv("TIERRA_SHIM_SYNC_US");

    if (data == NULL || state == NULL)
        return;
    (void)snprintf(data_dir, sizeof(data_dir), "%s", data);
    (void)snprintf(state_dir, sizeof(state_dir), "%s", state);
    lie_text = getenv("TIERRA_SHIM_LIE");
    sync_us = us == NULL ? 0 : strtol(us, NULL, 10);
    goes_on = getenv("TIERRA_SHIM_GOES_ON") != NULL;
    active = true;
}

/* Random enough to be unique: splitmix64 from the time and the process. */
static uint64_t next_number(void)
{
    static _Atomic uint64_t state;
    struct timespec ts;

    if (state == 0) {
        (void)clock_gettime(CLOCK_REALTIME, &ts);
        state = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + (uint64_t)getpid();
    }
    uint64_t z = atomic_fetch_add(&state, 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- identities --- */

static bool id_ok(ssize_t len, char id[ID_BYTES])
{
    if (len != ID_BYTES - 1)
        return false;
    id[ID_BYTES - 1] = '\0';
    return true;
}

static void id_make(char id[ID_BYTES])
{
    const uint64_t number = next_number();

    (void)snprintf(id, ID_BYTES, "%016llx", (unsigned long long)number);
}

/* The identity of what `path` names, given to it now if it has none. False: it is gone. */
static bool id_of(const char *path, char id[ID_BYTES])
{
    if (id_ok(getxattr(path, ATTRIBUTE, id, ID_BYTES - 1), id))
        return true;
    id_make(id);
    if (setxattr(path, ATTRIBUTE, id, ID_BYTES - 1, XATTR_CREATE) == 0)
        return true;
    if (errno == EEXIST)
        return id_ok(getxattr(path, ATTRIBUTE, id, ID_BYTES - 1), id);
    if (errno == ENOENT)
        return false;
    die(path);
    return false;
}

static void fd_link(int fd, char out[64])
{
    (void)snprintf(out, 64, "/proc/self/fd/%d", fd);
}

/* The path below the data directory; false if it is elsewhere, or has no name. */
static bool path_of(int fd, char out[PATH_ROOM])
{
    char link[64];

    fd_link(fd, link);
    const ssize_t len = readlink(link, out, PATH_ROOM - 1);
    if (len < 0)
        return false;
    out[len] = '\0';
    const size_t dir_len = strlen(data_dir);
    if (strncmp(out, data_dir, dir_len) != 0 || (out[dir_len] != '/' && out[dir_len] != '\0'))
        return false;
    return strstr(out, " (deleted)") == NULL;
}

static struct node *node_get(const char id[ID_BYTES], const char *path)
{
    (void)pthread_mutex_lock(&lock);
    struct node *n = nodes;
    while (n != NULL && strcmp(n->id, id) != 0)
        n = n->next;
    if (n == NULL) {
        n = calloc(1, sizeof(*n)); /* tidy: allow calloc, the shim is no part of the program */
        if (n == NULL)
            die("calloc");
        (void)pthread_mutex_init(&n->copy, NULL);
        memcpy(n->id, id, ID_BYTES);
        n->low = goes_on ? 0 : INT64_MAX;
        n->high = goes_on ? INT64_MAX : 0;
        n->lie = lie_text != NULL && strstr(path, lie_text) != NULL;
        n->next = nodes;
        nodes = n;
    }
    (void)pthread_mutex_unlock(&lock);
    return n;
}

/* A new descriptor. */
static int opened(int fd, int flags)
{
    char path[PATH_ROOM], link[64], id[ID_BYTES];
    struct stat st;
    const int err = errno;

    if (!active || fd < 0 || fd >= FDS_MAX)
        return fd;
    of_fd[fd] = NULL;
    if ((flags & O_ACCMODE) != O_RDONLY && path_of(fd, path) && fstat(fd, &st) == 0 &&
        S_ISREG(st.st_mode)) {
        fd_link(fd, link);
        if (id_of(link, id)) {
            of_fd[fd] = node_get(id, path);
            /* What it held is gone for whoever reads it, but not from the disk. */
            if ((flags & O_TRUNC) != 0)
                of_fd[fd]->low = 0;
        }
    }
    errno = err;
    return fd;
}

static struct node *node_of(int fd)
{
    return active && fd >= 0 && fd < FDS_MAX ? of_fd[fd] : NULL;
}

static void wrote(int fd, int64_t offset, int64_t len)
{
    struct node *n = node_of(fd);

    if (n == NULL || len <= 0)
        return;
    (void)pthread_mutex_lock(&lock);
    n->low = offset < n->low ? offset : n->low;
    n->high = offset + len > n->high ? offset + len : n->high;
    (void)pthread_mutex_unlock(&lock);
}

/* --- what is durable --- */

static void pause_as_a_disk(void)
{
    if (sync_us > 0)
        (void)usleep((useconds_t)(next_number() % (uint64_t)sync_us));
}

/* Bytes [low, high) of the file into its durable copy, with or without its size. */
static void copy_range(const struct node *n, int fd, int64_t low, int64_t high, bool size)
{
    static _Thread_local char bytes[COPY_BYTES];
    char path[PATH_ROOM + 64], link[64];
    struct stat st;

    fd_link(fd, link);
    const int in = REAL(open, int, const char *, int, ...)(link, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof(path), "%s/objs/%s", state_dir, n->id);
    const int out =
        REAL(open, int, const char *, int, ...)(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (in < 0 || out < 0 || fstat(in, &st) != 0)
        die(path);
    if (size && REAL(ftruncate, int, int, off_t)(out, st.st_size) != 0)
        die(path);
    high = high < st.st_size ? high : st.st_size;
    while (low < high) {
        const size_t len = (size_t)(high - low < COPY_BYTES ? high - low : COPY_BYTES);
        const ssize_t got = pread(in, bytes, len, low);
        if (got <= 0)
            break; /* Cut meanwhile by another thread. */
        if (REAL(pwrite, ssize_t, int, const void *, size_t, off_t)(out, bytes, (size_t)got, low) !=
            got)
            die(path);
        low += got;
    }
    (void)close(in);
    (void)close(out);
}

static void file_synced(struct node *n, int fd)
{
    if (n->lie)
        return;
    (void)pthread_mutex_lock(&n->copy);
    (void)pthread_mutex_lock(&lock);
    const int64_t low = n->low, high = n->high;
    n->low = INT64_MAX;
    n->high = 0;
    (void)pthread_mutex_unlock(&lock);
    copy_range(n, fd, low, high, true);
    (void)pthread_mutex_unlock(&n->copy);
}

static void list_dir(const char *path, FILE *out)
{
    char entry_path[PATH_ROOM + 300], id[ID_BYTES];
    struct stat st;
    DIR *dir = opendir(path);

    if (dir == NULL)
        die(path);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void)snprintf(entry_path, sizeof(entry_path), "%s/%s", path, e->d_name);
        if (lstat(entry_path, &st) == 0 && id_of(entry_path, id))
            (void)fprintf(out, "%c %s %s\n", S_ISDIR(st.st_mode) ? 'd' : 'f', id, e->d_name);
    }
    (void)closedir(dir);
}

/* Serialised: an older list must not replace a newer one. */
static void dir_synced(const char *path)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    char id[ID_BYTES], to[PATH_ROOM + 64], tmp[PATH_ROOM + 72];

    if (!id_of(path, id))
        return;
    (void)pthread_mutex_lock(&one);
    (void)snprintf(to, sizeof(to), "%s/dirs/%s", state_dir, id);
    (void)snprintf(tmp, sizeof(tmp), "%s.tmp", to);
    FILE *out = fopen(tmp, "we");
    if (out == NULL)
        die(tmp);
    list_dir(path, out);
    if (fclose(out) != 0 || REAL(rename, int, const char *, const char *)(tmp, to) != 0)
        die(to);
    (void)pthread_mutex_unlock(&one);
}

static uint64_t mono_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A segment, not yet a spare in the making: that has another name. */
static bool is_segment(int fd)
{
    char path[PATH_ROOM];

    if (!path_of(fd, path) || strstr(path, "/oplog/") == NULL)
        return false;
    const size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, ".log") == 0;
}

/* The syncs of one log come one after another: no older time replaces a newer one. */
static void note_sync(uint64_t from_ns)
{
    char path[PATH_ROOM + 64], text[32];

    (void)snprintf(path, sizeof(path), "%s/synced", state_dir);
    const int fd =
        REAL(open, int, const char *, int, ...)(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    (void)snprintf(text, sizeof(text), "%020llu", (unsigned long long)from_ns);
    if (fd < 0 || REAL(pwrite, ssize_t, int, const void *, size_t, off_t)(fd, text, 20, 0) != 20)
        die(path);
    (void)close(fd);
}

static int synced(int fd)
{
    char path[PATH_ROOM];
    struct node *n = node_of(fd);
    struct stat st;
    const uint64_t from_ns = mono_ns();

    pause_as_a_disk();
    if (n != NULL) {
        file_synced(n, fd);
        if (!n->lie && is_segment(fd))
            note_sync(from_ns);
    } else if (fstat(fd, &st) != 0)
        return -1;
    else if (S_ISDIR(st.st_mode) && path_of(fd, path))
        dir_synced(path);
    return 0;
}

/* --- in place of the C library's --- */

int fsync(int fd)
{
    return active ? synced(fd) : REAL(fsync, int, int)(fd);
}

int fdatasync(int fd)
{
    return active ? synced(fd) : REAL(fdatasync, int, int)(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags)
{
    if (active)
        return 0;
    return REAL(sync_file_range, int, int, off64_t, off64_t, unsigned)(fd, offset, len, flags);
}

ssize_t write(int fd, const void *buf, size_t len)
{
    const ssize_t n = REAL(write, ssize_t, int, const void *, size_t)(fd, buf, len);

    if (n > 0 && node_of(fd) != NULL)
        wrote(fd, lseek(fd, 0, SEEK_CUR) - n, n);
    return n;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    const ssize_t n = REAL(pwrite, ssize_t, int, const void *, size_t, off_t)(fd, buf, len, offset);

    wrote(fd, offset, n);
    return n;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t offset)
{
    return pwrite(fd, buf, len, offset);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    struct node *node = node_of(fd);
    const int left = active ? flags & ~(RWF_DSYNC | RWF_SYNC) : flags;
    const ssize_t n = REAL(pwritev2, ssize_t, int, const struct iovec *, int, off_t,
                           int)(fd, iov, count, offset, left);

    if (n <= 0 || node == NULL)
        return n;
    if (left == flags) {
        wrote(fd, offset, n);
        return n;
    }
    pause_as_a_disk();
    if (!node->lie) {
        (void)pthread_mutex_lock(&node->copy);
        copy_range(node, fd, offset, offset + n, false);
        (void)pthread_mutex_unlock(&node->copy);
    }
    return n;
}

int ftruncate(int fd, off_t len)
{
    struct stat st;
    const bool ours = node_of(fd) != NULL && fstat(fd, &st) == 0;
    const int res = REAL(ftruncate, int, int, off_t)(fd, len);

    if (res == 0 && ours && len != st.st_size)
        wrote(fd, len < st.st_size ? len : st.st_size,
              len < st.st_size ? st.st_size - len : len - st.st_size);
    return res;
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return REAL(fallocate, int, int, int, off_t, off_t)(fd, mode, offset, len);
}

#define MODE_OF(flags)                            \
    mode_t mode = 0;                              \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) { \
        va_list args;                             \
        va_start(args, flags);                    \
        mode = (mode_t)va_arg(args, unsigned);    \
        va_end(args);                             \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opened(REAL(open, int, const char *, int, ...)(path, flags, mode), flags);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opened(REAL(open, int, const char *, int, ...)(path, flags | O_LARGEFILE, mode), flags);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    MODE_OF(flags)
    return opened(REAL(openat, int, int, const char *, int, ...)(dir_fd, path, flags, mode), flags);
}

/* The names are glibc's. NOLINTBEGIN(readability-identifier-naming) */
int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open(path, flags);
}

int __openat_2(int dir_fd, const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags)
{
    return openat(dir_fd, path, flags);
}
/* NOLINTEND(readability-identifier-naming) */

int close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX)
        of_fd[fd] = NULL;
    return REAL(close, int, int)(fd);
}
