# -- looking identities up, wherever they are -------------------------------------------------------------------------------

cdef Py_ssize_t _fill(list places, const char** hashes, int32_t* at, Py_ssize_t number, list found) except -1:
    """Put what is known under hashes to `found[at]`, by the first place (Identities or Run) that knows it; the others are moved to the front.

    Returns how many those are.
    """
    cdef char print_[8]
    cdef const char* there
    cdef Identities table
    cdef Run run
    cdef Py_ssize_t i, left
    cdef int got
    for place in places:
        left = 0
        table, run = (<Identities> place, None) if type(place) is Identities else (None, <Run?> place)
        for i in range(number):
            if run is not None:
                if i + AHEAD < number:
                    _fetch(_block(run._filter, run._blocks, hashes[i + AHEAD]))
                got = run.find(hashes[i], print_)
                if got < 0:
                    run._failed(got)
                there = print_ if got else NULL
            else:
                if i + AHEAD < number:
                    _fetch(table._index + table._first_slot(hashes[i + AHEAD]))
                there = table.find(hashes[i])
            if there != NULL:
                found[at[i]] = PyBytes_FromStringAndSize(there, ITEM - HASH)
            else:
                hashes[left], at[left] = hashes[i], at[i]
                left += 1
        number = left
    return number


def fill(list places, list hashes, list found):
    """Put the fingerprints that a place knows where `found` has None: of the first place that does. Returns how many stay unknown."""
    cdef Py_ssize_t i, number = 0
    cdef const char** wanted = <const char**> malloc((len(hashes) + 1) * sizeof(char*))
    cdef int32_t* at = <int32_t*> malloc((len(hashes) + 1) * sizeof(int32_t))
    try:
        if wanted == NULL or at == NULL:
            raise MemoryError
        for i in range(len(hashes)):
            if <object> PyList_GET_ITEM(found, i) is None:
                if PyBytes_GET_SIZE(<bytes?> hashes[i]) != HASH:
                    raise ValueError("a hash has 16 bytes")
                wanted[number], at[number] = PyBytes_AS_STRING(<bytes> hashes[i]), <int32_t> i
                number += 1
        return _fill(places, wanted, at, number, found)
    finally:
        free(wanted)
        free(at)
