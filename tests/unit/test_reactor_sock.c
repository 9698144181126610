/*
 * Sockets of the reactor, once per backend: receiving, sending, closing, and all of it at once.
 */
#include <string.h>

#include "engine/base/rng.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_reactor_fixture.h"

/* ---- receiving ---- */

#define AHEAD_SOCKS 6

struct announced {
    struct probe *probes[AHEAD_SOCKS];
    uint32_t count;
    uint32_t calls;
};

static void on_announced(void *ctx, const struct reactor_ahead *ahead, uint32_t n)
{
    struct announced *a = ctx;

    assert_in_range(n, 0, REACTOR_AHEAD_MAX);
    a->calls++;
    for (uint32_t i = 0; i < n; i++) {
        const struct probe *p = container_of(ahead[i].sock, struct probe, sock);
        expect_u64(ahead[i].len, 1);
        assert_ptr_equal(p, a->probes[ahead[i].ptr[0] - 'a']);
        a->count++;
    }
}

static void what_is_announced_is_what_comes(void **state)
{
    struct fixture *f = *state;
    struct announced a = {0};
    int far[AHEAD_SOCKS];

    for (uint32_t i = 0; i < AHEAD_SOCKS; i++)
        a.probes[i] = probe_pair(f, &far[i]);
    run_a_while(f);
    reactor_set_ahead_hook(f->r, on_announced, &a);
    for (uint32_t round = 1; round <= 20; round++) {
        for (uint32_t i = 0; i < AHEAD_SOCKS; i++)
            write_all(far[i], &"abcdef"[i], 1);
        for (uint32_t i = 0; i < AHEAD_SOCKS; i++)
            RUN_UNTIL(f, a.probes[i]->got.len == round);
    }
    if (fixture_backend == REACTOR_URING)
        expect_u64(a.count, 20 * AHEAD_SOCKS);
    else
        expect_u64(a.calls, 0);
    for (uint32_t i = 0; i < AHEAD_SOCKS; i++) {
        close(far[i]);
        probe_destroy(a.probes[i]);
    }
}

static void data_comes_in_order_and_the_end_after_it(void **state)
{
    struct fixture *f = *state;
    int far;
    struct probe *p = probe_pair(f, &far);

    write_all(far, "hello ", 6);
    RUN_UNTIL(f, p->got.len == 6);
    write_all(far, "world", 5);
    close(far);
    RUN_UNTIL(f, p->ends == 1);
    expect_bytes(bytes_of(p->got.ptr, p->got.len), BYTES_LIT("hello world"));
    assert_int_equal(p->end_err, 0);
    run_a_while(f);
    assert_int_equal(p->ends, 1);
    probe_destroy(p);
}

static void after_the_end_it_can_still_be_sent_to(void **state)
{
    struct fixture *f = *state;
    int far;
    struct probe *p = probe_pair(f, &far);
    char reply[8] = {0};
    char text[] = "late";
    struct iovec iov = {.iov_base = text, .iov_len = 4};

    assert_int_equal(shutdown(far, SHUT_WR), 0);
    RUN_UNTIL(f, p->ends == 1);
    if (reactor_sock_send(&p->sock, &iov, 1) == 0)
        RUN_UNTIL(f, p->sents == 1);
    expect_u64(read_some(far, reply, sizeof(reply)), 4);
    probe_destroy(p);
    close(far);
}

static void a_paused_socket_gets_nothing_and_loses_nothing(void **state)
{
    struct fixture *f = *state;
    int far;
    struct probe *p = probe_pair(f, &far);

    write_all(far, "1", 1);
    RUN_UNTIL(f, p->got.len == 1);
    reactor_sock_pause(&p->sock);
    reactor_sock_pause(&p->sock);
    p->paused = true;
    for (uint32_t i = 0; i < 50; i++) {
        write_all(far, "abc", 3);
        reactor_run_once(f->r, 1);
    }
    close(far);
    run_a_while(f);
    assert_int_equal(p->ends, 0);
    p->paused = false;
    reactor_sock_resume(&p->sock);
    reactor_sock_resume(&p->sock);
    RUN_UNTIL(f, p->ends == 1);
    expect_u64(p->got.len, 151);
    probe_destroy(p);
}

static void pausing_and_resuming_at_once_goes_on(void **state)
{
    struct fixture *f = *state;
    int far;
    struct probe *p = probe_pair(f, &far);

    for (uint32_t i = 0; i < 20; i++) {
        reactor_sock_pause(&p->sock);
        write_all(far, "x", 1);
        if (i % 2 == 0)
            reactor_run_once(f->r, 0);
        reactor_sock_resume(&p->sock);
        if (i % 3 == 0)
            reactor_run_once(f->r, 0);
    }
    RUN_UNTIL(f, p->got.len == 20);
    probe_destroy(p);
    close(far);
}

static void a_fast_stream_survives_random_pauses(void **state)
{
    struct fixture *f = *state;
    struct feeder feeder = {.bytes = 24u << 20};
    struct rng rng;
    struct probe *p = probe_pair(f, &feeder.fd);

    seed_rng(&rng, 11);
    assert_int_equal(fcntl(feeder.fd, F_SETFL, 0), 0);
    assert_int_equal(thread_start(&feeder.thread, "feeder", feed, &feeder), 0);
    while (p->ends == 0) {
        if (rng_below(&rng, 3) == 0) {
            p->paused = !p->paused;
            if (p->paused)
                reactor_sock_pause(&p->sock);
            else
                reactor_sock_resume(&p->sock);
        }
        reactor_run_once(f->r, 1);
    }
    thread_join(&feeder.thread);
    expect_u64(p->got.len, feeder.bytes);
    for (uint64_t i = 0; i < feeder.bytes; i++) {
        if (p->got.ptr[i] != pattern(i))
            fail_msg("byte %llu is wrong", (unsigned long long)i);
    }
    probe_destroy(p);
}

static int few_bufs_setup(void **state)
{
    return fixture_setup_with(
        state, (struct reactor_options){.recv_bufs_count = 2, .recv_buf_bytes = 4096});
}

static void many_sockets_share_few_buffers(void **state)
{
    struct fixture *f = *state;
    struct probe *probes[60];
    int fars[60];
    uint8_t chunk[12000];

    memset(chunk, 'z', sizeof(chunk));
    for (uint32_t i = 0; i < 60; i++)
        probes[i] = probe_pair(f, &fars[i]);
    for (uint32_t i = 0; i < 60; i++)
        write_all(fars[i], chunk, sizeof(chunk));
    for (uint32_t i = 0; i < 60; i++)
        RUN_UNTIL(f, probes[i]->got.len == sizeof(chunk));
    for (uint32_t i = 0; i < 60; i++) {
        probe_destroy(probes[i]);
        close(fars[i]);
    }
}

/* ---- sending ---- */

static void a_big_send_reaches_a_slow_reader_complete(void **state)
{
    struct fixture *f = *state;
    const size_t len = 9u << 20;
    uint8_t *bytes = mem_alloc(len);
    uint8_t *got = mem_alloc(len);
    struct iovec iov[300];
    size_t at = 0;
    int far;
    struct probe *p = probe_pair(f, &far);

    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(i);
    /* Parts of all sizes, empty ones included. */
    for (uint32_t i = 0; i < 300; i++) {
        const size_t part = i == 299 ? len - at : size_min(len - at, (size_t)i * 150);
        iov[i] = (struct iovec){.iov_base = bytes + at, .iov_len = part};
        at += part;
    }
    assert_int_equal(reactor_sock_send(&p->sock, iov, 300), 0);
    assert_true(reactor_sock_sending(&p->sock));
    for (at = 0; at < len;) {
        assert_int_equal(p->sents, 0);
        at += read_some(far, got + at, size_min(len - at, 100000));
        reactor_run_once(f->r, 0);
        if (p->sents == 1)
            break;
    }
    RUN_UNTIL(f, p->sents == 1);
    assert_int_equal(p->sent_err, 0);
    assert_false(reactor_sock_sending(&p->sock));
    while (at < len)
        at += read_some(far, got + at, len - at);
    assert_memory_equal(got, bytes, len);
    probe_destroy(p);
    close(far);
    mem_free(bytes);
    mem_free(got);
}

static void data_still_comes_while_a_send_waits(void **state)
{
    struct fixture *f = *state;
    const size_t len = 4u << 20;
    uint8_t *bytes = mem_zalloc(len);
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    int far;
    struct probe *p = probe_pair(f, &far);

    assert_int_equal(reactor_sock_send(&p->sock, &iov, 1), 0);
    write_all(far, "ping", 4);
    RUN_UNTIL(f, p->got.len == 4);
    assert_int_equal(p->sents, 0);
    probe_destroy(p);
    close(far);
    mem_free(bytes);
}

static void a_send_to_a_peer_that_left_fails_once(void **state)
{
    struct fixture *f = *state;
    const size_t len = 4u << 20;
    uint8_t *bytes = mem_zalloc(len);
    struct iovec iov = {.iov_base = bytes, .iov_len = len};
    int far;
    struct probe *p = probe_pair(f, &far);

    assert_int_equal(reactor_sock_send(&p->sock, &iov, 1), 0);
    run_a_while(f);
    close(far);
    RUN_UNTIL(f, p->sents == 1 && p->ends == 1);
    assert_true(p->sent_err == -EPIPE || p->sent_err == -ECONNRESET);
    iov = (struct iovec){.iov_base = bytes, .iov_len = 10};
    const int res = reactor_sock_send(&p->sock, &iov, 1);
    if (res == 0)
        RUN_UNTIL(f, p->sents == 2);
    assert_true(res < 0 || p->sent_err < 0);
    probe_destroy(p);
    mem_free(bytes);
}

/* ---- closing ---- */

static void closing_ends_everything_in_flight(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = mem_zalloc(4u << 20);

    for (uint32_t turns = 0; turns < 4; turns++) {
        struct iovec iov = {.iov_base = bytes, .iov_len = 4u << 20};
        int far;
        struct probe *p = probe_pair(f, &far);
        assert_int_equal(reactor_sock_send(&p->sock, &iov, 1), 0);
        write_all(far, "unseen", turns == 0 ? 6 : 1);
        for (uint32_t i = 0; i < turns; i++)
            reactor_run_once(f->r, 1);
        probe_close(p);
        reactor_sock_close(&p->sock);
        assert_int_equal(p->closes, 0);
        iov = (struct iovec){.iov_base = bytes, .iov_len = 1};
        RUN_UNTIL(f, p->closes == 1);
        assert_int_equal(p->sents, 0);
        run_a_while(f);
        probe_free(p);
        close(far);
    }
    mem_free(bytes);
}

static void a_socket_may_be_closed_in_each_of_its_callbacks(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = mem_zalloc(4u << 20);
    struct iovec iov = {.iov_base = bytes, .iov_len = 4u << 20};
    int far;
    struct probe *p = probe_pair(f, &far);

    p->close_on_data = true;
    write_all(far, "x", 1);
    RUN_UNTIL(f, p->closes == 1);
    probe_free(p);
    close(far);

    p = probe_pair(f, &far);
    p->close_on_end = true;
    close(far);
    RUN_UNTIL(f, p->closes == 1);
    probe_free(p);

    p = probe_pair(f, &far);
    p->close_on_sent = true;
    assert_int_equal(reactor_sock_send(&p->sock, &iov, 1), 0);
    while (p->closes == 0) {
        uint8_t sink[8192];
        (void)read_some(far, sink, sizeof(sink));
        reactor_run_once(f->r, 0);
    }
    probe_free(p);
    close(far);
    mem_free(bytes);
}

static void sends_after_a_close_are_refused(void **state)
{
    struct fixture *f = *state;
    char text[] = "x";
    struct iovec iov = {.iov_base = text, .iov_len = 1};
    int far;
    struct probe *p = probe_pair(f, &far);

    probe_close(p);
    assert_int_equal(reactor_sock_send(&p->sock, &iov, 1), -ECANCELED);
    reactor_sock_pause(&p->sock);
    reactor_sock_resume(&p->sock);
    probe_destroy(p);
    close(far);
}

static void a_released_descriptor_goes_on_at_another_reactor(void **state)
{
    struct fixture *f = *state;
    const struct reactor_options options = {.backend = fixture_backend, .max_conns = 10};
    struct fixture other = {0};
    int far;
    struct probe *p = probe_pair(f, &far);

    assert_int_equal(reactor_create(&options, &other.r), 0);
    write_all(far, "one", 3);
    RUN_UNTIL(f, p->got.len == 3);
    p->must_rest = true;
    reactor_sock_release(&p->sock);
    RUN_UNTIL(f, p->closes == 1);
    struct probe *q = probe_open(&other, p->sock.fd);
    probe_free(p);
    write_all(far, "two", 3);
    RUN_UNTIL(&other, q->got.len == 3);
    run_a_while(f);
    expect_bytes(buf_bytes(&q->got), BYTES_LIT("two"));

    close(far);
    RUN_UNTIL(&other, q->ends == 1);
    probe_destroy(q);
    reactor_destroy(other.r);
}

static void a_paused_socket_that_holds_data_can_be_closed(void **state)
{
    struct fixture *f = *state;
    int far;
    struct probe *p = probe_pair(f, &far);

    reactor_run_once(f->r, 0);
    reactor_sock_pause(&p->sock);
    p->paused = true;
    write_all(far, "held", 4);
    run_a_while(f);
    close(far);
    run_a_while(f);
    probe_destroy(p);
}

/* ---- everything at once ---- */

#define SOAK_SOCKS 24
#define SOAK_STEPS 6000

struct soak {
    struct probe *p;
    int far;
    bool far_open;
    uint64_t fed;  /* Bytes that the far end wrote. */
    uint64_t sent; /* Bytes handed to sends. */
    uint64_t read; /* Bytes that the far end read. */
    uint32_t sends_waiting;
    uint8_t out[200000];
    struct iovec iov[3];
};

static void soak_check_got(const struct soak *s)
{
    for (size_t i = 0; i < s->p->got.len; i++)
        assert_int_equal(s->p->got.ptr[i], pattern(i));
}

static void soak_send(struct soak *s, struct rng *rng)
{
    const size_t len = 3 + rng_below(rng, rng_below(rng, 8) == 0 ? sizeof(s->out) - 3 : 300);
    const size_t third = len / 3;

    if (reactor_sock_sending(&s->p->sock))
        return;
    for (size_t i = 0; i < len; i++)
        s->out[i] = pattern(s->sent + i);
    s->sent += len;
    s->iov[0] = (struct iovec){.iov_base = s->out, .iov_len = third};
    s->iov[1] = (struct iovec){.iov_base = s->out + third, .iov_len = third};
    s->iov[2] = (struct iovec){.iov_base = s->out + 2 * third, .iov_len = len - 2 * third};
    const int res = reactor_sock_send(&s->p->sock, s->iov, 3);
    assert_true(res >= 0 || !s->far_open);
}

static void soak_far(struct soak *s, struct rng *rng)
{
    uint8_t chunk[12000];

    if (rng_below(rng, 2) == 0) {
        const size_t n = read_some(s->far, chunk, sizeof(chunk));
        for (size_t i = 0; i < n; i++)
            assert_int_equal(chunk[i], pattern(s->read + i));
        s->read += n;
        return;
    }
    const size_t len = 1 + rng_below(rng, rng_below(rng, 4) == 0 ? sizeof(chunk) : 100);
    for (size_t i = 0; i < len; i++)
        chunk[i] = pattern(s->fed + i);
    const ssize_t n = send(s->far, chunk, len, MSG_NOSIGNAL);
    s->fed += n > 0 ? (uint64_t)n : 0;
}

/* Ends the socket: from our side, or from the other and then ours. Checks what came through. */
static void soak_replace(struct fixture *f, struct soak *s, struct rng *rng)
{
    if (s->p->paused && rng_below(rng, 2) == 0) {
        s->p->paused = false;
        reactor_sock_resume(&s->p->sock);
    }
    if (rng_below(rng, 2) == 0) {
        close(s->far);
        s->far_open = false;
        for (uint32_t i = 0; i < 3; i++)
            reactor_run_once(f->r, 0);
        if (!s->p->paused && s->read == s->sent && !reactor_sock_sending(&s->p->sock)) {
            RUN_UNTIL(f, s->p->ends == 1);
            expect_u64(s->p->got.len, s->fed);
        }
    }
    soak_check_got(s);
    probe_destroy(s->p);
    if (s->far_open)
        close(s->far);
    memset(s, 0, sizeof(*s));
    s->p = probe_pair(f, &s->far);
    s->far_open = true;
}

static void random_use_of_many_sockets_keeps_every_stream_whole(void **state)
{
    struct fixture *f = *state;
    struct soak *socks = mem_zalloc_array(SOAK_SOCKS, sizeof(*socks));
    struct rng rng;

    seed_rng(&rng, 12);
    for (uint32_t i = 0; i < SOAK_SOCKS; i++) {
        socks[i].p = probe_pair(f, &socks[i].far);
        socks[i].far_open = true;
    }
    for (uint32_t step = 0; step < SOAK_STEPS; step++) {
        struct soak *s = &socks[rng_below(&rng, SOAK_SOCKS)];
        const uint64_t kind = rng_below(&rng, 100);
        if (kind < 45) {
            soak_far(s, &rng);
        } else if (kind < 65) {
            soak_send(s, &rng);
        } else if (kind < 75) {
            s->p->paused = !s->p->paused;
            if (s->p->paused)
                reactor_sock_pause(&s->p->sock);
            else
                reactor_sock_resume(&s->p->sock);
        } else if (kind < 77) {
            soak_replace(f, s, &rng);
        } else {
            reactor_run_once(f->r, 0);
        }
    }
    for (uint32_t i = 0; i < SOAK_SOCKS; i++) {
        soak_check_got(&socks[i]);
        close(socks[i].far);
        probe_destroy(socks[i].p);
    }
    mem_free(socks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REACTOR_TEST(what_is_announced_is_what_comes),
        REACTOR_TEST(data_comes_in_order_and_the_end_after_it),
        REACTOR_TEST(after_the_end_it_can_still_be_sent_to),
        REACTOR_TEST(a_paused_socket_gets_nothing_and_loses_nothing),
        REACTOR_TEST(pausing_and_resuming_at_once_goes_on),
        REACTOR_TEST(a_fast_stream_survives_random_pauses),
        cmocka_unit_test_setup_teardown(many_sockets_share_few_buffers, few_bufs_setup,
                                        fixture_teardown),
        REACTOR_TEST(a_big_send_reaches_a_slow_reader_complete),
        REACTOR_TEST(data_still_comes_while_a_send_waits),
        REACTOR_TEST(a_send_to_a_peer_that_left_fails_once),
        REACTOR_TEST(closing_ends_everything_in_flight),
        REACTOR_TEST(a_socket_may_be_closed_in_each_of_its_callbacks),
        REACTOR_TEST(sends_after_a_close_are_refused),
        REACTOR_TEST(a_released_descriptor_goes_on_at_another_reactor),
        REACTOR_TEST(a_paused_socket_that_holds_data_can_be_closed),
        REACTOR_TEST(random_use_of_many_sockets_keeps_every_stream_whole),
    };

    RUN_FOR_EACH_BACKEND(tests);
}
