/*
 * Mailbox: a stack of messages that is taken whole, and the bounded ring's set-up.
 *
 * There is no ABA problem: nobody pops single messages, the consumer exchanges the whole stack.
 */
#include "engine/io/mailbox.h"

#include <stddef.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/io/reactor.h"
#include "engine/io/spsc.h"

void mailbox_init(struct mailbox *mb, struct reactor *consumer)
{
    atomic_init(&mb->inbox, NULL);
    mb->consumer = consumer;
    mb->taken = (struct mail_chain){0};
}

void mailbox_deinit(struct mailbox *mb)
{
    CHECK(mailbox_empty(mb));
}

/* Puts newest .. oldest, linked in this order, on top. True if the stack was empty. */
static bool push(struct mailbox *mb, struct mail *newest, struct mail *oldest)
{
    struct mail *top = atomic_load_explicit(&mb->inbox, memory_order_relaxed);

    do {
        oldest->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&mb->inbox, &top, newest, memory_order_release,
                                                    memory_order_relaxed));
    return top == NULL;
}

/* Turns a chain round; returns its new first. */
static struct mail *reverse(struct mail *first)
{
    struct mail *turned = NULL;

    while (first != NULL) {
        struct mail *next = first->next;
        first->next = turned;
        turned = first;
        first = next;
    }
    return turned;
}

void mailbox_post(struct mailbox *mb, struct mail *mail)
{
    /* Once it is pushed the consumer may free what holds the mailbox. */
    struct reactor *consumer = mb->consumer;

    CHECK(mail->fn != NULL);
    if (push(mb, mail, mail) && consumer != NULL)
        reactor_wake(consumer);
}

void mailbox_post_chain(struct mailbox *mb, struct mail_chain chain)
{
    struct reactor *consumer = mb->consumer;

    if (chain.first == NULL)
        return;
    chain.last->next = NULL;
    (void)reverse(chain.first);
    if (push(mb, chain.last, chain.first) && consumer != NULL)
        reactor_wake(consumer);
}

/* Appends what is in the inbox to what was taken before. */
static void take(struct mailbox *mb)
{
    struct mail *newest = NULL;

    /* Looking first keeps the cache line shared while nothing comes. */
    if (atomic_load_explicit(&mb->inbox, memory_order_relaxed) != NULL)
        newest = atomic_exchange_explicit(&mb->inbox, NULL, memory_order_acquire);
    if (newest == NULL)
        return;
    struct mail *oldest = reverse(newest);
    if (mb->taken.last == NULL)
        mb->taken.first = oldest;
    else
        mb->taken.last->next = oldest;
    mb->taken.last = newest;
}

uint32_t mailbox_drain(struct mailbox *mb, uint32_t count_max)
{
    uint32_t count = 0;

    take(mb);
    while (count < count_max && mb->taken.first != NULL) {
        struct mail *mail = mb->taken.first;
        mb->taken.first = mail->next;
        if (mail->next == NULL)
            mb->taken.last = NULL;
        count++;
        mail->fn(mail);
    }
    if (mb->taken.first != NULL && mb->consumer != NULL)
        reactor_wake(mb->consumer);
    return count;
}

bool mailbox_empty(const struct mailbox *mb)
{
    return mb->taken.first == NULL &&
           atomic_load_explicit(&mb->inbox, memory_order_relaxed) == NULL;
}

void spsc_init(struct spsc *ring, uint32_t capacity)
{
    CHECK(capacity > 0);
    CHECK(capacity <= 1u << 30);
    CHECK((capacity & (capacity - 1)) == 0);
    *ring =
        (struct spsc){.slots = mem_zalloc_array(capacity, sizeof(void *)), .mask = capacity - 1};
}

void spsc_deinit(struct spsc *ring)
{
    mem_free(ring->slots);
    ring->slots = NULL;
}
