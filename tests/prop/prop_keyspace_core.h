/* One shard's core, of real parts: what the property test of the keyspace drives. */
#ifndef TIERRA_TESTS_PROP_PROP_KEYSPACE_CORE_H
#define TIERRA_TESTS_PROP_PROP_KEYSPACE_CORE_H

#include "engine/base/rng.h"

#include "engine/space/keyspace.h"
#include "engine/space/resident.h"

#include "tests/lib/rig.h"
#include "tests/prop/prop_keyspace_model.h"

struct mut;
struct oplog;
struct store_mem_disk;

/* struct replay.room_bytes_min. */
#define REPLAY_ROOM_BYTES_MIN 1000

struct core {
    struct rng rng;
    char *dir;
    char *log_dir;
    char *keys_path;
    char *keys_old;   /* An earlier copy of the file, */
    char *keys_alien; /* and one of another store. */
    struct store_mem_disk *disk;
    struct rig rig;
    struct pool *scratch_pool; /* Of the keyspace that is compared with. */
    struct keyspace *ks;
    struct oplog *log;
    struct mut *mut;
    struct ks_wait wait;
    struct model_key model[KEYS];
    struct model_list lists[LISTS];
    int64_t next_value;
    uint64_t partial; /* Lists that were met with a gap. */
    struct model_text texts[KEYS];
    uint64_t partial_zsets;
    uint64_t waits;
    uint64_t recoveries;
    uint64_t checkpoints;
    uint64_t loaded; /* Recoveries from a checkpoint. */
    uint64_t scanned;
    uint64_t flushes;
    uint64_t rooms;             /* Made in all recoveries. */
    uint64_t replay_bytes_max;  /* As of struct replay. */
    uint64_t replay_rooms;      /* Of the last recovery. */
    uint64_t replay_bytes_seen; /* The most that the keyspace held in it. */
};

/* Goes on with the batch that is being built. */
void flush_step(struct core *c);
/* One turn of the loop. */
void turn(struct core *c);
/* Turns until what c->wait waits for has come. */
void wait_ready(struct core *c);
/* Makes the key resident. */
void need_key(struct core *c, const struct ks_key *key);
/* Turns until nothing is under way in the keyspace. */
void settle(struct core *c);
/* The key of a number. */
struct ks_key key_of(unsigned k, char name[16]);
/* Opens store, log and keyspace, and recovers. */
void core_open(struct core *c);
/* Ends it without writing anything back: what the store did not flush is lost with the store. */
void core_close(struct core *c);
/* A core in a new directory, opened, its numbers seeded; and its end. */
void core_init(struct core *c);
void core_deinit(struct core *c);

#endif
