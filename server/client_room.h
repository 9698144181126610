/*
 * maxmemory-clients: the room that all clients take, and who is closed when it is too much.
 *
 * What a connection takes, with what it has announced (conn_room_bytes), is counted again when
 * bytes have come or gone, at the end of a turn in which it has something to send, and every
 * second. The connections stand in lists by powers of two of it, so that one of the largest is
 * found at once. Without the directive nothing is counted.
 *
 * With several shards the limit is that of the node. When bytes have come, and at the end of a
 * turn, each shard publishes what its clients take and how large the largest is. When the sum is
 * beyond the limit, the shard that has the largest closes it, and publishes again; the others wait,
 * by their timer if nothing else wakes them. So it does not matter on which shard a client is, and
 * none is closed in excess.
 *
 * Replies that had no chance yet to leave, as they were made in this turn or wait for the log, are
 * sent first: what was taken out of a list for a client that waited is in them. Where it waits on
 * another shard, that one is told to end the wait, and its reply, which may be on its way, is sent.
 * Meanwhile such a client is not counted; if its socket does not take all, it is counted again, and
 * closed.
 *
 * As by Redis, a client with NO-EVICT counts and is not closed.
 */
#ifndef TIERRA_SERVER_CLIENT_ROOM_H
#define TIERRA_SERVER_CLIENT_ROOM_H

#include <stdint.h>

#include "engine/base/list.h"

struct config;
struct conn;
struct shard;

/* List i has what takes less than 2^(i + CLIENT_ROOM_SHIFT) bytes; the last one has the rest. */
#define CLIENT_ROOM_SHIFT 15
#define CLIENT_ROOM_LISTS 19
/* A limit is never below it: nobody could say a word, not even CONFIG SET. Bytes. */
#define CLIENT_ROOM_BYTES_MIN (128u << 10)

/* Of a shard. */
struct client_room {
    uint64_t limit; /* Of the node. Bytes; 0: none, and nothing is counted. */
    uint64_t bytes; /* What the shard's clients take. */
    struct list by_size[CLIENT_ROOM_LISTS];
};

void client_room_init(struct client_room *room);

/* What the configuration says, in bytes; 0: no limit. */
uint64_t client_room_limit(const struct config *cfg);

/* The list of what takes so many bytes. */
uint32_t client_room_list(uint64_t bytes);

/* Takes the limit from the shard's configuration. */
void client_room_follow(struct shard *sh);

/* Counts the connection anew, if there is a limit. */
void client_room_count(struct conn *c);

/* Counts all of them. */
void client_room_count_all(struct shard *sh);

/* It is closed: counted no more. */
void client_room_forget(struct conn *c);

/* If there is a limit: publishes, and closes who is too much. */
void client_room_keep(struct shard *sh);

#endif
