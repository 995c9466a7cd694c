# -- cells: what was counted since the last commit, and what the plain groups hold, as arrays ------------------------------
#
# A place is what an entry key says: window, region, resource, dimensions. A group is an account's usage of a SKU in a unit and month. A cell
# is a group's usage in a place. What Python's loops keep in dicts of tuples lies in four arrays here, which refer to each other by position.

cdef enum:
    NOWHERE = -1
    MOST_RESTATED = 200  # entries of a group that is split anew; the marks of Python's `Group` are for larger ones
    ROOM = 16384  # bytes on the stack for texts that are put together; longer ones get a place of their own
    UNTOUCHED = -2
    # who rates a group
    NOBODY = 0  # not asked yet
    NATIVE = 1  # this module: one stretch, usage behind the last mark and short of the next bound
    PYTHON = 2

cdef struct Place:
    uint64_t hash
    int64_t window, month
    Py_ssize_t at, size  # region NUL resource NUL dimensions, in the texts; nothing when all three are empty
    PyObject* key  # entry key; NULL until somebody asks

cdef struct Cell:
    int32_t group, place
    int32_t next  # pending cell of the group
    int32_t sibling  # another cell of the group
    bint pending_too, held_too  # which of the amounts there are
    uint16_t pending_provider, held_provider
    Amount pending, held
    PyObject* more  # pending: a Decimal that `pending` had no room for, or NULL

cdef struct Group:
    uint64_t hash
    int64_t month
    Py_ssize_t at, size  # account NUL sku NUL unit, in the texts
    Py_ssize_t account, sku  # sizes
    int32_t first, last, recent  # pending cells; the cell touched last
    int32_t cells, number  # the first of all cells, and how many there are
    int32_t next  # group touched after this one
    int32_t reached  # bounds that the total has passed
    uint8_t who
    uint32_t commit  # when it was touched last
    Amount total
    PyObject* mark  # entry key at which the last bound was passed, or NULL
    PyObject* quoted  # account as JSON
    PyObject* rating


cdef class Table:
    """Positions by hash."""

    cdef uint32_t* _slots
    cdef Py_ssize_t _size

    def __cinit__(self):
        self._size = 1024
        self._slots = <uint32_t*> calloc(self._size, sizeof(uint32_t))
        if self._slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._slots)

    cdef int clear(self) except -1:
        memset(self._slots, 0, self._size * sizeof(uint32_t))
        return 0

    cdef int double(self) except -1:
        """Twice as many slots, all free: whoever owns the table puts everything into it again."""
        cdef uint32_t* slots = <uint32_t*> calloc(self._size * 2, sizeof(uint32_t))
        if slots == NULL:
            raise MemoryError
        free(self._slots)
        self._slots, self._size = slots, self._size * 2
        return 0

    cdef inline void put(self, uint64_t hash_, Py_ssize_t position) noexcept nogil:
        cdef Py_ssize_t mask = self._size - 1, at = <Py_ssize_t> (hash_ & <uint64_t> mask)
        while self._slots[at]:
            at = (at + 1) & mask
        self._slots[at] = <uint32_t> (position + 1)


cdef inline void* _more(void* all_, Py_ssize_t room, Py_ssize_t size) except NULL:
    all_ = realloc(all_, room * size)
    if all_ == NULL:
        raise MemoryError
    return all_


cdef inline uint64_t _cell_hash(int32_t group, int32_t place) noexcept nogil:
    cdef uint64_t h = (<uint64_t> <uint32_t> group << 32 | <uint32_t> place) * <uint64_t> 0x9E3779B97F4A7C15
    return h ^ (h >> 29)


cdef class Cells:
    """What `Windows` keeps, and where it stands."""

    cdef Place* _places
    cdef Cell* _cells
    cdef Group* _groups
    cdef char* _texts
    cdef Py_ssize_t _place_count, _cell_count, _group_count, _text_count, _place_room, _cell_room, _group_room, _text_room
    cdef Table _by_place, _by_cell, _by_group
    cdef list _providers
    cdef dict _provider_numbers
    cdef int64_t _window_s
    cdef object _month_of
    cdef dict _months, _ratings  # ratings: of sku and unit, and month, where all accounts have the same
    cdef int32_t _first, _last  # groups touched since the last commit
    cdef uint32_t _commit, _trimmed
    cdef Py_ssize_t _kept  # cells that stayed when it was trimmed last
    cdef int _generation  # of the numbers of places
    cdef object _key_type

    def __cinit__(self, int64_t window_s, month_of, key_type):
        """month_of: start of a window in seconds -> month. key_type: (account, sku, unit, month) as Python knows groups."""
        self._places, self._cells, self._groups, self._texts = NULL, NULL, NULL, NULL
        self._place_count = self._cell_count = self._group_count = self._text_count = 0
        self._place_room = self._cell_room = self._group_room = self._text_room = 0
        self._by_place, self._by_cell, self._by_group = Table(), Table(), Table()
        self._providers, self._provider_numbers = [""], {"": 0}
        self._window_s, self._month_of, self._months, self._ratings, self._key_type = window_s, month_of, {}, {}, key_type
        self._first = self._last = NOWHERE
        self._commit, self._trimmed, self._kept, self._generation = 1, 1, 0, 0

    def __dealloc__(self):
        self._drop()
        free(self._places)
        free(self._cells)
        free(self._groups)
        free(self._texts)

    cdef void _drop(self):
        cdef Py_ssize_t i
        for i in range(self._place_count):
            Py_XDECREF(self._places[i].key)
        for i in range(self._cell_count):
            Py_XDECREF(self._cells[i].more)
        for i in range(self._group_count):
            Py_XDECREF(self._groups[i].mark)
            Py_XDECREF(self._groups[i].quoted)
            Py_XDECREF(self._groups[i].rating)
        self._place_count = self._cell_count = self._group_count = self._text_count = 0

    def __len__(self):
        return self._cell_count

    # .. finding and making ..

    cdef Py_ssize_t _keep_text(self, const char* at, Py_ssize_t size) except -1:
        if self._text_count + size > self._text_room:
            self._text_room = (self._text_count + size) * 2 + 4096
            self._texts = <char*> _more(self._texts, self._text_room, 1)
        memcpy(self._texts + self._text_count, at, size)
        self._text_count += size
        return self._text_count - size

    cdef int _provider(self, Text text) except -1:
        if not text.size:
            return 0
        name = _text(text)
        found = self._provider_numbers.get(name)
        if found is None:
            if len(self._providers) == 65_000:
                raise OverflowError("too many providers")  # unheard of; each is the name of a cloud
            found = self._provider_numbers[name] = len(self._providers)
            self._providers.append(name)
        return found

    cdef int _one_provider(self, int first, int second) except -1:
        """entries.one_provider."""
        if first == second or not second:
            return first
        if not first:
            return second
        return first if self._providers[first] < self._providers[second] else second

    cdef int32_t _find_place(self, int64_t window, const char* text, Py_ssize_t size) except -1:
        cdef uint64_t h = _spread(text, size, <uint64_t> window)
        cdef Py_ssize_t mask = self._by_place._size - 1, at = <Py_ssize_t> (h & <uint64_t> mask)
        cdef Place* p
        while self._by_place._slots[at]:
            p = &self._places[self._by_place._slots[at] - 1]
            if p.hash == h and p.window == window and p.size == size and memcmp(self._texts + p.at, text, size) == 0:
                return <int32_t> (self._by_place._slots[at] - 1)
            at = (at + 1) & mask
        return self._new_place(h, window, text, size)

    cdef int32_t _new_place(self, uint64_t h, int64_t window, const char* text, Py_ssize_t size) except -1:
        cdef Place* p
        cdef Py_ssize_t i
        if self._place_count == self._place_room:
            self._place_room = self._place_room * 2 + 64
            self._places = <Place*> _more(self._places, self._place_room, sizeof(Place))
        month = self._months.get(window)
        if month is None:
            if len(self._months) > 10_000:
                self._months.clear()
            month = self._months[window] = self._month_of(window * self._window_s)
        p = &self._places[self._place_count]
        p.hash, p.window, p.month, p.size, p.key = h, window, month, size, NULL
        p.at = self._keep_text(text, size)
        self._place_count += 1
        if self._place_count * 2 > self._by_place._size:
            self._by_place.double()
            for i in range(self._place_count):
                self._by_place.put(self._places[i].hash, i)
        else:
            self._by_place.put(h, self._place_count - 1)
        return <int32_t> (self._place_count - 1)

    cdef int32_t _find_group(self, const char* text, Py_ssize_t size, int64_t month, Py_ssize_t account, Py_ssize_t sku, claimed) except? -1:
        """The group, made when it is the first; NOWHERE (and no error) when it would be the first, and its SKU is claimed."""
        cdef uint64_t h = _spread(text, size, <uint64_t> month)
        cdef Py_ssize_t mask = self._by_group._size - 1, at = <Py_ssize_t> (h & <uint64_t> mask), i
        cdef Group* g
        while self._by_group._slots[at]:
            g = &self._groups[self._by_group._slots[at] - 1]
            if g.hash == h and g.month == month and g.size == size and memcmp(self._texts + g.at, text, size) == 0:
                return <int32_t> (self._by_group._slots[at] - 1)
            at = (at + 1) & mask
        if claimed is not None and PyUnicode_DecodeUTF8(text + account + 1, sku, NULL) in claimed:
            return NOWHERE
        if self._group_count == self._group_room:
            self._group_room = self._group_room * 2 + 64
            self._groups = <Group*> _more(self._groups, self._group_room, sizeof(Group))
        g = &self._groups[self._group_count]
        memset(g, 0, sizeof(Group))
        g.hash, g.month, g.size, g.account, g.sku = h, month, size, account, sku
        g.at = self._keep_text(text, size)
        g.first = g.last = g.recent = g.cells = NOWHERE
        g.next = UNTOUCHED
        self._group_count += 1
        if self._group_count * 2 > self._by_group._size:
            self._by_group.double()
            for i in range(self._group_count):
                self._by_group.put(self._groups[i].hash, i)
        else:
            self._by_group.put(h, self._group_count - 1)
        return <int32_t> (self._group_count - 1)

    cdef int32_t _find_cell(self, int32_t group, int32_t place) except -1:
        cdef Py_ssize_t mask = self._by_cell._size - 1, at, i
        cdef uint64_t h
        cdef Cell* c
        cdef int32_t recent = self._groups[group].recent
        if recent != NOWHERE and self._cells[recent].place == place:
            return recent
        h = _cell_hash(group, place)
        at = <Py_ssize_t> (h & <uint64_t> mask)
        while self._by_cell._slots[at]:
            c = &self._cells[self._by_cell._slots[at] - 1]
            if c.group == group and c.place == place:
                self._groups[group].recent = <int32_t> (self._by_cell._slots[at] - 1)
                return self._groups[group].recent
            at = (at + 1) & mask
        if self._cell_count == self._cell_room:
            self._cell_room = self._cell_room * 2 + 256
            self._cells = <Cell*> _more(self._cells, self._cell_room, sizeof(Cell))
        c = &self._cells[self._cell_count]
        memset(c, 0, sizeof(Cell))
        c.group, c.place, c.next, c.sibling = group, place, NOWHERE, self._groups[group].cells
        self._groups[group].cells = <int32_t> self._cell_count
        self._groups[group].number += 1
        self._cell_count += 1
        if self._cell_count * 2 > self._by_cell._size:
            self._by_cell.double()
            for i in range(self._cell_count):
                self._by_cell.put(_cell_hash(self._cells[i].group, self._cells[i].place), i)
        else:
            self._by_cell.put(h, self._cell_count - 1)
        self._groups[group].recent = <int32_t> (self._cell_count - 1)
        return <int32_t> (self._cell_count - 1)

    cdef object _key(self, int32_t place):
        """Entry key of a place: items.entry_key."""
        cdef Place* p = &self._places[place]
        cdef int64_t start = p.window * self._window_s
        cdef char* out
        if p.key == NULL:
            key = PyBytes_FromStringAndSize(NULL, 8 + p.size)
            out = _big_endian(PyBytes_AS_STRING(key), <uint64_t> start, 8)
            memcpy(out, self._texts + p.at, p.size)
            Py_INCREF(key)
            p.key = <PyObject*> key
        return <object> p.key

    cdef object _group_key(self, int32_t group):
        cdef Group* g = &self._groups[group]
        cdef const char* at = self._texts + g.at
        account = PyUnicode_DecodeUTF8(at, g.account, NULL)
        sku = PyUnicode_DecodeUTF8(at + g.account + 1, g.sku, NULL)
        unit = PyUnicode_DecodeUTF8(at + g.account + g.sku + 2, g.size - g.account - g.sku - 2, NULL)
        return self._key_type(account, sku, unit, g.month)

    # .. life ..

    def committed(self, Py_ssize_t most):
        """What was sealed is durable. Keeps about `most` cells, of the groups touched while the last half of them came; more when those have more."""
        self._commit += 1
        most //= 2
        if self._cell_count > most + self._kept or self._text_count > (most + self._kept) * 256 + 65536:
            self._rebuild(self._trimmed)
            self._trimmed, self._kept = self._commit, self._cell_count

    def forget(self):
        """Prices or meters have changed: what is pending stays, all else is read again."""
        cdef Py_ssize_t i
        self._ratings = {}
        for i in range(self._group_count):
            self._groups[i].who, self._groups[i].commit = NOBODY, 0
        for i in range(self._cell_count):
            self._cells[i].held_too = False
        self._rebuild(self._commit + 1)

    cdef int _rebuild(self, uint32_t since) except -1:
        """Keep what is pending, and the groups that were touched in commit `since` or later; everything gets another position."""
        cdef Cells other = Cells(self._window_s, self._month_of, self._key_type)
        cdef Group* g
        cdef Group* n
        cdef Cell* c
        cdef Cell* d
        cdef int32_t group, place, cell, at
        cdef Py_ssize_t i
        cdef int32_t* groups = <int32_t*> malloc((self._group_count + 1) * sizeof(int32_t))
        if groups == NULL:
            raise MemoryError
        other._providers, other._provider_numbers, other._months, other._ratings = self._providers, self._provider_numbers, self._months, self._ratings
        other._commit, other._trimmed = self._commit, self._trimmed
        try:
            for i in range(self._group_count):
                g = &self._groups[i]
                groups[i] = NOWHERE
                if g.commit < since and g.first == NOWHERE:
                    continue
                group = groups[i] = other._find_group(self._texts + g.at, g.size, g.month, g.account, g.sku, None)
                n = &other._groups[group]
                n.reached, n.who, n.commit, n.total = g.reached, g.who, g.commit, g.total
                n.mark, n.quoted, n.rating = g.mark, g.quoted, g.rating
                g.mark = g.quoted = g.rating = NULL
            for i in range(self._cell_count):
                c = &self._cells[i]
                group = groups[c.group]
                if group == NOWHERE or not (c.held_too or c.pending_too):
                    continue
                place = other._find_place(self._places[c.place].window, self._texts + self._places[c.place].at, self._places[c.place].size)
                cell = other._find_cell(group, place)
                d = &other._cells[cell]
                d.pending_too, d.held_too, d.pending, d.held = c.pending_too, c.held_too, c.pending, c.held
                d.pending_provider, d.held_provider, d.more = c.pending_provider, c.held_provider, c.more
                c.more = NULL
            # The chains, in the order in which they were.
            at = self._first
            while at != NOWHERE:
                other._chain(self, at, groups[at])
                at = self._groups[at].next
        finally:
            free(groups)
        self._drop()
        self._places, other._places = other._places, self._places
        self._cells, other._cells = other._cells, self._cells
        self._groups, other._groups = other._groups, self._groups
        self._texts, other._texts = other._texts, self._texts
        self._place_count, self._cell_count, self._group_count, self._text_count = (
            other._place_count, other._cell_count, other._group_count, other._text_count)
        self._place_room, self._cell_room, self._group_room, self._text_room = (
            other._place_room, other._cell_room, other._group_room, other._text_room)
        other._place_count = other._cell_count = other._group_count = other._text_count = 0
        self._by_place, self._by_cell, self._by_group = other._by_place, other._by_cell, other._by_group
        self._first, self._last = other._first, other._last
        self._generation += 1
        return 0

    cdef int _chain(self, Cells old, int32_t was, int32_t group) except -1:
        cdef int32_t at = old._groups[was].first, cell
        cdef Group* g = &self._groups[group]
        while at != NOWHERE:
            cell = self._find_cell(
                group, self._find_place(old._places[old._cells[at].place].window, old._texts + old._places[old._cells[at].place].at,
                                        old._places[old._cells[at].place].size))
            if g.first == NOWHERE:
                g.first = cell
            else:
                self._cells[g.last].next = cell
            g.last = cell
            at = old._cells[at].next
        g.next = NOWHERE
        if self._first == NOWHERE:
            self._first = group
        else:
            self._groups[self._last].next = group
        self._last = group
        return 0
