# -- identities: a table from hash (16 bytes) to fingerprint (8) ----------------------------------------------------------

cdef enum:
    HASH = 16
    ITEM = 24  # bytes of a hash and its fingerprint


cdef class Identities:
    """Fingerprints by identity hash, in the order in which they came: 24 bytes each and an index of 4 to 8 bytes more.

    What a dict of `bytes` does, in an eighth of the memory; hashes are 16 bytes and spread evenly, fingerprints are 8 bytes.
    """

    cdef char* _items
    cdef uint32_t* _index  # 1 + position of an item; 0: free
    cdef Py_ssize_t _count, _room, _slots

    def __cinit__(self, ids=()):
        self._items, self._index = NULL, NULL
        self._count = self._room = self._slots = 0
        self._grow()
        if ids:
            self.update(ids)

    def __dealloc__(self):
        free(self._items)
        free(self._index)

    cdef int _grow(self) except -1:
        cdef Py_ssize_t slots = self._slots * 2 if self._slots else 256, room = slots // 2, i, at
        cdef uint32_t* index = <uint32_t*> calloc(slots, sizeof(uint32_t))
        cdef char* items = NULL if index == NULL else <char*> realloc(self._items, room * ITEM)
        if items == NULL:
            free(index)
            raise MemoryError
        free(self._index)
        self._items, self._index, self._room, self._slots = items, index, room, slots
        for i in range(self._count):
            at = self._slot(items + i * ITEM)
            index[at] = <uint32_t> (i + 1)
        return 0

    cdef inline Py_ssize_t _first_slot(self, const char* hash_) noexcept nogil:
        cdef uint64_t word
        memcpy(&word, hash_, 8)
        return <Py_ssize_t> (word & <uint64_t> (self._slots - 1))

    cdef inline Py_ssize_t _slot(self, const char* hash_) noexcept nogil:
        """The slot that holds a hash, or the free one where it would go."""
        cdef Py_ssize_t mask = self._slots - 1, at = self._first_slot(hash_)
        while self._index[at] and memcmp(self._items + <Py_ssize_t> (self._index[at] - 1) * ITEM, hash_, HASH) != 0:
            at = (at + 1) & mask
        return at

    cdef inline const char* find(self, const char* hash_) noexcept nogil:
        """The fingerprint of a hash; NULL when it is not here."""
        cdef Py_ssize_t at = self._slot(hash_)
        return self._items + <Py_ssize_t> (self._index[at] - 1) * ITEM + HASH if self._index[at] else NULL

    cdef const char* set_default(self, const char* hash_, const char* print_) except NULL:
        """What stands under a hash: what stood there, or (returned as is) the fingerprint given."""
        cdef Py_ssize_t at = self._slot(hash_)
        cdef char* item
        if self._index[at]:
            return self._items + <Py_ssize_t> (self._index[at] - 1) * ITEM + HASH
        if self._count == self._room:
            self._grow()
            at = self._slot(hash_)
        item = self._items + self._count * ITEM
        memcpy(item, hash_, HASH)
        memcpy(item + HASH, print_, ITEM - HASH)
        self._count += 1
        self._index[at] = <uint32_t> self._count
        return print_

    cdef int _put(self, const char* hash_, const char* print_) except -1:
        cdef const char* there = self.set_default(hash_, print_)
        if there != print_:
            memcpy(<char*> there, print_, ITEM - HASH)
        return 0

    def __len__(self):
        return self._count

    def keys(self):
        """Hashes, in the order in which they came."""
        return [hash_ for hash_, _ in self.items()]

    def __getitem__(self, bytes hash_):
        found = self.get(hash_)
        if found is None:
            raise KeyError(hash_)
        return found

    def get(self, bytes hash_, default=None):
        """The fingerprint of a hash."""
        cdef const char* found
        if PyBytes_GET_SIZE(hash_) != HASH:
            return default
        found = self.find(PyBytes_AS_STRING(hash_))
        return default if found == NULL else PyBytes_FromStringAndSize(found, ITEM - HASH)

    def setdefault(self, bytes hash_, bytes print_):
        """As of a dict: `print_` itself when nothing stood there. Raises ValueError."""
        cdef const char* own = PyBytes_AS_STRING(print_)
        cdef const char* found
        if PyBytes_GET_SIZE(hash_) != HASH or PyBytes_GET_SIZE(print_) != ITEM - HASH:
            raise ValueError("a hash has 16 bytes, a fingerprint 8")
        found = self.set_default(PyBytes_AS_STRING(hash_), own)
        return print_ if found == own else PyBytes_FromStringAndSize(found, ITEM - HASH)

    def pop(self, bytes hash_, *default):
        """Take back what was added last. Raises KeyError for anything else, unless there is a default."""
        cdef Py_ssize_t at = self._slot(PyBytes_AS_STRING(hash_))
        # Nothing was added since, so no other hash went past its slot: it may simply be free again.
        if not self._count or self._index[at] != <uint32_t> self._count:
            if default:
                return default[0]
            raise KeyError(hash_)
        self._index[at] = 0
        self._count -= 1

    def update(self, ids):
        """Add all of another table, of a mapping, or of what `packed` gave. Raises ValueError."""
        cdef Identities other
        cdef const char* at
        cdef Py_ssize_t i
        if type(ids) is Identities:
            other = <Identities> ids
            for i in range(other._count):
                self._put(other._items + i * ITEM, other._items + i * ITEM + HASH)
        elif type(ids) is bytes:
            if PyBytes_GET_SIZE(ids) % ITEM:
                raise ValueError(f"{len(ids)} bytes are no multiple of {ITEM}")
            at = PyBytes_AS_STRING(ids)
            for i in range(PyBytes_GET_SIZE(ids) // ITEM):
                self._put(at + i * ITEM, at + i * ITEM + HASH)
        else:
            for hash_, print_ in ids.items():
                if len(<bytes?> hash_) != HASH or len(<bytes?> print_) != ITEM - HASH:
                    raise ValueError("a hash has 16 bytes, a fingerprint 8")
                self._put(PyBytes_AS_STRING(hash_), PyBytes_AS_STRING(print_))

    def packed(self):
        """All of them, hash and fingerprint after each other, in the order in which they came."""
        return PyBytes_FromStringAndSize(self._items, self._count * ITEM)

    def items(self):
        """(hash, fingerprint) pairs, in the order in which they came."""
        cdef Py_ssize_t i
        for i in range(self._count):
            yield PyBytes_FromStringAndSize(self._items + i * ITEM, HASH), PyBytes_FromStringAndSize(self._items + i * ITEM + HASH, ITEM - HASH)
