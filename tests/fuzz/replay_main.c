/*
 * The plain driver of a fuzz target: runs it over every file of a corpus.
 *
 *     fuzz_x <file or directory>...
 *
 * For builds without libFuzzer, so that the corpus is an ordinary test with every compiler.
 * Sub-directories are not entered. A corpus without a single file is an error: it would test
 * nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "tests/fuzz/fuzz.h"
#include "tests/lib/tmpdir.h"

/* A larger file does not belong into a corpus. */
#define INPUT_BYTES_MAX (4 << 20)
#define READ_BYTES      65536

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        const int err = buf_reserve(out, READ_BYTES);
        if (err != 0)
            return err;
        const ssize_t got = read(fd, buf_end(out), READ_BYTES);
        if (got < 0)
            return -errno;
        if (got == 0)
            return 0;
        buf_commit(out, (size_t)got);
    }
}

static int replay_file(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct buf input;

    if (fd < 0)
        return -errno;
    buf_init(&input, INPUT_BYTES_MAX);
    const int err = read_all(fd, &input);
    (void)close(fd); /* Read only. */
    if (err == 0) {
        /* A block of exactly the size lets a sanitizer see a read past the end. */
        buf_shrink(&input, 0);
        (void)LLVMFuzzerTestOneInput(input.ptr, input.len); /* Always 0. */
    }
    buf_deinit(&input);
    return err;
}

/* Adds the files that were run to `*count`. */
static int replay_dir(const char *path, size_t *count)
{
    DIR *dir = opendir(path);
    int err = 0;

    if (dir == NULL)
        return -errno;
    const struct dirent *entry;
    while (err == 0 && (entry = readdir(dir)) != NULL) {
        char *file = tmpdir_path(path, entry->d_name);
        struct stat st;
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode)) {
            err = replay_file(file);
            (*count)++;
        }
        mem_free(file);
    }
    (void)closedir(dir); /* Read only. */
    return err;
}

int main(int argc, char **argv)
{
    size_t count = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;
        int err = stat(argv[i], &st) != 0 ? -errno : 0;
        if (err == 0 && S_ISDIR(st.st_mode)) {
            err = replay_dir(argv[i], &count);
        } else if (err == 0) {
            err = replay_file(argv[i]);
            count++;
        }
        if (err != 0) {
            (void)fprintf(stderr, "%s: %s\n", argv[i], err_str(err));
            return 1;
        }
    }
    printf("%zu inputs\n", count);
    return count == 0 ? 1 : 0;
}
