/* The members of a group, the batches on their way between them, and what shows at each. */
#ifndef TIERRA_TESTS_PROP_PROP_GROUP_NET_H
#define TIERRA_TESTS_PROP_PROP_GROUP_NET_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"

#include "tests/prop/prop_group_member.h"

#define NET_MEMBERS_MAX 4

struct oracle;

/* One batch, on its way to everybody. */
struct parcel {
    struct buf bytes;
    unsigned from;
    bool at[NET_MEMBERS_MAX]; /* It was applied there. */
};

struct net;
struct net_end {
    struct net *net;
    unsigned from;
};

struct net {
    unsigned members;
    unsigned loads_small; /* A bit for each member (prop_group_member.h). */
    bool causal;          /* Else a batch is taken although what it has seen is missing. */
    struct prop_member member[NET_MEMBERS_MAX];
    struct net_end end[NET_MEMBERS_MAX];
    struct parcel *parcels;
    size_t parcels_count;
    struct oracle *oracle; /* Hears of every batch; may be NULL. */
};

/* Makes and opens members with the origins 1, 2, ... */
void net_open(struct net *n, unsigned members);
void net_close(struct net *n);

/* One batch to one member; false if it is not its turn there. */
bool net_deliver(struct net *n, struct parcel *p, unsigned to);
/* Everything to everybody. */
void net_deliver_all(struct net *n);

/* Everybody has everything: collects garbage at some members, by the bits of `who`. */
void net_collect(struct net *n, unsigned who);

/*
 * Replaces `out` by what the key is at this member: type number, colon, and values, or names and
 * values in the order of names, each with a comma; @ and the time if it expires. Nothing if it is
 * absent.
 */
void net_show(struct prop_member *m, const struct ks_key *key, uint64_t now_ms, struct buf *out);

#endif
