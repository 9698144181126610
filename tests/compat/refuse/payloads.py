"""Values in Redis's serialisation, one of each encoding, and payloads that claim what they have
not. server/rdb.h describes the bytes."""

import struct

VERSION = 10


def _crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95ac9329ac4bc9b5 if crc & 1 else 0)
        table.append(crc)
    return table


CRC_TABLE = _crc_table()


def summed(body):
    """With version and a checksum that fits."""
    body += struct.pack('<H', VERSION)
    crc = 0
    for byte in body:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xff]
    return body + struct.pack('<Q', crc)


# --- parts ---


def text(data):
    assert len(data) < 0x4000
    return (bytes([len(data)]) if len(data) < 64 else
            struct.pack('>H', 0x4000 | len(data))) + data


def len32(n):
    return b'\x80' + struct.pack('>I', n)


def len64(n):
    return b'\x81' + struct.pack('>Q', n)


def lzf(packed, length):
    return b'\xc3' + text(packed)[:1] + length + packed


def listpack(*entries, total=None, count=None):
    """Of entries without the length behind them, each shorter than 128 bytes."""
    body = b''.join(e + bytes([len(e)]) for e in entries) + b'\xff'
    return struct.pack('<IH', len(body) + 6 if total is None else total,
                       len(entries) if count is None else count) + body


def lp_text(data):
    return bytes([0x80 | len(data)]) + data


def ziplist(*entries, total=None, count=None):
    """Of entries without the length of the one before."""
    body, prev, tail = b'', 0, 10
    for e in entries:
        tail = 10 + len(body)
        body += bytes([prev]) + e
        prev = 1 + len(e)
    body += b'\xff'
    return struct.pack('<IIH', len(body) + 10 if total is None else total, tail,
                       len(entries) if count is None else count) + body


def zl_text(data):
    return bytes([len(data)]) + data


def intset(width, numbers, count=None):
    return struct.pack('<II', width, len(numbers) if count is None else count) + b''.join(
        struct.pack({2: '<h', 4: '<i', 8: '<q'}[width], n) for n in numbers)


# --- one of each encoding: name, bytes, what to ask, what must come ---

NUMBERS_LP = [b'\x07', b'\xdf\xff', b'\xf1\x00\x80', b'\xf2\x00\x00\x80',
              b'\xf3\x00\x00\x00\x80', b'\xf4' + bytes(7) + b'\x80']
NUMBERS_ZL = [b'\xf8', b'\xfe\xff', b'\xc0\x00\x80', b'\xf0\x00\x00\x80',
              b'\xd0\x00\x00\x00\x80', b'\xe0' + bytes(7) + b'\x80']
NUMBERS = [b'7', b'-1', b'-32768', b'-8388608', b'-2147483648', b'-9223372036854775808']

VALID = (
    ('string', b'\0' + text(b'hello'), 'GET', b'hello'),
    ('string of 8 bits', b'\0\xc0\x85', 'GET', b'-123'),
    ('string of 16 bits', b'\0\xc1\x39\x30', 'GET', b'12345'),
    ('string of 32 bits', b'\0\xc2\x00\x00\x00\x80', 'GET', b'-2147483648'),
    ('compressed string', b'\0' + lzf(b'\x01ab\xe0\x0a\x01', b'\x15'), 'GET',
     b'ab' * 10 + b'a'),
    ('list', b'\1\2' + text(b'a') + text(b'b'), 'LRANGE', [b'a', b'b']),
    ('set', b'\2\1' + text(b'a'), 'SMEMBERS', [b'a']),
    ('sorted set', b'\3\1' + text(b'a') + text(b'1.5'), 'ZRANGE', [b'a', b'1.5']),
    ('hash', b'\4\1' + text(b'f') + text(b'v'), 'HGETALL', [b'f', b'v']),
    ('sorted set, binary', b'\5\1' + text(b'a') + struct.pack('<d', 2.5), 'ZRANGE',
     [b'a', b'2.5']),
    ('ziplist', b'\x0a' + text(ziplist(zl_text(b'ab'), *NUMBERS_ZL)), 'LRANGE',
     [b'ab'] + NUMBERS),
    ('intset of 16 bits', b'\x0b' + text(intset(2, [7])), 'SMEMBERS', [b'7']),
    ('intset of 32 bits', b'\x0b' + text(intset(4, [-70000])), 'SMEMBERS', [b'-70000']),
    ('intset of 64 bits', b'\x0b' + text(intset(8, [1 << 40])), 'SMEMBERS', [b'1099511627776']),
    ('sorted set in a ziplist', b'\x0c' + text(ziplist(zl_text(b'm'), b'\xf8')), 'ZRANGE',
     [b'm', b'7']),
    ('hash in a ziplist', b'\x0d' + text(ziplist(zl_text(b'f'), zl_text(b'v'))), 'HGETALL',
     [b'f', b'v']),
    ('list of ziplists', b'\x0e\2' + text(ziplist(zl_text(b'a'))) + text(ziplist(b'\xf8')),
     'LRANGE', [b'a', b'7']),
    ('hash in a listpack', b'\x10' + text(listpack(lp_text(b'f'), b'\x07')), 'HGETALL',
     [b'f', b'7']),
    ('sorted set in a listpack', b'\x11' + text(listpack(lp_text(b'm'), lp_text(b'1.5'))),
     'ZRANGE', [b'm', b'1.5']),
    ('list of listpacks', b'\x12\2\1' + text(b'plain') + b'\2' +
     text(listpack(lp_text(b'a'), *NUMBERS_LP)), 'LRANGE', [b'plain', b'a'] + NUMBERS),
)
WHOLE = {'GET': [], 'LRANGE': [0, -1], 'SMEMBERS': [], 'ZRANGE': [0, -1, 'WITHSCORES'],
         'HGETALL': []}

# --- what is not as it says, or must not be: name, bytes ---

ODD = listpack(lp_text(b'f'), lp_text(b'v'), lp_text(b'g'))
HALF = struct.pack('<d', 0.5)

FALSE = (
    ('more elements than bytes, 32 bits', b'\1' + len32(0xffffffff) + text(b'a')),
    ('more members than bytes, 64 bits', b'\2' + len64(1 << 63) + text(b'a')),
    ('more fields than bytes', b'\4' + len64((1 << 64) - 1) + text(b'f') + text(b'v')),
    ('more scores than bytes', b'\5' + len32(0x80000000) + text(b'a') + HALF),
    ('a text longer than the payload', b'\0' + len32(0xffffffff) + b'abc'),
    ('a text of 2^63 bytes', b'\0' + len64(1 << 63) + b'abc'),
    ('a compressed text of 2^40 bytes', b'\0' + lzf(b'\0a', len64(1 << 40))),
    ('a compressed text of 512 MiB', b'\0' + lzf(b'\0a', len32(1 << 29))),
    ('a copy from before the start', b'\0' + lzf(b'\0a\x20\x05', b'\4')),
    ('a copy beyond the end', b'\0' + lzf(b'\0a\xe0\xff\x00', b'\4')),
    ('compressed bytes left over', b'\0' + lzf(b'\0a\0b', b'\1')),
    ('an intset whose size wraps at 2^32', b'\x0b' + text(intset(8, [], count=0x20000000))),
    ('an intset of 2^32 - 1', b'\x0b' + text(intset(8, [1], count=0xffffffff))),
    ('an intset of no width', b'\x0b' + text(struct.pack('<II', 0, 0))),
    ('an intset of an odd width', b'\x0b' + text(struct.pack('<II', 3, 1) + b'abc')),
    ('an intset out of order', b'\x0b' + text(intset(2, [2, 1]))),
    ('an intset with one twice', b'\x0b' + text(intset(2, [1, 1]))),
    ('a ziplist longer than its text', b'\x0a' + text(ziplist(zl_text(b'a'), total=0xffffffff))),
    ('a ziplist without an end', b'\x0a' + text(ziplist(zl_text(b'a'))[:-1] + b'a')),
    ('a ziplist of too many', b'\x0a' + text(ziplist(zl_text(b'a'), count=9))),
    ('a ziplist with a text of 2^32 - 1', b'\x0a' + text(ziplist(b'\x80\xff\xff\xff\xffa'))),
    ('a ziplist with a text of 2^14 - 1', b'\x0a' + text(ziplist(b'\x7f\xffa'))),
    ('a ziplist that leads back by 2^32 - 1', b'\x0a' + text(
        struct.pack('<IIH', 18, 10, 1) + b'\xfe\xff\xff\xff\xff\x01a\xff')),
    ('a listpack longer than its text', b'\x10' + text(listpack(b'\1', b'\2', total=0xffffffff))),
    ('a listpack of nothing', b'\x10' + text(struct.pack('<IH', 7, 0) + b'\xff')),
    ('a listpack of too many', b'\x10' + text(listpack(b'\1', b'\2', count=4))),
    ('a listpack of an odd number', b'\x10' + text(ODD)),
    ('a listpack with a text of 2^32 - 1', b'\x10' + text(
        listpack(b'\xf0\xff\xff\xff\xff', b'\1'))),
    ('a listpack with a text beyond its end', b'\x10' + text(listpack(b'\xbf', b'\1'))),
    ('a listpack that leads back elsewhere', b'\x10' + text(
        listpack(b'\1', b'\2').replace(b'\1\1', b'\1\3'))),
    ('a listpack of an unknown kind', b'\x10' + text(listpack(b'\xf5', b'\1'))),
    ('a member twice', b'\2\2' + text(b'a') + text(b'a')),
    ('a field twice', b'\4\2' + (text(b'f') + text(b'v')) * 2),
    ('a field twice in a listpack', b'\x10' + text(listpack(*[lp_text(b'f'), b'\1'] * 2))),
    ('a field twice in a ziplist', b'\x0d' + text(ziplist(*[zl_text(b'f')] * 4))),
    ('a scored member twice', b'\5\2' + (text(b'm') + HALF) * 2),
    ('a scored member twice in a listpack', b'\x11' + text(listpack(*[lp_text(b'm'), b'\1'] * 2))),
    ('a scored member twice in a ziplist', b'\x0c' + text(ziplist(*[zl_text(b'm'), b'\xf8'] * 2))),
    ('a number twice, as text and as number', b'\x10' + text(
        listpack(lp_text(b'7'), b'\1', b'\7', b'\2'))),
    ('a score that is none', b'\x11' + text(listpack(lp_text(b'm'), lp_text(b'abc')))),
    ('a score that is not a number', b'\x11' + text(listpack(lp_text(b'm'), lp_text(b'nan')))),
    ('a binary score that is not a number', b'\5\1' + text(b'm') + b'\xff' * 8),
    ('a text score that is not a number', b'\3\1' + text(b'm') + b'\xfd'),
    ('more nodes than bytes', b'\x0e' + len32(0xffffffff) + text(ziplist(zl_text(b'a')))),
    ('a node of an unknown kind', b'\x12\1\3' + text(b'a')),
    ('no nodes', b'\x12\0'),
    ('no elements', b'\1\0'),
    ('no members', b'\2\0'),
    ('no fields', b'\4\0'),
    ('no members in an intset', b'\x0b' + text(intset(2, []))),
    ('bytes left over', b'\0' + text(b'a') + b'b'),
    ('nothing at all', b''),
    ('a module of old', b'\x06\x01a'),
    ('a module', b'\x07' + b'\xff' * 9),
    ('a stream', b'\x0f\x01\x10' + bytes(16) + text(listpack(b'\1'))),
    ('a type that is none', b'\xff' + text(b'a')),
)
