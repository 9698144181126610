"""Every write command of the command table, and what it does in a group: the rows of the merge
table of design, one command each. commands.py runs them, and holds them against COMMAND.

    Write(command, before, call, shows, (other, shows), ..)

    before    what member 1 does before the members are apart; steps as in conflict_tables.def and
              rows.py, without the member, with semicolons between
    call      what member 1 does then
    shows     what every member shows when all is everywhere: "?" of a row, of %1; or of several
              keys, "%1 a; %2 b"; or the reply of a command, ": CMD key =>reply"
    other     what member 2 does later, but before it hears of the call. The first is the same
              command again; others are a DEL of what the call writes, tried in both orders, and at
              least one other command that writes to a key of that type

The rules: a later whole value of a string wins, but HyperLogLogs are joined; counters add up; a
field, member or element that a removal has not seen stays; DEL takes what it has seen; the longest
time to live wins, none beats all, and it ends only the value that it was set for; of two types the
later one shows.
"""

PALERMO, CATANIA = '13.361389 38.115556', '15.087269 37.502669'

# To a server that is no member; of both members one after the other, too.
MIGRATE = ': MIGRATE $host $port %1 0 5000 REPLACE =>OK'


class Write:
    def __init__(self, command, before, call, shows, *others):
        self.command, self.before, self.call, self.shows = command, before, call, shows
        self.others = others


STRINGS = [
    Write('set', 'SET 10', 'SET 20', '1:20,',
          ('SET 30', '1:30,'), ('DEL', '1:20,'), ('INCRBY 5', '1:25,')),
    Write('set', 'SET a', ': SET %1 b PXAT @1050000', '1:b,@1050000',
          (': SET %1 c PXAT @1010000', '1:c,@1010000'), ('DEL', '1:b,@1050000'),
          (': PEXPIREAT %1 @1060000', '1:b,@1050000')),
    Write('setnx', '', 'SETNX a =>1', '1:a,',
          ('SETNX b =>1', '1:b,'), ('DEL', '1:a,'), ('SADD x', '3:x=,')),
    Write('setex', 'SET o', ': SETEX %1 6000 a', '1:a,@~',
          (': SETEX %1 7000 b', '1:b,@~'), ('DEL', '1:a,@~'), ('SET c', '1:c,')),
    Write('psetex', 'SET o', ': PSETEX %1 6000000 a', '1:a,@~',
          (': PSETEX %1 7000000 b', '1:b,@~'), ('DEL', '1:a,@~'), ('SET c', '1:c,')),
    Write('getset', 'SET a', 'GETSET b =>a', '1:b,',
          ('GETSET c =>a', '1:c,'), ('DEL', '1:b,'), ('APPEND x', '1:ax,')),
    Write('getdel', 'SET a', 'GETDEL =>a', '-',
          ('GETDEL =>a', '-'), ('DEL', '-'), ('SET b', '1:b,')),
    Write('getex', 'SET a', ': GETEX %1 PXAT @1050000 =>a', '1:a,@1050000',
          (': GETEX %1 PXAT @1010000 =>a', '1:a,@1050000'), ('DEL', '-'), ('SET b', '1:b,')),
    Write('getex', 'SET a PXAT 1050000', ': GETEX %1 PERSIST =>a', '1:a,',
          (': GETEX %1 PERSIST =>a', '1:a,'), ('DEL', '-'),
          (': PEXPIREAT %1 @1060000', '1:a,')),
    Write('mset', ': SET %1 o', ': MSET %1 a %2 b', '%1 1:a,; %2 1:b,',
          (': MSET %1 c %3 d', '%1 1:c,; %2 1:b,; %3 1:d,'),
          (': DEL %1 %2', '%1 1:a,; %2 1:b,'), (': SET %2 z', '%1 1:a,; %2 1:z,')),
    Write('msetnx', '', ': MSETNX %1 a %2 b =>1', '%1 1:a,; %2 1:b,',
          (': MSETNX %1 c %3 d =>1', '%1 1:c,; %2 1:b,; %3 1:d,'),
          (': DEL %1 %2', '%1 1:a,; %2 1:b,'), (': SET %2 z', '%1 1:a,; %2 1:z,')),
    Write('append', 'SET a', 'APPEND b =>2', '1:ab,',
          ('APPEND c =>2', '1:ac,'), ('DEL', '1:ab,'), ('SET z', '1:z,')),
    Write('setrange', 'SET abc', 'SETRANGE 0 x', '1:xbc,',
          ('SETRANGE 2 y', '1:aby,'), ('DEL', '1:xbc,'), ('APPEND d', '1:abcd,')),
    Write('setbit', 'SET @', 'SETBIT 7 1', '1:A,',
          ('SETBIT 6 1', '1:B,'), ('DEL', '1:A,'), ('SET z', '1:z,')),
    Write('bitfield', 'SET @', 'BITFIELD SET u8 0 65', '1:A,',
          ('BITFIELD SET u8 8 66', '1:@B,'), ('DEL', '1:A,'), ('SET z', '1:z,')),
    Write('bitop', 'SET A; : SET %2 B', ': BITOP OR %1 %1 %2', '1:C,',
          (': BITOP AND %1 %1 %2', '1:@,'), ('DEL', '1:C,'), ('SETBIT 7 0', '1:@,')),
]

COUNTERS = [
    Write('incr', 'INCRBY 10', 'INCR =>11', '1:11,',
          ('INCR =>11', '1:12,'), ('DEL', '1:1,'), ('SET 100', '1:101,')),
    Write('decr', 'INCRBY 10', 'DECR =>9', '1:9,',
          ('DECR =>9', '1:8,'), ('DEL', '1:-1,'), ('SET 100', '1:99,')),
    Write('incrby', 'SET 10', 'INCRBY 3 =>13', '1:13,',
          ('INCRBY 4 =>14', '1:17,'), ('DEL', '1:3,'), ('SET 100', '1:103,')),
    Write('decrby', 'SET 10', 'DECRBY 3 =>7', '1:7,',
          ('DECRBY 4 =>6', '1:3,'), ('DEL', '1:-3,'), ('GETSET 100', '1:97,')),
    Write('incrbyfloat', 'SET 10', 'INCRBYFLOAT 0.5 =>10.5', '1:10.5,',
          ('INCRBYFLOAT 0.25 =>10.25', '1:10.75,'), ('DEL', '1:0.5,'), ('INCRBY 2', '1:12.5,')),
]

HYPERLOGLOGS = [
    Write('pfadd', 'PFADD w', 'PFADD x =>1', ': PFCOUNT %1 =>2',
          ('PFADD y =>1', ': PFCOUNT %1 =>3'), ('DEL', ': PFCOUNT %1 =>2'), ('SET z', '1:z,')),
    Write('pfmerge', 'PFADD w; : PFADD %2 v', ': PFMERGE %1 %2', ': PFCOUNT %1 =>2',
          (': PFMERGE %1 %2', ': PFCOUNT %1 =>2'), ('DEL', ': PFCOUNT %1 =>2'),
          ('PFADD x y', ': PFCOUNT %1 =>4')),
    Write('pfdebug', 'PFADD w', ': PFDEBUG TODENSE %1 =>1', ': PFDEBUG ENCODING %1 =>dense',
          (': PFDEBUG TODENSE %1 =>1', ': PFDEBUG ENCODING %1 =>dense'),
          ('DEL', ': PFDEBUG ENCODING %1 =>dense'),
          ('PFADD x', ': PFCOUNT %1 =>2')),
]

KEYS = [
    Write('del', 'SET a', 'DEL =>1', '-',
          ('DEL =>1', '-'), ('SET b', '1:b,')),
    Write('del', 'SADD a b', 'DEL =>1', '-',
          ('DEL =>1', '-'), ('SADD b', '3:b=,')),
    Write('unlink', 'SET a', 'UNLINK =>1', '-',
          ('UNLINK =>1', '-'), ('DEL', '-'), ('SET b', '1:b,')),
    Write('expire', 'SET a', ': EXPIRE %1 6000', '1:a,@~',
          (': EXPIRE %1 7000', '1:a,@~'), ('DEL', '-'), ('PERSIST', '1:a,')),
    Write('pexpire', 'SADD a', ': PEXPIRE %1 6000000', '3:a=,@~',
          (': PEXPIRE %1 7000000', '3:a=,@~'), ('DEL', '-'), ('SADD b', '3:a=,b=,@~')),
    Write('expireat', 'SET a', ': EXPIREAT %1 @s1050000', '1:a,@~',
          (': EXPIREAT %1 @s1010000', '1:a,@~'), ('DEL', '-'), ('SET b', '1:b,')),
    Write('pexpireat', 'RPUSH a', ': PEXPIREAT %1 @1050000', '2:a,@1050000',
          (': PEXPIREAT %1 @1010000', '2:a,@1050000'), ('DEL', '-'),
          ('RPUSH b', '2:a,b,@1050000')),
    Write('persist', 'SET a PXAT 1050000', 'PERSIST', '1:a,',
          ('PERSIST', '1:a,'), ('DEL', '-'), (': PEXPIREAT %1 @1060000', '1:a,')),
    Write('rename', 'SET a', ': RENAME %1 %2', '%1 -; %2 1:a,',
          (': RENAME %1 %3', '%1 -; %2 1:a,; %3 1:a,'), ('DEL', '%1 -; %2 1:a,'),
          ('SET b', '%1 1:b,; %2 1:a,')),
    Write('rename', 'HSET f a; : HSET %2 g o', ': RENAME %1 %2', '%1 -; %2 5:f=a,',
          (': RENAME %1 %3', '%1 -; %2 5:f=a,; %3 5:f=a,'), (': DEL %2', '%1 -; %2 5:f=a,'),
          (': HSET %2 h b', '%1 -; %2 5:f=a,h=b,')),
    Write('renamenx', 'ZADD 1 x', ': RENAMENX %1 %2 =>1', '%1 -; %2 4:x=1,',
          (': RENAMENX %1 %3 =>1', '%1 -; %2 4:x=1,; %3 4:x=1,'), ('DEL', '%1 -; %2 4:x=1,'),
          ('ZADD 2 x', '%1 4:x=2,; %2 4:x=1,')),
    Write('copy', 'SET a; : SET %2 o', ': COPY %1 %2 REPLACE =>1', '%1 1:a,; %2 1:a,',
          (': COPY %1 %2 REPLACE =>1', '%1 1:a,; %2 1:a,'), (': DEL %2', '%1 1:a,; %2 1:a,'),
          (': SET %2 z', '%1 1:a,; %2 1:z,')),
    Write('copy', 'RPUSH a b; : RPUSH %2 o', ': COPY %1 %2 REPLACE =>1', '%1 2:a,b,; %2 2:a,b,',
          (': COPY %1 %2 REPLACE =>1', '%1 2:a,b,; %2 2:a,b,a,b,'),
          (': DEL %2', '%1 2:a,b,; %2 2:a,b,'), (': RPUSH %2 z', '%1 2:a,b,; %2 2:a,b,z,')),
    Write('restore', 'SET o', ': RESTORE %1 @1050000 $string REPLACE ABSTTL', '1:a,@1050000',
          (': RESTORE %1 0 $string REPLACE', '1:a,'), ('DEL', '1:a,@1050000'), ('SET z', '1:z,')),
    Write('restore', 'RPUSH o', ': RESTORE %1 0 $list REPLACE', '2:a,b,',
          (': RESTORE %1 0 $list REPLACE', '2:a,b,a,b,'), ('DEL', '2:a,b,'),
          ('RPUSH z', '2:a,b,z,')),
    Write('restore', 'HSET o o', ': RESTORE %1 0 $hash REPLACE', '5:f=a,g=b,',
          (': RESTORE %1 0 $hash REPLACE', '5:f=a,g=b,'), ('DEL', '5:f=a,g=b,'),
          ('HSET g c', '5:f=a,g=c,')),
    Write('restore', 'SADD o', ': RESTORE %1 0 $set REPLACE', '3:a=,b=,',
          (': RESTORE %1 0 $set REPLACE', '3:a=,b=,'), ('DEL', '3:a=,b=,'),
          ('SADD z', '3:a=,b=,z=,')),
    Write('restore', '', ': RESTORE %1 0 $zset', '4:x=1,y=2,',
          (': RESTORE %1 0 $zset', '4:x=1,y=2,'), ('DEL', '4:x=1,y=2,'),
          ('ZADD 9 x', '4:x=9,y=2,')),
    Write('migrate', 'SET a', MIGRATE, '-', (MIGRATE, '-'), ('DEL', '-'), ('SET z', '1:z,')),
    Write('migrate', 'SADD a', MIGRATE, '-',
          (MIGRATE, '-'), ('DEL', '-'), ('SADD z', '3:z=,')),
    Write('migrate', 'RPUSH a', ': MIGRATE $host $port %1 0 5000 COPY REPLACE =>OK', '2:a,',
          (MIGRATE, '-'), ('DEL', '-'), ('RPUSH z', '2:a,z,')),
    Write('sort', 'RPUSH 2 1; : RPUSH %2 o', ': SORT %1 STORE %2 =>2', '%1 2:2,1,; %2 2:1,2,',
          (': SORT %1 DESC STORE %2 =>2', '%2 2:1,2,2,1,'), (': DEL %2', '%2 2:1,2,'),
          (': RPUSH %2 x', '%2 2:1,2,x,')),
]

HASHES = [
    Write('hset', 'HSET f o', 'HSET f a', '5:f=a,',
          ('HSET f b', '5:f=b,'), ('DEL', '5:f=a,'), ('HDEL f', '5:f=a,')),
    Write('hmset', 'HSET f o', 'HMSET f a g b', '5:f=a,g=b,',
          ('HMSET f b', '5:f=b,g=b,'), ('DEL', '5:f=a,g=b,'), ('HDEL f', '5:f=a,g=b,')),
    Write('hsetnx', 'HSET g o', 'HSETNX f a =>1', '5:f=a,g=o,',
          ('HSETNX f b =>1', '5:f=b,g=o,'), ('DEL', '5:f=a,'), ('HDEL g', '5:f=a,')),
    Write('hdel', 'HSET f a g b', 'HDEL f =>1', '5:g=b,',
          ('HDEL f =>1', '5:g=b,'), ('DEL', '-'), ('HSET f c', '5:f=c,g=b,')),
    Write('hincrby', 'HINCRBY f 5', 'HINCRBY f 2 =>7', '5:f=7,',
          ('HINCRBY f 3 =>8', '5:f=10,'), ('DEL', '5:f=7,'), ('HDEL f', '5:f=2,')),
    Write('hincrby', 'HSET f 5', 'HINCRBY f 2 =>7', '5:f=7,',
          ('HINCRBY f 3 =>8', '5:f=10,'), ('DEL', '5:f=2,'), ('HSET f 100', '5:f=102,')),
    Write('hincrbyfloat', 'HSET f 5', 'HINCRBYFLOAT f 0.5 =>5.5', '5:f=5.5,',
          ('HINCRBYFLOAT f 0.25 =>5.25', '5:f=5.75,'), ('DEL', '5:f=0.5,'),
          ('HINCRBY f 2', '5:f=7.5,')),
]

LISTS = [
    Write('lpush', 'RPUSH m', 'LPUSH a', '2:a,m,',
          ('LPUSH b', '2:b,a,m,'), ('DEL', '2:a,'), ('RPUSH z', '2:a,m,z,')),
    Write('rpush', 'RPUSH m', 'RPUSH a', '2:m,a,',
          ('RPUSH b', '2:m,a,b,'), ('DEL', '2:a,'), ('LPUSH z', '2:z,m,a,')),
    Write('lpushx', 'RPUSH m', 'LPUSHX a', '2:a,m,',
          ('LPUSHX b', '2:b,a,m,'), ('DEL', '2:a,'), ('RPUSH z', '2:a,m,z,')),
    Write('rpushx', 'RPUSH m', 'RPUSHX a', '2:m,a,',
          ('RPUSHX b', '2:m,a,b,'), ('DEL', '2:a,'), ('LPUSH z', '2:z,m,a,')),
    Write('linsert', 'RPUSH x y', ': LINSERT %1 AFTER x a', '2:x,a,y,',
          (': LINSERT %1 AFTER x b', '2:x,a,b,y,'), ('DEL', '2:a,'), ('RPUSH z', '2:x,a,y,z,')),
    Write('lset', 'RPUSH x y', 'LSET 0 a', '2:a,y,',
          ('LSET 0 b', '2:b,y,'), ('DEL', '2:a,'), ('LPOP', '2:a,y,')),
    Write('lrem', 'RPUSH x y x', 'LREM 0 x =>2', '2:y,',
          ('LREM 1 x =>1', '2:y,'), ('DEL', '-'), ('RPUSH x', '2:y,x,')),
    Write('ltrim', 'RPUSH x y z', 'LTRIM 0 1', '2:x,y,',
          ('LTRIM 1 2', '2:y,'), ('DEL', '-'), ('RPUSH w', '2:x,y,w,')),
    Write('lpop', 'RPUSH x y z', 'LPOP =>x', '2:y,z,',
          ('LPOP =>x', '2:y,z,'), ('DEL', '-'), ('RPUSH w', '2:y,z,w,')),
    Write('rpop', 'RPUSH x y z', 'RPOP =>z', '2:x,y,',
          ('RPOP =>z', '2:x,y,'), ('DEL', '-'), ('LPUSH w', '2:w,x,y,')),
    Write('lmpop', 'RPUSH x y z', ': LMPOP 1 %1 LEFT COUNT 2', '2:z,',
          (': LMPOP 1 %1 RIGHT', '-'), ('DEL', '-'), ('RPUSH w', '2:z,w,')),
    Write('lmove', 'RPUSH x y', ': LMOVE %1 %2 LEFT RIGHT =>x', '%1 2:y,; %2 2:x,',
          (': LMOVE %1 %2 LEFT RIGHT =>x', '%1 2:y,; %2 2:x,x,'), ('DEL', '%1 -; %2 2:x,'),
          ('RPUSH z', '%1 2:y,z,; %2 2:x,')),
    Write('rpoplpush', 'RPUSH x y', ': RPOPLPUSH %1 %2 =>y', '%1 2:x,; %2 2:y,',
          (': RPOPLPUSH %1 %2 =>y', '%1 2:x,; %2 2:y,y,'), ('DEL', '%1 -; %2 2:y,'),
          (': RPUSH %2 z', '%1 2:x,; %2 2:y,z,')),
    Write('blpop', 'RPUSH x y z', ': BLPOP %1 0', '2:y,z,',
          (': BLPOP %1 0', '2:y,z,'), ('DEL', '-'), ('RPUSH w', '2:y,z,w,')),
    Write('brpop', 'RPUSH x y z', ': BRPOP %1 0', '2:x,y,',
          (': BRPOP %1 0', '2:x,y,'), ('DEL', '-'), ('LPUSH w', '2:w,x,y,')),
    Write('blmpop', 'RPUSH x y z', ': BLMPOP 0 1 %1 LEFT', '2:y,z,',
          (': BLMPOP 0 1 %1 RIGHT', '2:y,'), ('DEL', '-'), ('RPUSH w', '2:y,z,w,')),
    Write('blmove', 'RPUSH x y', ': BLMOVE %1 %2 LEFT RIGHT 0 =>x', '%1 2:y,; %2 2:x,',
          (': BLMOVE %1 %2 LEFT RIGHT 0 =>x', '%1 2:y,; %2 2:x,x,'), ('DEL', '%1 -; %2 2:x,'),
          ('RPUSH z', '%1 2:y,z,; %2 2:x,')),
    Write('brpoplpush', 'RPUSH x y', ': BRPOPLPUSH %1 %2 0 =>y', '%1 2:x,; %2 2:y,',
          (': BRPOPLPUSH %1 %2 0 =>y', '%1 2:x,; %2 2:y,y,'), ('DEL', '%1 -; %2 2:y,'),
          (': RPUSH %2 z', '%1 2:x,; %2 2:y,z,')),
]

SETS = [
    Write('sadd', 'SADD o', 'SADD a', '3:a=,o=,',
          ('SADD b', '3:a=,b=,o=,'), ('DEL', '3:a=,'), ('SREM o', '3:a=,')),
    Write('srem', 'SADD a b', 'SREM a =>1', '3:b=,',
          ('SREM a =>1', '3:b=,'), ('DEL', '-'), ('SADD a', '3:a=,b=,')),
    Write('spop', 'SADD a', 'SPOP =>a', '-',
          ('SPOP =>a', '-'), ('DEL', '-'), ('SADD a', '3:a=,')),
    Write('smove', 'SADD a b', ': SMOVE %1 %2 a =>1', '%1 3:b=,; %2 3:a=,',
          (': SMOVE %1 %2 a =>1', '%1 3:b=,; %2 3:a=,'), ('DEL', '%1 -; %2 3:a=,'),
          ('SADD a', '%1 3:a=,b=,; %2 3:a=,')),
    Write('sinterstore', 'SADD o; : SADD %2 a b c; : SADD %3 a b', ': SINTERSTORE %1 %2 %3 =>2',
          '3:a=,b=,', (': SINTERSTORE %1 %2 =>3', '3:a=,b=,c=,'), ('DEL', '3:a=,b=,'),
          ('SADD z', '3:a=,b=,z=,')),
    Write('sunionstore', 'SADD o; : SADD %2 a b; : SADD %3 c', ': SUNIONSTORE %1 %2 =>2',
          '3:a=,b=,', (': SUNIONSTORE %1 %2 %3 =>3', '3:a=,b=,c=,'), ('DEL', '3:a=,b=,'),
          ('SADD z', '3:a=,b=,z=,')),
    Write('sdiffstore', 'SADD o; : SADD %2 a b c; : SADD %3 c', ': SDIFFSTORE %1 %2 %3 =>2',
          '3:a=,b=,', (': SDIFFSTORE %1 %2 =>3', '3:a=,b=,c=,'), ('DEL', '3:a=,b=,'),
          ('SREM o', '3:a=,b=,')),
]

FROM = 'ZADD 9 o; : ZADD %2 1 a 2 b'  # A sorted set, and where its new content comes from.
SORTED_SETS = [
    Write('zadd', 'ZADD 1 o', 'ZADD 2 x', '4:o=1,x=2,',
          ('ZADD 3 x', '4:o=1,x=3,'), ('DEL', '4:x=2,'), ('ZREM o', '4:x=2,')),
    Write('zadd', 'ZADD 5 x', 'ZADD INCR 2 x =>7', '4:x=7,',
          ('ZADD INCR 3 x =>8', '4:x=10,'), ('DEL', '4:x=2,'), ('ZADD 100 x', '4:x=102,')),
    Write('zincrby', 'ZINCRBY 5 x', 'ZINCRBY 2 x =>7', '4:x=7,',
          ('ZINCRBY 3 x =>8', '4:x=10,'), ('DEL', '4:x=7,'), ('ZREM x', '4:x=2,')),
    Write('zrem', 'ZADD 1 x 2 y', 'ZREM x =>1', '4:y=2,',
          ('ZREM x =>1', '4:y=2,'), ('DEL', '-'), ('ZADD 9 x', '4:x=9,y=2,')),
    Write('zremrangebyrank', 'ZADD 1 x 2 y', 'ZREMRANGEBYRANK 0 0 =>1', '4:y=2,',
          ('ZREMRANGEBYRANK 0 0 =>1', '4:y=2,'), ('DEL', '-'), ('ZADD 9 x', '4:x=9,y=2,')),
    Write('zremrangebyscore', 'ZADD 1 x 2 y', 'ZREMRANGEBYSCORE 1 1 =>1', '4:y=2,',
          ('ZREMRANGEBYSCORE 1 1 =>1', '4:y=2,'), ('DEL', '-'), ('ZINCRBY 2 x', '4:x=2,y=2,')),
    Write('zremrangebylex', 'ZADD 0 x 0 y', 'ZREMRANGEBYLEX - [x =>1', '4:y=0,',
          ('ZREMRANGEBYLEX - [x =>1', '4:y=0,'), ('DEL', '-'), ('ZADD 9 x', '4:x=9,y=0,')),
    Write('zpopmin', 'ZADD 1 x 2 y', 'ZPOPMIN =>x,1', '4:y=2,',
          ('ZPOPMIN =>x,1', '4:y=2,'), ('DEL', '-'), ('ZADD 9 x', '4:x=9,y=2,')),
    Write('zpopmax', 'ZADD 1 x 2 y', 'ZPOPMAX =>y,2', '4:x=1,',
          ('ZPOPMAX =>y,2', '4:x=1,'), ('DEL', '-'), ('ZADD 9 y', '4:x=1,y=9,')),
    Write('zmpop', 'ZADD 1 x 2 y', ': ZMPOP 1 %1 MIN', '4:y=2,',
          (': ZMPOP 1 %1 MAX', '-'), ('DEL', '-'), ('ZADD 9 x', '4:x=9,y=2,')),
    Write('bzpopmin', 'ZADD 1 x 2 y', ': BZPOPMIN %1 0', '4:y=2,',
          (': BZPOPMIN %1 0', '4:y=2,'), ('DEL', '-'), ('ZADD 9 x', '4:x=9,y=2,')),
    Write('bzpopmax', 'ZADD 1 x 2 y', ': BZPOPMAX %1 0', '4:x=1,',
          (': BZPOPMAX %1 0', '4:x=1,'), ('DEL', '-'), ('ZADD 9 y', '4:x=1,y=9,')),
    Write('bzmpop', 'ZADD 1 x 2 y', ': BZMPOP 0 1 %1 MIN', '4:y=2,',
          (': BZMPOP 0 1 %1 MAX', '-'), ('DEL', '-'), ('ZINCRBY 2 x', '4:x=2,y=2,')),
    Write('zrangestore', FROM, ': ZRANGESTORE %1 %2 0 0 =>1', '4:a=1,',
          (': ZRANGESTORE %1 %2 0 1 =>2', '4:a=1,b=2,'), ('DEL', '4:a=1,'),
          ('ZADD 3 z', '4:a=1,z=3,')),
    Write('zunionstore', FROM, ': ZUNIONSTORE %1 1 %2 =>2', '4:a=1,b=2,',
          (': ZUNIONSTORE %1 1 %2 WEIGHTS 2 =>2', '4:a=2,b=4,'), ('DEL', '4:a=1,b=2,'),
          ('ZADD 3 z', '4:a=1,b=2,z=3,')),
    Write('zinterstore', FROM, ': ZINTERSTORE %1 1 %2 =>2', '4:a=1,b=2,',
          (': ZINTERSTORE %1 1 %2 WEIGHTS 2 =>2', '4:a=2,b=4,'), ('DEL', '4:a=1,b=2,'),
          ('ZINCRBY 3 z', '4:a=1,b=2,z=3,')),
    Write('zdiffstore', FROM, ': ZDIFFSTORE %1 1 %2 =>2', '4:a=1,b=2,',
          (': ZDIFFSTORE %1 1 %2 =>2', '4:a=1,b=2,'), ('DEL', '4:a=1,b=2,'),
          ('ZREM o', '4:a=1,b=2,')),
]

PLACES = 'ZADD 9 o; : GEOADD %%2 %s p' % PALERMO
AT_P = ': GEOHASH %1 p q o =>sqc8b49rny0,,'
AT_P_AND_Q = ': GEOHASH %1 p q =>sqc8b49rny0,sqdtr74hyu0'
AND_Q = ': GEOADD %%1 %s q' % CATANIA
GEO = [
    Write('geoadd', ': GEOADD %%1 %s q' % CATANIA, ': GEOADD %%1 %s p' % PALERMO, AT_P_AND_Q,
          (': GEOADD %%1 %s p' % CATANIA, ': GEOHASH %1 p q =>sqdtr74hyu0,sqdtr74hyu0'),
          ('DEL', AT_P), ('ZREM q', AT_P)),
    Write('georadius', PLACES, ': GEORADIUS %2 13 38 200 km STORE %1 =>1', AT_P,
          (': GEORADIUS %2 13 38 200 km STORE %1 =>1', AT_P), ('DEL', AT_P), (AND_Q, AT_P_AND_Q)),
    Write('georadiusbymember', PLACES, ': GEORADIUSBYMEMBER %2 p 1 km STORE %1 =>1', AT_P,
          (': GEORADIUSBYMEMBER %2 p 1 km STORE %1 =>1', AT_P), ('DEL', AT_P),
          (AND_Q, AT_P_AND_Q)),
    Write('geosearchstore', PLACES, ': GEOSEARCHSTORE %1 %2 FROMMEMBER p BYRADIUS 1 km =>1', AT_P,
          (': GEOSEARCHSTORE %1 %2 FROMMEMBER p BYRADIUS 1 km STOREDIST =>1', '4:p=0,'),
          ('DEL', AT_P), (AND_Q, AT_P_AND_Q)),
]

WRITES = (STRINGS + COUNTERS + HYPERLOGLOGS + KEYS + HASHES + LISTS + SETS + SORTED_SETS + GEO)

# What a group has no use for, and refuses, or what changes nothing.
REFUSED = {'flushall': (), 'flushdb': (), 'swapdb': (0, 0), 'move': ('k', 0)}
EMPTY = {'function|flush': ()}
