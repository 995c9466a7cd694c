# -- files of runs: from a table, and from several runs ----------------------------------------------------------------------

cdef Run _new_run(str path, Py_ssize_t expected):
    cdef Run run = Run.__new__(Run)
    run._open(path, True)
    run._reserve(expected, <uint64_t> expected * BITS // 512 + 1)
    run._buffer = <char*> malloc(AT_ONCE * PAGE)
    if run._buffer == NULL:
        raise MemoryError
    return run


def write_run(str path, Identities ids):
    """A new file with these identities, and the run in it; on the disk when this returns. Raises OSError. Other threads go on meanwhile."""
    cdef Run run = _new_run(path, ids._count)
    cdef Placed* order
    cdef Py_ssize_t i
    cdef int failed = 0
    with nogil:
        order = _sorted(ids._items, ids._count)
        if order != NULL:
            for i in range(ids._count):
                if i + AHEAD < ids._count:
                    _fetch(order[i + AHEAD].item)
                failed = run._append(order[i].item)
                if failed:
                    break
            free(order)
            if not failed:
                failed = run._finish()
    if order == NULL:
        raise MemoryError
    if failed:
        run._failed(failed)
    return run


cdef struct Reader:  # a run as it is read from its begin to its end
    Pages of
    char* buffer
    Py_ssize_t next, at, end  # page to read next; items of the buffer


cdef int _head(Reader* r, const char** item) noexcept nogil:
    """The item it is at, NULL behind the last one. Returns 0, or as `_read_page`."""
    cdef int got
    item[0] = NULL
    if r.at == r.end:
        r.at = r.end = 0
        while r.next * PER_PAGE < r.of.count and r.end < PER_PAGE * AT_ONCE:
            got = _read_page(&r.of, r.next, r.buffer + r.end * ITEM)
            if got < 0:
                return got
            r.end += got
            r.next += 1
        if r.end == 0:
            return 0
    item[0] = r.buffer + r.at * ITEM
    return 0


cdef class Stop:
    """What a merge is asked with to end before its time, by another thread."""

    cdef int asked

    def ask(self):
        """End it."""
        self.asked = 1


cdef int _merge(Run run, Reader* readers, int number, int* broken, int* asked) noexcept nogil:
    """Append what all of them have; returns 0 or as `_read_page`, and which one could not be read; -3 when it is asked to end."""
    cdef const char* least
    cdef const char* item
    cdef int i, from_, order, failed
    while True:
        least, from_ = NULL, 0
        for i in range(number):  # the newest last: it has the last word
            failed = _head(&readers[i], &item)
            if failed:
                broken[0] = i
                return failed
            if item == NULL:
                continue
            order = -1 if least == NULL else memcmp(item, least, HASH)
            if order == 0:
                readers[from_].at += 1
            if order <= 0:
                least, from_ = item, i
        if least == NULL:
            return 0
        if run._append(least):
            return -1
        if _is_set(asked):
            return -3
        readers[from_].at += 1


def merge_runs(str path, list runs, Stop stop):
    """As `write_run`, of all identities of some runs, the oldest run first: of what several have, the newest is kept.

    Raises InterruptedError when it is asked to stop; what it has written so far is of no use.
    """
    cdef Run run = _new_run(path, sum(map(len, runs)))
    cdef int number = len(runs), failed = 0, broken = -1, i
    cdef Reader* readers = <Reader*> calloc(number + 1, sizeof(Reader))
    if readers == NULL:
        raise MemoryError
    try:
        for i in range(number):
            readers[i].of = (<Run?> runs[i])._pages
            readers[i].buffer = <char*> malloc(AT_ONCE * PAGE)
            if readers[i].buffer == NULL:
                raise MemoryError
        with nogil:
            failed = _merge(run, readers, number, &broken, &stop.asked)
            if not failed:
                failed = run._finish()
    finally:
        for i in range(number):
            free(readers[i].buffer)
        free(readers)
    if failed == -3:
        raise InterruptedError(path)
    if failed:
        (<Run> runs[broken] if broken >= 0 else run)._failed(failed)
    return run
