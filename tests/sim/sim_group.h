/*
 * A whole replication group in one process, for the core of replication/group.
 *
 * Real: the core, the frames on the wire, rows and ops of engine/value. Simulated, from one seed:
 * time, clocks, the network, the log, the store, and everything that goes wrong with them. Each
 * member holds a few keys as rows in memory, and does with them what a shard does: local batches
 * with contexts, a log that is synced late, a store that is complete up to a position that lags,
 * replay after a crash, garbage collection by the horizons of the core.
 *
 * What a run must end with is said by the oracle of the value code (tests/prop), which knows
 * nothing of rows, frames or members, only the history of changes.
 */
#ifndef TIERRA_TESTS_SIM_SIM_GROUP_H
#define TIERRA_TESTS_SIM_SIM_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/list.h"
#include "engine/base/rng.h"

#include "engine/value/listpos.h"

#include "replication/group/core.h"

#include "tests/prop/prop_value_sim.h"

#define GS_MEMBERS_MAX 5
#define GS_PAIRS_MAX   10
#define GS_LOG_MAX     2048
/*
 * In some runs one list, in others two keys that are lists and other types by turns:
 * behind the other rows the key row of each, those of all positions, then those of elements of
 * other types.
 */
#define GS_LIST_KEY  SIM_KEYS
#define GS_LISTS_MAX 2
/*
 * In other runs one key is a string in chunks, for the most part: behind the other rows its key
 * row, those of elements, then those of its chunks, of which only the first bits are ever set.
 */
#define GS_BITS_KEY         (SIM_KEYS + GS_LISTS_MAX)
#define GS_KEYS_MAX         (GS_BITS_KEY + 1)
#define GS_CHUNKS           4
#define GS_CHUNK_BITS       64u
#define GS_BITS_ROWS        (1 + SIM_TYPES * SIM_SUBS + GS_CHUNKS)
#define GS_PARTS_MAX        8  /* Of one batch, as they are meant, */
#define GS_PART_OPS_MAX     16 /* and as they are told. */
#define GS_POSITIONS_MAX    64
#define GS_POSITIONS_ALONE  48 /* Where there is one list: its last rows. */
#define GS_LIST_ROWS        (1 + GS_POSITIONS_MAX + SIM_TYPES * SIM_SUBS)
#define GS_ROWS_MAX         (SIM_ROWS + GS_LISTS_MAX * GS_LIST_ROWS)
#define GS_LIST_CHANGES_MAX 12 /* Of one batch, */
#define GS_LIST_VALUES_MAX  6  /* of these with a new value. */
#define GS_ORIGIN(i)        ((uint8_t)((i) + 1))
#define GS_INDEX(o)         ((unsigned)(o)-1)
#define GS_MS               1000u /* Time is in microseconds. */
#define GS_HOUR_MS          3600000
#define GS_WALL_MS          (4 * GS_HOUR_MS) /* When a run begins. */

/* How the rules are broken on purpose. */
enum gs_fault {
    GS_SOUND,
    GS_NOT_CAUSAL,    /* Batches say that they have seen nothing. */
    GS_EAGER_LOSERS,  /* Losing values are dropped at once. */
    GS_EAGER_FLOORS,  /* Floors are dropped at once. */
    GS_ACK_EARLY,     /* What others sent counts as durable before it is. */
    GS_SHIP_EARLY,    /* What was made here counts as durable before it is. */
    GS_OWN_CLOCK,     /* Expired rows are dropped by the own clock. */
    GS_EMPTY_COPY,    /* A new member throws away the rows of its copy. */
    GS_KEEP_FLUSHED,  /* Batches from before a flush are merged all the same. */
    GS_SEAL_OF_SOME,  /* A history ends where the first who was asked has it. */
    GS_ACK_OVERTAKES, /* An ACK counts before the batches that were made before it. */
    GS_KEEP_REMOVED,  /* A resync keeps what either side has, whatever the other has seen. */
    GS_ALL_ALIKE,     /* Whoever is asked says that all rows are the same. */
    GS_BLIND_CLOCK,   /* HLC and lease follow the wall clock, whatever it says. */
    GS_LEAVE_EARLY,   /* Who leaves does not wait until all have what it has. */
    GS_FORGET_RUNS,   /* Positions of a list are made from the elements that are there alone. */
    GS_HALF_MOVE,     /* What moves from list to list is not removed where it was. */
    GS_LEAVE_OLD,     /* A list says nothing of what it takes the place of. */
    GS_EAGER_TYPES,   /* What a key is beside what it shows is dropped at once. */
    GS_KEEP_PARTS,    /* A SET takes the string away that it has seen, but not changes of it. */
    GS_BITS_AGAIN,    /* A batch tells of one bit twice. */
    GS_EAGER_FOLD,    /* Bits go into the image at once, */
    GS_FOLD_TAGS,     /* or the image takes the greatest of their tags. */
    GS_EAGER_SWEEP,   /* Chunks go at once when the key row has no value of them. */
    GS_PART_BESIDE,   /* A part of a string is changed where a collection lost against it. */
    GS_VALUE_TIME,    /* EXPIRE of a string in chunks is one of its value, not of its generation. */
    GS_EAGER_TIMES,   /* Times of a generation go at once when the key row has no value of it. */
};

/* What a run is like; bits. */
enum gs_shape {
    GS_AS_IT_COMES = 0, /* The seed decides. */
    GS_HARSH = 1,       /* Faults and collection, many changes; the rest only if it is named: */
    GS_CRASHES = 2,
    GS_EXPIRES = 4,
    GS_JOINS = 8,
    GS_FLUSHES = 16,
    GS_UNLINKS = 32,
    GS_LAGS = 64,    /* A member is away for longer than the logs are kept. */
    GS_SHAPES = 128, /* All of them together, and one. */
    /* Only where they are named: */
    GS_LEAVES = 128, /* A member leaves in good order. */
    GS_STRINGS = 256 /* One key is a string in chunks, and none a list, whatever the seed. */
};

struct gs_record {
    uint64_t lsn;
    uint64_t seq;
    uint64_t hlc;
    uint8_t origin;
    unsigned batch; /* Index in the history. */
    struct buf bytes;
};

struct gs_row {
    struct buf mem;
    struct buf disk;
    uint64_t max_lsn;   /* Of the effects in mem. */
    uint64_t dirty_lsn; /* The lowest whose effect is not on disk; 0: none. */
};

/* A checkpoint that is made for a peer. */
struct gs_copy {
    bool open;
    uint32_t id;
    uint32_t flush;
    struct posv at;
    struct buf rows[GS_ROWS_MAX];
    struct wire_sync_range range; /* That rows are asked for of; its sums stand in `sums`. */
    struct buf sums;
};

struct gs_member {
    unsigned index;
    bool up;
    bool paused;
    bool refuses; /* can_apply says no. */
    int64_t skew_ms;
    int64_t step_ms; /* An hour, for a moment. */
    uint64_t life;   /* Counts restarts: events of an earlier life are void. */
    struct core *core;

    uint64_t hlc;
    uint64_t lease; /* Persisted: no batch after a restart is at or below. */
    uint64_t seq;
    struct gs_row rows[GS_ROWS_MAX];
    struct buf edited;

    /* The log; what was trimmed is gone from the front. */
    struct gs_record *log[GS_LOG_MAX];
    unsigned log_count;
    uint64_t next_lsn;
    uint64_t durable_lsn; /* Truly. */
    bool syncing;
    uint64_t sync_until;
    uint64_t stall_until; /* The disk does nothing before. */

    uint64_t covered_lsn;
    struct posv covered;
    struct core_acked acked; /* Persisted with the rows. */

    uint32_t flush;                        /* Persisted with the rows. */
    uint64_t epoch;                        /* Persisted, as the rest of what was agreed. */
    bool frozen;                           /* Takes nothing of the member that is to be unlinked. */
    bool answered;                         /* Has said what it has of it. */
    bool lacks;                            /* A joiner without its copy. */
    struct gs_copy copies[GS_MEMBERS_MAX]; /* For each peer. */
    bool resyncing;                        /* What comes is put aside: */
    struct buf aside[GS_ROWS_MAX];
    struct wire_sync_range sum; /* Of own rows, */
    struct buf sums;            /* and its sums. */
    struct buf differ;          /* Of its buckets; empty: no own rows are to follow. */
    struct buf put;             /* A piece of a copy on its way to the rows, */
    uint32_t put_flush;         /* of this flush epoch. */
    struct posv put_at;
    bool put_joins;
    struct posv put_newest;
    struct posv newest; /* Persisted with the copy. */
};

/* A position of a list. Its number says which row is its element, at all members. */
struct gs_position {
    struct listpos at;
    unsigned made; /* The batch that pushed it. */
};

struct gs_list {
    unsigned count;
    struct gs_position positions[GS_POSITIONS_MAX];
};

struct gs_list_change {
    uint8_t kind; /* OP_ELEM_SET, OP_ELEM_DEL, OP_DEL, OP_EXPIRE */
    uint8_t flags;
    unsigned key;
    unsigned position;
    unsigned value; /* None is written twice, but those that move or are copied. */
    uint64_t expire_at_ms;
    uint8_t target_type;
    struct tag target;
};

/* What a batch does to lists. */
struct gs_list_batch {
    unsigned count;
    struct gs_list_change changes[GS_LIST_CHANGES_MAX];
};

/* The elements of a list that a client sees, in their order. */
struct gs_list_shown {
    unsigned count;
    struct {
        unsigned position;
        unsigned value;
    } elems[GS_POSITIONS_MAX];
};

/* A change of one chunk. */
struct gs_part {
    uint8_t kind; /* OP_CHUNK, OP_BITS */
    uint8_t chunk;
    uint8_t first; /* BITS */
    uint8_t count; /* BITS; of the rest of an image, */
    uint64_t bits; /* which has GS_CHUNK_BITS of them, the most significant is the first. */
};

/* What a batch does to the content of a string in chunks; a change of the batch is its STRING. */
struct gs_bits_batch {
    struct tag generation;
    uint64_t len;                /* Of the string after the batch, */
    uint64_t content[GS_CHUNKS]; /* and what is to be in its chunks. */
    unsigned count;              /* As they were made, one after the other, */
    struct gs_part parts[GS_PARTS_MAX];
    unsigned ops_count; /* and what of them is told: no bit twice. */
    struct gs_part ops[GS_PART_OPS_MAX];
};

struct gs_frame {
    struct list_link link;
    bool fin; /* The end of the connection. */
    size_t len;
    uint8_t bytes[];
};

/* One direction of a connection. */
struct gs_way {
    struct list frames;
    size_t bytes;
    uint64_t last_at; /* Nothing arrives before what was sent earlier. */
    bool blocked;
    unsigned stalled; /* Arrivals that wait for the end of a block or pause. */
};

struct gs_pair {
    unsigned member[2];
    uint64_t epoch;       /* Of the connection; a cut one is void. */
    bool up[2];           /* As each side believes. */
    bool cut;             /* What is sent goes nowhere. */
    struct gs_way way[2]; /* From member[0], from member[1]. */
    uint64_t delay_us;
};

enum gs_event_kind {
    GS_TICK,
    GS_OP,
    GS_SYNC_START,
    GS_SYNC_DONE,
    GS_FETCH,
    GS_FLUSH,
    GS_COLLECT,
    GS_ARRIVE,
    GS_DIAL,
    GS_LINK_DOWN,
    GS_FAULT,
    GS_HEAL,
    GS_RESUME,
    GS_CLOCK_RIGHT,
    GS_RESTART,
    GS_CONTROL,
    GS_EMPTY,
    GS_JOIN,
    GS_OUTAGE,
    GS_SYNC_OPEN,
    GS_SYNC_READ,
    GS_SYNC_SUM,
    GS_SYNC_PUT,
    GS_SYNC_FINISH,
};

struct gs_event {
    uint64_t at;
    uint64_t order;
    uint8_t kind; /* enum gs_event_kind */
    unsigned a;
    unsigned b;
    uint64_t life;
    struct core_fetch fetch;
    uint32_t id;
};

struct gs_totals {
    uint64_t events;
    uint64_t batches;
    uint64_t lost;
    uint64_t crashes;
    uint64_t cuts;
    uint64_t relayed;
    uint64_t collected;
    uint64_t frames;
    uint64_t bytes;
    uint64_t trimmed;
    uint64_t copied;
    uint64_t unlinks;
    uint64_t joins;
    uint64_t flushes;
    uint64_t behind;
    uint64_t resyncs;
    uint64_t renewed;      /* Of these, rows that took the place of all own ones. */
    uint64_t unread;       /* Ranges of own rows that could not be read. */
    uint64_t brought_back; /* Members that are to be unlinked, as one waits for them. */
    uint64_t alike;
    uint64_t steps;           /* Of clocks, by an hour, */
    uint64_t stepped_batches; /* and what was made meanwhile. */
    uint64_t pushed;          /* Elements of lists, */
    uint64_t popped;          /* and what was removed of them, not with the key; */
    uint64_t moved;           /* from one list to the other, */
    uint64_t retyped;         /* and batches that made a list another type, or the other way. */
    uint64_t begun;           /* Strings in chunks, */
    uint64_t parts;           /* changes of their parts, */
    uint64_t folded;          /* rows of chunks whose bits went into the image, */
    uint64_t swept;           /* and those that went. */
};

struct gs {
    struct rng rng;
    enum gs_fault fault;
    bool trace;
    bool calm; /* No more ops and faults. */
    bool faults;
    bool crashes;
    bool expiry;
    bool hlls; /* Some values are HyperLogLogs. */
    bool many; /* Batches replace collections as a whole, and change two keys. */
    unsigned lists_count;
    bool retypes; /* Of these two, which other types take the place of. */
    bool bits;    /* There is a string in chunks, */
    bool lives;   /* which is rarely replaced, and its bits change more than its chunks; */
    bool former;  /* some of its changes are those of a former build. */
    bool collect;
    bool lags;
    uint64_t now; /* us */
    unsigned rows_count;
    unsigned members_count;
    struct gs_member members[GS_MEMBERS_MAX];
    unsigned pairs_count;
    struct gs_pair pairs[GS_PAIRS_MAX];
    struct gs_event *heap;
    unsigned heap_count;
    unsigned heap_cap;
    uint64_t order;
    uint64_t op_gap_us;
    uint64_t fault_gap_us;

    struct sim history; /* Only its batches: for the oracle. */
    struct gs_list_batch list_batches[SIM_BATCHES_MAX];
    struct gs_bits_batch bits_batches[SIM_BATCHES_MAX];
    unsigned positions_max;
    struct gs_list lists[GS_LISTS_MAX];
    bool lost[SIM_BATCHES_MAX];
    uint32_t flush[SIM_BATCHES_MAX];                    /* The epoch that it was made in. */
    unsigned made[GS_MEMBERS_MAX][SIM_BATCHES_MAX + 1]; /* Index + 1 by seq. */
    struct gs_totals totals;
    unsigned stepper;  /* The member whose clock is stepped. */
    unsigned unlinked; /* The member that is unlinked by force; members_count: none. */
    uint64_t unlink_at;
    bool leaves;         /* It is not by force: it leaves, */
    bool leaving;        /* and has been told; persisted, as what was agreed is, */
    uint32_t left_flush; /* and the flush epoch that the agreement names. */
    unsigned joiner;     /* The member that comes later; members_count: none. */
    uint64_t join_at;
    bool counted;    /* All know of it. */
    unsigned target; /* So many batches were made by then. */
    uint64_t sealed_seq;
    bool sealed; /* The seal is agreed. */

    char why[200]; /* What went wrong first. */
};

/* --- sim_group_run.c --- */

/* `shape`: bits of enum gs_shape. */
void gs_init(struct gs *gs, uint64_t seed, enum gs_fault fault, unsigned shape);
void gs_deinit(struct gs *gs);

/* The whole run: chaos, heal, quiet. False: gs->why tells. */
bool gs_run(struct gs *gs);

bool gs_chance(struct gs *gs, unsigned percent);
unsigned gs_pick(struct gs *gs, unsigned n);
uint64_t gs_between(struct gs *gs, uint64_t low, uint64_t high);
void gs_at(struct gs *gs, uint64_t delay_us, const struct gs_event *event);
void gs_fail(struct gs *gs, const char *format, ...) PRINTF_LIKE(2, 3);
void gs_trace(const struct gs *gs, const char *format, ...) PRINTF_LIKE(2, 3);

/* Whether the member is still in the group: one that leaves, until its end is agreed. */
static inline bool gs_counts(const struct gs *gs, unsigned index)
{
    return (index != gs->unlinked || (gs->leaves ? !gs->sealed : gs->now < gs->unlink_at)) &&
           (index != gs->joiner || gs->now >= gs->join_at);
}

static inline bool gs_has_key(const struct gs *gs, unsigned key)
{
    return key < SIM_KEYS + gs->lists_count || (key == GS_BITS_KEY && gs->bits);
}

static inline bool gs_is_list_key(unsigned key)
{
    return key >= GS_LIST_KEY && key != GS_BITS_KEY;
}

/* --- sim_group_check.c --- */

/* Memory of the cores and bytes in flight stay within what the options allow. */
void gs_check_bounds(struct gs *gs);
/* All members and the oracle agree on all keys, now and later. */
void gs_check_agreed(struct gs *gs);
/*
 * Everywhere the same rows are left, and no garbage in them. Their bytes may differ: what a value
 * had seen of a counter goes or stays, by the order in which horizons moved.
 */
void gs_check_collected(struct gs *gs);

/* --- sim_group_control.c --- */

/*
 * What agrees on membership, reduced to what the core sees of it: the survivors freeze the member's
 * history one by one, say what they have of it, and learn the seal one by one. One that leaves
 * writes no more, says itself where it ends when all have that, and the others learn it.
 */
void gs_control(struct gs *gs);
void gs_set_members(struct gs *gs, struct gs_member *m);

/* --- sim_group_member.c --- */

void gs_member_init(struct gs *gs, unsigned index);
void gs_member_deinit(struct gs_member *m);
/* From what is on disk. */
void gs_member_start(struct gs *gs, struct gs_member *m);
void gs_member_crash(struct gs *gs, struct gs_member *m);
void gs_member_tick(struct gs *gs, struct gs_member *m);
void gs_member_sync_start(struct gs *gs, struct gs_member *m);
void gs_member_sync_done(struct gs *gs, struct gs_member *m);
void gs_member_fetch(struct gs *gs, struct gs_member *m, const struct core_fetch *fetch);
void gs_member_flush(struct gs *gs, struct gs_member *m, bool all);
void gs_member_collect(struct gs *gs, struct gs_member *m);
/* What the member goes by: its wall clock, as far as the core believes it. */
uint64_t gs_clock_ms(const struct gs *gs, const struct gs_member *m);
/* What the member takes for the present: never behind its HLC. */
uint64_t gs_now_ms(const struct gs *gs, const struct gs_member *m);
struct bytes gs_key_row(struct gs_member *m, unsigned key);
struct bytes gs_elem_row(struct gs_member *m, unsigned key, unsigned type, unsigned sub);
struct bytes gs_list_row(struct gs_member *m, unsigned key, unsigned position);
struct bytes gs_chunk_row(struct gs_member *m, unsigned chunk);
void gs_show(const struct gs *gs, struct gs_member *m, unsigned key, uint64_t now_ms,
             struct sim_shown *out);
/* Logs and applies a batch; a local one is the history's last. */
uint64_t gs_member_log(struct gs *gs, struct gs_member *m, const struct batch *batch,
                       struct bytes bytes, unsigned index);

/* --- sim_group_copy.c --- */

void gs_copy_close(struct gs_member *m, unsigned peer);
void gs_copy_event(struct gs *gs, struct gs_member *m, const struct gs_event *e);
void gs_host_sync_open(void *ctx, uint8_t peer, uint32_t id);
void gs_host_sync_read(void *ctx, uint8_t peer, const struct wire_sync_ask *ask, size_t bytes_max);
void gs_host_sync_sum(void *ctx, uint16_t first);
void gs_host_sync_close(void *ctx, uint8_t peer);
void gs_host_sync_begin(void *ctx);
void gs_host_sync_put(void *ctx, struct wire_sync_rows *rows);
void gs_host_sync_finish(void *ctx, const struct posv *at, const struct posv *newest, bool joins);
struct gs *gs_of(struct gs_member *m);

/* --- sim_group_list.c --- */

/* A list that is being changed, in the history's next batch. */
struct gs_list_edit {
    struct gs *gs;
    struct gs_member *m;
    struct tag tag;
    struct gs_list_batch *batch;
    unsigned key;
    struct row_view view;       /* Of the key, as it was. */
    struct gs_list_shown shown; /* With what the change has pushed by now. */
    struct list_meta meta;      /* What the list remembers of positions, */
    struct list_meta older;     /* and the key row, where a list is made from nothing. */
    uint8_t flags;              /* Of its pushes. */
};

/* `m` makes a batch with `tag` that changes lists as `batch` says, and what else it says. */
void gs_list_open(struct gs *gs, struct gs_member *m, struct tag tag, struct gs_list_batch *batch,
                  unsigned key, struct gs_list_edit *out);
/* Nothing more can be pushed. */
bool gs_list_is_full(const struct gs_list_edit *e);
/* Pushes one element with that value, or up to three with new ones. */
void gs_list_push(struct gs_list_edit *e, bool front, unsigned value);
void gs_list_push_some(struct gs_list_edit *e);
void gs_list_drop(struct gs_list_edit *e, unsigned position);
void gs_list_del(struct gs_list_edit *e);
void gs_list_expire(struct gs_list_edit *e, uint64_t at_ms, struct tag target);
/* The first push of a list that was not there knows of no other. */
void gs_list_begin_anew(struct gs_list_edit *e);
/* A random change of what is a list, or nothing. */
void gs_list_change(struct gs_list_edit *e);
/* The ops of these changes, behind those of `batch`. Returns how many. */
unsigned gs_list_encode(const struct gs *gs, struct gs_member *m, const struct gs_list_batch *list,
                        struct sim_batch *batch);
/* The number of a position; GS_POSITIONS_MAX: it is not known. */
unsigned gs_list_find(const struct gs *gs, unsigned key, struct bytes position);

/* --- sim_group_list_show.c --- */

/* Of a key that may be a list. */
void gs_list_show(const struct gs *gs, struct gs_member *m, unsigned key, uint64_t now_ms,
                  struct sim_shown *out, struct gs_list_shown *out_elems);
/* The elements as if the key showed a list. */
void gs_list_elems(const struct gs *gs, struct gs_member *m, unsigned key,
                   struct gs_list_shown *out);
void gs_list_shown_add(const struct gs *gs, unsigned key, struct gs_list_shown *shown,
                       unsigned position, unsigned value);
/* The same from the history of changes, by definition. */
void gs_list_oracle(const struct gs *gs, unsigned key, uint64_t now_ms, struct sim_shown *out,
                    struct gs_list_shown *out_elems);

/* --- sim_group_retype.c --- */

/* A random change of keys that are lists and other types by turns. */
void gs_retype_change(struct gs *gs, struct gs_member *m, struct sim_batch *made,
                      struct gs_list_batch *list);

/* --- sim_group_bits.c --- */

/* A random change of the key that is a string in chunks, or is not. */
void gs_bits_change(struct gs *gs, struct gs_member *m, struct sim_batch *made,
                    struct gs_bits_batch *bits);
/* The ops of these parts, behind those of `batch`. Returns how many. */
struct op gs_bits_time_of_value(struct gs_member *m, const struct sim_batch *batch,
                                const struct op *op);
unsigned gs_bits_encode(const struct gs_bits_batch *bits, struct sim_batch *batch);
/* The member shows what its last batch was meant to make of the string. */
void gs_bits_check_made(struct gs *gs, struct gs_member *m, const struct gs_bits_batch *bits);
/* Breaks a rule on purpose: in `row`, the image takes the greatest tag of the bits of `unfolded`.
 */
void gs_bits_raise_image(struct bytes unfolded, const struct vv *stable, struct buf *row);
/* Appends what a member shows, if that is a string in chunks. */
void gs_bits_show(const struct gs *gs, struct gs_member *m, uint64_t now_ms, struct buf *out);
/* The same from the history of changes, by definition, if the key is a string in chunks. */
void gs_bits_oracle(const struct gs *gs, struct tag *out_generation, struct buf *out);

/* --- sim_group_ops.c --- */

/* In the near future or a little later. */
uint64_t gs_deadline(struct gs *gs, const struct gs_member *m);
/* A random change of a key, that does nothing to elements of a list. */
void gs_change_key(struct gs *gs, struct gs_member *m, struct sim_batch *batch, unsigned key);
/* One random local batch, if the core allows it. */
void gs_local_change(struct gs *gs, struct gs_member *m);

/* --- sim_group_net.c --- */

void gs_net_init(struct gs *gs);
void gs_net_deinit(struct gs *gs);
void gs_net_send(struct gs *gs, unsigned from, unsigned to, struct bytes bytes);
void gs_net_close(struct gs *gs, unsigned from, unsigned to);
/* `at`: index of the pair. */
void gs_net_arrive(struct gs *gs, unsigned at, unsigned side, uint64_t epoch);
void gs_net_dial(struct gs *gs, unsigned at);
void gs_net_cut(struct gs *gs, unsigned at);
void gs_net_link_down(struct gs *gs, unsigned at, unsigned side, uint64_t epoch);
void gs_net_block(struct gs *gs, unsigned at, unsigned side, bool blocked);
/* A member is gone or back from a pause. */
void gs_net_member_down(struct gs *gs, unsigned index);
void gs_net_member_resumed(struct gs *gs, unsigned index);

#endif
