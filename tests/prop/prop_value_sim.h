/*
 * A group of replicas that hold a few keys as rows, for property tests of engine/value.
 *
 * Everything a real shard does with rows is done here with the public functions: local edits, ops
 * in batches, blind operands that wait and are joined in random groups, causal delivery over links
 * that are cut at random, acknowledgements, garbage collection, replay of the end of the log.
 *
 * The oracle (prop_value_oracle.c) knows nothing of rows: it has the list of all changes with their
 * contexts and decides for each by definition whether it is alive.
 */
#ifndef TIERRA_TESTS_PROP_PROP_VALUE_SIM_H
#define TIERRA_TESTS_PROP_PROP_VALUE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/rng.h"

#include "engine/value/op.h"
#include "engine/value/row.h"

#define SIM_REPLICAS    4
#define SIM_KEYS        3
#define SIM_COUNTER_KEY 2 /* Its elements are counters; it is never removed as a whole. */
#define SIM_TYPES       2 /* One with values, and sets. */
#define SIM_SUBS        2
#define SIM_VALUES      5
#define SIM_HLLS        4 /* Values behind these, HyperLogLogs of so many registers. */
#define SIM_REGISTERS   3
#define SIM_ROWS        (SIM_KEYS * (1 + SIM_TYPES * SIM_SUBS))
#define SIM_BATCHES_MAX 256
#define SIM_CHANGES_MAX 6 /* Of one batch: three of a key. */
#define SIM_PENDING_MAX 6
#define SIM_TEXT_BYTES  40

/* How the rules are broken on purpose. */
enum sim_fault {
    SIM_SOUND,
    SIM_EAGER_LOSERS,  /* Losing values are dropped at once. */
    SIM_EAGER_FLOORS,  /* Floors are dropped at once. */
    SIM_NOT_CAUSAL,    /* Batches are applied in the order of their origin only. */
    SIM_EAGER_EXPIRED, /* Expired rows are dropped by the own clock. */
    SIM_NO_NEW_RUNS    /* A run goes on after a DEL that has seen it. */
};

struct sim_change {
    struct op op;
    char key[4];
    char sub[4];
    char text[SIM_TEXT_BYTES]; /* Of the value, as a client sees it. */
    uint8_t value[SIM_TEXT_BYTES];
    size_t value_len;
    uint8_t registers[SIM_REGISTERS]; /* All 0: no HyperLogLog. */
    unsigned key_index;
    unsigned type_index; /* Of elements. */
    unsigned sub_index;
    long double delta;
};

/* A batch and, for the oracle, what it was meant to do. */
struct sim_batch {
    struct tag tag;
    struct vv ctx;
    unsigned changes_count;
    struct sim_change changes[SIM_CHANGES_MAX];
    struct buf bytes;
};

struct sim_slot {
    struct buf row;
    unsigned pending_count;
    struct buf pending[SIM_PENDING_MAX];
};

struct sim_ack {
    struct vv vv;
    unsigned made; /* How many own batches the sender had made. */
    uint64_t hlc;
};

struct sim_replica {
    uint8_t origin;
    uint64_t clock_ms; /* Skewed. */
    uint64_t hlc;
    struct vv vv;
    struct sim_slot slots[SIM_ROWS];
    unsigned made[SIM_BATCHES_MAX]; /* Own batches, by index. */
    unsigned made_count;
    unsigned applied[SIM_BATCHES_MAX]; /* In order of application. */
    unsigned applied_count;
    unsigned next[SIM_REPLICAS]; /* Of each origin's made. */
    struct sim_ack acks[SIM_REPLICAS];
    struct buf edited;   /* The row as the last local edit left it; empty: nothing to compare. */
    struct vv collected; /* The furthest stable vector that was used. */
    struct sim_run {
        uint64_t start;
        int64_t isum;
    } runs[SIM_KEYS]; /* The last own run of each key, for SIM_NO_NEW_RUNS. */
};

struct sim {
    struct rng rng;
    enum sim_fault fault;
    uint8_t types[SIM_TYPES]; /* Of collections: VT_HASH or VT_ZSET, VT_SET. */
    bool collect;
    bool expiry;
    bool cut[SIM_REPLICAS][SIM_REPLICAS];
    uint64_t now_ms;
    unsigned batches_count;
    struct sim_batch batches[SIM_BATCHES_MAX];
    struct sim_replica replicas[SIM_REPLICAS];
    uint64_t collected_rows;
};

/* What a client sees of one key. */
struct sim_shown {
    bool present;
    uint8_t type;
    uint64_t expire_at_ms;
    char text[SIM_TEXT_BYTES];
    bool elem_present[SIM_TYPES][SIM_SUBS];
    char elem_text[SIM_TYPES][SIM_SUBS][SIM_TEXT_BYTES];
};

void sim_init(struct sim *sim, uint64_t seed, enum sim_fault fault);
void sim_deinit(struct sim *sim);

/* One random thing happens. */
void sim_step(struct sim *sim);

/* Heals the links and delivers everything. */
void sim_quiesce(struct sim *sim);

/* Acknowledges everything and collects everywhere. */
void sim_collect_all(struct sim *sim);

void sim_show(struct sim *sim, unsigned index, unsigned key, uint64_t now_ms,
              struct sim_shown *out);

/* Later than everything that any replica has seen. */
uint64_t sim_end_ms(const struct sim *sim);

/* The key row at a replica, with all its operands folded. */
struct bytes sim_key_row(struct sim *sim, unsigned replica, unsigned key);

/* prop_value_change.c */

/* One more change of the batch. */
struct sim_change *sim_change_add(struct sim_batch *batch, unsigned key, uint8_t kind);
/* It is one of that element. */
void sim_change_elem(const struct sim *sim, struct sim_change *change, unsigned type, unsigned sub);
/* Its value is that of SIM_VALUES, or behind these of SIM_HLLS; of a sorted set, a score. */
void sim_change_value(struct sim_change *change, unsigned number);
/* Of the last of SIM_VALUES makes that, or one of SIM_HLLS; drawn from nothing but the tag. */
unsigned sim_value_or_hll(unsigned number, struct tag tag);
/* OP_COVER of an element op cannot say what was seen of counters: then a DEL must. */
bool sim_has_counters(struct bytes row);
/* What stands for a string in chunks: which one it is. */
void sim_generation_text(struct tag generation, char text[SIM_TEXT_BYTES]);
void sim_show_text(const struct row_view *view, char text[SIM_TEXT_BYTES]);
/* Of an element of a collection of `type`; false: it is not there. */
bool sim_show_elem(struct bytes row, uint8_t type, char text[SIM_TEXT_BYTES]);

/* prop_value_oracle.c */
void oracle_show(const struct sim *sim, unsigned key, uint64_t now_ms, struct sim_shown *out);

bool sim_shown_equal(const struct sim_shown *a, const struct sim_shown *b);
void sim_shown_print(const char *name, const struct sim_shown *shown);

#endif
