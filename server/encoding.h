/*
 * What Redis would call the encoding of a value: derived from its content and the thresholds of the
 * configuration, as after loading it. Redis keeps an encoding once a value has grown into it; so do
 * we of strings (req_string_form), and of collections from which SREM, SMOVE, HDEL or ZREM take
 * what made them grow, as long as they are in DRAM.
 *
 * Thread: the shard's.
 */
#ifndef TIERRA_SERVER_ENCODING_H
#define TIERRA_SERVER_ENCODING_H

#include <stdbool.h>

struct coll;
struct elem;
struct ks_key;
struct obj;
struct request;

/* Of a hot value. NULL: its elements are being read, the request is parked. */
const char *encoding_of(struct request *rq, const struct ks_key *key, const struct obj *obj);

/* Whether it is one of the small integers that Redis has only one object for. */
bool encoding_is_shared(const struct request *rq, const struct obj *obj);

/* Before an element of a hash, set or sorted set is removed: what it had made of it stays. */
void encoding_keep(const struct request *rq, const struct coll *coll, const struct elem *elem);

#endif
