/*
 * Commands that run on several shards, each doing its part, with one reply.
 *
 * The parts are commands themselves and go the way of forwarded ones (forward.h), the part of the
 * connection's own shard too, so that it keeps its place among the commands before and behind it.
 * Each part is atomic; together they are not.
 */
#ifndef TIERRA_SERVER_SCATTER_H
#define TIERRA_SERVER_SCATTER_H

#include <stdint.h>

struct cmd;
struct conn;
struct resp_cmd;

/* A command of one part: to its owner. */
void scatter_one(struct conn *c, const struct resp_cmd *rc, uint32_t owner);

/* SPANS_SHARDS: each shard gets the keys that it owns, with their values. */
void scatter_keys(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc);

/* MIGRATE with keys of several shards, likewise; these are its last arguments. */
void scatter_migrate(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc);

/* EVERY_SHARD: the same command for all. */
void scatter_all(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc);

#endif
