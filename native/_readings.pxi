# -- readings: plain events of records, without an object for each ---------------------------------------------------------

cdef struct Reading:
    Text account, sku, unit, provider, region, resource, dimensions
    Text source, id, number
    int64_t time  # nanoseconds since 1970
    Amount quantity
    char hash[16]
    char print[8]
    Py_ssize_t record  # position in the batch
    Py_ssize_t index  # within the record


cdef bint _ascii(const char* p, Py_ssize_t size) noexcept nogil:
    cdef uint64_t word, all = 0
    while size >= 8:
        memcpy(&word, p, 8)
        all |= word
        p += 8
        size -= 8
    while size:
        all |= <uint64_t> <uint8_t> p[0]
        p += 1
        size -= 1
    return all & <uint64_t> 0x8080808080808080 == 0


cdef inline char* _put_text(char* out, Text text) noexcept nogil:
    memcpy(out, text.at, text.size)
    out[text.size] = 0
    return out + text.size + 1


cdef char* _put_number(char* out, int64_t number) noexcept nogil:
    """Digits, and a NUL behind them."""
    cdef char room[20]
    cdef int at = 20
    cdef uint64_t left = <uint64_t> number
    if number < 0:
        out[0] = 45
        out += 1
        left = 0 - left
    while True:
        at -= 1
        room[at] = <char> (48 + left % 10)
        left //= 10
        if not left:
            break
    memcpy(out, &room[at], 20 - at)
    out[20 - at] = 0
    return out + 21 - at


cdef int _finish(Reading* r) except -1:
    """Identity hash and fingerprint, as `identify` has them. 0 when the texts are too long."""
    cdef char room[LONGEST]
    cdef char* out = &room[0]
    cdef Py_ssize_t identity
    if r.account.size + r.source.size + r.id.size + r.sku.size + r.unit.size + r.region.size + r.resource.size + r.dimensions.size + AMOUNT_TEXT + 40 > LONGEST:
        return 0
    out = _put_text(_put_text(_put_text(out, r.account), r.source), r.id)
    identity = out - &room[0] - 1
    out = _put_number(_put_text(out, r.sku), r.time)
    out += _amount_text(&r.quantity, out)
    out[0] = 0
    out = _put_text(_put_text(_put_text(_put_text(out + 1, r.unit), r.region), r.resource), r.dimensions)
    _hash_to(room, identity, r.hash)
    _print_to(room, out - &room[0] - 1, r.print)
    return 1


cdef const char* _read_plain(const char* p, const char* end, int64_t oldest, int64_t newest, long partitions, long own, Reading* r) except? NULL:
    """Read one event from p on; returns what is behind it, or NULL when it is not as plain, in time and in place as it must be here."""
    cdef Parts e
    e.seen = e.data = 0
    e.provider.size = e.region.size = e.resource.size = e.content.size = 0
    e.provider.at = e.region.at = e.resource.at = b""
    p = _read_event(p, end, &e)
    if p == NULL or e.seen & 127 != 127 or e.data & 7 != 7 or not _is(e.version, "1.0", 3):
        return NULL
    if e.content.size and not _is(e.content, "application/json", 16):
        return NULL
    if not (e.account.size and e.source.size and e.id.size and e.type.size and e.sku.size and e.unit.size):
        return NULL
    if not _plain_number(e.quantity) or not _amount_of(e.quantity.at, e.quantity.size, &r.quantity) or not _read_time(e.time, &r.time):
        return NULL
    if not oldest <= r.time <= newest or (own >= 0 and _murmur2(e.account.at, e.account.size) % partitions != own):
        return NULL
    r.account, r.sku, r.unit, r.provider, r.region, r.resource = e.account, e.sku, e.unit, e.provider, e.region, e.resource
    r.dimensions.at, r.dimensions.size = b"", 0
    r.source, r.id, r.number = e.source, e.id, e.quantity
    return p if _finish(r) else NULL


cdef class Readings:
    """Events of records in the plain form, as far as they are plain, in time and in their own partition: one after the other."""

    cdef Reading* _all
    cdef Py_ssize_t _count, _room
    cdef object _kept  # the records, which the texts point into
    cdef readonly Py_ssize_t past  # position of the first record that was not read: it and what follows is for Python

    def __cinit__(self):
        self._all, self._count, self._room = NULL, 0, 0

    def __dealloc__(self):
        free(self._all)

    def __len__(self):
        return self._count

    cdef Reading* _next(self) except NULL:
        cdef Reading* all_
        if self._count == self._room:
            all_ = <Reading*> realloc(self._all, (self._room * 2 + 256) * sizeof(Reading))
            if all_ == NULL:
                raise MemoryError
            self._all, self._room = all_, self._room * 2 + 256
        return self._all + self._count

    def read(self, list values, Py_ssize_t at, Py_ssize_t longest, Py_ssize_t largest, Py_ssize_t most, int64_t oldest, int64_t newest, long partitions, long own):
        """Read values (bytes or None) from position `at` on, each an event or an array of up to `most` of them; `past` says how far it went.

        longest, largest: bytes of an event, of a record. oldest, newest: of its time in nanoseconds. own: the partition, of so many, that its account must be in; -1: any.
        """
        cdef const char* p
        cdef const char* end
        cdef const char* behind
        cdef bint ok
        self._count, self._kept, self.past = 0, values, at
        while self.past < len(values):
            value = <object> PyList_GET_ITEM(values, self.past)
            if type(value) is not bytes or not 0 < PyBytes_GET_SIZE(value) <= largest:
                return
            p = PyBytes_AS_STRING(value)
            end = p + PyBytes_GET_SIZE(value)
            behind = _skip(p, end)
            if behind < end and behind[0] == 91:
                ok = self._read_array(behind + 1, end, longest, most, oldest, newest, partitions, own)
            else:
                ok = end - p <= longest and self._read_one(&p, end, 0, oldest, newest, partitions, own) and _skip(p, end) == end
                self._count += ok
            if not ok or not _ascii(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
                while self._count and self._all[self._count - 1].record == self.past:
                    self._count -= 1
                return
            self.past += 1

    cdef bint _read_one(self, const char** p, const char* end, Py_ssize_t index, int64_t oldest, int64_t newest, long partitions, long own) except -1:
        cdef Reading* r = self._next()
        cdef const char* behind = _read_plain(p[0], end, oldest, newest, partitions, own, r)
        if behind == NULL:
            return False
        r.record, r.index = self.past, index
        p[0] = behind
        return True

    cdef bint _read_array(
        self, const char* p, const char* end, Py_ssize_t longest, Py_ssize_t most, int64_t oldest, int64_t newest, long partitions, long own
    ) except -1:
        cdef Py_ssize_t index = 0
        cdef const char* begin
        while index < most:
            p = _skip(p, end)
            begin = p
            if not self._read_one(&p, end, index, oldest, newest, partitions, own):
                return False
            self._count += 1
            index += 1
            if p - begin > longest:
                return False
            p = _skip(p, end)
            if p >= end:
                return False
            if p[0] == 93:
                return _skip(p + 1, end) == end
            if p[0] != 44:
                return False
            p += 1
        return False

    def done(self):
        """Let go of the records, and of the memory that what was read took: a worker may have a thousand of these."""
        free(self._all)
        self._all, self._count, self._room, self._kept = NULL, 0, 0, None

    def origin(self, Py_ssize_t at):
        """Position of a reading's record, and its own place in that."""
        if not 0 <= at < self._count:
            raise IndexError(at)
        return self._all[at].record, self._all[at].index

    def event(self, Py_ssize_t at):
        """A reading as a usage event."""
        cdef Reading* r = &self._all[at]
        if not 0 <= at < self._count:
            raise IndexError(at)
        quantity = _decimal(PyUnicode_DecodeASCII(r.number.at, r.number.size, NULL))
        return _Event(
            _text(r.account), _text(r.source), PyUnicode_DecodeUTF8(r.id.at, r.id.size, NULL), _text(r.sku), r.time, quantity if quantity else ZERO,
            _text(r.unit), _text(r.provider), _text(r.region), _text(r.resource),
        )  # fmt: skip

    def identity(self, Py_ssize_t at):
        """Identity hash and fingerprint of a reading."""
        if not 0 <= at < self._count:
            raise IndexError(at)
        return PyBytes_FromStringAndSize(self._all[at].hash, HASH), PyBytes_FromStringAndSize(self._all[at].print, 8)

    def unknown(self, Identities fresh, list places, list known, bint asked):
        """(positions, identity hashes) of the readings that neither `fresh` nor a place knows; what the places know goes to `known`: see `_fill`.

        asked: False when nobody wants to know which these are.
        """
        cdef Py_ssize_t i, number = 0
        cdef const char** hashes = <const char**> malloc((self._count + 1) * sizeof(char*))
        cdef int32_t* at = <int32_t*> malloc((self._count + 1) * sizeof(int32_t))
        cdef list positions = [], left = []
        try:
            if hashes == NULL or at == NULL:
                raise MemoryError
            for i in range(self._count):
                if i + AHEAD < self._count:
                    _fetch(fresh._index + fresh._first_slot(self._all[i + AHEAD].hash))
                if fresh.find(self._all[i].hash) == NULL:
                    hashes[number], at[number] = self._all[i].hash, <int32_t> i
                    number += 1
            number = _fill(places, hashes, at, number, known)
            if asked:
                for i in range(number):
                    positions.append(at[i])
                    left.append(PyBytes_FromStringAndSize(hashes[i], HASH))
            return positions, left
        finally:
            free(hashes)
            free(at)
