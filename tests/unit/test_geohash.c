/*
 * Positions as scores: known values of Redis, and that searches find what lies in their shape.
 */
#include <math.h>

#include "server/geohash.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static struct geo_point point(double longitude, double latitude)
{
    return (struct geo_point){.longitude = longitude, .latitude = latitude};
}

static void known_places_have_the_scores_of_redis(void **state UNUSED)
{
    char text[GEO_TEXT_BYTES + 1] = "";

    expect_u64(geo_encode(point(13.361389, 38.115556)), 3479099956230698);
    expect_u64(geo_encode(point(15.087269, 37.502669)), 3479447370796909);
    geo_text(geo_decode(3479099956230698.0), text);
    expect_str(text, "sqc8b49rny0");
    geo_text(geo_decode(3479447370796909.0), text);
    expect_str(text, "sqdtr74hyu0");
    const double m = geo_distance(geo_decode(3479099956230698.0), geo_decode(3479447370796909.0));
    assert_true(fabs(m - 166274.1516) < 0.0001);
}

static void any_double_is_a_position(void **state UNUSED)
{
    const double odd[] = {0,
                          -0.0,
                          -1,
                          0.5,
                          1e300,
                          -1e300,
                          (double)INFINITY,
                          -1e18,
                          0x1p63,
                          0x1p64,
                          1e19,
                          4503599627370496,
                          4503599627370495};

    for (size_t i = 0; i < ARRAY_COUNT(odd); i++) {
        const struct geo_point at = geo_decode(odd[i]);
        assert_true(fabs(at.longitude) <= GEO_LONGITUDE_MAX);
        assert_true(fabs(at.latitude) <= GEO_LATITUDE_MAX);
    }
}

static double between(struct rng *rng, double low, double high)
{
    return low + (high - low) * ((double)rng_below(rng, 1u << 30) / (1u << 30));
}

static void a_score_is_that_of_its_own_position(void **state UNUSED)
{
    struct rng rng;

    seed_rng(&rng, 1);
    for (int i = 0; i < 100000; i++) {
        const uint64_t score = rng_below(&rng, UINT64_C(1) << (2 * GEO_STEPS));
        expect_u64(geo_encode(geo_decode((double)score)), score);
    }
}

static bool in_cells(const struct geo_cell *cells, uint32_t n, uint64_t score)
{
    for (uint32_t i = 0; i < n; i++) {
        if (score >= cells[i].min && score < cells[i].end)
            return true;
    }
    return false;
}

static void squares_cover_the_shape(void **state UNUSED)
{
    struct rng rng;
    uint32_t inside = 0;

    seed_rng(&rng, 2);
    for (int i = 0; i < 200000; i++) {
        struct geo_cell cells[GEO_CELLS_MAX];
        struct geo_shape shape = {.unit = 1, .box = rng_below(&rng, 2) != 0};
        double distance;
        const double size = between(&rng, 10, rng_below(&rng, 2) != 0 ? 1e3 : 5e5);
        shape.centre = point(between(&rng, -160, 160), between(&rng, -70, 70));
        shape.radius = size;
        shape.width = size * between(&rng, 0.1, 2);
        shape.height = size * between(&rng, 0.1, 2);
        /* About a degree for 111 km. */
        const double d = size / 50000;
        const struct geo_point at = point(shape.centre.longitude + between(&rng, -d, d),
                                          shape.centre.latitude + between(&rng, -d, d));
        if (!geo_within(&shape, at, &distance))
            continue;
        inside++;
        assert_true(in_cells(cells, geo_cells(&shape, cells), geo_encode(at)));
    }
    assert_true(inside > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_places_have_the_scores_of_redis),
        cmocka_unit_test(any_double_is_a_position),
        cmocka_unit_test(a_score_is_that_of_its_own_position),
        cmocka_unit_test(squares_cover_the_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
