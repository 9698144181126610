/*
 * The secret's file, and the keys made from it.
 *
 * root = HMAC("tierra link secret", content); each use has its own key, HMAC(root, its label), so
 * that no message of one use can stand for one of another (HKDF's extract and expand, RFC 5869,
 * with outputs of one block).
 */
#include "replication/link/link_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/link/link_secret_impl.h"
#include "replication/link/mac.h"

struct link_secret {
    uint8_t root[MAC_BYTES];
};

#define MAKE_ONE "make one with: umask 077; openssl rand -hex 32 > FILE"

static PRINTF_LIKE(4, 5) int refuse(char *why, size_t why_len, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, why_len, format, args); /* Cut is fine. */
    va_end(args);
    return err;
}

int link_secret_create(struct bytes secret, struct link_secret **out, char *why, size_t why_len)
{
    while (secret.len > 0 &&
           (secret.ptr[secret.len - 1] == '\n' || secret.ptr[secret.len - 1] == '\r'))
        secret.len--;
    if (secret.len == 0)
        return refuse(why, why_len, -ERR_CONFIG, "the group secret is empty; %s", MAKE_ONE);
    if (secret.len < LINK_SECRET_BYTES_MIN)
        return refuse(why, why_len, -ERR_CONFIG,
                      "the group secret has %zu bytes, it needs at least %u random ones; %s",
                      secret.len, LINK_SECRET_BYTES_MIN, MAKE_ONE);
    if (secret.len > LINK_SECRET_BYTES_MAX)
        return refuse(why, why_len, -ERR_CONFIG, "the group secret is longer than %u bytes; %s",
                      LINK_SECRET_BYTES_MAX, MAKE_ONE);
    if (!mac_available())
        return refuse(why, why_len, -ERR_CONFIG, "OpenSSL has no HMAC-SHA256; look at openssl.cnf");
    struct link_secret *made = mem_zalloc(sizeof(*made));
    mac_of(BYTES_LIT("tierra link secret"), secret, made->root);
    *out = made;
    return 0;
}

/* The bytes of the file; one more than allowed tells that it is too long. */
static int read_secret(int fd, uint8_t content[LINK_SECRET_BYTES_MAX + 3], size_t *out_len)
{
    size_t len = 0;

    while (len < LINK_SECRET_BYTES_MAX + 3) {
        const ssize_t n = read(fd, content + len, LINK_SECRET_BYTES_MAX + 3 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *out_len = len;
    return 0;
}

static int load(int fd, const char *path, struct link_secret **out, char *why, size_t why_len)
{
    uint8_t content[LINK_SECRET_BYTES_MAX + 3]; /* Room for a line end, and for too much. */
    char detail[256];
    struct stat st;
    size_t len = 0;

    if (fstat(fd, &st) != 0)
        return refuse(why, why_len, -errno, "cannot read the group secret %s: %s", path,
                      err_str(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(why, why_len, -ERR_CONFIG, "the group secret %s is not a regular file", path);
    if ((st.st_mode & 077) != 0)
        return refuse(why, why_len, -ERR_CONFIG,
                      "the group secret %s can be read or written by others (mode %04o); "
                      "run: chmod 600 %s, and make a new one if it may have been seen",
                      path, (unsigned)(st.st_mode & 07777), path);
    int err = read_secret(fd, content, &len);
    if (err != 0)
        return refuse(why, why_len, err, "cannot read the group secret %s: %s", path, err_str(err));
    err = link_secret_create(bytes_of(content, len), out, detail, sizeof(detail));
    mac_wipe(content, sizeof(content));
    if (err != 0)
        return refuse(why, why_len, err, "%s: %s", path, detail);
    return 0;
}

int link_secret_load(const char *path, struct link_secret **out, char *why, size_t why_len)
{
    /* Not to wait for the other end of a pipe. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return refuse(why, why_len, -errno, "cannot open the group secret %s: %s", path,
                      err_str(errno));
    const int err = load(fd, path, out, why, why_len);
    (void)close(fd); /* Read only. */
    return err;
}

void link_secret_key(const struct link_secret *secret, const char *label,
                     uint8_t out[MAC_KEY_BYTES])
{
    mac_of(bytes_of(secret->root, sizeof(secret->root)), bytes_cstr(label), out);
}

void link_secret_destroy(struct link_secret *secret)
{
    if (secret == NULL)
        return;
    mac_wipe(secret->root, sizeof(secret->root));
    mem_free(secret);
}
