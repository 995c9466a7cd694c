# -- counting: which window a reading falls into, and what waits there to be rated ---------------------------------------------------

cdef class Counting(Cells):
    """Usage that was counted since windows were rated, as what is pending in their cells."""

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

        known: fingerprints under their identities in the store, or None. conflicts: positions are added.
        """
        cdef Py_ssize_t counted = 0, duplicates = 0
        cdef const char* there
        cdef Reading* r
        cdef Cell* c
        cdef int32_t cell
        while at < readings._count:
            r = &readings._all[at]
            there = r.print
            if <object> PyList_GET_ITEM(known, at) is not None:
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
