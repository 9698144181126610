/*
 * The inside of the core, shared by the files that implement it: core.c (origins, peers, inputs),
 * core_in.c (what comes from peers), core_out.c (what goes to them), core_horizon.c (what all
 * have), core_log.c (positions in the log: durability, trim, retention), core_clock.c (clocks),
 * core_sync.c and core_give.c (rows instead of logs), core_resync.c (when a member that has rows
 * needs that), core_room.c (who has no room). Not for users of core.h.
 */
#ifndef TIERRA_REPLICATION_GROUP_CORE_IMPL_H
#define TIERRA_REPLICATION_GROUP_CORE_IMPL_H

#include "engine/base/buf.h"
#include "engine/base/list.h"

#include "replication/group/core.h"

#define ORIGINS_MAX VV_ORIGINS_MAX
#define PEERS_MAX   CORE_PEERS_MAX
#define ORIGIN_NONE 0xffu
#define SYNCS_MAX   1024u /* Records that are not durable yet, at most; thinned beyond. */
#define HISTORY_MAX 128u
#define ACKS_MAX    8u
#define SAMPLES_MAX 8u
/* Batches; a power of two. 16 ms between syncs at 1,000,000/s. */
#define TAIL_MAX 16384u

/* A batch that waits for what it depends on, or for room. */
struct parked {
    struct list_link link;
    struct pos pos;
    uint8_t from; /* The peer that sent it. */
    size_t len;
    uint8_t bytes[];
};

/* One origin's history as it is known here. */
struct origin {
    uint8_t origin;
    struct pos applied;
    struct pos durable;
    struct pos queued; /* The last in the queue; applied, if it is empty. */
    struct list queue; /* struct parked, consecutive from applied.seq + 1 on. */
    size_t queue_bytes;
    size_t refused_bytes;   /* Of the next batch, which found no room in the queue; 0: none did. */
    uint64_t progress_ms;   /* When queued last moved, or nothing was missing. */
    bool freezing;          /* It is to be, when the rows of a copy allow it (core_seal.c). */
    bool frozen;            /* Nothing of it is taken. */
    uint64_t stranded_ms;   /* Since when that waits for what no log brings; 0: it does not. */
    uint64_t relay_wait_ms; /* For an answer; grows until one comes. */
    unsigned relay_last;    /* Index of the peer that was asked last. */
};

/* What we asked a peer for. */
struct stream_in {
    bool active;
    uint32_t generation;
    uint64_t next_seq;
    uint64_t to_seq;
};

/* What a peer asked us for. */
struct stream_out {
    bool active;
    bool verify; /* The batch before the first is to be read too, for its HLC. */
    uint32_t generation;
    uint64_t next_seq;
    uint64_t to_seq;
    uint64_t prev_hlc; /* Of next_seq - 1; 0: not known. */
};

/* An ACK that waits for the batches before it. */
struct ack {
    uint64_t as_of_seq;
    struct posv durable;
};

struct heard {
    uint64_t seq;
    uint64_t hlc;
};

/* The wall clock of a peer. */
struct sample {
    int64_t difference_ms; /* It minus our monotonic clock, */
    uint64_t rtt_ms;       /* wrong by half of this at most. */
};

/* A copy for a peer. */
struct sync_out {
    bool open;
    bool busy;    /* The host is at work. */
    bool awaited; /* An answer is, on this link, */
    bool again;   /* to something else than what is being read. */
    bool ended;   /* The last piece was sent. */
    uint32_t id;
    uint32_t turn; /* Of what was asked for last. */
    uint32_t flush;
    uint64_t asked_ms; /* The last time that rows were asked for, */
    uint64_t alive_ms; /* and the last sign that they will be. */
    struct posv at;
    struct posv newest;
    struct wire_sync_range range; /* What was asked for last; its sums stand in `sums`. */
    struct buf sums;
    struct buf after;
};

/* A copy for us. */
struct sync_in {
    bool wanted;
    bool resync;  /* We have rows, and join what comes to them. */
    bool anew;    /* Of what we have a peer has all: its rows take the place of ours. */
    bool entered; /* The host has put own rows aside: it goes on to its end. */
    bool begun;   /* The host has put nothing aside but what belongs to `vector`. */
    bool storing; /* The host is at work, */
    bool stale;   /* on what a flush has overtaken. */
    bool last;
    bool has_vector;    /* Something of the checkpoint has come: `vector` and `newest` are its. */
    bool ending;        /* The host is to make it the only thing, */
    uint64_t let_go_ms; /* and nobody shall read what it keeps any more, since then; 0: yet. */
    bool lost;          /* The link over which the donor was asked last is gone, */
    uint64_t lost_ms;
    uint8_t donor; /* 0: none. */
    unsigned donor_last;
    uint32_t id;   /* Of the checkpoint that is asked for: the first of a start is random. */
    uint32_t turn; /* How often anything was. */
    uint64_t heard_ms;
    uint64_t said_ms;             /* The last time that the donor was told anything. */
    unsigned failed;              /* Attempts that came to nothing, one after another: */
    uint64_t retry_ms;            /* nothing is begun before. */
    unsigned patience;            /* The next timeout is so many times doubled. */
    struct wire_sync_range range; /* What is asked for; its sums stand in `sums`. */
    struct buf sums;
    struct buf after;
    struct posv vector;
    struct posv newest;
};

struct peer {
    uint8_t origin;
    uint8_t state; /* enum core_link_state */
    uint8_t reason;
    unsigned index; /* Of its origin. */
    uint64_t incarnation;
    uint64_t parked_until_ms;
    uint64_t rx_ms; /* Last frame. */

    /* The connection. */
    struct stream_in in[ORIGINS_MAX];
    struct stream_out out[ORIGINS_MAX];
    uint64_t credit;        /* Total that we may send. */
    uint64_t sent;          /* Bytes of BATCHES, */
    uint64_t sent_unpacked; /* their bodies before compression, */
    uint64_t sent_batches;  /* and what was in them. */
    uint64_t consumed;      /* Bytes of BATCHES received. */
    uint64_t granted;
    uint64_t fetch_id; /* 0: none under way. */
    unsigned fetch_index;
    uint64_t fetch_retry_ms;
    bool ack_due;
    uint64_t ack_sent_ms;
    uint64_t heartbeat_sent_ms;
    uint64_t echo_ms;
    uint64_t echo_at_ms;

    /* The member. */
    struct posv durable; /* By its last ACK or HELLO. */
    struct posv vouched; /* By those whose rows we took: it had acknowledged that to them. */
    struct posv trimmed;
    struct posv usable; /* By its last ACK that counts. */
    struct ack acks[ACKS_MAX];
    unsigned acks_count;
    struct heard heard[ACKS_MAX];
    unsigned heard_count;
    uint64_t heard_hlc;
    uint64_t promised_hlc; /* By its last heartbeat, whether or not that counts yet. */
    struct sample samples[SAMPLES_MAX];
    unsigned samples_count; /* Ever; the ring holds the last ones. */
    struct sync_out sync_out;
    uint64_t batches_in;
    uint64_t relayed_in;
    struct posv floor;
    uint64_t behind_seq;
    bool met;         /* Has said, since our start, what it has of us, and of itself, */
    bool took;        /* and gone on: we have what we acknowledged to it. */
    bool behind;      /* The log may go without it, */
    bool has_floor;   /* but for what is behind `floor`: of a copy that it is given. */
    bool self_behind; /* It has trimmed what we need, up to behind_seq. */
    bool full;        /* It has no room for batches, by its last heartbeat on this link. */
};

/* A record that is not durable yet. */
struct sync {
    uint64_t lsn;
    unsigned index;
    struct pos pos;
};

/* A remembered position of the log. */
struct moment {
    uint64_t lsn;
    uint64_t bytes;
    uint64_t at_ms;
    struct posv at;
};

struct tail_item {
    struct pos pos;
    size_t len;
    uint8_t *bytes;
};

/* The last frame from the tail, for the next peer that is as far. */
struct shared_frame {
    uint64_t first_seq; /* 0: there is none. */
    uint64_t end_seq;
    uint64_t epoch;
    uint64_t prev_hlc; /* Of the batch before it, */
    uint64_t last_hlc; /* and of its last one. */
    size_t unpacked_bytes;
    struct buf bytes;
};

/* What all members have, together with all that was made without it (core_horizon.c). */
struct firm {
    struct vv now;
    bool waits;
    struct vv next;  /* It will be `now` */
    struct vv needs; /* when all peers have acknowledged this. */
};

struct core {
    struct core_options options;
    const struct core_host *host;
    void *ctx;
    struct core_time now;
    struct members members;
    uint32_t flush;
    uint8_t self_state; /* enum member_state */

    struct origin origins[ORIGINS_MAX];
    unsigned origins_count;
    unsigned self; /* Index of our own; always 0. */
    struct vv applied_vv;
    struct peer *peers[PEERS_MAX];
    unsigned peers_count;

    uint64_t own_known; /* Highest own seq that a peer has. */
    bool own_lost;
    bool asking; /* core_return.c */
    uint64_t asked_ms;
    struct sync_in sync_in;
    struct posv newest; /* Rows of a copy may hold what is up to here; empty: we have all that. */
    uint64_t stuck_ms;  /* Since when no log has what we lack; 0: it is not so. */
    enum core_room room;
    uint64_t no_room_ms;        /* Since when there is none; 0: there is. */
    enum core_wait resync_wait; /* As of the last tick. */
    bool forked;
    bool went_back;
    bool fenced;       /* By skew: */
    bool fenced_ahead; /* our clock is ahead. */
    bool warned;
    bool clock_known;
    bool clock_doubted; /* The wall clock is not what we go by. */
    bool blocked;       /* can_apply said no. */
    uint64_t checked_ms;
    int64_t wall_ms;   /* The wall clock minus the monotonic one; */
    int64_t clock_ms;  /* what we go by minus the monotonic one; the lease, not clock_known. */
    uint64_t heard_ms; /* When a peer's clock was known the last time, or ours not in doubt. */

    uint64_t applied_lsn;
    uint64_t durable_lsn;
    uint64_t covered_lsn;
    struct posv covered;
    struct firm firm;
    struct sync syncs[SYNCS_MAX]; /* A ring. */
    unsigned syncs_first;
    unsigned syncs_count;

    uint64_t log_bytes; /* Appended since the core was made. */
    struct moment history[HISTORY_MAX];
    unsigned history_count;
    uint64_t history_step;
    struct posv trimmed;

    struct tail_item tail[TAIL_MAX]; /* A ring by seq. */
    uint64_t tail_first;             /* Seq of the first; 0: empty. */
    uint64_t tail_end;               /* Seq after the last. */
    size_t tail_bytes;
    struct shared_frame shared;

    uint64_t fetch_last;
    struct pack *pack;
    struct wire_writer writer;
    struct buf scratch; /* Expanded bodies. */
    struct buf batch;
    struct buf frame;
};

/* --- core.c --- */

/* ORIGIN_NONE if it is not known. */
unsigned core_origin_find(const struct core *core, uint8_t origin);
/* Index, made if need be; ORIGIN_NONE: too many. */
unsigned core_origin_get(struct core *core, uint8_t origin);
struct peer *core_peer_find(const struct core *core, uint8_t origin);
void core_event(struct core *core, uint8_t kind, const struct peer *peer, uint64_t detail);

/* Sends what stands in core->frame, which is empty afterwards. */
void core_send(struct core *core, struct peer *peer);

/* Ends a link, with a BYE that says why, and refuses it for a while. */
void core_park(struct core *core, struct peer *peer, uint8_t reason, uint64_t detail);

/* Why a link ends over an error of wire.h; no error of ours is the peer's. */
uint8_t core_reason_of(int err);

/* The core forgets the connection. */
void core_disconnected(struct core *core, struct peer *peer);

/* A record was logged and applied. */
void core_note_record(struct core *core, unsigned index, uint64_t lsn, struct pos pos, size_t len);

/* Whether the logs have caught up with the rows of a copy. */
void core_check_newest(struct core *core);

/* A peer has `pos` of us. False: it has another history. */
bool core_note_own(struct core *core, const struct peer *peer, struct pos pos);

/* --- core_in.c --- */

void core_on_batches(struct core *core, struct peer *peer, const struct wire_frame *frame,
                     size_t frame_len);
/* Applies what waits and can be applied. */
void core_drain(struct core *core);
/* Asks for what is missing. */
void core_plan(struct core *core);
void core_queue_clear(struct origin *origin);
/* So far in the future that our HLC must not follow: a clock is wrong. */
bool core_is_ahead(const struct core *core, uint64_t hlc);
void core_on_nack(struct core *core, struct peer *peer, const struct wire_nack *nack);

/* --- core_out.c --- */

void core_tail_add(struct core *core, const struct core_record *record);
void core_tail_clear(struct core *core);
/* Seq of the first batch in memory from `seq` on, and its HLC; 0: there is none. */
uint64_t core_tail_first(const struct core *core, uint64_t seq, uint64_t *out_hlc);
void core_on_request(struct core *core, struct peer *peer, const struct wire_request *request);
/* Sends what the peer asked for, as far as credit and durability allow. */
void core_pump(struct core *core, struct peer *peer);
void core_pump_all(struct core *core);

/* --- core_horizon.c --- */

void core_on_ack(struct core *core, struct peer *peer, const struct wire_ack *ack);
void core_on_heartbeat(struct core *core, struct peer *peer, const struct wire_heartbeat *hb);
void core_send_ack(struct core *core, struct peer *peer);
void core_send_heartbeat(struct core *core, struct peer *peer);

/* --- core_sync.c --- */

void core_on_sync_rows(struct core *core, struct peer *peer, struct bytes body);
void core_sync_tick(struct core *core);
void core_sync_overtaken(struct core *core);
/* An attempt has come to nothing: the next one waits, each time longer. */
void core_sync_back_off(struct core *core);
/* What is asked for first. */
void core_sync_first_range(struct core *core);
/* It is linked, and has what a copy is made of. */
bool core_sync_is_donor(const struct core *core, const struct peer *peer);
/* More than so many timeouts of a link have gone by. */
bool core_sync_over(const struct core *core, uint64_t since_ms, unsigned timeouts);

/* --- core_give.c --- */

/* False: damaged. */
bool core_on_sync_ask(struct core *core, struct peer *peer, struct bytes body);
/* The link is down: what was asked for over it, by either side, does not come. */
void core_sync_link_down(struct core *core, struct peer *peer);
/* The peer has said what it has: perhaps all of its copy. */
void core_sync_acked(struct core *core, struct peer *peer);
/* Drops the checkpoint that the peer is given, or those of all, or of those who give no sign. */
void core_sync_close(struct core *core, struct peer *peer);
void core_sync_close_all(struct core *core);
void core_sync_close_idle(struct core *core);
/* Some peer is being given a copy. */
bool core_sync_giving(const struct core *core);

/* --- core_return.c --- */

/* Ends the wait for peers after a start, when it is time. */
void core_return_tick(struct core *core);
/* The peer has other batches of ours. */
void core_forked(struct core *core, const struct peer *peer);
/* The peer, which has greeted, refuses us because we lack what we had acknowledged (wire_lost). */
void core_went_back(struct core *core, const struct peer *peer, uint64_t detail);
/* A new peer: what it had acknowledged before our start. */
void core_return_peer(const struct core *core, struct peer *peer);
/* What a member knows whose rows we take. */
void core_return_vouched(struct core *core, const struct core_acked *acked);
/* A peer that greets with `durable` has all that it is known to have acknowledged. */
bool core_return_has_all(const struct peer *peer, const struct posv *durable);
/* wire_lost of a peer that has only `durable` now. */
uint64_t core_what_it_lost(const struct peer *peer, const struct posv *durable);

/* --- core_seal.c --- */

/* What is agreed of a member: its history has an end, or goes on. */
void core_seal(struct core *core, const struct member *member);
/* Freezes what could not be frozen yet. */
void core_seal_tick(struct core *core);
/* Our rows hold what only a member had that is to be unlinked, and is not there to give the rest.
 */
bool core_seal_stranded(const struct core *core);
/* Rows of the peer that hold what is up to `newest` reach into no history beyond its end. */
bool core_seal_allows(const struct core *core, const struct peer *peer, const struct posv *newest);

/* --- core_resync.c --- */

/* Begins a resync if there is no other way. */
void core_resync_check(struct core *core);
/*
 * Whether a peer is given a copy although we wish for one: if it may not be kept waiting we put
 * our wish off, if we can. `entered`: it cannot; then it is given what we have kept, if we cannot
 * either.
 */
bool core_resync_yield(struct core *core, const struct peer *asker, bool entered);
/* No other member could give anything, now or later. */
bool core_resync_is_alone(const struct core *core);
/* Whether the peer can give us something that no log gives us; or rows instead of ours. */
bool core_resync_helps(const struct core *core, const struct peer *peer);
/* Whether rows of such a checkpoint can take the place of ours. */
bool core_resync_replaces(const struct core *core, const struct peer *peer,
                          const struct wire_sync_rows *rows);
/* What we have, raised by what the rows have that were joined to ours. */
void core_resync_adopt(struct core *core, const struct posv *at);

/* --- core_room.c --- */

/* A resync that has waited in vain is given up. */
void core_room_tick(struct core *core);
/* What a peer says of its room. */
void core_room_heard(struct core *core, struct peer *peer, bool full);
/* A resync that has not begun to change anything is given up (core_resync.c). */
void core_resync_put_off(struct core *core);
/* A wish that came to nothing so far: for an exchange instead of a resync, or the reverse, if that
 * is needed and somebody could give it. */
void core_resync_turn(struct core *core);

/* --- core_log.c --- */

void core_log_init(struct core *core);
/* The first time that is known. */
void core_log_start(struct core *core, uint64_t now_ms);
/* The log begins here: what was applied so far has not passed through it. */
void core_log_reset(struct core *core);
void core_log_note(struct core *core, unsigned index, uint64_t lsn, struct pos pos, size_t len);
void core_log_durable(struct core *core, uint64_t lsn);
/* What is durable here, of all origins. */
void core_durable_posv(const struct core *core, struct posv *out);
void core_applied_posv(const struct core *core, struct posv *out);
uint64_t core_log_trim(struct core *core);
/* Marks peers that are beyond the retention. */
void core_log_check(struct core *core);
/* The peer has said what it has: the log may reach back to that again. */
void core_log_acked(struct core *core, struct peer *peer);
void core_log_info(const struct core *core, const struct peer *peer, struct core_peer_info *out);

/* --- core_clock.c --- */

void core_clock_sample(struct core *core, struct peer *peer, const struct wire_heartbeat *hb);
void core_clock_check(struct core *core);
/* The clock of a peer minus our wall clock; false if it is not known. */
bool core_clock_offset(const struct core *core, const struct peer *peer, int64_t *out_ms,
                       uint64_t *out_rtt_ms);

#endif
