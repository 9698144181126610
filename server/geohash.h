/*
 * Positions on the globe as Redis stores them: scores of sorted sets.
 *
 * Longitude and latitude are each divided into 2^26 steps over their range. The bits of the two
 * step numbers alternate, latitude in the even ones, and make a number of 52 bits, which a double
 * holds exactly. A square of the grid at a coarser step (fewer bits of each) is a range of scores,
 * so that a search reads the ranges of a square around its centre and of those beside it.
 *
 * Latitudes beyond 85.05112878 degrees (EPSG:900913) do not exist. Everything is computed in the
 * order of operations of Redis 7.0, so that results are equal to the last digit. Pure functions.
 */
#ifndef TIERRA_SERVER_GEOHASH_H
#define TIERRA_SERVER_GEOHASH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#define GEO_LONGITUDE_MAX 180.0
#define GEO_LATITUDE_MAX  85.05112878
#define GEO_STEPS         26
/* Squares of a search. */
#define GEO_CELLS_MAX 9
/* Of the text of a standard geohash. */
#define GEO_TEXT_BYTES 11

/* Degrees. */
struct geo_point {
    double longitude;
    double latitude;
};

/* The position within the ranges as a score. */
MUST_USE uint64_t geo_encode(struct geo_point at);

/*
 * The position of a score: the middle of its square. Any double will do, sorted sets have scores
 * that no position makes.
 */
MUST_USE struct geo_point geo_decode(double score);

/* The standard geohash, of latitudes up to 90 degrees, as text without a zero at its end. */
void geo_text(struct geo_point at, char out[GEO_TEXT_BYTES]);

/* In metres, on a sphere (haversine). */
MUST_USE double geo_distance(struct geo_point a, struct geo_point b);

/* A circle, or a box with sides along meridians and parallels. */
struct geo_shape {
    struct geo_point centre;
    double unit;   /* Metres of one unit; */
    double radius; /* in units, of a circle; */
    double width;  /* in units, of a box. */
    double height;
    bool box;
};

/* Whether the position is within; its distance from the centre in metres then. */
MUST_USE bool geo_within(const struct geo_shape *shape, struct geo_point at, double *out_distance);

/* Scores from `min` on and below `end`. */
struct geo_cell {
    uint64_t min;
    uint64_t end;
};

/* The squares that cover the shape, in the order in which Redis searches them. Their number. */
MUST_USE uint32_t geo_cells(const struct geo_shape *shape, struct geo_cell out[GEO_CELLS_MAX]);

#endif
