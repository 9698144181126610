/* What the handlers of positions share. */
#ifndef TIERRA_SERVER_GEO_H
#define TIERRA_SERVER_GEO_H

#include <stdbool.h>
#include <stdint.h>

#include "server/geohash.h"
#include "server/request.h"

/* Longitude and latitude at arguments `at` and `at` + 1; after false the error was replied. */
MUST_USE bool geo_point_arg(struct request *rq, uint32_t at, struct geo_point *out);

/* M, KM, FT or MI in metres; after false the error was replied. */
MUST_USE bool geo_unit_arg(struct request *rq, uint32_t at, double *out);

/* False: there is no such member. `coll` may be NULL. */
MUST_USE bool geo_of_member(const struct coll *coll, struct bytes member, struct geo_point *out);

void geo_reply_distance(struct request *rq, double distance);
void geo_reply_point(struct request *rq, struct geo_point at);

#endif
