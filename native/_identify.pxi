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
