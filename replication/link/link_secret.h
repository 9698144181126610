/*
 * The secret that the members of a group share, from the file that `group-secret-file` names.
 *
 * The file holds 16 to 4,096 bytes of any kind; line ends (CR, LF) at its end do not count, so that
 * `openssl rand -hex 32 > file` and an editor make the same secret. It must be a regular file that
 * nobody but its owner may touch (mode & 077 is 0).
 *
 * What is kept in memory is a key derived from it, not the bytes, and it is wiped at the end. It
 * must be random: who can watch or attract connections can try guesses at home (README.md).
 *
 * Immutable once it is made: any thread may use it, and whoever does must not outlive it.
 */
#ifndef TIERRA_REPLICATION_LINK_LINK_SECRET_H
#define TIERRA_REPLICATION_LINK_LINK_SECRET_H

#include <stddef.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#define LINK_SECRET_BYTES_MIN 16u
#define LINK_SECRET_BYTES_MAX 4096u

struct link_secret;

/*
 * Reads the file. Returns 0; -errno if it cannot be read; -ERR_CONFIG: not a regular file, mode,
 * empty, too short, too long. After an error `why` (cut to `why_len` bytes with its terminating
 * zero) says what is wrong and what to do about it, the path included. Blocks: for the start.
 */
MUST_USE int link_secret_load(const char *path, struct link_secret **out, char *why,
                              size_t why_len);

/* From memory, with the same rules for the content. Returns 0 or -ERR_CONFIG with `why`. */
MUST_USE int link_secret_create(struct bytes secret, struct link_secret **out, char *why,
                                size_t why_len);

/* Wipes it. NULL is allowed. */
void link_secret_destroy(struct link_secret *secret);

#endif
