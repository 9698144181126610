#!/bin/sh
# Hashes and sets on one tierra-server, without redis-server: the replies that matter most, a
# restart among them. Usage: smoke_hash_set.sh tierra-server
set -eu
server=$1
. "$(dirname "$0")/smoke_lib.sh"

# expect "reply, lines joined by blanks" command..
expect() {
    want=$1
    shift
    got=$(cli "$@" | sed '/^$/d' | sort | tr '\n' ' ' | sed 's/ *$//')
    [ "$got" = "$want" ] && return
    echo "$*: got '$got', not '$want'"
    exit 1
}

start --enable-debug-command yes
expect 2 hset h a 1 b 2
expect 1 hset h b 3 b 4 c x
expect "1 4 a b c x" hgetall h
expect 6 hincrby h a 5
expect 4.5 hincrbyfloat h b 0.5
expect "ERR hash value is not an integer" hincrby h c 1
expect 0 hsetnx h a 9
expect 3 sadd s x y z y
expect 3 sadd t y z w

# A member that is there already changes nothing: nothing is logged, who watches is not told.
applied() {
    cli info tiering | grep applied_lsn
}
before=$(applied)
expect 0 sadd s x z
[ "$(applied)" = "$before" ] || { echo "SADD of old members was logged"; exit 1; }
printf 'watch s\nsadd s x\nmulti\nping\nexec\n' | redis-cli -s "$socket" | grep -qx PONG || {
    echo "SADD of an old member broke a WATCH"
    exit 1
}
expect 1 sadd s x v
[ "$(applied)" != "$before" ] || { echo "SADD of a new member was not logged"; exit 1; }
expect 1 srem s v
expect "y z" sinter s t
expect 1 sintercard 2 s t limit 1
expect "w x y z" sunion s t
expect x sdiff s t
expect 2 sinterstore s s t
expect "y z" smembers s
expect 1 smove s t y
expect "WRONGTYPE Operation against a key holding the wrong kind of value" sadd h x
expect 0 sdiffstore s s t
expect 0 exists s
stop
start --enable-debug-command yes
expect "4.5 6 a b c x" hgetall h
expect "w y z" smembers t
expect 3 hdel h a b c
expect 0 exists h

# What has expired, and is not reclaimed yet, does not show through what takes its place.
expect OK debug set-active-expire 0
expect 1 hset eh a 1
expect 1 sadd es a
expect OK set estring x
expect 1 hset ecount a 1
soon=$(($(date +%s%3N) + 300))
for key in eh es estring ecount; do
    expect 1 pexpireat "$key" "$soon"
done
while [ "$(date +%s%3N)" -le "$soon" ]; do
    sleep 0.05
done
expect 1 hset eh b 2
expect 1 sadd es b
expect 1 hset estring c 3
expect 7 incrby ecount 7
expect "2 b" hgetall eh
crash
start --enable-debug-command yes
expect "2 b" hgetall eh
expect b smembers es
expect "3 c" hgetall estring
expect 7 get ecount
expect -1 ttl eh
# The expiry of a collection that a command made and limited at once, as RENAME does.
expect 1 hset from a 1
expect 1 expire from 1000
expect OK rename from to
crash
start --enable-debug-command yes
[ "$(cli ttl to)" -gt 0 ] || {
    echo "RENAME: the expiry is lost after kill -9"
    exit 1
}
echo "hashes and sets: as they should be"
