# -- windows: usage by window, rated ---------------------------------------------------------------------------------------

cdef class Windows(Watched):
    """Usage of one partition, by window. Nothing here is saved: it follows from the store and from what was counted since."""

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

    def seal(self, Py_ssize_t most, source, watch, int64_t closed, revision, list written, list items, list puts, list left):
        """Rate the next groups that were touched, `most` at the most: (whether there are more, how many line items lack a price).

        source: what must be known of groups (counted.Source). watch: who is told of those that are rated here (counted.Watch), or None.
        closed: groups of months up to it are Python's. written, items, puts: line items and what to store are added. left: (group key, deltas,
        whether what Python knows of the group is old) of the groups that are Python's.
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
            mine = self._groups[group].month > closed and self._groups[group].who != PYTHON
            if mine and self._groups[group].who == NOBODY:
                mine = self._take_over(group, source)
            seen = self._seen(group, watch) if mine and watch is not None else None
            if mine and self._appendable(group, &total):
                known = len(written)
                self._groups[group].total = total
                self._append(group, said, written, puts)
                if not (<Rating> self._groups[group].rating).priced:
                    unpriced += len(written) - known
            elif not mine or not self._restate(group, said, written, items, puts):
                left.append((self._group_key(group), self._deltas(group), self._groups[group].who == NATIVE))
                self._groups[group].who = PYTHON
                seen = None
            if seen is not None:
                self._tell(group, seen, watch)
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
