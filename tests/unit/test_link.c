/*
 * Links over real sockets, once per backend: two that agree, two that do not, and a man in the
 * middle.
 */
#include <fcntl.h>
#include <netdb.h>

#include "engine/base/rng.h"

#include "replication/link/seal.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_link_fixture.h"

static void send_text(struct side *side, const char *text)
{
    assert_int_equal(link_send(side->link, bytes_cstr(text)), 0);
}

/* ---- two that agree ---- */

static void both_learn_who_the_other_is_and_exchange_frames(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct side *dialer = dial_ready(fix, &acceptor);
    struct link_figures figures;

    expect_str(dialer->identity, "identity of the acceptor");
    expect_str(acceptor->identity, "identity of the dialer");
    assert_true(link_is_dialer(dialer->link));
    assert_false(link_is_dialer(acceptor->link));
    expect_str(link_peer_address(dialer->link), fix->address);
    send_text(dialer, "to the acceptor");
    send_text(acceptor, "");
    send_text(acceptor, "to the dialer");
    assert_true(link_queued_bytes(dialer->link) > 15);
    link_hub_flush(fix->hub);
    expect_u64(link_queued_bytes(dialer->link), 0);
    RUN_UNTIL(&fix->base, dialer->frames == 2 && acceptor->frames == 1);
    expect_bytes(buf_bytes(&acceptor->got), BYTES_LIT("\x0f\0\0\0to the acceptor"));
    expect_bytes(buf_bytes(&dialer->got), BYTES_LIT("\0\0\0\0\x0d\0\0\0to the dialer"));
    link_figures(dialer->link, &figures);
    expect_u64(figures.frames_in, 2);
    expect_u64(figures.frames_out, 1);
    expect_u64(link_hub_metrics(fix->hub)->bytes_out, link_hub_metrics(fix->inner)->bytes_in);
    expect_u64(link_hub_metrics(fix->inner)->bytes_out, link_hub_metrics(fix->hub)->bytes_in);

    link_close(dialer->link, "that was all");
    expect_closed(fix, acceptor, -ERR_CLOSED, "that was all");
    expect_closed(fix, dialer, -ERR_CANCELLED, "that was all");
    side_end(dialer);
}

static void frames_of_one_turn_are_one_send(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct side *dialer = dial_ready(fix, &acceptor);
    const uint64_t sends = link_hub_metrics(fix->hub)->sends;

    for (int i = 0; i < 100; i++)
        send_text(dialer, "a frame");
    link_hub_flush(fix->hub);
    RUN_UNTIL(&fix->base, acceptor->frames == 100);
    expect_u64(link_hub_metrics(fix->hub)->sends, sends + 1);
    side_end(dialer);
}

static void frames_of_all_sizes_arrive_in_order(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct side *dialer = dial_ready(fix, &acceptor);
    uint8_t *bytes = mem_alloc(FRAME_MAX);
    struct buf want;
    struct rng rng;
    uint32_t sent = 0;

    buf_init(&want, (size_t)256 << 20);
    seed_rng(&rng, 1);
    rng_bytes(&rng, bytes, FRAME_MAX);
    for (int round = 0; round < 40; round++) {
        const size_t max = round % 10 == 9 ? FRAME_MAX : 100000u >> rng_below(&rng, 16);
        const size_t len = (size_t)rng_below(&rng, max + 1);
        uint8_t head[4];
        const int err = link_send(dialer->link, bytes_of(bytes + FRAME_MAX - len, len));
        if (err == 0) {
            le32_store(head, (uint32_t)len);
            assert_int_equal(buf_append(&want, head, sizeof(head)), 0);
            assert_int_equal(buf_append(&want, bytes + FRAME_MAX - len, len), 0);
            sent++;
        } else {
            assert_int_equal(err, -ERR_LIMIT);
        }
        if (rng_below(&rng, 2) == 0)
            reactor_run_once(fix->base.r, 0);
    }
    RUN_UNTIL(&fix->base, acceptor->frames == sent);
    expect_bytes(buf_bytes(&acceptor->got), buf_bytes(&want));
    buf_deinit(&want);
    mem_free(bytes);
    side_end(dialer);
}

static void the_queue_is_bounded_and_tells_when_there_is_room(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    fix->like.pause_on_ready = true;
    struct side *dialer = dial_ready(fix, &acceptor);
    uint8_t *bytes = mem_zalloc(100000);
    uint32_t sent = 0;

    /* Nobody reads: the kernel's buffers fill up first, then ours. */
    while (link_send(dialer->link, bytes_of(bytes, 100000)) == 0) {
        sent++;
        link_flush(dialer->link);
        assert_true(sent < 10000);
    }
    assert_true(link_queued_bytes(dialer->link) <= QUEUE_MAX);
    expect_u64(dialer->rooms, 0);
    run_a_while(&fix->base);
    expect_u64(acceptor->frames, 0);
    link_resume(acceptor->link);
    RUN_UNTIL(&fix->base, acceptor->frames == sent);
    RUN_UNTIL(&fix->base, dialer->rooms == 1);
    send_text(dialer, "there is room");
    RUN_UNTIL(&fix->base, acceptor->frames == sent + 1);
    expect_u64(dialer->rooms, 1);
    mem_free(bytes);
    side_end(dialer);
}

static void one_frame_beyond_the_queue_passes_when_it_is_empty(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct side *dialer = dial_ready(fix, &acceptor);
    uint8_t *bytes = mem_zalloc(FRAME_MAX);

    assert_int_equal(link_send(dialer->link, bytes_of(bytes, FRAME_MAX)), 0);
    assert_int_equal(link_send(dialer->link, BYTES_LIT("x")), -ERR_LIMIT);
    RUN_UNTIL(&fix->base, acceptor->frames == 1 && dialer->rooms == 1);
    expect_u64(acceptor->got.len, 4 + FRAME_MAX);
    mem_free(bytes);
    side_end(dialer);
}

static void a_pause_in_a_frame_holds_back_the_next_one(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    fix->like.pause_after = 1;
    struct side *dialer = dial_ready(fix, &acceptor);

    for (int i = 0; i < 200; i++)
        send_text(dialer, "one of two hundred");
    for (uint32_t i = 1; i <= 200; i++) {
        RUN_UNTIL(&fix->base, acceptor->frames == i);
        if (i % 50 == 0)
            run_a_while(&fix->base);
        expect_u64(acceptor->frames, i);
        link_resume(acceptor->link);
        link_resume(acceptor->link);
    }
    /* Paused and resumed within a turn: nothing is lost either. */
    acceptor->pause_after = 0;
    link_pause(acceptor->link);
    link_resume(acceptor->link);
    send_text(dialer, "the last");
    RUN_UNTIL(&fix->base, acceptor->frames == 201);
    side_end(dialer);
}

static void what_is_queued_goes_out_before_the_end(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct side *dialer = dial_ready(fix, &acceptor);
    uint8_t *bytes = mem_zalloc(FRAME_MAX);

    assert_int_equal(link_send(dialer->link, bytes_of(bytes, FRAME_MAX)), 0);
    send_text(acceptor, "is not waited for");
    link_close(dialer->link, "goodbye\nsaid \x01 the dialer");
    link_close(dialer->link, "again");
    assert_int_equal(link_send(dialer->link, BYTES_LIT("x")), -ERR_CLOSED);
    expect_closed(fix, acceptor, -ERR_CLOSED, "goodbye?said ? the dialer");
    expect_u64(acceptor->frames, 1);
    expect_u64(acceptor->got.len, 4 + FRAME_MAX);
    RUN_UNTIL(&fix->base, dialer->closes == 1);
    expect_i64(dialer->err, -ERR_CANCELLED);
    expect_u64(dialer->frames, 0);
    mem_free(bytes);
    side_end(dialer);
}

static void a_peer_that_does_not_read_does_not_keep_a_link_open(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct link_hub *hub = fix->hub;
    fix->hub = link_hub_create(&(struct link_hub_options){
        .reactor = fix->base.r,
        .secret = fix->secret,
        .nickname = NICKNAME,
        .close_ms = 50,
    });
    fix->like.pause_on_ready = true;
    struct side *dialer = dial_ready(fix, &acceptor);
    uint8_t *bytes = mem_zalloc(100000);

    while (link_send(dialer->link, bytes_of(bytes, 100000)) == 0)
        link_flush(dialer->link);
    link_close(dialer->link, "enough");
    expect_closed(fix, dialer, -ERR_CANCELLED, "enough");
    mem_free(bytes);
    side_end(dialer);
    end_hub(fix, fix->hub);
    fix->hub = hub;
}

static void a_link_may_be_closed_or_dropped_in_its_callbacks(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct side *dialer;

    fix->like = (struct side){.close_on_frame = true};
    dialer = dial_ready(fix, &acceptor);
    send_text(dialer, "one");
    send_text(dialer, "two");
    expect_closed(fix, dialer, -ERR_CLOSED, "closed by a frame");
    expect_closed(fix, acceptor, -ERR_CANCELLED, "closed by a frame");
    expect_u64(acceptor->frames, 1);
    side_end(dialer);

    fix->like = (struct side){.drop_on_frame = true};
    dialer = dial_ready(fix, &acceptor);
    send_text(dialer, "one");
    send_text(dialer, "two");
    expect_closed(fix, dialer, -ERR_TRUNCATED, "without a goodbye");
    expect_u64(acceptor->frames, 1);
    expect_u64(acceptor->closes, 0);
    side_end(dialer);

    fix->like = (struct side){.close_on_ready = true};
    dialer = dial(fix);
    expect_closed(fix, dialer, -ERR_CLOSED, "as soon as it was ready");
    side_end(dialer);

    fix->like = (struct side){.drop_on_peer = true};
    dialer = dial(fix);
    RUN_UNTIL(&fix->base, dialer->closes == 1);
    side_end(dialer);
}

static void links_come_and_go_and_come_again(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;

    for (int i = 0; i < 20; i++) {
        struct side *dialer = dial_ready(fix, &acceptor);
        send_text(dialer, "hello again");
        RUN_UNTIL(&fix->base, acceptor->frames == 1);
        if (i % 2 == 0) {
            link_close(acceptor->link, "come again");
            expect_closed(fix, dialer, -ERR_CLOSED, "come again");
        } else {
            link_drop(dialer->link);
            dialer->link = NULL;
            RUN_UNTIL(&fix->base, acceptor->closes == 1);
        }
        side_end(dialer);
    }
    expect_u64(link_hub_metrics(fix->hub)->ready, 20);
    RUN_UNTIL(&fix->base, link_hub_metrics(fix->hub)->open == 0);
    expect_u64(link_hub_metrics(fix->hub)->auth_failures, 0);
}

static void both_may_dial_each_other_and_close_at_once(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;
    struct side *dialer = dial_ready(fix, &acceptor);

    link_close(dialer->link, "from the one");
    link_close(acceptor->link, "from the other");
    expect_closed(fix, dialer, -ERR_CANCELLED, "from the one");
    expect_closed(fix, acceptor, -ERR_CANCELLED, "from the other");
    side_end(dialer);
}

/* ---- two that do not agree ---- */

static void another_secret_is_told_to_both(void **state)
{
    struct fix *fix = *state;
    struct link_hub *hub = fix->hub;

    fix->hub = fix_hub(fix, fix->other_secret, NICKNAME);
    struct side *dialer = dial(fix);
    expect_closed(fix, dialer, -ERR_AUTH, "do not have the same group secret");
    expect_u64(fix->guests, 0);
    expect_u64(link_door_metrics(fix->door)->refused, 1);
    side_end(dialer);
    end_hub(fix, fix->hub);
    fix->hub = hub;
}

static void another_nickname_is_told(void **state)
{
    struct fix *fix = *state;
    struct link_hub *hub = fix->hub;

    fix->hub = fix_hub(fix, fix->secret, BYTES_LIT("another"));
    struct side *dialer = dial(fix);
    expect_closed(fix, dialer, -ERR_REFUSED, "another nickname");
    expect_u64(fix->guests, 0);
    side_end(dialer);
    end_hub(fix, fix->hub);
    fix->hub = hub;
}

static void whoever_is_refused_learns_why(void **state)
{
    struct fix *fix = *state;
    struct side *acceptor;

    /* The acceptor refuses the dialer. */
    fix->like.refuse_with = "you were unlinked\r\nin epoch 7";
    struct side *dialer = dial(fix);
    expect_closed(fix, dialer, -ERR_REFUSED, "it refused us: you were unlinked??in epoch 7");
    acceptor = last_side(fix);
    expect_closed(fix, acceptor, -ERR_REFUSED, "refused here: you were unlinked");
    expect_u64(acceptor->peers, 1);
    expect_u64(acceptor->readies + dialer->readies + dialer->peers, 0);
    side_end(dialer);

    /* The dialer refuses the acceptor. */
    fix->like.refuse_with = NULL;
    dialer = dial(fix);
    dialer->refuse_with = "you are not whom I called";
    expect_closed(fix, dialer, -ERR_REFUSED, "refused here: you are not whom I called");
    acceptor = last_side(fix);
    expect_closed(fix, acceptor, -ERR_REFUSED, "it refused us: you are not whom I called");
    expect_u64(acceptor->readies + dialer->readies, 0);
    side_end(dialer);

    /* Nobody is there for the guest. */
    fix->guest_refusal = "no such shard";
    dialer = dial(fix);
    expect_closed(fix, dialer, -ERR_REFUSED, "it refused us: no such shard");
    side_end(dialer);

    /* A text that is too long is cut. */
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    fix->guest_refusal = text;
    dialer = dial(fix);
    expect_closed(fix, dialer, -ERR_REFUSED, "xxxxxxxxxxxxxxxx");
    assert_true(strlen(dialer->why) < LINK_TEXT_BYTES_MAX + 64);
    side_end(dialer);
}

static void a_guest_for_another_shard_is_refused(void **state)
{
    struct fix *fix = *state;
    struct side *side = side_create(fix);
    struct link_options options = side_options(side, "identity");

    options.shard = GUEST_SHARD + 1;
    side->link = link_dial(fix->hub, fix->address, &options);
    expect_closed(fix, side, -ERR_REFUSED, "another purpose or shard");
    side_end(side);
}

static void nobody_there_is_told(void **state)
{
    struct fix *fix = *state;
    char address[64];

    close(listen_plain(address)); /* A port at which nobody listens now. */
    struct side *side = dial_to(fix, address);
    expect_u64(side->closes, 0); /* Never from within the call. */
    expect_closed(fix, side, -ECONNREFUSED, "cannot connect");
    side_end(side);

    side = dial_to(fix, "no port");
    expect_u64(side->closes, 0);
    expect_closed(fix, side, -ERR_SYNTAX, "host:port");
    side_end(side);

    /* .invalid never resolves (RFC 6761); without name servers it may be that they do not answer.
     */
    side = dial_to(fix, "there-is-no-such-host.invalid:7000");
    RUN_UNTIL(&fix->base, side->closes == 1);
    assert_true(side->err == -ERR_NOT_FOUND || side->err == -EAGAIN);
    assert_non_null(strstr(side->why, "cannot be resolved"));
    side_end(side);
}

static void a_name_is_looked_up_on_the_pool(void **state)
{
    struct fix *fix = *state;
    char address[64];

    (void)snprintf(address, sizeof(address), "localhost:%u", link_door_port(fix->door));
    struct side *dialer = dial_to(fix, address);
    RUN_UNTIL(&fix->base, dialer->readies == 1);
    side_end(dialer);

    /* A link that is dropped while its name is looked up. */
    dialer = dial_to(fix, address);
    link_drop(dialer->link);
    dialer->link = NULL;
    side_end(dialer);
    dialer = dial_to(fix, address);
    link_close(dialer->link, "never mind");
    expect_closed(fix, dialer, -ERR_CANCELLED, "never mind");
    side_end(dialer);
}

/* ---- strangers on the other side ---- */

/* Dials a plain socket that says `reply` and then waits or ends. */
static void expect_stranger(struct fix *fix, struct bytes reply, bool end, int err,
                            const char *text)
{
    char address[64];
    const int listen_fd = listen_plain(address);
    int fd = -1;
    bool said = false;
    struct side *dialer = dial_to(fix, address);

    while (dialer->closes == 0) {
        reactor_run_once(fix->base.r, 5);
        if (fd < 0)
            fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || said)
            continue;
        said = true;
        if (reply.len != 0)
            write_all(fd, reply.ptr, reply.len);
        if (end)
            shutdown(fd, SHUT_WR);
    }
    expect_closed(fix, dialer, err, text);
    close(fd);
    close(listen_fd);
    side_end(dialer);
}

static void whoever_answers_something_else_is_no_member(void **state)
{
    struct fix *fix = *state;
    struct link_hub *hub = fix->hub;

    expect_stranger(fix, BYTES_LIT("-ERR unknown command 'TLNK'\r\n"), false, -ERR_PROTOCOL,
                    "does not speak the link protocol");
    expect_stranger(fix, BYTES_LIT("HTTP/1.1 400 Bad Request\r\n\r\n"), true, -ERR_PROTOCOL,
                    "does not speak the link protocol");
    expect_stranger(fix, BYTES_LIT(""), true, -ERR_TRUNCATED, "during the handshake");
    expect_stranger(fix, BYTES_LIT("TLN"), true, -ERR_TRUNCATED, "during the handshake");
    expect_stranger(fix, BYTES_LIT("TLNK\x02\x06\x10\0\1\0\0\0\0\0\0\0"), false, -ERR_FORMAT,
                    "version 2");
    expect_stranger(fix, BYTES_LIT("TLNK\x01\x06\x10\0\1\0\0\0\0\0\0\0"), false, -ERR_FORMAT,
                    "another version");
    expect_stranger(fix, BYTES_LIT("TLNK\x01\x02\xff\xff"), false, -ERR_PROTOCOL, "peer");
    expect_stranger(fix, BYTES_LIT("TLNK\x01\x02\x07\0"), false, -ERR_PROTOCOL, "peer");
    expect_stranger(fix, BYTES_LIT("TLNK\x01\x03\x08\0"), false, -ERR_PROTOCOL, "message 3");
    expect_stranger(fix, BYTES_LIT("TLNK\x01\x04\x08\0"), false, -ERR_PROTOCOL, "message 4");

    fix->hub = link_hub_create(&(struct link_hub_options){
        .reactor = fix->base.r,
        .secret = fix->secret,
        .nickname = NICKNAME,
        .handshake_ms = 50,
    });
    expect_stranger(fix, BYTES_LIT(""), false, -ETIMEDOUT, "handshake within 50 ms");
    expect_stranger(fix, BYTES_LIT("TLNK"), false, -ETIMEDOUT, "handshake within 50 ms");
    end_hub(fix, fix->hub);
    fix->hub = hub;
}

static void whoever_gives_back_our_own_words_is_no_member(void **state)
{
    struct fix *fix = *state;
    char address[64];
    const int listen_fd = listen_plain(address);
    struct buf got;
    size_t returned = 0;
    int fd = -1;
    struct side *dialer = dial_to(fix, address);

    buf_init(&got, 1u << 20);
    while (dialer->closes == 0) {
        reactor_run_once(fix->base.r, 5);
        if (fd < 0)
            fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 || !read_more(fd, &got))
            continue;
        if (got.len > returned)
            write_all(fd, got.ptr + returned, got.len - returned);
        returned = got.len;
    }
    expect_closed(fix, dialer, -ERR_PROTOCOL, "message 1 of the handshake");
    buf_deinit(&got);
    close(fd);
    close(listen_fd);
    side_end(dialer);
}

/* ---- the man in the middle ---- */

struct talk {
    struct fix *fix;
    struct middle *m;
    struct side *dialer;
    struct side *acceptor; /* NULL: no guest came so far. */
    uint32_t guests_before;
    bool dialer_spoke;
    bool acceptor_spoke;
};

static void speak(struct side *side, const char *one, const char *two, bool *spoke)
{
    if (*spoke || side == NULL || side->readies == 0 || side->link == NULL)
        return;
    *spoke = true;
    send_text(side, one);
    send_text(side, two);
}

static bool all_arrived(const struct talk *t)
{
    return t->dialer->frames == 2 && t->acceptor != NULL && t->acceptor->frames == 2;
}

/* True when it is over. */
static bool talk_step(struct talk *t)
{
    middle_step(t->m, t->fix->door);
    t->acceptor = t->fix->guests != t->guests_before ? last_side(t->fix) : NULL;
    speak(t->dialer, "dialer 1", "dialer 2", &t->dialer_spoke);
    speak(t->acceptor, "accept 1", "accept 2", &t->acceptor_spoke);
    return all_arrived(t) ||
           (t->dialer->closes == 1 && (t->acceptor == NULL || t->acceptor->closes == 1));
}

/*
 * Two frames each way through a middle with an edit, until both have closed or have everything.
 * Returns true if everything arrived.
 */
static bool talk_through(struct fix *fix, struct middle *m, struct side **out_dialer,
                         struct side **out_acceptor)
{
    struct talk t = {
        .fix = fix, .m = m, .dialer = dial_to(fix, m->address), .guests_before = fix->guests};

    /* The middle is not the reactor's, which must not sleep over it, but for a millisecond now and
     * then. */
    const uint64_t from_ns = clock_mono_ns();
    for (uint32_t turn = 0; !talk_step(&t); turn++) {
        assert_true(clock_mono_ns() - from_ns < WAIT_NS_MAX);
        reactor_run_once(fix->base.r, turn % 8 == 7 ? 1 : 0);
    }
    *out_dialer = t.dialer;
    *out_acceptor = t.acceptor;
    return all_arrived(&t);
}

/* Nothing that was not said may have been heard. */
static void expect_prefix(const struct side *side, struct bytes all)
{
    if (side != NULL)
        assert_true(bytes_starts(all, buf_bytes(&side->got)));
}

#define SAID_BY_DIALER   BYTES_LIT("\x08\0\0\0dialer 1\x08\0\0\0dialer 2")
#define SAID_BY_ACCEPTOR BYTES_LIT("\x08\0\0\0accept 1\x08\0\0\0accept 2")

/* Hubs and a door that do not wait long for what will not come. */
static void hurry(struct fix *fix)
{
    const struct link_hub_options options = {
        .reactor = fix->base.r,
        .secret = fix->secret,
        .nickname = NICKNAME,
        .handshake_ms = 40,
        .close_ms = 40,
    };

    end_hub(fix, fix->hub);
    end_hub(fix, fix->inner);
    end_door(fix, fix->door);
    fix->hub = link_hub_create(&options);
    fix->inner = link_hub_create(&options);
    fix->door = open_door(fix, "127.0.0.1:0", 40);
}

/* The lengths of what each side says in a talk. */
static void measure_talk(struct fix *fix, size_t out_lens[2])
{
    struct middle m;
    struct side *dialer;
    struct side *acceptor;

    middle_init(&m);
    assert_true(talk_through(fix, &m, &dialer, &acceptor));
    expect_bytes(buf_bytes(&acceptor->got), SAID_BY_DIALER);
    expect_bytes(buf_bytes(&dialer->got), SAID_BY_ACCEPTOR);
    out_lens[0] = m.from[0].len;
    out_lens[1] = m.from[1].len;
    middle_deinit(&m);
    side_end(dialer);
}

static void edited_talk(struct fix *fix, unsigned who, enum edit edit, size_t at, size_t len)
{
    struct middle m;
    struct side *dialer;
    struct side *acceptor;

    middle_init(&m);
    m.who = who;
    m.edit = edit;
    m.at = at;
    m.len = len;
    if (talk_through(fix, &m, &dialer, &acceptor))
        fail_msg("an edit of kind %d at %zu from %u was not noticed", (int)edit, at, who);
    expect_prefix(acceptor, SAID_BY_DIALER);
    expect_prefix(dialer, SAID_BY_ACCEPTOR);
    assert_true(dialer->err != 0);
    assert_true(acceptor == NULL || acceptor->err != 0);
    /* The frames that were not touched came from an authentic peer, in any case. */
    middle_deinit(&m);
    side_end(dialer);
    if (acceptor != NULL)
        side_destroy(acceptor);
}

static void a_changed_byte_anywhere_ends_the_link(void **state)
{
    struct fix *fix = *state;
    size_t lens[2];

    measure_talk(fix, lens);
    hurry(fix);
    for (unsigned who = 0; who < 2; who++) {
        for (size_t at = 0; at < lens[who]; at++)
            edited_talk(fix, who, EDIT_FLIP, at, 0);
    }
}

static void frames_that_are_moved_repeated_or_left_out_end_the_link(void **state)
{
    struct fix *fix = *state;
    const size_t frame = seal_frame_bytes(8);
    size_t lens[2];

    measure_talk(fix, lens);
    hurry(fix);
    for (unsigned who = 0; who < 2; who++) {
        edited_talk(fix, who, EDIT_REPEAT, lens[who] - 2 * frame, frame);
        edited_talk(fix, who, EDIT_SWAP, lens[who] - 2 * frame, 2 * frame);
        edited_talk(fix, who, EDIT_DROP, lens[who] - 2 * frame, frame);
        edited_talk(fix, who, EDIT_CUT, lens[who] - frame, 0);
        edited_talk(fix, who, EDIT_CUT, lens[who] - 1, 0);
    }
    /* The dialer's first frame says that it agrees. */
    edited_talk(fix, 0, EDIT_DROP, lens[0] - 2 * frame - SEAL_HEAD_BYTES, SEAL_HEAD_BYTES);
    edited_talk(fix, 0, EDIT_REPEAT, lens[0] - 2 * frame - SEAL_HEAD_BYTES, SEAL_HEAD_BYTES);
}

static void a_recorded_connection_cannot_be_played_again(void **state)
{
    struct fix *fix = *state;
    struct middle m;
    struct side *dialer;
    struct side *acceptor;
    struct buf answer;

    middle_init(&m);
    assert_true(talk_through(fix, &m, &dialer, &acceptor));
    const uint32_t guests = fix->guests;
    const int fd = connect_plain(fix->door);
    buf_init(&answer, 1u << 20);
    const size_t hello_len = le16_load(m.from[0].ptr + 6);
    write_all(fd, m.from[0].ptr, hello_len);
    /* The repetition is let in, and challenged. */
    RUN_UNTIL(&fix->base, (read_more(fd, &answer), answer.len >= 40));
    expect_u64(fix->guests, guests + 1);
    assert_memory_not_equal(answer.ptr, m.from[1].ptr, 40);
    struct side *fooled = last_side(fix);
    expect_bytes(link_peer_identity(fooled->link), BYTES_LIT("")); /* Not yet. */
    write_all(fd, m.from[0].ptr + hello_len, m.from[0].len - hello_len);
    shutdown(fd, SHUT_WR); /* Else the acceptor waits for it. */
    expect_closed(fix, fooled, -ERR_AUTH, "repeats an old connection");
    expect_u64(fooled->peers + fooled->readies + fooled->frames, 0);
    /* Nothing but the challenge and a rejection was said. */
    while (read_more(fd, &answer))
        continue;
    assert_true(answer.len <= 40 + 16);
    buf_deinit(&answer);
    close(fd);
    middle_deinit(&m);
    side_end(dialer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINK_TEST(both_learn_who_the_other_is_and_exchange_frames),
        LINK_TEST(frames_of_one_turn_are_one_send),
        LINK_TEST(frames_of_all_sizes_arrive_in_order),
        LINK_TEST(the_queue_is_bounded_and_tells_when_there_is_room),
        LINK_TEST(one_frame_beyond_the_queue_passes_when_it_is_empty),
        LINK_TEST(a_pause_in_a_frame_holds_back_the_next_one),
        LINK_TEST(what_is_queued_goes_out_before_the_end),
        LINK_TEST(a_peer_that_does_not_read_does_not_keep_a_link_open),
        LINK_TEST(a_link_may_be_closed_or_dropped_in_its_callbacks),
        LINK_TEST(links_come_and_go_and_come_again),
        LINK_TEST(both_may_dial_each_other_and_close_at_once),
        LINK_TEST(another_secret_is_told_to_both),
        LINK_TEST(another_nickname_is_told),
        LINK_TEST(whoever_is_refused_learns_why),
        LINK_TEST(a_guest_for_another_shard_is_refused),
        LINK_TEST(nobody_there_is_told),
        LINK_TEST(a_name_is_looked_up_on_the_pool),
        LINK_TEST(whoever_answers_something_else_is_no_member),
        LINK_TEST(whoever_gives_back_our_own_words_is_no_member),
        LINK_TEST(a_changed_byte_anywhere_ends_the_link),
        LINK_TEST(frames_that_are_moved_repeated_or_left_out_end_the_link),
        LINK_TEST(a_recorded_connection_cannot_be_played_again),
    };

    RUN_FOR_EACH_BACKEND(tests);
}
