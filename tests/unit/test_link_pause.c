/* Pauses between attempts to reach a peer: how they grow, how far, and that they differ. */
#include <errno.h>

#include "engine/base/err.h"
#include "engine/base/rng.h"

#include "replication/link/link_pause.h"

#include "tests/lib/tcase.h"

#define ATTEMPTS 40

/* What is waited before the n-th attempt lies in the upper half of 50, 100, 200, .. `most_ms`. */
static void check_growth(int err, uint32_t most_ms)
{
    struct link_pause pause = {0};
    uint32_t want_ms = LINK_PAUSE_MS_MIN;
    struct rng rng;

    rng_seed(&rng, 1);
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        const uint32_t got_ms = link_pause_next(&pause, err, &rng);

        assert_in_range(got_ms, want_ms / 2, want_ms);
        want_ms = want_ms * 2 < most_ms ? want_ms * 2 : most_ms;
    }
}

static void nobody_answers(void **state)
{
    (void)state;
    check_growth(-ETIMEDOUT, 500);
    check_growth(-ECONNREFUSED, 500);
    check_growth(-ERR_CLOSED, 500);
    check_growth(0, 500);
}

static void somebody_refuses(void **state)
{
    (void)state;
    check_growth(-ERR_REFUSED, 2000);
    check_growth(-ERR_AUTH, 2000);
    check_growth(-ERR_NOT_FOUND, 2000);
}

/* Who refused long has no long pause once it is gone. */
static void refusals_end(void **state)
{
    struct link_pause pause = {0};
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (unsigned i = 0; i < ATTEMPTS; i++)
        assert_true(link_pause_next(&pause, -ERR_REFUSED, &rng) != 0);
    assert_in_range(link_pause_next(&pause, -ETIMEDOUT, &rng), 250, 500);
}

/* Those who lost the same peer do not all come at once. */
static void two_differ(void **state)
{
    struct link_pause a = {0}, b = {0};
    struct rng rng_a, rng_b;
    unsigned same = 0;

    (void)state;
    rng_seed(&rng_a, 1);
    rng_seed(&rng_b, 2);
    for (unsigned i = 0; i < ATTEMPTS; i++)
        same += link_pause_next(&a, -ETIMEDOUT, &rng_a) == link_pause_next(&b, -ETIMEDOUT, &rng_b);
    assert_true(same < ATTEMPTS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(somebody_refuses),
        cmocka_unit_test(refusals_end),
        cmocka_unit_test(two_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
