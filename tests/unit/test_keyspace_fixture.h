/*
 * What unit tests of a whole keyspace share beside prop_keyspace_core.h: sets, and their ways to
 * flash and back. Each test program includes this once.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_KEYSPACE_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_KEYSPACE_FIXTURE_H

#include <stdio.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/resident.h"

#include "replication/mutate.h"
#include "replication/oplog.h"

#include "tests/lib/tcase.h"
#include "tests/prop/prop_keyspace_core.h"

#define SECOND 1000000000ull

/* Members of a set, from "member:0" on, by one change. */
static UNUSED void add_some(struct core *c, const struct ks_key *key, unsigned count)
{
    char member[16];

    mut_begin(c->mut, NOW_MS);
    struct coll *coll = mut_coll(c->mut, key, VT_SET);
    for (unsigned i = 0; i < count; i++) {
        const int len = snprintf(member, sizeof(member), "member:%u", i);
        (void)mut_elem_set(c->mut, coll, bytes_of(member, (size_t)len), bytes_of(NULL, 0));
    }
    (void)mut_end(c->mut);
}

static UNUSED void delete (struct core *c, const struct ks_key *key)
{
    mut_begin(c->mut, NOW_MS);
    mut_del(c->mut, key);
    (void)mut_end(c->mut);
}

/* The store has everything. */
static void write_all_now(struct core *c)
{
    oplog_request_sync(c->log);
    while (ks_busy(c->ks) || oplog_durable_lsn(c->log) != oplog_applied_lsn(c->log))
        turn(c);
    ks_flush_point(c->ks, oplog_applied_lsn(c->log), mut_vv(c->mut));
    assert_int_equal(ks_flush_now(c->ks), 0);
}

/* 0, or why not. */
static UNUSED int load_whole(struct core *c, const struct ks_key *key)
{
    for (;;) {
        const int err = ks_need_whole(c->ks, key, &c->wait);
        if (err <= 0)
            return err;
        while (c->wait.pending != 0)
            turn(c);
        if (c->wait.err != 0)
            return c->wait.err;
    }
}

static uint64_t hot_bytes(const struct core *c)
{
    struct ks_sizes sizes;

    ks_sizes(c->ks, &sizes);
    return sizes.hot_bytes;
}

/* Everything is on flash only. */
static UNUSED void chill(struct core *c)
{
    write_all_now(c);
    for (int round = 0; hot_bytes(c) != 0; round++) {
        assert_in_range(round, 0, 100);
        (void)ks_demote_some(c->ks, UINT64_MAX, SECOND);
    }
}

#endif
