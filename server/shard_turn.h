/* The turn of a shard's loop, and its timer; shard.h gives the order of things. Of its thread. */
#ifndef TIERRA_SERVER_SHARD_TURN_H
#define TIERRA_SERVER_SHARD_TURN_H

struct shard;

/* The maintenance pool is there: makes the job of shard_look_persisted. */
void shard_turn_init(struct shard *sh);

/* The first tick of the timer, which goes on by itself. */
void shard_turn_start_timer(struct shard *sh);

/* CLIENT PAUSE was ended: what has expired meanwhile goes next, and not when the timer finds it. */
void shard_expire_soon(struct shard *sh);

/* A command that waited for flash has run: reclaims what it found expired there. */
void shard_expire_read(struct shard *sh);

/* The turn hook of the reactor; `ctx` is the shard. */
void shard_turn(void *ctx);

#endif
