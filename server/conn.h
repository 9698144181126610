/*
 * One client connection: bytes in, commands, replies out.
 *
 *     on_data -> in (only if a command is incomplete or waits) -> resp -> dispatch -> out
 *     end of turn:  out -> [held until the log is durable] -> sending -> socket
 *
 * Commands are run straight from the receive buffer; bytes are copied only when a command is not
 * complete or has to wait. While a command waits for cold data (it is "parked") the connection
 * keeps the rest of its input and looks ahead in it, so that the reads of a pipeline run together;
 * commands of one connection still run in order. When as much waits as its share of maxmemory
 * allows (shard.h, input_bytes_max) it receives no more; the rest stays in the socket, and the
 * client has to wait. A command that has begun is received whole, however long it is.
 *
 * Under `appendfsync always` every reply of a turn, reads included, leaves when the log is durable
 * up to what had been applied when it was made: else a reader could see what a crash would undo.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_CONN_H
#define TIERRA_SERVER_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/list.h"

#include "engine/io/reactor.h"
#include "engine/space/resident.h"

#include "server/reply.h"
#include "server/resp.h"
#include "server/sort.h"

struct acl_file_job;
struct acl_user;
struct forward_home;
struct migrate;
struct pubsub_client;
struct shard;
struct stream;
struct tracking_client;
struct txn;
struct unblock;

/* Replies that wait for different positions of the log; more are held to the latest. */
#define CONN_MARKS_MAX 8
/*
 * Replies that may wait before a client has logged in; beyond, it is closed. Whoever does not read
 * would otherwise fill the memory with errors (CVE-2025-21605).
 */
#define CONN_STRANGER_OUTPUT_BYTES_MAX (16u << 10)

struct conn_mark {
    uint64_t lsn; /* Replies up to... */
    size_t end;   /* ...this byte of `out` may leave when the log is durable to here. */
};

struct conn {
    struct reactor_sock sock;
    struct shard *sh;
    struct list_link link;         /* All connections of the shard. */
    struct list_link turn_link;    /* Those with something to send at the end of this turn. */
    struct list_link monitor_link; /* Linked: MONITOR. */
    struct list_link held_link;    /* Those with replies that wait for the log. */

    struct buf in; /* Received and not consumed; empty most of the time. */
    struct resp_parser parser;
    struct resp_cmd cmd;        /* The parser's, while a command is incomplete. */
    const struct resp_cmd *now; /* The command that is running; NULL between commands. */
    struct reply out;
    struct buf sending; /* On its way; the reactor's until on_sent. */
    struct iovec iov;
    struct conn_mark marks[CONN_MARKS_MAX];
    uint32_t marks_count;

    struct ks_wait wait;         /* Of the command that is parked. */
    struct reactor_timer retry;  /* Of a command that waits for time or for room. */
    struct list_link retry_link; /* Waits for the end of the turn. */
    bool parked;
    size_t parked_bytes;      /* Length of that command; 0: it has run, what is behind it waits. */
    size_t ahead_bytes;       /* Of the input, from it on: looked at by looking ahead, */
    uint32_t ahead_count;     /* and how many commands behind it these are. */
    bool admitted;            /* The parked command has passed the fuses, or will after a delay. */
    bool delayed;             /* It was made to wait for memory. */
    bool allowed;             /* Its user may run it: asked once, it has begun. */
    uint64_t growth_since_ms; /* It waits for memory since then; 0: it does not. */
    struct sort_walk sort_walk; /* It is a SORT that looks for what its patterns lead to. */
    bool waited;                /* The parked command has waited for cold data. */
    bool postponed;             /* It waits for the end of CLIENT PAUSE. */
    struct migrate *migrate;    /* It is MIGRATE, and has begun; NULL: it is not. */
    struct unblock *block;  /* It is BLPOP or a relative, and waits for keys; NULL: it is not. */
    uint64_t save_ticket;   /* It waits for this save; 0: for none. */
    uint64_t digest_ticket; /* Likewise for a digest of the group. */
    struct acl_file_job *acl_job; /* ACL LOAD or SAVE that it waits for; NULL: none. */
    uint64_t acl_deleted;         /* What ACL DELUSER replies when all shards know. */
    uint64_t config_ticket;       /* It waits until all shards have this configuration; 0: none. */

    uint64_t held_seq;       /* By sh->streams_seq: when it was held back by a stream first; */
    uint64_t held_command;   /* it was the command that will be the one of this number. */
    struct stream *stream;   /* Of the parked command: its reply is read from flash; or NULL. */
    struct forward_home *fw; /* Commands at other shards; NULL until there was one. */
    struct figures *figures; /* What INFO and its like read; NULL: not asked for. */
    bool is_agent;           /* Runs commands of a connection of another shard: no socket. */

    bool closing; /* Will be closed when what is to be sent has been sent. */
    bool closed;  /* reactor_sock_close was called. */
    bool running; /* conn_run is on the stack. */
    bool paused;  /* Receiving is stopped: too much input waits. */
    bool ended;   /* The peer will send no more. */

    /* Session. */
    uint64_t id;
    struct acl_user *user; /* Counted (acl.h). */
    uint8_t gate;          /* enum acl_gate: what a command is asked before it runs. */
    bool authenticated;
    bool doomed; /* Its user is gone: it is closed when the replies under way are there. */
    bool local;  /* Over a Unix socket. */
    bool no_evict;
    bool tracks;          /* What it reads is remembered (tracking.h). */
    uint8_t reply_mode;   /* bits of enum conn_reply_mode */
    struct txn *txn;      /* MULTI and WATCH; NULL until used. */
    struct conn_walk {    /* Of a KEYS or RANDOMKEY that has to wait for names. */
        struct buf names; /* u32 length and name, those found so far. */
        uint64_t cursor;
        uint64_t count;
        bool active;
    } walk;
    struct pubsub_client *pubsub;     /* What it listens to; NULL until used. */
    struct tracking_client *tracking; /* CLIENT TRACKING; NULL until used. */
    uint64_t soft_since_ms; /* Above the soft limit of its output since then; 0: it is not. */
    char *name;             /* CLIENT SETNAME; NULL: none. */
    char addr[64];
    char laddr[64];
    uint64_t created_ms; /* Wall clock. */
    uint64_t active_ms;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t commands;
    const struct cmd *last_cmd;
    struct list_link room_link; /* Linked: it may be closed for the room it takes; */
    uint64_t room_bytes;        /* what is counted of that (client_room.h). */
};

/* What CLIENT REPLY has asked for; bits. */
enum conn_reply_mode {
    CONN_REPLY_ON = 0,
    CONN_REPLY_OFF = 1 << 0,
    CONN_REPLY_SKIP_NEXT = 1 << 1, /* SKIP from the end of this command, perhaps EXEC, on; */
    CONN_REPLY_SKIP = 1 << 2       /* until the end of the next. */
};
#define CONN_REPLY_SILENT (CONN_REPLY_OFF | CONN_REPLY_SKIP)

/* Takes over the socket `fd`. Closes it and returns NULL on failure. */
struct conn *conn_open(struct shard *sh, int fd, bool local);

/* Closes now; what was not sent is dropped. The memory goes when the reactor lets go. */
void conn_close(struct conn *c);

/* Frees the memory of a closed one: when nothing of it is at other shards any more. */
void conn_free(struct conn *c);

/* It has replies of which nothing is on its way, and no command of it is under way. */
bool conn_has_unsent(const struct conn *c);

/* Closes when the replies have been sent. */
void conn_close_after_reply(struct conn *c);

/* The connection of a socket; NULL if it belongs to something else. */
struct conn *conn_of_sock(struct reactor_sock *s);

/* Whether the next bytes that arrive begin a command which may run at once. */
bool conn_idle(const struct conn *c);

/* The command that was parked may run. */
void conn_resume(struct conn *c);

/*
 * Runs the command that is parked, and nothing that stands behind it: that goes on at the end of
 * the turn. False if it is parked again. Not from within a command of the connection.
 */
bool conn_try_parked(struct conn *c);

/* What the parked command waits for is not waited for any more; it stays parked. */
void conn_stop_waiting(struct conn *c);

/*
 * Closes it if it waits for a key and its client is gone: on_end does not tell while nothing is
 * received, since too much has come behind the command that waits. Once in a while.
 */
void conn_look_for_end(struct conn *c);

/* Makes sure that the replies leave at the end of this turn. */
void conn_touch(struct conn *c);

/*
 * How much input and output may wait from now on, by the configuration and by who it is: little
 * while nobody has logged in. What waits already stays.
 */
void conn_follow_limits(struct conn *c);

/*
 * End of the turn: sends what may leave. `hold_lsn`: what was collected by now must wait until the
 * log is safe to there (written or synced, by policy); `safe_lsn`: how far it is.
 */
void conn_flush(struct conn *c, uint64_t hold_lsn, uint64_t safe_lsn);

/*
 * The log has failed: replies that are not sent yet may be about writes that nobody can vouch for.
 * Sends an error in their place, and closes the connection.
 */
void conn_give_up(struct conn *c);

/* The log is safe up to `safe_lsn`: sends the replies that waited for it. */
void conn_release(struct conn *c, uint64_t safe_lsn);

/* Buffers, arguments, queue, names and all. */
size_t conn_memory_bytes(const struct conn *c);

/*
 * The same with what it has announced, the argument under way, as if all of that were there: for
 * CLIENT LIST and maxmemory-clients. Redis reserves it when it is announced, and so counts it.
 */
size_t conn_room_bytes(const struct conn *c);

#endif
