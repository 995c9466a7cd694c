# -- hashes: XXH3 for what an identity and a fingerprint hash, murmur2 as Kafka has it -------------------------------------
#
# XXH3 after its specification (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), no seed, the default secret, inputs of
# 17 to 240 bytes; all others go to the xxhash package. On little-endian machines only: elsewhere all go there.

cdef extern from *:
    """
    static const unsigned char _secret[192] = {
      0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
      0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
      0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
      0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
      0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
      0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
      0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
      0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
      0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
      0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
      0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
      0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
    };
    #define PRIME_1 0x9E3779B185EBCA87ULL
    #define PRIME_2 0xC2B2AE3D27D4EB4FULL
    #define PRIME_4 0x85EBCA77C2B2AE63ULL

    typedef unsigned long long word;

    static inline word _load(const void *at) { word found; memcpy(&found, at, 8); return found; }

    static inline void _store_big(char *out, word value) { for (int i = 7; i >= 0; i--, value >>= 8) out[i] = (char) (value & 255); }

    static inline word _folded(word a, word b) { unsigned __int128 p = (unsigned __int128) a * b; return (word) p ^ (word) (p >> 64); }

    static inline word _avalanche(word x) { x ^= x >> 37; x *= 0x165667919E3779F9ULL; return x ^ (x >> 32); }

    static inline word _mixed16(const char *data, int at) {
        return _folded(_load(data) ^ _load(_secret + at), _load(data + 8) ^ _load(_secret + at + 8));
    }

    static inline void _mix_two(word *acc, const char *one, const char *two, int at) {
        acc[0] += _mixed16(one, at);
        acc[1] += _mixed16(two, at + 16);
        acc[0] ^= _load(two) + _load(two + 8);
        acc[1] ^= _load(one) + _load(one + 8);
    }

    static int _can_xxh3(size_t size) {
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        return size >= 17 && size <= 240;
    #else
        return 0;
    #endif
    }

    static void _xxh3_64(const char *in, size_t n, char *out) {
        word acc = n * PRIME_1;
        if (n <= 128) {
            for (int i = (int) ((n - 1) >> 5); i >= 0; i--) {
                acc += _mixed16(in + i * 16, i * 32);
                acc += _mixed16(in + n - i * 16 - 16, i * 32 + 16);
            }
        } else {
            int i;
            for (i = 0; i < 8; i++) acc += _mixed16(in + i * 16, i * 16);
            acc = _avalanche(acc);
            for (; i < (int) (n >> 4); i++) acc += _mixed16(in + i * 16, (i - 8) * 16 + 3);
            acc += _mixed16(in + n - 16, 119);
        }
        _store_big(out, _avalanche(acc));
    }

    static void _xxh3_128(const char *in, size_t n, char *out) {
        word acc[2] = {n * PRIME_1, 0};
        if (n <= 128) {
            for (int i = (int) ((n - 1) >> 5); i >= 0; i--) _mix_two(acc, in + i * 16, in + n - i * 16 - 16, i * 32);
        } else {
            int i;
            for (i = 0; i < 4; i++) _mix_two(acc, in + i * 32, in + i * 32 + 16, i * 32);
            acc[0] = _avalanche(acc[0]);
            acc[1] = _avalanche(acc[1]);
            for (; i < (int) (n >> 5); i++) _mix_two(acc, in + i * 32, in + i * 32 + 16, (i - 4) * 32 + 3);
            _mix_two(acc, in + n - 16, in + n - 32, 103);
        }
        _store_big(out + 8, _avalanche(acc[0] + acc[1]));
        _store_big(out, 0 - _avalanche(acc[0] * PRIME_1 + acc[1] * PRIME_4 + n * PRIME_2));
    }

    static unsigned int _murmur2(const char *in, size_t n) {
        const unsigned int m = 0x5bd1e995;
        unsigned int h = 0x9747b28cU ^ (unsigned int) n, k;
        const unsigned char *p = (const unsigned char *) in;
        for (; n >= 4; n -= 4, p += 4) {
            k = p[0] | p[1] << 8 | p[2] << 16 | (unsigned int) p[3] << 24;
            k *= m; k ^= k >> 24; k *= m;
            h *= m; h ^= k;
        }
        if (n == 3) h ^= p[2] << 16;
        if (n >= 2) h ^= p[1] << 8;
        if (n >= 1) { h ^= p[0]; h *= m; }
        h ^= h >> 13; h *= m; h ^= h >> 15;
        return h & 0x7fffffff;
    }

    static word _spread(const char *in, size_t n, word h) {
        word last = 0;
        for (; n >= 8; n -= 8, in += 8) h = _folded(h ^ _load(in), PRIME_1);
        memcpy(&last, in, n);
        return _folded(h ^ last ^ ((word) n << 56), PRIME_2);
    }
    """
    bint _can_xxh3(size_t size) noexcept nogil
    void _xxh3_64(const char* data, size_t size, char* out) noexcept nogil
    void _xxh3_128(const char* data, size_t size, char* out) noexcept nogil
    unsigned int _murmur2(const char* data, size_t size) noexcept nogil  # 31 bits, as Kafka's default partitioner takes them
    uint64_t _spread(const char* data, size_t size, uint64_t seed) noexcept nogil  # for our own tables


cdef int _hash_to(const char* data, Py_ssize_t size, char* out) except -1:
    """xxh3_128_digest."""
    if _can_xxh3(size):
        _xxh3_128(data, size, out)
    else:
        digest = <bytes> _hash(PyBytes_FromStringAndSize(data, size))
        memcpy(out, PyBytes_AS_STRING(digest), 16)
    return 0


cdef int _print_to(const char* data, Py_ssize_t size, char* out) except -1:
    """xxh3_64_digest."""
    if _can_xxh3(size):
        _xxh3_64(data, size, out)
    else:
        digest = <bytes> _print(PyBytes_FromStringAndSize(data, size))
        memcpy(out, PyBytes_AS_STRING(digest), 8)
    return 0


def hashes_of(bytes data):
    """(xxh3_128_digest, xxh3_64_digest, murmur2 of 31 bits), for the tests."""
    cdef char both[24]
    _hash_to(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), both)
    _print_to(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &both[16])
    return both[:16], both[16:24], _murmur2(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
