# -- record batches ------------------------------------------------------------------------------------------------------

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GNUC__)
    static int _has_crc32c(void) { return __builtin_cpu_supports("sse4.2"); }

    __attribute__((target("sse4.2")))
    static unsigned int _crc32c(const char *at, size_t size) {
        unsigned long long crc = 0xFFFFFFFF, word;
        for (; size >= 8; size -= 8, at += 8) { memcpy(&word, at, 8); crc = __builtin_ia32_crc32di(crc, word); }
        for (; size; size--, at++) crc = __builtin_ia32_crc32qi((unsigned int) crc, (unsigned char) *at);
        return (unsigned int) crc ^ 0xFFFFFFFF;
    }
    #else
    static int _has_crc32c(void) { return 0; }
    static unsigned int _crc32c(const char *at, size_t size) { return 0; }
    #endif
    """
    bint _has_crc32c()
    unsigned int _crc32c(const char* at, size_t size) nogil

cdef enum:
    HEADER = 61  # bytes of a record batch before its first record
    AFTER_LENGTH = 12  # behind the field that says how long the rest is
    CRC = 17
    ATTRIBUTES = 21  # from here on the checksum counts
    TRANSACTIONAL = 16
    MOST_OVERHEAD = 30  # bytes of a record beside its key and value, at most


cdef inline char* _big_endian(char* out, uint64_t value, int size) noexcept nogil:
    cdef int i
    for i in range(size):
        out[i] = <char> ((value >> (8 * (size - 1 - i))) & 255)
    return out + size


cdef inline char* _varint(char* out, int64_t value) noexcept nogil:
    """Zigzag, seven bits a byte, the lowest first."""
    cdef uint64_t v = (<uint64_t> value << 1) ^ <uint64_t> (value >> 63)
    while v > 127:
        out[0] = <char> ((v & 127) | 128)
        out += 1
        v >>= 7
    out[0] = <char> v
    return out + 1


cdef inline int _varint_size(int64_t value) noexcept nogil:
    cdef uint64_t v = (<uint64_t> value << 1) ^ <uint64_t> (value >> 63)
    cdef int size = 1
    while v > 127:
        size += 1
        v >>= 7
    return size


cdef class RecordBatch:
    """A record batch of Kafka's message format 2 without compression and headers; all its records bear the same time.

    https://kafka.apache.org/documentation/#recordbatch. `checksum` computes CRC-32C where the processor does not.
    """

    cdef bytearray _room
    cdef Py_ssize_t _size
    cdef int64_t _time, _producer_id
    cdef int _epoch, _sequence
    cdef readonly Py_ssize_t count
    cdef object _checksum

    def __init__(self, Py_ssize_t most, int64_t time_ms, checksum):
        self._room = bytearray(most)
        self._size, self._time, self._checksum = HEADER, time_ms, checksum
        self._producer_id = self._epoch = self._sequence = -1

    def fill(self, pairs):
        """Take (key, value) pairs from an iterator up to its end (None), or up to one for which there is no room: that one."""
        cdef char* room = self._room
        cdef char* out
        cdef Py_ssize_t most = len(self._room), k, v, body
        for pair in pairs:
            if type(pair) is not tuple or len(<tuple> pair) != 2:
                raise TypeError("a pair is (key, value)")
            key, value = <object> PyTuple_GET_ITEM(pair, 0), <object> PyTuple_GET_ITEM(pair, 1)
            if type(key) is not bytes or not (value is None or type(value) is bytes):
                raise TypeError("keys are bytes, values are bytes or None")
            k, v = PyBytes_GET_SIZE(key), -1 if value is None else PyBytes_GET_SIZE(value)
            if self._size + k + v + MOST_OVERHEAD > most:
                return pair
            body = 2 + _varint_size(self.count) + _varint_size(k) + k + _varint_size(v) + (v if v > 0 else 0) + 1
            out = _varint(room + self._size, body)
            out[0] = out[1] = 0  # attributes; time after that of the first record
            out = _varint(_varint(out + 2, self.count), k)
            out = _varint(_add(out, PyBytes_AS_STRING(key), k), v)
            if v > 0:
                out = _add(out, PyBytes_AS_STRING(value), v)
            out[0] = 0  # headers
            self._size = out + 1 - room
            self.count += 1
        return None

    def size(self):
        """Bytes so far."""
        return self._size

    def set_producer_state(self, producer_id, producer_epoch, base_sequence):
        """What the transaction's producer is known by."""
        self._producer_id, self._epoch, self._sequence = producer_id, producer_epoch, base_sequence

    def build(self):
        """The bytes, once."""
        cdef char* room
        cdef char* out
        cdef uint64_t crc
        del self._room[self._size:]
        room = self._room
        out = _big_endian(room, 0, 8)
        out = _big_endian(out, self._size - AFTER_LENGTH, 4)
        out = _big_endian(out, <uint64_t> -1, 4)  # epoch of the partition's leader: the broker's business
        out[0] = 2
        out = _big_endian(room + ATTRIBUTES, TRANSACTIONAL, 2)
        out = _big_endian(out, self.count - 1, 4)
        out = _big_endian(_big_endian(out, self._time, 8), self._time, 8)
        out = _big_endian(_big_endian(_big_endian(out, self._producer_id, 8), self._epoch, 2), self._sequence, 4)
        out = _big_endian(out, self.count, 4)
        if _has_crc32c():
            crc = _crc32c(room + ATTRIBUTES, self._size - ATTRIBUTES)
        else:
            crc = self._checksum(bytes(self._room[ATTRIBUTES:]))
        _big_endian(room + CRC, crc, 4)
        return self._room
