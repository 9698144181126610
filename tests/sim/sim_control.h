/*
 * One to seven nodes that agree on who is a member, in one process, for replication/group/control.
 *
 * Real: control with its messages and its stored state. Simulated, from one seed: time, a network
 * that delays, loses, doubles, reorders and is cut, disks that finish late, crashes that take back
 * what was not finished, operators that unlink, flush and leave at several nodes at once, unlinked
 * nodes that are deleted and recreated; and of the data only how far each node has each history.
 */
#ifndef TIERRA_TESTS_SIM_SIM_CONTROL_H
#define TIERRA_TESTS_SIM_SIM_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/rng.h"

#include "replication/group/control_impl.h"

#define CS_NODES_MAX  7u
#define CS_SHARDS     2u
#define CS_EPOCHS_MAX 1024u

/* How the rules are broken on purpose. */
enum cs_fault {
    CS_SOUND,
    CS_LOST_ACCEPTS,  /* What was accepted is not on disk. */
    CS_LOST_PROMISES, /* What was promised is not. */
    CS_LOST_FREEZE,   /* Whose history is to end is not on disk. */
    CS_F_OF_SOME,     /* The end of a history is made from what some survivors have. */
};

struct cs;

struct cs_node {
    struct cs *cs;
    unsigned index;
    bool up;
    bool other_config;
    uint64_t life; /* Counts starts: events of an earlier life are void. */
    struct control *control;
    struct buf disk;
    struct buf writing;
    uint64_t writing_version;

    uint64_t pos[MEMBERSHIP_EVER_MAX][CS_SHARDS];
    membership_set frozen;
    uint64_t told_epoch; /* Frozen answers of an earlier one are void. */
    bool draining;
    uint64_t flush_epoch;

    uint64_t seen_epoch; /* Checked. */
    uint64_t seen_sum;
};

struct cs_epoch {
    uint64_t lineage;
    uint64_t epoch;
    uint64_t sum;
};

enum cs_event_kind {
    CS_TICK,
    CS_ARRIVE,
    CS_WRITTEN,
    CS_FROZEN,
    CS_DATA,
    CS_FAULT,
    CS_HEAL,
    CS_RESTART,
    CS_CRASH,
    CS_OPERATOR,
};

struct cs_event {
    uint64_t at;
    uint64_t order;
    uint8_t kind; /* enum cs_event_kind */
    unsigned a;
    unsigned b;
    uint64_t life;
    uint64_t detail;
    uint8_t *bytes; /* Of a message: owned. */
    size_t len;
};

struct cs_totals {
    uint64_t events;
    uint64_t epochs;
    uint64_t forks;
    uint64_t crashes;
    uint64_t joins;
    uint64_t unlinks;
    uint64_t leaves;
    uint64_t flushes;
    uint64_t refusals;
    uint64_t forks_seen;
};

struct cs {
    struct rng rng;
    enum cs_fault fault;
    bool trace;
    bool calm;
    uint64_t now; /* ms */
    unsigned nodes_count;
    struct cs_node nodes[CS_NODES_MAX];
    bool cut[CS_NODES_MAX][CS_NODES_MAX]; /* From, to. */
    unsigned loss_percent;
    unsigned double_percent;
    uint64_t delay_ms;
    uint64_t fault_gap_ms;
    uint64_t operator_gap_ms;
    unsigned force_percent;
    unsigned ambush_percent; /* Crashes right after a promise or an accept. */
    bool leaves;
    bool harsh;

    struct cs_event *heap;
    unsigned heap_count;
    unsigned heap_cap;
    uint64_t order;

    struct cs_epoch epochs[CS_EPOCHS_MAX];
    unsigned epochs_count;
    struct cs_totals totals;
    char why[240]; /* What went wrong first. */
};

/* --- sim_control_run.c --- */

/* `harsh`: more of everything that goes wrong, and of commands. */
void cs_init(struct cs *cs, uint64_t seed, enum cs_fault fault, bool harsh);
void cs_deinit(struct cs *cs);
/* Chaos, heal, quiet. False: cs->why tells. */
bool cs_run(struct cs *cs);

bool cs_chance(struct cs *cs, unsigned percent);
unsigned cs_pick(struct cs *cs, unsigned n);
uint64_t cs_between(struct cs *cs, uint64_t low, uint64_t high);
/* Takes the bytes of the event, if any. */
void cs_at(struct cs *cs, uint64_t delay_ms, const struct cs_event *event);
void cs_fail(struct cs *cs, const char *format, ...) PRINTF_LIKE(2, 3);
void cs_trace(const struct cs *cs, const char *format, ...) PRINTF_LIKE(2, 3);

/* --- sim_control_node.c --- */

void cs_node_init(struct cs *cs, unsigned index);
void cs_node_deinit(struct cs_node *node);
void cs_node_start(struct cs_node *node);
void cs_node_crash(struct cs_node *node);
/* Deleted and recreated. */
void cs_node_recreate(struct cs_node *node);
void cs_node_written(struct cs_node *node);
void cs_node_frozen(struct cs_node *node, uint8_t origin);
/* Writes, replication, full sync, drain: one step of some of it. */
void cs_node_data(struct cs_node *node);
void cs_node_operator(struct cs_node *node);
/* The node of an address, or CS_NODES_MAX. */
unsigned cs_node_of(const struct cs *cs, const char *address);

/* --- sim_control_check.c --- */

/* What must be true after each step, as far as the node is concerned. */
void cs_check_node(struct cs_node *node);
/* What must be true in the end. */
void cs_check_end(struct cs *cs);

#endif
