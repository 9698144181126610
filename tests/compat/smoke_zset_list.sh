#!/bin/sh
# Sorted sets and lists on one tierra-server, without redis-server: the replies that matter most, a
# restart among them. Usage: smoke_zset_list.sh tierra-server
set -eu
server=$1
. "$(dirname "$0")/smoke_lib.sh"

# expect "reply, lines joined by blanks" command..
expect() {
    want=$1
    shift
    got=$(cli "$@" | sed '/^$/d' | tr '\n' ' ' | sed 's/ *$//')
    [ "$got" = "$want" ] && return
    echo "$*: got '$got', not '$want'"
    exit 1
}

start
expect 3 zadd z 1 a 2 b 3 c
expect 1 zadd z ch gt 5 a 1 b
expect "" zadd z nx incr 1 a
expect 5.5 zincrby z 0.5 a
expect "b 2 c 3 a 5.5" zrange z 0 -1 withscores
expect "a c" zrange z +inf "(2" byscore rev limit 0 2
expect "b 2" zpopmin z
expect 1 zrank z a
expect 2 zadd y 1 c 7 d
expect "c 4 a 5.5 d 7" zunion 2 z y withscores
expect 1 zinterstore y 2 z y weights 2 1
expect 7 zscore y c
expect 2 zrangestore w z 0 -1
expect "w c 3" zmpop 1 w min
expect 1 zremrangebyscore w -inf +inf
expect 0 exists w
expect "ERR min or max is not a float" zcount z x 1
expect 4 rpush l b c d b
expect 5 lpush l a
expect 6 linsert l after c x
expect "a b c x d b" lrange l 0 -1
expect "1 5" lpos l b count 0
expect b lmove l m right left
expect 1 lrem l 0 x
expect OK ltrim l 1 -1
expect "l d" lmpop 1 l right
expect "c b" rpop l 5
expect 0 exists l
expect "ERR index out of range" lset m 1 x
expect 3 rpush m y z
expect "WRONGTYPE Operation against a key holding the wrong kind of value" lpush z x
stop
start
expect "c 3 a 5.5" zrange z 0 -1 withscores
expect "b y z" lrange m 0 -1
expect b lpop m
expect "3" lpush m w
expect "w y z" lrange m 0 -1
