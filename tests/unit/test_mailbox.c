/*
 * Mailbox, ring and gate: order, completeness and wakes, with real threads.
 */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/mem.h"

#include "engine/io/mailbox.h"
#include "engine/io/reactor.h"
#include "engine/io/spsc.h"
#include "engine/io/thread.h"

#include "tests/lib/tcase.h"

#define PRODUCERS 4
#define MAILS     20000

struct note {
    struct mail mail;
    uint32_t producer;
    uint32_t number;
};

/* What the consumer saw; in one test per process at a time. */
static struct seen {
    uint32_t next[PRODUCERS];
    uint32_t count;
} seen;

static void on_note(struct mail *mail)
{
    const struct note *note = container_of(mail, struct note, mail);

    expect_u64(note->number, seen.next[note->producer]);
    seen.next[note->producer]++;
    seen.count++;
}

static int setup(void **state UNUSED)
{
    memset(&seen, 0, sizeof(seen));
    return 0;
}

static void messages_come_first_in_first_out(void **state UNUSED)
{
    struct mailbox mb;
    struct note notes[10] = {0};
    struct mail_chain chain = {0};

    mailbox_init(&mb, NULL);
    assert_true(mailbox_empty(&mb));
    for (uint32_t i = 0; i < 10; i++) {
        notes[i] = (struct note){.mail = {.fn = on_note}, .number = i};
        if (i >= 3 && i < 7)
            mail_chain_add(&chain, &notes[i].mail);
        else
            mailbox_post(&mb, &notes[i].mail);
        if (i == 6)
            mailbox_post_chain(&mb, chain);
    }
    assert_false(mailbox_empty(&mb));
    expect_u64(mailbox_drain(&mb, 4), 4);
    expect_u64(mailbox_drain(&mb, 100), 6);
    expect_u64(mailbox_drain(&mb, 100), 0);
    expect_u64(seen.count, 10);
    mailbox_deinit(&mb);
}

static void an_empty_chain_posts_nothing(void **state UNUSED)
{
    struct mailbox mb;

    mailbox_init(&mb, NULL);
    mailbox_post_chain(&mb, (struct mail_chain){0});
    assert_true(mailbox_empty(&mb));
    mailbox_deinit(&mb);
}

struct producer {
    struct thread thread;
    struct mailbox *mb;
    uint32_t number;
    struct note *notes;
};

static void produce(void *arg)
{
    struct producer *p = arg;
    struct mail_chain chain = {0};

    for (uint32_t i = 0; i < MAILS; i++) {
        p->notes[i] = (struct note){.mail = {.fn = on_note}, .producer = p->number, .number = i};
        if (i % 100 < 50) {
            mailbox_post(p->mb, &p->notes[i].mail);
            continue;
        }
        mail_chain_add(&chain, &p->notes[i].mail);
        if (i % 10 == 9) {
            mailbox_post_chain(p->mb, chain);
            chain = (struct mail_chain){0};
        }
    }
}

static void drain_hook(void *ctx)
{
    (void)mailbox_drain(ctx, 1000);
}

static void run_producers(enum reactor_backend backend)
{
    const struct reactor_options options = {.backend = backend};
    struct reactor *r = NULL;
    struct mailbox mb;
    struct producer producers[PRODUCERS];

    if (reactor_create(&options, &r) != 0)
        skip();
    mailbox_init(&mb, r);
    reactor_set_wake_hook(r, drain_hook, &mb);
    memset(producers, 0, sizeof(producers));
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i].mb = &mb;
        producers[i].number = i;
        producers[i].notes = mem_zalloc_array(MAILS, sizeof(struct note));
        assert_int_equal(thread_start(&producers[i].thread, "producer", produce, &producers[i]), 0);
    }
    /* A lost wake would leave this asleep until the test's time is over. */
    while (seen.count < PRODUCERS * MAILS)
        reactor_run_once(r, -1);
    assert_true(reactor_metrics(r)->wakes <= PRODUCERS * MAILS);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        thread_join(&producers[i].thread);
        mem_free(producers[i].notes);
    }
    mailbox_deinit(&mb);
    reactor_destroy(r);
}

static void no_wake_is_lost_with_many_producers_on_epoll(void **state UNUSED)
{
    run_producers(REACTOR_EPOLL);
}

static void no_wake_is_lost_with_many_producers_on_io_uring(void **state UNUSED)
{
    run_producers(REACTOR_URING);
}

static void the_ring_refuses_when_it_is_full(void **state UNUSED)
{
    struct spsc ring;
    int items[9];

    spsc_init(&ring, 8);
    assert_null(spsc_pop(&ring));
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 8; i++)
            assert_true(spsc_push(&ring, &items[i]));
        assert_false(spsc_push(&ring, &items[8]));
        for (uint32_t i = 0; i < 8; i++)
            assert_ptr_equal(spsc_pop(&ring), &items[i]);
        assert_null(spsc_pop(&ring));
    }
    spsc_deinit(&ring);
}

struct ring_producer {
    struct thread thread;
    struct spsc ring;
    uint32_t numbers[MAILS];
};

static void fill_ring(void *arg)
{
    struct ring_producer *p = arg;

    for (uint32_t i = 0; i < MAILS; i++) {
        p->numbers[i] = i;
        while (!spsc_push(&p->ring, &p->numbers[i]))
            (void)sched_yield();
    }
}

static void the_ring_keeps_order_between_threads(void **state UNUSED)
{
    struct ring_producer *p = mem_zalloc(sizeof(*p));

    spsc_init(&p->ring, 64);
    assert_int_equal(thread_start(&p->thread, "producer", fill_ring, p), 0);
    for (uint32_t i = 0; i < MAILS;) {
        const uint32_t *number = spsc_pop(&p->ring);
        if (number == NULL) {
            (void)sched_yield();
            continue;
        }
        expect_u64(*number, i);
        i++;
    }
    thread_join(&p->thread);
    spsc_deinit(&p->ring);
    mem_free(p);
}

struct ping_pong {
    struct thread thread;
    struct thread_gate there;
    struct thread_gate back;
    uint32_t count; /* Handed to and fro by the gates alone. */
};

static void pong(void *arg)
{
    struct ping_pong *p = arg;

    for (uint32_t i = 0; i < MAILS / 4; i++) {
        thread_gate_wait(&p->there);
        p->count++;
        thread_gate_open(&p->back);
    }
}

static void gates_hand_over_without_loss(void **state UNUSED)
{
    struct ping_pong p = {0};

    assert_int_equal(thread_start(&p.thread, "a-name-that-is-much-too-long", pong, &p), 0);
    for (uint32_t i = 0; i < MAILS / 4; i++) {
        p.count++;
        thread_gate_open(&p.there);
        thread_gate_wait(&p.back);
    }
    thread_join(&p.thread);
    expect_u64(p.count, MAILS / 2);
}

static void a_gate_remembers_an_opening_and_times_out(void **state UNUSED)
{
    struct thread_gate gate = {0};

    assert_false(thread_gate_wait_ms(&gate, 1));
    thread_gate_open(&gate);
    thread_gate_open(&gate);
    assert_true(thread_gate_wait_ms(&gate, 1000));
    assert_false(thread_gate_wait_ms(&gate, 1));
}

static void a_thread_can_be_pinned(void **state UNUSED)
{
    assert_true(thread_cpu_count() >= 1);
    assert_true(thread_pin_self(1u << 20) < 0);
}

static int nice_of_self(void)
{
    return getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
}

struct priorities {
    int before;
    int prompt;
    int lowered;
};

static void change_priority(void *arg)
{
    struct priorities *p = arg;

    p->before = nice_of_self();
    thread_prompt_self();
    p->prompt = nice_of_self();
    thread_lower_self(3);
    p->lowered = nice_of_self();
}

static void a_thread_is_lowered_by_itself(void **state UNUSED)
{
    struct thread thread = {0};
    struct priorities p;
    const int own = nice_of_self();

    assert_int_equal(thread_start(&thread, "low", change_priority, &p), 0);
    thread_join(&thread);
    assert_int_equal(p.before, own);
    assert_int_equal(p.prompt, own);
    assert_int_equal(p.lowered, own + 3 > 19 ? 19 : own + 3);
    assert_int_equal(nice_of_self(), own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(messages_come_first_in_first_out, setup),
        cmocka_unit_test_setup(an_empty_chain_posts_nothing, setup),
        cmocka_unit_test_setup(no_wake_is_lost_with_many_producers_on_epoll, setup),
        cmocka_unit_test_setup(no_wake_is_lost_with_many_producers_on_io_uring, setup),
        cmocka_unit_test_setup(the_ring_refuses_when_it_is_full, setup),
        cmocka_unit_test_setup(the_ring_keeps_order_between_threads, setup),
        cmocka_unit_test_setup(gates_hand_over_without_loss, setup),
        cmocka_unit_test_setup(a_gate_remembers_an_opening_and_times_out, setup),
        cmocka_unit_test_setup(a_thread_can_be_pinned, setup),
        cmocka_unit_test(a_thread_is_lowered_by_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
