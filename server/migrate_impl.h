/* What the sources of migrate.h share: a command under way, and its connection to the target. */
#ifndef TIERRA_SERVER_MIGRATE_IMPL_H
#define TIERRA_SERVER_MIGRATE_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

#include "engine/io/reactor.h"

#include "server/dump.h"
#include "server/migrate.h"

struct migrate_link;
struct request;
struct watch;

/* Longer lines of the target are cut. Bytes. */
#define MIGRATE_LINE_BYTES 1024u
#define MIGRATE_WHY_BYTES  (MIGRATE_LINE_BYTES + 128u)

struct migrate_args {
    int64_t timeout_ms;
    int64_t db;
    uint32_t user; /* Arguments; 0: there is none. */
    uint32_t password;
    uint32_t first; /* The first key, */
    uint32_t keys;  /* and how many there are. */
    bool copy;
    bool replace;
};

enum migrate_state {
    MIGRATE_WAITS,
    MIGRATE_SENT,
    MIGRATE_ACCEPTED,
    MIGRATE_REFUSED,
    MIGRATE_OVER /* Deleted, or left where it is; or it was gone before it was sent. */
};

struct migrate_key {
    uint32_t arg;         /* That names it. */
    uint8_t state;        /* enum migrate_state */
    _Atomic bool changed; /* Since it was dumped. */
    struct watch *hold;
};

struct migrate {
    struct list_link link;
    struct shard *sh;
    struct conn *conn;
    struct migrate_link *target;
    struct reactor_timer idle; /* Runs while the target is waited for. */
    struct migrate_args args;
    uint32_t greetings; /* Replies before those to RESTORE that are missing. */
    bool over;          /* The target is not spoken to any more. */
    int row_err;        /* Of the key that is being read. */
    uint32_t settled;   /* Keys up to here are done with, */
    uint32_t answered;  /* to here were answered, */
    uint32_t next;      /* and to here sent. */
    uint32_t count;
    bool dumping;   /* The next one, in slices; */
    uint32_t tries; /* so often it was changed meanwhile. */
    struct dump dump;
    char why[MIGRATE_WHY_BYTES]; /* The first error; empty: none. */
    struct migrate_key keys[];
};

/* Keeps the first error, which will be the reply. */
void migrate_fail(struct migrate *m, const char *format, ...) PRINTF_LIKE(2, 3);

/* Goes on as far as it can: replies, or parks the command again. */
void migrate_step(struct request *rq);

/* Appends to a request: the head of an array, an argument. 0, or the error of the buffer. */
MUST_USE int migrate_put_array(struct buf *out, uint32_t n);
MUST_USE int migrate_put_arg(struct buf *out, struct bytes arg);

/* --- called by the connection --- */

/* The target has done something: the time begins anew, and the command goes on. */
void migrate_moved(struct migrate *m);

/* A line of the target, without its end, not longer than MIGRATE_LINE_BYTES. */
void migrate_heard(struct migrate *m, struct bytes line);

/* The connection is broken, or did not come about. */
enum migrate_broken {
    MIGRATE_NOT_CONNECTED,
    MIGRATE_NOT_WRITTEN,
    MIGRATE_NOT_READ
};
void migrate_broken(struct migrate *m, enum migrate_broken how);

/* --- migrate_link.c --- */

/*
 * Begins to connect. Never NULL; what fails at once is told by migrate_broken, too, from within the
 * call.
 */
void migrate_link_open(struct migrate *m, struct bytes host, struct bytes port);

/* Nothing more is wanted of it. */
void migrate_link_drop(struct migrate_link *l);

/* Connected, and everything that was put was sent: the three below may be filled. */
bool migrate_link_idle(const struct migrate_link *l);

/* Why a time that is over is: what it was about. */
enum migrate_broken migrate_link_doing(const struct migrate_link *l);

/* What is to be sent, in this order; the second is for one long dump. */
struct buf *migrate_link_head(struct migrate_link *l);
struct buf *migrate_link_dump(struct migrate_link *l);
struct buf *migrate_link_tail(struct migrate_link *l);

/* Sends it, as soon as there is a connection. */
void migrate_link_send(struct migrate_link *l);
/* Goes on with that; for each migrate_moved. */
void migrate_link_push(struct migrate_link *l);

size_t migrate_link_bytes(const struct migrate_link *l);

#endif
