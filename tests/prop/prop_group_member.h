/* One member of a group, of real parts: what the tests of joining drive. */
#ifndef TIERRA_TESTS_PROP_PROP_GROUP_MEMBER_H
#define TIERRA_TESTS_PROP_PROP_GROUP_MEMBER_H

#include <stdbool.h>

#include "engine/space/keyspace.h"
#include "engine/space/resident.h"
#include "engine/value/vv.h"

#include "tests/lib/rig.h"

struct mut;
struct oplog;
struct oplog_cursor;
struct oplog_record;
struct store_mem_disk;

#define GROUP_SEED 0x5eedu

struct prop_member {
    uint8_t origin;
    char *dir;
    char *log_dir;
    char *keys_path;
    struct store_mem_disk *disk;
    struct rig rig;
    struct keyspace *ks;
    struct oplog *log;
    struct oplog_cursor *cursor;
    uint64_t cursor_lsn; /* Where the cursor goes on after a crash. */
    struct mut *mut;
    struct ks_wait wait;
    uint64_t now_ms;  /* Its wall clock. */
    uint64_t changes; /* Told by on_change. */
    uint64_t recoveries;
    bool loads_small; /* Keys that are written as a whole; else each is as if it were too large. */
    /* Called for each own record that is written. */
    void (*on_record)(void *ctx, const struct oplog_record *record);
    void *ctx;
};

/* A new one; `origin` from 1. */
void member_create(struct prop_member *m, uint8_t origin);
void member_destroy(struct prop_member *m);

/* Opens store, log and keyspace, and recovers. */
void member_open(struct prop_member *m);
/* Ends it without writing anything back: what the store did not flush is lost with the store. */
void member_close(struct prop_member *m);

/* One turn of the loop; own records that were written are shown. */
void member_turn(struct prop_member *m);
/* Until all own records are written and shown. */
void member_show_all(struct prop_member *m);
/* Until nothing is under way. */
void member_idle(struct prop_member *m);
/* Writes back what waits, or some of it. */
void member_write_back(struct prop_member *m, uint64_t bytes_max);
/* What was written survives a crash. */
void member_persist(struct prop_member *m);
/* All that is clean becomes cold. */
void member_demote(struct prop_member *m);
/* The keys are hot or absent. */
void member_need(struct prop_member *m, const struct ks_key *keys, size_t n);
/* For writes of whole keys; what is known of them stays until ks_wait_unpin. */
void member_need_rows(struct prop_member *m, const struct ks_key *keys, size_t n);
/* Everything is in the store, persistently; `*out`: what was applied there. */
void member_cover(struct prop_member *m, struct vv *out);
/* Collects garbage, as far as these horizons allow. */
void member_collect(struct prop_member *m, const struct vv *stable, uint64_t lst, uint64_t now_ms);
/* All keys are settled. */
void member_settle(struct prop_member *m);

struct ks_key member_key(const char *name);

#endif
