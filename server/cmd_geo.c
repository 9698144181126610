/* Geo: single positions. They are scores of sorted sets (geohash.h). */
#include <inttypes.h>
#include <math.h>

#include "engine/base/mem.h"

#include "server/geo.h"
#include "server/geohash.h"
#include "server/handlers.h"
#include "server/zset.h"

/* Of a unit, in replies. */
#define DISTANCE_PARTS 10000LL
#define DISTANCE_MAX   1e12

/* --- arguments --- */

bool geo_point_arg(struct request *rq, uint32_t at, struct geo_point *out)
{
    struct geo_point p;

    if (!num_parse_double(rq->argv[at], &p.longitude) ||
        !num_parse_double(rq->argv[at + 1], &p.latitude)) {
        reply_err_not_float(rq->out);
        return false;
    }
    if (p.longitude < -GEO_LONGITUDE_MAX || p.longitude > GEO_LONGITUDE_MAX ||
        p.latitude < -GEO_LATITUDE_MAX || p.latitude > GEO_LATITUDE_MAX) {
        reply_error(rq->out, "ERR invalid longitude,latitude pair %f,%f", p.longitude, p.latitude);
        return false;
    }
    *out = p;
    return true;
}

bool geo_unit_arg(struct request *rq, uint32_t at, double *out)
{
    static const struct {
        const char *name;
        double metres;
    } units[] = {{"m", 1}, {"km", 1000}, {"ft", 0.3048}, {"mi", 1609.34}};

    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (req_is(rq, at, units[i].name)) {
            *out = units[i].metres;
            return true;
        }
    }
    reply_error(rq->out, "ERR unsupported unit provided. please use M, KM, FT, MI");
    return false;
}

/* As Redis rounds: the ten-thousandths are a double first, and half a one goes to the even side. */
void geo_reply_distance(struct request *rq, double distance)
{
    /* Half of the equator in feet, and then some: no overflow. */
    const long long parts = llrint(fmin(distance, DISTANCE_MAX) * DISTANCE_PARTS);

    reply_bulk_printf(rq->out, "%lld.%04lld", parts / DISTANCE_PARTS, parts % DISTANCE_PARTS);
}

void geo_reply_point(struct request *rq, struct geo_point at)
{
    reply_array(rq->out, 2);
    reply_ldouble(rq->out, (long double)at.longitude);
    reply_ldouble(rq->out, (long double)at.latitude);
}

/* --- GEOADD --- */

/* The index of the first longitude. */
static uint32_t first_position(const struct request *rq, bool *nx, bool *xx)
{
    uint32_t i = 2;

    for (; i < rq->argc; i++) {
        if (req_is(rq, i, "NX"))
            *nx = true;
        else if (req_is(rq, i, "XX"))
            *xx = true;
        else if (!req_is(rq, i, "CH"))
            break;
    }
    return i;
}

/* The scores of `n` positions as text, one behind the other; false after an error reply. */
static bool scores_of(struct request *rq, uint32_t first, uint32_t n, char *texts)
{
    struct geo_point at;

    for (uint32_t i = 0; i < n; i++) {
        if (!geo_point_arg(rq, first + 3 * i, &at))
            return false;
        (void)num_print_u64(texts + (size_t)i * NUM_I64_BYTES, geo_encode(at));
    }
    return true;
}

/* As ZADD, with scores for positions. */
static void add(struct request *rq, uint32_t first, uint32_t n, const char *texts,
                struct bytes *argv)
{
    struct request zadd = *rq;

    for (uint32_t i = 0; i < first; i++)
        argv[i] = rq->argv[i];
    for (uint32_t i = 0; i < n; i++) {
        argv[first + 2 * i] = bytes_cstr(texts + (size_t)i * NUM_I64_BYTES);
        argv[first + 2 * i + 1] = rq->argv[first + 3 * i + 2];
    }
    zadd.argv = argv;
    zadd.argc = first + 2 * n;
    cmd_zadd(&zadd);
    rq->parked = zadd.parked;
}

/* GEOADD key [NX | XX] [CH] longitude latitude member .. */
void cmd_geoadd(struct request *rq)
{
    bool nx = false, xx = false;
    const uint32_t first = first_position(rq, &nx, &xx);

    if ((rq->argc - first) % 3 != 0 || (nx && xx)) {
        reply_err_syntax(rq->out);
        return;
    }
    const uint32_t n = (rq->argc - first) / 3;
    struct bytes *argv = mem_zalloc_array(rq->argc, sizeof(*argv));
    char *texts = mem_zalloc_array(size_max(n, 1), NUM_I64_BYTES);
    if (scores_of(rq, first, n, texts))
        add(rq, first, n, texts, argv);
    mem_free(texts);
    mem_free(argv);
}

/* --- GEODIST, GEOHASH, GEOPOS --- */

bool geo_of_member(const struct coll *coll, struct bytes member, struct geo_point *out)
{
    const struct elem *elem = coll == NULL ? NULL : coll_find(coll, member);

    if (elem == NULL)
        return false;
    *out = geo_decode(coll_score(elem));
    return true;
}

/* GEODIST key member1 member2 [M | KM | FT | MI] */
void cmd_geodist(struct request *rq)
{
    bool ok;
    double unit = 1;
    struct geo_point a, b;

    if (rq->argc > 5) {
        reply_err_syntax(rq->out);
        return;
    }
    if (rq->argc == 5 && !geo_unit_arg(rq, 4, &unit))
        return;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);
    if (!ok)
        return;
    if (geo_of_member(coll, rq->argv[2], &a) && geo_of_member(coll, rq->argv[3], &b))
        geo_reply_distance(rq, geo_distance(a, b) / unit);
    else
        reply_null(rq->out);
}

void cmd_geohash(struct request *rq)
{
    bool ok;
    struct geo_point at;
    char text[GEO_TEXT_BYTES];
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);

    if (!ok)
        return;
    reply_array(rq->out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        if (!geo_of_member(coll, rq->argv[i], &at)) {
            reply_null(rq->out);
            continue;
        }
        geo_text(at, text);
        reply_bulk(rq->out, bytes_of(text, sizeof(text)));
    }
}

void cmd_geopos(struct request *rq)
{
    bool ok;
    struct geo_point at;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = zset_get(rq, &key, &ok);

    if (!ok)
        return;
    reply_array(rq->out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        if (geo_of_member(coll, rq->argv[i], &at))
            geo_reply_point(rq, at);
        else
            reply_null_array(rq->out);
    }
}
