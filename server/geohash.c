/* Positions as scores; geohash.h tells how. */
#include "server/geohash.h"

#include <math.h>
#include <stddef.h>

#define EARTH_RADIUS_M 6372797.560856
/* Half of the equator in the projection: a search of that radius needs squares of the first step.
 */
#define MERCATOR_MAX_M   20037726.37
#define RADIAN_DEGREES   (M_PI / 180.0)
#define EVEN_BITS        UINT64_C(0x5555555555555555)
#define STANDARD_LAT     90.0
#define TEXT_LETTER_BITS 5

/* --- the grid --- */

/* A square: which step of each range, of 2^steps. */
struct square {
    uint32_t latitude;
    uint32_t longitude;
    uint32_t steps;
};

/* The bits of x at the even places. */
static uint64_t spread(uint32_t x)
{
    uint64_t v = x;

    v = (v | v << 16) & UINT64_C(0x0000ffff0000ffff);
    v = (v | v << 8) & UINT64_C(0x00ff00ff00ff00ff);
    v = (v | v << 4) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    v = (v | v << 2) & UINT64_C(0x3333333333333333);
    return (v | v << 1) & EVEN_BITS;
}

static uint32_t gather(uint64_t v)
{
    v &= EVEN_BITS;
    v = (v | v >> 1) & UINT64_C(0x3333333333333333);
    v = (v | v >> 2) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    v = (v | v >> 4) & UINT64_C(0x00ff00ff00ff00ff);
    v = (v | v >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (uint32_t)(v | v >> 16);
}

static uint64_t square_bits(const struct square *s)
{
    return spread(s->latitude) | spread(s->longitude) << 1;
}

/* Which step of the range -max .. max; the end of the range is a step of its own. */
static uint32_t step_of(double value, double max, uint32_t steps)
{
    const double offset = (value + max) / (max + max);

    return (uint32_t)(offset * (double)(UINT64_C(1) << steps));
}

static struct square square_of(struct geo_point at, double latitude_max, uint32_t steps)
{
    return (struct square){.latitude = step_of(at.latitude, latitude_max, steps),
                           .longitude = step_of(at.longitude, GEO_LONGITUDE_MAX, steps),
                           .steps = steps};
}

/* Where step number `step` begins. */
static double edge(uint32_t step, double max, uint32_t steps)
{
    return -max + (step * 1.0 / (double)(UINT64_C(1) << steps)) * (max + max);
}

static double middle(uint32_t step, double max, uint32_t steps)
{
    const double at = (edge(step, max, steps) + edge(step + 1, max, steps)) / 2;

    return at > max ? max : at < -max ? -max : at;
}

uint64_t geo_encode(struct geo_point at)
{
    const struct square s = square_of(at, GEO_LATITUDE_MAX, GEO_STEPS);

    return square_bits(&s);
}

/* As x86 converts, which Redis goes by: modulo 2^64 below zero, zero for what is too large. */
static uint64_t bits_of(double score)
{
    if (score >= 0x1p64)
        return 0;
    if (score >= 0)
        return (uint64_t)score;
    return score >= -0x1p63 ? (uint64_t)(int64_t)score : UINT64_C(1) << 63;
}

struct geo_point geo_decode(double score)
{
    const uint64_t bits = bits_of(score);

    return (struct geo_point){
        .longitude = middle(gather(bits >> 1), GEO_LONGITUDE_MAX, GEO_STEPS),
        .latitude = middle(gather(bits), GEO_LATITUDE_MAX, GEO_STEPS),
    };
}

void geo_text(struct geo_point at, char out[GEO_TEXT_BYTES])
{
    static const char alphabet[] = "0123456789bcdefghjkmnpqrstuvwxyz";
    const struct square s = square_of(at, STANDARD_LAT, GEO_STEPS);
    const uint64_t bits = square_bits(&s);

    /* 52 bits make ten letters; the eleventh is there because it always was. */
    for (uint32_t i = 0; i + 1 < GEO_TEXT_BYTES; i++)
        out[i] = alphabet[bits >> (2 * GEO_STEPS - (i + 1) * TEXT_LETTER_BITS) & 0x1f];
    out[GEO_TEXT_BYTES - 1] = alphabet[0];
}

/* --- distances --- */

static double radians(double degrees)
{
    return degrees * RADIAN_DEGREES;
}

static double degrees(double radian)
{
    return radian / RADIAN_DEGREES;
}

/* Along a meridian. */
static double latitude_distance(double a, double b)
{
    return EARTH_RADIUS_M * fabs(radians(b) - radians(a));
}

double geo_distance(struct geo_point a, struct geo_point b)
{
    const double v = sin((radians(b.longitude) - radians(a.longitude)) / 2);

    if (v == 0.0)
        return latitude_distance(a.latitude, b.latitude);
    const double lat_a = radians(a.latitude);
    const double lat_b = radians(b.latitude);
    const double u = sin((lat_b - lat_a) / 2);
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(u * u + cos(lat_a) * cos(lat_b) * v * v));
}

bool geo_within(const struct geo_shape *shape, struct geo_point at, double *out_distance)
{
    const struct geo_point centre = shape->centre;

    if (shape->box) {
        const struct geo_point corner = {.longitude = centre.longitude, .latitude = at.latitude};
        if (latitude_distance(at.latitude, centre.latitude) > shape->height * shape->unit / 2 ||
            geo_distance(at, corner) > shape->width * shape->unit / 2)
            return false;
    }
    const double distance = geo_distance(centre, at);
    if (!shape->box && distance > shape->radius * shape->unit)
        return false;
    *out_distance = distance;
    return true;
}

/* --- searches --- */

struct bounds {
    double west, south, east, north;
};

/*
 * The smallest ranges of longitude and latitude around the shape. A degree of longitude is shorter
 * the nearer the pole, so it is measured on the side away from the equator.
 */
static struct bounds bounds_of(const struct geo_shape *shape)
{
    const double height = shape->unit * (shape->box ? shape->height / 2 : shape->radius);
    const double width = shape->unit * (shape->box ? shape->width / 2 : shape->radius);
    const struct geo_point c = shape->centre;
    const double lat_delta = degrees(height / EARTH_RADIUS_M);
    const double far = c.latitude < 0 ? c.latitude - lat_delta : c.latitude + lat_delta;
    const double long_delta = degrees(width / EARTH_RADIUS_M / cos(radians(far)));

    return (struct bounds){.west = c.longitude - long_delta,
                           .south = c.latitude - lat_delta,
                           .east = c.longitude + long_delta,
                           .north = c.latitude + lat_delta};
}

/* The finest step whose squares are, as a rule, larger than the radius. */
static uint32_t steps_for(double radius_m, double latitude)
{
    int steps = 1;

    if (radius_m == 0)
        return GEO_STEPS;
    while (radius_m < MERCATOR_MAX_M) {
        radius_m *= 2;
        steps++;
    }
    steps -= 2;
    if (latitude > 66 || latitude < -66)
        steps -= latitude > 80 || latitude < -80 ? 2 : 1;
    steps = steps < 1 ? 1 : steps;
    return steps > GEO_STEPS ? GEO_STEPS : (uint32_t)steps;
}

/* The square `east` and `north` steps further; the globe is round in both directions here. */
static struct square beside(const struct square *s, int east, int north)
{
    const uint32_t mask = (uint32_t)((UINT64_C(1) << s->steps) - 1);
    struct square other = *s;

    if (east != 0)
        other.longitude = (s->longitude + (uint32_t)east) & mask;
    if (north != 0)
        other.latitude = (s->latitude + (uint32_t)north) & mask;
    return other;
}

/* Whether the squares around `s` reach as far as the bounds. */
static bool covers(const struct square *s, const struct bounds *b)
{
    const struct square north = beside(s, 0, 1), south = beside(s, 0, -1);
    const struct square east = beside(s, 1, 0), west = beside(s, -1, 0);

    return edge(north.latitude + 1, GEO_LATITUDE_MAX, s->steps) >= b->north &&
           edge(south.latitude, GEO_LATITUDE_MAX, s->steps) <= b->south &&
           edge(east.longitude + 1, GEO_LONGITUDE_MAX, s->steps) >= b->east &&
           edge(west.longitude, GEO_LONGITUDE_MAX, s->steps) <= b->west;
}

/* Whether the square in that direction can be left out, as the middle one reaches beyond. */
static bool needless(const struct square *s, const struct bounds *b, int east, int north)
{
    if (s->steps < 2)
        return false;
    return (north < 0 && edge(s->latitude, GEO_LATITUDE_MAX, s->steps) < b->south) ||
           (north > 0 && edge(s->latitude + 1, GEO_LATITUDE_MAX, s->steps) > b->north) ||
           (east < 0 && edge(s->longitude, GEO_LONGITUDE_MAX, s->steps) < b->west) ||
           (east > 0 && edge(s->longitude + 1, GEO_LONGITUDE_MAX, s->steps) > b->east);
}

static struct geo_cell cell_of(const struct square *s)
{
    const uint64_t bits = square_bits(s);
    const uint32_t shift = 2 * (GEO_STEPS - s->steps);

    return (struct geo_cell){.min = bits << shift, .end = (bits + 1) << shift};
}

uint32_t geo_cells(const struct geo_shape *shape, struct geo_cell out[GEO_CELLS_MAX])
{
    static const int8_t way[GEO_CELLS_MAX][2] = {{0, 0}, {0, 1},  {0, -1}, {1, 0},  {-1, 0},
                                                 {1, 1}, {-1, 1}, {1, -1}, {-1, -1}};
    const struct bounds b = bounds_of(shape);
    const double w = shape->width / 2, h = shape->height / 2;
    const double radius = (shape->box ? sqrt(w * w + h * h) : shape->radius) * shape->unit;
    uint32_t steps = steps_for(radius, shape->centre.latitude);
    struct square s = square_of(shape->centre, GEO_LATITUDE_MAX, steps);
    uint32_t count = 0;

    if (steps > 1 && !covers(&s, &b))
        s = square_of(shape->centre, GEO_LATITUDE_MAX, --steps);
    for (uint32_t i = 0; i < GEO_CELLS_MAX; i++) {
        if (needless(&s, &b, way[i][0], way[i][1]))
            continue;
        const struct square other = beside(&s, way[i][0], way[i][1]);
        const struct geo_cell cell = cell_of(&other);
        /* With two steps, what lies to the one side lies to the other. */
        if (count > 1 && out[count - 1].min == cell.min)
            continue;
        out[count++] = cell;
    }
    return count;
}
