/*
 * The agreement about who is a member of the group, as a pure state machine of one node.
 *
 * No I/O, no clock, no thread, no global state: the node's control thread calls the functions below
 * with what happened and does what struct control_host says; so does tests/sim/sim_control, where
 * many nodes run in one process. CONTROL.md tells the rules, control_msg.h the bytes.
 *
 * Each change of the membership (membership.h) is the next epoch. Which change that is, is agreed
 * by single-decree Paxos among the active members of the epoch before: prepare, promise, accept,
 * accepted, commit, where a commit is the gossip of the newest membership. What is promised or
 * accepted is on disk before it is said.
 *
 * - Founding. The node whose name comes first in the list of linked databases founds the group,
 *   once the others had `found_ms` to say that there is one already. All others ask one member
 *   after the other to be added, until they are told that they are, or that they cannot be.
 * - Unlinking. Prepare also says whose history is to end: every survivor takes nothing of it any
 *   more, and when what it has is durable says how far that is. The value, which names the highest
 *   of these as the end, is made only when all survivors have said it. A survivor that cannot be
 *   reached holds it up: it may have more.
 *   With theirs, the ends of former members are set anew: it may be that nobody else has them.
 * - By force. If the survivors are no majority, their change begins a new lineage. All of them must
 *   accept it; it is an agreement of its own beside the ordinary one, since the two may have
 *   different outcomes: then they are told apart by the lineage and refuse each other.
 * - Any member finishes what is begun, when it has heard of no work on it for `takeover_ms`.
 *
 * Host functions are called from within these functions only, and must not call back. Owned by one
 * thread.
 */
#ifndef TIERRA_REPLICATION_GROUP_CONTROL_H
#define TIERRA_REPLICATION_GROUP_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/group/membership.h"

struct control;

#define CONTROL_TEXT_BYTES    512u /* Of an error text, with its zero. */
#define CONTROL_LINKED_MAX    16u  /* Entries of linked-databases. */
#define CONTROL_FOUND_MS      3000u
#define CONTROL_HELLO_MS      500u
#define CONTROL_RESEND_MS     250u
#define CONTROL_TAKEOVER_MS   3000u
#define CONTROL_PATIENCE_MS   5000u
#define CONTROL_JOIN_MS       1000u
#define CONTROL_SILENT_MS     3000u /* Of a member whose place a new node may take. */
#define CONTROL_LINK_FAIL_MS  10000u
#define CONTROL_MSG_BYTES_MAX (128u << 10) /* Of what is sent and received. */

/* Why a node is not let in. The numbers are part of the messages. */
enum control_reason {
    CONTROL_OK = 0,
    CONTROL_WHY_NO_GROUP = 1,  /* The one asked has no group yet. */
    CONTROL_WHY_VERSION = 2,   /* Another protocol version. */
    CONTROL_WHY_GROUP = 3,     /* Another group. */
    CONTROL_WHY_UNLINKED = 4,  /* Was unlinked or has left: delete and recreate it. */
    CONTROL_WHY_NOT_EMPTY = 5, /* Holds data or has run standalone. */
    CONTROL_WHY_CONFIG = 6,    /* The configuration differs. */
    CONTROL_WHY_NAME = 7,      /* Name or address in use. */
    CONTROL_WHY_FULL = 8,      /* Five members, or all origin numbers are used up. */
    CONTROL_WHY_FORKED = 9,    /* The groups were forced apart. */
    CONTROL_WHY_FENCED = 10,   /* The one asked was unlinked itself. */
    CONTROL_WHY_REPLACED = 11, /* It takes the place of one that is being unlinked: soon. */
    CONTROL_WHY_END
};

enum control_event_kind {
    CONTROL_FOUNDED,
    CONTROL_JOINED,
    CONTROL_REFUSED,    /* reason; the text is in the status. */
    CONTROL_CHANGED,    /* detail: the epoch. */
    CONTROL_FENCED_OFF, /* Unlinked, or has left. */
    CONTROL_FORK_SEEN,  /* origin: of the peer. */
    CONTROL_REPLACES,   /* origin: is unlinked from here, for it begins anew. */
};

struct control_event {
    uint8_t kind;   /* enum control_event_kind */
    uint8_t reason; /* enum control_reason */
    uint8_t origin;
    uint64_t detail;
};

struct control_host {
    /* One message to "host:port"; may be lost, late, doubled. The bytes are borrowed. */
    void (*send)(void *ctx, const char *address, struct bytes bytes);
    /*
     * Replaces the stored state by `bytes` (borrowed), durably, and then calls
     * control_persisted(version). At most one is under way.
     */
    void (*persist)(void *ctx, uint64_t version, struct bytes bytes);
    /*
     * The membership, durable: at the start and after each change. For the cores: core_set_members
     * with membership_shard, which also ends what was frozen.
     */
    void (*members)(void *ctx, const struct membership *members);
    /*
     * No shard takes anything of `origin` any more, until the next `members`; when what was taken
     * is durable in all of them, control_frozen. Comes again after a restart.
     */
    void (*freeze)(void *ctx, uint8_t origin);
    /*
     * Stops writes, for good; when all members of the membership told last have acknowledged all
     * that is here, control_drained. Comes again after each `members`: a new one has to have it
     * too.
     */
    void (*drain)(void *ctx);
    /*
     * The flush epoch is `epoch`, durably; at the start too, if there is one. At most
     * MEMBERSHIP_FLUSH_MAX.
     */
    void (*flush)(void *ctx, uint64_t epoch);
    void (*event)(void *ctx, const struct control_event *event);
};

struct control_linked {
    const char *name;
    const char *address;
};

struct control_options {
    const char *nickname;
    const char *name;
    /* Every member, itself included; the first founds. */
    struct control_linked linked[CONTROL_LINKED_MAX];
    unsigned linked_count;
    struct membership_config config;
    bool holds_data;    /* Or has run standalone: it may neither found nor join. */
    uint64_t seed;      /* Of the random numbers: different at each start. */
    struct bytes state; /* What was persisted last; empty: nothing. */
};

/*
 * Options are copied, host and ctx outlive the control. 0; -ERR_CONFIG: names, addresses or the
 * list are wrong; -ERR_CORRUPT, -ERR_FORMAT: of the state.
 */
MUST_USE int control_create(const struct control_options *options, const struct control_host *host,
                            void *ctx, struct control **out);
/* NULL is allowed. */
void control_destroy(struct control *control);

/* --- inputs --- */

/*
 * Monotonic time: at least every 50 ms, and before what happens at a new time. The first call
 * starts: members, freeze and flush come from within it, before any link of a core may come up.
 */
void control_tick(struct control *control, uint64_t now_ms);

/* `from`: where an answer would go. Anything may come. */
void control_receive(struct control *control, const char *from, struct bytes bytes);

void control_persisted(struct control *control, uint64_t version);

/* `seqs`: of each shard, what is durable here of the frozen origin. */
void control_frozen(struct control *control, uint8_t origin, const uint64_t *seqs);

/* `seqs`: our own last of each shard. */
void control_drained(struct control *control, const uint64_t *seqs);

/* Everything is here: writes may begin, once the others know. */
void control_synced(struct control *control);

/* All links to the peer's shards are up, or not; `why`: of a failure, or NULL. */
void control_link(struct control *control, uint8_t origin, bool up, const char *why);

/*
 * This node lacks what it had acknowledged, or peers have other batches of it: it takes no part any
 * more and asks to be unlinked, also after a restart. When it is (control_retired), its data is to
 * be set aside and it begins anew, with no state.
 */
void control_retire(struct control *control);
bool control_retired(const struct control *control);
uint64_t control_incarnation(const struct control *control);

/* --- commands; 0 or an error whose text is appended to `text` --- */

/*
 * Is done when the names are out of the membership; repeated, it adds to what is asked for. Force
 * is needed, and taken, if those who stay are not the majority. -ERR_NOT_FOUND, -ERR_REFUSED.
 */
MUST_USE int control_force_unlink(struct control *control, const struct bytes *names,
                                  unsigned count, bool force, struct buf *text);

/* -ERR_REFUSED */
MUST_USE int control_leave(struct control *control, struct buf *text);

/* -ERR_REFUSED: not confirmed, no member, or all flush epochs are used up. */
MUST_USE int control_flush(struct control *control, bool confirmed, struct buf *text);

/* --- questions --- */

enum control_state {
    CONTROL_STARTING, /* Not ticked yet, or what it decided is not durable yet. */
    CONTROL_SEEKING,  /* Asks to be let in, or is about to found. */
    CONTROL_JOINING,  /* Is a member that receives. */
    CONTROL_ACTIVE,
    CONTROL_LEAVING,
    CONTROL_UNLINKED, /* Fenced: must be deleted and recreated. */
    CONTROL_LEFT,
    CONTROL_RETIRING /* Upon an older copy of its data: asks to be unlinked, then begins anew. */
};

struct control_status {
    uint8_t state;  /* enum control_state */
    uint8_t origin; /* 0: none yet. */
    uint64_t epoch;
    uint64_t lineage;
    uint64_t flush_epoch;
    uint8_t refused; /* enum control_reason: of the last that refused us. */
    char refused_text[CONTROL_TEXT_BYTES];
    membership_set unlinking;            /* Whose histories are frozen here. */
    membership_set waits_for;            /* A change proposed here: who has not answered. */
    char waits_text[CONTROL_TEXT_BYTES]; /* The same in words; empty: nothing is waited for. */
    membership_set apart;                /* Members and former ones that are of a group of their */
    char apart_text[CONTROL_TEXT_BYTES]; /* own, by force; in words; empty: nobody was heard of. */
};

void control_status(const struct control *control, struct control_status *out);

/* The durable membership; NULL: none. Valid until the next input. */
const struct membership *control_members(const struct control *control);

bool control_may_write(const struct control *control);

enum control_link_state {
    CONTROL_LINKED,
    CONTROL_LINKING,
    CONTROL_LINK_FAILED,
    CONTROL_UNLINKING,
    CONTROL_UNLINK_FAILED
};

/* "Linked" and so on. Static storage. */
const char *control_link_state_str(uint8_t state);

struct control_peer {
    uint8_t state; /* enum control_link_state */
    uint64_t since_ms;
    char error[CONTROL_TEXT_BYTES]; /* The last; empty: none. */
};

/* False if it is no live member other than this one. */
bool control_peer(const struct control *control, uint8_t origin, struct control_peer *out);

#endif
