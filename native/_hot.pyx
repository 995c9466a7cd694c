# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, annotation_typing=False, nonecheck=False
"""The hottest loops of a worker, compiled. Each does what a loop in Python beside it does, to the byte, or says that it does not.

    decode_plain_many   schemas/decoders/cloudevents.py: CloudEvents in the plain form, read straight from their bytes
    identify_many       schemas/usage_event.py: identity hashes and fingerprints
    in_place            streams/lanes/decoding.py: whether a whole batch is in time and in its own partition
    append_entries      streams/core/groups.py: usage that lies in one tier as a whole, with its line items
    write_entry         streams/core/items.py: the line item of an entry in one tier
    RecordBatch         streams/filled_batches.py: records in Kafka's format, in place of aiokafka's builder
    Readings            streams/lanes/readings.py: plain events without an object for each
    Windows, Rating     streams/core/counted.py: usage by window, and the line items of groups that lie in one tier as a whole
    Identities          streams/recent_ids.py: fingerprints by identity hash, in place of a dict

Nothing here decides anything that is not decided in Python too: what is unusual is left to the loop in Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.long cimport PyLong_FromLongLong
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from bisect import insort
from decimal import Decimal
from hashlib import blake2b

import xxhash

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    object PyUnicode_DecodeUTF8(const char* text, Py_ssize_t size, const char* errors)
    object PyUnicode_DecodeASCII(const char* text, Py_ssize_t size, const char* errors)
    int64_t PyLong_AsLongLong(object number) except? -1

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset

cdef extern from "descrobject.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member

cdef object _hash = xxhash.xxh3_128_digest
cdef object _print = xxhash.xxh3_64_digest
cdef object _decimal = Decimal
cdef object ZERO = Decimal(0)

cdef enum:
    ACCOUNT = 0
    SOURCE
    ID
    SKU
    TIME
    QUANTITY
    UNIT
    PROVIDER
    REGION
    RESOURCE
    DIMENSIONS
    TAGS
    BACKFILL
    FIELDS

cdef enum:
    SLOTS = 16384  # texts kept
    LONGEST = 4096  # bytes of an event's texts that are put together here

# -- fields of a usage event, without asking its type each time ---------------------------------------------------------

cdef Py_ssize_t _offsets[FIELDS]
cdef object _Event = None
cdef object _identify = None



def use(event_type, identify):
    """Tell this module whom it works for. False when events are not laid out as it expects, and nothing here may be used."""
    global _Event, _identify
    names = ("account", "source", "id", "sku", "time", "quantity", "unit", "provider", "region", "resource", "dimensions", "tags", "backfill")
    if event_type.__struct_fields__ != names:
        return False
    for at, name in enumerate(names):
        descriptor = event_type.__dict__.get(name)
        if type(descriptor).__name__ != "member_descriptor":
            return False
        _offsets[at] = (<PyMemberDescrObject*> descriptor).d_member.offset
    sample = event_type(*"abcd", 5, *"fghijklm")
    if [<object> (<PyObject**> ((<char*> <PyObject*> sample) + _offsets[at]))[0] for at in range(FIELDS)] != [*"abcd", 5, *"fghijklm"]:
        return False
    _Event, _identify = event_type, identify
    return True


cdef inline object _of(object event, int field):
    return <object> (<PyObject**> ((<char*> <PyObject*> event) + _offsets[field]))[0]


# -- decode ------------------------------------------------------------------------------------------------------------

cdef struct Text:
    const char* at
    Py_ssize_t size

cdef uint8_t _stops[256]  # 0: goes on; 1: ends a text, or may not be in one here
cdef int _byte
for _byte in range(256):
    _stops[_byte] = _byte < 32 or _byte in (34, 92, 127, 0xC2)

cdef list _known = [""] * SLOTS  # texts seen before, each at one place only: the same object again costs no hash and no copy


cdef object _text(Text text):
    """A text as str. Raises UnicodeDecodeError."""
    cdef uint64_t h = <uint64_t> text.size
    cdef Py_ssize_t i, size
    cdef const char* at
    for i in range(text.size):
        h = (h ^ <uint8_t> text.at[i]) * <uint64_t> 0x100000001B3
    i = (h ^ (h >> 29)) & (SLOTS - 1)
    known = <object> PyList_GET_ITEM(_known, i)
    at = PyUnicode_AsUTF8AndSize(known, &size)
    if size == text.size and memcmp(at, text.at, size) == 0:
        return known
    found = PyUnicode_DecodeUTF8(text.at, text.size, NULL)
    _known[i] = found
    return found


cdef inline const char* _skip(const char* p, const char* end) noexcept nogil:
    while p < end and (p[0] == 32 or p[0] == 10 or p[0] == 13 or p[0] == 9):
        p += 1
    return p


cdef inline const char* _read_text(const char* p, const char* end, Text* out) noexcept nogil:
    """From an opening quote to behind the closing one; NULL when it is no plain text."""
    if p >= end or p[0] != 34:
        return NULL
    p += 1
    out.at = p
    while p < end and not _stops[<uint8_t> p[0]]:
        p += 1
    if p >= end or p[0] != 34:
        return NULL
    out.size = p - out.at
    return p + 1


cdef inline const char* _read_number(const char* p, const char* end, Text* out) noexcept nogil:
    out.at = p
    while p < end and (48 <= p[0] <= 57 or p[0] == 45 or p[0] == 46):
        p += 1
    out.size = p - out.at
    return p if out.size else NULL


cdef inline bint _is(Text key, const char* name, Py_ssize_t size) noexcept nogil:
    return key.size == size and memcmp(key.at, name, size) == 0


cdef bint _plain_number(Text number) noexcept nogil:
    """-?(0|[1-9][0-9]*)(.[0-9]+)? of at most 40 characters."""
    cdef const char* p = number.at
    cdef const char* end = p + number.size
    if not 0 < number.size <= 40:
        return False
    if p[0] == 45:
        p += 1
    if p >= end or not 48 <= p[0] <= 57:
        return False
    if p[0] == 48:
        p += 1
    else:
        while p < end and 48 <= p[0] <= 57:
            p += 1
    if p == end:
        return True
    if p[0] != 46 or p + 1 == end:
        return False
    p += 1
    while p < end and 48 <= p[0] <= 57:
        p += 1
    return p == end


cdef inline int _two(const char* p) noexcept nogil:
    if not (48 <= p[0] <= 57 and 48 <= p[1] <= 57):
        return -1
    return (p[0] - 48) * 10 + p[1] - 48


cdef bint _read_time(Text text, int64_t* ns) noexcept nogil:
    """YYYY-MM-DDTHH:MM:SS[.d to .ddddddddd]Z; False for every other spelling, and for what is no time."""
    cdef const char* p = text.at
    cdef int century, rest, year, month, day, hour, minute, second, last
    cdef int64_t y, era, of_era, of_year, days, fraction = 0
    cdef Py_ssize_t i, digits
    if not (text.size == 20 or 22 <= text.size <= 30) or p[text.size - 1] != 90:
        return False
    if p[4] != 45 or p[7] != 45 or p[10] != 84 or p[13] != 58 or p[16] != 58:
        return False
    century, rest, month, day = _two(p), _two(p + 2), _two(p + 5), _two(p + 8)
    hour, minute, second = _two(p + 11), _two(p + 14), _two(p + 17)
    year = century * 100 + rest
    if century < 0 or rest < 0 or not 1678 <= year <= 2261 or not 1 <= month <= 12 or day < 1:
        return False
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        last = 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    if day > last or not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return False
    if text.size > 20:
        if p[19] != 46:
            return False
        digits = text.size - 21
        for i in range(9):
            fraction = fraction * 10
            if i < digits:
                if not 48 <= p[20 + i] <= 57:
                    return False
                fraction += p[20 + i] - 48
    # Days since 1970-01-01 in the proleptic Gregorian calendar, years beginning in March.
    y = year - (1 if month <= 2 else 0)
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    ns[0] = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000000000 + fraction
    return True


cdef struct Parts:
    Text account, source, id, type, time, version, content
    Text sku, quantity, unit, provider, region, resource
    int seen  # members of the envelope, one bit each
    int data  # members of the data


cdef inline const char* _read_key(const char* p, const char* end, Text* key) noexcept nogil:
    """From the name of a member to its value; NULL when there is none."""
    p = _read_text(p, end, key)
    if p == NULL:
        return NULL
    p = _skip(p, end)
    return _skip(p + 1, end) if p < end and p[0] == 58 else NULL


cdef inline const char* _behind(const char* p, const char* end, bint* last) noexcept nogil:
    """From behind a value to the next member, or (last) behind the object; NULL when neither follows."""
    p = _skip(p, end)
    if p >= end or (p[0] != 44 and p[0] != 125):
        return NULL
    last[0] = p[0] == 125
    return p + 1 if last[0] else _skip(p + 1, end)


cdef const char* _read_data(const char* p, const char* end, Parts* e) noexcept nogil:
    cdef Text key
    cdef Text* target
    cdef int bit
    cdef bint last = False
    if p >= end or p[0] != 123:
        return NULL
    p = _skip(p + 1, end)
    while not last:
        p = _read_key(p, end, &key)
        if p == NULL:
            return NULL
        if _is(key, "sku", 3):
            target, bit = &e.sku, 1
        elif _is(key, "quantity", 8):
            target, bit = &e.quantity, 2
        elif _is(key, "unit", 4):
            target, bit = &e.unit, 4
        elif _is(key, "provider", 8):
            target, bit = &e.provider, 8
        elif _is(key, "region", 6):
            target, bit = &e.region, 16
        elif _is(key, "resource", 8):
            target, bit = &e.resource, 32
        else:
            return NULL
        if e.data & bit:
            return NULL
        e.data |= bit
        if bit == 2 and p < end and p[0] != 34:
            p = _read_number(p, end, target)
        else:
            p = _read_text(p, end, target)
        if p != NULL:
            p = _behind(p, end, &last)
        if p == NULL:
            return NULL
    return p


cdef const char* _read_event(const char* p, const char* end, Parts* e) noexcept nogil:
    """From the beginning of an event to behind it; NULL when it is not as plain as it must be here."""
    cdef Text key
    cdef Text* target
    cdef int bit
    cdef bint last = False
    p = _skip(p, end)
    if p >= end or p[0] != 123:
        return NULL
    p = _skip(p + 1, end)
    while not last:
        p = _read_key(p, end, &key)
        if p == NULL:
            return NULL
        target = NULL
        if _is(key, "id", 2):
            target, bit = &e.id, 1
        elif _is(key, "source", 6):
            target, bit = &e.source, 2
        elif _is(key, "type", 4):
            target, bit = &e.type, 4
        elif _is(key, "subject", 7):
            target, bit = &e.account, 8
        elif _is(key, "time", 4):
            target, bit = &e.time, 16
        elif _is(key, "specversion", 11):
            target, bit = &e.version, 32
        elif _is(key, "data", 4):
            bit = 64
        elif _is(key, "datacontenttype", 15):
            target, bit = &e.content, 128
        else:
            return NULL
        if e.seen & bit:
            return NULL
        e.seen |= bit
        p = _read_data(p, end, e) if target == NULL else _read_text(p, end, target)
        if p != NULL:
            p = _behind(p, end, &last)
        if p == NULL:
            return NULL
    return p


cdef object _event(bytes value):
    """The event, or None when it is not as plain as it must be here."""
    cdef Parts e
    cdef int64_t time
    cdef const char* p = PyBytes_AS_STRING(value)
    cdef const char* end = p + PyBytes_GET_SIZE(value)
    e.seen = e.data = 0
    e.provider.size = e.region.size = e.resource.size = e.content.size = 0
    p = _read_event(p, end, &e)
    if p == NULL or _skip(p, end) != end:
        return None
    if e.seen & 127 != 127 or e.data & 7 != 7 or not _is(e.version, "1.0", 3):
        return None
    if e.content.size and not _is(e.content, "application/json", 16):
        return None
    if not (e.account.size and e.source.size and e.id.size and e.type.size and e.sku.size and e.unit.size):
        return None
    if not _plain_number(e.quantity) or not _read_time(e.time, &time):
        return None
    try:
        quantity = _decimal(PyUnicode_DecodeASCII(e.quantity.at, e.quantity.size, NULL))
        return _Event(
            _text(e.account), _text(e.source), PyUnicode_DecodeUTF8(e.id.at, e.id.size, NULL), _text(e.sku), PyLong_FromLongLong(time),
            quantity if quantity else ZERO, _text(e.unit),
            _text(e.provider) if e.provider.size else "", _text(e.region) if e.region.size else "", _text(e.resource) if e.resource.size else "",
        )  # fmt: skip
    except UnicodeDecodeError:
        return None


def decode_plain_many(list values, Py_ssize_t longest):
    """Events of values (bytes or None) of at most `longest` bytes; None for each that is not plain."""
    cdef list result = []
    for value in values:
        if type(value) is not bytes or PyBytes_GET_SIZE(value) > longest:
            result.append(None)
        else:
            result.append(_event(<bytes> value))
    return result


def in_place(list events, int64_t oldest, int64_t newest, dict known, long partitions, long own):
    """Whether every one is an event in time, of an account whose hash is known and that lives in partition `own` (-1: any)."""
    cdef PyObject* found
    cdef int64_t time
    for event in events:
        if type(event) is not _Event:
            return False
        time = PyLong_AsLongLong(_of(event, TIME))
        if not oldest <= time <= newest:
            return False
        if own >= 0:
            found = PyDict_GetItemWithError(known, _of(event, ACCOUNT))
            if found == NULL or <long> <object> found % partitions != own:
                return False
    return True


# -- identify ----------------------------------------------------------------------------------------------------------



cdef inline char* _put(char* out, char* end, object text) except? NULL:
    """A text and a NUL behind it; NULL when there is no room."""
    cdef Py_ssize_t size
    cdef const char* at = PyUnicode_AsUTF8AndSize(text, &size)
    if out + size + 1 >= end:
        return NULL
    memcpy(out, at, size)
    out[size] = 0
    return out + size + 1


cdef object _identified(object event):
    cdef char room[LONGEST]
    cdef char* end = &room[0] + LONGEST
    cdef char* out = &room[0]
    cdef char* start
    cdef Py_ssize_t identity
    cdef int field
    for field in (ACCOUNT, SOURCE, ID):
        out = _put(out, end, _of(event, field))
        if out == NULL:
            return _identify(event)
    identity = out - &room[0] - 1
    out = _put(out, end, _of(event, SKU))
    if out != NULL:
        out = _put(out, end, str(_of(event, TIME)))
    if out == NULL:
        return _identify(event)
    start = out
    out = _put(out, end, str(_of(event, QUANTITY)))
    if out == NULL or memchr(start, 69, out - start) != NULL:
        return _identify(event)
    if (out - 2)[0] == 48 and memchr(start, 46, out - start) != NULL:
        while (out - 2)[0] == 48:
            out -= 1
        if (out - 2)[0] == 46:
            out -= 1
        (out - 1)[0] = 0
    for field in (UNIT, REGION, RESOURCE, DIMENSIONS):
        out = _put(out, end, _of(event, field))
        if out == NULL:
            return _identify(event)
    return _hash(room[:identity]), _print(room[: out - &room[0] - 1])


def identify_many(events):
    """(identity hashes, fingerprints) of events."""
    cdef list hashes = [], prints = []
    for event in events:
        pair = _identified(event) if type(event) is _Event else _identify(event)
        hashes.append(pair[0])
        prints.append(pair[1])
    return hashes, prints


# -- count -------------------------------------------------------------------------------------------------------------

cdef object _one_of(first, second):
    """entries.one_provider."""
    return min(first, second) if first and second else first or second


# -- line items of windows -----------------------------------------------------------------------------------------------

cdef uint64_t _iv[8]
_iv[:] = [
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
]
cdef uint8_t _sigma[12][16]
_sigma[0][:] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
_sigma[1][:] = [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3]
_sigma[2][:] = [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4]
_sigma[3][:] = [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8]
_sigma[4][:] = [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13]
_sigma[5][:] = [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9]
_sigma[6][:] = [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11]
_sigma[7][:] = [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10]
_sigma[8][:] = [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5]
_sigma[9][:] = [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0]
_sigma[10][:] = _sigma[0][:]
_sigma[11][:] = _sigma[1][:]


cdef inline uint64_t _turn(uint64_t x, int n) noexcept nogil:
    return (x >> n) | (x << (64 - n))


cdef inline void _mix(uint64_t* v, int a, int b, int c, int d, uint64_t x, uint64_t y) noexcept nogil:
    v[a] = v[a] + v[b] + x
    v[d] = _turn(v[d] ^ v[a], 32)
    v[c] = v[c] + v[d]
    v[b] = _turn(v[b] ^ v[c], 24)
    v[a] = v[a] + v[b] + y
    v[d] = _turn(v[d] ^ v[a], 16)
    v[c] = v[c] + v[d]
    v[b] = _turn(v[b] ^ v[c], 63)


cdef void _blake2b_128(const char* block, Py_ssize_t size, char* hexed) noexcept nogil:
    """Hexadecimal BLAKE2b (RFC 7693) of at most 128 bytes, padded with zeros to 128; 16 bytes of digest, no key."""
    cdef uint64_t m[16]
    cdef uint64_t v[16]
    cdef uint64_t h
    cdef int i, r
    cdef uint8_t byte
    cdef const char* digits = b"0123456789abcdef"
    memcpy(m, block, 128)
    for i in range(8):
        v[i] = v[i + 8] = _iv[i]
    v[0] ^= 0x01010000 ^ 16
    v[12] ^= <uint64_t> size
    v[14] = ~v[14]
    for r in range(12):
        _mix(v, 0, 4, 8, 12, m[_sigma[r][0]], m[_sigma[r][1]])
        _mix(v, 1, 5, 9, 13, m[_sigma[r][2]], m[_sigma[r][3]])
        _mix(v, 2, 6, 10, 14, m[_sigma[r][4]], m[_sigma[r][5]])
        _mix(v, 3, 7, 11, 15, m[_sigma[r][6]], m[_sigma[r][7]])
        _mix(v, 0, 5, 10, 15, m[_sigma[r][8]], m[_sigma[r][9]])
        _mix(v, 1, 6, 11, 12, m[_sigma[r][10]], m[_sigma[r][11]])
        _mix(v, 2, 7, 8, 13, m[_sigma[r][12]], m[_sigma[r][13]])
        _mix(v, 3, 4, 9, 14, m[_sigma[r][14]], m[_sigma[r][15]])
    for i in range(16):
        h = _iv[i >> 3] ^ v[i >> 3] ^ v[(i >> 3) + 8]
        if i < 8:
            h ^= 0x01010000 ^ 16
        byte = (h >> (8 * (i & 7))) & 255
        hexed[2 * i] = digits[byte >> 4]
        hexed[2 * i + 1] = digits[byte & 15]


cdef object _long_identity(bytes prefix, bytes key, bytes component):
    return blake2b(b"%b\0%b\0%b" % (prefix, key, component), digest_size=16).hexdigest().encode()


cdef object _identity(bytes prefix, bytes key, bytes component):
    cdef char block[128]
    cdef char hexed[32]
    cdef Py_ssize_t p = PyBytes_GET_SIZE(prefix), k = PyBytes_GET_SIZE(key), c = PyBytes_GET_SIZE(component), i
    if p + k + c + 2 > 128:
        return _long_identity(prefix, key, component)
    memcpy(block, PyBytes_AS_STRING(prefix), p)
    block[p] = 0
    memcpy(block + p + 1, PyBytes_AS_STRING(key), k)
    block[p + k + 1] = 0
    memcpy(block + p + k + 2, PyBytes_AS_STRING(component), c)
    for i in range(p + k + c + 2, 128):
        block[i] = 0
    _blake2b_128(block, p + k + c + 2, hexed)
    return PyBytes_FromStringAndSize(hexed, 32)


cdef object _format_f(value):
    return format(value, "f")


cdef object _plain(value, Text* out):
    """money.plain: the text of an amount goes to `out`; the object that holds it is returned and must be kept."""
    text = str(value)
    out.at = PyUnicode_AsUTF8AndSize(text, &out.size)
    if memchr(out.at, 69, out.size) != NULL:
        text = _format_f(value)
        out.at = PyUnicode_AsUTF8AndSize(text, &out.size)
    if memchr(out.at, 46, out.size) != NULL:
        while out.at[out.size - 1] == 48:
            out.size -= 1
        if out.at[out.size - 1] == 46:
            out.size -= 1
    if out.size == 2 and out.at[0] == 45 and out.at[1] == 48:
        out.at += 1
        out.size = 1
    return text


cdef dict _pieces = {}  # line item with gaps -> the ten pieces between its nine gaps


cdef tuple _split(bytes text):
    """Pieces of a line item with gaps for: id, revision, account, four costs, two quantities."""
    cdef list pieces = []
    cdef list parts = text.split(b"%")
    cdef bytes piece = parts[0]
    cdef Py_ssize_t at = 1
    while at < len(parts):
        part = <bytes> parts[at]
        if part[:1] in (b"b", b"d"):
            pieces.append(piece)
            piece = part[1:]
        else:  # %% stands for one: nothing between two of them
            at += 1
            piece = piece + b"%" + parts[at]
        at += 1
    pieces.append(piece)
    if len(pieces) != 10:
        raise ValueError(f"a line item has {len(pieces) - 1} gaps, not 9")
    if len(_pieces) > 100_000:
        _pieces.clear()
    found = _pieces[text] = tuple(pieces)
    return found


cdef inline char* _add(char* out, const char* at, Py_ssize_t size) noexcept nogil:
    memcpy(out, at, size)
    return out + size


cdef object _filled(tuple pieces, bytes identity, bytes revision, bytes account, Text cost, Text number):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(identity) + PyBytes_GET_SIZE(revision) + PyBytes_GET_SIZE(account) + 4 * cost.size + 2 * number.size
    cdef Py_ssize_t i
    cdef char* out
    for i in range(10):
        size += PyBytes_GET_SIZE(<object> PyTuple_GET_ITEM(pieces, i))
    item = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(item)
    for i in range(10):
        piece = <object> PyTuple_GET_ITEM(pieces, i)
        out = _add(out, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        if i == 0:
            out = _add(out, PyBytes_AS_STRING(identity), PyBytes_GET_SIZE(identity))
        elif i == 1:
            out = _add(out, PyBytes_AS_STRING(revision), PyBytes_GET_SIZE(revision))
        elif i == 2:
            out = _add(out, PyBytes_AS_STRING(account), PyBytes_GET_SIZE(account))
        elif i < 7:
            out = _add(out, cost.at, cost.size)
        elif i < 9:
            out = _add(out, number.at, number.size)
    return item


cdef object _joined(bytes head, bytes key):
    cdef Py_ssize_t h = PyBytes_GET_SIZE(head), k = PyBytes_GET_SIZE(key)
    found = PyBytes_FromStringAndSize(NULL, h + k)
    memcpy(PyBytes_AS_STRING(found), PyBytes_AS_STRING(head), h)
    memcpy(PyBytes_AS_STRING(found) + h, PyBytes_AS_STRING(key), k)
    return found


cdef object _usage(Text number, str provider):
    cdef Py_ssize_t size
    cdef const char* at = PyUnicode_AsUTF8AndSize(provider, &size)
    cdef char* out
    found = PyBytes_FromStringAndSize(NULL, number.size + 1 + size)
    out = _add(PyBytes_AS_STRING(found), number.at, number.size)
    out[0] = 0
    memcpy(out + 1, at, size)
    return found


cdef object _line_item(tuple form, bytes prefix, bytes key, bytes account, bint priced, quantity, bytes revision, Text number):
    """(x_LineItemId, JSON) of an entry in a form; number: the quantity as text."""
    cdef Text cost
    cdef PyObject* known = PyDict_GetItemWithError(_pieces, form[0])
    pieces = <tuple> known if known != NULL else _split(form[0])
    cost.at, cost.size = b"0", 1
    if priced:
        costs = _plain(quantity * form[1], &cost)  # holds the text of the cost
    identity = _identity(prefix, key, <bytes> form[2])
    return identity, _filled(pieces, identity, revision, account, cost, number)


def append_entries(
    list deltas, dict entries, list order, bytes head, bytes prefix, bytes account, sku, unit, bint priced, dict forms, form_of, revision,
    list written, list puts,
):
    """The loop of `Group._append`: form_of(key, provider) makes a form that `forms` does not hold."""
    cdef bytes said = b"%d" % revision
    cdef Text number
    cdef PyObject* old
    cdef PyObject* known
    cdef bytes key
    for delta in deltas:
        key = <bytes> PyTuple_GET_ITEM(delta, 0)
        quantity = <object> PyTuple_GET_ITEM(delta, 1)
        provider = <object> PyTuple_GET_ITEM(delta, 2)
        old = PyDict_GetItemWithError(entries, key)
        if old == NULL:
            if not order or key > <bytes> order[len(order) - 1]:
                order.append(key)
            else:
                insort(order, key)
            usage, same = (quantity, provider), False
        else:
            before = <tuple> old
            if before[1] is not provider and before[1] != provider:
                provider = _one_of(before[1], provider)
            quantity = quantity + before[0]
            usage = (quantity, provider)
            same = usage == before
        entries[key] = usage
        text = _plain(quantity, &number)  # holds the text of the number
        puts.append((_joined(head, key), _usage(number, provider)))
        if same:
            continue
        known = PyDict_GetItemWithError(forms, (key, provider, sku, unit))
        form = <tuple> known if known != NULL else form_of(key, provider)
        written.append(_line_item(form, prefix, key, account, priced, quantity, said, number))


def write_entry(tuple form, bytes prefix, bytes key, bytes account, bint priced, quantity, revision):
    """`WindowWriter.write` from the form on: (x_LineItemId, JSON)."""
    cdef Text number
    text = _plain(quantity, &number)  # holds the text of the number
    return _line_item(form, prefix, key, account, priced, quantity, b"%d" % revision, number)


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


include "_identities.pxi"
include "_hashes.pxi"
include "_amounts.pxi"
include "_readings.pxi"
include "_windows.pxi"
