#!/usr/bin/env python3
"""Decrypts one blob of an encrypted store, by what the documentation of `crypt` says and nothing else.

    unseal.py SLOTS KEYFILE ADDRESS-IN-HEX BLOB > CONTENT

SLOTS and BLOB are files with what a storage keeps at the address `k` and at the address of the blob,
which is given as it is without encryption. KEYFILE is a key file; a passphrase goes as -p PASSPHRASE-FILE.
Needs the program openssl for AES, and for key files of real stores the package `cryptography`.
"""
import hashlib, subprocess, sys

M32, M64 = 2**32 - 1, 2**64 - 1


def blake3(data, key=None, context=None, size=32):  # as in the BLAKE3 paper
    iv = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
    words = lambda b: [int.from_bytes(b[i:i + 4], "little") for i in range(0, len(b), 4)]
    order = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
    quarters = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]

    def compress(cv, block, counter, length, flags):
        s = cv + iv[:4] + [counter & M32, counter >> 32, length, flags]
        m = words(block.ljust(64, b"\0"))
        rot = lambda x, n: (x >> n | x << 32 - n) & M32
        for _ in range(7):
            for i, (a, b, c, d) in enumerate(quarters):
                for word, x, y in ((m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)):
                    s[a] = s[a] + s[b] + word & M32
                    s[d] = rot(s[d] ^ s[a], x)
                    s[c] = s[c] + s[d] & M32
                    s[b] = rot(s[b] ^ s[c], y)
            m = [m[i] for i in order]
        return [s[i] ^ s[i + 8] for i in range(8)] + [s[i + 8] ^ cv[i] for i in range(8)]

    def root(start, base, data, size):
        def node(data, at):  # its last compression, not yet done
            if len(data) <= 1024:
                cv, blocks = start, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
                for i, block in enumerate(blocks[:-1]):
                    cv = compress(cv, block, at, 64, base | (i == 0))[:8]
                return cv, blocks[-1], at, len(blocks[-1]), base | 2 | (len(blocks) == 1)
            left = 1024 << ((len(data) - 1) // 1024).bit_length() - 1
            both = [compress(*node(part, i))[:8] for part, i in ((data[:left], at), (data[left:], at + left // 1024))]
            return start, b"".join(w.to_bytes(4, "little") for cv in both for w in cv), 0, 64, base | 4
        cv, block, _, length, flags = node(data, 0)
        out = b""
        for counter in range(-(-size // 64)):
            out += b"".join(w.to_bytes(4, "little") for w in compress(cv, block, counter, length, flags | 8))
        return out[:size]

    if context is not None:
        return root(words(root(iv, 32, context.encode(), 32)), 64, data, size)
    return root(words(key), 16, data, size) if key is not None else root(iv, 0, data, size)


def argon2id(secret, salt, memory, passes, lanes, size=32):  # RFC 9106
    try:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
        return Argon2id(salt=salt, length=size, iterations=passes, lanes=lanes, memory_cost=memory).derive(secret)
    except ImportError:
        pass
    le = lambda *numbers: b"".join(n.to_bytes(4, "little") for n in numbers)
    b2 = lambda data, n=64: hashlib.blake2b(data, digest_size=n).digest()
    u64 = lambda b: [int.from_bytes(b[i:i + 8], "little") for i in range(0, len(b), 8)]

    def long(data, n):
        if n <= 64:
            return b2(le(n) + data, n)
        v = b2(le(n) + data)
        out = v[:32]
        for _ in range(-(-n // 32) - 3):
            v = b2(v)
            out += v[:32]
        return out + b2(v, n - len(out))

    def mix(v, at):
        rot = lambda x, n: (x >> n | x << 64 - n) & M64
        for i in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                  (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            a, b, c, d = (at[j] for j in i)
            for x, y in ((32, 24), (16, 63)):
                v[a] = v[a] + v[b] + 2 * (v[a] & M32) * (v[b] & M32) & M64
                v[d] = rot(v[d] ^ v[a], x)
                v[c] = v[c] + v[d] + 2 * (v[c] & M32) * (v[d] & M32) & M64
                v[b] = rot(v[b] ^ v[c], y)

    def g(x, y):
        r = [a ^ b for a, b in zip(x, y)]
        z = r[:]
        for i in range(8):
            mix(z, range(16 * i, 16 * i + 16))
        for i in range(8):
            mix(z, [16 * j + 2 * i + k for j in range(8) for k in (0, 1)])
        return [a ^ b for a, b in zip(r, z)]

    h0 = b2(le(lanes, size, memory, passes, 0x13, 2, len(secret)) + secret + le(len(salt)) + salt + le(0, 0))
    segment = memory // (4 * lanes)
    line = 4 * segment
    blocks = [[u64(long(h0 + le(i, lane), 1024)) for i in (0, 1)] + [None] * (line - 2) for lane in range(lanes)]
    for turn, part, lane in ((t, s, l) for t in range(passes) for s in range(4) for l in range(lanes)):
        for i in range(2 if turn == part == 0 else 0, segment):
            at = part * segment + i
            before = blocks[lane][at - 1]
            number = before[0]
            if turn == 0 and part < 2:
                zero = [0] * 128
                said = [turn, lane, part, line * lanes, passes, 2, i // 128 + 1] + [0] * 121
                number = g(zero, g(zero, said))[i % 128]
            other = lane if turn == part == 0 else (number >> 32) % lanes
            known = part * segment if turn == 0 else line - segment
            known = known + i - 1 if other == lane else known - (i == 0)
            x = (number & M32) ** 2 >> 32
            start = 0 if turn == 0 or part == 3 else (part + 1) * segment
            new = g(before, blocks[other][(start + known - 1 - (known * x >> 32)) % line])
            old = blocks[lane][at] if turn else [0] * 128
            blocks[lane][at] = [a ^ b for a, b in zip(new, old)]
    last = [0] * 128
    for lane in range(lanes):
        last = [a ^ b for a, b in zip(last, blocks[lane][-1])]
    return long(b"".join(word.to_bytes(8, "little") for word in last), size)


def unseal(data_key, kind, store, name, sealed):
    version, _, _, encryptor = sealed[:4]
    assert (version, encryptor) == (3, 1), "not sealed"
    key = blake3(data_key, context="konserve-fs 2026 authentication of content")
    said = bytes([kind]) + store + len(name).to_bytes(4, "big") + name + sealed[:-32]
    assert blake3(said, key=key) == sealed[-32:], "cannot be authenticated"
    key = blake3(data_key, context="konserve-fs 2026 encryption of content")
    keys = blake3(sealed[8:24], key=key, size=48)
    aes = ["openssl", "enc", "-d", "-aes-256-cbc", "-K", keys[:32].hex(), "-iv", keys[32:].hex()]
    plain = subprocess.run(aes, input=sealed[24:-32], stdout=subprocess.PIPE, check=True).stdout
    return plain[:int.from_bytes(plain[-4:], "big")]


def data_keys(slots, secret, source):
    number = lambda b: int.from_bytes(b, "big")
    assert slots[:12] == b"kfs keys\0\0\0\1", "no slots"
    store, count = slots[12:28], number(slots[28:32])
    before = 32 + 148 * count
    for at in range(32, before, 148):
        head, sealed = slots[at:at + 44], slots[at + 44:at + 148]
        if head[4] == source:
            cost = [number(head[i:i + 4]) for i in (8, 12, 16)]
            master = unseal(argon2id(secret, head[28:44], *cost), 3, store, head, sealed)
            ring = unseal(master, 4, store, slots[:before], slots[before:])
            pairs = [ring[i:i + 36] for i in range(40, len(ring), 36)]
            return store, {number(pair[:4]): pair[4:] for pair in pairs}


def main(slots, *rest):
    source, (secret, address, blob) = (1, rest[1:]) if rest[0] == "-p" else (2, rest)
    slots, secret, blob = (open(path, "rb").read() for path in (slots, secret, blob))
    store, keys = data_keys(slots, secret, source)
    key = keys[int.from_bytes(blob[4:8], "big")]
    sys.stdout.buffer.write(unseal(key, 1, store, bytes.fromhex(address), blob))


main(*sys.argv[1:])
