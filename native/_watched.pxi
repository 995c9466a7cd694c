# -- what a commit changes of groups that are rated here, for who watches it (counted.Watch) ---------------------------------------

cdef class Watched(Counting):
    """What the windows of a group held and hold. In the order in which they were touched, as `_deltas` has them."""

    cdef tuple _seen(self, int32_t group, watch):
        """entries.quantities, before a group is rated: (its key, what each window holds that is about to change). None when it is not wanted."""
        cdef int32_t at
        cdef list held = []
        key = self._group_key(group)
        if not watch.wants(key):
            return None
        at = self._groups[group].first
        while at != NOWHERE:
            held.append(_as_decimal(&self._cells[at].held) if self._cells[at].held_too else None)
            at = self._cells[at].next
        return key, held

    cdef int _tell(self, int32_t group, tuple seen, watch) except -1:
        """entries.changes_since, once it is rated."""
        cdef int32_t at = self._groups[group].first
        cdef list changes = []
        for before in <list> seen[1]:
            changes.append((self._key(self._cells[at].place), before, _as_decimal(&self._cells[at].held)))
            at = self._cells[at].next
        watch.change(seen[0], changes)
        return 0
