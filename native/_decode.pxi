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
