/* Reading /proc/PID/stat, io and statm (proc(5)). */
#include "bench/load/bench_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/num.h"

#define FILE_BYTES_MAX      2048
#define STAT_USER_WORD      11 /* utime; stime follows. After the name. */
#define STATM_RESIDENT_WORD 1

static int read_file(int pid, const char *name, char out[FILE_BYTES_MAX])
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    const ssize_t len = read(fd, out, FILE_BYTES_MAX - 1);
    const int err = len < 0 ? -errno : 0;
    close(fd);
    if (err == 0)
        out[len] = '\0';
    return err;
}

/* Word number `index` (from 0) of a text of words between blanks and line ends, as a number. */
static int read_word(const char *text, size_t index, uint64_t *out)
{
    for (size_t i = 0;; i++) {
        text += strspn(text, " \n");
        const size_t len = strcspn(text, " \n");
        if (i == index)
            return num_parse_u64(bytes_of(text, len), out) ? 0 : -EINVAL;
        if (len == 0)
            return -EINVAL;
        text += len;
    }
}

static int read_cpu(int pid, uint64_t *out_us)
{
    char text[FILE_BYTES_MAX];
    uint64_t user_ticks = 0;
    uint64_t system_ticks = 0;
    int err = read_file(pid, "stat", text);

    if (err != 0)
        return err;
    /* The name in parentheses may hold anything: words are counted from its last one. */
    const char *after_name = strrchr(text, ')');
    if (after_name == NULL)
        return -EINVAL;
    err = read_word(after_name + 1, STAT_USER_WORD, &user_ticks);
    if (err == 0)
        err = read_word(after_name + 1, STAT_USER_WORD + 1, &system_ticks);
    if (err != 0)
        return err;
    *out_us = (user_ticks + system_ticks) * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    return 0;
}

static int read_rss(int pid, uint64_t *out_bytes)
{
    char text[FILE_BYTES_MAX];
    uint64_t pages = 0;
    int err = read_file(pid, "statm", text);

    if (err == 0)
        err = read_word(text, STATM_RESIDENT_WORD, &pages);
    if (err != 0)
        return err;
    *out_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

/* The number after "\nname: ". */
static bool read_named(const char *text, const char *name, uint64_t *out)
{
    const char *at = strstr(text, name);

    return at != NULL && read_word(at + strlen(name), 0, out) == 0;
}

static bool read_io(int pid, struct bench_proc *out)
{
    char text[FILE_BYTES_MAX];

    return read_file(pid, "io", text) == 0 &&
           read_named(text, "\nread_bytes: ", &out->read_bytes) &&
           read_named(text, "\nwrite_bytes: ", &out->write_bytes);
}

int bench_proc_read(int pid, struct bench_proc *out)
{
    struct bench_proc proc = {0};
    int err = read_cpu(pid, &proc.cpu_us);

    if (err == 0)
        err = read_rss(pid, &proc.rss_bytes);
    if (err != 0)
        return err;
    proc.has_io = read_io(pid, &proc);
    *out = proc;
    return 0;
}
