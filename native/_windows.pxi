# -- windows: what was counted since the last commit, and what the plain groups hold ---------------------------------------
#
# A place is what an entry key says: window, region, resource, dimensions. A group is an account's usage of a SKU in a unit and month. A cell
# is a group's usage in a place. What Python's loops keep in dicts of tuples lies in four arrays here, which refer to each other by position.

cdef enum:
    NOWHERE = -1
    MOST_BOUNDS = 64
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


cdef class Form:
    """A line item with gaps, ready to be filled."""

    cdef tuple pieces
    cdef bytes component
    cdef object price
    cdef Amount amount
    cdef bint exact  # `amount` is the unit price; else `price` is needed

    def __init__(self, tuple form):
        known = _pieces.get(form[0])
        self.pieces = _split(form[0]) if known is None else known
        self.price, self.component = form[1], form[2]
        self.exact = _amount_from(form[1], &self.amount)


cdef class Rating:
    """What all plain groups of a SKU, unit and month have in common: one stretch, tiers or none, each window charged by itself."""

    cdef readonly bint priced
    cdef readonly bint usable
    cdef object _form_of, _withdrawn
    cdef dict _forms
    cdef int _number, _generation
    cdef Amount _bounds[MOST_BOUNDS]

    def __init__(self, bounds, bint priced, form_of, withdrawn):
        """form_of: (entry key, tier, provider) -> form, as `WindowWriter.form` makes it. withdrawn: (group key, entry key, tier, provider) -> the
        line item that says that nothing of the entry is in the tier any more. Not `usable`: its bounds are none for this module."""
        self._withdrawn = withdrawn
        self.priced, self._form_of, self._forms, self._number, self._generation = priced, form_of, {}, len(bounds), -1
        self.usable = len(bounds) <= MOST_BOUNDS
        if self.usable:
            for at, bound in enumerate(bounds):
                self.usable = self.usable and _amount_from(bound, &self._bounds[at])

    cdef Form form(self, int generation, int32_t place, bytes key, int tier, int provider, list providers):
        cdef PyObject* found
        if self._generation != generation:  # places have got other numbers
            self._forms.clear()
            self._generation = generation
        name = (<int64_t> place << 24) | (tier << 16) | provider
        found = PyDict_GetItemWithError(self._forms, name)
        if found != NULL:
            return <Form> found
        if len(self._forms) > 20_000:
            self._forms.clear()
        form = self._forms[name] = Form(self._form_of(key, tier, providers[provider]))
        return form


cdef struct Part:
    int tier
    Amount amount


cdef bint _among(const Part* part, const Part* parts, int number) noexcept nogil:
    cdef int i
    for i in range(number):
        if parts[i].tier == part.tier and _equal(&parts[i].amount, &part.amount):
            return True
    return False


cdef int _split_over(const Amount* before, const Amount* quantity, const Amount* bounds, int number, Part* parts) noexcept nogil:
    """chronology.walk, for one entry that is not below zero: its parts, one for each tier that it touches; returns how many."""
    cdef Amount at = before[0], past
    cdef int tier = 0, found = 0
    _sum(before, quantity, &past)
    while tier < number and _is_beyond(before, &bounds[tier]):  # entirely behind this tier
        tier += 1
    if _is_zero(quantity):
        parts[0].tier, parts[0].amount = tier, quantity[0]
        return 1
    while tier < number and _is_beyond(&past, &bounds[tier]):
        if _is_beyond(&bounds[tier], &at):  # else it begins just at the bound
            parts[found].tier = tier
            _difference(&bounds[tier], &at, &parts[found].amount)
            found += 1
        at = bounds[tier]
        tier += 1
    parts[found].tier = tier
    _difference(&past, &at, &parts[found].amount)
    return found + 1


cdef object _rated_item(Form form, bytes prefix, bytes key, bytes quoted, bint priced, Amount* held, bytes said, Text quantity):
    """(x_LineItemId, JSON) of an entry's usage in a tier; prefix: ENTRY and the group's."""
    cdef char block[128]
    cdef char hexed[32]
    cdef char text[AMOUNT_TEXT]
    cdef Amount product
    cdef Text cost
    cdef char* out
    cdef Py_ssize_t size = PyBytes_GET_SIZE(prefix) - 1
    cdef Py_ssize_t whole = size + PyBytes_GET_SIZE(key) + PyBytes_GET_SIZE(form.component) + 2
    if whole > 128:
        identity = _long_identity(prefix[1:], key, form.component)
    else:
        out = _add(block, PyBytes_AS_STRING(prefix) + 1, size)
        out[0] = 0
        out = _add(out + 1, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        out[0] = 0
        out = _add(out + 1, PyBytes_AS_STRING(form.component), PyBytes_GET_SIZE(form.component))
        memset(out, 0, 128 - whole)
        _blake2b_128(block, whole, hexed)
        identity = PyBytes_FromStringAndSize(hexed, 32)
    if not priced:
        cost.at, cost.size = b"0", 1
    elif form.exact and _product(held, &form.amount, &product):
        cost.at, cost.size = text, _amount_text(&product, text)
    else:
        exact = _plain(_as_decimal(held) * form.price, &cost)  # holds the text of the cost
    return identity, _filled(form.pieces, identity, said, quoted, cost, quantity)


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


cdef class Windows:
    """Usage of one partition, by window. Nothing here is saved: it follows from the store and from what was counted since."""

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

    # .. counting ..

    cdef int32_t _pending(self, Reading* r, claimed) except? -1:
        """The cell that a reading falls into, as one with something pending; NOWHERE when its SKU is claimed."""
        cdef char near[ROOM]
        cdef char* room = near
        cdef char* out
        cdef int32_t place, group, cell
        cdef int64_t window = r.time // (self._window_s * 1_000_000_000)
        cdef Group* g
        if r.time < 0 and window * self._window_s * 1_000_000_000 > r.time:  # C rounds towards zero
            window -= 1
        if r.region.size + r.resource.size + r.dimensions.size + r.account.size + r.sku.size + r.unit.size + 6 > ROOM:
            far = PyBytes_FromStringAndSize(NULL, r.region.size + r.resource.size + r.dimensions.size + r.account.size + r.sku.size + r.unit.size + 6)
            room = PyBytes_AS_STRING(far)
        if r.region.size or r.resource.size or r.dimensions.size:
            out = _put_text(_put_text(_put_text(room, r.region), r.resource), r.dimensions)
            place = self._find_place(window, room, out - 1 - room)
        else:
            place = self._find_place(window, room, 0)
        out = _put_text(_put_text(_put_text(room, r.account), r.sku), r.unit)
        group = self._find_group(room, out - 1 - room, self._places[place].month, r.account.size, r.sku.size, claimed)
        if group == NOWHERE:
            return NOWHERE
        cell = self._find_cell(group, place)
        if not self._cells[cell].pending_too:
            self._cells[cell].pending_too, self._cells[cell].next, self._cells[cell].pending = True, NOWHERE, _zero()
            self._cells[cell].pending_provider = 0
            g = &self._groups[group]
            if g.first == NOWHERE:
                g.first = cell
            else:
                self._cells[g.last].next = cell
            g.last = cell
            if g.next == UNTOUCHED:
                g.next = NOWHERE
                if self._first == NOWHERE:
                    self._first = group
                else:
                    self._groups[self._last].next = group
                self._last = group
            self._cells[cell].pending_provider = <uint16_t> self._provider(r.provider)
        elif r.provider.size or self._cells[cell].pending_provider:
            self._cells[cell].pending_provider = <uint16_t> self._one_provider(self._cells[cell].pending_provider, self._provider(r.provider))
        return cell

    cdef int _add_more(self, int32_t cell, quantity) except -1:
        """Add a Decimal that is none for `pending`."""
        cdef Cell* c = &self._cells[cell]
        cdef PyObject* old = c.more
        total = quantity if old == NULL else <object> old + quantity
        Py_INCREF(total)
        c.more = <PyObject*> total
        Py_XDECREF(old)
        return 0

    def count(self, Readings readings, Identities fresh, list known, claimed, Py_ssize_t at, list conflicts):
        """Count readings from `at` on, up to one whose SKU is claimed: (its position, counted, duplicates); the number of readings if none is.

        known: fingerprints under their identities in the store, or None; or None for all of them. conflicts: positions are added.
        """
        cdef Py_ssize_t counted = 0, duplicates = 0
        cdef const char* there
        cdef Reading* r
        cdef Cell* c
        cdef int32_t cell
        while at < readings._count:
            r = &readings._all[at]
            there = r.print
            if known is not None and <object> PyList_GET_ITEM(known, at) is not None:
                there = PyBytes_AS_STRING(<bytes> PyList_GET_ITEM(known, at))
            else:
                there = fresh.set_default(r.hash, r.print)
            if there != r.print:
                if memcmp(there, r.print, 8) == 0:
                    duplicates += 1
                else:
                    conflicts.append(at)
                at += 1
                continue
            cell = self._pending(r, claimed)
            if cell == NOWHERE:
                fresh.pop(PyBytes_FromStringAndSize(r.hash, HASH))
                break
            c = &self._cells[cell]
            if not _sum(&c.pending, &r.quantity, &c.pending):
                self._add_more(cell, _as_decimal(&r.quantity))
            counted += 1
            at += 1
        return at, counted, duplicates

    def add(self, event, bint less=False):
        """Let an event count, or (less) no longer."""
        cdef Reading r
        cdef int32_t cell
        cdef Cell* c
        r.account.at = PyUnicode_AsUTF8AndSize(_of(event, ACCOUNT), &r.account.size)
        r.sku.at = PyUnicode_AsUTF8AndSize(_of(event, SKU), &r.sku.size)
        r.unit.at = PyUnicode_AsUTF8AndSize(_of(event, UNIT), &r.unit.size)
        r.region.at = PyUnicode_AsUTF8AndSize(_of(event, REGION), &r.region.size)
        r.resource.at = PyUnicode_AsUTF8AndSize(_of(event, RESOURCE), &r.resource.size)
        r.dimensions.at = PyUnicode_AsUTF8AndSize(_of(event, DIMENSIONS), &r.dimensions.size)
        r.provider.at = PyUnicode_AsUTF8AndSize(_of(event, PROVIDER), &r.provider.size)
        r.time = PyLong_AsLongLong(_of(event, TIME))
        quantity = _of(event, QUANTITY)
        if less:
            quantity = -quantity
        cell = self._pending(&r, None)
        c = &self._cells[cell]
        if not _amount_from(quantity, &r.quantity) or not _sum(&c.pending, &r.quantity, &c.pending):
            self._add_more(cell, quantity)

    def count_events(self, list events, list hashes, list prints, list stored, Identities fresh, claimed, Py_ssize_t at, list conflicts):
        """As `count`, of usage events with their identity hashes, fingerprints, and what the store knows; up to one that is not plain."""
        cdef Py_ssize_t counted = 0, duplicates = 0
        cdef const char* there
        cdef const char* own
        while at < len(events):
            event = <object> PyList_GET_ITEM(events, at)
            own = PyBytes_AS_STRING(<bytes> PyList_GET_ITEM(prints, at))
            if <object> PyList_GET_ITEM(stored, at) is not None:
                there = PyBytes_AS_STRING(<bytes> PyList_GET_ITEM(stored, at))
            else:
                there = fresh.set_default(PyBytes_AS_STRING(<bytes> PyList_GET_ITEM(hashes, at)), own)
            if there != own:
                if memcmp(there, own, 8) == 0:
                    duplicates += 1
                else:
                    conflicts.append(at)
                at += 1
                continue
            if type(event) is not _Event or len(<str> _of(event, BACKFILL)) > 0 or _of(event, SKU) in claimed:
                fresh.pop(<bytes> PyList_GET_ITEM(hashes, at))
                break
            self.add(event)
            counted += 1
            at += 1
        return at, counted, duplicates

    # .. rating ..

    cdef int _hold(self, int32_t group, int32_t place, Amount held, int provider) except -1:
        cdef int32_t cell = self._find_cell(group, place)
        self._cells[cell].held, self._cells[cell].held_provider, self._cells[cell].held_too = held, <uint16_t> provider, True
        return 0

    cdef int32_t _place_of(self, bytes key) except -1:
        """The place of an entry key."""
        cdef const uint8_t* at = <const uint8_t*> PyBytes_AS_STRING(key)
        cdef uint64_t start = 0
        cdef int i
        for i in range(8):
            start = start << 8 | at[i]
        return self._find_place(<int64_t> start // self._window_s, <const char*> at + 8, PyBytes_GET_SIZE(key) - 8)

    cdef object _rating(self, int32_t group, source):
        """The Rating of a group, or None."""
        cdef Group* g = &self._groups[group]
        if not source.uniform:
            return source.rating_of(self._group_key(group))
        name = (PyBytes_FromStringAndSize(self._texts + g.at + g.account, g.size - g.account), g.month)
        if name in self._ratings:
            return self._ratings[name]
        if len(self._ratings) > 65_536:
            self._ratings.clear()
        rating = self._ratings[name] = source.rating_of(self._group_key(group))
        return rating

    cdef bytes _quoted(self, int32_t group, source):
        """The account as JSON."""
        cdef Group* g = &self._groups[group]
        cdef const char* at = self._texts + g.at
        cdef Py_ssize_t i
        for i in range(g.account):
            if _stops[<uint8_t> at[i]] or <uint8_t> at[i] > 127:
                return source.quoted(self._group_key(group))
        found = PyBytes_FromStringAndSize(NULL, g.account + 2)
        PyBytes_AS_STRING(found)[0] = PyBytes_AS_STRING(found)[g.account + 1] = 34
        memcpy(PyBytes_AS_STRING(found) + 1, at, g.account)
        return found

    cdef bytes _prefix(self, int32_t group):
        """ENTRY, and the group's prefix: account NUL sku NUL unit NUL month."""
        cdef Group* g = &self._groups[group]
        cdef char* out
        found = PyBytes_FromStringAndSize(NULL, g.size + 6)
        out = PyBytes_AS_STRING(found)
        out[0] = 101
        out = _add(out + 1, self._texts + g.at, g.size)
        out[0] = 0
        _big_endian(out + 1, <uint64_t> g.month, 4)
        return found

    cdef bint _take_over(self, int32_t group, source) except -1:
        """Ask whose a group is, and take over what its entries hold. False: it is Python's."""
        cdef Amount held
        cdef Text text
        cdef const char* at
        cdef const char* nul
        cdef Py_ssize_t size
        cdef Group* g
        rating = self._rating(group, source)
        if rating is None:
            return False
        entries = source.scan(self._prefix(group))
        reached, mark = 0, None
        self._groups[group].total = _zero()
        for key, value in entries:
            at, size = PyBytes_AS_STRING(<bytes?> value), PyBytes_GET_SIZE(<bytes> value)
            nul = <const char*> memchr(at, 0, size)
            if not size:
                continue
            if nul == NULL or not _amount_of(at, nul - at, &held) or ((<Rating> rating)._number and _is_negative(&held)):
                return False
            text.at, text.size = nul + 1, at + size - nul - 1
            self._hold(group, self._place_of(key), held, self._provider(text))
            g = &self._groups[group]
            if not _sum(&g.total, &held, &g.total):
                return False
        if entries and (<Rating> rating)._number:
            standing = source.standing(self._group_key(group), entries)
            if standing is None:
                return False
            reached, mark = standing
        self._settle(group, rating, self._quoted(group, source), reached, mark)
        return True

    cdef void _settle(self, int32_t group, rating, quoted, int reached, mark):
        cdef Group* g = &self._groups[group]
        Py_XDECREF(g.rating)
        Py_XDECREF(g.quoted)
        Py_XDECREF(g.mark)
        g.rating = g.quoted = g.mark = NULL
        Py_INCREF(rating)
        Py_INCREF(quoted)
        g.rating, g.quoted, g.reached, g.who = <PyObject*> rating, <PyObject*> quoted, reached, NATIVE
        if mark is not None:
            Py_INCREF(mark)
            g.mark = <PyObject*> mark

    cdef bint _appendable(self, int32_t group, Amount* total) except -1:
        """Whether what is pending lies behind the last mark and short of the next bound; `total` becomes the total with it."""
        cdef Group* g = &self._groups[group]
        cdef Rating rating = <Rating> g.rating
        cdef int32_t at = g.first
        cdef int beyond = 0
        total[0] = g.total
        while at != NOWHERE:
            if self._cells[at].more != NULL or not _sum(total, &self._cells[at].pending, total):
                return False
            if rating._number and _is_negative(&self._cells[at].pending):
                return False
            if g.reached and self._key(self._cells[at].place) <= <bytes> g.mark:
                return False
            at = self._cells[at].next
        if g.reached < rating._number:
            return _beyond(total, &rating._bounds[g.reached], &beyond) and not beyond
        return True

    cdef list _deltas(self, int32_t group):
        """What is pending in a group, for Python."""
        cdef int32_t at = self._groups[group].first
        cdef Cell* c
        cdef list deltas = []
        while at != NOWHERE:
            c = &self._cells[at]
            quantity = _as_decimal(&c.pending)
            if c.more != NULL:
                quantity = quantity + <object> c.more
            deltas.append((self._key(c.place), quantity, self._providers[c.pending_provider]))
            at = c.next
        return deltas

    cdef void _done(self, int32_t group):
        """Nothing is pending in a group any more."""
        cdef Group* g = &self._groups[group]
        cdef int32_t at = g.first, following
        while at != NOWHERE:
            following = self._cells[at].next
            self._cells[at].pending_too, self._cells[at].next = False, NOWHERE
            Py_XDECREF(self._cells[at].more)
            self._cells[at].more = NULL
            at = following
        g.first = g.last = NOWHERE
        g.commit = self._commit

    def seal(self, Py_ssize_t most, source, bint native, int64_t closed, revision, list written, list items, list puts, list left):
        """Rate the next groups that were touched, `most` at the most: (whether there are more, how many line items lack a price).

        source: what must be known of groups (counted.Source). native: False leaves all to Python, and so are the groups of closed months (up to
        `closed`). written, items, puts: line items and what to store are added. left: (group key, deltas, whether what Python knows of the group
        is old) of the groups that are Python's.
        """
        cdef int32_t group
        cdef Group* g
        cdef Amount total
        cdef Py_ssize_t known
        cdef bint mine
        unpriced = 0
        said = b"%d" % revision
        while most and self._first != NOWHERE:
            most -= 1
            group = self._first
            self._first = self._groups[group].next
            self._groups[group].next = UNTOUCHED
            mine = native and self._groups[group].month > closed and self._groups[group].who != PYTHON
            if mine and self._groups[group].who == NOBODY:
                mine = self._take_over(group, source)
            if mine and self._appendable(group, &total):
                known = len(written)
                self._groups[group].total = total
                self._append(group, said, written, puts)
                if not (<Rating> self._groups[group].rating).priced:
                    unpriced += len(written) - known
            elif not mine or not self._restate(group, said, written, items, puts):
                left.append((self._group_key(group), self._deltas(group), self._groups[group].who == NATIVE))
                self._groups[group].who = PYTHON
            self._done(group)
        if self._first == NOWHERE:
            self._last = NOWHERE
        return self._first != NOWHERE, unpriced

    cdef int _put(self, Cell* c, bytes prefix, int provider, list puts, Text* quantity, char* number) except -1:
        """The entry of a cell as it is to be stored; `quantity` becomes its text."""
        quantity.at, quantity.size = number, _amount_text(&c.held, number)
        puts.append((_joined(prefix, <bytes> self._key(c.place)), _usage(quantity[0], self._providers[provider])))
        return 0

    cdef int _append(self, int32_t group, bytes said, list written, list puts) except -1:
        """Group._append."""
        cdef char number[AMOUNT_TEXT]
        cdef Group* g = &self._groups[group]
        cdef Cell* c
        cdef int32_t at = g.first
        cdef int provider
        cdef bint same
        cdef Rating rating = <Rating> g.rating
        cdef bytes quoted = <bytes> g.quoted
        cdef bytes prefix = self._prefix(group)
        cdef Text quantity
        while at != NOWHERE:
            c = &self._cells[at]
            same = False
            if c.held_too:
                provider = self._one_provider(c.held_provider, c.pending_provider)
                same = provider == c.held_provider and _is_zero(&c.pending)
                if not _sum(&c.held, &c.pending, &c.held):
                    raise OverflowError("a window holds more than its group")
            else:
                c.held, provider = c.pending, c.pending_provider
            c.held_too, c.held_provider = True, <uint16_t> provider
            self._put(c, prefix, provider, puts, &quantity, number)
            if not same:
                key = <bytes> self._key(c.place)
                form = rating.form(self._generation, c.place, key, g.reached, provider, self._providers)
                written.append(_rated_item(form, prefix, key, quoted, rating.priced, &c.held, said, quantity))
            at = c.next
        return 0

    cdef bint _restate(self, int32_t group, bytes said, list written, list items, list puts) except -1:
        """Group._restate_marked: split all entries over the tiers as they were and as they are. False, and nothing done, when it is not that simple."""
        cdef Group* g = &self._groups[group]
        cdef Rating rating = <Rating> g.rating
        cdef Amount total = g.total
        cdef int32_t at = g.first
        cdef int i
        cdef int32_t* order
        if not rating._number or g.number > MOST_RESTATED:
            return False
        while at != NOWHERE:
            if self._cells[at].more != NULL or _is_negative(&self._cells[at].pending) or not _sum(&total, &self._cells[at].pending, &total):
                return False
            at = self._cells[at].next
        for i in range(rating._number):  # from here on nothing may be refused
            if not _comparable(&total, &rating._bounds[i]):
                return False
        order = <int32_t*> malloc(g.number * sizeof(int32_t))
        if order == NULL:
            raise MemoryError
        try:
            self._restate_in(order, self._in_order(group, order), group, said, written, items, puts)
        finally:
            free(order)
        g.total = total
        return True

    cdef int _in_order(self, int32_t group, int32_t* order) except -1:
        """The cells of a group that hold something or are about to, by entry key; returns how many."""
        cdef int32_t at = self._groups[group].cells
        cdef int number = 0, i
        while at != NOWHERE:
            if self._cells[at].held_too or self._cells[at].pending_too:
                key = <bytes> self._key(self._cells[at].place)
                i = number
                while i and <bytes> self._key(self._cells[order[i - 1]].place) > key:
                    order[i] = order[i - 1]
                    i -= 1
                order[i] = at
                number += 1
            at = self._cells[at].sibling
        return number

    cdef int _restate_in(self, int32_t* order, int number, int32_t group, bytes said, list written, list items, list puts) except -1:
        cdef char text[AMOUNT_TEXT]
        cdef Part was[MOST_BOUNDS + 1]
        cdef Part now[MOST_BOUNDS + 1]
        cdef Group* g = &self._groups[group]
        cdef Rating rating = <Rating> g.rating
        cdef bytes prefix = self._prefix(group)
        cdef bytes quoted = <bytes> g.quoted
        cdef bytes key, mark = b""
        cdef Amount before = _zero(), after = _zero()  # cumulative quantity before an entry, as it was and as it is
        cdef Cell* c
        cdef Text quantity
        cdef int n, i, j, old, new, provider, reached = 0
        cdef bint relabelled
        for n in range(number):
            c = &self._cells[order[n]]
            key = <bytes> self._key(c.place)
            old = _split_over(&before, &c.held, rating._bounds, rating._number, was) if c.held_too else 0
            provider, relabelled = c.held_provider, False
            if c.pending_too:
                provider = c.pending_provider if not c.held_too else self._one_provider(c.held_provider, c.pending_provider)
                relabelled = c.held_too and provider != c.held_provider
            if c.held_too:
                _sum(&before, &c.held, &before)
            if c.pending_too:
                if c.held_too:
                    _sum(&c.held, &c.pending, &c.held)
                else:
                    c.held = c.pending
                c.held_too, c.held_provider = True, <uint16_t> provider
                self._put(c, prefix, provider, puts, &quantity, text)
            new = _split_over(&after, &c.held, rating._bounds, rating._number, now)
            _sum(&after, &c.held, &after)
            while reached < rating._number and _is_beyond(&after, &rating._bounds[reached]):
                reached, mark = reached + 1, key
            for i in range(new):
                if relabelled or not _among(&now[i], was, old):
                    quantity.at, quantity.size = text, _amount_text(&now[i].amount, text)
                    form = rating.form(self._generation, c.place, key, now[i].tier, provider, self._providers)
                    written.append(_rated_item(form, prefix, key, quoted, rating.priced, &now[i].amount, said, quantity))
            for i in range(old):
                for j in range(new):
                    if now[j].tier == was[i].tier:
                        break
                else:
                    items.append(rating._withdrawn(self._group_key(group), key, was[i].tier, self._providers[provider]))
        self._settle(group, rating, quoted, reached, mark if reached else None)
        return 0

    def adopt(self, key, found, entries):
        """Take a group back from Python, which has rated it and found it plain. False when it is not for this module.

        found: its Rating, account as JSON, bounds reached, entry key of the last mark. entries: entry key -> (quantity, provider), as they are now.
        """
        cdef Py_ssize_t size
        cdef const char* at
        cdef int32_t group
        cdef Amount held, total = _zero()
        cdef Text text
        rating, quoted, reached, mark = found
        texts = f"{key[0]}\0{key[1]}\0{key[2]}"
        at = PyUnicode_AsUTF8AndSize(texts, &size)
        group = self._find_group(at, size, key[3], len(key[0].encode()), len(key[1].encode()), None)
        for entry, usage in entries.items():
            if not _amount_from(usage[0], &held) or _is_negative(&held) or not _sum(&total, &held, &total):
                return False
            text.at = PyUnicode_AsUTF8AndSize(usage[1], &text.size)
            self._hold(group, self._place_of(entry), held, self._provider(text))
        self._groups[group].total = total
        self._settle(group, rating, quoted, reached, mark)
        return True

    # .. life ..

    def committed(self, Py_ssize_t most):
        """What was sealed is durable. Keeps about `most` cells: more when the groups touched since it last looked have more."""
        self._commit += 1
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
        cdef Windows other = Windows(self._window_s, self._month_of, self._key_type)
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

    cdef int _chain(self, Windows old, int32_t was, int32_t group) except -1:
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
