/*
 * Mailbox: messages from any thread to one consumer, usually a shard's loop.
 *
 * A message is a struct mail embedded in what it brings, which passes to the consumer with it:
 * post gives all rights away. Hence nothing is allocated and a mailbox cannot overflow; its length
 * is bounded by the number of messages that their owners have, and they must bound that (jobs,
 * commands in flight, ...).
 *
 * Many producers, one consumer: producers push on a stack with one compare-and-swap; the consumer
 * takes the whole stack with one exchange and turns it round, hence first in, first out, per
 * producer and over all. No message is ever waited for: a producer that is preempted holds up
 * nobody. Only the post that finds the stack empty wakes the consumer, so that a burst costs one
 * wake.
 */
#ifndef TIERRA_ENGINE_IO_MAILBOX_H
#define TIERRA_ENGINE_IO_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mail;
struct reactor;

/* Called on the consumer's thread; the mail is its own from here on and may be freed or posted. */
typedef void (*mail_fn)(struct mail *mail);

struct mail {
    struct mail *next;
    mail_fn fn;
};

/* An ordered chain of messages that are posted together. Zero ({0}) is empty. */
struct mail_chain {
    struct mail *first;
    struct mail *last;
};

struct mailbox {
    _Atomic(struct mail *) inbox; /* Newest first. */
    struct reactor *consumer;
    uint8_t pad[48];         /* The producers' cache line ends here. */
    struct mail_chain taken; /* The consumer's, oldest first: taken and not yet delivered. */
};

/* `consumer` is woken by posts; NULL: its owner polls by mailbox_drain. */
void mailbox_init(struct mailbox *mb, struct reactor *consumer);
/* Must be empty: what was posted must have been delivered. */
void mailbox_deinit(struct mailbox *mb);

/* Any thread. `mail->fn` is set. */
void mailbox_post(struct mailbox *mb, struct mail *mail);
/* All of the chain with at most one wake; does nothing if it is empty. Any thread. */
void mailbox_post_chain(struct mailbox *mb, struct mail_chain chain);

/* Collects for mailbox_post_chain: batching within one thread. */
static inline void mail_chain_add(struct mail_chain *chain, struct mail *mail)
{
    mail->next = NULL;
    if (chain->last == NULL)
        chain->first = mail;
    else
        chain->last->next = mail;
    chain->last = mail;
}

/*
 * Delivers at most `count_max` messages: calls fn of each. If some are left the consumer is woken
 * again (if it is a reactor: its next turn does not sleep), so that a flood cannot starve the
 * loop. Returns the number delivered. Consumer's thread.
 */
uint32_t mailbox_drain(struct mailbox *mb, uint32_t count_max);

/* Nothing to deliver at this moment. Consumer's thread. */
bool mailbox_empty(const struct mailbox *mb);

#endif
