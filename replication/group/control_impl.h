/*
 * The inside of control, for its own files; and what is stored, for the simulator too, which breaks
 * rules on purpose.
 */
#ifndef TIERRA_REPLICATION_GROUP_CONTROL_IMPL_H
#define TIERRA_REPLICATION_GROUP_CONTROL_IMPL_H

#include <string.h>

#include "engine/base/rng.h"

#include "replication/group/control.h"
#include "replication/group/control_msg.h"

#define CONTROL_JOINS_MAX        4u /* Nodes that wait here to be proposed; others ask again. */
#define CONTROL_STORED_BYTES_MAX (512u << 10)

/* How long until the next own proposal, each with a random part, lest all try at the same time: */
#define CONTROL_YIELD_MS         200u /* after one gave way to another's, */
#define CONTROL_YIELD_RANDOM_MS  800u
#define CONTROL_REJECT_MS        100u /* after one was rejected, */
#define CONTROL_REJECT_RANDOM_MS 400u
#define CONTROL_EPOCH_RANDOM_MS  50u /* in a new epoch. */

/* A group that was forced apart from ours, and is not heard of any more, may have been deleted. */
#define CONTROL_APART_MS 60000u

/* --- what is on disk: control_stored.c --- */

/*
 * One agreement about the next epoch. What is promised and accepted in a mode is independent of the
 * other mode. By force, it is for one set of members to unlink: another set starts anew.
 */
struct control_slot {
    struct control_ballot promised;
    struct control_ballot accepted;
    membership_set unlink; /* Whose histories were frozen for it. */
    struct buf value;      /* Accepted; empty: none. */
};

struct control_stored {
    uint64_t incarnation;
    uint64_t flush_epoch;
    bool leaving; /* Drained: our history ends at leave_seqs, whatever happens. */
    uint64_t leave_seqs[MEMBERSHIP_SHARDS_MAX];
    bool retiring; /* This incarnation is over, as soon as the others agree (control_replace.c). */
    struct membership members; /* The newest that is committed; epoch 0: none. */
    struct control_slot slots[CONTROL_MODES];
};

void control_stored_init(struct control_stored *stored);
void control_stored_deinit(struct control_stored *stored);
/* Replaces the content of `out`. 0, -ENOMEM or -ERR_LIMIT. */
MUST_USE int control_stored_encode(struct control_stored *stored, struct buf *out);
/* Into what is initialised. 0, -ERR_CORRUPT, -ERR_FORMAT, -ENOMEM. */
MUST_USE int control_stored_decode(struct bytes in, struct control_stored *out);

/* --- the state --- */

enum control_wish_kind {
    CONTROL_WISH_NONE = 0,
    CONTROL_WISH_LEAVE,
    CONTROL_WISH_UNLINK,
    CONTROL_WISH_ACTIVATE,
    CONTROL_WISH_JOIN,
    CONTROL_WISH_FINISH /* What others began. */
};

struct control_proposal {
    bool active;
    bool accepting; /* The second phase. */
    uint8_t mode;   /* enum control_mode */
    uint8_t wish;   /* enum control_wish_kind */
    unsigned join;  /* Which, if that is the wish. */
    membership_set unlink;
    membership_set freeze; /* control_freeze_set of it. */
    struct control_ballot ballot;
    uint64_t own_version; /* What we promised, or accepted, ourselves is durable from then on. */
    membership_set promised;
    membership_set positioned;
    membership_set accepted;
    struct control_ballot best; /* Of the value, if it is another's. */
    struct buf value;
    uint64_t started_ms;
    uint64_t sent_ms;
    unsigned sends; /* In this phase. */
    /* The highest positions, of those in `freeze`. */
    uint64_t *seqs[MEMBERSHIP_EVER_MAX];
};

/* What a member is to be answered once it is durable. */
struct control_debt {
    uint64_t version[CONTROL_MODES];
    bool promise[CONTROL_MODES];
    bool accepted[CONTROL_MODES];
    bool positions[CONTROL_MODES];
    membership_set set[CONTROL_MODES]; /* Of the positions. */
};

struct control_peer_seen {
    bool up;
    uint64_t since_ms;
    bool forked;
    uint64_t forked_ms; /* Last heard of it. */
    uint64_t heard_ms;  /* Last message of the member; 0: none. */
    char error[CONTROL_TEXT_BYTES];
};

struct control_entry {
    char name[MEMBER_NAME_BYTES];
    char address[MEMBERSHIP_ADDRESS_BYTES];
};

struct control {
    const struct control_host *host;
    void *ctx;
    struct rng rng;
    char nickname[MEMBERSHIP_NICKNAME_BYTES];
    struct control_entry linked[CONTROL_LINKED_MAX];
    bool holds_data;
    bool started;
    uint8_t self; /* Our origin; 0: none. */
    unsigned linked_count;
    unsigned own; /* Our entry. */
    struct membership_config config;

    uint64_t now_ms;
    struct control_stored stored;
    uint64_t version;       /* Of `stored`: counts changes. */
    uint64_t asked_version; /* Of the persist under way; 0: none. */
    uint64_t durable_version;
    uint64_t members_version; /* From then on the membership is durable. */
    uint64_t flush_version;
    uint64_t retire_version;
    uint8_t retire_at;      /* Who was asked last. */
    struct membership told; /* To the host. */
    uint64_t told_flush;

    struct control_debt debts[MEMBERSHIP_EVER_MAX];
    membership_set freezing; /* The host was asked. */
    membership_set frozen;   /* It has answered. */
    uint64_t *frozen_seqs[MEMBERSHIP_EVER_MAX];
    uint64_t unlinking_since_ms;

    struct control_proposal proposal;
    uint64_t highest_round; /* Seen in any ballot of this epoch. */
    uint64_t next_try_ms;
    unsigned turn; /* Among the wishes. */
    membership_set want_unlink;
    bool want_force; /* For those who are to be unlinked. */
    bool want_active;
    bool draining;
    bool drained; /* All members of this epoch have what is here. */
    struct control_join joins[CONTROL_JOINS_MAX];
    uint64_t joins_incarnation[CONTROL_JOINS_MAX]; /* 0: free. */
    uint64_t pending_since_ms[CONTROL_MODES];      /* When somebody last worked on what is begun. */
    uint64_t takeover_ms;                          /* With a random share. */
    membership_set waits_for;
    unsigned hellos;
    bool waits_positions; /* For all, or for a majority. */

    uint64_t seek_started_ms;
    uint64_t seek_next_ms;
    unsigned seek_at;
    bool group_seen; /* Somebody has a group: it is not founded again. */
    uint8_t refused;
    char refused_text[CONTROL_TEXT_BYTES];

    uint64_t hello_ms;
    struct control_peer_seen peers[MEMBERSHIP_EVER_MAX];

    /* Working space. */
    struct membership draft;
    struct membership incoming;
    struct buf out;
    struct buf file;
};

/* --- control.c --- */

/* All that follows from what has just happened: the end of every input. */
void control_settle(struct control *control);

/* `stored` has changed: the version from which that is durable. */
uint64_t control_dirty(struct control *control);
void control_event(struct control *control, uint8_t kind, uint8_t reason, uint8_t origin,
                   uint64_t detail);

/*
 * Takes a committed membership that continues ours; what was under way for the old epoch is over.
 * `members` is not stored.members.
 */
void control_adopt(struct control *control, const struct membership *members);

/*
 * Whose positions are needed to unlink: with theirs those of all former members, since the only one
 * who had all of these may be among the unlinked.
 */
static inline membership_set control_freeze_set(const struct control *control,
                                                membership_set unlink)
{
    return unlink == 0 ? 0 : unlink | membership_ended(&control->stored.members);
}

static inline bool control_is_live(const struct control *control)
{
    return control->self != 0 && membership_live(&control->stored.members.at[control->self - 1]);
}

/* Into CONTROL_TEXT_BYTES, cut if need be. */
static inline void control_text_cut(char *out, const char *text)
{
    const size_t len = size_min(strlen(text), CONTROL_TEXT_BYTES - 1);

    memcpy(out, text, len);
    out[len] = '\0';
}

/* --- control_gossip.c --- */

/* Fills the head. */
void control_msg_begin(const struct control *control, struct control_msg *msg, uint8_t kind);
void control_send(struct control *control, const char *address, const struct control_msg *msg);
void control_send_value(struct control *control, const char *address);
void control_send_refuse(struct control *control, const char *address, uint8_t reason,
                         const char *text);
void control_gossip_tick(struct control *control);

/* --- control_join.c --- */

void control_seek_tick(struct control *control);
void control_on_join(struct control *control, const char *from, const struct control_msg *msg);
void control_on_refuse(struct control *control, const struct control_msg *msg);
/* CONTROL_OK, or why the node cannot be let in now, with a text of CONTROL_TEXT_BYTES. */
uint8_t control_judge_join(struct control *control, uint64_t incarnation,
                           const struct control_join *join, char *text);

/* --- control_replace.c --- */

void control_retire_tick(struct control *control);
void control_on_retire(struct control *control, uint8_t origin);
/*
 * Whether the node that asks is the member of its name, without its data. Then it is on the way
 * in, and `text` says how.
 */
bool control_replaces(struct control *control, const struct control_join *join, char *text);

/*
 * Whether control->incoming can be the value of an agreement about the next epoch, in that mode:
 * only by force a lineage begins.
 */
static inline bool control_is_next(const struct control *control, uint8_t mode)
{
    const struct membership *now = &control->stored.members;
    const struct membership *next = &control->incoming;

    return membership_compare(now, next) == MEMBERSHIP_OLDER && next->epoch == now->epoch + 1 &&
           next->forks_count == now->forks_count + (mode == CONTROL_BY_FORCE ? 1 : 0);
}

/* --- control_accept.c: the acceptor --- */

void control_on_prepare(struct control *control, uint8_t origin, const struct control_msg *msg);
void control_on_accept(struct control *control, uint8_t origin, const struct control_msg *msg);
/* Notes whose histories are to end. */
void control_note_unlink(struct control *control, uint8_t mode, membership_set unlink);
void control_pay(struct control *control);
/* Forgets what belongs to the epoch that is over. */
void control_accept_reset(struct control *control);

/* --- control_propose.c: the proposer --- */

void control_propose_tick(struct control *control);
void control_on_promise(struct control *control, uint8_t origin, const struct control_msg *msg);
void control_on_positions(struct control *control, uint8_t origin, const struct control_msg *msg);
void control_on_accepted(struct control *control, uint8_t origin, const struct control_msg *msg);
void control_on_reject(struct control *control, const struct control_msg *msg);
void control_propose_end(struct control *control, uint64_t wait_ms);
/* Whether those who stay can decide without force. */
bool control_majority_stays(const struct control *control, membership_set unlink);

#endif
